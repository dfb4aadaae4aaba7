"""Known bundles: the same solution with the same files is built once, and any change is built again."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from schemas import Kind
from tests.support.builders import CALLER, OPTIONS, PROTOBUF, SHIPPED, blueprint, node, solution
from tests.support.fakes import FakeArtifacts, FakeCatalog
from worker import build
from worker.build import Builder
from worker.domain.bundle.archive import Bundle
from worker.domain.bundle.plan import Plan
from worker.domain.solution import LeftOut, Solution
from worker.errors import NotAllowed, NotDeployable

URI = "org/a.proto"
FILES = {"org/blueprint.json": blueprint(node("a", proto_uri=URI)), URI: PROTOBUF}
PIPELINE = solution(owner_id="ada", icon=b"icon", description="<p>text</p>")
MODEL = solution(kind=Kind.SINGLE_MODEL, image="registry.example/m:1", proto_uri=URI)


class Graphene:
    """A builder with its fake catalog and artifacts."""

    def __init__(self, given: Solution = PIPELINE, files: dict[str, bytes] = FILES) -> None:
        self.catalog, self.artifacts = FakeCatalog(given), FakeArtifacts(dict(files))
        self.builder = Builder(self.catalog, self.artifacts, SHIPPED, OPTIONS)

    async def build(self, given: Solution, files: dict[str, bytes]) -> tuple[Plan, Bundle]:
        self.catalog.solution, self.artifacts.files = given, dict(files)
        return await self.builder.build(given.solution_id, given.revision_id, CALLER, large=False)


@pytest.mark.parametrize("given", [PIPELINE, MODEL], ids=["pipeline", "single model"])
async def test_what_is_the_same_is_built_once(given: Solution) -> None:
    """The same solution is planned and built once, even if CCDS returns equal values in new objects."""
    graphene = Graphene()
    first = await graphene.build(given, FILES)
    again = await graphene.build(replace(given), {uri: bytes(bytearray(data)) for uri, data in FILES.items()})
    assert (first[0], first[1]) == again
    assert first[1] is again[1]


CHANGES: dict[str, dict[str, Any]] = {
    "solution_id": {"solution_id": UUID(int=7)},
    "revision_id": {"revision_id": UUID(int=7)},
    "name": {"name": "another"},
    "icon": {"icon": b"another"},
    "no icon": {"icon": LeftOut("Graphene's database did not answer in time.")},
    "description": {"description": "<p>another</p>"},
    "remarks": {"remarks": ("The revision has 2 blueprints; the first one is deployed.",)},
    "image": {"image": "registry.example/m:2"},
    "kind": {"kind": Kind.SINGLE_MODEL, "image": "registry.example/m:1", "proto_uri": URI},
}
OTHER_FILES = {
    "blueprint": FILES | {"org/blueprint.json": blueprint(node("b", proto_uri=URI))},
    "protobuf": FILES | {URI: PROTOBUF + b"// another\n"},
    "a protobuf with a warning": FILES | {URI: PROTOBUF.replace(b'syntax = "proto3";', b'syntax = "proto2";')},
}


@pytest.mark.parametrize("given", [PIPELINE, MODEL], ids=["pipeline", "single model"])
@pytest.mark.parametrize(
    ("change", "files"),
    [
        *(pytest.param(change, FILES, id=name) for name, change in CHANGES.items()),
        *(pytest.param({}, files, id=name) for name, files in OTHER_FILES.items()),
    ],
)
async def test_what_differs_is_built_as_if_nothing_were_kept(
    change: dict[str, Any], files: dict[str, bytes], given: Solution
) -> None:
    """Any change, made and then undone, gives the same bundle as a builder that keeps nothing."""
    graphene, other = Graphene(), replace(given, **change)
    for wanted, with_files in ((given, FILES), (other, files), (given, FILES)):
        assert await Graphene().build(wanted, with_files) == await graphene.build(wanted, with_files)


async def test_access_is_asked_for_each_time() -> None:
    """The caller's access to others' files is checked each time, even for a known bundle."""
    graphene = Graphene()
    for _ in range(2):
        await graphene.build(PIPELINE, FILES)
    assert [((URI,), CALLER)] * 2 == graphene.catalog.checked
    graphene.catalog.refusal = NotAllowed("no-access-to-proto", "no")
    with pytest.raises(NotAllowed):
        await graphene.build(PIPELINE, FILES)


async def test_a_protobuf_that_became_wrong_is_refused() -> None:
    """A protobuf that became invalid is rejected, even though the plan is known."""
    graphene = Graphene()
    await graphene.build(PIPELINE, FILES)
    with pytest.raises(NotDeployable):
        await graphene.build(PIPELINE, FILES | {URI: b"no protobuf"})


async def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known bundles are bounded: the least recently used is evicted, and a large bundle is not kept."""
    _, bundle = await Graphene().build(PIPELINE, FILES)
    one = 2 * len(bundle.data) + 16 * 1024
    monkeypatch.setattr(build, "MAX_BUILT", 8 * one)
    graphene = Graphene()
    others = [replace(PIPELINE, name=f"p{number}") for number in range(8)]
    first = {given.name: (await graphene.build(given, FILES))[1] for given in others}
    again = {given.name: (await graphene.build(given, FILES))[1] for given in reversed(others)}
    assert [True] * 8 == [first[name] is again[name] for name in first]
    assert (await graphene.build(PIPELINE, FILES))[1] is not first["p0"]
    assert (await graphene.build(others[7], FILES))[1] is not first["p7"]  # it was the least recently used
    larger = FILES | {URI: PROTOBUF + b"// more\n"}
    assert (await graphene.build(others[0], larger))[1] is not (await graphene.build(others[0], larger))[1]
