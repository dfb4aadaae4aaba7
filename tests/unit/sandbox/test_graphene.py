import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import jwt
import pytest
from aiohttp.test_utils import TestClient, TestServer
from google.protobuf import descriptor_pb2
from grpc_tools import protoc
from pydantic import SecretStr

from worker.adapters.tokens import TokenVerifier
from worker.domain.bundle.blueprint import read_blueprint
from worker.domain.solution import Caller
from worker.domain.tokens import jjwt_key
from worker.errors import NotDeployable
from worker.sandbox.graphene import CCDS_LOGIN, CCDS_PATH, GRAPHENE, NEXUS_LOGIN, NEXUS_PATH, Graphene, graphene_app
from worker.sandbox.graphene_data import CASES, make_model, make_pipeline, stored_case
from worker.sandbox.http_server import GARBAGE, HANG, RESET, Fault, served
from worker.sandbox.users import JWT_SECRET, SANDBOX_USER, STRANGER, sandbox_token
from worker.settings import AuthSettings

NOBODY = UUID(int=0)
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
PIPELINES = ("sudoku", "news-training", "broken")
SUDOKU = CASES["sudoku"]
NEWS = CASES["news-training"]
ENTITIES = CASES["entity-recogniser"]

SOLUTION_FIELDS = (
    "solutionId name metadata active modelTypeCode toolkitTypeCode origin viewCount downloadCount lastDownload "
    "ratingCount ratingAverageTenths featured userId sourceId tags created modified"
)
REVISION_FIELDS = (
    "revisionId solutionId version userId sourceId metadata origin authors publisher verifiedLicense "
    "verifiedVulnerability onboarded created modified"
)
ARTIFACT_FIELDS = "artifactId version artifactTypeCode name description uri size metadata userId created modified"
CATALOG_FIELDS = "catalogId accessTypeCode selfPublish name publisher description origin url created modified"


class Client:
    """A client of the sandbox Graphene with its credentials."""

    def __init__(self, http: TestClient[Any, Any], graphene: Graphene) -> None:
        self.http = http
        self.graphene = graphene

    async def ccds(self, path: str, **headers: str) -> tuple[int, bytes]:
        """Return status and body of a path of CCDS."""
        return await self._get(f"{CCDS_PATH}/{path}", CCDS_LOGIN, headers)

    async def nexus(self, uri: str, **headers: str) -> tuple[int, bytes]:
        """Return status and body of a file in Nexus."""
        return await self._get(f"{NEXUS_PATH}/{uri}", NEXUS_LOGIN, headers)

    async def object(self, path: str) -> Any:
        """Return the JSON that CCDS answers."""
        return json.loads((await self.ccds(path))[1])

    async def _get(self, path: str, login: tuple[str, str], headers: dict[str, str]) -> tuple[int, bytes]:
        headers = {"Authorization": aiohttp.encode_basic_auth(*login), **headers}
        async with self.http.get(path, headers=headers) as response:
            return response.status, await response.read()


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A new sandbox Graphene for each test."""
    app = graphene_app()
    async with TestClient(TestServer(app)) as http:
        yield Client(http, app[GRAPHENE])


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_objects_are_complete(client: Client, case: Any) -> None:
    """Solution, revision, artifacts and catalogs have exactly the fields of CCDS, including nulls."""
    solution = await client.object(f"solution/{case.solution_id}")
    revision = await client.object(f"solution/{case.solution_id}/revision/{case.revision_id}")
    assert set(SOLUTION_FIELDS.split()) == set(solution)
    assert set(REVISION_FIELDS.split()) == set(revision)
    assert str(case.solution_id) == revision["solutionId"]
    assert [revision] == await client.object(f"solution/{case.solution_id}/revision")
    for artifact in await client.object(f"revision/{case.revision_id}/artifact"):
        assert set(ARTIFACT_FIELDS.split()) == set(artifact)
    for catalog in await client.object(f"catalog/solution/{case.solution_id}"):
        assert set(CATALOG_FIELDS.split()) == set(catalog)


async def test_made_solutions_are_complete_too(client: Client) -> None:
    """Solutions that tests make from Python data have the same fields as the sandbox's own cases."""
    made = make_pipeline("Made", {"name": "made", "nodes": []}, description="<p>Text</p>")
    assert set(SOLUTION_FIELDS.split()) == set(made.solution)
    assert set(REVISION_FIELDS.split()) == set(made.revision)
    assert set(ARTIFACT_FIELDS.split()) == set(made.artifacts[0])
    assert set(CATALOG_FIELDS.split()) == set(made.catalogs[0])


