"""Generated protobufs: files that protoc loads are read, and files that protoc refuses are refused.

PROPERTIES=50000 generates 50,000 files instead of 5,000; see tests/support/generated.py for PROPERTIES_SEED.
"""

import os
from random import Random

import pytest

from tests.component.properties.protobufs import Generator, broken
from tests.support.compiler import open_compiler
from tests.support.corpus import record, say
from tests.support.generated import SEED
from worker.domain.bundle.protobuf import ProtobufError, read_protobuf

WANTED = int(os.environ.get("PROPERTIES") or 5000)
ROUNDS = 5  # spread over processes

# Of every four files, this number is broken; some stay valid all the same.
BROKEN = 2


def refusal(data: bytes) -> str | None:
    """Return the reason for the refusal, if any."""
    try:
        read_protobuf(data)
    except ProtobufError as error:
        return f"line {error.line}: {error}"
    return None


def ends_protoc(data: bytes) -> bool:
    """Return whether protoc might crash this process: at an option of the file's own that is not UTF-8."""
    return b"\xff" in data or b"\\xff" in data


@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(ROUNDS))
def test_the_verdicts_are_those_of_the_compiler(part: int) -> None:
    """Our verdict equals protoc's on the same bytes, also for faults that were not anticipated."""
    wrong, loaded, skipped = [], 0, 0
    count = WANTED // ROUNDS
    with open_compiler() as protoc:
        for number in range(count):
            random = Random(f"{SEED} {part} {number}")
            text = Generator(random).file()
            data = (broken(text, random) if number % 4 < BROKEN else text).encode()
            if ends_protoc(data):
                skipped += 1
                continue
            descriptor, said = protoc.compile(data)
            ours = refusal(data)
            loaded += descriptor is not None
            if (ours is None) != (descriptor is not None):
                wrong.append((data, said, ours))
    name = f"generated protobufs against protoc, {part + 1} of {ROUNDS}, seed {SEED}"
    record(f"{name}, {skipped} not judged", count, len(wrong))
    for data, theirs, ours in wrong:
        say(f"protoc: {theirs.strip()[-200:] or 'loads it'}; ours: {ours or 'loads it'}: {data!r}")
    assert not wrong, f"{len(wrong)} disagreements, printed at the end of the run"
    assert count / 8 < loaded < count * 7 / 8  # otherwise they would prove little
