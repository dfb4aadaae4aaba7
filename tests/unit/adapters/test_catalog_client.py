"""The CCDS client against a server with CCDS's paths and behaviour."""

import asyncio
import json
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port
from pydantic import SecretStr

from schemas import Kind
from worker.adapters.graphene import MAX_DESCRIPTION, MAX_JSON, CatalogClient
from worker.adapters.http import dependency_session
from worker.build import SMALL_BYTES, Allowance
from worker.domain.bundle.presentation import MAX_ICON
from worker.domain.solution import ByteLimit, Caller, LeftOut, Solution
from worker.errors import DeploymentError, NeedsReservation, NotAllowed, NotFound, Unavailable
from worker.settings import CatalogSettings

Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]
Reply = Any  # JSON, bytes as they are, a status, or a function of the request

SOLUTION = UUID("7d8b6a0e-0f57-4d0c-9d3c-6a8d1f6f9a01")
REVISION = UUID("2b1c9a52-6c65-4b73-8f34-0f9d5a7c1e02")
CALLER = Caller(user_id="ada/1 é", email="ada@example.org")
PASSWORD = "canary-password"
FIRST, SECOND, THIRD = (f"00000000-0000-4000-8000-00000000000{number}" for number in (1, 2, 3))

PATHS = {
    "solution": f"/ccds/solution/{SOLUTION}",
    "revision": f"/ccds/solution/{SOLUTION}/revision/{REVISION}",
    "artifacts": f"/ccds/revision/{REVISION}/artifact",
    "access": f"/ccds/access/user/ada%2F1%20%C3%A9/solution/{SOLUTION}",
    "icon": f"/ccds/solution/{SOLUTION}/pic",
    "catalogs": f"/ccds/catalog/solution/{SOLUTION}",
    "first": f"/ccds/revision/{REVISION}/catalog/{FIRST}/descr",
    "second": f"/ccds/revision/{REVISION}/catalog/{SECOND}/descr",
    "third": f"/ccds/revision/{REVISION}/catalog/{THIRD}/descr",
}


def artifact(code: str, uri: Any) -> dict[str, Any]:
    return {"artifactId": "x", "artifactTypeCode": code, "name": "x", "uri": uri, "size": -1, "metadata": None}


ARTIFACTS = [
    artifact("LI", "org/license.json"),
    artifact("DI", "registry.example/old:1"),
    artifact("BP", "org/first.json"),
    artifact("BP", "org/second.json"),
    artifact("MI", "org/model.proto"),
    artifact("MI", "org/other.proto"),
    artifact("DI", "registry.example/new:2"),
]
GOOD: dict[str, Reply] = {
    "solution": {"solutionId": str(SOLUTION), "name": "Sudoku Tutorial", "toolkitTypeCode": "CP", "tags": []},
    "revision": {"revisionId": str(REVISION), "solutionId": str(SOLUTION), "version": "1.0.0"},
    "artifacts": ARTIFACTS,
    "access": {"count": 1},
    "icon": b"\x89PNG",
    "catalogs": [{"catalogId": FIRST}, {"catalogId": SECOND}, {"catalogId": THIRD}],
    "first": b"",
    "second": {"description": "<p>second</p>"},
    "third": {"description": "<p>third</p>"},
}


class Ccds:
    """CCDS as far as a deployer sees it; each entry of `replies` can be changed."""

    def __init__(self) -> None:
        self.replies: dict[str, Reply] = dict(GOOD)
        self.headers: dict[str, dict[str, str]] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        name = next((name for name, path in PATHS.items() if path == request.raw_path), None)
        assert name, request.raw_path
        assert name not in self.headers, "asked twice"
        self.headers[name] = dict(request.headers)
        reply = self.replies[name]
        if callable(reply):
            reply = await reply()
        if isinstance(reply, int):
            return web.json_response({"status": reply, "error": "x"}, status=reply, headers={"Location": "/"})
        if isinstance(reply, bytes):
            return web.Response(body=reply)
        return web.json_response(reply)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """The session that the worker uses."""
    async with dependency_session() as open_session:
        yield open_session


