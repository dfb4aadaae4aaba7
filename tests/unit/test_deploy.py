import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from schemas import FINAL_STATES, DeploymentStatus, Kind, State
from tests.support.builders import (
    CALLER,
    OPTIONS,
    PROTOBUF,
    REVISION_ID,
    SHIPPED,
    SOLUTION_ID,
    blueprint,
    node,
    record,
    solution,
)
from tests.support.counted import counted
from tests.support.fakes import FakeArtifacts, FakeCatalog, FakeJob, FakePlayground, FakeTokens, fake_deployer
from worker.build import Builder
from worker.domain.overrides.overrides import NO_OVERRIDES, Overrides, read_overrides
from worker.domain.request import Record, record_id
from worker.domain.solution import Solution
from worker.errors import (
    DeploymentError,
    NotAllowed,
    PlaygroundRefused,
    StatusNotPublished,
    Unauthenticated,
    Unavailable,
)

IDS = {"solutionId": str(SOLUTION_ID), "revisionId": str(REVISION_ID)}
FILES = {
    "org/blueprint.json": blueprint(node("a", proto_uri="p1"), node("b", proto_uri="p1"), node("c", proto_uri="p2")),
    "p1": PROTOBUF,
    "p2": PROTOBUF + b"// another\n",
}


class World:
    """A deployer with fake dependencies."""

    def __init__(
        self,
        found: Solution | Exception | None = None,
        files: dict[str, bytes] | None = None,
        token_error: DeploymentError | None = None,
        playground_error: Exception | None = None,
        fails_at: int | None = None,
        overrides: Overrides = NO_OVERRIDES,
        max_nodes: int = 200,
    ) -> None:
        self.artifacts = FakeArtifacts(FILES if files is None else files)
        self.playground = FakePlayground(playground_error)
        self.fails_at = fails_at
        options = OPTIONS.model_copy(update={"max_nodes": max_nodes})
        builder = Builder(FakeCatalog(found or solution()), self.artifacts, SHIPPED, options, overrides)
        self.deployer = fake_deployer(FakeTokens(token_error), builder, self.playground, request_deadline_seconds=0.001)
        self.job = FakeJob()

    async def handle(self, one: Record | None = None) -> list[State]:
        self.job = FakeJob(one)
        self.job.processor.fails_at = self.fails_at
        await self.deployer.handle(self.job)
        assert list(range(len(self.job.statuses))) == [status.sequence for status in self.job.statuses]
        return [status.state for status in self.job.statuses]


async def test_a_request_goes_from_accepted_to_deployed() -> None:
    """A successful request publishes four complete statuses and sends the bundle that it announced."""
    world = World()
    assert [State.ACCEPTED, State.BUILDING, State.SUBMITTING, State.DEPLOYED] == await world.handle()
    last = world.job.statuses[-1]
    assert last.bundle and last.deployment and last.fingerprint
    assert ("Demo Pipeline", Kind.PIPELINE, "demo-1") == (last.solution_name, last.kind, last.deployment.id)
    assert ("a", "b", "c", "orchestrator") == last.bundle.nodes
    bundle, username, request_id = world.playground.received[0]
    assert (len(bundle), CALLER.email, last.request_id) == (last.bundle.size, username, request_id)


async def test_an_error_keeps_no_bundle_in_memory() -> None:
    """An error that its request waits on keeps no frames alive, neither its own nor those of its cause."""
    error = Unavailable("playground-busy", "Busy.", "submit")
    error.__context__ = ZeroDivisionError()
    world = World(playground_error=error)
    await world.handle()
    assert [None] * 2 == [error.__traceback__, error.__context__]


async def test_a_protobuf_of_two_nodes_is_fetched_once() -> None:
    """Nodes of the same model share one fetch of its protobuf."""
    world = World()
    await world.handle()
    assert ["org/blueprint.json", "p1", "p2"] == world.artifacts.fetched


async def test_submitting_says_until_when_it_may_take() -> None:
    """`submitting` carries the attempt deadline, after which a reader knows that something is wrong."""
    world = World()
    await world.handle()
    status = world.job.statuses[2]
    assert status.attempt_deadline is not None
    assert 331 >= (status.attempt_deadline - status.time).total_seconds() >= 329


