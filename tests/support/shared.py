"""One instance of a resource for all processes of a test run, in one process or many."""

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest


def shared_folder(config: pytest.Config, factory: pytest.TempPathFactory) -> Path:
    """Return the temporary folder of the whole run, shared by all its processes."""
    base = factory.getbasetemp()
    return base.parent if hasattr(config, "workerinput") else base


@contextmanager
def shared(place: Path, start: Callable[[], AbstractContextManager[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """Yield what `start` yields: the first process starts it, and stops it when no process needs it any more.

    Each user holds a shared lock on the file `place`, which holds the details of what was started.
    """
    with place.open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        while not (found := _told(place)):
            fcntl.flock(file, fcntl.LOCK_EX)
            if not _told(place):
                break  # no other process can start it now
            fcntl.flock(file, fcntl.LOCK_SH)  # this may wait, and what was started may be stopped before
        if found:
            yield found
            return
        with start() as started:
            place.write_text(json.dumps(started), encoding="utf-8")
            try:
                fcntl.flock(file, fcntl.LOCK_SH)
                yield started
                fcntl.flock(file, fcntl.LOCK_EX)  # wait until the other processes have finished with it
            finally:
                place.write_text("", encoding="utf-8")


def made_once(place: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what `make` returns; the first process makes it, and the others read it in the file `place`."""
    with place.open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        found = _told(place)
        if found is None:
            found = make()
            place.write_text(json.dumps(found), encoding="utf-8")
    return found


def _told(place: Path) -> dict[str, Any] | None:
    text = place.read_text(encoding="utf-8")
    found: dict[str, Any] | None = json.loads(text) if text else None
    return found
