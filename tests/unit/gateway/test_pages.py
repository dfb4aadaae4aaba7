"""The pages: what they show, and to whom."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schemas import State
from tests.support.builders import REVISION_ID, SOLUTION_ID
from tests.unit.gateway.door import BROWSER, CLICK, DEPLOYMENT, PREFIX, open_door, token
from worker.gateway import pages
from worker.gateway.entry import Step
from worker.gateway.headers import SECURITY_HEADERS
from worker.gateway.pages import milestones
from worker.sandbox.users import SANDBOX_USER, STRANGER

ADMIN = {"admin_role": "MLP System User"}  # every user of the sandbox has this role
NOT_FOUND = "Request not found"


def error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "stage": "plan", "retryable": False}}


async def page(door: Any, path: str = "/requests/r-1") -> str:
    response = await door.get(path, headers=BROWSER)
    return str(await response.text())


async def test_the_deployment_is_linked_with_whom_to_log_in_as() -> None:
    """A deployed request links to its deployment and shows the e-mail address to log in with.

    The playground finds deployments by that address in lower case.
    """
    async with open_door() as door:
        door.say(0)
        door.say(1, "deployed", deployment=DEPLOYMENT, solution_name="Sudoku <b>", kind="pipeline")
        await door.log_in()
        html = await page(door)
        assert f'href="{DEPLOYMENT["url"]}"' in html.replace("&amp;", "&")
        assert SANDBOX_USER.email in html
        assert "Sudoku &lt;b&gt;" in html


async def test_an_error_is_told_with_its_code_and_what_to_do() -> None:
    """An error is shown with the worker's message, its code, and advice."""
    async with open_door() as door:
        door.say(0)
        door.say(1, "rejected", **error("no-access", "You may not read Sudoku."))
        await door.log_in()
        html = await page(door)
        assert "You may not read Sudoku." in html
        assert "<code>no-access</code>" in html
        assert "Ask its owner for access." in html
        assert "Deploy again" in html


async def test_the_version_is_shown_as_soon_as_it_is_known() -> None:
    """Lists and pages show the revision's version in Graphene; until it is known, the start of the revision's id."""
    async with open_door() as door:
        door.say(0)
        await door.log_in()
        before = [await page(door), await page(door, "/requests")]
        door.say(1, "submitting", solution_version="1.0.<7>")
        after = [await page(door), await page(door, "/requests")]
        about = f"revision {str(REVISION_ID)[:8]}"
        assert [True, True] == [about in html for html in before]
        assert [True, True] == [re.search(r"version 1\.<wbr>0\.<wbr>&lt;7&gt;", html) is not None for html in after]
        assert [False, False] == [about in html for html in after]


async def test_warnings_and_containers_are_listed() -> None:
    """Warnings, such as changed names, and running containers are listed."""
    bundle = {"sha256": "0" * 64, "size": 4711, "nodes": ["solver", "gui"]}
    async with open_door() as door:
        door.say(0)
        door.say(1, "deployed", deployment=DEPLOYMENT, bundle=bundle, warnings=["Node 'A B' is called a-b."])
        await door.log_in()
        html = await page(door)
        assert "Node &#39;A B&#39; is called a-b." in html
        assert "<code>solver</code>" in html


async def test_waiting_is_told_with_its_place() -> None:
    """A waiting request shows how many of its user's requests are before it."""
    async with open_door() as door:
        for number in range(3):
            door.say(0, request_id=f"r-{number}", offset=number)
        await door.log_in()
        assert "2 of your requests are before it." in await page(door, "/requests/r-2")
        assert "One of your requests is before it." in await page(door, "/requests/r-1")


async def test_the_list_has_mine_and_nobody_elses() -> None:
    """The list shows only the user's own requests, each with enough of its id to be recognised."""
    async with open_door() as door:
        door.say(0, request_id="mine-123", solution_name="Mine")
        door.say(0, request_id="theirs-1", solution_name="Theirs", user=STRANGER, partition=2)
        await door.log_in()
        html = await page(door, "/requests")
        assert ("Mine" in html, "Theirs" in html, "mine-123" in html) == (True, False, True)


