import asyncio
import base64
import io
import json
import stat
import struct
import tracemalloc
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from worker.app import open_builder
from worker.sandbox.graphene import CCDS_LOGIN, CCDS_PATH, NEXUS_LOGIN, NEXUS_PATH, graphene_app
from worker.sandbox.graphene_data import CASES
from worker.sandbox.http_server import Fault, served
from worker.sandbox.playground import ANY_USER, PLAYGROUND, PLAYGROUND_FAULTS, Playground, playground_app
from worker.sandbox.playground_confinement import Confinement, find_confinement
from worker.sandbox.playground_dry_run import MAX_OUTPUT, DryRuns, ScriptFailed
from worker.sandbox.playground_upload import MAX_BYTES, MAX_ENTRIES, Unusable, unpack
from worker.settings import ArtifactsSettings, BuilderSettings, CatalogSettings

NOW = datetime(2026, 11, 24, 12, 30, tzinfo=UTC)
USER = "Ada@Example.org"
PREFIX = "/dashboard?selected_deployment_id="


class Unconfined:
    """No confinement, for the scripts of these tests on machines without any."""

    about = ""
    user = None

    def command(self, command: list[str], _: Path) -> list[str]:
        """Return the command unchanged."""
        return command


UNCONFINED = Unconfined()
OURS = find_confinement() or UNCONFINED
CONFINEMENTS = pytest.mark.parametrize("confinement", [UNCONFINED, OURS], ids=["unconfined", "as here"])

# Prints how it was started, and exits with the given code.
SCRIPT = b"""
import json, os, pathlib, sys
base = pathlib.Path(sys.argv[sys.argv.index("-bp") + 1])
config = json.loads(pathlib.Path(sys.argv[sys.argv.index("--config-file") + 1]).read_text())
print(json.dumps({"argv": sys.argv, "config": config, "here": sorted(it.name for it in base.iterdir()),
                  "variables": sorted(os.environ), "home": os.listdir(os.environ["HOME"])}))
(base / "written").write_text("by the script")
sys.exit(int((base / "exit-code").read_text()))
"""


def bundle(name: str = "Demo_Pipeline 1", script: bytes = SCRIPT, exit_code: int = 0) -> dict[str, bytes]:
    """The files of a small bundle."""
    return {
        "blueprint.json": json.dumps({"name": name}).encode(),
        "kubernetes-client-script.py": script,
        "exit-code": str(exit_code).encode(),
    }


def zipped(files: dict[str, bytes] | list[tuple[Any, bytes]]) -> bytes:
    """A zip of these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items() if isinstance(files, dict) else files:
            archive.writestr(name, content)
    return buffer.getvalue()


def upload(archive: bytes, username: str = USER) -> bytes:
    """The body of a POST with this zip."""
    return json.dumps({"solution": base64.b64encode(archive).decode(), "username": username}).encode()


class Client:
    """A caller of the sandbox playground."""

    def __init__(self, http: aiohttp.ClientSession, playground: Playground) -> None:
        self.http = http
        self.playground = playground

    async def post(self, body: bytes, path: str | None = None, **headers: str) -> tuple[int, str, str | None]:
        """Return status, body and Location of a POST with the worker's path and headers, unless others are given."""
        path, headers = path or self.playground.deploy_path, {"Content-Type": "application/json"} | headers
        async with self.http.post(path, data=body, headers=headers, allow_redirects=False) as response:
            return response.status, await response.text(), response.headers.get("Location")

    async def get(self, path: str) -> tuple[int, str]:
        """Return status and body of a page."""
        async with self.http.get(path) as response:
            return response.status, await response.text()

    async def deploy(self, files: dict[str, bytes], username: str = USER, **headers: str) -> str:
        """Deploy a bundle and return its namespace."""
        status, body, _ = await self.post(upload(zipped(files), username), **headers)
        assert (200, PREFIX) == (status, body[: len(PREFIX)])
        return body.removeprefix(PREFIX)


Start = Callable[..., Any]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """A function that starts a sandbox playground with the given options."""
    async with AsyncExitStack() as stack:

        async def start(**options: Any) -> Client:
            defaults: dict[str, Any] = {"clock": lambda: NOW}
            app = playground_app(tmp_path / "playground", **(defaults | options))
            url = await stack.enter_async_context(served(app))
            return Client(await stack.enter_async_context(aiohttp.ClientSession(url)), app[PLAYGROUND])

        yield start


