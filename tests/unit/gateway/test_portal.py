"""The calls of today's portal to the front door, and their answers."""

import asyncio
from typing import Any

import pytest

from tests.support.builders import REVISION_ID, SOLUTION_ID
from tests.unit.gateway.door import BROWSER, CLICK, DEPLOYMENT, PREFIX, open_door, token
from worker.gateway.sessions import Session
from worker.sandbox.users import STRANGER

DEPLOYED: tuple[dict[str, Any], ...] = (
    {"state": "accepted"},
    {"state": "building"},
    {"state": "submitting"},
    {"state": "deployed", "deployment": DEPLOYMENT},
)
REJECTED: tuple[dict[str, Any], ...] = (
    {"state": "accepted"},
    {
        "state": "rejected",
        "error": {"code": "no-access", "message": "You may not read it.", "stage": "authorise", "retryable": False},
    },
)


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"jwtToken": "{}"}, ""),
        ({"Authorization": "{}"}, ""),
        ({"Authorization": "Bearer {}"}, ""),
        ({}, "?jwtToken={}"),
    ],
)
async def test_the_token_is_taken_where_the_portal_puts_it(headers: dict[str, str], query: str) -> None:
    """The token is read from either header, with or without its scheme, or from the address."""
    given = token()
    async with open_door() as door:
        headers = {name: value.format(given) for name, value in headers.items()}
        response = await door.get(CLICK + query.format(given), headers=headers)
        assert 303 == response.status
        assert [(SOLUTION_ID, REVISION_ID, given)] == [
            (it.solution_id, it.revision_id, it.token) for it in door.publisher.published
        ]


async def test_what_deploys_in_time_leads_to_the_dashboard() -> None:
    """A deployment that finishes in time redirects to the dashboard with 302, as the Java deployer does."""
    async with open_door() as door:
        door.publisher.script = DEPLOYED
        response = await door.get(CLICK, headers={"jwtToken": token()})
        assert (302, DEPLOYMENT["url"]) == (response.status, response.headers["Location"])


async def test_what_takes_longer_leads_to_its_page() -> None:
    """A slower deployment redirects to its page, with a session cookie that does not contain the token."""
    given = token()
    async with open_door() as door:
        response = await door.get(f"{CLICK}?jwtToken={given}", headers=BROWSER)
        page = f"{PREFIX}/requests/{door.publisher.published[0].request_id}"
        assert (303, page) == (response.status, response.headers["Location"])
        cookie = response.headers["Set-Cookie"]
        assert f"Path={PREFIX}/" in cookie
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        assert given not in cookie
        shown = await door.get(page, headers=BROWSER)
        text = await shown.text()
        assert 200 == shown.status
        assert "is waiting for a worker" in text
        assert given not in text


@pytest.mark.parametrize(
    ("url", "attributes"),
    [("https://gateway.example", ("__Host-", "Secure", "Path=/")), ("https://a.example/p", ("Secure", "Path=/p/"))],
)
async def test_the_cookie_is_as_narrow_as_the_address_allows(url: str, attributes: tuple[str, ...]) -> None:
    """The cookie is as narrow as the public address allows: on its own host, no other host can set it."""
    async with open_door(url) as door:
        response = await door.get(CLICK, headers={"jwtToken": token()})
        assert [] == [it for it in attributes if it not in response.headers["Set-Cookie"]]


async def test_a_script_is_told_what_failed() -> None:
    """A script gets 404 and a sentence, as from the Java deployer; a browser is redirected to the page."""
    async with open_door() as door:
        door.publisher.script = REJECTED
        response = await door.get(CLICK, headers={"jwtToken": token()})
        assert (404, "You may not read it. [no-access]\n") == (response.status, await response.text())
        response = await door.get(CLICK, headers={"jwtToken": token(), **BROWSER})
        assert 303 == response.status


@pytest.mark.parametrize("given", ["", "nonsense", "a.b.c"])
async def test_no_valid_token_publishes_nothing(given: str) -> None:
    """An invalid token gets 401 with its code, and a browser gets a page that advises to log in."""
    async with open_door() as door:
        response = await door.get(CLICK, headers={"jwtToken": given})
        assert 401 == response.status
        assert "[token-" in await response.text()
        page = await door.get(f"{CLICK}?jwtToken={given}", headers=BROWSER)
        assert 401 == page.status
        assert "Log in" in await page.text()
        assert [] == door.publisher.published


async def test_an_expired_token_publishes_nothing() -> None:
    """The gateway itself rejects an expired token, and publishes nothing."""
    async with open_door() as door:
        response = await door.get(CLICK, headers={"jwtToken": token(hours=-1)})
        assert (401, True) == (response.status, "[token-expired]" in await response.text())
        assert [] == door.publisher.published


