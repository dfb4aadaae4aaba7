"""Who may work now: one request per key, in the order they came, and so many at once in all."""

import asyncio
from collections import deque
from types import TracebackType

from worker.telemetry import stage


class Turns:
    """Hands out turns, one per key at a time."""

    def __init__(self) -> None:
        self._queues: dict[object, deque[Turn]] = {}

    def join(self, key: bytes | None) -> "Turn":
        """Queue behind the key's earlier turns, at once: the caller's order is the order of work.

        A record without a key queues behind nobody. The turn must be closed, entered or not.
        """
        turn = Turn(self, key if key is not None else object())
        queue = self._queues.setdefault(turn.key, deque())
        queue.append(turn)
        queue[0].first.set()
        return turn

    def leave(self, turn: "Turn") -> None:
        """Take a turn out of its queue, wherever it stands. Leaving twice does nothing."""
        queue = self._queues.get(turn.key)
        if queue is None or turn not in queue:
            return
        queue.remove(turn)
        if queue:
            queue[0].first.set()
        else:
            del self._queues[turn.key]


class Turn:
    """`async with turn:` waits until it is the first of its key."""

    def __init__(self, turns: Turns, key: object) -> None:
        self.key = key
        self.first = asyncio.Event()
        self._turns = turns

    async def __aenter__(self) -> None:
        try:
            with stage("turn"):
                await self.first.wait()
        except asyncio.CancelledError:
            self.close()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the next one go."""
        self._turns.leave(self)
