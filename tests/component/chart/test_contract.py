import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import BaseModel, SecretStr, TypeAdapter

from tests.component.chart.generated import files
from tests.component.chart.values import CHART, VALUES, Json, read_values
from tests.component.chart.worker_settings import ELSEWHERE, camel_case
from worker import __version__
from worker.adapters.kafka.topics import required_topics
from worker.settings import GatewayProcessSettings, KafkaSettings, Settings

DEFAULTS: Json = yaml.safe_load(VALUES.read_text(encoding="utf-8"))
SCHEMA: Json = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
ABOUT: Json = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))


def fields() -> Iterator[tuple[str, str, Any]]:
    for group, field in (Settings.model_fields | GatewayProcessSettings.model_fields).items():
        assert isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        for name, setting in field.annotation.model_fields.items():
            yield group, name, setting


def schema_at(path: str) -> Json:
    place = SCHEMA
    for key in path.split("."):
        place = place["properties"][key]
    return place


@pytest.mark.parametrize("path", files(), ids=lambda it: it.name)
def test_generated_files_are_fresh(path: Any) -> None:
    """The generated files are current; if this fails, run `make chart`."""
    assert files()[path] == path.read_text(encoding="utf-8")


def test_every_setting_has_a_value_and_no_value_lacks_a_setting() -> None:
    """Every setting has a value and every value a setting, except the settings listed as elsewhere, which are there."""
    here = {f"{group}.{name}" for group, name, _ in fields()} - ELSEWHERE.keys()
    assert {tuple(map(camel_case, it.split("."))) for it in here} == {
        (group, key) for group, keys in DEFAULTS["settings"].items() for key in keys
    }
    values = [it.path for it in read_values(VALUES.read_text(encoding="utf-8"))]
    for setting, value in ELSEWHERE.items():
        assert setting in {f"{group}.{name}" for group, name, _ in fields()}
        assert any(path == value or path.startswith(f"{value}.") for path in values), value


def test_secrets_are_no_settings() -> None:
    """The `settings` in the values cannot hold a password or the path of a password file."""
    secret = {f"{group}.{name}" for group, name, it in fields() if it.annotation in (SecretStr, SecretStr | None)}
    assert {"kafka.sasl_password", "auth.secret", "catalog.password", "artifacts.password"} <= secret
    assert secret <= ELSEWHERE.keys()


def test_defaults_are_the_worker_s() -> None:
    """Each value's default is the worker's default, or null without one."""
    for group, name, setting in fields():
        if f"{group}.{name}" not in ELSEWHERE:
            default = None if setting.is_required() else setting.default
            assert default == DEFAULTS["settings"][group][camel_case(name)], name


@pytest.mark.parametrize(
    "value", [None, True, "", "x", "a:1", "http://h/deploy_solution", "HS256", "SSL", -1, 0, 0.5, 1, 121, 301, 70000]
)
def test_the_schema_takes_what_the_worker_takes(value: Any) -> None:
    """Types, enums and bounds: the schema rejects exactly the values that the worker rejects. null is "not set"."""
    for group, name, setting in fields():
        if f"{group}.{name}" in ELSEWHERE:
            continue
        schema = Draft202012Validator(schema_at(f"settings.{group}.{camel_case(name)}"))
        adapter = TypeAdapter(setting.rebuild_annotation())
        taken = setting.default is None or setting.is_required() if value is None else _takes(adapter, value)
        assert taken == schema.is_valid(value), f"{group}.{name}"


def _takes(adapter: TypeAdapter[Any], value: Any) -> bool:
    try:
        adapter.validate_python(value, strict=True)
    except ValueError:
        return False
    return True


def test_every_value_says_what_it_is() -> None:
    """Each value has a type and a sentence; only maps whose keys are the user's accept unknown keys."""
    for path, schema in _leaves(SCHEMA):
        assert schema["description"].strip().endswith((".", ")")), path
        assert schema.keys() & {"type", "$ref", "enum"}, path
        assert "default" in schema, path
    assert [".global"] == [path for path, schema in _groups(SCHEMA) if schema.get("additionalProperties") is not False]


def _leaves(schema: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    for name, it in schema["properties"].items():
        if "properties" in it:
            yield from _leaves(it, f"{path}.{name}")
        else:
            yield f"{path}.{name}".removeprefix("."), it


def _groups(schema: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    yield path, schema
    for name, it in schema["properties"].items():
        if "properties" in it:
            yield from _groups(it, f"{path}.{name}")


def test_values_and_schema_hold_the_same() -> None:
    """Every value has a schema, and every schema a value."""
    assert [it.path for it in read_values(VALUES.read_text(encoding="utf-8"))] == [path for path, _ in _leaves(SCHEMA)]


def test_every_value_is_used() -> None:
    """Every value is used by a template; otherwise it would have no effect."""
    templates = "".join(path.read_text(encoding="utf-8") for path in (CHART / "templates").rglob("*.*"))
    unread = {
        path
        for path, _ in _leaves(SCHEMA)
        if not path.startswith("settings.") and not re.search(rf"\b{path.rpartition('.')[2]}\b", templates)
    }
    passed_on_whole = {f"probes.{probe}.failureThreshold" for probe in ("startup", "liveness", "readiness")}
    assert passed_on_whole == unread


def test_one_version() -> None:
    """The worker, the chart, its appVersion and the image in its annotations have the same version."""
    assert [__version__] * 2 == [ABOUT["version"], ABOUT["appVersion"]]
    (image,) = yaml.safe_load(ABOUT["annotations"]["artifacthub.io/images"])
    assert f"playground-deployer:{__version__}" == image["image"]


def test_documented_topics_are_those_the_worker_wants() -> None:
    """docs/helm.md has the commands for the worker's topics; if this fails, it prints the text for the page."""
    page = (CHART.parent / "docs" / "helm.md").read_text(encoding="utf-8")
    kafka = KafkaSettings(bootstrap_servers="kafka:9092")
    commands = "".join(
        f"kafka-topics.sh --bootstrap-server {kafka.bootstrap_servers} --create --topic {topic.name} "
        f"--partitions {kafka.partitions} --replication-factor {kafka.replication_factor} \\\n  "
        + " ".join(f"--config {key}={value}" for key, value in topic.configs.items())
        + "\n"
        for topic in required_topics(kafka)
    )
    assert f"<!-- topics -->\n```\n{commands}```\n<!-- /topics -->" in page
