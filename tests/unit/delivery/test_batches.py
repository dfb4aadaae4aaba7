"""Record batches: whatever a batch holds and however it is packed, each record is read or rejected by its offset."""

import gzip
import struct
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cramjam
import pytest
from aiokafka import TopicPartition
from aiokafka.codec import lz4_encode, snappy_encode, zstd_encode
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c, encode_varint

from schemas import Message
from tests.support.paths import ROOT
from worker.delivery.consumer import MAX_UNPACKED, Batches
from worker.domain.request import MAX_HEADERS, NotUnpacked

HEADERS: list[tuple[str, bytes | None]] = [("a", b"b"), ("null", None), ("", b"")]
COMMITTED = fetcher.READ_COMMITTED
CODECS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "none": (0, bytes),
    "gzip": (1, lambda data: gzip.compress(data, 1)),
    "snappy": (2, lambda data: bytes(cramjam.snappy.compress_raw(data))),
    "framed snappy": (2, snappy_encode),
    "lz4": (3, lz4_encode),
    "zstd": (4, zstd_encode),
}
PACKED = [name for name in CODECS if name != "none"]


def number(value: int) -> bytes:
    """A varint."""
    out = bytearray()
    encode_varint(value, out.append)
    return bytes(out)


def text(value: bytes | None) -> bytes:
    """A length with its bytes, or Kafka's null."""
    return number(-1) if value is None else number(len(value)) + value


def packed_record(place: int, value: bytes | None = b"v", headers: bytes | None = None, count: int = 0) -> bytes:
    """A record as it appears in a batch; `headers` holds `count` headers, already packed."""
    body = b"\0" + number(place) + number(place) + text(b"k") + text(value) + number(count) + (headers or b"")
    return number(len(body)) + body


def batch(
    records: Sequence[bytes], codec: str = "none", pack: Callable[[bytes], bytes] | None = None, offset: int = 10
) -> bytes:
    """A batch at this offset as a broker returns it; `pack` replaces the codec's own compression."""
    attributes, encode = CODECS[codec]
    last = len(records) - 1
    head = struct.pack(">hiqqqhii", attributes, last, 1000, 1000 + last, -1, -1, -1, len(records))
    rest = head + (pack or encode)(b"".join(records))
    return struct.pack(">qiibI", offset, 9 + len(rest), 0, 2, calc_crc32c(rest)) + rest


def read(*batches: bytes, start: int = 10) -> list[Any]:
    """Return what a consumer receives of these batches, from this offset on."""
    tp = TopicPartition("t", 0)
    return [
        *fetcher.PartitionRecords(tp, Batches(b"".join(batches)), [], start, None, None, True, fetcher.READ_COMMITTED)
    ]


def seen(records: Sequence[Any]) -> list[tuple[int, object]]:
    """Return each record's offset and value, or the reason why it was not unpacked."""
    return [(it.offset, it.value.decode() if isinstance(it.value, NotUnpacked) else it.value) for it in records]


READERS = sorted(path for path in (ROOT / "worker").rglob("*.py") if "AIOKafkaConsumer(" in path.read_text("utf-8"))


@pytest.mark.parametrize("path", READERS, ids=lambda path: path.stem)
def test_consumers_read_through_it(path: Path) -> None:
    """Every module that opens a consumer reads through `Batches`, even without a worker in the process."""
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    script = f"import {module}; from aiokafka.consumer import fetcher; print(fetcher.MemoryRecords.__module__)"
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert Batches.__module__ == ran.stdout.strip()


@pytest.mark.parametrize("codec", CODECS)
def test_records_are_read_as_they_were_sent(codec: str) -> None:
    """Every codec gives back key, value, headers, offset and time, even from the middle of a batch."""
    kind = {"framed snappy": 2}.get(codec, CODECS[codec][0])
    builder = DefaultRecordBatchBuilder(2, kind, False, -1, -1, -1, 1 << 20)
    for place in range(3):
        assert builder.append(place, 1000 + place, b"k%d" % place, None if place == 1 else b"v" * 100, HEADERS)
    records = read(bytes(builder.build()), start=1)
    assert [(1, 1001, b"k1", None, tuple(HEADERS)), (2, 1002, b"k2", b"v" * 100, tuple(HEADERS))] == [
        (it.offset, it.timestamp, it.key, it.value, it.headers) for it in records
    ]


