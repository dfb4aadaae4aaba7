"""The statuses on a topic, as a client of the contract reads them."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas import FINAL_STATES, DeploymentStatus

Reached = Callable[[list[DeploymentStatus]], bool]


class Statuses:
    """All committed statuses by request id, from the topic's beginning; they grow while the topic is followed.

    `places` are partition and offset of records: a request that was never accepted has a record id.
    """

    def __init__(self) -> None:
        self.of: dict[str, list[DeploymentStatus]] = defaultdict(list)
        self.places: dict[str, tuple[int, int]] = {}
        self._at: dict[tuple[int, int], list[DeploymentStatus]] = defaultdict(list)
        self._changed = asyncio.Condition()
        self._failure: BaseException | None = None

    def about(self, request_id: str) -> list[DeploymentStatus]:
        """Return the statuses with this id, or else the statuses about the record that brought it."""
        return self.of.get(request_id) or self._at.get(self.places.get(request_id, (-1, -1)), [])

    def by_request(self) -> dict[str, list[DeploymentStatus]]:
        """Return all statuses, under the ids that their records brought where those are known."""
        brought = {request_id: self.about(request_id) for request_id in self.places}
        known = {statuses[0].request_id for statuses in brought.values() if statuses}
        return {name: list(of) for name, of in [*self.of.items(), *brought.items()] if name not in known - {*brought}}

    async def until(self, request_ids: Iterable[str], reached: Reached, seconds: float = 120) -> None:
        """Wait until each of these requests has statuses that satisfy the condition. Raises TimeoutError."""
        wanted = list(request_ids)

        def left() -> list[str]:
            return [it for it in wanted if not self.about(it) or not reached(self.about(it))]

        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(lambda: self._failure or not left())
        except TimeoutError:
            where = [(it, [status.state.value for status in self.about(it)]) for it in left()]
            raise TimeoutError(f"after {seconds} s: {where}") from None
        if self._failure:
            raise self._failure

    async def read(self, reader: AIOKafkaConsumer) -> None:
        """Follow the topic until cancelled."""
        try:
            while True:
                for records in (await reader.getmany(timeout_ms=200)).values():
                    async with self._changed:
                        for record in records:
                            status = DeploymentStatus.model_validate_json(record.value)
                            assert f"{status.request_id}:{status.sequence}".encode() == dict(record.headers)["ce_id"]
                            assert status.source.partition == record.partition
                            self.of[status.request_id].append(status)
                            self._at[record.partition, status.source.offset].append(status)
                        self._changed.notify_all()
        except Exception as error:
            async with self._changed:
                self._failure = error
                self._changed.notify_all()
            raise


@asynccontextmanager
async def followed_statuses(bootstrap_servers: str, topic: str, partitions: int) -> AsyncIterator[Statuses]:
    """Read the topic in the background inside the block."""
    statuses = Statuses()
    reader = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    async with reader:
        reader.assign([TopicPartition(topic, number) for number in range(partitions)])
        reading = asyncio.create_task(statuses.read(reader))
        try:
            yield statuses
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


def ended(statuses: list[DeploymentStatus]) -> bool:
    """Return whether there is a final status among these."""
    return any(status.state in FINAL_STATES for status in statuses)
