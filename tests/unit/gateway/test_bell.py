"""Notifications in the portal: what they say, and that each is sent once."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from schemas import DeploymentStatus
from tests.support.builders import REVISION_ID, SOLUTION_ID
from worker.gateway.bell import ATTEMPTS, Bell, NotSent

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
    """Takes what it is sent; the first of some paths fail."""

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
    """Notes them, and waits for none."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)


def bell(catalog: FakeCatalog, pauses: Pauses | None = None) -> Bell:
    return Bell(catalog.post, URL, (pauses or Pauses()).sleep)


async def test_the_user_is_told_with_the_pages_address() -> None:
    """A notification, and whose it is."""
    catalog = FakeCatalog()
    assert await bell(catalog).ring(ended(), "user/1")
    notification = {
        "title": "Deployed: Sudoku",
        "message": "It is on the playground. Its containers may take some minutes to start.",
        "msgSeverity": "LO",
        "url": f"{URL}/requests/r-1",
        "start": "2026-11-29T12:00:00.000Z",
        "end": "2026-12-06T12:00:00.000Z",
    }
    assert [("notif", notification), ("notif/n-7/user/user%2F1", None)] == catalog.posts


async def test_only_what_failed_is_sent_again() -> None:
    """So that a retry of the second call makes no second notification; pauses grow."""
    catalog, pauses = FakeCatalog("notif", *["notif/n-7/user/u"] * 2), Pauses()
    assert await bell(catalog, pauses).ring(ended(), "u")
    assert ["notif", "notif", *["notif/n-7/user/u"] * 3] == [path for path, _ in catalog.posts]
    assert [2.0, 2.0, 4.0] == pauses.seconds


async def test_what_is_never_taken_is_given_up() -> None:
    """In about a minute, for others wait behind it."""
    catalog, pauses = FakeCatalog(*["notif"] * 100), Pauses()
    assert not await bell(catalog, pauses).ring(ended(), "u")
    assert ATTEMPTS == len(catalog.posts)
    assert sum(pauses.seconds) < 70


@pytest.mark.parametrize(("name", "error"), [("x" * 100, "y" * 1000), (None, None)])
def test_it_fits_into_the_database(name: str | None, error: str | None) -> None:
    """Titles of 100 characters, messages of 2,048, addresses of 512."""
    why = {"code": "internal", "message": error, "stage": "internal", "retryable": False} if error else None
    status = ended(state="failed", solution_name=name, error=why, request_id="r" * 128)
    said = Bell(FakeCatalog().post, f"https://{'p' * 380}.example").notification(status)
    assert (True, True) == (len(said["title"]) <= 100, len(said["message"]) <= 2048)
    assert ("ME", True) == (said["msgSeverity"], len(said["url"]) <= 512)
