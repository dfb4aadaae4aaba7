"""Generator of `generated/` from the event classes: `python -m schemas.export`; `--check` only compares."""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from schemas import asyncapi, openapi
from schemas.events import DeploymentRequested, DeploymentSettled, DeploymentStatus, ReplayPermitted

HERE = Path(__file__).parent
GENERATED = HERE / "generated"
EXAMPLES = HERE / "examples"

_Event = type[DeploymentRequested | DeploymentStatus | DeploymentSettled | ReplayPermitted]

# File name → event, as read (validation: null is tolerated) or as written (serialization).
EVENTS: dict[str, tuple[_Event, JsonSchemaMode]] = {
    "request": (DeploymentRequested, "validation"),
    "status": (DeploymentStatus, "serialization"),
    "settlement": (DeploymentSettled, "serialization"),
    "replay-permit": (ReplayPermitted, "serialization"),
}


class _Generator(GenerateJsonSchema):
    """Omits titles that repeat a field's name. Written fields are never null, and written objects allow new fields.

    The classes themselves forbid unknown fields. A reader that did so would break when a field is added.
    """

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        return False

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        if self.mode == "serialization":
            return self.generate_inner(schema["schema"])
        return super().nullable_schema(schema)

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        if schema.get("default", ...) is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        result = super().model_schema(schema)
        if self.mode == "serialization":
            result.pop("additionalProperties", None)
        return result


def files() -> dict[str, str]:
    """Return the expected content of every generated file, by name."""
    documents = {f"{name}.schema.json": _json_schema(*event) for name, event in EVENTS.items()}
    documents["asyncapi.json"] = asyncapi.document(_components(EVENTS.values()), _examples())
    documents["openapi.json"] = openapi.document(_components([EVENTS["status"]]), _examples())
    return {
        name: json.dumps(_unwrapped(document), indent=2, ensure_ascii=False) + "\n"
        for name, document in documents.items()
    }


def stale(folder: Path) -> list[str]:
    """Return the names of the files in `folder` that are missing, different or no longer generated."""
    expected = files()
    found = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*") if path.is_file()}
    return sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))


def main(argv: Sequence[str] | None = None, folder: Path = GENERATED) -> None:
    """Write the files to `folder`, or with `--check` exit 1 and name the stale ones."""
    parser = argparse.ArgumentParser(prog="python -m schemas.export", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is stale")
    if parser.parse_args(argv).check:
        if names := stale(folder):
            sys.exit(f"stale in schemas/{folder.name}: {', '.join(names)}; run `make schemas` and commit")
        return
    folder.mkdir(exist_ok=True)
    for name in stale(folder):
        (folder / name).unlink(missing_ok=True)
    for name, text in files().items():
        (folder / name).write_text(text, encoding="utf-8")


def _json_schema(event: _Event, mode: JsonSchemaMode) -> dict[str, Any]:
    schema = event.model_json_schema(mode=mode, schema_generator=_Generator)
    head = {"$schema": GenerateJsonSchema.schema_dialect, "$id": f"urn:graphene:{event.TYPE}"}
    order = ("title", "description", "type", "properties", "required")  # most important first
    return head | {key: schema.pop(key) for key in order} | schema


def _components(events: Iterable[tuple[_Event, JsonSchemaMode]]) -> dict[str, Any]:
    """Return all classes of these events by name, with references in the form of AsyncAPI and OpenAPI."""
    _, schema = models_json_schema(
        list(events), ref_template="#/components/schemas/{model}", schema_generator=_Generator
    )
    components: dict[str, Any] = schema["$defs"]
    return components


def _unwrapped(node: Any) -> Any:
    """Return the same JSON without the line breaks of docstrings in descriptions."""
    if isinstance(node, dict):
        return {
            key: " ".join(value.split()) if key == "description" and isinstance(value, str) else _unwrapped(value)
            for key, value in node.items()
        }
    return [_unwrapped(item) for item in node] if isinstance(node, list) else node


def _examples() -> dict[str, Any]:
    return {name: json.loads((EXAMPLES / f"{name}.json").read_text(encoding="utf-8")) for name in EVENTS}


if __name__ == "__main__":
    main()
