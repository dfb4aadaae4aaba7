import re
from typing import Any

import yaml

from tests.support.kubernetes_schemas import schema_problems
from tests.support.pages import KAFKA_USERS, PARTS, kafka_users
from tests.support.paths import ROOT
from worker.adapters.kafka.acls import ROLES, AclBinding, Operation, ResourceType
from worker.settings import ClientSettings, KafkaSettings, read_settings

USUAL = KafkaSettings(bootstrap_servers="kafka:9093")
_TYPES = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP, "transactionalId": ResourceType.TRANSACTIONAL_ID}


def objects() -> list[dict[str, Any]]:
    """Return the KafkaUsers that the page shows."""
    (part,) = (it for it in PARTS if it.make is kafka_users)
    return [*yaml.safe_load_all(re.sub("^```(yaml)?$", "", part.shown(), flags=re.MULTILINE))]


def test_the_users_are_granted_what_their_roles_need() -> None:
    """Each user's ACLs, read as Strimzi reads them, are exactly those of its roles."""
    for user, found in zip(KAFKA_USERS, objects(), strict=True):
        given = [
            AclBinding(
                Operation[re.sub("(?<=.)([A-Z])", r"_\1", operation).upper()],
                _TYPES[it["resource"]["type"]],
                it["resource"]["name"],
                it["resource"]["patternType"] == "prefix",
            )
            for it in found["spec"]["authorization"]["acls"]
            for operation in it["operations"]
        ]
        assert user == found["metadata"]["name"]
        assert {acl for role in KAFKA_USERS[user] for acl in ROLES[role](USUAL)} == set(given)
        assert len(given) == len(set(given))


def test_the_roles_are_those_of_the_users() -> None:
    """Every role has a user, and every user's roles exist."""
    assert {*ROLES} - {"worker that creates the topics"} == {role for roles in KAFKA_USERS.values() for role in roles}


def test_the_operators_pod_runs_the_commands() -> None:
    """The pod's variables are settings of the commands for the operator's user, and the pod needs no privileges."""
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    [shown] = re.findall(r"<!-- operator's pod -->\n```yaml\n(.*?)```", text, re.DOTALL)
    pod = yaml.safe_load(shown)
    [container] = pod["spec"]["containers"]
    environment = {it["name"]: it["value"] for it in container["env"]}
    mounted = {f"/etc/kafka/{item['path']}" for it in pod["spec"]["volumes"][0]["projected"]["sources"]
               for item in it["secret"]["items"]}  # fmt: skip
    assert mounted == {value for value in environment.values() if value.startswith("/")}
    password = environment.pop("DEPLOYER_KAFKA__SASL_PASSWORD_FILE")
    kafka = read_settings(environment | {"DEPLOYER_KAFKA__SASL_PASSWORD": password}, ClientSettings).kafka
    assert [kafka.sasl_username] == [user for user, roles in KAFKA_USERS.items() if "operator" in roles]
    assert [] == schema_problems(pod)
