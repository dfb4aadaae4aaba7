"""What the logs contain, and what they must not contain."""

import json
import logging
from base64 import b64encode
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import jwt
import pytest
import structlog

from schemas import DeploymentRequested
from tests.support.logging_state import logging_as_it_was
from worker.observability.logs import REMOVED, REPEAT_SECONDS, Format, Level, configure

TOKEN = jwt.encode(
    {"mlpuser": {"userId": "user-17", "email": "someone@example.org"}, "exp": 4_000_000_000}, b"k" * 64, "HS512"
)
PASSWORD = "correct-horse-battery-staple"
BASIC = b64encode(f"deployer:{PASSWORD}".encode()).decode()
SECRETS = (TOKEN, PASSWORD, BASIC)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    with logging_as_it_was():
        yield


@pytest.fixture(params=["json", "console"])
def log_format(request: pytest.FixtureRequest) -> Format:
    """Each of the two log formats."""
    chosen: Format = request.param
    return chosen


def lines(stream: StringIO) -> list[dict[str, Any]]:
    """Return the logged JSON objects."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def slices(secret: str) -> list[str]:
    """Return every run of 16 characters."""
    return [secret[start : start + 16] for start in range(len(secret) - 15)]


def test_one_json_object_per_line() -> None:
    """An event has its text, level, UTC time, its own fields and the fields bound to the context."""
    stream = StringIO()
    configure("info", "json", stream)
    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        structlog.get_logger().info("request ended", state="deployed", seconds=1.5, nodes=("a", "b"), error=None)

    [line] = lines(stream)

    assert line.pop("timestamp").endswith("Z")
    assert {
        "event": "request ended",
        "level": "info",
        "request_id": "r-1",
        "state": "deployed",
        "seconds": 1.5,
        "nodes": ["a", "b"],
        "error": None,
    } == line


def test_console_is_for_people() -> None:
    """The console format has the same content on one line, without colours if there is no terminal."""
    stream = StringIO()
    configure("info", "console", stream)
    structlog.get_logger().info("request ended", state="deployed")

    assert "request ended" in stream.getvalue()
    assert "state=deployed" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize(
    ("level", "ours", "theirs"),
    [
        ("debug", ["debug", "info", "warning", "error"], ["warning", "error"]),
        ("info", ["info", "warning", "error"], ["warning", "error"]),
        ("warning", ["warning", "error"], ["warning", "error"]),
        ("error", ["error"], ["error"]),
    ],
)
def test_levels(level: Level, ours: list[str], theirs: list[str]) -> None:
    """The level applies to the worker's events; libraries are never logged below warning, whatever their own level."""
    stream = StringIO()
    configure(level, "json", stream)
    library = logging.getLogger("aiokafka.test")
    library.setLevel(logging.DEBUG)
    for name in ("debug", "info", "warning", "error"):
        getattr(structlog.get_logger(), name)("ours")
        getattr(library, name)("theirs")
    library.setLevel(logging.NOTSET)

    assert ours == [line["level"] for line in lines(stream) if line["event"] == "ours"]
    assert theirs == [line["level"] for line in lines(stream) if line["event"] == "theirs"]


def test_library_lines_look_like_ours() -> None:
    """A line of a library's logger has the same fields, including the request id, and names its logger."""
    stream = StringIO()
    configure("info", "json", stream)
    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        logging.getLogger("aiohttp.client").warning("%d tries", 3)

    [line] = lines(stream)

    assert line.pop("timestamp").endswith("Z")
    assert {"event": "3 tries", "level": "warning", "logger": "aiohttp.client", "request_id": "r-1"} == line


def test_last_configuration_holds() -> None:
    """After a second configuration each line is still written once."""
    first, second = StringIO(), StringIO()
    configure("info", "json", first)
    configure("info", "json", second)
    structlog.get_logger().warning("ours")
    logging.getLogger("aiokafka").warning("theirs")

    assert "" == first.getvalue()
    assert ["ours", "theirs"] == [line["event"] for line in lines(second)]


