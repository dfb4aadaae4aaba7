"""All statuses of a request, for each way in which a request can end: fixtures for readers of statuses.

`python -m tests.support.sequences` writes schemas/examples/sequences/. The worker's own lifecycle makes the statuses,
under a manual clock; what it would fetch from Graphene is hard-coded here.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from schemas import DeploymentInfo, DeploymentRequested, DeploymentSettled, DeploymentStatus, Kind, fingerprint
from schemas.export import EXAMPLES
from worker.domain.lifecycle import Lifecycle, Outage, RequestState
from worker.domain.request import Record, read_request
from worker.domain.solution import Caller
from worker.errors import CODES, DeploymentError, NotAllowed, OutcomeUnknown, Unauthenticated, Unavailable
from worker.settings import PlaygroundSettings, RuntimeSettings

FOLDER = EXAMPLES / "sequences"
SOLUTION, REVISION = UUID("9b8d4f52-3f0c-4c1e-8f2b-6a5d7c1e0b34"), UUID("c41e7a90-52d6-4e8b-b7f3-1d9a0c6e2f58")
CALLER = Caller("6d0c3f6e-95f1-4f0b-8a9c-2f0e5b8f7a31", "ada@example.org")
BEGIN = datetime(2027, 3, 1, 9, 30, tzinfo=UTC)
PLAN: Any = SimpleNamespace(solution_name="Sudoku Tutorial", solution_version="1.0.0", kind=Kind.PIPELINE, warnings=())
BUNDLE: Any = SimpleNamespace(
    sha256="73300871f44c168e7c949de2c750e60c2c9bb8ff530017c5a267234e9cb4db8e",
    data=bytes(48_213),
    nodes=("sudoku-design-evaluator", "sudoku-gui", "asp-solver", "orchestrator"),
)
DEPLOYMENT = DeploymentInfo(
    id="sudoku-tutorial", url="https://playground.example/dashboard?selected_deployment_id=sudoku-tutorial"
)
LIFECYCLE = Lifecycle(
    PlaygroundSettings(deploy_url="https://playground.example/deploy_solution"),
    RuntimeSettings(request_deadline_seconds=10),
)


@dataclass
class Story:
    """One request and its statuses so far, with the state that a worker holds of it."""

    request_id: str
    replay_of: str | None = None
    now: datetime = BEGIN
    statuses: list[DeploymentStatus] = field(default_factory=list)
    original: RequestState | None = None
    repeats: bool = False
    caller: Caller | None = CALLER
    auth_attempts: int = 1
    evicted: bool = False
    has_key_lock: bool = True
    resumed: bool = False
    may_be_sent: bool = True

    def __post_init__(self) -> None:
        value = {"requestId": self.request_id, "solutionId": str(SOLUTION), "revisionId": str(REVISION)}
        if self.replay_of:
            value["replayOf"] = self.replay_of
        record = Record(
            cluster_id="example",
            topic=DeploymentRequested.TOPIC,
            partition=5,
            offset=1207,
            timestamp_ms=int(BEGIN.timestamp() * 1000),
            appended_by_broker=True,
            key=CALLER.user_id.encode(),
            value=json.dumps(value).encode(),
            headers=(("authorization", b"Bearer a.b.c"),),
        )
        self.state = RequestState.of_record(record, read_request(record), BEGIN)

    def say(self, make: Callable[[RequestState, datetime], DeploymentStatus], after: float = 0.04) -> "Story":
        """Add the status that `make` returns, `after` seconds after the last status."""
        self.now += timedelta(seconds=after)
        status = make(self.state, self.now)
        self.state.apply(status)
        self.statuses.append(status)
        return self

    def accepted(self) -> "Story":
        """Accept the request: from here on it has its own request id."""
        self.state.request_id = self.request_id
        whose = fingerprint(CALLER.user_id, SOLUTION, REVISION)
        return self.say(lambda state, now: state.accepted(now, whose))

    def building(self, after: float = 0.01) -> "Story":
        """Begin an attempt."""
        return self.say(lambda state, now: state.building(now), after)

    def submitting(self) -> "Story":
        """Finish the bundle and declare the intent to submit it."""
        seconds = LIFECYCLE.playground.timeout_seconds
        return self.say(lambda state, now: state.submitting(now, PLAN, BUNDLE, seconds), 0.12)

    def deployed(self) -> "Story":
        """Receive the playground's success."""
        return self.say(lambda state, now: state.deployed(now, DEPLOYMENT), 3.5)

    def error(self, error: DeploymentError, after: float = 0.2) -> "Story":
        """Fail with an error; the lifecycle decides the next status as in a worker."""

        def decided(_: RequestState, now: datetime) -> DeploymentStatus:
            status = LIFECYCLE.after_error(self, error, now, 1.0, Outage())
            assert isinstance(status, DeploymentStatus)
            return status

        return self.say(decided, after)

    def pause(self) -> "Story":
        """Wait until the next attempt, and begin it."""
        last = self.statuses[-1]
        assert last.next_attempt_at
        return self.building((last.next_attempt_at - self.now).total_seconds())

    def settled(self, outcome: str, reason: str, deployment: DeploymentInfo | None = None) -> "Story":
        """Settle the request as an operator."""
        said = DeploymentSettled.model_validate(
            {
                "request_id": self.request_id,
                "attempt": self.state.attempt,
                "outcome": outcome,
                "deployment": deployment,
                "reason": reason,
                "by": "operator on call",
            }
        )
        return self.say(lambda state, now: LIFECYCLE.after_settlement(state, said, now), 1260)


