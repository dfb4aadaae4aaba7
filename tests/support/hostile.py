"""A producer whose header names are not valid text, as clients in other languages can write them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.producer import message_accumulator
from aiokafka.producer import producer as producer_module
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy


class NoText(str):
    """A header name that is not UTF-8."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        return b"\xff\xfe"


BAD = [(NoText("x"), b"y"), ("other", b"z")]


@asynccontextmanager
async def careless_producer(bootstrap: str, **options: Any) -> AsyncIterator[AIOKafkaProducer]:
    """Yield a producer that does not check header names."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (producer_module, message_accumulator):
            patch.setattr(module, "DefaultRecordBatchBuilder", _DefaultRecordBatchBuilderPy)
        async with AIOKafkaProducer(bootstrap_servers=bootstrap, **options) as producer:
            yield producer