@pytest.fixture
def ccds() -> Ccds:
    """A CCDS that has one pipeline."""
    return Ccds()


Find = Callable[..., Awaitable[Solution]]


@pytest.fixture
def find(session: aiohttp.ClientSession, serve: Serve, ccds: Ccds) -> Find:
    """A function that looks up the solution in `ccds`."""

    async def run(caller: Caller | None = CALLER, left: ByteLimit | None = None, **changes: Any) -> Solution:
        url = f"{await serve(ccds.handle)}/ccds/"
        options = {"url": url, "username": "ccds_client", "password": SecretStr(PASSWORD), "timeout_seconds": 5}
        return await CatalogClient(session, CatalogSettings(**{**options, **changes})).find(
            SOLUTION, REVISION, caller, left
        )

    return run


def with_fields(reply: str, **fields: Any) -> dict[str, Any]:
    return {**GOOD[reply], **fields}


async def hang() -> Reply:
    """Never answer."""
    await asyncio.Event().wait()


def left_running() -> list[str]:
    """Return the client's tasks that still run."""
    names = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
    return [name for name in names if "CatalogClient" in name or "Dependency" in name]


async def test_a_pipeline(find: Find, ccds: Ccds) -> None:
    """A pipeline has its first blueprint, its icon, and the first non-empty description of its catalogs."""
    expected = Solution(
        SOLUTION,
        REVISION,
        "Sudoku Tutorial",
        Kind.PIPELINE,
        version="1.0.0",
        blueprint_uri="org/first.json",
        icon=b"\x89PNG",
        description="<p>second</p>",
        remarks=("The revision has 2 blueprints; the first one is deployed.",),
    )
    assert expected == await find()


@pytest.mark.parametrize("version", [None, "", 1, ["1.0.0"]])
async def test_a_revision_without_version_is_deployed(find: Find, ccds: Ccds, version: Reply) -> None:
    """A version that is missing or not text is left out; only people read it."""
    ccds.replies["revision"] = GOOD["revision"] | {"version": version}
    assert (await find()).version is None


async def test_a_single_model(find: Find, ccds: Ccds) -> None:
    """A single model has the first protobuf and the last image, and needs no blueprint."""
    ccds.replies["solution"] = with_fields("solution", toolkitTypeCode="MN")
    ccds.replies["artifacts"] = [artifact for artifact in ARTIFACTS if artifact["artifactTypeCode"] != "BP"]
    found = await find()
    assert (Kind.SINGLE_MODEL, None) == (found.kind, found.blueprint_uri)
    assert ("org/model.proto", "registry.example/new:2") == (found.proto_uri, found.image)
    images = "The revision has 2 Docker images; the last one is deployed."
    assert (images, "The revision has 2 protobufs; the first one is deployed.") == found.remarks


@pytest.mark.parametrize(
    ("toolkit", "kind"),
    [
        ("CP", Kind.PIPELINE),
        ("cp", Kind.PIPELINE),
        ("Cp", Kind.PIPELINE),
        ("", Kind.SINGLE_MODEL),
        (None, Kind.SINGLE_MODEL),
        ("SK", Kind.SINGLE_MODEL),
        ("CPX", Kind.SINGLE_MODEL),
    ],
)
async def test_the_toolkit_type_tells_the_kind(find: Find, ccds: Ccds, toolkit: str | None, kind: Kind) -> None:
    """The toolkit type `CP`, in any case, is a pipeline; any other, or none, is a single model."""
    ccds.replies["solution"] = with_fields("solution", toolkitTypeCode=toolkit)
    assert kind == (await find()).kind


async def test_ids_are_compared_as_ids(find: Find, ccds: Ccds) -> None:
    """A revision that names its solution in upper case belongs to it."""
    ccds.replies["revision"] = with_fields("revision", solutionId=str(SOLUTION).upper())
    assert "Sudoku Tutorial" in (await find()).name


