"""Logs: one line per event on stderr, with the request id if the event belongs to a request, and without secrets.

Results of `bundle`, `submit` and `watch` go to stdout, so logs go to stderr; containers collect both.
This package logs with `structlog.get_logger()`; the request id is bound with `structlog.contextvars`.
Client libraries log through the standard library. Their lines below `warning` are always dropped, because they contain
headers and records. Each kind of their lines is logged at most once in 10 s, because aiokafka logs 70 lines a second
while a broker is unreachable. Warnings and uncaught exceptions take the same path, because Python would print them
unredacted.

A secret is recognised by its form, by the name in front of it, and by its value. `configure` takes the secret values of
the settings, and `hide` those of a request.
"""

import contextlib
import json
import logging
import re
import sys
import threading
import warnings
from collections.abc import Iterable
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Literal, TextIO
from urllib.parse import quote

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["json", "console"]

REMOVED = "[removed]"
REPEAT_SECONDS = 10
_MAX_KINDS = 1000

_SECRET_NAMES = ("authorization", "password", "secret", "token")
_ANY_NAME = "|".join(_SECRET_NAMES)

# A JSON Web Token starts with the base64url of `{"`. A part of a token matches as well, because texts may be truncated.
# Keys and archives in base64 are longer than any word in a log. An archive's bytes start with PK.
# This is a single pattern, because removing matches of one pattern could leave parts of another pattern's matches.
_ENCODED = re.compile(
    r"(?:eyJ[\w-]{5,}|[\w+/=-]{129,})(?:\.[\w-]*)*"
    r"|PK\x03\x04[\s\S]*|PK\\+(?:x03\\+x04|u0003\\+u0004).*"  # escaped, an archive has no line breaks
)
_CREDENTIALS = re.compile(r"\b(bearer|basic)(\s+)[\w.~+/=-]+", re.IGNORECASE)
# token=… as in a URL's query; 'password': '…' and ('authorization', b'…') as in a repr or in JSON.
_PARAMETER = re.compile(rf"((?:{_ANY_NAME})[\w-]*=)[^\s\"'&]+", re.IGNORECASE)
_ITEM = re.compile(rf"""((?:{_ANY_NAME})[\w-]*\\*["']\s*[:,]\s*b?)(\\*["']).*?\2""", re.IGNORECASE | re.DOTALL)

MIN_SECRET = 6  # characters: a shorter secret is part of ordinary words, and is not recognised by its value
LONG_WORD = 16  # characters: a word of a secret that is a secret by itself, like the parts of a token

_NEVER_ESCAPED = re.compile(r"[\w.~-]*", re.ASCII)  # neither Python nor JSON nor URLs escape these characters

_process_secrets: list[str] = []
_task_secrets: ContextVar[tuple[str, ...]] = ContextVar("secrets of this task", default=())


def configure(level: Level, log_format: Format, stream: TextIO | None = None, secrets: Iterable[str] = ()) -> None:
    """Set up structlog and the standard library's logging for this process. A later call replaces the earlier setup.

    Args:
        level: the lowest level of this package's events that is logged.
        log_format: `json`, or `console` for people.
        stream: where lines are written; None: stderr.
        secrets: values that are removed from every line, in any context.
    """
    stream = stream or sys.stderr
    _process_secrets[:] = _spellings(secrets)
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
    handler.addFilter(_RateLimit())
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
    _install_hooks()


def hide(*secrets: str) -> None:
    """Remove these values from all further lines of this task and of the tasks that it starts, in any context.

    Only for verified values, because a sender must not be able to remove ordinary words from the lines about its
    request.
    """
    _task_secrets.set((*_task_secrets.get(), *_spellings(secrets)))


def _spellings(secrets: Iterable[str]) -> list[str]:
    """Return the secrets and their long words, unescaped and as Python, JSON and URLs escape them, longest first."""
    spellings: set[str] = set()
    for secret in secrets:
        for text in (secret, *(word for word in re.split(r"[\s.]", secret) if len(word) >= LONG_WORD)):
            if len(text) >= MIN_SECRET:
                spellings.add(text)
                if not _NEVER_ESCAPED.fullmatch(text):
                    spellings |= {repr(text)[1:-1], json.dumps(text)[1:-1], quote(text, safe="")}
    return sorted(spellings, key=len, reverse=True)  # a secret before its words


def scrub(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Return the event without tokens, credentials, and values whose name is that of a secret, at any depth.

    Objects that are not plain data are replaced by their repr here, so that the renderer cannot add secrets.
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
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{len(value)} bytes"
    return _text(value if isinstance(value, str) else repr(value))


def without_encoded(text: str) -> str:
    """Return the text without tokens, archives, and other base64 that is too long to be a word."""
    return _ENCODED.sub(REMOVED, text)


def _text(text: str) -> str:
    for secret in (*_process_secrets, *_task_secrets.get()):
        text = text.replace(secret, REMOVED)
    text = without_encoded(text)
    text = _CREDENTIALS.sub(rf"\1\2{REMOVED}", text)
    text = _PARAMETER.sub(rf"\1{REMOVED}", text)
    return _ITEM.sub(rf"\1\2{REMOVED}\2", text)


def _exceptions(log_format: Format) -> Processor:
    """Render exceptions without local variables, which hold tokens: structured in JSON, a traceback on a console."""
    if log_format == "json":
        return structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))
    return structlog.processors.format_exc_info


def _renderer(log_format: Format, stream: TextIO) -> Processor:
    if log_format == "json":
        return structlog.processors.JSONRenderer()
    return structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback)


class _RateLimit(logging.Filter):
    """A filter that passes each kind of a library's lines once in REPEAT_SECONDS."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, int, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
        kind = (record.name, record.levelno, text[:200])  # the text without its arguments
        if record.created - self._last.get(kind, 0) < REPEAT_SECONDS:
            return False
        if len(self._last) >= _MAX_KINDS:  # lines that a library formats itself are all of different kinds
            self._last.clear()
        self._last[kind] = record.created
        return True


class _Handler(logging.StreamHandler[TextIO]):
    """A handler that logs failures to write a line. The default handler would print the line's arguments."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        with contextlib.suppress(OSError, ValueError):  # the stream is closed
            structlog.get_logger().error("log line lost", logger=record.name, line=f"{record.pathname}:{record.lineno}")


def _install_hooks() -> None:
    """Log the exceptions and warnings that Python itself would print."""
    sys.excepthook = _uncaught
    sys.unraisablehook = _unraisable
    threading.excepthook = _uncaught_in_thread
    warnings.showwarning = _warning


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        structlog.get_logger().critical("uncaught exception", exc_info=(kind, error, trace))


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
        _uncaught(args.exc_type, args.exc_value, args.exc_traceback)


def _unraisable(args: "sys.UnraisableHookArgs") -> None:
    """Log an exception that cannot be caught, as in `__del__`, with the object's type: its repr may hold secrets."""
    kind = type(args.object).__name__
    structlog.get_logger().error("unraisable exception", type=kind, exc_info=args.exc_value)


def _warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001 - the hook's signature
    line: str | None = None,  # noqa: ARG001
) -> None:
    structlog.get_logger().warning(str(message), category=category.__name__, line=f"{filename}:{lineno}")
