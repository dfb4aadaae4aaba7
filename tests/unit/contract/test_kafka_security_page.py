import re

from tests.support.paths import ROOT
from worker.adapters.kafka.acls import ROLES
from worker.settings import KafkaSettings

PAGE = ROOT / "docs" / "kafka-security.md"
USERS = {
    "worker": "playground-deployer",
    "worker that creates the topics": "playground-deployer",
    "sender": "portal",
    "reader": "portal",
    "operator": "operator",
}


def commands() -> str:
    """Return the commands that grant each role its ACLs, as the page shows them."""
    usual = KafkaSettings(bootstrap_servers="kafka:9093")
    lines = ["```sh"]
    for role, acls in ROLES.items():
        lines.append(f"# {role}")
        lines += [f"grant User:{USERS[role]} {acl.options}" for acl in acls(usual)]
    return "\n".join([*lines, "```"])


def test_the_page_shows_the_acls() -> None:
    """Its commands are made of the list that the worker and its tests use; a red test prints what belongs there."""
    found = re.search(r"<!-- acls -->\n(.*?)\n?<!-- /acls -->", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    assert commands() == found[1]
