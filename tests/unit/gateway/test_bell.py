"""The portal's notifications: their content, and that each is sent once."""

import asyncio
import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from pydantic import SecretStr

from schemas import DeploymentStatus
from tests.support.builders import REVISION_ID, SOLUTION_ID
from worker import concurrency
from worker.gateway import bell as module
from worker.gateway.bell import ATTEMPTS, Bell, NotSent
from worker.gateway.metrics import BACKGROUND_FAILURES, NOTIFICATIONS
from worker.settings import CatalogSettings, KafkaSettings

KAFKA = KafkaSettings(bootstrap_servers="127.0.0.1:1")
URL = "https://portal.example/playground"


def ended(**changes: Any) -> DeploymentStatus:
    return DeploymentStatus.model_validate(
        {
            "request_id": "r-1",
            "sequence": 3,
            "state": "deployed",
            "time": datetime(2026, 11, 29, 12, tzinfo=UTC),
            "attempt": 1,
            "solution_id": SOLUTION_ID,
            "revision_id": REVISION_ID,
            "solution_name": "Sudoku",
            "message": "Deployed.",
            "source": {"topic": "requests", "partition": 0, "offset": 0},
        }
        | changes
    )


class FakeCatalog:
    """A catalog that records each POST and fails the first calls of the given paths."""

    def __init__(self, *failures: str) -> None:
        self.posts: list[tuple[str, Any]] = []
        self._failures = list(failures)

    async def post(self, path: str, body: bytes) -> bytes:
        self.posts.append((path, json.loads(body) if body else None))
        if path in self._failures:
            self._failures.remove(path)
            raise NotSent("status 500")
        return b'{"notificationId": "n-7"}' if path == "notif" else b"{}"


class Pauses:
    """A sleep that records its seconds and returns at once."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)


def bell(catalog: FakeCatalog, pauses: Pauses | None = None) -> Bell:
    return Bell(catalog.post, URL, (pauses or Pauses()).sleep)


async def test_the_user_is_told_with_the_pages_address() -> None:
    """A notification links to the request's page and is assigned to its user."""
    catalog = FakeCatalog()
    assert await bell(catalog).ring(ended(), "user/1")
    notification = {
        "title": "Deployed: Sudoku",
        "message": "The solution is on the playground. Its containers may take a few minutes to start.",
        "msgSeverity": "LO",
        "url": f"{URL}/requests/r-1",
        "start": "2026-11-29T12:00:00.000Z",
        "end": "2026-12-06T12:00:00.000Z",
    }
    assert [("notif", notification), ("notif/n-7/user/user%2F1", None)] == catalog.posts


async def test_only_what_failed_is_sent_again() -> None:
    """Only the call that failed is repeated, with growing pauses.

    A retry of the second call therefore creates no second notification.
    """
    catalog, pauses = FakeCatalog("notif", *["notif/n-7/user/u"] * 2), Pauses()
    assert await bell(catalog, pauses).ring(ended(), "u")
    assert ["notif", "notif", *["notif/n-7/user/u"] * 3] == [path for path, _ in catalog.posts]
    assert [2.0, 2.0, 4.0] == pauses.seconds


async def test_what_is_never_taken_is_given_up() -> None:
    """A notification that keeps failing is given up after about a minute, because others wait behind it."""
    catalog, pauses = FakeCatalog(*["notif"] * 100), Pauses()
    assert not await bell(catalog, pauses).ring(ended(), "u")
    assert ATTEMPTS == len(catalog.posts)
    assert sum(pauses.seconds) < 70


@pytest.mark.parametrize(("name", "error"), [("x" * 100, "y" * 1000), (None, None)])
def test_it_fits_into_the_database(name: str | None, error: str | None) -> None:
    """A notification fits the database: 100 characters for titles, 2,048 for messages, 512 for addresses."""
    why = {"code": "internal", "message": error, "stage": "internal", "retryable": False} if error else None
    status = ended(state="failed", solution_name=name, error=why, request_id="r" * 128)
    said = Bell(FakeCatalog().post, f"https://{'p' * 380}.example").notification(status)
    assert (True, True) == (len(said["title"]) <= 100, len(said["message"]) <= 2048)
    assert ("ME", True) == (said["msgSeverity"], len(said["url"]) <= 512)


@pytest.mark.parametrize(("backoff", "expected"), [(0.001, 5), (600, 1)])
async def test_whatever_fails_does_not_end_the_notifications(
    backoff: float, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any failure is counted, and the topic is read again after a backoff, which a stop ends at once."""
    again, runs = asyncio.Event(), 0
    counted = BACKGROUND_FAILURES.labels("notifications")._value
    before = counted.get()
    monkeypatch.setattr(concurrency, "PAUSE_SECONDS", backoff)

    async def follow(*_: Any) -> None:
        nonlocal runs
        runs += 1
        if runs == expected:
            again.set()
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "as a record's header can be")

    catalog = CatalogSettings(url="http://127.0.0.1:1", username="u", password=SecretStr("p"))
    async with asyncio.timeout(5):  # less than STOP_SECONDS
        async with module.ringing(KAFKA, catalog, "http://gateway.example", follow):
            await again.wait()
        assert runs == counted.get() - before
    assert expected <= runs


async def test_one_notification_that_fails_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect loses one notification; while Kafka is unreachable the same record is read again."""
    failure: Exception = ValueError("a record no one has imagined")

    async def user_of(*_: object) -> str:
        raise failure

    monkeypatch.setattr(module, "_user_of", user_of)
    given_up = NOTIFICATIONS.labels("given-up")._value
    before = given_up.get()
    message = ended(fingerprint="0" * 64).to_message("status", "/tests")
    record = SimpleNamespace(value=message.value, headers=message.headers)
    await module._tell(record, bell(FakeCatalog()), None, KAFKA)
    assert 1 == given_up.get() - before
    failure = KafkaConnectionError()
    with pytest.raises(KafkaConnectionError):
        await module._tell(record, bell(FakeCatalog()), None, KAFKA)