@pytest.mark.parametrize(
    ("make", "states", "code"),
    [
        (lambda: World(token_error=Unauthenticated("token-expired", "x")), [State.REJECTED], "token-expired"),
        (
            lambda: World(token_error=Unavailable("keys-unavailable", "x", "authenticate")),
            [State.FAILED],
            "keys-unavailable",
        ),
        (
            lambda: World(found=NotAllowed("no-access", "x")),
            [State.ACCEPTED, State.BUILDING, State.REJECTED],
            "no-access",
        ),
        (
            lambda: World(found=Unavailable("catalog-timeout", "x")),
            [State.ACCEPTED, State.BUILDING, State.FAILED],
            "catalog-timeout",
        ),
        (lambda: World(files={}), [State.ACCEPTED, State.BUILDING, State.REJECTED], "blueprint-missing"),
        (
            lambda: World(files={"org/blueprint.json": FILES["org/blueprint.json"]}),
            [State.ACCEPTED, State.BUILDING, State.REJECTED],
            "proto-missing",
        ),
        (
            lambda: World(playground_error=PlaygroundRefused("playground-redirected", "x")),
            [State.ACCEPTED, State.BUILDING, State.SUBMITTING, State.FAILED],
            "playground-redirected",
        ),
        (
            lambda: World(found=ZeroDivisionError("s3cret")),
            [State.ACCEPTED, State.BUILDING, State.FAILED],
            "internal",
        ),
    ],
)
async def test_whatever_happens_ends_in_one_final_status(
    make: Callable[[], World], states: list[State], code: str
) -> None:
    """Every error leads to one final status with its code; an unexpected exception reveals no internals."""
    world = make()
    assert states == await world.handle()
    assert 1 == sum(state in FINAL_STATES for state in states)
    error = world.job.statuses[-1].error
    assert error is not None
    assert code == error.code
    assert "s3cret" not in error.message


async def test_an_unreadable_record_is_rejected_under_the_id_of_its_place() -> None:
    """Every record in the topic is answered: an unreadable record is rejected under its record id."""
    world = World()
    assert [State.REJECTED] == await world.handle(record(b"not json"))
    assert (record_id(world.job.record), None) == (world.job.statuses[0].request_id, world.job.statuses[0].solution_id)


@pytest.mark.parametrize(
    ("changes", "refusal", "why"),
    [
        ({"value": {"requestId": "r-1"}}, None, "invalid-request"),
        ({"value": {**IDS, "requestId": "r-1"}}, None, "token-missing"),
        ({"value": b"[", "headers": (("ce_id", b"r-1"),)}, None, "not-json"),
        ({}, Unauthenticated("token-expired", "Expired."), "token-expired"),
        ({"key": b"somebody-else"}, None, "wrong-record-key"),
    ],
)
async def test_an_id_belongs_to_nobody_before_the_request_is_accepted(
    changes: dict[str, Any], refusal: DeploymentError | None, why: str
) -> None:
    """A request that is rejected before `accepted` is reported under its record id.

    Its request id may be another user's, and stays free.
    """
    world = World(token_error=refusal)
    given = record(**{"value": {**IDS, "requestId": "r-1", "jwtToken": "t"}} | changes)
    assert [State.REJECTED] == await world.handle(given)
    error = world.job.statuses[0].error
    assert (record_id(given), why) == (world.job.statuses[0].request_id, error and error.code)
    assert world.job.processor.state.requests.find("r-1") is None


async def test_the_record_key_must_be_the_users_id() -> None:
    """A record whose key is not the user's id is rejected.

    The key keeps a user's requests in order, and the playground mixes up parallel uploads.
    """
    world = World()
    assert [State.REJECTED] == await world.handle(record(key=b"somebody-else"))
    error = world.job.statuses[0].error
    assert error is not None
    assert ("wrong-record-key", "authenticate", False) == (error.code, error.stage, error.retryable)


@pytest.mark.parametrize("fails_at", [0, 1, 2, 3])
async def test_a_status_that_kafka_does_not_take_is_no_final_status(fails_at: int) -> None:
    """A failed publish is followed by no other status.

    The record must not be committed, and no second final status may follow one that may be out.
    """
    world = World(fails_at=fails_at)
    with pytest.raises(StatusNotPublished):
        await world.handle()
    assert fails_at == len(world.job.statuses)


async def test_no_status_holds_the_token_or_the_email() -> None:
    """No status contains the token or the e-mail address, because any user may read statuses."""
    world = World()
    await world.handle()
    text = b"".join(status.to_json() for status in world.job.statuses).decode()
    assert "ada@example.org" not in text
    assert '"token"' not in text
    assert all(len(status.to_json()) < 64 * 1024 for status in world.job.statuses)
    assert "accepted" == json.loads(world.job.statuses[0].to_json())["state"]


