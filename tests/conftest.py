"""Fixtures of all tests, and the report on which Apache Kafka they ran."""

import os
from collections.abc import Iterator

import hypothesis
import pytest

from tests.support import corpus
from tests.support.broker import Broker, Topics, open_broker, unique_name

# A machine that is busy with something else must not turn a property red.
hypothesis.settings.register_profile(
    "unhurried", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("unhurried")

_BROKER = pytest.StashKey[Broker]()
_TESTS = pytest.StashKey[int]()


@pytest.fixture(scope="session")
def kafka(pytestconfig: pytest.Config) -> Iterator[str]:
    """Bootstrap address of an Apache Kafka. It starts with the first test that asks for it."""
    with open_broker() as broker:
        pytestconfig.stash[_BROKER] = broker
        yield broker.bootstrap_servers


@pytest.fixture
def unique() -> str:
    """A name that no other test uses: for topics, groups, transactional ids."""
    return unique_name()


@pytest.fixture
def topics(kafka: str, unique: str) -> Topics:
    """Makes topics under names that no other test uses."""
    return Topics(kafka, unique)


def pytest_runtest_call(item: pytest.Item) -> None:
    """Reached only when the fixtures could be set up."""
    if "kafka" in getattr(item, "fixturenames", ()):
        item.config.stash[_TESTS] = item.config.stash.get(_TESTS, 0) + 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A run that should prove something on a broker fails when nothing ran on one."""
    if _kafka_was_missed(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """How large the corpora were, and how many tests ran on which broker."""
    for line in corpus.LINES:
        terminalreporter.write_line(line)
    if broker := config.stash.get(_BROKER, None):
        count = config.stash.get(_TESTS, 0)
        terminalreporter.write_line(f"Apache Kafka: {count} tests on {broker.kind} at {broker.bootstrap_servers}")
    if _kafka_was_missed(config):
        terminalreporter.write_line("Apache Kafka: no test ran on it, and REQUIRE_KAFKA=1 wants some to", red=True)


def _kafka_was_missed(config: pytest.Config) -> bool:
    wanted = os.environ.get("REQUIRE_KAFKA") == "1" and not config.option.collectonly
    return wanted and not config.stash.get(_TESTS, 0)
