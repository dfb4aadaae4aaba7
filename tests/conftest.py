"""Fixtures for all tests, and the report of a run: the corpora, and the Apache Kafka brokers that tests ran on."""

import asyncio
import os
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, cast

import hypothesis
import pytest

from tests.support import corpus
from tests.support.broker import Broker, open_broker
from tests.support.shared import shared, shared_folder
from tests.support.topics import Topics, unique_name
from worker.concurrency import new_event_loop

# A busy machine must not make a property test fail.
hypothesis.settings.register_profile(
    "unhurried", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("unhurried")

_BROKER = pytest.StashKey[Broker]()


@pytest.fixture(scope="session")
def short_lived() -> bool:
    """Whether an embedded Kafka starts fast rather than bears load; tests that load it override this."""
    return True


@pytest.fixture(scope="session")
def kafka(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory, short_lived: bool) -> Iterator[str]:
    """Bootstrap address of an Apache Kafka for all processes of the run; the first test that needs it starts it."""

    @contextmanager
    def started() -> Iterator[dict[str, Any]]:
        with open_broker(short_lived=short_lived) as broker:
            yield asdict(broker)

    with shared(shared_folder(pytestconfig, tmp_path_factory) / "kafka.json", started) as found:
        broker = pytestconfig.stash[_BROKER] = Broker(**found)
        yield broker.bootstrap_servers


@pytest.fixture
def unique() -> str:
    """A name that no other test uses, for topics, groups and transactional ids."""
    return unique_name()


@pytest.fixture
def topics(kafka: str, unique: str) -> Topics:
    """A factory of topics under names that no other test uses."""
    return Topics(kafka, unique)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach to the report what its test recorded, and the broker it ran on."""
    report = yield
    report.user_properties += [("note", note) for note in corpus.taken()]
    if call.when == "call" and "kafka" in getattr(item, "fixturenames", ()):
        broker = item.config.stash[_BROKER]
        report.user_properties.append(("kafka", f"{broker.kind} at {broker.bootstrap_servers}"))
    return report


class RunReport:
    """What the tests of all processes recorded; the process with a terminal prints it."""

    def __init__(self) -> None:
        self.brokers = Counter[str]()
        self.notes: dict[str, tuple[int, int] | None] = {}  # a corpus with its size and number of errors, or a line

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect the report; those of other processes arrive here as well."""
        for kind, value in report.user_properties:
            if kind == "kafka":
                self.brokers[str(value)] += 1
            elif kind == "note":
                name, size, wrong = cast("corpus.Note", value)
                sizes = self.notes.get(name) or (0, 0)
                self.notes[name] = None if size is None else (sizes[0] + size, sizes[1] + wrong)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a run that should prove something on a broker if no test ran on a broker."""
        if self._kafka_was_missed(session.config) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
        """Print the sizes of the corpora, and the number of tests on each broker."""
        for name, sizes in self.notes.items():
            terminalreporter.write_line(f"{name}: {sizes[0]} cases, {sizes[1]} wrong" if sizes else name)
        for broker, count in self.brokers.items():
            terminalreporter.write_line(f"Apache Kafka: {count} tests on {broker}")
        if self._kafka_was_missed(config):
            terminalreporter.write_line("Apache Kafka: no test ran on it, and REQUIRE_KAFKA=1 wants some to", red=True)

    def _kafka_was_missed(self, config: pytest.Config) -> bool:
        wanted = os.environ.get("REQUIRE_KAFKA") == "1" and not config.option.collectonly
        return wanted and not self.brokers


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run every test on the event loop that the worker runs on."""
    return {"loop": _loop_that_closes}


def _loop_that_closes() -> asyncio.AbstractEventLoop:
    """Make a loop whose `close` closes what is still open; uvloop would wait without end for what it cannot warn about.

    A Kafka client that does not stop within STOP_SECONDS, as on a busy machine, leaves that to the end of the process.
    """
    loop = new_event_loop()
    close = loop.close

    def close_without_warnings() -> None:
        with warnings.catch_warnings(action="ignore", category=ResourceWarning):
            close()

    loop.close = close_without_warnings  # type: ignore[method-assign]
    return loop


def pytest_xdist_auto_num_workers() -> int:
    """Start one process more than there are cores, because some tests mostly wait for Kafka's clocks."""
    return (os.cpu_count() or 1) + 1


def pytest_configure(config: pytest.Config) -> None:
    """Register the report in one process: this one, unless it runs tests for another."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(RunReport())