async def test_credentials_and_accept(find: Find, ccds: Ccds) -> None:
    """Every request has basic credentials, and the picture is not requested as JSON."""
    await find()
    expected = aiohttp.encode_basic_auth("ccds_client", PASSWORD)
    assert {expected} == {headers["Authorization"] for headers in ccds.headers.values()}
    assert "*/*" in ccds.headers["icon"]["Accept"]
    assert "application/json" in ccds.headers["solution"]["Accept"]


async def test_everything_is_asked_at_once(find: Find, ccds: Ccds) -> None:
    """All six requests are open at the same time, as each waits here for the others."""
    together = asyncio.Barrier(6)

    def wait(name: str) -> Callable[[], Awaitable[Reply]]:
        async def reply() -> Reply:
            await together.wait()
            return GOOD[name]

        return reply

    for name in PATHS.keys() - {"first", "second", "third"}:
        ccds.replies[name] = wait(name)
    assert "<p>second</p>" == (await find()).description


async def test_descriptions_are_fetched_until_there_is_one(find: Find, ccds: Ccds) -> None:
    """Descriptions are fetched one by one until one is found, so that at most one is in memory."""
    await find()
    assert {"first", "second"} == ccds.headers.keys() & {"first", "second", "third"}


UNREADABLE: list[tuple[bytes, str]] = [
    (b'{"a": NaN}', "NaN and Infinity are not JSON"),
    (b'{"name": "x", "name": "y"}', "an object has a key twice"),
    (b'{"name": "\\ud800"}', "a string has a lone surrogate"),
    (b'{"name": "' + b"," * 5_001 + b'"}', "more than 5000 values"),
    (b"[" * 40 + b"]" * 40, "nested deeper than 32 levels"),
    (b"[" * 4_000 + b"]" * 4_000, "nested deeper than 32 levels"),
    (b'{"n": 1' + b"0" * 400 + b"}", "a number is longer than 300 characters"),
    (b'{"n": 1e999}', "a number is too large"),
    (b' {"name": "' + b"x" * MAX_JSON + b'"}', f"longer than {MAX_JSON} bytes"),
]


@pytest.mark.parametrize(("reply", "why"), UNREADABLE, ids=[why for _, why in UNREADABLE])
@pytest.mark.parametrize("name", ["solution", "revision", "artifacts"])
async def test_no_content_is_an_outage(find: Find, ccds: Ccds, name: str, reply: bytes, why: str) -> None:
    """Unusable data in the database fails that user's request and counts on no breaker."""
    ccds.replies[name] = reply
    with pytest.raises(NotFound) as caught:
        await find()
    assert "solution-unreadable" == caught.value.code
    assert f"cannot be used: {why}. Correct" in caught.value.message


@pytest.mark.parametrize(("reply", "why"), UNREADABLE[:-1], ids=[why for _, why in UNREADABLE[:-1]])
@pytest.mark.parametrize("name", ["catalogs", "first"])
async def test_no_content_of_a_description_stops_a_deployment(
    find: Find, ccds: Ccds, name: str, reply: bytes, why: str
) -> None:
    """An unusable description never stops a deployment: it is left out with the reason, or the next one is used."""
    ccds.replies |= {name: reply, "second": b"", "third": b""}
    description = (await find()).description
    assert isinstance(description, LeftOut)
    assert why in description.reason