async def test_a_bundle_is_deployed(start: Start) -> None:
    """The namespace is the name in lower case with hyphens and 32 hex digits, and the answer links to it."""
    client = await start()
    status, body, _ = await client.post(upload(zipped(bundle())))
    namespace, _, number = body.removeprefix(PREFIX).rpartition("-")
    assert (200, "demo-pipeline-1", 32) == (status, namespace, len(number))
    assert number == f"{int(number, 16):032x}"


async def test_every_post_is_another_deployment(start: Start) -> None:
    """Every POST creates another deployment, because the server is not idempotent."""
    client = await start()
    assert await client.deploy(bundle()) != await client.deploy(bundle())
    assert 2 == len(client.playground.deployments)


async def test_a_namespace_has_63_characters_at_most(start: Start) -> None:
    """A name of 30 characters is deployed, and a name of 31 is not, because a namespace has at most 63 characters."""
    client = await start()
    await client.deploy(bundle("a" * 30))
    assert 302 == (await client.post(upload(zipped(bundle("a" * 31)))))[0]


GOOD = zipped(bundle())
LINK = zipfile.ZipInfo("link")
LINK.external_attr = (stat.S_IFLNK | 0o777) << 16


UNUSABLE = {  # ids without a zip's time, so that all processes collect the same tests
    "no JSON": b"no json",
    "deep": b"[" * 100_000,
    "no object": b"[]",
    "no solution": b'{"username": "ada@example.org"}',
    "a number as user": b'{"username": 1, "solution": ""}',
    "no base64": b'{"username": "ada@example.org", "solution": "%%%"}',
    "no zip": upload(b"no zip"),
    "half a zip": upload(GOOD[:-30]),
    "blank user": upload(GOOD, username=" "),
    "long user": upload(GOOD, username="a" * 128),
    "no blueprint": upload(zipped({"other.json": b"{}"})),
    "blueprint is no JSON": upload(zipped({"blueprint.json": b"no json"})),
    "no name": upload(zipped({"blueprint.json": b"{}"})),
    "a number as name": upload(zipped({"blueprint.json": b'{"name": 1}'})),
    "name with a dot": upload(zipped(bundle("a.b"))),
    "name with a hyphen first": upload(zipped(bundle("-a"))),
    "name beyond ASCII": upload(zipped(bundle("ä"))),
}


@pytest.mark.parametrize("body", UNUSABLE.values(), ids=UNUSABLE)
async def test_what_cannot_be_used_is_redirected(start: Start, body: bytes) -> None:
    """An unusable body is redirected to the start page without a reason, and nothing is deployed."""
    client = await start()
    status, _, location = await client.post(body)
    assert (302, "/", {}) == (status, location, client.playground.deployments)


@pytest.mark.parametrize(
    "files",
    [
        [("../x", b"")],
        [("/x", b"")],
        [("a/../x", b"")],
        [("a//x", b"")],
        [("./x", b"")],
        [(".", b"")],
        [("a\\x", b"")],
        [("c:x", b"")],
        [("x" * 201, b"")],
        [(LINK, b"/etc/passwd")],
        [("a", b""), ("a/b", b"")],
        [(str(number), b"") for number in range(MAX_ENTRIES + 1)],
    ],
    ids=lambda files: str(files[0][0])[:20],
)
def test_hostile_zips_are_not_unpacked(files: list[tuple[Any, bytes]]) -> None:
    """Names that lead out of the folder, links and masses of files are rejected before anything is written."""
    with pytest.raises(Unusable):
        unpack(zipped(files))


def test_zip_bombs_are_not_unpacked() -> None:
    """A zip that declares more than the limit is rejected by its declared size."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", bytes(MAX_BYTES + 1))
    with pytest.raises(Unusable):
        unpack(buffer.getvalue())


def test_zip_bombs_that_lie_are_not_unpacked() -> None:
    """A file that declares one byte but holds more is not unpacked, and memory stays small."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", bytes(MAX_BYTES))
    lie = buffer.getvalue().replace(struct.pack("<I", MAX_BYTES), struct.pack("<I", 1))
    tracemalloc.start()
    try:
        with pytest.raises(Unusable):
            unpack(lie)
        assert tracemalloc.get_traced_memory()[1] < MAX_BYTES // 8
    finally:
        tracemalloc.stop()


