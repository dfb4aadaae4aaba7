"""Files that neither a checksum nor a known size proves: if unreadable, they count as an outage until the deadline."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from schemas import Kind
from tests.support.builders import CALLER, OPTIONS, PROTOBUF, SHIPPED, blueprint, node, solution
from tests.support.fakes import FakeArtifacts, FakeCatalog
from tests.support.ways_out import tells_what_to_do
from worker.build import Builder
from worker.domain.bundle.plan import Plan
from worker.domain.solution import Solution, Unproven
from worker.errors import DeploymentError, NotAllowed, NotDeployable, NotFound, Unavailable

URI = "org/acumos/11111111-1111-4111-8111-111111111111/a/1.0.0/a-1.0.0.proto"
PIPELINE = solution()
MODEL = replace(PIPELINE, kind=Kind.SINGLE_MODEL, blueprint_uri=None, image="registry.example/m:1", proto_uri=URI)
BLUEPRINT = blueprint(node("a", proto_uri=URI))

FRONTS = {
    "maintenance": "Wartungsarbeiten, bitte versuchen Sie es später erneut.".encode(),
    "status": b'{"status":"maintenance"}',
    "status with a name": b'{"name": "nexus", "status": "down"}',
    "list": b"[]",
    "word": b'"down"',
    "UTF-16": "maintenance".encode("utf-16"),
    "Latin-1": "Störung".encode("latin-1"),
}


async def build(given: Solution, files: dict[str, bytes], refusal: DeploymentError | None = None) -> Plan:
    builder = Builder(FakeCatalog(given, refusal), FakeArtifacts(files), SHIPPED, OPTIONS)
    plan, _ = await builder.build(given.solution_id, given.revision_id, CALLER)
    return plan


@pytest.mark.parametrize("body", [*FRONTS.values(), BLUEPRINT[:-1], BLUEPRINT[: len(BLUEPRINT) // 2]], ids=repr)
async def test_what_is_no_blueprint_is_fetched_again(body: bytes) -> None:
    """An unproven file that is no blueprint is fetched again; a proven file is rejected at once.

    A proxy may have answered, or only half of the file may have arrived.
    """
    with pytest.raises(Unavailable) as caught:
        await build(PIPELINE, {"org/blueprint.json": Unproven(body)})
    error = caught.value
    assert ("artifacts-error", "fetch", True, False) == (
        error.code,
        error.stage,
        error.retryable,
        error.dependency_wide,
    )
    assert "neither a checksum nor a known size proves that it is the file" in error.message
    assert tells_what_to_do(error.message)
    with pytest.raises(NotDeployable):
        await build(PIPELINE, {"org/blueprint.json": body})


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (b'{"name": "x", "nodes": []}', "no-nodes"),
        (b'{"nodes": []}', "blueprint-invalid"),
        (b'{"name": "x", "nodes": 5}', "blueprint-invalid"),
        (b'{"name": "x", "name": "y", "nodes": []}', "blueprint-invalid"),
        (blueprint(node("a", image="")), "image-empty"),
    ],
)
async def test_a_blueprint_that_is_invalid_ends_at_once(document: bytes, code: str) -> None:
    """An invalid blueprint is rejected at once: no proxy writes blueprints, and another attempt changes nothing."""
    with pytest.raises(NotDeployable) as caught:
        await build(PIPELINE, {"org/blueprint.json": Unproven(document)})
    assert code == caught.value.code


@pytest.mark.parametrize(
    "body", [*FRONTS.values(), PROTOBUF[:-3], PROTOBUF[: PROTOBUF.index(b"service")], b'syntax = "proto3";'], ids=repr
)
async def test_what_is_no_protobuf_of_a_node_is_fetched_again(body: bytes) -> None:
    """An unproven text that is no complete protobuf is fetched again and never rejects the request for good."""
    files: dict[str, bytes] = {"org/blueprint.json": BLUEPRINT, URI: Unproven(body)}
    with pytest.raises(Unavailable) as caught:
        await build(PIPELINE, files)
    assert "artifacts-error" == caught.value.code
    with pytest.raises(NotDeployable):
        await build(PIPELINE, files | {URI: body})


@pytest.mark.parametrize("body", FRONTS.values(), ids=FRONTS)
async def test_what_is_no_protobuf_of_a_model_is_fetched_again(body: bytes) -> None:
    """A model is not deployed with an unproven page as its protobuf; a proven file is deployed with a warning."""
    with pytest.raises(Unavailable):
        await build(MODEL, {URI: Unproven(body)})
    assert any("cannot be loaded" in it for it in (await build(MODEL, {URI: body})).warnings)


async def test_unproven_files_that_can_be_read_are_deployed() -> None:
    """Unproven files that can be read give the same plan as proven files."""
    files: dict[str, bytes] = {"org/blueprint.json": BLUEPRINT, URI: PROTOBUF}
    unproven: dict[str, bytes] = {uri: Unproven(data) for uri, data in files.items()}
    assert await build(PIPELINE, files) == await build(PIPELINE, unproven)
    assert await build(MODEL, files) == await build(MODEL, unproven)


ERRORS: list[DeploymentError] = [
    NotFound("artifact-too-large", "A file of the solution is larger than 1048576 bytes. Make it smaller."),
    NotFound("artifact-not-a-file", "A file of the solution is a web page."),
    NotFound("artifact-uri-invalid", "An artifact's URI is not a plain path."),
    NotDeployable("bundle-too-large", "The protobufs are too large together."),
    Unavailable("artifacts-unauthorized", "The repository rejects our credentials."),
]


class Failing(FakeArtifacts):
    """Artifacts that return the blueprint and fail for every protobuf."""

    error: DeploymentError

    async def fetch(self, uris: Any, left: Any, size: int | None = None) -> list[bytes | None]:
        if uris == ["org/blueprint.json"]:
            return await super().fetch(uris, left, size)
        raise self.error


@pytest.mark.parametrize(
    "refusal", [NotAllowed("no-access-to-proto", "no"), Unavailable("catalog-timeout", "no"), None]
)
@pytest.mark.parametrize("error", ERRORS, ids=[it.code for it in ERRORS])
async def test_the_access_comes_before_the_error_of_a_file(
    error: DeploymentError, refusal: DeploymentError | None
) -> None:
    """An access error is raised before a file's error.

    Nothing about a file is revealed before the user is known to have access to it.
    """
    artifacts = Failing({"org/blueprint.json": BLUEPRINT})
    artifacts.error = error
    builder = Builder(SlowCatalog(PIPELINE, refusal), artifacts, SHIPPED, OPTIONS)
    with pytest.raises(DeploymentError) as caught:
        await builder.build(PIPELINE.solution_id, PIPELINE.revision_id, CALLER)
    assert caught.value is (refusal or error)


class SlowCatalog(FakeCatalog):
    """A catalog that answers the access check after the repository has answered."""

    async def check_protobufs(self, *given: Any) -> None:
        for _ in range(10):
            await asyncio.sleep(0)
        await super().check_protobufs(*given)
