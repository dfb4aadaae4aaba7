"""What the sandbox's servers can do wrong on purpose."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import web

_STOPPING = web.AppKey("stopping", asyncio.Event)


@dataclass(frozen=True, slots=True)
class Fault:
    """One wrong answer, or none: `hang` keeps the connection open without a word, `reset` drops it."""

    status: int = 200
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    hang: bool = False
    reset: bool = False

    async def answer(self, request: web.Request) -> web.Response:
        """Behave as described. A hanging answer ends when the application stops."""
        if self.hang:
            await request.app[_STOPPING].wait()
        if (self.hang or self.reset) and request.transport is not None:
            request.transport.abort()
        return web.Response(status=self.status, text=self.body, content_type="text/html", headers=self.headers)


HANG = Fault(hang=True)
RESET = Fault(reset=True)
GARBAGE = Fault(body="<html><title>Welcome</title>This is not what you asked for.")


def prepare(app: web.Application) -> None:
    """Let hanging answers end with the application, so that stopping it takes no time."""
    stopping = app[_STOPPING] = asyncio.Event()

    async def stop(_: web.Application) -> None:
        stopping.set()

    app.on_shutdown.append(stop)
