"""What the demo says while it goes on: plain lines, and on a terminal things that move."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

from rich.console import Console
from rich.live import Live
from rich.status import Status
from rich.text import Text

from schemas import DeploymentStatus
from worker.cli.view import PUBLISHED, STATE_WIDTH, Board, duration, line, live

Show = Callable[[DeploymentStatus], object]

NAME_WIDTH = 22


class Step:
    """Something that is being started."""

    def __init__(self, name: str, say: Callable[[str], None], spinner: Status | None) -> None:
        self._name = name
        self._say = say
        self._spinner = spinner
        self._fetching = False
        self.place = ""  # where it can be reached, once it is up

    def fetched(self, done: int, total: int) -> None:
        """One of the files that are fetched at the first time has arrived."""
        if self._spinner:
            self._spinner.update(f"{self._name}: {done} of {total} files fetched; the next time they are there")
        elif not self._fetching:
            self._say(f"  {self._name:<{NAME_WIDTH}}fetching {total} files, which are kept for the next time")
        self._fetching = True


class Story:
    """Tells it on a console. `clock` counts seconds."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._began = clock()
        self._live = live(console)

    @property
    def duration(self) -> str:
        """Since the beginning."""
        return duration(self._clock() - self._began)

    def say(self, text: str = "", style: str = "") -> None:
        """Text as it is, with the line breaks it has."""
        self._console.print(Text(text, style), soft_wrap=True)

    @contextmanager
    def starting(self, name: str) -> Iterator[Step]:
        """A spinner until the block ends, then one line that says where the thing is and how long it took."""
        began = self._clock()
        spinner = self._console.status(f"{name} …") if self._live else None
        if spinner:
            spinner.start()
        try:
            step = Step(name, self.say, spinner)
            yield step
        finally:
            if spinner:
                spinner.stop()
        self.say(f"  {name:<{NAME_WIDTH}}{step.place}  ({duration(self._clock() - began)})")

    @contextmanager
    def requests(self, labels: Mapping[str, str], titles: Mapping[str, str]) -> Iterator[Show]:
        """One row per request id on a terminal, else one line per status."""
        width = max(map(len, labels.values()))
        if not self._live:
            for request_id, label in labels.items():
                self.say(f"  {label:<{width}}  {PUBLISHED:<{STATE_WIDTH}}  {titles[request_id]}")
            yield lambda status: self.say(f"  {line(status, f'{labels[status.request_id]:<{width}}')}")
            return
        board = Board(lambda: datetime.now(UTC), labels, titles)
        for request_id in labels:
            board.publish(request_id)
        with Live(board, console=self._console, refresh_per_second=8):
            yield board.update
