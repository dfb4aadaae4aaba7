"""A status on one line of text. Without rich, whose import would take longer than the rest of such a command.

Users wrote parts of the text in a status, so no character in it may move the cursor or change a colour.
"""

from schemas import DeploymentStatus, State
from worker.errors import one_line

STATE_WIDTH = max(map(len, State))


def status_line(status: DeploymentStatus, label: str | None = None) -> str:
    """Return a status as one line; `label` replaces the time and the request id."""
    head = label or f"{status.time:%H:%M:%S} {status.request_id}"
    return f"{head}  {status.state:<{STATE_WIDTH}}  {summary(status)}"


def summary(status: DeploymentStatus) -> str:
    """Return the status as a sentence: solution and version, message, number of warnings, error code."""
    version = f" {one_line(status.solution_version)}" if status.solution_version else ""
    name = f"{one_line(status.solution_name)}{version}: " if status.solution_name else ""
    code = f" [{status.error.code}]" if status.error else ""
    count = len(status.warnings or ()) if status.state is State.DEPLOYED else 0
    notes = f" ({count} note{'s' if count > 1 else ''})" if count else ""
    return f"{name}{one_line(status.message)}{notes}{code}"
