"""The commands of a node."""

from pathlib import Path

import pytest

from worker.sandbox.kafka_node import Node


@pytest.mark.parametrize("short_lived", [True, False])
def test_only_what_lives_shortly_is_compiled_once(short_lived: bool) -> None:
    """The demo's broker has few requests to serve; those of bench and faults are the ones that are measured."""
    node = Node(Path("/folder"), Path("/java"), [], short_lived=short_lived)
    assert short_lived == ("-XX:TieredStopAtLevel=1" in node.run_command())
    assert ["kafka.Kafka", "server.properties"] == node.run_command()[-2:]
