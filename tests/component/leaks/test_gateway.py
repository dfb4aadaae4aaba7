"""All outputs of the gateway: answers, addresses, cookies, events, its log and its metrics."""

from io import StringIO
from typing import Any

import pytest
from prometheus_client import generate_latest

from tests.component.leaks import canaries
from tests.component.leaks.canaries import USER, Watch
from tests.support.builders import REVISION_ID, SOLUTION_ID
from tests.unit.gateway.door import BROWSER, CLICK, DEPLOYMENT, KEY, Door, open_door, token
from worker.gateway.metrics import REGISTRY
from worker.observability import logs
from worker.observability.logs import Format
from worker.sandbox.users import STRANGER

ASKED = {"solutionId": str(SOLUTION_ID), "revisionId": str(REVISION_ID)}
ZIP = f"/getSolutionZip/{SOLUTION_ID}/{REVISION_ID}"
# Users see their own e-mail, and their session contains both claims and ends with the token: it has the same `exp`.
SEEN = {"claim email", "claim userId", "token", "token's payload"}


def watch_for(given: str) -> Watch:
    """Return a watch that also searches for this token and for the session key."""
    parts = given.split(".")
    more = {"token": given, "token's payload": parts[1], "token's signature": parts[2], "session key": KEY}
    return Watch(canaries.VALUES | more)


class Defect:
    """A part that fails with an error that contains the token."""

    def __init__(self, given: str) -> None:
        self._given = given

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"{name} of {self._given}")


async def everything(door: Door, given: str) -> tuple[list[str], list[str]]:
    """Request every page with this token; return what strangers may see, and what only its user sees."""
    said: list[str] = []
    own: list[str] = []

    async def note(response: Any) -> None:
        text = f"{response.status} {response.reason} {response.headers.get('Location', '')}"
        headers = {name: value for name, value in response.headers.items() if name != "Set-Cookie"}
        said.append(f"{text} {headers}")
        own.append(f"{response.headers.getall('Set-Cookie', ())}")
        if response.content_type != "application/zip":  # the archive belongs to the user
            (own if response.content_type == "text/html" else said).append(await response.text())

    bearer = {"Authorization": f"Bearer {given}"}
    for headers in ({}, BROWSER):
        await note(await door.get(f"{CLICK}?jwtToken={given}", headers=headers))
        await note(await door.get(CLICK, headers=headers | {"jwtToken": given}))
        await note(await door.get(f"/deploy/{given}/{given}", headers=headers))
        await note(await door.get(f"/{given}?jwtToken={given}", headers=headers))
        await note(await door.get(ZIP, headers=headers | {"Cookie": f"authToken= Bearer {given}"}))
        await note(await door.post("/deploy", data=ASKED | {"jwtToken": given}, headers=headers))
        await note(await door.post("/v1/deployments", json=ASKED | {"jwtToken": given}, headers=headers))
        await note(
            await door.post("/v1/deployments", json=ASKED, headers=headers | {"Authorization": f"Bearer {given}"})
        )
        await note(
            await door.post("/v1/deployments", data=given, headers=headers | {"Authorization": f"Bearer {given}"})
        )
        for path in ("/requests", "/requests/r-1", f"/requests/{given}", "/requests?all=1", "/parked"):
            await note(await door.get(path, headers=headers))
        for path in ("again", "settle", "replay"):
            await note(
                await door.post(f"/requests/r-1/{path}", data={"nonce": given, "reason": given}, headers=headers)
            )
        await note(await door.get("/v1/deployments/r-1/events", headers=bearer))
    return said, own


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("kind", ["valid", "expired", "forged", "another user's"])
async def test_whatever_is_sent_the_gateway_keeps_it_to_itself(watch: Watch, kind: str, log_format: Format) -> None:
    """No answer, address, log or metric contains the token or a claim; an e-mail is shown to its owner only."""
    given = token(USER, hours=-1 if kind == "expired" else 1)
    given = given[:-6] + "AAAAAA" if kind == "forged" else given
    log = StringIO()
    logs.configure("debug", log_format, log)
    async with open_door(max_requests_per_minute=1000) as door:
        owner = STRANGER if kind == "another user's" else USER
        door.say(0, user=owner)
        door.say(1, "deployed", user=owner, deployment=DEPLOYMENT)
        said, own = await everything(door, given)
    own_watch = watch_for(given)
    assert set() == own_watch.found(*said, log.getvalue(), generate_latest(REGISTRY)) - {"zip"}
    assert set() == own_watch.found(*own) - SEEN
    assert [] == [part for part in given.split(".") if any(part[:60] in it for it in own)]
    if kind in ("expired", "forged"):
        assert set() == own_watch.found(*own)
    watch.check(f"gateway: {kind} ({log_format})", *said, log.getvalue())


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_a_defect_says_nothing_of_what_it_met(watch: Watch, log_format: Format) -> None:
    """A defect is answered with a number, under which the log has its location, and neither shows a secret."""
    given = token(USER)
    log = StringIO()
    logs.configure("debug", log_format, log)
    async with open_door() as door:
        door.gateway.view = Defect(given)  # type: ignore[assignment]
        response = await door.get(f"{CLICK}?jwtToken={given}")
        text = await response.text()
    assert (500, True) == (response.status, "its log has the details under" in text)
    assert "a defect kept the gateway from answering" in log.getvalue()
    assert set() == watch_for(given).found(text, log.getvalue())
    watch.check(f"gateway: a defect ({log_format})", text, log.getvalue())
