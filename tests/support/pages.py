"""The generated parts of the documentation pages: `make pages` writes them and the pictures; a test keeps them fresh.

Each part is between two marks with its name, `<!-- name -->` and `<!-- /name -->`.
"""

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from schemas import FINAL_STATES, SUCCESSORS, State
from schemas.export import EVENTS, EXAMPLES
from tests.extended.bench import results
from tests.support import hundred, pictures
from tests.support.paths import ROOT
from worker.adapters.kafka.acls import ROLES, AclBinding, ResourceType
from worker.errors import (
    FAILED,
    REJECTED,
    REJECTED_FOR_NOW,
    UNAVAILABLE,
    Failed,
    Rejected,
    TooManyRequests,
    Unavailable,
)
from worker.gateway import metrics as gateway
from worker.settings import PREFIX, GatewayProcessSettings, KafkaSettings, Settings

DOCS = ROOT / "docs"

# The roles of each Kafka user: a portal that sends and reads directly is both a sender and a reader.
KAFKA_USERS = {
    "playground-deployer": ["worker"],
    "playground-gateway": ["gateway", "gateway that notifies"],
    "portal": ["sender"],
    "status-reader": ["reader"],
    "operator": ["operator"],
}
_STRIMZI_TYPES = {
    ResourceType.TOPIC: "topic", ResourceType.GROUP: "group", ResourceType.TRANSACTIONAL_ID: "transactionalId"
}  # fmt: skip
_USUAL = KafkaSettings(bootstrap_servers="kafka:9093")


class Part(NamedTuple):
    """One generated part of one page."""

    page: Path
    name: str
    make: Callable[[], str]

    def shown(self) -> str:
        """Return the text between the marks on the page. Raises ValueError if there are no such marks, or several."""
        return self._split()[1]

    def write(self) -> None:
        """Write the generated text between the marks."""
        before, _, after = self._split()
        self.page.write_text(f"{before}{self.make()}\n{after}", encoding="utf-8")

    def _split(self) -> tuple[str, str, str]:
        opening, closing = f"<!-- {self.name} -->\n", f"<!-- /{self.name} -->\n"
        pieces = re.split(f"({opening}|{closing})", self.page.read_text(encoding="utf-8"))
        if [opening, closing] != pieces[1::2]:
            raise ValueError(f"{self.page.name}: it needs both marks of '{self.name}', once each and in order")
        return pieces[0] + opening, pieces[2].removesuffix("\n"), closing + pieces[4]


def settings() -> str:
    """Return the table of all settings."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for group, field in (Settings.model_fields | GatewayProcessSettings.model_fields).items():
        assert isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        for name, setting in field.annotation.model_fields.items():
            variable = f"{PREFIX}{group}__{name}".upper()
            rows.append(f"| `{variable}` | {_default(setting.default)} | {setting.description} |")
    return "\n".join(rows)


def _default(default: Any) -> str:
    if default is PydanticUndefined:
        return "**required**"
    if default is None or default == "":
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def error_codes() -> str:
    """Return the table of all error codes."""
    rows = [
        f"| `{code}` | `{family.state}` | {'yes' if family.retryable else 'no'} | {sentence} |"
        for family, codes in (
            (Rejected, REJECTED),
            (TooManyRequests, REJECTED_FOR_NOW),
            (Unavailable, UNAVAILABLE),
            (Failed, FAILED),
        )
        for code, sentence in codes.items()
    ]
    return "\n".join(["| code | ends in | retryable | what it means, what to do |", "|---|---|---|---|", *rows])


def example(name: str) -> str:
    """Return the example of an event: `schemas/examples/<name>.json`."""
    return f"```json\n{(EXAMPLES / f'{name}.json').read_text(encoding='utf-8')}```"


def state_diagram() -> str:
    """Return the states and their permitted successors, as a Mermaid diagram."""
    lines = ["```mermaid", "stateDiagram-v2"]
    for state in (None, *State):
        followers = [follower for follower in State if follower in SUCCESSORS[state]]
        lines += [f"    {state or '[*]'} --> {follower}" for follower in followers]
    final = [state for state in State if state in FINAL_STATES]
    lines += [f"    {state} --> [*]" for state in final]
    lines += ["    classDef final stroke-width:3px,font-weight:bold", f"    class {','.join(final)} final", "```"]
    return "\n".join(lines)


def faults() -> str:
    """Return the results of the fault suite's full run. Figures that are 0 are left out."""
    rows = ["| row | fault | kept | figures | seed |", "|---|---|---|---|---|"]
    runs = json.loads((DOCS / "faults.json").read_text(encoding="utf-8"))
    for name, it in sorted(runs.items(), key=lambda row: (int(re.sub(r"\D", "", row[0])), row[0])):
        figures = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in it["figures"].items() if value != 0)
        rows.append(f"| {name} | {it['fault']} | {'yes' if it['kept'] else '**no**'} | {figures} | {it['seed']} |")
    return "\n".join(rows)