def test_the_list_of_a_zip_is_not_read_when_it_is_long() -> None:
    """Entries are counted before they become objects: 100,000 of them, files or folders, fit into few megabytes."""
    listed = zipped([("a/", b"")]).partition(b"PK\1\2")[2].partition(b"PK\5\6")[0]
    entries = (b"PK\1\2" + listed) * 100_000
    archive = entries + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0, 0, len(entries), 0, 0)
    tracemalloc.start()
    try:
        with pytest.raises(Unusable):
            unpack(archive)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_only_the_usual_compression_is_unpacked(method: int) -> None:
    """bzip2 and LZMA are rejected: they unpack without a bound, and no bundle uses them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("x", b"content")
    with pytest.raises(Unusable):
        unpack(buffer.getvalue())


def test_folders_in_a_zip_are_no_files() -> None:
    """Entries for folders, which zip tools write, are skipped."""
    assert {"a/b": b"c"} == unpack(zipped([("a/", b""), ("a/b", b"c")]))


async def test_only_known_addresses_may_post(start: Start) -> None:
    """Other addresses get a 401 that names them; a body that is not JSON is redirected even before that check."""
    client = await start(allowed_addresses=["192.0.2.1"])
    assert (401, "Not allowed for your domain: 127.0.0.1", None) == await client.post(b"{}")
    assert 302 == (await client.post(b"no json"))[0]
    client.playground.allowed_addresses = None
    await client.deploy(bundle())


async def test_posts_to_nowhere_are_redirected(start: Start) -> None:
    """A POST to an unknown path or a page is redirected."""
    client = await start()
    assert ["/", "/"] == [(await client.post(b"", path))[2] for path in ("/nowhere", "/dashboard")]
    assert 404 == (await client.get("/nowhere"))[0]


async def test_unique_names_belong_to_their_first_user(start: Start) -> None:
    """With unique names, another user's name is answered with None, and the user's own deployment is replaced."""
    client = await start(unique_names=True)
    assert "demo-pipeline-1" == await client.deploy(bundle(), "ada@example.org")
    assert "None" == await client.deploy(bundle(), "bob@example.org")
    assert "demo-pipeline-1" == await client.deploy(bundle() | {"more": b""}, "ada@example.org")
    (deployment,) = client.playground.deployments.values()
    assert ("ada@example.org", 4) == (deployment.username, len(deployment.files))


# ----------------------------------------------------------------------------------------------------------- guards


@pytest.mark.parametrize(
    ("headers", "status", "answer"),
    [
        ({"Origin": "https://evil.example"}, 403, "This playground takes no bundles from web pages."),
        ({"Origin": "http://127.0.0.1:8000"}, 403, "This playground takes no bundles from web pages."),
        ({"Origin": "null"}, 403, "This playground takes no bundles from web pages."),
        ({"Content-Type": "text/plain"}, 415, "This playground takes bundles as application/json."),
        ({"Content-Type": "text/plain; application/json"}, 415, "This playground takes bundles as application/json."),
        ({"Content-Type": ""}, 415, "This playground takes bundles as application/json."),
        (
            {"Content-Type": "application/x-www-form-urlencoded"},
            415,
            "This playground takes bundles as application/json.",
        ),
        ({"Host": "evil.example:8000"}, 421, "This server answers only as localhost, or by its address."),
        (
            {"Host": "evil.example", "Origin": "http://evil.example", "Content-Type": "text/plain"},
            421,
            "This server answers only as localhost, or by its address.",
        ),
    ],
    ids=lambda value: " ".join(value.values()) if isinstance(value, dict) else "",
)
async def test_what_a_web_page_can_post_runs_nothing(
    start: Start, headers: dict[str, str], status: int, answer: str
) -> None:
    """A web page cannot deploy, even if it knows the secret.

    It cannot hide its origin, send JSON without a preflight, or call this machine by a foreign name. Each guard is
    tested.
    """
    client = await start()
    assert (status, answer, None) == await client.post(upload(GOOD), **headers)
    assert {} == client.playground.deployments


@pytest.mark.parametrize(
    "path",
    [
        "/deploy_solution",
        "/{}x/deploy_solution",
        "/x{}/deploy_solution",
        "/%00{}/deploy_solution",
        "/%FF/deploy_solution",
        "/%ED%A0%80/deploy_solution",
        "/\N{SNOWMAN}/deploy_solution",
    ],
)
async def test_only_who_knows_the_secret_may_post(start: Start, path: str) -> None:
    """A path without the secret is rejected with an answer that does not reveal it."""
    client = await start()
    secret = client.playground.deploy_path.split("/")[1]
    status, body, _ = await client.post(upload(GOOD), path.format(secret))
    assert (403, "This playground takes bundles only at its secret address.") == (status, body)
    assert {} == client.playground.deployments


def test_the_secret_is_new_and_long(tmp_path: Path) -> None:
    """The secret has 256 bits, and no two playgrounds share one."""
    secrets = {playground_app(tmp_path)[PLAYGROUND].deploy_path.split("/")[1] for _ in range(2)}
    assert [43, 43] == [len(secret) for secret in secrets]


async def test_the_secret_is_shown_nowhere(
    start: Start, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """No page, answer, header or log line contains the secret.

    No answer to a GET reveals whether a guess is right.
    """
    client = await start()
    caplog.set_level("DEBUG")
    secret = client.playground.deploy_path.split("/")[1]
    namespace = await client.deploy(bundle())
    said = [str(await client.post(body)) for body in (b"no json", b"{}", upload(GOOD, username=" "))]
    for fault in ("302", "401", "500", "none"):
        client.playground.faults[ANY_USER] = PLAYGROUND_FAULTS[fault]
        said.append(str(await client.post(upload(GOOD))))
    paths = ("/", f"/deployments/{namespace}", "/api/deployments", "/none", f"/{secret}/none", f"/{secret}")
    for path in paths:
        async with client.http.get(path) as response:
            said.append(f"{dict(response.headers)} {await response.text()}")
    assert await client.get(client.playground.deploy_path) == await client.get("/wrong/deploy_solution")
    output = capsys.readouterr()
    said += [record.getMessage() for record in caplog.records]
    assert [] == [it for it in (*said, output.out, output.err, repr(client.playground)) if secret in it]


# ---------------------------------------------------------------------------------------------------------- scripts


async def test_the_script_runs_with_both_command_lines(tmp_path: Path) -> None:
    """The script runs with the server's command lines, with and without a pull secret, each on an untouched copy."""
    runs = DryRuns(tmp_path, 30, UNCONFINED)
    said = []
    for with_secret in (True, False):
        with pytest.raises(ScriptFailed) as failed:
            await runs._run(bundle(exit_code=1), "ada@example.org", "demo-1", with_secret=with_secret)
        said.append(json.loads(str(failed.value).splitlines()[1]))
    first, second = said
    base = f"solutions/{b'ada@example.org'.hex()}/demo-1"
    common = [f"{base}/kubernetes-client-script.py", "-n", "demo-1", "-bp", base]
    assert [*common, "-sn", "acumos-registry", "-ps"] == first["argv"][:8]
    assert [*common, "--image_pull_policy", "IfNotPresent"] == second["argv"][:7]
    assert ["--config-file", "--dry-run"] == [first["argv"][9], first["argv"][11]]
    assert ["--config-file", "--dry-run"] == [second["argv"][7], second["argv"][9]]
    assert ("playground.example", False) == (first["config"]["hostname"], "hostname" in second["config"])
    assert sorted(bundle()) == first["here"] == second["here"]
    assert [] == list(tmp_path.iterdir())


