"""An authority of our own, made with openssl, and the certificates that it issues."""

import subprocess

from rig.processes import Failed, need

KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
DAYS = "7"


def openssl(*arguments):
    """Runs openssl, and gives what it wrote."""
    command = [need("openssl", "openssl"), *map(str, arguments)]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30
    )
    if done.returncode:
        raise Failed(f"openssl {arguments[0]}: {done.stderr.strip()}")
    return done.stdout


class Authority:
    """A root certificate that clients are told to trust, and nothing else."""

    def __init__(self, crew, name):
        self.name = name
        self.directory = crew.directory / f"authority-{name}"
        self.directory.mkdir()
        self.certificate = self.directory / "root.crt"
        self.key = self.directory / "root.key"
        openssl(
            "req", "-x509", *KEY, "-days", DAYS, "-subj", f"/O={name}/CN={name} root",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign",
            "-keyout", self.key, "-out", self.certificate,
        )  # fmt: skip

    def issue(self, host):
        """Certificate and key for a host or a wildcard, as paths; the subject names the authority, too."""
        stem = self.directory / host.replace("*", "any")
        certificate, key = stem.with_suffix(".test.crt"), stem.with_suffix(".test.key")
        openssl(
            "req", "-x509", *KEY, "-days", DAYS, "-subj", f"/O={self.name}/CN={host}",
            "-CA", self.certificate, "-CAkey", self.key,
            "-addext", f"subjectAltName=DNS:{host}",
            "-addext", "basicConstraints=critical,CA:FALSE",
            "-addext", "extendedKeyUsage=serverAuth",
            "-keyout", key, "-out", certificate,
        )  # fmt: skip
        return certificate, key
