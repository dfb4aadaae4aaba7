"""The schemas of tests/data/schemas: the oldest, a middle and the newest Kubernetes version."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from jsonschema_rs import Draft202012Validator

from tests.support.paths import DATA

FOLDER = DATA / "schemas"


def _validators() -> Iterator[tuple[str, dict[str, Draft202012Validator]]]:
    for path in sorted(FOLDER.glob("kubernetes-*.json")):
        schema = json.loads(path.read_text(encoding="utf-8"))
        names = [kind for kind in schema["$defs"] if not kind.startswith("io.")]
        kinds = {kind: Draft202012Validator(schema | {"$ref": f"#/$defs/{kind}"}) for kind in names}
        yield path.stem.removeprefix("kubernetes-"), kinds


VALIDATORS = dict(_validators())


def schema_problems(manifest: Any, versions: Iterable[str] = VALIDATORS) -> list[str]:
    """Return each version's schema errors for a manifest."""
    return [
        f"{version}: {fault.message}"
        for version in versions
        for kinds in [VALIDATORS[version]]
        if not kinds[manifest["kind"]].is_valid(manifest)
        for fault in kinds[manifest["kind"]].iter_errors(manifest)
    ]
