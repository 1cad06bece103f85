"""A real OpenTelemetry Collector that tells how many spans it took, and what can happen to it."""

import re
import signal

from rig import servers
from rig.processes import Failed, free_port, wait_for_port

TOOLS = servers.TARGET / "tools" / "otel"
# Nothing stands between receiver and exporter, so a batch is on the output before it is answered.
CONFIG = """
receivers: {{otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{port}"}}}}}}}}
exporters: {{debug: {{verbosity: basic, use_internal_logger: false}}}}
service:
  pipelines: {{traces: {{receivers: [otlp], exporters: [debug]}}}}
  telemetry: {{metrics: {{level: none}}, logs: {{level: warn}}}}
"""
TAKEN = re.compile(r'"spans": (\d+)')


def tool(name):
    """A binary that otel/tools/build made."""
    path = TOOLS / name
    if not path.is_file():
        raise Failed(f"{path} is missing: run otel/tools/build")
    return path


class Collector:
    """One address, behind which a Collector runs or does not."""

    def __init__(self, crew):
        self.crew = crew
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        config = crew.write("collector.yaml", CONFIG.format(port=self.port))
        self.command = [tool("otelcol"), "--config", config]
        self.lives = 0
        self.outputs = []
        self.start()

    def start(self):
        """Starts it, or starts it again."""
        self.lives += 1
        self.running = self.crew.start(f"collector-{self.lives}", self.command)
        self.outputs.append(self.running.log)
        wait_for_port(self.running, self.port, 30)

    def kill(self):
        """Ends it without a word."""
        self.running.kill()

    def hang(self):
        """Lets it take connections and do nothing."""
        self.running.popen.send_signal(signal.SIGSTOP)

    def wake(self):
        """Lets it go on where it was stopped."""
        self.running.popen.send_signal(signal.SIGCONT)

    def spans(self):
        """The spans that all its lives took, those that came twice included."""
        texts = (output.read_text(errors="replace") for output in self.outputs)
        return sum(int(count) for text in texts for count in TAKEN.findall(text))
