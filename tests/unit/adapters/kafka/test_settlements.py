"""The reader of settlements: a settlement that fails affects no other."""

import asyncio
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition

from schemas import DeploymentSettled
from worker.adapters.kafka import settlements
from worker.adapters.kafka.settlements import SettlementReader

VALUE = b'{"requestId": "r-%d", "attempt": 1, "outcome": "failed", "by": "ada", "reason": "I looked."}'


class Consumer:
    """A partition with three settlements."""

    def __init__(self) -> None:
        self._at = 0

    def assign(self, _: object) -> None:
        """Do nothing."""

    def seek(self, _: TopicPartition, offset: int) -> None:
        self._at = offset

    async def getmany(self, **_: object) -> dict[TopicPartition, list[Any]]:
        await asyncio.sleep(0)
        first, self._at = self._at, 3
        records = [SimpleNamespace(offset=it, value=VALUE % it) for it in range(first, 3)]
        return {TopicPartition("t", 0): records} if records else {}


async def test_a_settlement_that_fails_stops_no_other(monkeypatch: Any) -> None:
    """After a settlement fails, the settlements behind it are read, and it is not read again."""
    monkeypatch.setattr(settlements, "RETRY_SECONDS", 0)
    seen: list[str] = []
    done = asyncio.Event()

    def on_settlement(_: int, settled: DeploymentSettled) -> None:
        seen.append(settled.request_id)
        if settled.request_id == "r-1":
            raise ValueError("a defect")
        if settled.request_id == "r-2":
            done.set()

    reader = SettlementReader(Consumer(), "t", on_settlement)
    reader.watch(frozenset({0}))
    task = asyncio.create_task(reader.run())
    async with asyncio.timeout(5):
        await asyncio.wait((task, asyncio.ensure_future(done.wait())), return_when=asyncio.FIRST_COMPLETED)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert ["r-0", "r-1", "r-2"] == seen