async def test_the_script_has_no_way_to_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script gets neither the user's settings nor a kubeconfig."""
    monkeypatch.setenv("KUBECONFIG", "/somewhere")
    monkeypatch.setenv("DEPLOYER_AUTH__SECRET", "hidden")
    with pytest.raises(ScriptFailed) as failed:
        await DryRuns(tmp_path, 30, UNCONFINED).check(bundle(exit_code=1), "ada@example.org", "demo-1")
    said = json.loads(str(failed.value).splitlines()[1])
    assert {"HOME", "LANG", "PATH"} == set(said["variables"]) - {"LC_CTYPE", "__CF_USER_TEXT_ENCODING"}
    assert ".kube" not in said["home"]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (
            bundle(script=b"import sys; print('out'); sys.exit('the reason')"),
            "returned non-zero exit status 1.\nout\nthe",
        ),
        (bundle(script=b"import sys; sys.exit('--image_pull_policy' in sys.argv)"), "'IfNotPresent'"),
        (bundle(script=b"import sys; sys.exit('-ps' in sys.argv)"), "'acumos-registry'"),
        ({"blueprint.json": b'{"name": "demo"}'}, "can't open file"),
    ],
    ids=["fails", "fails without a secret", "fails with a secret", "no script"],
)
async def test_a_bundle_whose_script_fails_is_refused(start: Start, files: dict[str, bytes], reason: str) -> None:
    """A failure of either command line is a 500 with the script's output, and nothing is deployed."""
    client = await start(confinement=UNCONFINED)
    status, body, _ = await client.post(upload(zipped(files)))
    assert (500, {}) == (status, client.playground.deployments)
    assert body.startswith("deploy solution failed with: Command '[")
    assert reason in body


