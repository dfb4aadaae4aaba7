"""`schemas/generated/openapi.json` is a valid OpenAPI 3.1 document by the official schema, without a network.

Every test of the gateway compares its answers with the document (tests/support/openapi.py).
"""

import asyncio
import copy
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aiohttp import web
from jsonschema import Draft202012Validator

from schemas.asyncapi import CONTRACT_VERSION
from schemas.openapi import PROBLEMS
from tests.support.openapi import PAGES, Json, document, resolved, validator
from tests.support.paths import DATA, ROOT
from worker.gateway.app import add_probes
from worker.gateway.routes import MAX_KEY, Routes

OFFICIAL = DATA / "openapi" / "openapi-3.1.schema.json"


@pytest.fixture(scope="module")
def official() -> Draft202012Validator:
    """The official schema of OpenAPI 3.1."""
    return Draft202012Validator(json.loads(OFFICIAL.read_text(encoding="utf-8")))


def walk(node: Any) -> Iterator[Json]:
    """Yield every object in a JSON value."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from walk(child)


def operations() -> Iterator[tuple[str, str, Json]]:
    """Yield method, path and operation."""
    for path, item in document()["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


def test_document_is_valid(official: Draft202012Validator) -> None:
    """The official schema accepts the document, and each of its own schemas is valid."""
    assert [] == [error.message for error in official.iter_errors(document())]
    for schema in document()["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize(
    "break_it",
    [
        pytest.param(lambda doc: doc.pop("info"), id="no info"),
        pytest.param(lambda doc: doc.update(openapi="2.0"), id="another version"),
        pytest.param(lambda doc: doc["paths"].update(deployments={}), id="a path without a slash"),
        pytest.param(lambda doc: doc["paths"]["/live"]["get"].update(answers={}), id="no such field"),
        pytest.param(lambda doc: doc["components"]["parameters"]["Prefer"].update({"in": "body"}), id="no such place"),
        pytest.param(lambda doc: doc["components"]["securitySchemes"]["bearer"].pop("scheme"), id="no scheme"),
        pytest.param(lambda doc: doc["components"]["headers"]["ETag"].pop("schema"), id="a header without a schema"),
    ],
)
def test_broken_document_is_refused(official: Draft202012Validator, break_it: Callable[[Json], Any]) -> None:
    """The validation rejects broken copies, so a pass means something."""
    broken = copy.deepcopy(document())
    break_it(broken)
    assert not official.is_valid(broken)


def test_every_reference_leads_somewhere_and_all_is_used() -> None:
    """References stay inside the document, none dangles, and every component is used."""
    references = {node["$ref"] for node in walk(document()) if "$ref" in node}
    assert all(it.startswith("#/components/") and resolved({"$ref": it}) for it in references)
    components = document()["components"]
    schemes = {name for _, _, it in operations() for one in it.get("security", []) for name in one}
    assert schemes == set(components["securitySchemes"])
    offered = {
        f"#/components/{kind}/{it}" for kind in components if kind != "securitySchemes" for it in components[kind]
    }
    assert set() == offered - references


def test_every_route_is_in_it() -> None:
    """The document has every route for programs, the portal and probes, and nothing else."""
    app = web.Application()
    routes: Any = object.__new__(Routes)
    routes._base = ""
    routes.add_to(app)
    stopped = asyncio.Event()  # the readiness gauge uses it as long as the process lives
    stopped.set()
    add_probes(app, None, None, None, stopped)  # type: ignore[arg-type]
    served = {(it.method, it.resource.canonical) for it in app.router.routes() if it.resource}
    assert {it for it in served if it[0] != "HEAD" and it[1] not in PAGES} == {
        (method, path) for method, path, _ in operations()
    }


def test_the_parameters_of_a_path_are_described() -> None:
    """Each word in braces is described as a parameter, and no other."""
    for _, path, operation in operations():
        described = [resolved(it) for it in operation.get("parameters", [])]
        assert re.findall(r"{(\w+)}", path) == [it["name"] for it in described if it["in"] == "path"]


def test_examples_fit() -> None:
    """Each example of a body or an answer fits its schema."""
    for node in walk(document()):
        for media in node.get("content", {}).values() if isinstance(node.get("content"), dict) else ():
            given = [it["value"] for it in media.get("examples", {}).values()]
            for example in [*given, *([media["example"]] if "example" in media else [])]:
                validator(json.dumps(media["schema"])).validate(example)


def test_names_and_limits_are_those_of_the_code() -> None:
    """The version of the contract and the longest key are those of the code."""
    assert CONTRACT_VERSION == document()["info"]["version"]
    assert MAX_KEY == document()["components"]["parameters"]["IdempotencyKey"]["schema"]["maxLength"]


def test_problem_codes_are_those_of_the_gateway() -> None:
    """Every problem code in the gateway's code is explained in the document and in docs/gateway.md."""
    page = (ROOT / "docs" / "gateway.md").read_text(encoding="utf-8")
    sources = "".join(it.read_text(encoding="utf-8") for it in (ROOT / "worker" / "gateway").glob("*.py"))
    named = set(re.findall(r'(?:Refused|refuse)\(\s*(?:request,\s*)?\d+,\s*"([a-z-]+)"', sources))
    assert {"not-a-click", "session-missing", "idempotency-key-reused", "too-slow", "internal"} <= named
    assert set() == named - set(PROBLEMS)
    assert [] == [it for it in PROBLEMS if f"`{it}`" not in page]
