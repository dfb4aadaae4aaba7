"""A playground that counts what it received, and misbehaves when told."""

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
    """What it received, by Idempotency-Key, which is the request id."""

    def __init__(self) -> None:
        self.posts = Counter[str]()  # whole ones
        self.bundles: dict[str, str] = {}  # SHA-256 of the zip
        self.overlaps = 0  # POSTs that came while another one of the same user ran
        self.latency = 0.05
        self.running = Counter[str]()
        self.answer: Answer | None = None  # in place of "deployed", once the body was read; None: deployed

    def app(self) -> web.Application:
        """To be served."""
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
