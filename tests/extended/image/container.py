"""Runs the image as a container engine does with --read-only --cap-drop ALL --tmpfs /tmp."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.extended.image.root import isolated, python_for, variables
from tests.support.dockerfile import Stage


@dataclass(frozen=True, slots=True)
class Image:
    """The last stage, and the root folder that all stages have produced."""

    stage: Stage
    root: Path

    def started(self, env: Mapping[str, str], command: Sequence[str] | None = None) -> list[str]:
        """Return the command line that runs the entry point, or another command, as process 1."""
        user, group = self.stage.facts["USER"].split(":")
        options = ["--remount-ro", "/", *variables(self.stage.env | dict(env)), "--chdir", self.stage.facts["WORKDIR"]]
        # bwrap itself needs root's capabilities: the last program before ours drops them for good.
        unprivileged = [
            "/usr/bin/setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs",
            "--inh-caps=-all", "--bounding-set=-all",
        ]  # fmt: skip
        capable = isolated(self.root, python_for(self.stage.base), "--cap-add", "ALL")
        return [*capable, *options, "--", *unprivileged, *(command or self.stage.command)]