async def test_nulls_are_written_and_the_content_type_is_springs(client: Client) -> None:
    """Fields without a value are written as null, and the charset is spelt as CCDS spells it."""
    headers = {"Authorization": aiohttp.encode_basic_auth(*CCDS_LOGIN)}
    async with client.http.get(f"{CCDS_PATH}/solution/{ENTITIES.solution_id}", headers=headers) as response:
        assert "application/json;charset=UTF-8" == response.headers["Content-Type"]
        assert b'"lastDownload":null' in await response.read()


@pytest.mark.parametrize(
    "path",
    [
        f"solution/{NOBODY}",
        f"solution/{SUDOKU.solution_id}/revision/{NOBODY}",
        f"solution/{NOBODY}/pic",
        f"solution/{ENTITIES.solution_id}/pic",
        f"revision/{SUDOKU.revision_id}/catalog/{NOBODY}/descr",
        f"revision/{NOBODY}/catalog/{NOBODY}/descr",
    ],
)
async def test_not_found_is_200_and_empty(client: Client, path: str) -> None:
    """CCDS answers an unknown object with 200 and an empty body, not with 404."""
    assert (200, b"") == await client.ccds(path)


@pytest.mark.parametrize(
    "path", [f"revision/{NOBODY}/artifact", f"catalog/solution/{ENTITIES.solution_id}", f"solution/{NOBODY}/revision"]
)
async def test_unknown_lists_are_empty(client: Client, path: str) -> None:
    """A list of an unknown object is empty."""
    assert (200, b"[]") == await client.ccds(path)


async def test_unknown_paths_get_springs_own_error(client: Client) -> None:
    """A path without a controller gets 404 with Spring's error map, after the log-in."""
    status, body = await client.ccds("no/such/path")
    assert (404, "/ccds/no/such/path") == (status, json.loads(body)["path"])


async def test_the_solution_in_the_path_of_a_revision_is_ignored(client: Client) -> None:
    """A revision is found by its id alone, even below another solution."""
    found = await client.object(f"solution/{ENTITIES.solution_id}/revision/{SUDOKU.revision_id}")
    assert str(SUDOKU.solution_id) == found["solutionId"]


async def test_revisions_of_several_solutions(client: Client) -> None:
    """Comma-separated ids are answered together."""
    found = await client.object(f"solution/{SUDOKU.solution_id},{ENTITIES.solution_id}/revision")
    assert [str(SUDOKU.revision_id), str(ENTITIES.revision_id)] == [it["revisionId"] for it in found]


async def test_members_of_a_pipeline(client: Client) -> None:
    """A pipeline lists its member solutions."""
    assert 3 == len(await client.object(f"solution/{SUDOKU.solution_id}/comp"))


async def test_the_picture_is_a_png_as_octet_stream(client: Client) -> None:
    """The icon is a real PNG, served as application/octet-stream."""
    headers = {"Authorization": aiohttp.encode_basic_auth(*CCDS_LOGIN)}
    async with client.http.get(f"{CCDS_PATH}/solution/{SUDOKU.solution_id}/pic", headers=headers) as response:
        assert "application/octet-stream" == response.content_type
        assert (await response.read()).startswith(b"\x89PNG\r\n\x1a\n")


async def test_the_picture_is_refused_to_those_who_accept_json_only(client: Client) -> None:
    """A query for the picture that accepts only JSON gets 406."""
    status, _ = await client.ccds(f"solution/{SUDOKU.solution_id}/pic", Accept="application/json")
    assert 406 == status


