"""testssl.sh judges the defaults: what it finds worse than information is a problem.

The listener has an ECDSA and an RSA certificate of an authority of our own, valid as long as browsers
accept, and nothing else is set. Looked at are protocols, ciphers, forward secrecy, the server's defaults
and vulnerabilities; the HTTP headers are those of the backend.
"""

import json
import shlex

from rig import results
from rig.lifecycle.proxy import Proxy
from rig.lifecycle.traffic import HOST
from rig.processes import free_port, need, run_to_end
from rig.scenarios import Report
from rig.tls.authority import Authority

# Protocols, standard and all ciphers, forward secrecy, server defaults, vulnerabilities.
CHECKS = ["-p", "-s", "-E", "-f", "-S", "-U"]
# A few of what each check must have told, or it has not been done.
EXPECTED = {
    "SSLv3", "TLS1", "TLS1_1", "TLS1_2", "TLS1_3", "ALPN_HTTP2",
    "cipherlist_NULL", "cipherlist_LOW", "cipherlist_STRONG", "PFS",
    "cert_trust <cert#1>", "cert_trust <cert#2>", "cert_chain_of_trust <cert#1>",
    "heartbleed", "ticketbleed", "secure_client_renego", "CRIME_TLS", "BREACH", "LUCKY13", "RC4",
}  # fmt: skip
GOOD = ("OK", "INFO")
# What is known to be no fault of the proxy, by id and severity, and why.
ALLOWED = {
    ("sessionresumption_ticket", "WARN"): (
        "not tested: testssl leaves at once, often before a ticket of TLS 1.3 can have come"
    ),
}
# As long as browsers accept.
DAYS = 397
LIMIT = 800


async def testssl(crew, chosen):
    """testssl.sh finds nothing worse than information with the defaults."""
    program = need("testssl", "testssl.sh")
    authority, port = Authority(crew, "testssl", DAYS), free_port()
    # Without a place for revocations the authority would be what is judged.
    revoked = [f"crlDistributionPoints=URI:http://{HOST}/revoked.crl"]
    usage = ["keyUsage=critical,digitalSignature"]
    pairs = [
        authority.issue(HOST, kind, str(DAYS), [*revoked, *usage]) for kind in ("ecdsa", "rsa")
    ]
    certificates, keys = ([str(path) for path in paths] for paths in zip(*pairs, strict=True))
    section = {"bind": ["127.0.0.1"], "port": port, "cert": certificates, "key": keys}
    proxy = Proxy(crew, chosen.binary, sections={"https": section})
    report, found = Report(), "testssl.json"
    arguments = ["--color", "0", "--quiet", "--warnings", "batch", "--nodns", "min"]
    arguments += ["--ip", "127.0.0.1", "--add-ca", "root.crt", *CHECKS]
    arguments += ["--jsonfile", found, f"https://{HOST}:{port}/"]
    crew.write("root.crt", authority.certificate.read_text())
    # Its status counts findings, which are judged by themselves.
    await run_to_end([program, *arguments], LIMIT, cwd=crew.directory)
    judge(json.loads((crew.directory / found).read_text()), report)
    report.row("testssl.sh", results.version([program, "--version"], r"testssl +(\d\S*)"))
    report.row("command", shlex.join(["testssl", *arguments]))
    status = await proxy.stop()
    report.check(status == 0, f"hipache ended with status {status}: {proxy.running.said()}")
    return report


def judge(findings, report):
    """All that is worse than information is a problem, unless it is known and explained."""
    missing = EXPECTED - {finding["id"] for finding in findings}
    report.check(not missing, f"not told by testssl: {', '.join(sorted(missing))}")
    severities = [finding["severity"] for finding in findings]
    for severity in sorted(set(severities)):
        report.row(f"findings: {severity}", severities.count(severity))
    for finding in findings:
        name, severity, text = (finding[key] for key in ("id", "severity", "finding"))
        if severity in GOOD:
            continue
        why = ALLOWED.get((name, severity))
        if why:
            report.row(f"{name}: {severity}", why)
        report.check(why, f"{name}: {severity}: {text}")