def test_exceptions_are_structured() -> None:
    """In JSON an exception is data: each link of its chain with type, message and frames, without variables."""
    stream = StringIO()
    configure("info", "json", stream)
    _raise_chain(lambda: structlog.get_logger().exception("it failed"))

    [line] = lines(stream)

    assert ["RuntimeError", "ValueError"] == [link["exc_type"] for link in line["exception"]]
    assert {"filename", "lineno", "name"} == set(line["exception"][0]["frames"][0])


def test_exceptions_on_a_console_are_tracebacks() -> None:
    """On a console an exception looks as Python prints it."""
    stream = StringIO()
    configure("info", "console", stream)
    _raise_chain(lambda: structlog.get_logger().exception("it failed"))

    assert "Traceback (most recent call last)" in stream.getvalue()
    assert "The above exception was the direct cause" in stream.getvalue()


def _raise_chain(report: Callable[[], object]) -> None:
    token, header = TOKEN, {"Authorization": f"Basic {BASIC}"}  # local variables in the traceback
    try:
        try:
            raise ValueError(f"cannot read {token}")
        except ValueError as error:
            error.add_note(f"the headers were {header}")
            raise RuntimeError(f"Bearer {token} is refused") from error
    except RuntimeError:
        report()


def _raise_group(report: Callable[[], object]) -> None:
    try:
        raise ExceptionGroup("all of them", [ValueError(TOKEN), OSError(2, "no such file", f"/x?password={PASSWORD}")])
    except ExceptionGroup:
        report()


class _Client:
    """A library object whose repr contains a secret."""

    def __repr__(self) -> str:
        return f"<Client headers={{'authorization': 'Basic {BASIC}'}} value={json.dumps({'jwtToken': TOKEN})!r}>"


def _ours() -> Any:
    return structlog.get_logger()


def _theirs() -> logging.Logger:
    return logging.getLogger("aiokafka.cluster")


def _bound_to_the_context() -> None:
    with structlog.contextvars.bound_contextvars(caller=TOKEN):
        _ours().error("bad")
        _theirs().error("bad")


def _invalid_event() -> None:
    try:
        DeploymentRequested.model_validate({"solutionId": TOKEN, "jwtToken": {"x": TOKEN}})
    except ValueError:
        _ours().exception("bad")


LEAKS: dict[str, Callable[[], object]] = {
    "text": lambda: _ours().error(f"the token {TOKEN} is bad"),
    "text with arguments": lambda: _ours().error("the token %s is bad", TOKEN),
    "field of another name": lambda: _ours().error("bad", given=TOKEN),
    "field named token": lambda: _ours().error("bad", jwt_token=PASSWORD),
    "field named Authorization": lambda: _ours().error("bad", Authorization=f"Custom {PASSWORD}"),
    "field named password": lambda: _ours().error("bad", sasl_plain_password=PASSWORD),
    "field named secret": lambda: _ours().error("bad", client_secret={"value": [PASSWORD]}),
    "inside data": lambda: _ours().error("bad", data={"list": [{"jwtToken": PASSWORD}, (TOKEN,), {TOKEN}]}),
    "as a key": lambda: _ours().error("bad", data={TOKEN: 1}),
    "bytes": lambda: _ours().error("bad", value=TOKEN.encode()),
    "header tuple": lambda: _ours().error("bad", headers=[("authorization", f"Bearer {TOKEN}".encode())]),
    "repr of an object": lambda: _ours().error("bad", client=_Client()),
    "repr inside JSON inside repr": lambda: _ours().error("bad", text=repr(json.dumps(repr({"password": PASSWORD})))),
    "basic credentials": lambda: _ours().error(f"basic {BASIC}"),
    "bearer with another token": lambda: _ours().error(f"authorization: BEARER {PASSWORD}"),
    "query of a url": lambda: _ours().error(f"GET https://example.org/x?access_token={PASSWORD}&y=1"),
    "cut after a part": lambda: _ours().error(TOKEN[:60]),
    "payload alone": lambda: _ours().error(TOKEN.split(".")[1]),
    "bound to the context": _bound_to_the_context,
    "exception chain": lambda: _raise_chain(lambda: _ours().exception("bad")),
    "exception group": lambda: _raise_group(lambda: _ours().exception("bad")),
    "event that does not validate": _invalid_event,
    "library text": lambda: _theirs().error("sent %s and %r", f"Bearer {TOKEN}", _Client()),
    "library exception chain": lambda: _raise_chain(lambda: _theirs().exception("bad")),
    "library exception group": lambda: _raise_group(lambda: _theirs().exception("bad")),
    "library line that cannot be formatted": lambda: _theirs().error("%d records", TOKEN),
}


