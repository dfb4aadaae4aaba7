"""What people see, and who sees what."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schemas import State
from tests.support.builders import REVISION_ID, SOLUTION_ID
from tests.unit.gateway.door import BROWSER, CLICK, DEPLOYMENT, PREFIX, open_door, token
from worker.gateway.headers import SECURITY_HEADERS
from worker.gateway.pages import milestones
from worker.gateway.view import Step
from worker.sandbox.users import SANDBOX_USER, STRANGER

ADMIN = {"admin_role": "MLP System User"}  # which every user of the sandbox has
NOT_FOUND = "Request not found"


def error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "stage": "plan", "retryable": False}}


async def page(door: Any, path: str = "/requests/r-1") -> str:
    response = await door.get(path, headers=BROWSER)
    return str(await response.text())


async def test_the_deployment_is_linked_with_whom_to_log_in_as() -> None:
    """The playground finds deployments by the e-mail in lower case."""
    async with open_door() as door:
        door.say(0)
        door.say(1, "deployed", deployment=DEPLOYMENT, solution_name="Sudoku <b>", kind="pipeline")
        await door.log_in()
        html = await page(door)
        assert f'href="{DEPLOYMENT["url"]}"' in html.replace("&amp;", "&")
        assert SANDBOX_USER.email in html
        assert "Sudoku &lt;b&gt;" in html


async def test_an_error_is_told_with_its_code_and_what_to_do() -> None:
    """The worker's sentence, the code of the contract, and the advice."""
    async with open_door() as door:
        door.say(0)
        door.say(1, "rejected", **error("no-access", "You may not read Sudoku."))
        await door.log_in()
        html = await page(door)
        assert "You may not read Sudoku." in html
        assert "<code>no-access</code>" in html
        assert "Ask its owner for access." in html
        assert "Deploy again" in html


async def test_warnings_and_containers_are_listed() -> None:
    """Each name that was changed, and what runs."""
    bundle = {"sha256": "0" * 64, "size": 4711, "nodes": ["solver", "gui"]}
    async with open_door() as door:
        door.say(0)
        door.say(1, "deployed", deployment=DEPLOYMENT, bundle=bundle, warnings=["Node 'A B' is called a-b."])
        await door.log_in()
        html = await page(door)
        assert "Node &#39;A B&#39; is called a-b." in html
        assert "<code>solver</code>" in html


async def test_waiting_is_told_with_its_place() -> None:
    """One request of a user after the other is deployed."""
    async with open_door() as door:
        for number in range(3):
            door.say(0, request_id=f"r-{number}", offset=number)
        await door.log_in()
        assert "2 of your requests are before it." in await page(door, "/requests/r-2")
        assert "One of your requests is before it." in await page(door, "/requests/r-1")


async def test_the_list_has_mine_and_nobody_elses() -> None:
    """By user, and each with enough of its id to be told apart."""
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
    """Neither the status nor the text says that it is there."""
    async with open_door() as door:
        door.say(0, request_id="theirs", user=STRANGER, partition=2)
        await door.log_in()
        answers = [await door.get(path.format(it), headers=BROWSER) for it in ("theirs", "no-such-1")]
        assert [404, 404] == [it.status for it in answers]
        texts = {await it.text() for it in answers}
        assert 1 == len(texts)


@pytest.mark.parametrize("path", ["/requests", "/requests/r-1", "/parked"])
async def test_without_a_session_one_learns_nothing(path: str) -> None:
    """A sentence says how to get one; an expired, forged or foreign cookie is none."""
    async with open_door(portal_url="https://graphene.example") as door:
        door.say(0)
        for cookie in ("", "nonsense", token()):
            response = await door.get(path, headers=BROWSER, cookies={"playground-session": cookie})
            html = await response.text()
            assert (401, True) == (response.status, "Log in" in html)
            assert 'href="https://graphene.example"' in html


async def test_a_session_of_another_key_is_none() -> None:
    """Each gateway trusts its own signature alone."""
    async with open_door() as one, open_door(session_key="z" * 32) as other:
        response = await one.get(CLICK, headers={"jwtToken": token()})
        cookie = response.cookies["playground-session"].value
        response = await other.get("/requests", headers=BROWSER, cookies={"playground-session": cookie})
        assert 401 == response.status


async def test_a_session_ends_with_its_token() -> None:
    """Its cookie has the token's end."""
    async with open_door() as door:
        response = await door.get(CLICK, headers={"jwtToken": token(hours=0.5)})
        age = int(response.cookies["playground-session"]["max-age"])
        assert 1700 < age <= 1800


async def test_an_administrator_sees_all() -> None:
    """And what waits for them; nobody else has that page."""
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


