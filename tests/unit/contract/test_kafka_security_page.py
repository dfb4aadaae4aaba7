import re

from tests.support.paths import ROOT
from worker.adapters.kafka.acls import ROLES
from worker.settings import KafkaSettings

PAGE = ROOT / "docs" / "kafka-security.md"
USERS = {
    "worker": "playground-deployer",
    "worker that makes the topics": "playground-deployer",
    "sender": "portal",
    "reader": "portal",
    "operator": "operator",
}


def commands() -> str:
    """What grants each role its rights, as the page shows it."""
    usual = KafkaSettings(bootstrap_servers="kafka:9093")
    lines = ["```sh"]
    for role, rights in ROLES.items():
        lines.append(f"# {role}")
        lines += [f"grant User:{USERS[role]} {right.options}" for right in rights(usual)]
    return "\n".join([*lines, "```"])


def test_the_page_shows_the_rights() -> None:
    """Its commands are made of the list that the worker and its tests use; a red test prints what belongs there."""
    found = re.search(r"<!-- rights -->\n(.*?)\n?<!-- /rights -->", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    assert commands() == found[1]
