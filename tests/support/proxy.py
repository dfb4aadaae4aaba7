"""A TCP proxy that misbehaves on request: latency, resets, half-open connections, a black hole."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Proxy:
    """A proxy that forwards to one address."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._writers: set[asyncio.StreamWriter] = set()
        self.latency = 0.0  # seconds before each chunk, in each direction
        self.open = asyncio.Event()  # cleared: a black hole, nothing arrives in either direction
        self.open.set()
        self.answers = asyncio.Event()  # cleared: half-open, requests arrive and answers do not
        self.answers.set()

    @asynccontextmanager
    async def served(self, host: str, port: int) -> AsyncIterator["Proxy"]:
        """Listen inside the block."""
        server = await asyncio.start_server(self._connected, host, port)
        try:
            yield self
        finally:
            server.close()
            self.reset()

    def reset(self) -> None:
        """Send RST on all connections, on both sides."""
        for writer in [*self._writers]:
            if writer.transport:
                writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            target_reader, target_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, target_writer}
        try:
            await asyncio.gather(
                self._forward(reader, target_writer, [self.open]),
                self._forward(target_reader, writer, [self.open, self.answers]),
            )
        finally:
            self._writers -= {writer, target_writer}
            for it in (writer, target_writer):
                it.transport.abort()

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gates: list[asyncio.Event]
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if self.latency:
                    await asyncio.sleep(self.latency)
                for gate in gates:
                    await gate.wait()
                writer.write(data)
                await writer.drain()
            writer.transport.abort()
