"""The modules that a command has imported by the time it prints its first line; the command is stopped there."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.support.paths import ROOT

SECONDS = 60
# Packages that draw on a terminal, do the work of worker and gateway, or talk to Kafka.
DRAWS = ("rich", "pygments")
WORKS = (
    "aiohttp", "cryptography", "google.protobuf", "jinja2", "jwt", "kubernetes", "lark", "nh3", "opentelemetry",
    "prometheus_client", "requests", "yaml",
)  # fmt: skip
TALKS = ("pydantic", "aiokafka", "structlog", "asyncio")

_SCRIPT = """
import io, os, sys
from worker.cli import main

class FirstLine(io.TextIOBase):
    def write(self, text):
        if text.strip():
            print(text.split("\\n")[0], *sys.modules, sep="\\n", file=sys.__stdout__, flush=True)
            os._exit(0)

sys.stdout = sys.stderr = FirstLine()
main(sys.argv[1:])
"""


@dataclass(frozen=True, slots=True)
class FirstLine:
    """The line and the imported modules."""

    text: str
    modules: frozenset[str]

    def imported(self, packages: Sequence[str]) -> list[str]:
        """Return which of these packages were imported."""
        return [it for it in packages if it in self.modules]


def first_line(arguments: Sequence[str], environment: Mapping[str, str]) -> FirstLine:
    """Run a command in a separate process until it prints something, either a result or an error."""
    ran = subprocess.run(
        [sys.executable, "-c", _SCRIPT, *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=SECONDS,
    )  # fmt: skip
    text, *modules = ran.stdout.splitlines()
    return FirstLine(text, frozenset(modules))
