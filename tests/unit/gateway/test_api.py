"""The API that programs call."""

import asyncio
import json
from typing import Any

import pytest

from tests.support.builders import REVISION_ID, SOLUTION_ID
from tests.unit.gateway.door import PREFIX, open_door, token
from worker.gateway import answers
from worker.gateway.connection import MAX_BODY
from worker.sandbox.users import STRANGER

ASKED = {"solutionId": str(SOLUTION_ID), "revisionId": str(REVISION_ID)}


def bearer(**options: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(**options)}"}


async def test_a_deployment_is_created() -> None:
    """A created deployment is answered with 202, its location, `Retry-After`, and the published status."""
    async with open_door() as door:
        door.publisher.script = ({"state": "accepted"},)
        response = await door.post("/v1/deployments", json=ASKED, headers=bearer())
        body = await response.json()
        assert (202, "accepted") == (response.status, body["state"])
        assert f"{PREFIX}/v1/deployments/{body['requestId']}" == response.headers["Location"]
        assert "2" == response.headers["Retry-After"]
        assert f'"{body["requestId"]}:0"' == response.headers["ETag"]


async def test_kafka_away_is_said_to_programs() -> None:
    """While Kafka is unavailable a program is told to send the same idempotency key, and not to reload a page."""
    async with open_door() as door:
        door.publisher.is_away = True
        response = await door.post("/v1/deployments", json=ASKED, headers=bearer())
        problem = await response.json()
        assert (503, "5", "kafka-unavailable") == (response.status, response.headers["Retry-After"], problem["code"])
        assert (True, False) == ("Idempotency-Key" in problem["detail"], "page" in problem["detail"])


async def test_a_key_makes_it_once() -> None:
    """An idempotency key creates one deployment per user; reusing the key with another body is rejected."""
    async with open_door() as door:
        door.publisher.script = ({"state": "accepted"},)
        headers = bearer() | {"Idempotency-Key": '"order-1"'}
        first = await (await door.post("/v1/deployments", json=ASKED, headers=headers)).json()
        second = await (await door.post("/v1/deployments", json=ASKED, headers=headers)).json()
        assert (first, 1) == (second, len(door.publisher.published))
        other = await door.post("/v1/deployments", json=ASKED | {"revisionId": str(SOLUTION_ID)}, headers=headers)
        assert (422, "idempotency-key-reused") == (other.status, (await other.json())["code"])
        theirs = bearer(user=STRANGER) | {"Idempotency-Key": '"order-1"'}
        assert 202 == (await door.post("/v1/deployments", json=ASKED, headers=theirs)).status
        assert 2 == len({it.request_id for it in door.publisher.published})


async def test_a_key_has_a_length() -> None:
    """A key that is too long is answered with 400, and nothing is published."""
    async with open_door() as door:
        headers = bearer() | {"Idempotency-Key": "k" * 256}
        assert 400 == (await door.post("/v1/deployments", json=ASKED, headers=headers)).status
        assert [] == door.publisher.published


async def test_a_request_is_there_before_its_first_status() -> None:
    """A request's address answers its user, and no other user, before the first status.

    A rejection under a record id is found at the same address.
    """
    async with open_door() as door:
        created = await door.post("/v1/deployments", json=ASKED, headers=bearer() | {"Prefer": "wait=0"})
        path, body = created.headers["Location"], await created.json()
        read = await door.get(path, headers=bearer())
        assert (200, body) == (read.status, await read.json())
        assert 404 == (await door.get(path, headers=bearer(user=STRANGER))).status
        refused = {"code": "token-expired", "message": "No.", "stage": "authenticate", "retryable": False}
        door.say(0, "rejected", request_id="record-0-0-0123", fingerprint=None, error=refused)
        found = await door.get(path, headers=bearer())
        assert ("rejected", "record-0-0-0123") == ((it := await found.json())["state"], it["requestId"])


async def test_without_a_key_each_is_another_one() -> None:
    """Without an idempotency key every POST creates a new deployment: a program that repeats safely sends a key."""
    async with open_door() as door:
        for _ in range(2):
            await door.post("/v1/deployments", json=ASKED, headers=bearer() | {"Prefer": "wait=0"})
        assert 2 == len({it.request_id for it in door.publisher.published})


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "not-json"),
        (b"{", "not-json"),
        (b"[]", "invalid-request"),
        (b"{}", "invalid-request"),
        (json.dumps(ASKED | {"solutionId": 5}).encode(), "invalid-request"),
        (json.dumps(ASKED | {"revisionId": "x"}).encode(), "invalid-request"),
    ],
)
async def test_a_wrong_body_is_a_problem(body: bytes, code: str) -> None:
    """A malformed body is answered with 400 and problem details whose code names the error."""
    async with open_door() as door:
        response = await door.post("/v1/deployments", data=body, headers=bearer())
        found = await response.json()
        assert (400, "application/problem+json", code, 400) == (
            response.status,
            response.content_type,
            found["code"],
            found["status"],
        )
        assert [] == door.publisher.published


