"""The producer of a partition, as far as no broker is needed."""

from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import ConcurrentTransactions
from aiokafka.producer.sender import AddPartitionsToTxnHandler

from worker.adapters.kafka.partition_store import NEXT_TRANSACTION_SECONDS


def test_the_next_transaction_follows_within_milliseconds() -> None:
    """While Kafka still writes the last one's markers, aiokafka asks again soon: in its versions to come, too."""
    sender: Any = SimpleNamespace(_txn_manager=SimpleNamespace(txn_partitions=set()), _retry_backoff=0.1)
    refused: Any = SimpleNamespace(errors=[("status", [(0, ConcurrentTransactions.errno)])])
    pause = AddPartitionsToTxnHandler(sender, {TopicPartition("status", 0)}).handle_response(refused)
    assert NEXT_TRANSACTION_SECONDS == pause