async def test_the_description_of_the_second_catalog(client: Client) -> None:
    """News training is in two catalogs, and only the second has a description."""
    first, second = await client.object(f"catalog/solution/{NEWS.solution_id}")
    assert (200, b"") == await client.ccds(f"revision/{NEWS.revision_id}/catalog/{first['catalogId']}/descr")
    description = await client.object(f"revision/{NEWS.revision_id}/catalog/{second['catalogId']}/descr")
    assert {"revisionId", "catalogId", "description", "created", "modified"} == set(description)
    assert "<code>/data/shared</code>" in description["description"]


@pytest.mark.parametrize(
    ("user", "solution", "count"),
    [
        (SANDBOX_USER.user_id, SUDOKU.solution_id, 1),
        ("somebody", SUDOKU.solution_id, 1),
        (STRANGER.user_id, SUDOKU.solution_id, 0),
        (SANDBOX_USER.user_id, NOBODY, 0),
    ],
)
async def test_access(client: Client, user: str, solution: UUID, count: int) -> None:
    """Any user may read the known solutions, except the stranger."""
    assert {"count": count} == await client.object(f"access/user/{user}/solution/{solution}")


@pytest.mark.parametrize("login", [None, ("ccds_client", "wrong"), NEXUS_LOGIN])
async def test_ccds_asks_for_its_own_log_in(client: Client, login: tuple[str, str] | None) -> None:
    """Without the right credentials CCDS answers 401 with its realm."""
    headers = {"Authorization": aiohttp.encode_basic_auth(*login)} if login else {}
    async with client.http.get(f"{CCDS_PATH}/solution/{SUDOKU.solution_id}", headers=headers) as response:
        assert (401, 'Basic realm="Acumos-CDS"') == (response.status, response.headers["WWW-Authenticate"])
        assert 401 == (await response.json())["status"]


@pytest.mark.parametrize("path", ["healthcheck", "version"])
async def test_health_needs_no_log_in(client: Client, path: str) -> None:
    """Two paths of CCDS need no log-in."""
    async with client.http.get(f"{CCDS_PATH}/{path}") as response:
        assert (200, {"status", "data"}) == (response.status, set(await response.json()))


async def test_nexus_asks_for_its_own_log_in(client: Client) -> None:
    """Without the right credentials Nexus answers 401, whether the file exists or not."""
    headers = {"Authorization": aiohttp.encode_basic_auth(*CCDS_LOGIN)}
    async with client.http.get(f"{NEXUS_PATH}/org/file.json", headers=headers) as response:
        assert 401 == response.status
        assert response.headers["WWW-Authenticate"].startswith("Basic realm=")


async def test_nexus_has_the_files_and_only_those(client: Client) -> None:
    """Every file of a case is served byte for byte, also gzipped; any other path is a 404."""
    stored = stored_case("sudoku")
    for uri, content in stored.files.items():
        assert (200, content) == await client.nexus(uri, **{"Accept-Encoding": "gzip"})
    assert 404 == (await client.nexus("org/acumos"))[0]
    assert 404 == (await client.nexus(next(iter(stored.files)) + "x"))[0]


async def test_nexus_decodes_paths_once(client: Client) -> None:
    """A file with a space and a percent sign in its name is found under its percent-encoded path."""
    client.graphene.files["org/a model/100%25.proto"] = b"here"
    assert (200, b"here") == await client.nexus("org/a%20model/100%2525.proto")


@pytest.mark.parametrize("key", PIPELINES)
async def test_the_blueprint_lies_below_a_foreign_revision(client: Client, key: str) -> None:
    """A blueprint's path contains another revision id, so no client can derive the path."""
    case = CASES[key]
    artifacts = await client.object(f"revision/{case.revision_id}/artifact")
    uri = next(it["uri"] for it in artifacts if it["artifactTypeCode"] == "BP")
    assert f"BLUEPRINT-{str(case.solution_id).upper()}" in uri
    assert str(case.revision_id) not in uri
    blueprint = (await client.nexus(uri))[1]
    assert b"\\/" in blueprint
    assert {"pipeline_id", "creation_date", "type"} <= set(json.loads(blueprint))


