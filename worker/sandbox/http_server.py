"""HTTP servers on this machine, and the faults that they can be told to answer with."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

_STOPPING = web.AppKey("stopping", asyncio.Event)


@asynccontextmanager
async def served(app: web.Application, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve the application inside the block; yield its address, e.g. http://127.0.0.1:40123.

    Port 0 takes any free port.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield f"http://{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@dataclass(frozen=True, slots=True)
class Fault:
    """An answer in place of the real one. `hang` keeps the connection open without answering, `reset` drops it."""

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


def enable_faults(app: web.Application) -> None:
    """Prepare an application for faults: hanging answers end with it, so that it stops without delay."""
    stopping = app[_STOPPING] = asyncio.Event()

    async def stop(_: web.Application) -> None:
        stopping.set()

    app.on_shutdown.append(stop)