@pytest.mark.parametrize(
    "path", ["/requests/{}", "/requests/{}/events", "/v1/deployments/{}", "/v1/deployments/{}/events"]
)
async def test_a_foreign_request_is_as_unknown_as_none(path: str) -> None:
    """Another user's request gets the same 404 answer as a request that does not exist."""
    async with open_door() as door:
        door.say(0, request_id="theirs", user=STRANGER, partition=2)
        await door.log_in()
        answers = [await door.get(path.format(it), headers=BROWSER) for it in ("theirs", "no-such-1")]
        assert [404, 404] == [it.status for it in answers]
        texts = {await it.text() for it in answers}
        assert 1 == len(texts)


@pytest.mark.parametrize("path", ["/requests", "/requests/r-1", "/parked"])
async def test_without_a_session_one_learns_nothing(path: str) -> None:
    """Without a valid session every page answers 401 and links to the login; a wrong cookie counts as none."""
    async with open_door(portal_url="https://graphene.example") as door:
        door.say(0)
        for cookie in ("", "nonsense", token()):
            response = await door.get(path, headers=BROWSER, cookies={"playground-session": cookie})
            html = await response.text()
            assert (401, True) == (response.status, "Log in" in html)
            assert 'href="https://graphene.example"' in html


async def test_a_session_of_another_key_is_none() -> None:
    """A gateway accepts only sessions that are signed with its own key."""
    async with open_door() as one, open_door(session_key="z" * 32) as other:
        response = await one.get(CLICK, headers={"jwtToken": token()})
        cookie = response.cookies["playground-session"].value
        response = await other.get("/requests", headers=BROWSER, cookies={"playground-session": cookie})
        assert 401 == response.status


async def test_a_session_ends_with_its_token() -> None:
    """The session cookie expires with its token."""
    async with open_door() as door:
        response = await door.get(CLICK, headers={"jwtToken": token(hours=0.5)})
        age = int(response.cookies["playground-session"]["max-age"])
        assert 1700 < age <= 1800


async def test_an_administrator_sees_all() -> None:
    """An administrator sees all requests and the page of parked requests; other users do not."""
    async with open_door(**ADMIN) as door, open_door() as other:
        for it in (door, other):
            it.say(0, "submitting", request_id="theirs", user=STRANGER, partition=2)
            it.say(1, "parked", request_id="theirs", user=STRANGER, partition=2, solution_name="Theirs")
            await it.log_in()
        assert "Theirs" in await page(door, "/requests?all=1")
        assert "Theirs" in await page(door, "/parked")
        assert "Theirs" in await page(door, "/requests/theirs")
        assert "Theirs" not in await page(other, "/requests?all=1")
        assert NOT_FOUND in await page(other, "/requests/theirs")
        assert 404 == (await other.get("/parked", headers=BROWSER)).status


async def test_a_card_shows_the_last_status_and_the_position() -> None:
    """The card of a request in a list follows its status and its position in the key queue."""
    async with open_door() as door:
        door.say(0, request_id="r-0", offset=0)
        door.say(0, request_id="r-1", offset=1, solution_name="Second")
        await door.log_in()
        assert "One of your requests is before it" in await page(door, "/requests")
        door.say(1, "deployed", request_id="r-0", offset=0)
        html = await page(door, "/requests")
        assert (False, True) == ("before it" in html, "chip deployed" in html)
        door.say(1, "building", request_id="r-1", offset=1, solution_name="Second")
        html = await page(door, "/requests")
        assert (True, False) == ("chip building" in html, "chip accepted" in html)
        door.say(2, "submitting", request_id="r-1", offset=1, solution_name="Second")
        html = await page(door, "/requests")
        assert (True, False) == ("chip submitting" in html, "chip building" in html)


