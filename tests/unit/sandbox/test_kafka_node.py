"""The commands of a Kafka node."""

from pathlib import Path

import pytest

from worker.sandbox.kafka_node import Node


@pytest.mark.parametrize("short_lived", [True, False])
def test_only_a_short_lived_broker_skips_the_second_compilation(short_lived: bool) -> None:
    """Only a short-lived broker skips the second compiler.

    The demo and most tests send few requests; bench and faults keep the thorough compiler.
    """
    node = Node(Path("/folder"), Path("/java"), [], short_lived=short_lived)
    assert short_lived == ("-XX:TieredStopAtLevel=1" in node.run_command())
    assert ["kafka.Kafka", "server.properties"] == node.run_command()[-2:]
