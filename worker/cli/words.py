"""What people write on the command line, read. Nothing slow is imported here: `--help` needs this module."""

import argparse
import re
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Place:
    """A record's place in a topic."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"


def place(text: str) -> Place:
    """Raises ArgumentTypeError, as all of them do."""
    if not re.fullmatch(r"[0-9]{1,9}:[0-9]{1,18}", text):
        raise argparse.ArgumentTypeError(f"'{text}' is not PARTITION:OFFSET, e.g. 3:17")
    partition, _, offset = text.partition(":")
    return Place(int(partition), int(offset))


def moment(text: str) -> datetime:
    """A time of ISO 8601, aware; without a zone it is this machine's."""
    try:
        time = datetime.fromisoformat(text)
        return time if time.tzinfo else time.astimezone()
    except (ValueError, OverflowError):  # the latter in the year 1
        raise argparse.ArgumentTypeError(f"'{text}' is not a time, e.g. 2026-01-31T12:00:00Z") from None


def uuid(text: str) -> UUID:
    """Of Graphene."""
    try:
        return UUID(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a UUID") from None


def address(text: str) -> str:
    """One broker."""
    if not re.fullmatch(r"[^\s,]+:\d{1,5}", text):
        raise argparse.ArgumentTypeError(f"'{text}' is not HOST:PORT")
    return text


def listener(text: str) -> str:
    """Where a server listens: an address of this machine, so that it is known who can reach it."""
    host, _, port = text.rpartition(":")
    try:
        IPv4Address(host)
    except ValueError:
        port = ""
    if not re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is not ADDRESS:PORT, e.g. 127.0.0.1:8000")
    return text


def request_id(text: str) -> str:
    """As the events have it."""
    from schemas.events import REQUEST_ID_PATTERN  # noqa: PLC0415 - slow to import, rarely needed

    if not re.fullmatch(REQUEST_ID_PATTERN.removesuffix("$"), text):
        raise argparse.ArgumentTypeError("use 1 to 128 letters, digits and . _ : -")
    return text


def seconds(text: str) -> float:
    """How long."""
    return _above_zero(text, "a number of seconds above 0")


def rate(text: str) -> float:
    """How many a second."""
    return _above_zero(text, "a number above 0")


def _above_zero(text: str, what: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number < 1e9:  # not NaN, not infinite
        raise argparse.ArgumentTypeError(f"'{text}' is not {what}")
    return number