async def test_the_largest_pipeline_fits_into_a_status() -> None:
    """The largest pipeline fits into a status: a rejected status would stop its partition for good."""
    nodes = [node("\x01" * 60 + str(number), image="registry.example/x:1", proto_uri="p1") for number in range(300)]
    world = World(files={"org/blueprint.json": blueprint(*nodes), "p1": PROTOBUF}, max_nodes=300)
    assert State.DEPLOYED == (await world.handle())[-1]
    assert all(len(status.to_json()) < DeploymentStatus.MAX_BYTES for status in world.job.statuses)


async def test_overrides_that_do_not_fit_end_in_failed() -> None:
    """Overrides that do not fit fail the request as the operator's matter: nothing is sent, and the error is logged."""
    patches = (("limits", "1"), ("requests", "2"))
    entries = [
        {"match": match, "patch": {"spec": {"template": {"spec": {"containers": [{"name": "*", "resources": it}]}}}}}
        for match, it in zip(
            ({"node": "?"}, {"image": "*/models/b"}), ({kind: {"cpu": cpu}} for kind, cpu in patches), strict=True
        )
    ]
    world = World(overrides=read_overrides({"overrides": entries}, OPTIONS))
    with capture_logs() as logs:
        assert [State.ACCEPTED, State.BUILDING, State.FAILED] == await world.handle()
    error = world.job.statuses[-1].error
    assert error is not None
    assert ("overrides-invalid", "bundle", False) == (error.code, error.stage, error.retryable)
    assert "do not fit 'b': spec.template.spec.containers[b].resources: the request cpu 2 is above" in error.message
    assert [error.message] == [line["detail"] for line in logs if line["log_level"] == "error"]
    assert [] == world.playground.received


async def test_nothing_is_sent_before_the_intent_is_durable() -> None:
    """The POST waits until `submitting` is durable.

    After a crash in between, the next owner must know that something may have been sent.
    """
    world = World()
    job = world.job = FakeJob()
    publish = job.publish

    def slow(status: DeploymentStatus, *more: Any) -> asyncio.Future[None]:
        published = publish(status, *more)
        if status.state is State.SUBMITTING:
            published = asyncio.get_running_loop().create_future()
            waiting.set_result(published)
        return published

    waiting: asyncio.Future[asyncio.Future[None]] = asyncio.get_running_loop().create_future()
    job.publish = slow  # type: ignore[method-assign, assignment]
    handling = asyncio.create_task(world.deployer.handle(job))
    published = await waiting
    for _ in range(20):
        await asyncio.sleep(0)
    assert [] == world.playground.received
    published.set_result(None)
    await handling
    assert 1 == len(world.playground.received)


@pytest.mark.parametrize(
    ("changes", "state", "code"),
    [
        ({}, "deployed", ""),
        ({"token_error": Unauthenticated("token-expired", "Too old.")}, "rejected", "token-expired"),
        ({"playground_error": PlaygroundRefused("playground-refused", "No.")}, "failed", "playground-refused"),
    ],
)
async def test_a_request_that_ended_is_counted(changes: dict[str, Any], state: str, code: str) -> None:
    """A finished request is counted once, by final state and error code, and its duration is observed."""
    labels = {"state": state, "code": code}
    before = counted("requests_total", **labels), counted("request_duration_seconds_count")
    await World(**changes).handle()
    assert (before[0] + 1, before[1] + 1) == (
        counted("requests_total", **labels),
        counted("request_duration_seconds_count"),
    )


async def test_a_dead_letter_is_counted() -> None:
    """A dead letter is counted by its error code; a rejection that writes no dead letter is not counted."""
    before = counted("dead_letters_total", code="not-json"), counted("dead_letters_total", code="token-expired")
    await World().handle(record(b"no JSON"))
    await World(token_error=Unauthenticated("token-expired", "Too old.")).handle()
    assert (before[0] + 1, before[1]) == (
        counted("dead_letters_total", code="not-json"),
        counted("dead_letters_total", code="token-expired"),
    )


async def test_a_request_whose_status_is_not_out_is_not_counted() -> None:
    """A request whose final status was not published is not counted; the partition's next owner counts it."""
    before = counted("requests_total", state="deployed", code="")
    with pytest.raises(StatusNotPublished):
        await World(fails_at=3).handle()
    assert before == counted("requests_total", state="deployed", code="")
