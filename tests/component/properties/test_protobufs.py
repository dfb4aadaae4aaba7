"""Generated protobufs: what protoc loads is read, and what it refuses is refused.

PROPERTIES=50000 makes so many instead of 5,000; see tests/support/generated.py for PROPERTIES_SEED.
"""

import os
from random import Random

import pytest

from tests.component.properties.protobufs import Generator, broken
from tests.support.compiler import open_compiler
from tests.support.corpus import record
from tests.support.generated import SEED
from worker.domain.bundle.protobuf import PROTO3, ProtobufError, read_protobuf

WANTED = int(os.environ.get("PROPERTIES") or 5000)
ROUNDS = 5  # spread over processes

# Of each four, so many are broken; some stay right all the same.
BROKEN = 3


def verdict(text: str) -> str | None:
    """Why it is refused; None: it is read, and has been judged."""
    try:
        syntax = read_protobuf(text.encode()).syntax
    except ProtobufError as error:
        return f"line {error.line}: {error}"
    return None if syntax == PROTO3 else "not judged"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(ROUNDS))
def test_the_verdicts_are_those_of_the_compiler(part: int) -> None:
    """What breaks such a file in a way that nobody thought of is found, too."""
    wrong, loaded = [], 0
    count = WANTED // ROUNDS
    with open_compiler() as protoc:
        for number in range(count):
            random = Random(f"{SEED} {part} {number}")
            text = Generator(random).file()
            if number % 4 < BROKEN:
                text = broken(text, random)
            descriptor, said = protoc.compile(text)
            ours = verdict(text)
            loaded += descriptor is not None
            if ours != "not judged" and (ours is None) != (descriptor is not None):
                wrong.append((text, said, ours))
    record(f"generated protobufs against protoc, {part + 1} of {ROUNDS}, seed {SEED}", count, len(wrong))
    assert [] == wrong
    assert count / 8 < loaded < count * 7 / 8  # else they would show nothing