async def test_descriptions_are_bounded_together(find: Find, ccds: Ccds) -> None:
    """All descriptions together have one limit, however many catalogs there are."""
    blank = {"description": " " * (MAX_DESCRIPTION // 2)}
    ccds.replies |= {"first": blank, "second": blank, "third": blank}
    description = (await find()).description
    assert isinstance(description, LeftOut)
    assert "its description cannot be used: longer than" in description.reason
    assert "third" not in ccds.headers


async def test_a_small_allowance_counts_everything(find: Find, ccds: Ccds) -> None:
    """Everything counts against a small allowance, even the picture alone; the attempt then needs a reservation."""
    ccds.replies["icon"] = b"x" * SMALL_BYTES
    with pytest.raises(NeedsReservation):
        await find(left=Allowance().fetched)
    ccds.headers.clear()
    assert b"x" * SMALL_BYTES == (await find()).icon


@pytest.mark.parametrize(("caller", "check"), [(None, True), (CALLER, False)])
async def test_access_is_checked_for_callers_when_configured(
    find: Find, ccds: Ccds, caller: Caller | None, check: bool
) -> None:
    """Without a caller, or with CHECK_ACCESS off, no access check is requested."""
    await find(caller, check_access=check)
    assert "access" not in ccds.headers


async def test_what_is_shared_is_never_the_leave(session: aiohttp.ClientSession, serve: Serve, ccds: Ccds) -> None:
    """Simultaneous lookups of a solution share CCDS's answers, but each checks access for itself."""
    asked, both = Counter[str](), asyncio.Barrier(2)

    async def handle(request: web.Request) -> web.StreamResponse:
        (name,) = [name for name, path in PATHS.items() if path == request.raw_path]
        asked[name] += 1
        if name == "access":
            await both.wait()
        ccds.headers.clear()
        return await ccds.handle(request)

    options = {"url": f"{await serve(handle)}/ccds/", "username": "ccds_client", "password": SecretStr(PASSWORD)}
    client = CatalogClient(session, CatalogSettings(**options))
    first, second = await asyncio.gather(*(client.find(SOLUTION, REVISION, CALLER) for _ in range(2)))
    assert first == second
    assert {**dict.fromkeys(PATHS.keys() - {"third"}, 1), "access": 2} == asked


NOT_FOUND: list[Reply] = [b"", b" \n", b"null", 400, 404]
BROKEN: list[tuple[Reply, str]] = [
    (401, "catalog-unauthorized"),
    (403, "catalog-unauthorized"),
    (204, "catalog-error"),
    (302, "catalog-error"),
    (409, "catalog-error"),
    (500, "catalog-error"),
    (503, "catalog-error"),
    (b"<html>", "catalog-error"),
    (b"[1, 2", "catalog-error"),
    (b'{"name": "' + b"[" * 9_000, "catalog-error"),
    (b"\xff{}", "catalog-error"),
    (b'"text"', "catalog-error"),
    (b"17", "catalog-error"),
    (b"[17]", "catalog-error"),
    (b'"' + b"x" * MAX_JSON + b'"', "catalog-error"),
]


@pytest.mark.parametrize("reply", NOT_FOUND)
@pytest.mark.parametrize(
    ("name", "code", "error"),
    [
        ("solution", "solution-not-found", NotFound),
        ("revision", "revision-not-found", NotFound),
        ("artifacts", "blueprint-missing", NotFound),
        ("access", "no-access", NotAllowed),
    ],
)
async def test_every_way_to_say_not_found(
    find: Find, ccds: Ccds, name: str, code: str, error: type[DeploymentError], reply: Reply
) -> None:
    """200 without a body, `null`, 400 and 404 all mean that there is nothing."""
    ccds.replies[name] = reply
    with pytest.raises(error) as caught:
        await find()
    assert code == caught.value.code
    assert not left_running()


@pytest.mark.parametrize(("reply", "code"), BROKEN, ids=[str(reply)[:20] for reply, _ in BROKEN])
@pytest.mark.parametrize("name", ["solution", "revision", "artifacts", "access"])
async def test_an_outage_is_an_outage(find: Find, ccds: Ccds, name: str, reply: Reply, code: str) -> None:
    """Rejected credentials, errors and nonsense are outages, never "not found" and never "a single model"."""
    ccds.replies[name] = reply
    with pytest.raises(Unavailable) as caught:
        await find()
    stage = "authorise" if name == "access" else "fetch"
    assert (code, stage) == (caught.value.code, caught.value.stage)
    assert not left_running()


@pytest.mark.parametrize(
    ("name", "reply"),
    [
        ("solution", with_fields("solution", name=None)),
        ("solution", with_fields("solution", toolkitTypeCode=7)),
        ("solution", []),
        ("revision", {"revisionId": str(REVISION)}),
        ("artifacts", {}),
        ("access", {}),
        ("access", {"count": True}),
        ("access", {"count": "1"}),
    ],
)
async def test_json_of_another_shape_is_an_outage(find: Find, ccds: Ccds, name: str, reply: Reply) -> None:
    """JSON of a shape that CCDS never sends is an outage, and is not interpreted."""
    ccds.replies[name] = reply
    with pytest.raises(Unavailable) as caught:
        await find()
    assert "catalog-error" in caught.value.code


@pytest.mark.parametrize("name", ["solution", "revision", "artifacts", "access"])
async def test_time_out(find: Find, ccds: Ccds, name: str) -> None:
    """A required answer that never comes fails the request and leaves no task running."""
    ccds.replies[name] = hang
    with pytest.raises(Unavailable) as caught:
        await find(timeout_seconds=0.1)
    assert "catalog-timeout" in caught.value.code
    assert not left_running()


async def test_nobody_listens(find: Find) -> None:
    """A refused connection is an outage."""
    with pytest.raises(Unavailable) as caught:
        await find(url=f"http://127.0.0.1:{unused_port()}/ccds")
    assert "catalog-unavailable" in caught.value.code


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"solution": b"", "access": 500}, "catalog-error"),
        ({"solution": 401, "revision": 500, "artifacts": hang, "access": hang}, "catalog-unauthorized"),
        ({"solution": hang, "revision": 401}, "catalog-timeout"),
        ({"solution": b"", "revision": b"", "artifacts": [], "access": {"count": 0}}, "solution-not-found"),
        ({"revision": b"", "artifacts": [], "access": {"count": 0}}, "revision-not-found"),
        (
            {"revision": with_fields("revision", solutionId=FIRST), "artifacts": [], "access": {"count": 0}},
            "revision-of-another-solution",
        ),
        ({"artifacts": [], "access": {"count": 0}}, "no-access"),
        ({"artifacts": []}, "blueprint-missing"),
        ({"artifacts": [artifact("BP", None), artifact("BP", " ")]}, "blueprint-missing"),
        ({"solution": with_fields("solution", toolkitTypeCode=None), "artifacts": []}, "image-missing"),
        (
            {"solution": with_fields("solution", toolkitTypeCode=None), "artifacts": [artifact("DI", "x")]},
            "proto-missing",
        ),
        (
            {"solution": with_fields("solution", toolkitTypeCode=None), "artifacts": [artifact("MI", "x")]},
            "image-missing",
        ),
    ],
)
async def test_of_several_problems_the_same_is_reported(
    find: Find, ccds: Ccds, changes: dict[str, Reply], code: str
) -> None:
    """Outages are reported first, in a fixed order; then existence, ownership, access, and missing parts."""
    ccds.replies |= changes
    with pytest.raises(DeploymentError) as caught:
        await find(timeout_seconds=1 if hang in changes.values() else 5)
    assert code == caught.value.code


