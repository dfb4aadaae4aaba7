"""All settings as the chart's values: `DEPLOYER_KAFKA__GROUP_ID` is `settings.kafka.groupId`."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from tests.component.chart.values import Json
from worker.settings import GatewayProcessSettings, Settings, setting_names

ELSEWHERE = {
    "kafka.sasl_password": "secrets.kafka.existingSecret",
    "kafka.ssl_ca_file": "tls.kafka.ca",
    "kafka.ssl_cert_file": "tls.kafka.client",
    "kafka.ssl_key_file": "tls.kafka.client",
    "kafka.create_topics": "topics.mode",
    "auth.secret": "secrets.auth.existingSecret",
    "catalog.password": "secrets.catalog.existingSecret",
    "artifacts.password": "secrets.artifacts.existingSecret",
    "playground.ca_file": "tls.playground.ca",
    "bundle.overrides_file": "overrides.entries",
    "gateway.session_key": "secrets.gateway.existingSecret",
}
"""Where the chart has the settings that are files or secrets, and one that is part of a choice."""

_BOUNDS = ("enum", "minimum", "maximum", "exclusiveMinimum")


@dataclass(frozen=True, slots=True)
class Setting:
    """A field of Settings."""

    group: str
    name: str
    sentence: str
    default: Any
    required: bool
    schema: Json

    @property
    def key(self) -> str:
        """Return the setting's key in the values."""
        return camel_case(self.name)


def camel_case(name: str) -> str:
    """Return maxInFlight for max_in_flight."""
    first, *more = name.split("_")
    return first + "".join(word.capitalize() for word in more)


def all_settings() -> Iterator[Setting]:
    """Yield every field of every group, the worker's first."""
    models = {}
    for root in (Settings.model_json_schema(), GatewayProcessSettings.model_json_schema()):
        for group, reference in root["properties"].items():
            models[group] = root["$defs"][reference["$ref"].rpartition("/")[2]]
    for group, model in models.items():
        for name, schema in model["properties"].items():
            required = name in model.get("required", [])
            yield Setting(group, name, schema["description"], schema.get("default"), required, _merged(schema))


def chart_settings() -> Iterator[Setting]:
    """Return the settings under `settings` in the values."""
    return (it for it in all_settings() if f"{it.group}.{it.name}" not in ELSEWHERE)


def values_block() -> str:
    """Return the section `settings` of values.yaml."""
    lines, group = ["settings:"], ""
    for it in chart_settings():
        if it.group != group:
            group = it.group
            lines.append(f"  {group}:")
        needed = "Required. " if it.required else ""
        lines.append(f"    # -- {needed}{_in_words_of_values(it)}")
        if bounds := {key: it.schema[key] for key in _BOUNDS if key in it.schema}:
            lines.append(f"    # @schema {yaml.safe_dump(bounds, default_flow_style=True, width=1000).strip()}")
        lines.append(f"    {it.key}: {json.dumps(it.default)}")
    return "\n".join(lines) + "\n"


def schemas() -> dict[str, Json]:
    """Return the schema of each value under `settings`, by its path, with the patterns that values.yaml omits."""
    return {f"settings.{it.group}.{it.key}": _schema(it) for it in chart_settings()}


def _schema(it: Setting) -> Json:
    schema = {key: it.schema[key] for key in ("type", "pattern", *_BOUNDS) if key in it.schema}
    return schema | {"type": [schema["type"], "null"]} if it.default is None else schema


def template_facts() -> str:
    """Return the facts for the templates: the required settings, the defaults, which are not passed on, and all
    names."""
    defaults: dict[str, Json] = {}
    required = []
    for it in chart_settings():
        defaults.setdefault(it.group, {})[it.key] = it.default
        if it.required:
            required.append({"path": f"{it.group}.{it.key}", "sentence": it.sentence})
    facts = {"required": required, "defaults": defaults, "variables": setting_names()}
    return "# Written by `make chart` from the worker's settings.\n" + yaml.safe_dump(facts, sort_keys=False, width=200)


def _merged(schema: Json) -> Json:
    """Resolve the anyOf that pydantic writes for `X | None`."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind != {"type": "null"}]
    return {**schema, **(kinds[0] if kinds else {})}


def _in_words_of_values(it: Setting) -> str:
    """Replace the variables of the same group that a sentence names, such as `JWKS_URL`."""

    def value(match: re.Match[str]) -> str:
        name = match[1].lower()
        return f"`{ELSEWHERE.get(f'{it.group}.{name}', camel_case(name))}`"

    return re.sub(r"`([A-Z_]+)`", value, it.sentence)
