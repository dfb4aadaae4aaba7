"""The published schemas, the examples and the event classes agree."""

import json
import re
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError
from pydantic import BaseModel
from pydantic import ValidationError as ModelError

import schemas
from schemas import FINAL_STATES, SUCCESSORS, DeploymentRequested, DeploymentSettled, DeploymentStatus, State, asyncapi
from schemas.export import EVENTS, EXAMPLES, GENERATED, main, stale

EVENT_CLASSES = pytest.mark.parametrize(
    ("name", "event"),
    [("request", DeploymentRequested), ("status", DeploymentStatus), ("settlement", DeploymentSettled)],
)


def example(name: str) -> dict[str, Any]:
    """Return the value of one record, as it is sent."""
    value: dict[str, Any] = json.loads((EXAMPLES / f"{name}.json").read_text(encoding="utf-8"))
    return value


def validator(name: str) -> Draft202012Validator:
    """Return a validator of the published JSON Schema."""
    schema = json.loads((GENERATED / f"{name}.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_generated_files_are_fresh() -> None:
    """The committed files are what `python -m schemas.export` writes now."""
    assert [] == stale(GENERATED)


def test_check_names_every_stale_file(tmp_path: Path) -> None:
    """`--check` lists every file that is missing, edited or no longer generated, with exit code 1."""
    main([], folder=tmp_path)
    main(["--check"], folder=tmp_path)
    (tmp_path / "status.schema.json").write_text("{}\n")
    (tmp_path / "request.schema.json").unlink()
    (tmp_path / "old.schema.json").write_text("{}\n")

    with pytest.raises(SystemExit) as exit_:
        main(["--check"], folder=tmp_path)

    assert isinstance(exit_.value.code, str)  # Python exits 1 and prints this text
    assert [
        "old.schema.json",
        "request.schema.json",
        "status.schema.json",
    ] == re.findall(r"\w+\.schema\.json", exit_.value.code)


def test_writing_makes_everything_fresh(tmp_path: Path) -> None:
    """A run leaves the generated files in the folder and nothing else."""
    (tmp_path / "old.schema.json").write_text("{}\n")

    main([], folder=tmp_path)

    assert [] == stale(tmp_path)


def test_there_is_one_example_for_each_event() -> None:
    """Every event has an example, and every example an event."""
    assert sorted(EVENTS) == sorted(path.stem for path in EXAMPLES.glob("*.json"))


@EVENT_CLASSES
def test_example_is_valid(name: str, event: type[BaseModel]) -> None:
    """An example passes the published JSON Schema and the class, and survives the round trip."""
    value = example(name)

    validator(name).validate(value)

    assert value == event.model_validate(value).model_dump(mode="json", by_alias=True, exclude_none=True)


@EVENT_CLASSES
def test_published_schema_refuses_what_the_class_refuses(name: str, event: type[BaseModel]) -> None:
    """An example without any one of its required fields fails both the JSON Schema and the class."""
    value = example(name)
    for field in [field.alias for field in event.model_fields.values() if field.is_required()]:
        broken = {key: item for key, item in value.items() if key != field}
        with pytest.raises(ValidationError):
            validator(name).validate(broken)
        with pytest.raises(ModelError):
            event.model_validate(broken)


def test_request_ignores_unknown_fields() -> None:
    """Unknown fields in a request are ignored, because a sender may have more."""
    value = example("request") | {"colour": "red"}

    validator("request").validate(value)

    assert not hasattr(DeploymentRequested.model_validate(value), "colour")


@pytest.mark.parametrize(("name", "event"), [("status", DeploymentStatus), ("settlement", DeploymentSettled)])
def test_events_we_write_have_no_unknown_fields(name: str, event: type[BaseModel]) -> None:
    """The class rejects unknown fields in what we write, while the published schema lets readers ignore them."""
    value = example(name) | {"colour": "red"}

    validator(name).validate(value)

    with pytest.raises(ModelError, match="colour"):
        event.model_validate(value)


def test_request_takes_null_for_absent() -> None:
    """A request may have null for an absent field."""
    value = example("request") | {"jwtToken": None, "replayOf": None}

    validator("request").validate(value)

    assert DeploymentRequested.model_validate(value).jwt_token is None


def test_status_leaves_absent_fields_out() -> None:
    """A status never contains null, so readers handle only one kind of absence."""
    value = example("status") | {"deployment": None}

    with pytest.raises(ValidationError):
        validator("status").validate(value)

    assert b"null" not in DeploymentStatus.model_validate(value).to_json()


@EVENT_CLASSES
def test_every_field_is_described(name: str, event: type[BaseModel]) -> None:
    """The published schema describes each field, directly or through its class."""
    schema = validator(name).schema
    places = [schema, *schema.get("$defs", {}).values()]
    undescribed = [
        field
        for place in places
        for field, content in place.get("properties", {}).items()
        if "description" not in content and "$ref" not in content
    ]

    assert [] == undescribed
    assert all(place["description"] for place in places)


def test_no_input_in_the_error_of_an_event() -> None:
    """The error of an invalid request does not show its token."""
    with pytest.raises(ModelError) as refused:
        DeploymentRequested.model_validate({"solutionId": "x", "jwtToken": {"a": "not-a-real-token"}})

    assert "not-a-real-token" not in str(refused.value)


def test_public_names_are_sorted_and_complete() -> None:
    """`from schemas import …` offers every public class, function and table of the events, constants first."""
    public = {name for name, value in vars(schemas.events).items() if _is_public(name, value)}

    assert public == set(schemas.__all__)
    assert sorted(schemas.__all__, key=lambda name: (not name.isupper(), name)) == schemas.__all__


def _is_public(name: str, value: object) -> bool:
    made_here = getattr(value, "__module__", None) == "schemas.events" and isinstance(value, type | FunctionType)
    return not name.startswith("_") and (made_here or isinstance(value, dict | frozenset))


def test_every_state_has_successors_listed() -> None:
    """The table of successors has every state, and the beginning."""
    assert {None, *State} == set(SUCCESSORS)


def test_final_states_are_those_without_successors() -> None:
    """Final states are exactly the states without successors."""
    assert {state for state, successors in SUCCESSORS.items() if not successors} == FINAL_STATES


def test_every_state_can_be_reached() -> None:
    """Every state is some state's successor."""
    assert set(State) == frozenset().union(*SUCCESSORS.values())


def test_changelog_starts_with_the_version_of_the_contract() -> None:
    """The changelog starts with the current version of the contract, so a new version must be explained."""
    text = (Path(schemas.__file__).parent / "CHANGELOG.md").read_text(encoding="utf-8")

    assert re.findall(r"^## (.+)$", text, re.MULTILINE)[:1] == [asyncapi.CONTRACT_VERSION]