@pytest.mark.parametrize("key", CASES)
async def test_every_proto_a_case_names_is_there(client: Client, key: str) -> None:
    """Nexus has every protobuf that blueprints and artifacts name."""
    stored = stored_case(key)
    nodes = [
        node
        for uri, content in stored.files.items()
        if "BLUEPRINT" in uri
        for node in json.loads(content)["nodes"]
        if node["proto_uri"]
    ]
    uris = [node["proto_uri"] for node in nodes]
    uris += [it["uri"] for it in stored.artifacts if it["artifactTypeCode"] == "MI"]
    assert [200] * len(uris) == [(await client.nexus(uri))[0] for uri in uris]


async def test_the_single_model_has_six_artifacts_in_no_order(client: Client) -> None:
    """The entity recogniser is a single model with six unordered artifacts.

    Its image is a reference of unknown size.
    """
    artifacts = await client.object(f"revision/{ENTITIES.revision_id}/artifact")
    image = next(it for it in artifacts if it["artifactTypeCode"] == "DI")
    assert ["LG", "PJ", "TG", "DI", "LI", "MI"] == [it["artifactTypeCode"] for it in artifacts]
    assert (-1, True) == (image["size"], image["uri"].endswith("/entity-recogniser:1.0.0"))
    assert "MN" == (await client.object(f"solution/{ENTITIES.solution_id}"))["toolkitTypeCode"]


def test_sudoku_is_a_circle() -> None:
    """Sudoku has three nodes, connected in a cycle."""
    blueprint = json.loads(_blueprint("sudoku"))
    edges = {
        (node["container_name"], edge["container_name"])
        for node in blueprint["nodes"]
        for operation in node["operation_signature_list"]
        for edge in operation["connected_to"]
    }
    gui, evaluator, solver = (node["container_name"] for node in blueprint["nodes"])
    assert {(gui, evaluator), (evaluator, solver), (solver, evaluator), (evaluator, gui)} == edges
    assert "Sudoku Tutorial" == blueprint["name"]


def test_news_training_connects_two_of_three_nodes_to_its_folder() -> None:
    """Two of the three nodes use the shared folder; without the folder, one node has no operation left."""
    blueprint = read_blueprint(_blueprint("news-training"), max_nodes=10)
    (folder,) = blueprint.shared_folders
    assert "/data/shared" == folder.path
    assert ["news-classifier", "news-tensorboard"] == sorted(folder.users)
    assert {"news-databroker": True, "news-classifier": True, "news-tensorboard": False} == {
        node.name: node.dialled for node in blueprint.nodes
    }


def test_broken_is_refused() -> None:
    """The broken case is rejected for its splitter, which no container implements."""
    with pytest.raises(NotDeployable) as caught:
        read_blueprint(_blueprint("broken"), max_nodes=10)
    assert "node-not-runnable" == caught.value.code


@pytest.mark.parametrize("key", CASES)
def test_protos_compile_and_agree(key: str, tmp_path: Path) -> None:
    """protoc compiles every protobuf, `service` starts a line, and messages of one name are equal within a pipeline."""
    messages: dict[str, bytes] = {}
    for uri, content in stored_case(key).files.items():
        if not uri.endswith(".proto"):
            continue
        (tmp_path / "node.proto").write_bytes(content)
        assert 0 == protoc.main(["", f"-I{tmp_path}", f"-o{tmp_path}/node.bin", f"{tmp_path}/node.proto"])
        (file,) = descriptor_pb2.FileDescriptorSet.FromString((tmp_path / "node.bin").read_bytes()).file
        assert (1, True, "proto3", "") == (len(file.service), b"\nservice " in content, file.syntax, file.package)
        for message in file.message_type:
            text = message.SerializeToString(deterministic=True)
            assert text == messages.setdefault(message.name, text)


async def test_a_made_pipeline_is_served(client: Client) -> None:
    """A pipeline made from Python data gets its own ids, and its nodes get protobufs to fetch."""
    node = {"container_name": "one", "node_type": "MLModel", "image": "one:1", "operation_signature_list": []}
    made = make_pipeline("Made", {"name": "made", "nodes": [node]}, {"one": 'syntax = "proto3";'}, description="<b>")
    client.graphene.add(made)
    (artifact,) = await client.object(f"revision/{made.revision_id}/artifact")
    blueprint = json.loads((await client.nexus(artifact["uri"]))[1])
    (catalog,) = await client.object(f"catalog/solution/{made.solution_id}")
    description = await client.object(f"revision/{made.revision_id}/catalog/{catalog['catalogId']}/descr")
    assert (200, b'syntax = "proto3";') == await client.nexus(blueprint["nodes"][0]["proto_uri"])
    assert "<b>" == description["description"]
    assert "proto_uri" not in node


