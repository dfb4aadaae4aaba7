"""Limits for downloads of bundles: how many at a time, and the minimum speed of the reader."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from worker.gateway.headers import add_headers
from worker.gateway.metrics import DOWNLOADS_CUT_OFF
from worker.gateway.service import TooMany

MAX_KEPT = 4  # bundles in memory, being built or downloaded
MAX_DOWNLOADS = 20  # including the downloads that wait for one of the MAX_KEPT slots
MAX_DOWNLOADS_PER_USER = 2
CHUNK = 256 * 1024
CHUNK_SECONDS = 10.0  # for one chunk: 0.2 Mbit/s


class Downloads:
    """The downloads of one replica."""

    def __init__(self) -> None:
        self._of: Counter[str] = Counter()
        self._slots = asyncio.Semaphore(MAX_KEPT)

    @asynccontextmanager
    async def slot(self, user_id: str) -> AsyncIterator[None]:
        """Wait for a slot, and hold it during the block. Raises TooMany."""
        if self._of[user_id] >= MAX_DOWNLOADS_PER_USER:
            raise TooMany(f"{MAX_DOWNLOADS_PER_USER} of your downloads are not finished yet. Wait for one.")
        if self._of.total() >= MAX_DOWNLOADS:
            raise TooMany("Too many solutions are being downloaded. Try again in a while.")
        self._of[user_id] += 1
        try:
            async with self._slots:
                yield
        finally:
            self._of[user_id] -= 1
            self._of += Counter()  # drop users without downloads


async def send(request: web.Request, data: bytes, response: web.StreamResponse) -> web.StreamResponse:
    """Send the body in chunks. A slow reader receives the whole body; a reader that stops is cut off."""
    response.content_length = len(data)
    add_headers(request, response)
    try:
        await response.prepare(request)
        for start in range(0, len(data), CHUNK):
            async with asyncio.timeout(CHUNK_SECONDS):
                await response.write(data[start : start + CHUNK])
        async with asyncio.timeout(CHUNK_SECONDS):
            await response.write_eof()
    except TimeoutError:
        DOWNLOADS_CUT_OFF.inc()
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("The download is not read any more") from None
    return response
