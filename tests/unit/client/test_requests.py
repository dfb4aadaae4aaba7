"""Requests and statuses as a client of the contract sees them."""

import base64
import json
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from schemas import DeploymentRequested, DeploymentStatus
from tests.support.paths import ROOT
from worker.adapters.kafka.clients import event_of
from worker.cli.submit import read_token
from worker.client.requests import OutgoingRequest
from worker.errors import CommandError

EXAMPLE = (ROOT / "schemas" / "examples" / "status.json").read_bytes()
TYPE = ("ce_type", DeploymentStatus.TYPE.encode())


def token(claims: Any) -> str:
    """A token whose signature is never checked here."""
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{payload}.c2ln"


def request(given: str, request_id: str = "r-1") -> OutgoingRequest:
    """A request with this token."""
    return OutgoingRequest(request_id, UUID(int=1), UUID(int=2), given)


@pytest.mark.parametrize("user_id", ["user-1", "用户", "a" * 100])
def test_the_key_is_the_user_of_the_token(user_id: str) -> None:
    """The record key is the token's user, whatever padding the payload lacks."""
    assert user_id == request(token({"mlpuser": {"userId": user_id}})).user_id


@pytest.mark.parametrize(
    "given",
    [
        "x",
        "a.b.c",
        "..",
        token({}),
        token([]),
        token({"mlpuser": None}),
        token({"mlpuser": {"userId": 7}}),
        token({"mlpuser": {"userId": ""}}),
    ],
)
def test_a_token_without_a_user_is_refused(given: str) -> None:
    """A token without a user is rejected in a sentence that contains nothing of the token."""
    with pytest.raises(CommandError, match="names no user") as refused:
        _ = request(given).user_id
    assert refused.value.__cause__ is None or given not in str(refused.value)


def test_a_token_is_not_shown() -> None:
    """No repr contains the token."""
    assert "secret" not in repr(request("secret"))


@pytest.mark.parametrize(
    ("text", "expected"), [("a.b.c\n", "a.b.c"), ("Bearer a.b.c", "a.b.c"), ("  bearer  a.b.c \n", "a.b.c")]
)
def test_a_token_is_read_as_people_keep_it(text: str, expected: str, tmp_path: Path) -> None:
    """A token from a file, stdin or the environment may have a line end or "Bearer "."""
    file = tmp_path / "token"
    file.write_text(text)
    others = {"DEPLOYER_TOKEN": "other"}
    assert expected == read_token(file, others, None)
    assert expected == read_token(None, others, StringIO(text))
    assert expected == read_token(None, {"DEPLOYER_TOKEN": text}, None)


@pytest.mark.parametrize(
    ("text", "said"), [("", "There is no token"), (" \n", "no token"), ("a b", "more than one word")]
)
def test_no_token_is_no_request(text: str, said: str) -> None:
    """The error for a missing token lists all three ways to give one."""
    with pytest.raises(CommandError, match=f"{said}.*--token-file.*--token-stdin.*DEPLOYER_TOKEN"):
        read_token(None, {"DEPLOYER_TOKEN": text}, None)


def record(value: bytes | None = EXAMPLE, headers: tuple[tuple[str, bytes], ...] = (TYPE,)) -> Any:
    """A record of the status topic."""
    return SimpleNamespace(value=value, headers=headers)


def test_statuses_of_later_versions_are_read() -> None:
    """Unknown fields of later versions are ignored, even in nested parts."""
    later = json.loads(EXAMPLE)
    later["source"]["cluster"] = later["mood"] = "new"
    assert DeploymentStatus.model_validate_json(EXAMPLE) == event_of(
        record(json.dumps(later).encode()), DeploymentStatus
    )


@pytest.mark.parametrize(
    "other",
    [
        record(None),
        record(b"{}"),
        record(b"not JSON"),
        record(headers=()),
        record(headers=(("ce_type", DeploymentRequested.TYPE.encode()),)),
    ],
)
def test_other_records_are_passed_over(other: Any) -> None:
    """No record in the topic can stop a subscriber."""
    assert event_of(other, DeploymentStatus) is None
