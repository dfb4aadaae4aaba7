"""Logs: one line per event on stderr, the request id on each, and nothing in them that opens a door.

stderr, because `bundle`, `submit` and `watch` print their results to stdout; containers collect both.
Our own events come from `structlog.get_logger()`; bind the request id with `structlog.contextvars`.
Client libraries log through the standard library. They are heard from `warning` on whatever the
level, because at `debug` they print headers and records; and not twice the same within 10 s, because
aiokafka has 70 lines a second to say about a broker that is away.
"""

import contextlib
import logging
import re
import sys
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["json", "console"]

REMOVED = "[removed]"
SELDOM_SECONDS = 10
_KINDS = 1000

_SECRET_NAMES = ("authorization", "password", "secret", "token")
_ANY_NAME = "|".join(_SECRET_NAMES)

# A JSON Web Token starts with the base64url of `{"`. A part of one counts as well: it may have been cut off.
_JWT = re.compile(r"eyJ[\w-]{5,}(?:\.[\w-]*)*")
_CREDENTIALS = re.compile(r"\b(bearer|basic)(\s+)[\w.~+/=-]+", re.IGNORECASE)
# token=… as in a URL's query; 'password': '…' and ('authorization', b'…') as in a repr or in JSON.
_PARAMETER = re.compile(rf"((?:{_ANY_NAME})[\w-]*=)[^\s\"'&]+", re.IGNORECASE)
_ITEM = re.compile(rf"""((?:{_ANY_NAME})[\w-]*\\*["']\s*[:,]\s*b?)(\\*["']).*?\2""", re.IGNORECASE | re.DOTALL)


def configure(level: Level, log_format: Format, stream: TextIO | None = None) -> None:
    """Set up structlog and the standard library's logging for this process.

    `level` is the least that is logged of our own events. `stream` is stderr unless given.
    May be called again; the last call holds.
    """
    stream = stream or sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last = [_exceptions(log_format), scrub, _renderer(log_format, stream)]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    handler = _Handler(stream)
    handler.addFilter(_Seldom())
    handler.setLevel(max(logging.WARNING, getattr(logging, level.upper())))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(handler.level)


def scrub(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Take out tokens, credentials and values whose name says they are secret, however deep they are.

    Objects that are not plain data become their repr here, so that the renderer cannot bring anything back.
    """
    return {str(key): _scrubbed(value, str(key)) for key, value in event.items()}


def _scrubbed(value: Any, name: str = "") -> Any:
    if any(secret in name.lower() for secret in _SECRET_NAMES):
        return REMOVED
    if isinstance(value, dict):
        return {_text(str(key)): _scrubbed(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_scrubbed(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return _text(value if isinstance(value, str) else repr(value))


def _text(text: str) -> str:
    text = _JWT.sub(REMOVED, text)
    text = _CREDENTIALS.sub(rf"\1\2{REMOVED}", text)
    text = _PARAMETER.sub(rf"\1{REMOVED}", text)
    return _ITEM.sub(rf"\1\2{REMOVED}\2", text)


def _exceptions(log_format: Format) -> Processor:
    """Exceptions without local variables, which hold tokens: structured in JSON, a traceback on a console."""
    if log_format == "json":
        return structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))
    return structlog.processors.format_exc_info


def _renderer(log_format: Format, stream: TextIO) -> Processor:
    if log_format == "json":
        return structlog.processors.JSONRenderer()
    return structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback)


class _Seldom(logging.Filter):
    """Lets each kind of line of a library through once in SELDOM_SECONDS."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, int, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
        kind = (record.name, record.levelno, text[:200])  # its arguments are not in it yet
        if record.created - self._last.get(kind, 0) < SELDOM_SECONDS:
            return False
        if len(self._last) >= _KINDS:  # a library that formats its lines itself makes a kind of each
            self._last.clear()
        self._last[kind] = record.created
        return True


class _Handler(logging.StreamHandler[TextIO]):
    """Says only that a line was lost when one cannot be written; the default prints the line's arguments."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        with contextlib.suppress(OSError, ValueError):  # the stream itself is gone
            structlog.get_logger().error("log line lost", logger=record.name, line=f"{record.pathname}:{record.lineno}")
