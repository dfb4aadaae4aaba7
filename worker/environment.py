"""Reads the settings from environment variables.

Every secret can come from a file instead: `DEPLOYER_AUTH__SECRET_FILE=/run/secrets/jwt`.
An empty value counts as unset, where the setting's sentence does not say otherwise. Unknown `DEPLOYER_*__*` names
are refused, so that a typing error cannot silently become a default; names without `__`, as Kubernetes makes for
services, are left alone.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from worker.errors import ConfigurationError
from worker.settings import PREFIX, Settings

_MAY_BE_EMPTY = frozenset({"image_pull_secret", "source_system_url"})

_Model = TypeVar("_Model", bound=BaseModel)


def read_settings(environ: Mapping[str, str], model: type[_Model]) -> _Model:
    """Read the groups of `model` (Settings, CatalogSettings, KafkaSettings) from the environment.

    Raises ConfigurationError, naming every variable that is unknown, missing or wrong.
    """
    values: dict[str, dict[str, str]] = {group: {} for group in model.model_fields}
    problems: list[str] = []
    for name, value in sorted(environ.items()):
        if not name.startswith(PREFIX) or "__" not in name:
            continue
        group, _, key = name.removeprefix(PREFIX).lower().partition("__")
        fields = _group_fields(group)
        if key not in fields and key.removesuffix("_file") in _secrets(fields):
            key = key.removesuffix("_file")
            given = _read_secret(name, value, problems)
        else:
            given = value
        if key not in fields:
            problems.append(f"{name}: no such setting; README.md lists them all")
        elif (given or key in _MAY_BE_EMPTY) and group in values:
            if key in values[group]:
                problems.append(f"{name}: the value and its file are both given; give one")
            values[group][key] = given
    try:
        settings = model.model_validate(values)
    except ValidationError as error:
        problems += [_explain(detail) for detail in error.errors(include_input=False, include_url=False)]
    if problems:
        raise ConfigurationError("\n".join(problems))
    return settings


def _group_fields(group: str) -> Mapping[str, FieldInfo]:
    field = Settings.model_fields.get(group)
    return field.annotation.model_fields if field and field.annotation else {}


def _secrets(fields: Mapping[str, FieldInfo]) -> set[str]:
    return {name for name, field in fields.items() if "SecretStr" in str(field.annotation)}


def _read_secret(name: str, path: str, problems: list[str]) -> str:
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{name}: cannot read the file ({type(error).__name__})")
        return ""


def _explain(detail: ErrorDetails) -> str:
    if len(detail["loc"]) < 2:
        return str(detail["msg"]).removeprefix("Value error, ")
    group, key = detail["loc"][:2]
    name = f"{PREFIX}{group}__{key}".upper()
    description = _group_fields(str(group))[str(key)].description
    match detail["type"]:
        case "missing":
            return f"{name}: missing. {description}"
        case "string_pattern_mismatch":
            return f"{name}: not of this form. {description}"
    return f"{name}: {detail['msg']}. {description}"