@CONFINEMENTS
async def test_a_script_that_does_not_end_is_ended(start: Start, confinement: Confinement) -> None:
    """At the time limit the script and its child processes are killed, and the bundle is rejected."""
    client = await start(confinement=confinement, script_seconds=0.3)
    script = (
        b"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)']).wait()"
    )
    status, body, _ = await client.post(upload(zipped(bundle(script=script))))
    assert (500, True) == (status, body.endswith("timed out after 0.3 seconds"))


async def test_of_a_script_that_prints_much_the_end_is_kept(tmp_path: Path) -> None:
    """Only a bounded part of a script's output is kept, and it includes the end with the reason."""
    script = b"import sys; sys.stderr.write('x' * 5 * 2**20); sys.exit('the reason')"
    with pytest.raises(ScriptFailed) as failed:
        await DryRuns(tmp_path, 30, UNCONFINED).check(bundle(script=script), "ada@example.org", "demo-1")
    assert len(str(failed.value)) < MAX_OUTPUT + 10_000
    assert str(failed.value).endswith("the reason\n")


async def test_without_a_confinement_no_script_runs(start: Start) -> None:
    """Without a confinement no script runs, so even a bundle whose script would fail is deployed."""
    client = await start()
    await client.deploy(bundle(exit_code=1))


@pytest.fixture
async def graphene() -> AsyncIterator[BuilderSettings]:
    """The settings for a sandbox Graphene."""
    async with served(graphene_app()) as url:
        (user, word), (nexus_user, nexus_word) = CCDS_LOGIN, NEXUS_LOGIN
        yield BuilderSettings(
            catalog=CatalogSettings(url=url + CCDS_PATH, username=user, password=SecretStr(word)),
            artifacts=ArtifactsSettings(url=url + NEXUS_PATH, username=nexus_user, password=SecretStr(nexus_word)),
        )


@CONFINEMENTS
@pytest.mark.parametrize("key", ["sudoku", "news-training", "entity-recogniser"])
async def test_what_the_worker_builds_is_taken(
    start: Start, graphene: BuilderSettings, key: str, confinement: Confinement
) -> None:
    """The bundle of each case passes its own script with both command lines, and is kept byte for byte."""
    client = await start(confinement=confinement)
    async with open_builder(graphene) as builder:
        _, built = await builder.build(CASES[key].solution_id, CASES[key].revision_id, None)
    status, body, _ = await client.post(upload(built.data))
    assert (200, PREFIX) == (status, body[: len(PREFIX)])
    async with client.http.get(f"/deployments/{body.removeprefix(PREFIX)}/solution.zip") as response:
        assert built.data == await response.read()


# ------------------------------------------------------------------------------------------------------------ pages


async def test_what_arrived_is_told_as_json(start: Start) -> None:
    """GET /api/deployments lists user, time, content and request of each deployment."""
    client = await start()
    files = bundle() | {"deployments/pvc.yaml": b"", "orchestrator_client/client.py": b"12345"}
    namespace = await client.deploy(files, **{"Idempotency-Key": "request-1"})
    assert [
        {
            "namespace": namespace,
            "name": "Demo_Pipeline 1",
            "username": "ada@example.org",
            "time": "2026-11-24T12:30:00+00:00",
            "requestId": "request-1",
            "kind": "pipeline",
            "sharedFolder": True,
            "files": {name: len(content) for name, content in files.items()},
            "size": len(zipped(files)),
            "sha256": sha256(zipped(files)).hexdigest(),
        }
    ] == json.loads((await client.get("/api/deployments"))[1])


