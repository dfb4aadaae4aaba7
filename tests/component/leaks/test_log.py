"""Every kind of log entry, at each level and in each format."""

import logging
import sys
import threading
import warnings
from collections.abc import Callable
from contextvars import copy_context
from io import StringIO
from typing import Any

import pytest
import structlog

from tests.component.leaks.canaries import (
    CCDS_PASSWORD,
    CCDS_USERNAME,
    ICON,
    JWT_SECRET,
    NEXUS_PASSWORD,
    NEXUS_USERNAME,
    SASL_PASSWORD,
    TOKEN,
    USER,
    ZIP,
    ZIP_BASE64,
    Watch,
    basic,
)
from worker.observability import logs
from worker.observability.logs import Format, Level

LEVELS: tuple[Level, ...] = ("debug", "info", "warning", "error")
FORMATS: tuple[Format, ...] = ("json", "console")
METHODS = ("debug", "info", "warning", "error", "critical")

CREDENTIALS = (basic(CCDS_USERNAME, CCDS_PASSWORD), basic(NEXUS_USERNAME, NEXUS_PASSWORD))
OF_THE_PROCESS = (JWT_SECRET, CCDS_PASSWORD, NEXUS_PASSWORD, SASL_PASSWORD, *CREDENTIALS)
OF_THE_REQUEST = (f"Bearer {TOKEN}", USER.user_id, USER.email)
TEXTS = (
    *(*OF_THE_PROCESS, *OF_THE_REQUEST, *TOKEN.split("."), TOKEN, TOKEN[:100], ZIP_BASE64, ZIP_BASE64[200:]),
    *(f"Basic {it}" for it in CREDENTIALS),
)

Say = Callable[[str], object]


class Shown:
    """A library's object whose repr shows too much."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"<Client headers={{'Authorization': {self.text!r}}} body={{'password': {self.text!r}}}>"


def chained(text: str) -> Exception:
    """Return an exception with a cause, a context and a note, raised where local variables hold the text."""
    header = {"Authorization": text}
    try:
        try:
            try:
                raise KeyError(text)
            except KeyError:
                raise ValueError(f"cannot read {text}") from None
        except ValueError as error:
            error.add_note(f"the headers were {header}")
            raise RuntimeError(f"{text} is refused", ZIP) from error
    except RuntimeError as error:
        return error


def raised(error: BaseException) -> tuple[Any, Any, Any]:
    """Return the exception as sys.exc_info does."""
    return type(error), error, error.__traceback__


def ours() -> Any:
    return structlog.get_logger()


def theirs() -> logging.Logger:
    return logging.getLogger("aiokafka.conn")


def each_method(log: Any, *arguments: object, **fields: object) -> None:
    for method in METHODS:
        getattr(log(), method)(*arguments, **fields)


def with_context(text: str) -> None:
    with structlog.contextvars.bound_contextvars(caller=text, value=text.encode()):
        each_method(ours, "bad")
        each_method(theirs, "bad")


def in_a_thread(text: str) -> None:
    threading.excepthook(threading.ExceptHookArgs([*raised(chained(text)), threading.current_thread()]))


def unraisable(text: str) -> None:
    class Broken:
        def __del__(self) -> None:
            raise chained(text)

        def __repr__(self) -> str:
            return text

    Broken()


# The ways to log a text. Each is a separate path, at every level and in every format.
SAYINGS: dict[str, Say] = {
    "text": lambda text: each_method(ours, f"it was {text}, which is bad"),
    "text without spaces": lambda text: each_method(ours, f"it=<{text}>"),
    "arguments": lambda text: each_method(ours, "it was %s", text),
    "field": lambda text: each_method(ours, "bad", given=text),
    "bytes": lambda text: each_method(ours, "bad", given=text.encode(), zip=ZIP, icon=bytearray(ICON)),
    "repr of bytes": lambda text: each_method(ours, f"bad {text.encode()!r} {ZIP!r}"),
    "deep inside data": lambda text: each_method(ours, "bad", data={"list": [{"x": text}, (text,), {text}], text: 1}),
    "header": lambda text: each_method(
        ours, "bad", headers=[("authorization", text.encode()), ("Authorization", text)]
    ),
    "repr of an object": lambda text: each_method(ours, "bad", client=Shown(text)),
    "context": with_context,
    "exception": lambda text: each_method(ours, "bad", exc_info=chained(text)),
    "exception group": lambda text: each_method(ours, "bad", exc_info=ExceptionGroup(text, [chained(text)])),
    "error in a field": lambda text: each_method(ours, "bad", error=chained(text)),
    "library's text": lambda text: each_method(theirs, "sent %s and %r", text, Shown(text)),
    "library's exception": lambda text: each_method(theirs, "bad", exc_info=raised(chained(text))),
    "library's line that cannot be formatted": lambda text: each_method(theirs, "%d of them", text),
    "uncaught exception": lambda text: sys.excepthook(*raised(chained(text))),
    "uncaught exception in a thread": in_a_thread,
    "exception in __del__": unraisable,
    "warning": lambda text: warnings.warn(text, stacklevel=1),
}


def said(saying: Say) -> None:
    """Log each text once, like a request's task that knows its own secrets."""

    def here() -> None:
        logs.hide(*OF_THE_REQUEST)
        for text in TEXTS:
            saying(text)

    copy_context().run(here)


@pytest.mark.parametrize("name", SAYINGS)
@pytest.mark.filterwarnings("always")
def test_the_log_holds_no_secret(name: str, watch: Watch, capfd: pytest.CaptureFixture[str]) -> None:
    """No way to log a secret shows it, at any level and in any format, and nothing bypasses the log to stderr."""
    for log_format in FORMATS:
        for level in LEVELS:
            stream = StringIO()
            logs.configure(level, log_format, stream, OF_THE_PROCESS)
            said(SAYINGS[name])
            printed = capfd.readouterr()
            assert stream.getvalue() or (level, name) == ("error", "warning")
            watch.check(f"log: {name} ({level}, {log_format})", stream.getvalue(), printed.out, printed.err)


@pytest.mark.parametrize("name", SAYINGS)
@pytest.mark.filterwarnings("always")
def test_each_saying_would_leak(name: str, watch: Watch, capfd: pytest.CaptureFixture[str]) -> None:
    """Without our logging configuration the same lines show the secrets, so the test above is effective."""
    stream = StringIO()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
        ],
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    logging.getLogger().handlers = [logging.StreamHandler(stream)]
    sys.unraisablehook, threading.excepthook = sys.__unraisablehook__, threading.__excepthook__
    warnings.showwarning = lambda message, *_: print(message, file=stream)
    said(SAYINGS[name])
    printed = capfd.readouterr()
    assert {"JWT secret", "CCDS password", "claim email"} <= watch.found(stream.getvalue(), printed.out, printed.err)
