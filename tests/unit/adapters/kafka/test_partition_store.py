"""A partition's producer, as far as it needs no broker."""

from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import ConcurrentTransactions
from aiokafka.producer.sender import AddPartitionsToTxnHandler

from worker.adapters.kafka.partition_store import NEXT_TRANSACTION_SECONDS


def test_the_next_transaction_follows_within_milliseconds() -> None:
    """aiokafka retries soon while Kafka writes the last transaction's markers, in future versions as well."""
    sender: Any = SimpleNamespace(_txn_manager=SimpleNamespace(txn_partitions=set()), _retry_backoff=0.1)
    refused: Any = SimpleNamespace(errors=[("status", [(0, ConcurrentTransactions.errno)])])
    pause = AddPartitionsToTxnHandler(sender, {TopicPartition("status", 0)}).handle_response(refused)
    assert NEXT_TRANSACTION_SECONDS == pause
