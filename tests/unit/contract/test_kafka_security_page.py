import re
from typing import Any

import yaml

from tests.support.pages import KAFKA_USERS, PARTS, kafka_users
from worker.adapters.kafka.acls import ROLES, AclBinding, Operation, ResourceType
from worker.settings import KafkaSettings

USUAL = KafkaSettings(bootstrap_servers="kafka:9093")
_TYPES = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP, "transactionalId": ResourceType.TRANSACTIONAL_ID}


def objects() -> list[dict[str, Any]]:
    """Return the KafkaUsers that the page shows."""
    (part,) = (it for it in PARTS if it.make is kafka_users)
    return [*yaml.safe_load_all(re.sub("^```(yaml)?$", "", part.shown(), flags=re.MULTILINE))]


def test_the_users_are_granted_what_their_roles_need() -> None:
    """Read as Strimzi reads them: each user's ACLs are those of its roles, nothing more."""
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
    """No role is without a user, and no user has a role that there is not."""
    assert {*ROLES} - {"worker that creates the topics"} == {role for roles in KAFKA_USERS.values() for role in roles}
