"""Restores the process's logging state: a test that sets up the log leaves the process unchanged."""

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
    """Restore loggers, their levels, structlog, and the hooks for uncaught exceptions after the block."""
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
