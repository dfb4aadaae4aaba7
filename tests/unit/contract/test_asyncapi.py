"""`schemas/generated/asyncapi.json` is a valid AsyncAPI 3.0.0 document by the official schema, without a network."""

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from jsonschema import Draft7Validator

from schemas.export import GENERATED
from tests.support.paths import DATA

OFFICIAL = DATA / "asyncapi" / "asyncapi-3.0.0.schema.json"
# JSON Schema 2020-12 has more keywords, which AsyncAPI ignores.
DRAFT_07_KEYWORDS = {
    *("$ref", "additionalProperties", "allOf", "anyOf", "const", "contains", "default", "dependencies", "description"),
    *("else", "enum", "examples", "exclusiveMaximum", "exclusiveMinimum", "format", "if", "items", "maxItems"),
    *("maxLength", "maxProperties", "maximum", "minItems", "minLength", "minProperties", "minimum", "multipleOf"),
    *("not", "oneOf", "pattern", "patternProperties", "properties", "propertyNames", "readOnly", "required", "then"),
    *("title", "type", "uniqueItems", "writeOnly"),
}

Json = dict[str, Any]


@pytest.fixture(scope="module")
def document() -> Json:
    """The committed document."""
    value: Json = json.loads((GENERATED / "asyncapi.json").read_text(encoding="utf-8"))
    return value


@pytest.fixture(scope="module")
def official() -> Draft7Validator:
    """The official schema of AsyncAPI 3.0.0."""
    return Draft7Validator(json.loads(OFFICIAL.read_text(encoding="utf-8")))


def walk(node: Any) -> Iterator[Json]:
    """Yield every object in a JSON value."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from walk(child)


def subschemas(schema: Json) -> Iterator[Json]:
    """Yield a schema and all schemas inside it, without mistaking property names for keywords."""
    yield schema
    for child in [*schema.get("properties", {}).values(), *schema.get("anyOf", []), schema.get("items")]:
        if isinstance(child, dict):
            yield from subschemas(child)


def resolve(document: Json, reference: str) -> Any:
    """Return the target of a local `$ref`. Raises KeyError."""
    node: Any = document
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


def test_document_is_valid(document: Json, official: Draft7Validator) -> None:
    """The official schema accepts the document."""
    assert [] == [error.message for error in official.iter_errors(document)]


@pytest.mark.parametrize(
    "break_it",
    [
        pytest.param(lambda doc: doc.pop("info"), id="no info"),
        pytest.param(lambda doc: doc.update(asyncapi="2.6.0"), id="another version"),
        pytest.param(lambda doc: doc["operations"]["sendStatus"].update(action="publish"), id="no such action"),
        pytest.param(lambda doc: doc["channels"]["status"].update(topic="x"), id="no such field"),
        pytest.param(
            lambda doc: doc["channels"]["status"]["bindings"]["kafka"].update(partitions=0), id="wrong Kafka binding"
        ),
        pytest.param(
            lambda doc: doc["components"]["schemas"]["State"].update(type="strin"), id="no such type in a schema"
        ),
        pytest.param(
            lambda doc: doc["components"]["messages"]["status"]["headers"].update(required="ce_id"),
            id="wrong headers schema",
        ),
    ],
)
def test_broken_document_is_refused(document: Json, official: Draft7Validator, break_it: Callable[[Json], Any]) -> None:
    """The validation rejects broken copies, so a pass means something."""
    broken = copy.deepcopy(document)
    break_it(broken)

    assert not official.is_valid(broken)


def test_every_reference_leads_somewhere(document: Json) -> None:
    """References stay inside the document, and none dangles."""
    references = [node["$ref"] for node in walk(document) if "$ref" in node]

    assert references
    assert all(reference.startswith("#/") and resolve(document, reference) for reference in references)


def test_schemas_keep_to_the_default_dialect(document: Json) -> None:
    """Schemas use only the keywords of AsyncAPI's own dialect, so they need no schemaFormat."""
    payloads = document["components"]["schemas"].values()
    headers = [message["headers"] for message in document["components"]["messages"].values()]
    used = {keyword for schema in [*payloads, *headers] for part in subschemas(schema) for keyword in part}

    assert set() == used - DRAFT_07_KEYWORDS


@pytest.mark.parametrize("name", ["request", "status", "settlement"])
def test_examples_fit_their_message(document: Json, name: str) -> None:
    """Headers and payload of each message's example fit the message's schemas."""
    message = document["components"]["messages"][name]
    for part in ("headers", "payload"):
        schema = {"allOf": [message[part]], "components": document["components"]}
        for example in message["examples"]:
            Draft7Validator(schema).validate(example[part])


def test_topics_are_as_the_design_says(document: Json) -> None:
    """Addresses, clean-up policies and timestamp type of the topics are those that the worker relies on."""
    channels = {
        channel["address"]: channel["bindings"]["kafka"]["topicConfiguration"]
        for channel in document["channels"].values()
    }

    week, day = 604_800_000, 86_400_000
    every = {
        "max.message.bytes": 131_072,
        "message.timestamp.type": "LogAppendTime",
    }
    assert {
        "playground.deployment.requests": {
            "cleanup.policy": ["delete"],
            **every,
        },
        "playground.deployment.status": {
            "cleanup.policy": ["compact", "delete"],
            "retention.ms": week,
            "min.compaction.lag.ms": day,
            **every,
        },
        "playground.deployment.settlements": {"cleanup.policy": ["delete"], "retention.ms": week, **every},
    } == channels