OUTAGES: list[Reply] = [401, 500, hang]


@pytest.mark.parametrize("reply", [b"", 400, 404, *OUTAGES, bytes(MAX_ICON + 1)])
async def test_a_solution_without_icon(find: Find, ccds: Ccds, reply: Reply) -> None:
    """An unavailable icon costs nothing but the icon, and a hanging icon costs one timeout.

    None means that there is no icon; an icon that cannot be fetched has the reason.
    """
    ccds.replies["icon"] = reply
    found = await find(timeout_seconds=1 if reply is hang else 5)
    assert ("<p>second</p>", "org/first.json") == (found.description, found.blueprint_uri)
    assert (None if reply in (b"", 400, 404) else found.icon) == found.icon
    assert found.icon is None or (isinstance(found.icon, LeftOut) and found.icon.reason.endswith("."))
    assert not left_running()


NONE: list[Reply] = [b"", 404]
NO_CATALOGS: list[Reply] = [*NONE, [], [{}], [{"catalogId": "../.."}]]
NO_TEXT: list[Reply] = [*NONE, {}, {"description": None}, {"description": " "}]


@pytest.mark.parametrize(
    ("changes", "description"),
    [({"catalogs": reply}, None) for reply in NO_CATALOGS]
    + [({"catalogs": reply}, LeftOut) for reply in [*OUTAGES, b"nonsense", {"a": 1}]]
    + [({"second": reply}, "<p>third</p>") for reply in [*NO_TEXT, 401, 500, b"nonsense", [1]]]
    + [({"second": reply, "third": b""}, None) for reply in NO_TEXT]
    + [({"second": reply, "third": b""}, LeftOut) for reply in [*OUTAGES, b"nonsense", [1]]]
    + [
        ({"first": {"description": "<p>first</p>"}, "second": hang, "third": 500}, "<p>first</p>"),
        ({"second": {"description": "x" * 2 * MAX_JSON}}, "x" * 2 * MAX_JSON),
    ],
)
async def test_a_solution_with_and_without_description(
    find: Find, ccds: Ccds, changes: dict[str, Reply], description: str | type[LeftOut] | None
) -> None:
    """Unavailable descriptions cost nothing else, and the first text in order is used.

    None means that there is no description; a description that cannot be fetched has the reason.
    """
    ccds.replies |= changes
    found = await find(timeout_seconds=1 if hang in changes.values() else 5)
    assert description == (LeftOut if isinstance(found.description, LeftOut) else found.description)
    assert b"\x89PNG" == found.icon
    assert not left_running()