async def test_an_administrator_sees_what_has_failed() -> None:
    """With a button that replays it where there is a dead letter; what was rejected is its sender's matter."""
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
    """Under their name; the owner alone may not."""
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
    """Once for each page that was shown; an administrator may not deploy as somebody else."""
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
    """Its browser sends the cookie, and says where it comes from."""
    async with open_door(**ADMIN) as door:
        door.say(0, "submitting")
        door.say(1, "parked")
        await door.log_in()
        response = await door.post(path, data={"nonce": "n" * 16, "outcome": "deployed"}, headers=headers)
        assert (403, []) == (response.status, door.operations.done)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Origin": "http://portal.example"}, 303),  # a browser that does not say the site
        ({"Origin": "null", "Sec-Fetch-Site": "same-origin"}, 303),  # an error's page has no referrer
        ({"Origin": "null"}, 403),
        ({"Origin": "http://portal.example", "Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
async def test_its_own_page_may_act(headers: dict[str, str], expected: int) -> None:
    """By the site that the browser says, else by the origin."""
    async with open_door() as door:
        await door.log_in()
        assert expected == (await door.post("/log-out", headers=headers)).status


async def test_pages_with_forms_tell_their_origin_and_errors_nothing() -> None:
    """Browsers withhold the origin of a page without a referrer; only an error stands at an address with a token."""
    async with open_door() as door:
        door.say(0)
        await door.log_in()
        for path, expected in (("/requests", "same-origin"), ("/requests/r-1", "same-origin"), ("/x", "no-referrer")):
            assert expected == (await door.get(path, headers=BROWSER)).headers["Referrer-Policy"]
        response = await door.get(f"{CLICK}?jwtToken=a.b.c", headers=BROWSER)
        assert (401, "no-referrer") == (response.status, response.headers["Referrer-Policy"])


async def test_a_reload_does_not_use_up_the_streams() -> None:
    """Who has left counts no more, whether or not it has been noticed."""
    async with open_door(max_streams_per_user=2) as door:
        door.say(0)
        await door.log_in()
        for _ in range(5):
            (await door.get("/requests/r-1/events")).close()
        open_ones = [await door.get("/requests/r-1/events") for _ in range(3)]
        assert [200, 200, 429] == [it.status for it in open_ones]


async def test_an_open_page_says_that_kafka_is_away() -> None:
    """Without a new status, and once; it goes again when Kafka is back."""
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
        (  # another attempt begins again
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
    """What is done with its time, what is at work, where it waits or ended, and what is to come."""
    shown = [
        ":".join([it.mark, it.name, *([str(it.took.total_seconds())] if it.took else [])])
        for it in milestones(state, steps)
    ]
    assert expected == " ".join(shown)


async def test_logging_out_forgets_the_session() -> None:
    """The next page asks to log in."""
    async with open_door() as door:
        await door.log_in()
        assert 303 == (await door.post("/log-out", headers={"Origin": "http://portal.example"})).status
        assert 401 == (await door.get("/requests", headers=BROWSER)).status


@pytest.mark.parametrize(
    "path", ["/requests", "/nowhere", "/v1/deployments/x", CLICK, "/static/x/page.css", "/static/x/none"]
)
async def test_every_answer_has_the_headers(path: str) -> None:
    """Right ones and errors; only files whose address says their content may be kept."""
    async with open_door() as door:
        response = await door.get(path, headers=BROWSER)
        expected = {name: value for name, value in SECURITY_HEADERS.items() if name != "Cache-Control"}
        assert expected == {name: response.headers.get(name) for name in expected}
        assert ("immutable" in response.headers["Cache-Control"]) == path.endswith("page.css")


async def test_pages_have_nothing_inline() -> None:
    """The policy forbids it, and so every style and script is a file."""
    async with open_door() as door:
        door.say(0)
        await door.log_in()
        for path in ("/requests", "/requests/r-1"):
            html = await page(door, path)
            assert [] == re.findall(r"<style|style=|<script(?! src)|\son\w+=|javascript:", html)


async def test_kafka_away_is_said_on_every_page() -> None:
    """With the time at which it answered last; what is known is shown."""
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
    """Named, with a sentence."""
    async with open_door() as door:
        door.say(0, state)
        await door.log_in()
        assert f'chip {state}"' in await page(door)
        assert str(REVISION_ID)[:8] in await page(door, "/requests")
        assert str(SOLUTION_ID) in await page(door)


async def test_a_stream_ends_with_its_session() -> None:
    """A page that was left open shows nothing after that; it says that the log-in has expired."""
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
    """A parked one may be deployed already, and would be once more."""
    async with open_door() as door:
        door.say(0, state)
        await door.log_in()
        response = await door.post("/requests/r-1/again", data={"nonce": "n" * 16})
        assert (409, []) == (response.status, door.operations.done)


async def test_an_error_at_an_address_with_a_token_has_no_links() -> None:
    """A browser would hand the address on to where they lead."""
    async with open_door(portal_url="https://portal.example/") as door:
        html = await page(door, f"{CLICK}?jwtToken=a.b.c")
        assert ["#content"] == re.findall(r'<a [^>]*href="([^"]+)"', html)
        assert 'href="https://portal.example/"' in await page(door, "/requests")


async def test_an_administrator_sees_their_own_request_first() -> None:
    """Where another user's has the same id."""
    async with open_door(**ADMIN) as door:
        door.say(0, user=STRANGER, partition=2, solution_name="Theirs")
        door.say(0, solution_name="Mine")
        await door.log_in()
        html = await page(door)
        assert (True, False) == ("Mine" in html, "Theirs" in html)


async def test_only_the_owner_is_told_to_log_in_there() -> None:
    """The playground shows a deployment to its owner alone."""
    async with open_door(**ADMIN) as door:
        door.say(0, "deployed", deployment=DEPLOYMENT, user=STRANGER, partition=2)
        await door.log_in()
        html = await page(door)
        assert ("Only its owner" in html, "Log in there as" in html) == (True, False)


async def test_advice_for_operators_is_for_administrators() -> None:
    """A user cannot change a setting."""
    seen = []
    for settings in ({}, ADMIN):
        async with open_door(**settings) as door:
            door.say(0, "failed", **error("catalog-unauthorized", "It is so."))
            await door.log_in()
            seen.append("DEPLOYER_CATALOG__USERNAME" in await page(door))
    assert [False, True] == seen
