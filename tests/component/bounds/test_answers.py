"""Broken and hostile answers of CCDS, Nexus and the playground: each leads to its code, in time, in little memory."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr

from tests.support.corpus import record
from tests.unit.refusals.answers import BROKEN, GONE, LARGE, SLOW, UNWANTED, Speak
from worker.adapters.graphene import ArtifactsClient, CatalogClient
from worker.adapters.http import dependency_session
from worker.adapters.playground import PlaygroundClient, playground_session
from worker.errors import DeploymentError
from worker.settings import ArtifactsSettings, CatalogSettings, PlaygroundSettings

Ask = Callable[[str, float], Coroutine[Any, Any, object]]


async def artifacts(url: str, seconds: float) -> object:
    """Fetch one file."""
    options = ArtifactsSettings(url=url, username="u", password=SecretStr("p"), timeout_seconds=seconds)
    async with dependency_session() as session:
        return await ArtifactsClient(session, options).fetch(["a.proto"])


async def catalog(url: str, seconds: float) -> object:
    """Find one solution; every answer is hostile, including those for its picture and description."""
    options = CatalogSettings(url=url, username="u", password=SecretStr("p"), timeout_seconds=seconds)
    async with dependency_session() as session:
        return await CatalogClient(session, options).find(UUID(int=1), UUID(int=2), None)


async def playground(url: str, seconds: float) -> object:
    """Submit one bundle."""
    options = PlaygroundSettings(deploy_url=f"{url}/deploy_solution", timeout_seconds=seconds)
    async with playground_session(options) as session:
        return await PlaygroundClient(session, options).submit(b"zip", "ada@example.org", "request-1", seconds)


CODES: dict[Ask, dict[str, str]] = {
    artifacts: {
        "large": "artifact-too-large",
        "broken": "artifacts-error",
        "gone": "artifacts-unavailable",
        "slow": "artifacts-timeout",
    },
    catalog: {
        "large": "catalog-error",
        "broken": "catalog-error",
        "gone": "catalog-unavailable",
        "slow": "catalog-timeout",
    },
    playground: {
        "large": "playground-refused",
        "broken": "outcome-unknown",
        "gone": "outcome-unknown",
        "slow": "outcome-unknown",
    },
}
AT_ONCE = {"large": LARGE, "broken": BROKEN, "gone": GONE}
REFUSED: dict[Ask, str] = {artifacts: "[None]", catalog: "solution-not-found", playground: "playground-refused"}
FAILED: dict[Ask, str] = {artifacts: "artifacts-error", catalog: "catalog-error", playground: "outcome-unknown"}
REDIRECTED: dict[Ask, str] = {
    artifacts: "artifacts-error",
    catalog: "catalog-error",
    playground: "playground-redirected",
}


@asynccontextmanager
async def dependency(speak: Speak) -> AsyncIterator[str]:
    """Serve this answer, and yield the URL."""
    running: set[asyncio.Task[Any]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        running.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await reader.readuntil(b"\r\n\r\n")
            await speak(writer)
        writer.close()
        running.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    for task in running.copy():
        task.cancel()
    await asyncio.sleep(0)


async def verdict(ask: Ask, speak: Speak, seconds: float) -> tuple[str, float]:
    """Return the resulting code and the seconds taken; any other exception fails the test."""
    async with dependency(speak) as url:
        start = time.perf_counter()
        try:
            said = repr(await ask(url, seconds))[:60]
        except DeploymentError as error:
            said = error.code
        return said, time.perf_counter() - start


AT_ONE_TIME = 4


async def wrong_at_once(ask: Ask) -> list[tuple[str, str, float]]:
    """Return the answers that lead to a wrong code, or not at once."""
    found = []
    for kind, answers in AT_ONCE.items():
        for name, speak in answers.items():
            said, seconds = await verdict(ask, speak, 30)
            if said != CODES[ask][kind] or seconds > 15:  # half of the time-out: a machine may stall for a while
                found.append((name, said, seconds))
    return found


async def wrong_when_slow(ask: Ask, limit: float) -> list[tuple[str, str, float]]:
    """Return the slow answers that lead neither to the time-out nor, before it, to the code of their error.

    Only a few run at once: some keep the event loop busy, and so keep others from connecting. Results from a stalled
    machine are worthless. A sleep detects a stall, and the answers are tried again.
    """
    found: list[tuple[str, str, float]] = []
    left, slow = list(SLOW.items()), CODES[ask]["slow"]
    sooner = {CODES[ask][it] for it in AT_ONCE}  # an endless answer exceeds the limit at some time
    while left:
        some = left[:AT_ONE_TIME]
        sleeping = asyncio.create_task(slept(limit))
        verdicts = await asyncio.gather(*(verdict(ask, speak, limit) for _, speak in some))
        wrong = [
            (name, said, seconds)
            for (name, _), (said, seconds) in zip(some, verdicts, strict=True)
            if not ((said == slow and limit / 2 < seconds < limit + 5) or (said in sooner and seconds < limit + 5))
        ]
        if await sleeping < limit + 0.5 or not wrong:
            found, left = found + wrong, left[AT_ONE_TIME:]
    return found


async def slept(seconds: float) -> float:
    """Sleep, and return the seconds that it took."""
    start = time.perf_counter()
    await asyncio.sleep(seconds)
    return time.perf_counter() - start


@pytest.mark.parametrize("ask", CODES)
async def test_every_evil_answer_ends_in_its_code(ask: Ask) -> None:
    """Every hostile answer leads to its code: at once if too large, broken or closed, otherwise at the time-out."""
    wrong = await wrong_at_once(ask) + await wrong_when_slow(ask, 3.0)
    record(f"evil answers ({ask.__name__})", sum(map(len, AT_ONCE.values())) + len(SLOW), len(wrong))
    assert [] == wrong


@pytest.mark.parametrize("ask", CODES)
@pytest.mark.parametrize("name", UNWANTED)
async def test_a_body_nobody_wants_is_not_waited_for(ask: Ask, name: str) -> None:
    """A body that is not needed is not awaited: the status alone decides."""
    codes = {"an error": FAILED, "a refusal": REFUSED, "a redirect": REDIRECTED}[" ".join(name.split()[:2])]
    said, seconds = await verdict(ask, UNWANTED[name], 5)
    assert codes[ask] == said
    assert seconds < 20
