"""Real HTTP servers for the clients to talk to."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Serve = Callable[[Handler], Awaitable[str]]
ServeRaw = Callable[[Talk], Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Handler], Awaitable[str]]]:
    """Yield a function that serves a handler for every request and returns the URL without a trailing slash."""
    async with AsyncExitStack() as stack:

        async def start(handler: Handler) -> str:
            app = web.Application(client_max_size=64 * 1024 * 1024)
            app.router.add_route("*", "/{path:.*}", handler)
            server = TestServer(app, handler_cancellation=True, shutdown_timeout=1)
            await stack.enter_async_context(server)
            return str(server.make_url("")).rstrip("/")

        yield start


@pytest.fixture
async def serve_raw() -> AsyncIterator[Callable[[Talk], Awaitable[str]]]:
    """Yield a function that serves a handler on plain TCP and returns host:port."""
    servers: list[asyncio.Server] = []

    async def start(talk: Talk) -> str:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await talk(reader, writer)
            finally:
                writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        servers.append(server)
        host, port = server.sockets[0].getsockname()
        return f"{host}:{port}"

    yield start
    for server in servers:
        server.close()
        await server.wait_closed()
