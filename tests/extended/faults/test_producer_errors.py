"""R11: every error of the transactional producer, at each of its calls."""

import asyncio
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError, for_code

from tests.extended.faults.report import Row, size
from tests.support.faults.world import World, open_world
from tests.support.topics import user_of
from worker import app
from worker.adapters.kafka.partition_store import KafkaPartitionStore
from worker.settings import KafkaSettings, Settings, read_settings

pytestmark = pytest.mark.timeout(3000)

# The brokers' numbers: fenced, an unknown error, concurrent, unmapped producer id, message too large, record list too
# large, coordinator not available, loading, not coordinator; and invalid transaction state, unknown producer id.
CODES = (47, 90, 48, 45, 10, 29, 14, 16, 51, 49, 59)
CALLS = ("start", "send", "written", "offsets", "before-commit", "after-commit")
PARTITIONS = 12

Plan = dict[str, tuple[str, int, int]]  # transactional id → call, error code, number of the transaction from now
OF = [user_of(partition, PARTITIONS) for partition in range(PARTITIONS)]


class FaultyProducer(AIOKafkaProducer):  # type: ignore[misc]  # aiokafka has no types
    """A producer that fails once, as planned."""

    plan: ClassVar[Plan]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._id = options["transactional_id"]

    def _fail_at(self, call: str) -> None:
        planned, code, count = self.plan.get(self._id, ("", 0, 0))
        if planned == call and count <= 1:
            del self.plan[self._id]
            raise for_code(code)(f"planned at {call}")
        if planned == call:
            self.plan[self._id] = (planned, code, count - 1)

    async def start(self) -> None:
        """Start the producer, which fences earlier producers."""
        self._fail_at("start")
        await super().start()

    async def send(self, *arguments: Any, **more: Any) -> Any:
        """Send one record."""
        self._fail_at("send")
        sent = await super().send(*arguments, **more)
        try:
            self._fail_at("written")
        except KafkaError as error:
            await sent
            failed = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            return failed
        return sent

    async def send_offsets_to_transaction(self, offsets: Any, group_id: str) -> None:
        """Send the offset, with the last status."""
        self._fail_at("offsets")
        await super().send_offsets_to_transaction(offsets, group_id)

    async def commit_transaction(self) -> None:
        """Commit; the commit may have succeeded although this raises."""
        self._fail_at("before-commit")
        await super().commit_transaction()
        self._fail_at("after-commit")


async def test_producer_errors(kafka: str, tmp_path: Path) -> None:
    """R11: after each error the partition is taken over again, and the request ends once and is deployed once."""
    row = Row("R11", "each error of the producer at each of its calls")
    times, random = size(1, 20), row.random()
    cases = [*product(CODES, CALLS)] * times
    random.shuffle(cases)

    class Planned(FaultyProducer):
        """The producer of this run."""

        plan: ClassVar[Plan] = {}

    def open_store(settings: KafkaSettings, consumer: AIOKafkaConsumer, cluster_id: str) -> KafkaPartitionStore:
        return KafkaPartitionStore(settings, consumer, cluster_id, open_producer=Planned)

    async with open_world(kafka, tmp_path, partitions=PARTITIONS, RUNTIME__HTTP_PORT="0") as world:
        stop = asyncio.Event()
        running = asyncio.create_task(app.run(read_settings(world.env, Settings), stop, open_store))
        for partition in range(PARTITIONS):
            await world.ask(f"first-{partition}", partition, OF[partition])
        await world.until_ended(world.asked)

        async def one_partition(partition: int) -> None:
            for number, (code, call) in enumerate(cases[partition::PARTITIONS]):
                await one_case(
                    world, Planned.plan, partition, f"r-{partition}-{number}", (call, code, random.randint(1, 3))
                )

        await asyncio.gather(*map(one_partition, range(PARTITIONS)))
        parked = await world.settle_parked()
        stop.set()
        await running
        verdict = world.judge()
    left = len(Planned.plan)
    kept = verdict.deployed == verdict.requests and not (
        verdict.lost or verdict.ended_twice or verdict.illegal or verdict.doubled_posts or verdict.wrong_bundles or left
    )
    row.report(verdict.figures() | {"errors": len(cases), "parked": parked}, kept=kept)
    assert kept


async def one_case(world: World, plan: Plan, partition: int, request_id: str, planned: tuple[str, int, int]) -> None:
    """Run one request with the error in one of its transactions; an error at `start` needs a failure before it."""
    transactional_id = f"{world.kafka.group_id}.{world.kafka.requests_topic}.{partition}"
    call, code, count = planned
    # Offsets are in the last transaction only, and a producer is started again only after a failure.
    plan[transactional_id] = (call, code, 1 if call in ("offsets", "start") else count)
    if call == "start":
        plan[transactional_id] = ("before-commit", code, 1)
    number = partition + PARTITIONS * (len(world.asked) % 20)
    await world.ask(request_id, number, OF[partition])
    if call == "start":
        await asyncio.sleep(0.1)
        plan.setdefault(transactional_id, ("start", code, 1))
    await world.until_ended([request_id])
    if plan.pop(transactional_id, None) and call == "start":
        await world.ask(f"{request_id}-again", number, OF[partition])
        await world.until_ended([f"{request_id}-again"])
