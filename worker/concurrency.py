"""Independent work at the same time."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Return the results in order; on the first failure, cancel and await the rest, then raise that failure.

    Of several failures at the same time the first in order is raised, so that the same input gives the same error.
    """
    tasks: list[asyncio.Task[T]] = []
    try:
        async with asyncio.TaskGroup() as group:
            tasks += [group.create_task(one) for one in work]
    except ExceptionGroup:
        for task in tasks:
            if not task.cancelled():
                task.result()
        raise
    return [task.result() for task in tasks]
