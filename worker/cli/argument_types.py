"""Types of command-line arguments. This module imports nothing slow, because `--help` needs it.

Every function here raises ArgumentTypeError for an invalid text.
"""

import argparse
import re
from datetime import datetime
from ipaddress import IPv4Address
from uuid import UUID

from worker.domain.position import PartitionOffset


def partition_offset(text: str) -> PartitionOffset:
    """Parse PARTITION:OFFSET."""
    if not re.fullmatch(r"[0-9]{1,9}:[0-9]{1,18}", text):
        raise argparse.ArgumentTypeError(f"'{text}' is not PARTITION:OFFSET, e.g. 3:17")
    partition, _, offset = text.partition(":")
    return PartitionOffset(int(partition), int(offset))


def timestamp(text: str) -> datetime:
    """Parse an ISO 8601 time; a time without a time zone is in this machine's."""
    try:
        time = datetime.fromisoformat(text)
        return time if time.tzinfo else time.astimezone()
    except (ValueError, OverflowError):  # OverflowError in the year 1
        raise argparse.ArgumentTypeError(f"'{text}' is not a time, e.g. 2026-01-31T12:00:00Z") from None


def uuid(text: str) -> UUID:
    """Parse a Graphene id."""
    try:
        return UUID(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a UUID") from None


def broker_address(text: str) -> str:
    """Parse the address of one broker, HOST:PORT."""
    if not re.fullmatch(r"[^\s,]+:\d{1,5}", text):
        raise argparse.ArgumentTypeError(f"'{text}' is not HOST:PORT")
    return text


def listen_address(text: str) -> str:
    """Parse a server's listen address, ADDRESS:PORT. An IPv4 address shows which machines can reach the server."""
    host, _, port = text.rpartition(":")
    try:
        IPv4Address(host)
    except ValueError:
        port = ""
    if not re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is not ADDRESS:PORT, e.g. 127.0.0.1:8000")
    return text


def request_id(text: str) -> str:
    """Parse a request id, in the format of events."""
    from schemas.events import REQUEST_ID_PATTERN  # noqa: PLC0415 - slow to import, rarely needed

    if not re.fullmatch(REQUEST_ID_PATTERN.removesuffix("$"), text):
        raise argparse.ArgumentTypeError("use 1 to 128 letters, digits and . _ : -")
    return text


def seconds(text: str) -> float:
    """Parse a duration in seconds, above 0."""
    return _positive(text, "a number of seconds above 0")


def rate(text: str) -> float:
    """Parse a number of requests per second, above 0."""
    return _positive(text, "a number above 0")


def _positive(text: str, description: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number < 1e9:  # neither NaN nor infinite
        raise argparse.ArgumentTypeError(f"'{text}' is not {description}")
    return number