def performance() -> str:
    """Return the figures of the last `make bench` that was kept: `docs/performance.json`."""
    return results.table(results.read(DOCS / "performance.json"))


def scale() -> str:
    """Return the figures of the last `make bench-scale` that was kept: `docs/scale.json`."""
    return results.matrix(results.read(DOCS / "scale.json"))


def hundred_workers() -> str:
    """Return the figures scaled to a hundred workers."""
    return hundred.table(pictures.read_figures())


def acls() -> str:
    """Return the commands that grant each role its ACLs, from the list that the worker, the gateway and tests use."""
    users = {role: user for user, roles in KAFKA_USERS.items() for role in roles}
    lines = ["```sh"]
    for role, needed in ROLES.items():
        user = users.get(role, users["worker"])
        lines.append(f"# {role}")
        lines += [f"grant User:{user} {acl.options}" for acl in needed(_USUAL)]
    return "\n".join([*lines, "```"])


def kafka_users() -> str:
    """Return Strimzi's objects for the same users."""
    documents = []
    for user, roles in KAFKA_USERS.items():
        granted: dict[tuple[str, str, str], list[str]] = {}
        for acl in dict.fromkeys(acl for role in roles for acl in ROLES[role](_USUAL)):
            granted.setdefault(_strimzi_resource(acl), []).append(acl.operation.title)
        lines = [
            "apiVersion: kafka.strimzi.io/v1beta2",
            "kind: KafkaUser",
            f"metadata: {{name: {user}, namespace: kafka, labels: {{strimzi.io/cluster: main}}}}",
            "spec:",
            "  authentication: {type: scram-sha-512}",
            "  authorization:",
            "    type: simple",
            "    acls:",
        ]
        for (kind, name, pattern), operations in granted.items():
            resource = {"resource": {"type": kind, "name": name, "patternType": pattern}, "operations": operations}
            lines.append(
                f"      - {yaml.safe_dump(resource, default_flow_style=True, sort_keys=False, width=1000).strip()}"
            )
        documents.append("\n".join(lines))
    return "```yaml\n" + "\n---\n".join(documents) + "\n```"


def _strimzi_resource(acl: AclBinding) -> tuple[str, str, str]:
    return _STRIMZI_TYPES[acl.resource_type], acl.name, "prefix" if acl.prefixed else "literal"


def gateway_metrics() -> str:
    """Return the table of the gateway's metrics. All are in one module: it has no state to compute them from."""
    rows = ["| metric | labels | kind | meaning |", "|---|---|---|---|"]
    for it in vars(gateway).values():
        if isinstance(it, MetricWrapperBase):
            (family,) = it.describe()
            name = f"{family.name}_total" if family.type == "counter" else family.name
            rows.append(f"| `{name}` | {', '.join(it._labelnames)} | {family.type} | {family.documentation} |")
    return "\n".join(rows)


PARTS = (
    Part(DOCS / "settings.md", "settings", settings),
    *(Part(DOCS / "contract.md", f"example: {name}", partial(example, name)) for name in EVENTS),
    Part(DOCS / "contract.md", "error codes", error_codes),
    Part(DOCS / "states.md", "states", state_diagram),
    Part(DOCS / "guarantees.md", "faults", faults),
    Part(DOCS / "performance.md", "performance", performance),
    Part(DOCS / "performance.md", "scale", scale),
    Part(DOCS / "performance.md", "hundred workers", hundred_workers),
    Part(DOCS / "kafka-security.md", "acls", acls),
    Part(DOCS / "kafka-security.md", "kafka users", kafka_users),
    Part(DOCS / "operating.md", "gateway metrics", gateway_metrics),
)

if __name__ == "__main__":
    for part in PARTS:
        part.write()
    figures = pictures.read_figures()
    for picture in pictures.PICTURES:
        picture.path.write_text(picture.draw(figures), encoding="utf-8")
