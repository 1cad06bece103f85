"""Certificates of a run: the same for every proxy, one with an ECDSA key and one with an RSA key."""

from dataclasses import dataclass
from pathlib import Path

from rig.tls.authority import KEYS, openssl


@dataclass(frozen=True)
class Identity:
    """A certificate that vouches for itself, and its key."""

    certificate: Path
    key: Path
    # Both in one file, as HAProxy wants them.
    both: Path


def make_identities(crew, host):
    """An identity for each kind of key, in the directory of the run; made once."""
    return {kind: make_identity(crew, host, kind) for kind in KEYS}


def make_identity(crew, host, kind):
    """The identity of this kind."""
    certificate, key, both = (crew.directory / f"{kind}.{end}" for end in ("crt", "key", "pem"))
    if both.exists():
        return Identity(certificate, key, both)
    openssl(
        "req", "-x509", "-days", "2", *KEYS[kind],
        "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}",
        "-keyout", key, "-out", certificate,
    )  # fmt: skip
    both.write_text(certificate.read_text() + key.read_text())
    for path in (certificate, key, both):
        # Servers that were started as root become another user before some of them read it.
        path.chmod(0o644)
    return Identity(certificate, key, both)