async def test_cards_are_kept_for_one_view_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """A card in the list of all requests is marked as the reader's own, and the number of kept cards is bounded."""
    async with open_door(**ADMIN) as door:
        for number in range(5):
            door.say(0, "rejected", request_id=f"r-{number}", offset=number)
        await door.log_in()
        for _ in range(2):
            assert 5 == (await page(door, "/requests?all=1")).count("<strong>Yours")
            mine = await page(door, "/requests")
            assert (0, 5) == (mine.count("<strong>Yours"), mine.count('class="card rejected"'))
        kept = door.pages._cards
        assert 10 == len(kept)
        monkeypatch.setattr(pages, "MAX_CARD_BYTES", kept.currsize // 3)
    async with open_door(**ADMIN) as door:
        kept = door.pages._cards
        for number in range(5):
            door.say(0, "rejected", request_id=f"r-{number}", offset=number)
        await door.log_in()
        door.say(0, "rejected", request_id="r-5", offset=5, solution_name="\N{ROCKET}" * 50)
        for _ in range(2):
            assert 6 == (await page(door, "/requests")).count('class="card rejected"')
            sizes = [len(card) + pages.CARD_OVERHEAD for card in kept.values()]
            assert 0 < sum(sizes) == kept.currsize <= pages.MAX_CARD_BYTES


async def test_a_card_has_the_id_that_its_reader_knows() -> None:
    """A record that was rejected early is listed by the id of its request for its sender, else by its record id."""
    record = "record-1-0-0123456789abcdef"
    async with open_door(**ADMIN) as door:
        await door.log_in()
        made = door.publisher.published[0].request_id
        partition = len(SANDBOX_USER.user_id) % 3
        door.say(0, "rejected", request_id=record, offset=0, fingerprint=None, solution_name="Early")
        for _ in range(2):
            for path, shown_id in (("/requests?all=1", record), ("/requests", made)):
                html = await page(door, path)
                assert ("Early" in html, f'/requests/{shown_id}"' in html) == (True, True), partition
            assert made not in await page(door, "/requests?all=1")
            assert record not in await page(door, "/requests")


async def test_only_the_owner_sees_a_position() -> None:
    """An administrator's own open requests are not counted before another user's request in the same partition."""
    async with open_door(**ADMIN) as door:
        door.say(0, request_id="mine", offset=0)
        door.say(0, request_id="theirs", offset=1, user=STRANGER, partition=len(SANDBOX_USER.user_id) % 3)
        await door.log_in()
        assert "before it" not in await page(door, "/requests?all=1")
        assert "before it" not in await page(door, "/requests/theirs")


async def test_an_administrator_sees_what_has_failed() -> None:
    """An administrator sees failed requests, with a replay button if a dead letter exists.

    A rejected request is its sender's matter.
    """
    ends = [("failed", "catalog-unavailable"), ("failed", "outcome-unknown"), ("failed", "playground-refused")]
    async with open_door(**ADMIN) as door:
        for number, (state, code) in enumerate([*ends, ("rejected", "no-access"), ("deployed", "")]):
            more = error(code, "It is so.") if code else {}
            door.say(0, state, request_id=f"{state}-{number}", offset=number, user=STRANGER, partition=2, **more)
        await door.log_in()
        html = await page(door, "/parked")
        assert {"failed-0", "failed-1"} == set(re.findall(r"/requests/([a-z0-9-]+)/replay", html))
        assert "failed-2" in html


async def test_an_administrator_settles_and_replays() -> None:
    """An administrator settles under their own name and replays; the owner of a request may do neither."""
    form = {"outcome": "deployed", "reason": "I saw it."}
    async with open_door(**ADMIN) as door, open_door() as other:
        for it in (door, other):
            it.say(0, "submitting")
            it.say(1, "parked")
            await it.log_in()
        assert 303 == (await door.post("/requests/r-1/settle", data=form)).status
        assert 303 == (await door.post("/requests/r-1/replay")).status
        assert [
            ("settle", "r-1", "deployed", "I saw it.", SANDBOX_USER.email),
            ("replay", "r-1"),
        ] == door.operations.done
        assert 404 == (await other.post("/requests/r-1/settle", data=form)).status
        assert 404 == (await other.post("/requests/r-1/replay")).status
        assert [] == other.operations.done


async def test_deploying_again_is_the_owners() -> None:
    """Only the owner deploys again, once for each page shown; an administrator may not deploy as another user."""
    async with open_door(**ADMIN) as door:
        door.say(0)
        door.say(1, "failed", **error("internal", "It broke."))
        door.say(0, request_id="theirs", user=STRANGER, partition=2)
        await door.log_in()
        found = re.search(r'name="nonce" value="([^"]+)"', await page(door))
        assert found is not None
        response = await door.post("/requests/r-1/again", data={"nonce": found[1]})
        assert (303, f"{PREFIX}/requests/again-1") == (response.status, response.headers["Location"])
        assert [("again", "r-1", SANDBOX_USER.user_id.encode(), found[1])] == door.operations.done
        assert 404 == (await door.post("/requests/theirs/again", data={"nonce": found[1]})).status
        assert "is waiting for a worker" in await page(door, "/requests/again-1")


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}]
)
@pytest.mark.parametrize("path", ["/requests/r-1/again", "/requests/r-1/settle", "/requests/r-1/replay", "/log-out"])
async def test_another_sites_page_acts_on_nothing(path: str, headers: dict[str, str]) -> None:
    """A POST from another site is rejected: the browser sends the cookie, but also where the request comes from."""
    async with open_door(**ADMIN) as door:
        door.say(0, "submitting")
        door.say(1, "parked")
        await door.log_in()
        response = await door.post(path, data={"nonce": "n" * 16, "outcome": "deployed"}, headers=headers)
        assert (403, []) == (response.status, door.operations.done)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Origin": "http://portal.example"}, 303),  # a browser without Sec-Fetch-Site
        ({"Origin": "null", "Sec-Fetch-Site": "same-origin"}, 303),  # an error page has no referrer
        ({"Origin": "null"}, 403),
        ({"Origin": "http://portal.example", "Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
async def test_its_own_page_may_act(headers: dict[str, str], expected: int) -> None:
    """The gateway's own page may act: `Sec-Fetch-Site` decides, or `Origin` if the browser sends no site."""
    async with open_door() as door:
        await door.log_in()
        assert expected == (await door.post("/log-out", headers=headers)).status


async def test_pages_with_forms_tell_their_origin_and_errors_nothing() -> None:
    """Pages with forms send their origin; error pages send no referrer.

    Browsers withhold the origin of a page without a referrer. Only an error page can have a token in its address.
    """
    async with open_door() as door:
        door.say(0)
        await door.log_in()
        for path, expected in (("/requests", "same-origin"), ("/requests/r-1", "same-origin"), ("/x", "no-referrer")):
            assert expected == (await door.get(path, headers=BROWSER)).headers["Referrer-Policy"]
        response = await door.get(f"{CLICK}?jwtToken=a.b.c", headers=BROWSER)
        assert (401, "no-referrer") == (response.status, response.headers["Referrer-Policy"])


async def test_a_reload_does_not_use_up_the_streams() -> None:
    """A closed stream counts no more, even before the server notices that its reader has left."""
    async with open_door(max_streams_per_user=2) as door:
        door.say(0)
        await door.log_in()
        for _ in range(5):
            (await door.get("/requests/r-1/events")).close()
        open_ones = [await door.get("/requests/r-1/events") for _ in range(3)]
        assert [200, 200, 429] == [it.status for it in open_ones]


async def test_an_open_page_says_that_kafka_is_away() -> None:
    """An open page shows once that Kafka is unavailable, and clears the notice when Kafka is back."""
    async with open_door() as door, asyncio.timeout(10):
        door.say(0)
        await door.log_in()
        stream = await door.get("/requests/r-1/events")
        said = []
        for is_connected in (True, False, True):
            door.reader.is_connected = is_connected
            said.append("is not available at the moment" in (await stream.content.readuntil(b"\r\n\r\n")).decode())
        assert [False, True, False] == said


def step(state: State, seconds: float, attempt: int = 1) -> Step:
    return Step(state, attempt, datetime(2026, 11, 29, 12, tzinfo=UTC) + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("state", "steps", "expected"),
    [
        (None, [], "now:Waiting for a worker next:Bundle built next:Sent to the playground next:Deployed"),
        (
            State.SUBMITTING,
            [step(State.ACCEPTED, 0), step(State.BUILDING, 2), step(State.SUBMITTING, 3)],
            "done:Accepted:2.0 done:Bundle built:1.0 now:Deploying on the playground next:Deployed",
        ),
        (  # another attempt starts the steps again
            State.BUILDING,
            [
                step(State.ACCEPTED, 0),
                step(State.BUILDING, 1),
                step(State.SUBMITTING, 2),
                step(State.RETRYING, 3),
                step(State.BUILDING, 9, 2),
            ],
            "done:Accepted:9.0 now:Building the bundle next:Sent to the playground next:Deployed",
        ),
        (
            State.REJECTED,
            [step(State.ACCEPTED, 0), step(State.BUILDING, 1), step(State.REJECTED, 5)],
            "done:Accepted:1.0 stopped:Building the bundle:4.0 next:Sent to the playground next:Deployed",
        ),
        (
            State.REJECTED,
            [step(State.REJECTED, 0)],
            "stopped:Not accepted next:Bundle built next:Sent to the playground next:Deployed",
        ),
        (
            State.PARKED,
            [step(State.ACCEPTED, 0), step(State.BUILDING, 1), step(State.SUBMITTING, 2), step(State.PARKED, 5)],
            "done:Accepted:1.0 done:Bundle built:1.0 waits:Deploying on the playground next:Deployed",
        ),
    ],
)
def test_steps_tell_where_it_is(state: State | None, steps: list[Step], expected: str) -> None:
    """The steps show finished work and its duration, current work, where the request stopped, and what remains."""
    shown = [
        ":".join([it.mark, it.name, *([str(it.took.total_seconds())] if it.took else [])])
        for it in milestones(state, steps)
    ]
    assert expected == " ".join(shown)


async def test_logging_out_forgets_the_session() -> None:
    """After logging out, the next page requires a login."""
    async with open_door() as door:
        await door.log_in()
        assert 303 == (await door.post("/log-out", headers={"Origin": "http://portal.example"})).status
        assert 401 == (await door.get("/requests", headers=BROWSER)).status


@pytest.mark.parametrize(
    "path", ["/requests", "/nowhere", "/v1/deployments/x", CLICK, "/static/x/page.css", "/static/x/none"]
)
async def test_every_answer_has_the_headers(path: str) -> None:
    """Every answer, including errors, has the security headers; only content-addressed files are cacheable."""
    async with open_door() as door:
        response = await door.get(path, headers=BROWSER)
        expected = {name: value for name, value in SECURITY_HEADERS.items() if name != "Cache-Control"}
        assert expected == {name: response.headers.get(name) for name in expected}
        assert ("immutable" in response.headers["Cache-Control"]) == path.endswith("page.css")


async def test_pages_have_nothing_inline() -> None:
    """Pages have no inline style or script, because the content security policy forbids them."""
    async with open_door() as door:
        door.say(0)
        await door.log_in()
        for path in ("/requests", "/requests/r-1"):
            html = await page(door, path)
            assert [] == re.findall(r"<style|style=|<script(?! src)|\son\w+=|javascript:", html)


async def test_kafka_away_is_said_on_every_page() -> None:
    """Every page shows that Kafka is unavailable and since when, together with the known requests."""
    async with open_door() as door:
        door.say(0, solution_name="Sudoku")
        await door.log_in()
        door.reader.is_connected = False
        for path in ("/requests", "/requests/r-1"):
            html = await page(door, path)
            assert ("Sudoku" in html, "is not available at the moment" in html, "12:03:00" in html) == (
                True,
                True,
                True,
            )


@pytest.mark.parametrize("state", ["accepted", "building", "submitting", "retrying", "parked", "deployed", "failed"])
async def test_every_state_has_a_page(state: str) -> None:
    """Every state has a page that names it."""
    async with open_door() as door:
        door.say(0, state)
        await door.log_in()
        assert f'chip {state}"' in await page(door)
        assert str(REVISION_ID)[:8] in await page(door, "/requests")
        assert str(SOLUTION_ID) in await page(door)


async def test_a_stream_ends_with_its_session() -> None:
    """A stream stops when its session expires, reports the expiry, and shows no later status."""
    async with open_door() as door, asyncio.timeout(10):
        door.say(0)
        await door.log_in()
        streams = [await door.get(path) for path in ("/requests/r-1/events", "/requests/events")]
        for stream in streams:
            await stream.content.readuntil(b"\r\n\r\n")
        door.clock.later = 24 * 3600
        door.say(1, "building", solution_name="Secret")
        rest = [(await stream.content.read()).decode() for stream in streams]
        assert [True, True] == ["event: expired" in text for text in rest]
        assert [False, False] == ["Secret" in text for text in rest]


@pytest.mark.parametrize("state", ["accepted", "building", "submitting", "retrying", "parked"])
async def test_only_what_has_ended_is_deployed_again(state: str) -> None:
    """Only a request in a final state is deployed again: a parked request may be deployed already."""
    async with open_door() as door:
        door.say(0, state)
        await door.log_in()
        response = await door.post("/requests/r-1/again", data={"nonce": "n" * 16})
        assert (409, []) == (response.status, door.operations.done)


async def test_an_error_at_an_address_with_a_token_has_no_links() -> None:
    """An error page at an address with a token has no links: a browser would pass the address to their targets."""
    async with open_door(portal_url="https://portal.example/") as door:
        html = await page(door, f"{CLICK}?jwtToken=a.b.c")
        assert ["#content"] == re.findall(r'<a [^>]*href="([^"]+)"', html)
        assert 'href="https://portal.example/"' in await page(door, "/requests")


async def test_an_administrator_sees_their_own_request_first() -> None:
    """An administrator sees their own request if another user's has the same id."""
    async with open_door(**ADMIN) as door:
        door.say(0, user=STRANGER, partition=2, solution_name="Theirs")
        door.say(0, solution_name="Mine")
        await door.log_in()
        html = await page(door)
        assert (True, False) == ("Mine" in html, "Theirs" in html)


async def test_only_the_owner_is_told_to_log_in_there() -> None:
    """Only the owner is advised to log in to the playground, which shows a deployment to its owner alone."""
    async with open_door(**ADMIN) as door:
        door.say(0, "deployed", deployment=DEPLOYMENT, user=STRANGER, partition=2)
        await door.log_in()
        html = await page(door)
        assert ("Only its owner" in html, "Log in there as" in html) == (True, False)


async def test_advice_for_operators_is_for_administrators() -> None:
    """Advice about settings is shown to administrators only, because a user cannot change them."""
    seen = []
    for settings in ({}, ADMIN):
        async with open_door(**settings) as door:
            door.say(0, "failed", **error("catalog-unauthorized", "It is so."))
            await door.log_in()
            seen.append("DEPLOYER_CATALOG__USERNAME" in await page(door))
    assert [False, True] == seen


async def test_long_names_break_and_code_is_shown_as_code() -> None:
    """A name may break after punctuation, text in backticks is code, and everything else of both stays escaped."""
    async with open_door() as door:
        door.say(0)
        more = {"solution_name": "a_b <i>", **error("no-access", "Read `x` & <b>.")}
        door.say(1, "rejected", **more)
        await door.log_in()
        html = await page(door)
        assert "<h1>a_<wbr>b &lt;i&gt;</h1>" in html
        assert "Read <code>x</code> &amp; &lt;b&gt;." in html