@pytest.mark.parametrize("codec", CODECS)
def test_a_header_name_that_is_no_text_stops_nobody(codec: str) -> None:
    """A record with a header name that is not text is read, and the records around it are read once."""
    ill = packed_record(1, headers=text(b"\xff\xfe") + text(b"y"), count=1)
    records = read(batch([packed_record(0), ill, packed_record(2)], codec))
    assert [(10, b"v"), (11, b"v"), (12, b"v")] == seen(records)
    assert (("\ufffd\ufffd", b"y"),) == records[1].headers


@pytest.mark.parametrize("codec", PACKED)
def test_a_batch_that_is_too_large_unpacked_is_refused_by_its_places(codec: str) -> None:
    """Batches of 40 times 480,000 headers or 30 MB are rejected in milliseconds and little memory; the next is read."""
    many = packed_record(0, headers=(text(b"") + text(None)) * 480_000, count=480_000)
    bombs = batch([many] * 40, codec), batch([packed_record(0, b" " * 30_000_000)], codec)
    for bomb, count in zip(bombs, (40, 1), strict=True):
        began = time.perf_counter()
        read(bomb)
        assert time.perf_counter() - began < 0.05
        tracemalloc.start()  # which is slow
        records = read(bomb)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 3 * len(bomb) + 4 * MAX_UNPACKED
        assert [10 + place for place in range(count)] == [it.offset for it in records]
        assert all(isinstance(it.value, NotUnpacked) and f"{MAX_UNPACKED}" in it.value.decode() for it in records)
        assert (50, b"v") == seen(read(bomb, batch([packed_record(0)], codec, offset=50)))[-1]


@pytest.mark.parametrize("codec", PACKED)
def test_a_batch_may_be_as_large_as_the_bound(codec: str) -> None:
    """A batch of largest records may reach the bound exactly, and one more byte is rejected."""
    fill = [packed_record(place, b"x" * (Message.MAX_BYTES - 40)) for place in range(4)]
    left = MAX_UNPACKED - sum(map(len, fill))
    last = packed_record(4, b"x" * (left - 10))
    last = packed_record(4, b"x" * (left - 10 + left - len(last)))
    assert MAX_UNPACKED == sum(map(len, [*fill, last]))
    whole = read(batch([*fill, last], codec))
    assert [False] * 5 == [isinstance(it.value, NotUnpacked) for it in whole]
    more = packed_record(4, b"x" * (left - 10 + left - len(last) + 1))
    refused = read(batch([*fill, more], codec))
    assert [True] * 5 == [isinstance(it.value, NotUnpacked) for it in refused]


@pytest.mark.parametrize("codec", PACKED)
def test_a_record_that_is_too_large_is_refused_alone(codec: str) -> None:
    """A record with too many bytes or headers is rejected alone, and its neighbours are read."""
    large = packed_record(1, b"x" * Message.MAX_BYTES)
    headers = packed_record(2, headers=(text(b"h") + text(b"")) * (MAX_HEADERS + 1), count=MAX_HEADERS + 1)
    most = packed_record(3, headers=(text(b"h") + text(b"")) * MAX_HEADERS, count=MAX_HEADERS)
    assert [
        (10, b"v"),
        (11, f"it has more than {Message.MAX_BYTES} bytes"),
        (12, f"it has more than {MAX_HEADERS} headers"),
        (13, b"v"),
    ] == seen(read(batch([packed_record(0), large, headers, most], codec)))


@pytest.mark.parametrize("codec", PACKED)
@pytest.mark.parametrize(
    "broken", [b"", b"\0", b"garbage" * 20, b"\x82SNAPPY\x00" + b"\0" * 8, b"\x82SNAPPY\x00" + b"\xff" * 20]
)
def test_a_batch_that_cannot_be_unpacked_is_refused_by_its_places(codec: str, broken: bytes) -> None:
    """A batch that cannot be unpacked, which brokers never let through, is rejected and the next batch is read."""
    records = read(batch([b"", b""], codec, lambda _: broken), batch([packed_record(0)], offset=12))
    assert [(10, True), (11, True), (12, False)] == [(it.offset, isinstance(it.value, NotUnpacked)) for it in records]


@pytest.mark.parametrize("cut", range(1, 9))
def test_records_that_end_too_early_are_refused(cut: int) -> None:
    """A truncated record is rejected, and the whole record before it is read."""
    whole = packed_record(0)
    cut_off = packed_record(1, headers=text(b"h") + text(b"y" * 4), count=1)[:-cut]
    records = read(batch([whole, cut_off], "gzip"))
    assert (10, b"v") == seen(records)[0]
    assert isinstance(records[1].value, NotUnpacked)
