"""Programs that people use, each asked for one page and told to trust one authority alone.

A page that arrives therefore proves that the certificate shown was issued by that authority for that
name. nghttp loads the page in any case, and only complains.
"""

import re
from pathlib import Path

from rig.processes import Failed, need, run_to_end
from rig.tls.authority import openssl

LIMIT = 60.0
REFUSED = re.compile(
    r"certificate problem|ERR_CERT|verify error|certificate verify failed|verification failed", re.I
)


class Visit:
    """What came of one page in one program."""

    def __init__(self, output, cipher=None):
        self.output = output
        self.cipher = cipher

    @property
    def is_refused(self):
        """Whether the program did not accept the certificate."""
        return REFUSED.search(self.output) is not None


class Page:
    """Where a page is, and who vouches for it."""

    def __init__(self, port, host, path, authority):
        self.port, self.host, self.path, self.authority = port, host, path, authority

    @property
    def url(self):
        """Its address."""
        return f"https://{self.host}:{self.port}{self.path}"


async def run(command, text="", **options):
    """What a program says."""
    return await run_to_end(command, LIMIT, text, **options)


class Curl:
    """curl, with HTTP/1.1 or HTTP/2."""

    version_command = ["curl", "--version"]
    tls = "TLSv1.3"

    def __init__(self, option, protocol):
        self.name = f"curl {option}"
        self.option, self.protocol = option, protocol
        self.program = need("curl", "curl")

    async def load(self, page, _home):
        """Loads one page."""
        command = [self.program, "-v", "-sS", self.option, "--cacert", page.authority.certificate]
        command += ["--resolve", f"{page.host}:{page.port}:127.0.0.1", page.url]
        output = await run(command)
        found = re.search(r"SSL connection using (\S+) / (\S+)", output)
        return Visit(output, found and found[2])


class Nghttp:
    """nghttp, HTTP/2 only."""

    name = "nghttp"
    version_command = ["nghttp", "--version"]
    protocol, tls = "HTTP/2.0", "TLSv1.3"

    def __init__(self):
        self.program = need("nghttp", "nghttp2-client")

    async def load(self, page, home):
        """Loads one page; its name is that of the header, which nghttp takes for SNI, too."""
        command = [self.program, f"https://127.0.0.1:{page.port}{page.path}"]
        command += ["-H", f":authority: {page.host}"]
        return Visit(await run(command, env={
            "SSL_CERT_FILE": str(page.authority.certificate), "HOME": str(home),
        }))  # fmt: skip


class SClient:
    """`openssl s_client`, with one version of TLS."""

    version_command = ["openssl", "version"]
    protocol = "HTTP/1.1"

    def __init__(self, option, tls):
        self.name = f"openssl s_client {option}"
        self.option, self.tls = option, tls
        self.program = need("openssl", "openssl")
        # Its names of TLS 1.2's suites are not those of the registry.
        names = openssl("ciphers", "-stdname", "ALL").splitlines()
        words = (line.split() for line in names)
        self.names = {word[2]: word[0] for word in words}

    async def load(self, page, _home):
        """Loads one page; the last line of the answer is the page."""
        command = [self.program, "s_client", self.option, "-connect", f"127.0.0.1:{page.port}"]
        command += ["-servername", page.host, "-verify_hostname", page.host]
        command += ["-verify_return_error", "-ign_eof", "-alpn", "http/1.1"]
        command += ["-CAfile", page.authority.certificate, "-no-CApath", "-no-CAstore"]
        request = f"GET {page.path} HTTP/1.1\r\nHost: {page.host}\r\nConnection: close\r\n\r\n"
        output = await run(command, request)
        found = re.search(r"Cipher is (\S+)", output)
        return Visit(output, found and self.names.get(found[1], found[1]))


class Chromium:
    """Chromium without a window, with a profile of its own for each authority."""

    name = "Chromium"
    version_command = ["chromium", "--version"]
    protocol, tls = "HTTP/2.0", "TLSv1.3"

    def __init__(self):
        self.program = need("chromium", "chromium")
        self.certutil = need("certutil", "libnss3-tools")

    async def load(self, page, home):
        """Loads one page and gives the document that it became."""
        home = Path(home) / f"chromium-{page.authority.name}"
        store = home / ".pki" / "nssdb"
        if not store.is_dir():
            store.mkdir(parents=True)
            await self.trust(store, page.authority)
        command = [self.program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        command += ["--disable-dev-shm-usage", "--disable-background-networking"]
        command += [f"--user-data-dir={home / 'profile'}", "--dump-dom"]
        command += ["--host-resolver-rules=MAP * 127.0.0.1", page.url]
        path = "/usr/local/bin:/usr/bin:/bin"
        return Visit(await run(command, env={"HOME": str(home), "PATH": path}))

    async def trust(self, store, authority):
        """Makes a store of certificates that has this authority."""
        database = ["-d", f"sql:{store}"]
        await run([self.certutil, *database, "-N", "--empty-password"])
        added = ["-A", "-t", "C,,", "-n", authority.name, "-i", authority.certificate]
        told = await run([self.certutil, *database, *added])
        if told.strip():
            raise Failed(f"certutil: {told.strip()}")


def programs():
    """All of them."""
    return [
        Curl("--http1.1", "HTTP/1.1"),
        Curl("--http2", "HTTP/2.0"),
        Nghttp(),
        SClient("-tls1_2", "TLSv1.2"),
        SClient("-tls1_3", "TLSv1.3"),
        Chromium(),
    ]