def _deployed() -> Story:
    return Story("sudoku-0001").accepted().building().submitting().deployed()


def _rejected_at_once() -> Story:
    return Story("sudoku-0002").error(Unauthenticated("token-expired", CODES["token-expired"]))


def _rejected_later() -> Story:
    refused = NotAllowed("no-access", "The user may not read the solution. Ask its owner for access.")
    return Story("sudoku-0003").accepted().building().error(refused)


def _failed_after_retries() -> Story:
    story = Story("sudoku-0004").accepted().building()
    story.error(Unavailable("catalog-timeout", CODES["catalog-timeout"])).pause()
    busy = Unavailable("playground-busy", CODES["playground-busy"], "submit")
    for _ in range(2):
        story.submitting().error(busy).pause()
    return story.submitting().error(busy)


def _parked() -> Story:
    return Story("sudoku-0005").accepted().building().submitting().error(OutcomeUnknown(CODES["outcome-unknown"]), 330)


def _parked_then_deployed() -> Story:
    return _parked().settled("deployed", "The dashboard shows all four nodes.", DEPLOYMENT)


def _parked_then_failed() -> Story:
    return _parked().settled("failed", "The dashboard shows no deployment.")


def _parked_then_retried() -> Story:
    return _parked().settled("retry", "The dashboard shows no deployment.").pause().submitting().deployed()


def _taken_over() -> Story:
    # Two workers were killed while they built its bundle; each time another worker took over after the session timeout.
    return Story("sudoku-0006").accepted().building().building(12).building(12).submitting().deployed()


def _replayed() -> Story:
    replay = "replay-1-6c1f0f7f3f0b4b0e8a2f5d0c9e7b1a34"
    return Story(replay, "sudoku-0004").accepted().building().submitting().deployed()


SEQUENCES: dict[str, Callable[[], Story]] = {
    "deployed": _deployed,
    "rejected-at-once": _rejected_at_once,
    "rejected-later": _rejected_later,
    "failed-after-retries": _failed_after_retries,
    "parked-then-deployed": _parked_then_deployed,
    "parked-then-failed": _parked_then_failed,
    "parked-then-retried": _parked_then_retried,
    "taken-over": _taken_over,
    "replayed": _replayed,
}


def files() -> dict[str, str]:
    """Return the expected content of every file by name: the values of the records, in order."""
    return {
        f"{name}.json": json.dumps([json.loads(it.to_json()) for it in tell().statuses], indent=2) + "\n"
        for name, tell in SEQUENCES.items()
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*"):
        old.unlink()
    for file, text in files().items():
        (FOLDER / file).write_text(text, encoding="utf-8")
