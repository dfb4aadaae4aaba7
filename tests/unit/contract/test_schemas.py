"""The published schemas, the examples and the event classes say the same."""

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
    """The value of one record, as it travels."""
    value: dict[str, Any] = json.loads((EXAMPLES / f"{name}.json").read_text(encoding="utf-8"))
    return value


def validator(name: str) -> Draft202012Validator:
    """Of the published JSON Schema."""
    schema = json.loads((GENERATED / f"{name}.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_generated_files_are_fresh() -> None:
    """What is committed is what `python -m schemas.export` writes now."""
    assert [] == stale(GENERATED)


def test_check_names_every_stale_file(tmp_path: Path) -> None:
    """A file that is missing, edited or not generated any more is named, and the exit code is 1."""
    main([], folder=tmp_path)
    main(["--check"], folder=tmp_path)
    (tmp_path / "status.schema.json").write_text("{}\n")
    (tmp_path / "request.schema.json").unlink()
    (tmp_path / "old.schema.json").write_text("{}\n")

    with pytest.raises(SystemExit) as exit_:
        main(["--check"], folder=tmp_path)

    assert isinstance(exit_.value.code, str)  # Python exits 1 and prints it
    assert [
        "old.schema.json",
        "request.schema.json",
        "status.schema.json",
    ] == re.findall(r"\w+\.schema\.json", exit_.value.code)


def test_writing_makes_everything_fresh(tmp_path: Path) -> None:
    """After a run the folder holds the generated files and nothing else."""
    (tmp_path / "old.schema.json").write_text("{}\n")

    main([], folder=tmp_path)

    assert [] == stale(tmp_path)


def test_there_is_one_example_for_each_event() -> None:
    """No event is without an example, and no example is without an event."""
    assert sorted(EVENTS) == sorted(path.stem for path in EXAMPLES.glob("*.json"))


@EVENT_CLASSES
def test_example_is_valid(name: str, event: type[BaseModel]) -> None:
    """An example passes the published JSON Schema and the class, and comes back as it went in."""
    value = example(name)

    validator(name).validate(value)

    assert value == event.model_validate(value).model_dump(mode="json", by_alias=True, exclude_none=True)


@EVENT_CLASSES
def test_published_schema_refuses_what_the_class_refuses(name: str, event: type[BaseModel]) -> None:
    """Without any one of its required fields an example passes neither the JSON Schema nor the class."""
    value = example(name)
    for field in [field.alias for field in event.model_fields.values() if field.is_required()]:
        broken = {key: item for key, item in value.items() if key != field}
        with pytest.raises(ValidationError):
            validator(name).validate(broken)
        with pytest.raises(ModelError):
            event.model_validate(broken)


def test_request_ignores_unknown_fields() -> None:
    """A sender may know more fields than we do."""
    value = example("request") | {"priority": "high"}

    validator("request").validate(value)

    assert not hasattr(DeploymentRequested.model_validate(value), "priority")


@pytest.mark.parametrize(("name", "event"), [("status", DeploymentStatus), ("settlement", DeploymentSettled)])
def test_events_we_write_have_no_unknown_fields(name: str, event: type[BaseModel]) -> None:
    """The class refuses a field that is not in the contract; readers are told to let it pass."""
    value = example(name) | {"priority": "high"}

    validator(name).validate(value)

    with pytest.raises(ModelError, match="priority"):
        event.model_validate(value)


def test_request_takes_null_for_absent() -> None:
    """Senders that write every field, absent ones as null, are understood."""
    value = example("request") | {"jwtToken": None, "replayOf": None}

    validator("request").validate(value)

    assert DeploymentRequested.model_validate(value).jwt_token is None


def test_status_leaves_absent_fields_out() -> None:
    """A status never carries null, so that readers need to handle one kind of absence."""
    value = example("status") | {"deployment": None}

    with pytest.raises(ValidationError):
        validator("status").validate(value)

    assert b"null" not in DeploymentStatus.model_validate(value).to_json()


@EVENT_CLASSES
def test_every_field_is_described(name: str, event: type[BaseModel]) -> None:
    """A reader of the published schema finds a sentence for each field, or for its class."""
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
    """A request that is refused does not show its token."""
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
    """The table of successors knows each state, and the beginning."""
    assert {None, *State} == set(SUCCESSORS)


def test_final_states_are_those_without_successors() -> None:
    """Nothing follows a final state, and something follows every other one."""
    assert {state for state, successors in SUCCESSORS.items() if not successors} == FINAL_STATES


def test_every_state_can_be_reached() -> None:
    """No state is left over that nothing leads to."""
    assert set(State) == frozenset().union(*SUCCESSORS.values())


def test_changelog_starts_with_the_version_of_the_contract() -> None:
    """Whoever raises the version writes down why."""
    text = (Path(schemas.__file__).parent / "CHANGELOG.md").read_text(encoding="utf-8")

    assert re.findall(r"^## (.+)$", text, re.MULTILINE)[:1] == [asyncapi.CONTRACT_VERSION]
