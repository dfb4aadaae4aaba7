"""The statuses that a client follows, without a broker."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

from schemas import DeploymentStatus, fingerprint
from tests.support.paths import ROOT
from worker.client import DeployerClient, KafkaSettings, deployer
from worker.client.deployer import Sent
from worker.client.requests import StatusEvent

EXAMPLE = json.loads((ROOT / "schemas" / "examples" / "status.json").read_text(encoding="utf-8"))
SAME = fingerprint("user-1", UUID(int=1), UUID(int=2))
OURS = Sent("r-1", SAME, 0, 7, 1)


def status(**changes: Any) -> DeploymentStatus:
    """The example status with these changes."""
    return DeploymentStatus.model_validate(EXAMPLE | changes)


def at(partition: int, offset: int) -> dict[str, Any]:
    """A source at this partition and offset."""
    return {"topic": "requests", "partition": partition, "offset": offset}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"requestId": "r-1", "source": at(0, 7)}, True),
        # rejected under its record id, because another request has our id
        ({"requestId": "other", "source": at(0, 7)}, True),
        ({"requestId": "other", "source": at(1, 7)}, False),  # the same offset of another partition
        ({"requestId": "r-1", "fingerprint": SAME}, True),  # an earlier copy of the same request
        ({"requestId": "r-1", "fingerprint": "0" * 64}, False),  # another user's
        ({"requestId": "r-1", "fingerprint": None}, False),
        ({"requestId": "other", "fingerprint": SAME}, False),
    ],
)
def test_only_our_own_statuses_are_followed(changes: dict[str, Any], expected: bool) -> None:
    """A client follows the statuses of its record and of the same request sent earlier."""
    assert expected == OURS.matches(status(**changes))


class Topic:
    """Statuses in place of Kafka's; records what was requested."""

    def __init__(self, *statuses: DeploymentStatus) -> None:
        self.statuses = statuses
        self.asked: list[tuple[list[int], int | None]] = []

    @asynccontextmanager
    async def read(
        self, _: KafkaSettings, partitions: Sequence[int], *, since_ms: int | None = None
    ) -> AsyncIterator[AsyncIterator[StatusEvent]]:
        self.asked.append((list(partitions), since_ms))

        async def events() -> AsyncIterator[StatusEvent]:
            for it in self.statuses:
                yield StatusEvent(it, it.to_json())

        yield events()


def client(monkeypatch: pytest.MonkeyPatch, topic: Topic, *sent: Sent) -> DeployerClient:
    """A client that has sent these requests."""
    monkeypatch.setattr(deployer, "read_statuses", topic.read)
    made = DeployerClient(KafkaSettings(bootstrap_servers="localhost:9092"))
    made._partitions = 3
    made._sent.update((it.request_id, it) for it in sent)
    return made


async def test_a_refused_request_ends_under_the_id_of_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rejected request is found by its record id, in its partition alone, and not from long before it was sent."""
    topic = Topic(status(requestId="record-0-7-0123", sequence=0, state="rejected", source=at(0, 7)))
    found = await client(monkeypatch, topic, OURS).wait("r-1", timeout=5)
    assert ("record-0-7-0123", "rejected") == (found.request_id, found.state)
    assert [([0], 1)] == topic.asked


async def test_a_refused_repetition_ends_although_the_first_one_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rejected repeat ends its wait, although its status has sequence 0 and another id while the first continues."""
    topic = Topic(
        status(requestId="r-1", sequence=0, state="accepted", fingerprint=SAME, source=at(0, 3)),
        status(requestId="r-1", sequence=1, state="building", fingerprint=SAME, source=at(0, 3)),
        status(requestId="record-0-7-0123", sequence=0, state="rejected", source=at(0, 7)),
    )
    seen = [it.state async for it in client(monkeypatch, topic, OURS).follow("r-1")]
    assert ["accepted", "building", "rejected"] == seen


async def test_a_status_that_comes_twice_is_yielded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A status that arrives twice is yielded once, by its sequence number."""
    topic = Topic(*(status(requestId="x", sequence=it, state=state) for it, state in NUMBERED))
    seen = [it.sequence async for it in client(monkeypatch, topic).follow("x")]
    assert [0, 1, 2] == seen
    assert [([0, 1, 2], 0)] == topic.asked


NUMBERED = ((0, "accepted"), (0, "accepted"), (1, "building"), (0, "accepted"), (1, "building"), (2, "failed"))


async def test_two_users_with_one_id_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """For an id that two users used, the client follows the partition of the first status."""
    topic = Topic(
        status(requestId="x", sequence=0, state="accepted", source=at(1, 3)),
        status(requestId="x", sequence=3, state="failed", source=at(2, 5)),
        status(requestId="x", sequence=1, state="rejected", source=at(1, 3)),
    )
    assert "rejected" == (await client(monkeypatch, topic).wait("x")).state


async def test_several_are_followed_until_all_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several requests are followed until all have ended, each under its requested id; none means no statuses."""
    topic = Topic(
        status(requestId="record-0-7-0123", sequence=0, state="rejected", source=at(0, 7)),
        status(requestId="b", sequence=0, state="accepted", source=at(1, 1)),
        status(requestId="b", sequence=1, state="rejected", source=at(1, 1)),
        status(requestId="b", sequence=2, state="failed", source=at(1, 1)),
    )
    made = client(monkeypatch, topic, OURS)
    seen = [(name, it.state) async for name, it in made.follow_all(["r-1", "b"])]
    assert [("r-1", "rejected"), ("b", "accepted"), ("b", "rejected")] == seen
    assert [] == [it async for it in made.follow_all([])]


async def test_nothing_is_sent_by_a_client_that_only_follows() -> None:
    """A client that only follows has no producer and raises on submit."""
    made = DeployerClient(KafkaSettings(bootstrap_servers="localhost:9092"), sends=False)
    with pytest.raises(RuntimeError, match="does not send"):
        await made.submit(UUID(int=1), UUID(int=2), "a.b.c")