async def test_the_list_shows_the_newest_first(start: Start) -> None:
    """The start page lists every deployment, newest first, with its link and its download."""
    client = await start()
    assert "No bundle has been received yet" in (await client.get("/"))[1]
    first, second = await client.deploy(bundle("One")), await client.deploy(bundle("Two"))
    page = (await client.get("/"))[1]
    assert -1 < page.index(second) < page.index(first)
    assert f'href="/deployments/{first}/solution.zip"' in page
    assert "ada@example.org · <time" in page


@pytest.mark.parametrize("path", ["/deployments/{}", "/dashboard?selected_deployment_id={}"])
async def test_a_deployment_shows_each_file(start: Start, path: str) -> None:
    """Text is readable, an image is shown, other bytes are only named; both addresses show the same page."""
    client = await start()
    icon = b"\x89PNG\r\n\x1a\nrest"
    namespace = await client.deploy(bundle() | {"icon": icon, "data": b"\xff\x00", "nothing": b""})
    status, page = await client.get(path.format(namespace))
    assert 200 == status
    assert "json.loads(pathlib.Path(sys.argv" in page
    assert f"data:image/png;base64,{base64.b64encode(icon).decode()}" in page
    assert "This file is not text" in page
    assert "This file is empty" in page


async def test_nothing_that_arrived_becomes_markup(start: Start) -> None:
    """User names, file names and contents are escaped, and no page may load or run anything."""
    client = await start()
    evil = "<script>alert(1)</script>"
    namespace = await client.deploy(bundle() | {evil: evil.encode(), "x.html": evil.encode()}, username=evil)
    for path in ("/", f"/deployments/{namespace}", "/deploy_solution", "/deployments/none"):
        async with client.http.get(path) as response:
            assert "<script" not in await response.text()
            policy = response.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; style-src 'sha256-")
            assert "unsafe" not in policy


async def test_unknown_deployments_are_not_found(start: Start) -> None:
    """Pages and downloads of an unknown namespace are 404; logging in needs no account."""
    client = await start()
    paths = ("/deployments/x", "/deployments/x/solution.zip", "/dashboard", "/dashboard?selected_deployment_id=None")
    assert [404] * 4 == [(await client.get(path))[0] for path in paths]
    status, page = await client.get("/deploy_solution")
    assert (200, True) == (status, "Log in" in page)


# ----------------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("fault", "answer"),
    [
        ("302", (302, "", "/")),
        ("401", (401, "Not allowed for your domain: 127.0.0.1", None)),
        ("none", (200, f"{PREFIX}None", None)),
    ],
)
async def test_faults_of_one_user(start: Start, fault: str, answer: tuple[int, str, str | None]) -> None:
    """A fault set for one user affects only that user, and deploys nothing."""
    client = await start()
    client.playground.faults["ada@example.org"] = PLAYGROUND_FAULTS[fault]
    assert answer == await client.post(upload(GOOD))
    assert {} == client.playground.deployments
    await client.deploy(bundle(), "bob@example.org")


async def test_faults_of_everybody(start: Start) -> None:
    """A fault can be set for all users, with any answer."""
    client = await start()
    client.playground.faults[ANY_USER] = Fault(503, "later", {"Retry-After": "1"})
    assert (503, "later", None) == await client.post(upload(GOOD))
    client.playground.faults[ANY_USER] = PLAYGROUND_FAULTS["500"]
    assert (await client.post(upload(GOOD)))[1].startswith("deploy solution failed with: ")


async def test_faults_without_an_answer(start: Start) -> None:
    """A reset drops the connection, a hang keeps it open, and concurrent POSTs of one user are counted."""
    client = await start()
    client.playground.faults[ANY_USER] = PLAYGROUND_FAULTS["reset"]
    with pytest.raises(aiohttp.ClientConnectionError):
        await client.post(upload(GOOD))
    client.playground.faults[ANY_USER] = PLAYGROUND_FAULTS["hang"]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await client.post(upload(GOOD))
    client.playground.faults.clear()
    assert 0 == client.playground.overlaps
    await client.deploy(bundle())  # while the hanging POST is still open
    assert 1 == client.playground.overlaps
