"""A gateway in one process without Kafka: published requests go into a list, and the test supplies the statuses."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from aiokafka.errors import KafkaConnectionError
from pydantic import SecretStr

from schemas import DeploymentStatus, fingerprint
from tests.support.builders import REVISION_ID, SOLUTION_ID
from tests.support.openapi import wrong_with
from worker.adapters.tokens import TokenVerifier
from worker.client.requests import OutgoingRequest
from worker.gateway.app import web_app
from worker.gateway.http import Connections
from worker.gateway.pages import Pages
from worker.gateway.routes import Routes
from worker.gateway.service import Gateway
from worker.gateway.sessions import Sessions
from worker.gateway.view import View
from worker.sandbox.users import JWT_SECRET, SANDBOX_USER, User, sandbox_token
from worker.settings import AuthSettings, GatewaySettings

PREFIX = "/playground-deployer"
CLICK = f"/deploy/{SOLUTION_ID}/{REVISION_ID}"
BROWSER = {
    "Accept": "text/html,application/xhtml+xml,*/*;q=0.8",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
}
KEY = "k" * 32
DEPLOYMENT = {"id": "sudoku-1", "url": "https://playground.example/dashboard?selected_deployment_id=sudoku-1"}


class FakeReader:
    """A reader whose connection to Kafka the test controls."""

    def __init__(self) -> None:
        self.is_connected = True
        self.is_complete = True
        self.as_of: datetime | None = datetime(2026, 11, 29, 12, 3, tzinfo=UTC)


class FakePublisher:
    """A publisher that appends requests to a list; `script` holds the statuses that workers publish for each."""

    def __init__(self) -> None:
        self.published: list[OutgoingRequest] = []
        self.script: tuple[dict[str, Any], ...] = ()
        self.is_away = False
        self.view: View

    def partition(self, key: bytes) -> int:
        return len(key) % 3

    async def publish(self, request: OutgoingRequest, *, key: bytes) -> int:
        if self.is_away:
            raise KafkaConnectionError
        self.published.append(request)
        offset = len(self.published) - 1
        for sequence, changes in enumerate(self.script):
            say(self.view, sequence, request_id=request.request_id, offset=offset, **changes)
        return offset


class FakeBuilder:
    """A builder whose bundle names its caller."""

    async def build(self, solution_id: UUID, revision_id: UUID, caller: Any) -> Any:
        class Bundle:
            data = b"PK of " + caller.user_id.encode()

        return None, Bundle


@dataclass
class FakeOperations:
    """Operations that record their calls."""

    done: list[tuple[Any, ...]] = field(default_factory=list)

    async def deploy_again(self, publisher: Any, last: DeploymentStatus, key: bytes, nonce: str) -> str:
        self.done.append(("again", last.request_id, key, nonce))
        return "again-1"

    async def settle(self, last: DeploymentStatus, outcome: str, reason: str, by: str) -> None:
        self.done.append(("settle", last.request_id, outcome, reason, by))

    async def replay(self, publisher: Any, request_id: str) -> str:
        self.done.append(("replay", request_id))
        return "replay-1"


@dataclass
class Clock:
    """The time of day plus the seconds that a test has added."""

    later: float = 0.0  # seconds

    def __call__(self) -> float:
        return datetime.now(UTC).timestamp() + self.later


@dataclass
class Door:
    """The gateway and its fakes."""

    client: TestClient[Any, Any]
    view: View
    publisher: FakePublisher
    reader: FakeReader
    operations: FakeOperations
    gateway: Gateway
    clock: "Clock"
    prefix: str
    pages: Pages

    def say(self, sequence: int, state: str = "accepted", **changes: Any) -> None:
        say(self.view, sequence, state, **changes)

    async def get(self, path: str, **options: Any) -> Any:
        """Send a GET as a browser whose cookie is valid for the prefix."""
        return await self.client.get(
            path if path.startswith(PREFIX) else self.prefix + path, allow_redirects=False, **options
        )

    async def post(self, path: str, **options: Any) -> Any:
        return await self.client.post(self.prefix + path, allow_redirects=False, **options)

    async def log_in(self, user: User = SANDBOX_USER, **roles: Any) -> None:
        """Get a session, as a click does."""
        response = await self.get(f"{CLICK}?jwtToken={token(user, **roles)}", headers=BROWSER)
        assert response.status in (302, 303), await response.text()


def token(user: User = SANDBOX_USER, hours: float = 1, **options: Any) -> str:
    return sandbox_token(datetime.now(UTC), timedelta(hours=hours), user=user, **options)


def say(view: View, sequence: int, state: str = "accepted", user: User = SANDBOX_USER, **changes: Any) -> None:
    """Let a worker publish a status."""
    partition, offset = changes.pop("partition", len(user.user_id) % 3), changes.pop("offset", 0)
    status: dict[str, Any] = {
        "request_id": "r-1",
        "sequence": sequence,
        "state": state,
        "time": datetime.now(UTC),
        "attempt": 1,
        "solution_id": SOLUTION_ID,
        "revision_id": REVISION_ID,
        "message": "Something happened.",
        "source": {"topic": "requests", "partition": partition, "offset": offset},
    } | changes
    status.setdefault("fingerprint", fingerprint(user.user_id, status["solution_id"], status["revision_id"]))
    view.apply(partition, DeploymentStatus.model_validate(status).to_json())


def door_of(
    public_url: str = f"http://portal.example{PREFIX}", connections: Connections | None = None, **changes: Any
) -> tuple[web.Application, Routes, Any]:
    """Return the app, its routes, and a factory that makes the Door of a client; `changes` go into the settings."""
    defaults = {"session_key": KEY, "public_url": public_url, "wait_seconds": 0.05}
    own = GatewaySettings.model_validate(defaults | changes)
    auth = AuthSettings(secret=SecretStr(JWT_SECRET))
    view, reader, publisher = View(own.view_max_requests, own.view_max_bytes), FakeReader(), FakePublisher()
    publisher.view = view
    now = Clock()
    gateway = Gateway(own, TokenVerifier(auth, now), Sessions(own, now), view, reader, lambda: publisher)  # type: ignore[arg-type,return-value]
    operations = FakeOperations()
    prefix = urlsplit(public_url).path.rstrip("/")
    pages = Pages(prefix, own.public_url, own.portal_url)
    routes = Routes(gateway, FakeBuilder(), operations, pages, own)  # type: ignore[arg-type]
    opened = partial(Door, view=view, publisher=publisher, reader=reader, operations=operations, gateway=gateway)
    opened = partial(opened, clock=now, prefix=prefix, pages=pages)
    return web_app(routes, connections or Connections()), routes, opened


@asynccontextmanager
async def open_door(public_url: str = f"http://portal.example{PREFIX}", **changes: Any) -> AsyncIterator[Door]:
    """Serve the gateway; `changes` go into its settings."""
    app, routes, opened = door_of(public_url, **changes)
    wrong, prefix = list[str](), urlsplit(public_url).path.rstrip("/")

    async def compare(request: web.Request, response: web.StreamResponse) -> None:
        wrong.extend(filter(None, [wrong_with(request, response, prefix)]))

    app.on_response_prepare.append(compare)
    async with TestClient(TestServer(app)) as client:
        yield opened(client)
        routes.stopping.set()
    assert [] == wrong  # in every test, the OpenAPI document covers each answer
