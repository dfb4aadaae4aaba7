"""HTTP servers on this machine, and faults that tests inject into their answers."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

# A header Host (RFC 9110): a name or IPv4 address, or an IPv6 address in brackets, and a port. No `evil@` or `#.evil`,
# which a parser of URLs would split off.
_HOST = re.compile(r"(?:(?P<name>[a-z0-9._-]+)|\[(?P<ipv6>[a-f0-9:.]+)\])(?::[0-9]{1,5})?", re.IGNORECASE | re.ASCII)

_STOPPING = web.AppKey("stopping", asyncio.Event)


@asynccontextmanager
async def served(app: web.Application, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve the application during the block; yield its address, e.g. http://127.0.0.1:40123.

    Port 0 selects any free port.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield f"http://{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def own_names(*names: str) -> Middleware:
    """Return a middleware that accepts an IP address, localhost or one of `names` as the host, and refuses others.

    The owner of a domain can point it to this machine's address (DNS rebinding). A web page of that domain could then
    read this server's answers, but its requests name the domain as the host. An IP address has no such owner.
    """
    known = ("localhost", *names)

    @web.middleware
    async def refuse_others(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = _HOST.fullmatch(request.headers.get("Host", ""))
        if host and ((host["name"] or "").lower() in known or _is_address(host)):
            return await handler(request)
        return web.Response(status=421, text=f"This server answers only as {' or '.join(known)}, or by its address.")

    return refuse_others


def _is_address(host: re.Match[str]) -> bool:
    try:
        return bool(IPv6Address(host["ipv6"]) if host["ipv6"] else IPv4Address(host["name"]))
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that replaces an answer: another answer, a connection that hangs without one, or a reset connection."""

    status: int = 200
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    hang: bool = False
    reset: bool = False

    async def answer(self, request: web.Request) -> web.Response:
        """Produce the fault. A hanging connection is reset when the application stops."""
        if self.hang:
            await request.app[_STOPPING].wait()
        if (self.hang or self.reset) and request.transport is not None:
            request.transport.abort()
        return web.Response(status=self.status, text=self.body, content_type="text/html", headers=self.headers)


HANG = Fault(hang=True)
RESET = Fault(reset=True)
GARBAGE = Fault(body="<html><title>Welcome</title>This is not the requested content.")


def enable_faults(app: web.Application) -> None:
    """Prepare an application for faults: its shutdown ends hanging answers, so that it stops without delay."""
    stopping = app[_STOPPING] = asyncio.Event()

    async def stop(_: web.Application) -> None:
        stopping.set()

    app.on_shutdown.append(stop)
