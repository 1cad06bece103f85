"""An authority of our own, made with openssl, and the certificates that it issues."""

import subprocess

from rig.processes import Failed, need

KEYS = {
    "ecdsa": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"],
    "rsa": ["-newkey", "rsa:2048", "-nodes"],
}
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

    def __init__(self, crew, name, days=DAYS):
        self.name = name
        self.directory = crew.directory / f"authority-{name}"
        self.directory.mkdir()
        self.certificate = self.directory / "root.crt"
        self.key = self.directory / "root.key"
        openssl(
            "req", "-x509", *KEYS["ecdsa"], "-days", days, "-subj", f"/O={name}/CN={name} root",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign",
            "-keyout", self.key, "-out", self.certificate,
        )  # fmt: skip

    def issue(self, host, kind="ecdsa", days=DAYS, extensions=()):
        """Certificate and key for a host or a wildcard, as paths; the subject names the authority, too."""
        stem = self.directory / kind / host.replace("*", "any")
        stem.parent.mkdir(exist_ok=True)
        added = [word for extension in extensions for word in ("-addext", extension)]
        certificate, key = stem.with_suffix(".test.crt"), stem.with_suffix(".test.key")
        openssl(
            "req", "-x509", *KEYS[kind], "-days", days, "-subj", f"/O={self.name}/CN={host}",
            "-CA", self.certificate, "-CAkey", self.key,
            "-addext", f"subjectAltName=DNS:{host}",
            "-addext", "basicConstraints=critical,CA:FALSE",
            "-addext", "extendedKeyUsage=serverAuth", *added,
            "-keyout", key, "-out", certificate,
        )  # fmt: skip
        return certificate, key
