"""A request as the gateway remembers it: its last status and its steps, in few bytes once it is final."""

import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from struct import Struct

from pydantic_core import from_json

from schemas import FINAL_STATES, DeploymentStatus, State, fingerprint

Key = tuple[int, str]
"""Partition and request id, because two users may choose the same id."""

OVERHEAD = 400  # bytes of a request's key and of its places in the indexes
OPEN_OVERHEAD = 300  # further bytes of a request that is not final: its fields are objects
MAX_NUMBER, MAX_OFFSET = 2**31, 2**62  # larger numbers are not from a worker
MAX_TIME_MS = 253_402_300_800_000  # the end of the year 9999

_STATES = tuple(State)
_NUMBERS = {state: number for number, state in enumerate(_STATES)}
_STEP = Struct("<BHQ")  # number of the state, attempt, unix milliseconds
# Number of the state, flags, offset, time, sequence, attempt, number of steps, ids, fingerprint. Steps and JSON follow.
_RECORD = Struct("<BBQQIII32s32s")
_COMPLETE, _HAS_IDS, _HAS_FINGERPRINT = 1, 2, 4
# Text that statuses have in common, as a dictionary for zlib. It packs a final status to about a quarter of its size.
_COMMON = (
    b'"rejected","failed","stage":"plan","retryable":false},"error":{"code":"","message":"solutionName":"","warnings":['
    b"Node '' is called : names in Kubernetes have lower-case letters, digits and hyphens."
    b'"kind":"pipeline","single-model","message":"Deployed as ","bundle":{"sha256":"","size":,"nodes":["orchestrator"]'
    b'},"deployment":{"id":"","url":"https:///dashboard?selected_deployment_id="},"replayOf":"","fingerprint":"\4",'
    b'"source":{"topic":"playground.deployment.requests","partition":1,"offset":10}}{"requestId":"\1","sequence":3,'
    b'"state":"deployed","time":"2026-11-29T12:00:00.000Z","attempt":1,"solutionId":"\2","revisionId":"\3"'
)


@dataclass(frozen=True, slots=True)
class Step:
    """The kept part of one status of a request."""

    state: State
    attempt: int
    time: datetime


@dataclass(slots=True, eq=False)
class Entry:
    """A request: its last status and its steps."""

    key: Key
    offset: int  # of the request's record
    sequence: int
    state: State
    attempt: int
    time_ms: int  # unix milliseconds of the last status
    packed_asked: bytes | None  # ids of solution and revision
    packed_fingerprint: bytes | None
    packed_json: bytes  # of the last status; uncompressed until the status is final
    packed_steps: bytes
    is_complete: bool  # False: earlier steps are missing

    @property
    def request_id(self) -> str:
        """The request's id."""
        return self.key[1]

    @property
    def is_final(self) -> bool:
        """Whether the state is final."""
        return self.state in FINAL_STATES

    @property
    def is_open(self) -> bool:
        """Whether a worker has to act on the request: it is neither final nor parked."""
        return not self.is_final and self.state is not State.PARKED

    @property
    def size(self) -> int:
        """The approximate number of bytes in memory."""
        own = OVERHEAD + _RECORD.size + len(self.packed_json) + len(self.packed_steps)
        return own if self.is_final else own + OPEN_OVERHEAD

    @property
    def json(self) -> bytes:
        """The last status as it was published."""
        if not self.is_final:
            return self.packed_json
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS, _COMMON)
        value = unpacker.decompress(self.packed_json)
        for mark, text in reversed(_hidden(self.key, self.packed_asked, self.packed_fingerprint)):
            value = value.replace(mark, text)
        return value

    @property
    def fingerprint(self) -> str | None:
        """The fingerprint of user, solution and revision; None when the token was not verified."""
        return self.packed_fingerprint.hex() if self.packed_fingerprint else None

    @property
    def asked(self) -> tuple[str, str] | None:
        """The ids of solution and revision."""
        return ids(self.packed_asked) if self.packed_asked else None

    @property
    def status(self) -> DeploymentStatus:
        """The last status. Raises ValidationError for a value that no worker writes."""
        return DeploymentStatus.model_validate_json(self.json, extra="ignore")

    @property
    def steps(self) -> list[Step]:
        """All known statuses, in order."""
        return [
            Step(_STATES[state], attempt, datetime.fromtimestamp(time_ms / 1000, UTC))
            for state, attempt, time_ms in _STEP.iter_unpack(self.packed_steps)
        ]

    @property
    def owner(self) -> tuple[bytes | None, bytes | None]:
        """What shows whose request it is: ids and fingerprint."""
        return self.packed_asked, self.packed_fingerprint

    @property
    def began_ms(self) -> int:
        """Unix milliseconds of the first known status."""
        return int(_STEP.unpack_from(self.packed_steps)[2])

    def belongs_to(self, user_id: str) -> bool:
        """Return whether this user sent the request. The fingerprint shows this without a list of users."""
        return self.packed_asked is not None and self.packed_fingerprint == _fingerprint(user_id, self.packed_asked)

    def add(self, state: State, attempt: int, time_ms: int, value: bytes) -> None:
        """Apply the next status, published as `value`."""
        self.sequence += 1
        self.state, self.attempt, self.time_ms = state, attempt, time_ms
        self.packed_json = value
        self.packed_steps += _step(state, attempt, time_ms)
        if self.is_final:
            self.packed_json = _packed(value, self.key, self.packed_asked, self.packed_fingerprint)

    def pack(self) -> bytes:
        """Return the fields of a final request in one value, which takes a third of their memory."""
        asked, of = self.packed_asked, self.packed_fingerprint
        flags = self.is_complete * _COMPLETE | bool(asked) * _HAS_IDS | bool(of) * _HAS_FINGERPRINT
        steps = len(self.packed_steps) // _STEP.size
        numbers = self.offset, self.time_ms, self.sequence, self.attempt, steps
        head = _RECORD.pack(_NUMBERS[self.state], flags, *numbers, asked or b"", of or b"")
        return b"".join((head, self.packed_steps, self.packed_json))


