"""A playground that counts what it receives, and misbehaves on request."""

import asyncio
import base64
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from hashlib import sha256

from aiohttp import web

DASHBOARD = "/dashboard?selected_deployment_id="

Answer = Callable[[str], Awaitable[web.StreamResponse | None]]


class CountingPlayground:
    """A playground that records its POSTs by Idempotency-Key, which is the request id."""

    def __init__(self) -> None:
        self.posts = Counter[str]()  # complete POSTs
        self.bundles: dict[str, str] = {}  # SHA-256 of the zip
        self.overlaps = 0  # POSTs that arrived while another POST of the same user was running
        self.latency = 0.05
        self.running = Counter[str]()
        self.answer: Answer | None = None  # replaces the answer "deployed" once the body was read; None: deployed

    def app(self) -> web.Application:
        """Return the application to serve."""
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_post("/deploy_solution", self._deploy)
        return app

    async def _deploy(self, request: web.Request) -> web.StreamResponse:
        key = request.headers["Idempotency-Key"]
        body = json.loads(await request.read())
        user = body["username"]
        self.posts[key] += 1
        self.bundles[key] = sha256(base64.b64decode(body["solution"])).hexdigest()
        self.overlaps += self.running[user] > 0
        self.running[user] += 1
        try:
            await asyncio.sleep(self.latency)
            if self.answer and (answer := await self.answer(key)):
                return answer
            return web.Response(text=f"{DASHBOARD}d-{sha256(key.encode()).hexdigest()[:20]}")
        finally:
            self.running[user] -= 1