@pytest.mark.parametrize("path", ["/deploy/1/2", f"/deploy/{SOLUTION_ID}/x", f"/deploy/{SOLUTION_ID}/..%2f"])
async def test_what_is_no_id_is_not_found(path: str) -> None:
    """A malformed id is answered with 404, and nothing is published."""
    async with open_door() as door:
        response = await door.get(path, headers={"jwtToken": token()})
        assert 404 == response.status
        assert [] == door.publisher.published


@pytest.mark.parametrize("headers", [{"Sec-Purpose": "prefetch"}, {"Sec-Fetch-Mode": "no-cors"}])
async def test_what_is_no_click_publishes_nothing(headers: dict[str, str]) -> None:
    """A request that is not a click publishes nothing, even with a valid token."""
    async with open_door() as door:
        response = await door.get(CLICK, headers={"jwtToken": token(), **headers})
        assert 403 == response.status
        head = await door.client.head(PREFIX + CLICK, headers={"jwtToken": token()})
        assert (405, "GET") == (head.status, head.headers["Allow"])
        assert [] == door.publisher.published


async def test_twenty_reloads_are_one_request() -> None:
    """Twenty clicks are one request: concurrent clicks, clicks while it runs, and clicks soon after it failed."""
    given = token()
    async with open_door() as door:

        async def click() -> str:
            response = await door.get(f"{CLICK}?jwtToken={given}", headers=BROWSER)
            return str(response.headers["Location"])

        pages = set(await asyncio.gather(*(click() for _ in range(10))))
        door.say(0, request_id=door.publisher.published[0].request_id)
        pages |= {await click() for _ in range(5)}
        door.say(1, "failed", request_id=door.publisher.published[0].request_id)
        pages |= {await click() for _ in range(5)}
        assert (1, 1) == (len(pages), len({it.request_id for it in door.publisher.published}))


async def test_two_replicas_choose_the_same_id() -> None:
    """Two replicas publish the same id before either knows of the other's request."""
    given = token()
    async with open_door() as one, open_door() as other:
        for door in (one, other):
            await door.get(CLICK, headers={"jwtToken": given})
        assert one.publisher.published == other.publisher.published


async def test_what_another_call_has_published_meanwhile_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    """A click that waits for the index of its user's requests does not publish what a refresh publishes meanwhile."""
    async with open_door() as door, asyncio.timeout(10):
        waiting, go_on, learn = asyncio.Event(), asyncio.Event(), door.gateway.learn

        async def slow(session: Session) -> None:
            if not waiting.is_set():
                waiting.set()
                await go_on.wait()
            await learn(session)

        monkeypatch.setattr(door.gateway, "learn", slow)
        given = {"jwtToken": token()}
        first = asyncio.create_task(door.get(CLICK, headers=given))
        await waiting.wait()
        refresh = await door.get(CLICK, headers=given)
        go_on.set()
        assert refresh.headers["Location"] == (await first).headers["Location"]
        assert 1 == len(door.publisher.published)


async def test_kafka_away_is_said_and_a_reload_is_safe() -> None:
    """While Kafka is unavailable a click gets 503 with `Retry-After`, and nothing is published.

    A reload is safe, because it chooses the same id.
    """
    given = token()
    async with open_door() as door:
        door.publisher.is_away = True
        response = await door.get(CLICK, headers={"jwtToken": given, **BROWSER})
        assert (503, "5") == (response.status, response.headers["Retry-After"])
        assert "Reload this page" in await response.text()
        door.publisher.is_away, door.reader.is_connected = False, False
        assert 503 == (await door.get(CLICK, headers={"jwtToken": given})).status
        assert [] == door.publisher.published


async def test_open_requests_of_a_user_are_bounded() -> None:
    """A request above the user's limit of open requests gets 429, and another user is not affected."""
    async with open_door(max_open_requests=2) as door:
        for number in range(2):
            door.say(0, request_id=f"r-{number}", offset=number, revision_id=SOLUTION_ID)
        response = await door.get(CLICK, headers={"jwtToken": token()})
        assert (303, 429) == (
            (await door.get(CLICK, headers={"jwtToken": token(STRANGER)})).status,
            response.status,
        ), await response.text()


async def test_a_user_who_has_to_wait_may_read_meanwhile() -> None:
    """A user over the limit still gets a session: the token was verified, and only publishing is limited."""
    async with open_door(max_open_requests=1) as door:
        door.say(0, revision_id=SOLUTION_ID, solution_name="Sudoku")
        assert 429 == (await door.get(f"{CLICK}?jwtToken={token()}", headers=BROWSER)).status
        response = await door.get("/requests", headers=BROWSER)
        assert (200, True) == (response.status, "Sudoku" in await response.text())