@pytest.mark.parametrize("leak", LEAKS.values(), ids=LEAKS.keys())
def test_no_slice_of_a_secret_is_written(
    leak: Callable[[], object], log_format: Format, capfd: pytest.CaptureFixture[str]
) -> None:
    """No 16 characters of a token or password are written to the log or stderr, however they reach it."""
    stream = StringIO()
    configure("debug", log_format, stream)

    leak()

    printed = capfd.readouterr()
    written = stream.getvalue() + printed.out + printed.err
    assert stream.getvalue()
    assert [] == [part for secret in SECRETS for part in slices(secret) if part in written]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Log in again.", "Log in again."),
        ("token-expired: the token expired on arrival", "token-expired: the token expired on arrival"),
        ("DEPLOYER_AUTH__SECRET: missing.", "DEPLOYER_AUTH__SECRET: missing."),
        ("sudoku-gui:8061", "sudoku-gui:8061"),
        (f"Bearer {PASSWORD}!", f"Bearer {REMOVED}!"),
        ("/x?token=abc&page=2", f"/x?token={REMOVED}&page=2"),
        ("{'password': 'a b', 'user': 'c'}", f"{{'password': '{REMOVED}', 'user': 'c'}}"),
    ],
)
def test_only_secrets_are_removed(text: str, expected: str) -> None:
    """Text without a secret is unchanged, and the rest of a line with a secret stays readable."""
    stream = StringIO()
    configure("info", "json", stream)
    structlog.get_logger().info(text)

    assert [expected] == [line["event"] for line in lines(stream)]


def test_a_line_that_cannot_be_formatted_is_named() -> None:
    """For a line that cannot be formatted, its logger and its location in the code are logged instead."""
    stream = StringIO()
    configure("info", "json", stream)
    _theirs().error("%d records", "many")

    [line] = lines(stream)

    assert ("log line lost", "aiokafka.cluster") == (line["event"], line["logger"])
    assert "test_logs.py:" in line["line"]


def test_a_closed_stream_stops_nobody() -> None:
    """A library that logs after the stream is closed continues to work."""
    stream = StringIO()
    configure("info", "json", stream)
    stream.close()

    _theirs().error("nobody hears this")


def test_a_library_that_repeats_itself_is_heard_seldom() -> None:
    """Repeated library lines are dropped; the worker's own events never are.

    aiokafka repeats three lines 70 times a second while its broker is down.
    """
    stream = StringIO()
    configure("info", "json", stream)
    for number in range(3):
        logging.getLogger("aiokafka").error("Unable connect to node %s", number)
        structlog.get_logger().info("request ended")
    logging.getLogger("aiokafka").error("Another %s", "line")
    assert ["Unable connect to node 0", *["request ended"] * 3, "Another line"] == [it["event"] for it in lines(stream)]


def test_a_library_is_heard_again_after_a_while() -> None:
    """A library's line is logged again after REPEAT_SECONDS; otherwise a second outage would go unnoticed."""
    stream = StringIO()
    configure("info", "json", stream)
    for created in (1000.0, 1000.0 + REPEAT_SECONDS):
        record = logging.makeLogRecord({"name": "aiokafka", "msg": "gone", "levelno": 40, "levelname": "ERROR"})
        record.created = created
        logging.getLogger("aiokafka").handle(record)
    assert 2 == len(lines(stream))
