"""Certificates of a run: the same for every proxy, one with an ECDSA key and one with an RSA key."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from rig.processes import Failed, need

KEYS = {
    "ecdsa": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "rsa": ["-newkey", "rsa:2048"],
}


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
    command = [need("openssl", "openssl"), "req", "-x509", "-nodes", "-days", "2", *KEYS[kind]]
    command += ["-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}"]
    command += ["-keyout", key, "-out", certificate]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise Failed(f"openssl: {done.stderr}")
    both.write_text(certificate.read_text() + key.read_text())
    for path in (certificate, key, both):
        # Servers that were started as root become another user before some of them read it.
        path.chmod(0o644)
    return Identity(certificate, key, both)