def unpack(key: Key, record: bytes) -> Entry:
    """Return the request from what `Entry.pack` returned."""
    state, flags, offset, time_ms, sequence, attempt, steps, asked, of = _RECORD.unpack_from(record)
    end = _RECORD.size + steps * _STEP.size
    return Entry(
        key,
        offset,
        sequence,
        _STATES[state],
        attempt,
        time_ms,
        asked if flags & _HAS_IDS else None,
        of if flags & _HAS_FINGERPRINT else None,
        record[end:],
        record[_RECORD.size : end],
        bool(flags & _COMPLETE),
    )


def state_of(record: bytes) -> State:
    """Return the state of a packed request, without unpacking the rest."""
    return _STATES[record[0]]


def offset_of(record: bytes) -> int:
    """Return the offset of a packed request's record, without unpacking the rest."""
    return int.from_bytes(record[2:10], "little")


def read_entry(partition: int, value: bytes) -> Entry:
    """Read a status's fields, without validating the rest. Raises ValueError for what no worker writes."""
    try:
        status = from_json(value)
        state, time_ms = State(status["state"]), milliseconds(status["time"])
        offset, sequence, attempt = int(status["source"]["offset"]), int(status["sequence"]), int(status["attempt"])
        solution, revision, of = (status.get(name) for name in ("solutionId", "revisionId", "fingerprint"))
        asked = _hex(solution + revision) if solution and revision else None
        packed_fingerprint = _hex(of) if of else None
        key = partition, str(status["requestId"])
    except (AttributeError, KeyError, OverflowError, TypeError) as error:
        raise ValueError(str(error)) from None
    if not (0 <= sequence < MAX_NUMBER and 0 <= attempt < MAX_NUMBER and 0 <= offset < MAX_OFFSET):
        raise ValueError("a number is out of range")
    packed_json = _packed(value, key, asked, packed_fingerprint) if state in FINAL_STATES else value
    steps = _step(state, attempt, time_ms)
    return Entry(
        key,
        offset,
        sequence,
        state,
        attempt,
        time_ms,
        asked,
        packed_fingerprint,
        packed_json,
        steps,
        is_complete=sequence == 0,
    )


def milliseconds(text: str) -> int:
    """Return the unix milliseconds of a time. Raises ValueError, also for a time before 1970 or after 9999."""
    try:
        time_ms = int(datetime.fromisoformat(text).timestamp() * 1000)
    except (OverflowError, TypeError) as error:
        raise ValueError(str(error)) from None
    if not 0 <= time_ms < MAX_TIME_MS:
        raise ValueError("a time before 1970 or after 9999")
    return time_ms


def ids(packed: bytes) -> tuple[str, str]:
    """Return the ids of solution and revision."""
    text = packed.hex()  # formatted as by UUID, in a third of the time
    first, second = text[:32], text[32:]
    return (
        f"{first[:8]}-{first[8:12]}-{first[12:16]}-{first[16:20]}-{first[20:]}",
        f"{second[:8]}-{second[8:12]}-{second[12:16]}-{second[16:20]}-{second[20:]}",
    )


def _fingerprint(user_id: str, packed: bytes) -> bytes:
    return bytes.fromhex(fingerprint(user_id, *ids(packed)))


def _hex(text: str) -> bytes:
    value = bytes.fromhex(text.replace("-", ""))
    if len(value) != 32:
        raise ValueError("not the length of a fingerprint or of two ids")
    return value


def _step(state: State, attempt: int, time_ms: int) -> bytes:
    return _STEP.pack(_NUMBERS[state], min(attempt, 65535), time_ms)


def _packed(value: bytes, key: Key, asked: bytes | None, of: bytes | None) -> bytes:
    """Compress a status without the ids and the fingerprint, which random digits make hard to compress."""
    for mark, text in _hidden(key, asked, of):
        value = value.replace(text, mark)
    # The window is small, because a larger window spends most of its time on allocating memory.
    packer = zlib.compressobj(6, wbits=-12, memLevel=4, zdict=_COMMON)
    return packer.compress(value) + packer.flush()


def _hidden(key: Key, asked: bytes | None, of: bytes | None) -> list[tuple[bytes, bytes]]:
    """Return what is kept elsewhere, each with the character that stands for it. JSON contains no such characters."""
    texts = [key[1], *(ids(asked) if asked else ())]
    if of:
        texts.append(of.hex())
    return [(bytes((number,)), text.encode()) for number, text in enumerate(texts, 1) if text]
