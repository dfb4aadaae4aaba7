import os
import subprocess
import sys

import pytest

from tests.support.broker import Broker, open_broker
from tests.support.paths import ROOT


def test_a_broker_that_is_given_is_used() -> None:
    """A given broker is used; nothing is started, and nothing else is searched for."""
    with open_broker({"KAFKA_BOOTSTRAP": "kafka:9092"}) as broker:
        assert Broker("KAFKA_BOOTSTRAP", "kafka:9092") == broker


@pytest.mark.parametrize(
    ("required", "expected", "last"),
    [("1", 1, "Apache Kafka: no test ran on it, and REQUIRE_KAFKA=1 wants some to"), ("", 0, "1 passed")],
)
def test_a_run_without_a_broker_fails_where_one_is_required(required: str, expected: int, last: str) -> None:
    """A run without a required broker fails; otherwise CI could stay green for years without an integration test."""
    one = "tests/unit/support/test_broker.py::test_a_broker_that_is_given_is_used"
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", one],
        cwd=ROOT,
        env={**os.environ, "REQUIRE_KAFKA": required},
        capture_output=True,
        text=True,
        check=False,
    )
    assert expected == run.returncode
    assert last in run.stdout
