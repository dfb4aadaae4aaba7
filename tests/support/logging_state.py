"""Setting up the log changes the process: a test that does it leaves everything as it was found."""

import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

LIBRARIES = ("aiohttp", "aiokafka", "asyncio", "kubernetes", "urllib3")


@contextmanager
def logging_as_it_was() -> Iterator[None]:
    """Loggers, their levels, structlog, and the hooks for what nobody catches."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    levels = {name: logging.getLogger(name).level for name in LIBRARIES}
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook, warnings.showwarning
    try:
        yield
    finally:
        sys.excepthook, sys.unraisablehook, threading.excepthook, warnings.showwarning = hooks
        for name, found in levels.items():
            logging.getLogger(name).setLevel(found)
        root.handlers, root.level = handlers, level
        structlog.reset_defaults()