def test_made_solutions_can_lack_their_files() -> None:
    """Without a blueprint, an image or a protobuf, the solution has no artifact of that kind."""
    complete = make_model("Model", "image:1", "proto")
    assert [] == make_pipeline("Empty", None).artifacts
    assert ["MI", "DI"] == [it["artifactTypeCode"] for it in complete.artifacts]
    assert [] == make_model("Model", None, None).artifacts
    assert complete.solution_id == make_model("Model", None, None).solution_id


@pytest.mark.parametrize("fault", [Fault(401), Fault(500, "down"), GARBAGE])
async def test_faults_are_answered_where_they_are_set(client: Client, fault: Fault) -> None:
    """A fault answers paths that start with its own path, and no others."""
    path = f"solution/{SUDOKU.solution_id}"
    client.graphene.faults[f"{CCDS_PATH}/{path}"] = fault
    assert (fault.status, fault.body.encode()) == await client.ccds(path)
    assert 200 == (await client.ccds(f"solution/{ENTITIES.solution_id}"))[0]


async def test_a_fault_that_hangs_ends_with_the_server() -> None:
    """A hanging fault never answers, and does not delay the stop of the server."""
    app = graphene_app()
    app[GRAPHENE].faults["/"] = HANG
    async with asyncio.timeout(10), TestClient(TestServer(app)) as http:
        with pytest.raises(TimeoutError):
            await http.get("/", timeout=aiohttp.ClientTimeout(total=0.05))


async def test_served_on_an_address_of_its_own() -> None:
    """`served` yields the server's address while the block runs."""
    async with (
        served(graphene_app(latency=0.001)) as url,
        aiohttp.ClientSession() as session,
        session.get(f"{url}{CCDS_PATH}/version") as response,
    ):
        assert 200 == response.status


async def test_a_fault_that_resets_gives_no_answer(client: Client) -> None:
    """A reset drops the connection before any byte of an answer."""
    client.graphene.faults[NEXUS_PATH] = RESET
    with pytest.raises(aiohttp.ClientConnectionError):
        await client.nexus("org/file")


async def test_questions_are_counted(client: Client) -> None:
    """Requests are counted by path, so that a test can verify them."""
    await client.nexus("org/file")
    await client.nexus("org/file")
    assert 2 == client.graphene.request_counts[f"{NEXUS_PATH}/org/file"]


async def test_tokens_name_their_user() -> None:
    """The worker's verifier accepts a token of the sandbox, signed with a key of full strength."""
    verifier = TokenVerifier(AuthSettings(secret=SecretStr(JWT_SECRET)), NOW.timestamp)
    caller = await verifier.authenticate(sandbox_token(NOW), None)
    assert Caller(SANDBOX_USER.user_id, SANDBOX_USER.email) == caller
    assert [] == verifier.warnings
    assert 64 <= len(jjwt_key(JWT_SECRET))


def test_tokens_have_the_portals_claims() -> None:
    """Tokens have the portal's claims: seconds in `exp`, milliseconds in `created`, and the user with the API token."""
    claims = jwt.decode(
        sandbox_token(NOW, timedelta(minutes=-5), STRANGER), jjwt_key(JWT_SECRET), ["HS512"], {"verify_exp": False}
    )
    assert {"sub", "exp", "created", "role", "mlpuser"} == set(claims)
    assert ("stranger", NOW.timestamp() - 300, NOW.timestamp() * 1000) == (
        claims["sub"],
        claims["exp"],
        claims["created"],
    )
    assert (STRANGER.user_id, STRANGER.email) == (claims["mlpuser"]["userId"], claims["mlpuser"]["email"])
    assert claims["mlpuser"]["apiToken"]
    assert 21 == len(claims["mlpuser"])


def _blueprint(key: str) -> bytes:
    return next(content for uri, content in stored_case(key).files.items() if "BLUEPRINT" in uri)