async def test_a_large_body_is_refused() -> None:
    """A body that is too large is answered with 413 before all of it is read."""
    async with open_door() as door:
        response = await door.post("/v1/deployments", data=b" " * (MAX_BODY + 1), headers=bearer())
        assert (413, "too-large") == (response.status, (await response.json())["code"])


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer nonsense"}])
async def test_without_a_token_nothing_is_created(headers: dict[str, str]) -> None:
    """A missing or malformed token is answered with 401, problem details, and the expected scheme."""
    async with open_door() as door:
        response = await door.post("/v1/deployments", json=ASKED, headers=headers)
        assert (401, "application/problem+json") == (response.status, response.content_type)
        assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_a_status_is_read_until_it_is_another_one() -> None:
    """A known status is answered with 304; with `wait` the answer comes with the next status."""
    async with open_door() as door:
        door.say(0)
        response = await door.get("/v1/deployments/r-1", headers=bearer())
        known = bearer() | {"If-None-Match": response.headers["ETag"]}
        assert (200, 304) == (response.status, (await door.get("/v1/deployments/r-1", headers=known)).status)
        waiting = asyncio.create_task(door.get("/v1/deployments/r-1", headers=known | {"Prefer": "wait=20"}))
        while not door.view._watched:  # noqa: ASYNC110 - there is no event to await
            await asyncio.sleep(0)
        door.say(1, "building")
        assert "building" == (await (await waiting).json())["state"]


async def test_events_begin_with_the_whole_state() -> None:
    """The stream sends the current status, then each new status, then `over`.

    A reader that reconnects after the last event gets 204.
    """
    async with open_door() as door:
        door.say(0)
        response = await door.get("/v1/deployments/r-1/events", headers=bearer())
        assert "text/event-stream" == response.content_type
        lines: list[str] = []

        async def read(until: str) -> None:
            while not any(until in it for it in lines):
                lines.append((await response.content.readline()).decode().strip())

        await read('"state":"accepted"')
        door.say(1, "building")
        await read('"state":"building"')
        door.say(2, "rejected")
        await read("event: over")
        ids = [it for it in lines if it.startswith("id:")]
        assert ["id: r-1:0", "id: r-1:1", "id: r-1:2", "id: r-1:2"] == ids
        again = await door.get("/v1/deployments/r-1/events", headers=bearer() | {"Last-Event-ID": "r-1:2"})
        assert 204 == again.status


@pytest.mark.parametrize("prefix", ["", PREFIX])
async def test_the_interface_is_described(prefix: str) -> None:
    """The OpenAPI document needs no token and lists the gateway's public address."""
    async with open_door() as door:
        response = await door.client.get(f"{prefix}/openapi.json")
        found = await response.json()
        assert [{"url": f"http://portal.example{PREFIX}"}] == found["servers"]
        assert "/v1/deployments" in found["paths"]


async def test_streams_of_all_are_bounded() -> None:
    """The total number of streams is bounded: the next stream is rejected for any user."""
    async with open_door(max_streams=1) as door:
        door.say(0)
        door.say(0, request_id="theirs", user=STRANGER, partition=2)
        opened = await door.get("/v1/deployments/r-1/events", headers=bearer())
        other = await door.get("/v1/deployments/theirs/events", headers=bearer(user=STRANGER))
        assert (200, 429) == (opened.status, other.status)
        opened.close()


async def test_streams_of_a_user_are_bounded() -> None:
    """The streams of a user are bounded: the next stream is rejected until an open stream closes."""
    async with open_door(max_streams_per_user=2) as door:
        door.say(0)
        opened = [await door.get("/v1/deployments/r-1/events", headers=bearer()) for _ in range(2)]
        assert 429 == (await door.get("/v1/deployments/r-1/events", headers=bearer())).status
        for it in opened:
            it.close()
        async with asyncio.timeout(5):
            while (await door.get("/v1/deployments/r-1/events", headers=bearer())).status != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.05)  # the server gives no event when it notices


@pytest.mark.parametrize(
    ("limit", "user"), [({"max_streams_per_user": 1}, {}), ({"max_streams": 1}, {"user": STRANGER})]
)
async def test_long_polls_are_bounded_with_the_streams(limit: dict[str, Any], user: dict[str, Any]) -> None:
    """Long polls count as streams, whatever they wait for.

    A wait of the usual length does not count, and a poll whose sender left frees its slot.
    """
    async with open_door(**limit) as door:
        door.say(0)
        door.say(0, request_id="theirs", user=STRANGER, partition=2)
        path = "/v1/deployments/theirs" if user else "/v1/deployments/r-1"
        long, given = {"Prefer": "wait=20"}, bearer(**user)
        waiting = asyncio.create_task(door.get("/v1/deployments/r-1", headers=bearer() | long))
        while not door.view._watched:  # noqa: ASYNC110 - there is no event to await
            await asyncio.sleep(0)
        assert 429 == (await door.get(path, headers=given | long)).status
        assert 429 == (await door.post("/v1/deployments", json=ASKED, headers=given | long)).status
        assert 429 == (await door.get(f"{path}/events", headers=given)).status
        assert [] == door.publisher.published
        assert 200 == (await door.get(path, headers=given)).status
        short = {"Prefer": "wait=0"}
        assert 202 == (await door.post("/v1/deployments", json=ASKED, headers=given | short)).status
        waiting.cancel()  # this closes the connection
        async with asyncio.timeout(5):
            while (await door.get(f"{path}/events", headers=given)).status != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.05)  # the server gives no event when it notices


async def test_a_wait_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait is bounded by MAX_WAIT, however long a wait the client prefers."""
    monkeypatch.setattr(answers, "MAX_WAIT", 0.1)
    async with open_door() as door:
        door.say(0)
        async with asyncio.timeout(5):
            response = await door.get("/v1/deployments/r-1", headers=bearer() | {"Prefer": "wait=99999"})
        assert 200 == response.status