async def test_the_rate_of_a_user_is_bounded() -> None:
    """The rate of requests is limited for each user separately."""
    async with open_door(max_requests_per_minute=3) as door:
        answers = [(await door.get(CLICK, headers={"jwtToken": token()})).status for _ in range(5)]
        assert [303, 303, 303, 429, 429] == answers
        assert 303 == (await door.get(CLICK, headers={"jwtToken": token(STRANGER)})).status


async def test_a_form_deploys_without_a_token_in_the_address() -> None:
    """A form deploys, for a portal that keeps the token out of the address."""
    form = {"solutionId": str(SOLUTION_ID), "revisionId": str(REVISION_ID), "jwtToken": token()}
    async with open_door() as door:
        response = await door.post("/deploy", data=form, headers=BROWSER)
        assert 303 == response.status
        assert 1 == len(door.publisher.published)


@pytest.mark.parametrize("prefix", ["", PREFIX])
async def test_the_prefix_may_be_stripped_or_not(prefix: str) -> None:
    """Links contain the prefix whether or not a proxy strips it from requests."""
    async with open_door() as door:
        response = await door.client.get(prefix + CLICK, headers={"jwtToken": token()}, allow_redirects=False)
        assert response.headers["Location"].startswith(f"{PREFIX}/requests/")
        home = await door.client.get(f"{prefix}/", allow_redirects=False)
        assert f"{PREFIX}/requests" == home.headers["Location"]


async def test_the_zip_is_downloaded() -> None:
    """The zip is downloaded with the token or the portal's unchanged cookie, even while Kafka is unavailable."""
    path = f"/getSolutionZip/{SOLUTION_ID}/{REVISION_ID}"
    async with open_door() as door:
        door.reader.is_connected = False
        cookies = (f"a=b; authToken= Bearer {token()}; c=d", f"authToken=Bearer {token()}", f'authToken="{token()}"')
        for given in ({"jwtToken": token()}, *({"Cookie": it} for it in cookies)):
            response = await door.get(path, headers=given)
            assert (200, 'attachment; filename="solution.zip"') == (
                response.status,
                response.headers["Content-Disposition"],
            )
            assert (await response.read()).startswith(b"PK of ")
        assert 401 == (await door.get(path)).status


async def test_the_portals_cookie_deploys_nothing() -> None:
    """The portal's cookie alone deploys nothing, because a browser sends it with any site's link."""
    async with open_door() as door:
        response = await door.get(CLICK, cookies={"authToken": f" Bearer {token()}"}, headers=BROWSER)
        assert (401, []) == (response.status, door.publisher.published)


async def test_the_prefix_alone_leads_home() -> None:
    """The prefix without a slash, as people type it, redirects to the list."""
    async with open_door() as door:
        response = await door.client.get(PREFIX, allow_redirects=False)
        assert (303, f"{PREFIX}/requests") == (response.status, response.headers["Location"])


@pytest.mark.parametrize(
    ("url", "origin", "status"),
    [
        ("https://Portal.Example:443/p", "https://portal.example", 303),
        ("http://portal.example:80/p", "http://portal.example", 303),
        ("https://portal.example/p", "https://portal.example:8443", 403),
    ],
)
async def test_the_origin_is_compared_as_browsers_write_it(url: str, origin: str, status: int) -> None:
    """Origins are compared in the form that browsers send, however the settings spell the address."""
    async with open_door(url) as door:
        assert status == (await door.post("/log-out", headers={"Origin": origin})).status


async def test_a_session_knows_nothing_of_another_users() -> None:
    """A user who logs in later on the same browser does not see the requests of the earlier user."""
    async with open_door() as door:
        await door.get(CLICK, headers={"jwtToken": token(), **BROWSER})
        (published,) = door.publisher.published
        await door.get(CLICK, headers={"jwtToken": token(STRANGER), **BROWSER})
        assert 404 == (await door.get(f"/requests/{published.request_id}", headers=BROWSER)).status


async def test_clicks_at_the_same_time_are_published_once() -> None:
    """Concurrent clicks wait for the first to publish, so Kafka gets one record."""
    go_on, given = asyncio.Event(), token()
    async with open_door() as door:
        publish = door.publisher.publish

        async def slow(*args: Any, **options: Any) -> int:
            await go_on.wait()
            return await publish(*args, **options)

        door.publisher.publish = slow  # type: ignore[method-assign]
        clicks = [asyncio.create_task(door.get(CLICK, headers={"jwtToken": given})) for _ in range(5)]
        while len(door.gateway._publishing) < 1:  # noqa: ASYNC110 - there is no event to await
            await asyncio.sleep(0)
        await asyncio.sleep(0.2)
        go_on.set()
        assert {303} == {(await it).status for it in clicks}
        assert 1 == len(door.publisher.published)