async def test_a_failure_does_not_wait_for_the_icon(find: Find, ccds: Ccds) -> None:
    """A failed request drops its optional parts at once."""
    ccds.replies |= {"solution": b"", "icon": hang, "catalogs": hang}
    with pytest.raises(NotFound):
        await asyncio.wait_for(find(timeout_seconds=3600), 10)
    assert not left_running()


async def test_a_cancelled_request_leaves_nothing_running(find: Find, ccds: Ccds) -> None:
    """Cancelling a request stops all its open calls."""
    arrived = asyncio.Event()

    async def hang_and_tell() -> Reply:
        arrived.set()
        await hang()

    ccds.replies |= {"artifacts": hang_and_tell, "icon": hang, "first": hang}
    task = asyncio.ensure_future(find())
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not left_running()


@pytest.mark.parametrize(
    ("name", "reply"), [("solution", 401), ("access", 500), ("access", {"count": 0}), ("icon", 500)]
)
async def test_nothing_secret_shows(
    find: Find, ccds: Ccds, capsys: pytest.CaptureFixture[str], name: str, reply: Reply
) -> None:
    """Neither errors nor logs contain the password, the header with it, or the caller."""
    ccds.replies[name] = reply
    shown = ""
    try:
        shown = repr(await find())
    except DeploymentError as error:
        shown = "".join(traceback.format_exception(error)) + repr(error) + json.dumps(error.info().model_dump())
    output = capsys.readouterr()
    header = aiohttp.encode_basic_auth("ccds_client", PASSWORD).removeprefix("Basic ")
    for hidden in (PASSWORD, header, CALLER.user_id, CALLER.email, "ada%2F"):
        assert hidden not in shown + output.out + output.err


# -------------------------------------------------------------------------------------------- owners of protobufs

OWNER = "owner-1"


def uri(solution_id: UUID | str, name: str = "x") -> str:
    return f"org/acumos/{solution_id}/{name}/1.0.0/{name}-1.0.0.proto"


class Access:
    """Answers access checks, and records them."""

    def __init__(self, *allowed: tuple[str, str]) -> None:
        self.allowed = set(allowed)
        self.asked: list[tuple[str, str]] = []

    async def handle(self, request: web.Request) -> web.Response:
        *_, user, _, solution_id = request.path.split("/")
        self.asked.append((user, solution_id))
        return web.json_response({"count": int((user, solution_id) in self.allowed)})


async def checked(
    session: aiohttp.ClientSession, serve: Serve, access: Access, *uris: str, owner: str | None = OWNER, **changes: Any
) -> str | None:
    """Return the error code with which these uris are rejected, if they are."""
    options = CatalogSettings(
        url=f"{await serve(access.handle)}/ccds",
        username="reader",
        password=SecretStr(PASSWORD),
        timeout_seconds=5,
        **changes,
    )
    solution = Solution(SOLUTION, REVISION, "Pipeline", Kind.PIPELINE, owner)
    try:
        await CatalogClient(session, options).check_protobufs(
            uris, solution, Caller("caller-1", "c@example.org"), ByteLimit(10_000)
        )
    except DeploymentError as error:
        return error.code
    return None


@pytest.mark.parametrize(
    ("allowed", "code", "asked"),
    [
        ([(OWNER, FIRST), (OWNER, SECOND)], None, {(OWNER, FIRST), (OWNER, SECOND)}),
        ([(OWNER, FIRST), ("caller-1", SECOND)], None, {(OWNER, FIRST), (OWNER, SECOND), ("caller-1", SECOND)}),
        ([(OWNER, FIRST)], "no-access-to-proto", {(OWNER, FIRST), (OWNER, SECOND), ("caller-1", SECOND)}),
        ([], "no-access-to-proto", {(it, s) for it in (OWNER, "caller-1") for s in (FIRST, SECOND)}),
    ],
)
async def test_a_protobuf_belongs_to_a_solution_that_owner_or_caller_may_read(
    session: aiohttp.ClientSession, serve: Serve, allowed: Any, code: str | None, asked: set[tuple[str, str]]
) -> None:
    """Each solution is checked once, and for the caller only if the owner may not read it."""
    access = Access(*allowed)
    uris = (uri(SOLUTION), uri(FIRST), uri(FIRST, "other"), uri(SECOND))
    assert (code, sorted(asked)) == (await checked(session, serve, access, *uris), sorted(access.asked))


@pytest.mark.parametrize(
    ("path", "solution_id"),
    [
        (uri(FIRST), FIRST),
        (uri("ABCDEF00-0000-4000-8000-00000000000A"), "abcdef00-0000-4000-8000-00000000000a"),
        (f"com/artifact/{FIRST}/{SECOND}/x/1.0.0/x-1.0.0.proto", FIRST),
        (f"{FIRST}/x.proto", FIRST),
        (f"org/acumos/{FIRST};x/a/1.0.0/x.proto", FIRST),
        (f"org/acumos/{FIRST};{SOLUTION}/{SECOND}/x.proto", FIRST),
        (f"org/acumos/%{ord(FIRST[0]):x}{FIRST[1:]}/a/x.proto", FIRST),
    ],
)
async def test_whose_a_file_is_stands_first_in_its_path(
    session: aiohttp.ClientSession, serve: Serve, path: str, solution_id: str
) -> None:
    """The first id in a path after the group is the solution's; a later id is a revision or a name."""
    access = Access()
    assert "no-access-to-proto" == await checked(session, serve, access, path, owner=None)
    assert [("caller-1", solution_id)] == access.asked


@pytest.mark.parametrize("path", ["private/victim.proto", f"private/{FIRST}", f"private/{FIRST[1:]}/x.proto", "x"])
@pytest.mark.parametrize(("choice", "code"), [("refuse", "proto-of-unknown"), ("allow", None)])
async def test_where_it_cannot_be_told_the_operator_decides(
    session: aiohttp.ClientSession, serve: Serve, path: str, choice: str, code: str | None
) -> None:
    """If the owner is unknown, the operator's setting decides, which rejects by default."""
    access = Access()
    assert code == await checked(session, serve, access, path, protobufs_of_unknown=choice)
    assert [] == access.asked


async def test_without_access_checks_no_file_is_checked(session: aiohttp.ClientSession, serve: Serve) -> None:
    """CHECK_ACCESS=false, for a Graphene in which all users may read everything, skips the check of files."""
    access = Access()
    assert await checked(session, serve, access, uri(FIRST), check_access=False) is None
    assert [] == access.asked
