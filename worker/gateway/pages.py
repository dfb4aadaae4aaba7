"""The pages: Jinja2 templates, rendered from what may be shown. Everything from others is escaped."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape
from pydantic import ValidationError

from schemas import FINAL_STATES, DeploymentStatus, State, rfc3339
from worker.errors import CODES, Unavailable
from worker.gateway.service import Found
from worker.gateway.sessions import Session
from worker.gateway.texts import KINDS, MARKS, NOT_ACCEPTED, STATES, STEP_NAMES, STEPS, TEXTS
from worker.gateway.view import Entry, Step, turn_of

MAX_LISTED = 200  # requests on one page
STATIC = {
    name: (media_type, files("worker.gateway").joinpath("static", name).read_bytes())
    for name, media_type in (("page.css", "text/css"), ("page.js", "text/javascript"), ("icon.svg", "image/svg+xml"))
}

_ENDS = {State.REJECTED, State.FAILED}
_CODE = re.compile(r"`([^`]{1,200})`")
_BREAK_AFTER = re.compile(r"([_.@-]+)")
_HEADINGS = {
    401: TEXTS["no_session"],
    404: TEXTS["nothing_here"],
    405: TEXTS["nothing_here"],
    429: TEXTS["too_many"],
    503: TEXTS["not_sent"],
}


@dataclass(frozen=True, slots=True)
class Stale:
    """Kafka does not answer; what a page shows was read at `since`. None: nothing has been read yet."""

    since: datetime | None


@dataclass(frozen=True, slots=True)
class Milestone:
    """One of the four steps of a request where nothing goes wrong."""

    name: str
    time: datetime | None  # of its beginning
    took: timedelta | None
    mark: str  # done, now, waits, stopped, or next


@dataclass(frozen=True, slots=True)
class Shown:
    """One request as its page shows it."""

    request_id: str
    state: State | None
    status: DeploymentStatus | None
    steps: Sequence[Step]
    is_complete: bool
    milestones: Sequence[Milestone]
    turn: int
    solution_id: str
    revision_id: str
    sequence: int
    is_own: bool

    @property
    def short_id(self) -> str:
        """Enough of the id to tell three deployments of one name apart."""
        return self.request_id.removeprefix("record-")[:8]

    @property
    def title(self) -> str:
        """The solution's name, as soon as it is known."""
        return (self.status and self.status.solution_name) or f"Solution {self.solution_id[:8]}"

    @property
    def heading(self) -> str:
        """The name of the state."""
        return STATES[self.state][0]

    @property
    def sentence(self) -> str:
        """What it means, in one sentence: the worker's own where there is an error that ended it."""
        if self.status and self.status.error and self.is_over:
            return self.status.error.message
        if self.turn > 1:
            before = "One of your requests is" if self.turn == 2 else f"{self.turn - 1} of your requests are"
            return f"{before} before it. They are deployed one after the other."
        return STATES[self.state][1]

    @property
    def detail(self) -> str | None:
        """What the worker says of a request that goes on."""
        return self.status.error.message if self.status and self.status.error and not self.is_over else None

    @property
    def advice(self) -> str | None:
        """What the code of an end means and what to do, where the message does not say it already."""
        error = self.status.error if self.status else None
        text = CODES.get(error.code) if error and self.is_over else None
        return text if error and text != error.message else None

    @property
    def code(self) -> str | None:
        """The code of the error, if there is one."""
        return self.status.error.code if self.status and self.status.error else None

    @property
    def has_dead_letter(self) -> bool:
        """Whether an operator may replay it: its retries ran out, or its outcome stayed unknown."""
        code = self.code or ""
        return self.state is State.FAILED and (code in Unavailable.codes or code == "outcome-unknown")

    @property
    def next_attempt(self) -> datetime | None:
        """When it is tried again."""
        return self.status.next_attempt_at if self.status and self.state is State.RETRYING else None

    @property
    def kind(self) -> str | None:
        """What the solution is."""
        return KINDS[self.status.kind] if self.status and self.status.kind else None

    @property
    def is_plain(self) -> bool:
        """Whether the sentence says no more than the name of the state does."""
        return self.state in (State.DEPLOYED, State.BUILDING, State.SUBMITTING)

    @property
    def has_more_steps(self) -> bool:
        """Whether there were other statuses than the four steps show."""
        kept = [step.state for step in self.steps]
        return not self.is_complete or len(set(kept)) < len(kept) or not set(kept) - _ENDS <= set(STEPS)

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.state in FINAL_STATES

    @property
    def is_live(self) -> bool:
        """Whether something may still happen."""
        return not self.is_over

    @property
    def time(self) -> datetime | None:
        """When it was requested, as far as is known."""
        return self.steps[0].time if self.steps else None


def shown(found: Found, user_id: str, own: Sequence[Entry] = ()) -> Shown:
    """Return what a page shows a user of a request; `own` are their open ones."""
    entry, made = found.entry, found.made
    status = _status(entry)
    steps = entry.steps if entry else []
    asked = entry.asked if entry and entry.asked else (made.solution_id, made.revision_id) if made else ("", "")
    return Shown(
        found.request_id,
        entry.state if entry else None,
        status,
        steps,
        entry.is_complete if entry else True,
        milestones(entry.state if entry else None, steps),
        turn_of(entry, own) if entry else 0,
        *asked,
        entry.sequence if entry else -1,
        entry is None or entry.belongs_to(user_id),
    )


def milestones(state: State | None, steps: Sequence[Step]) -> list[Milestone]:
    """Return the four steps: what is done and how long it took, what is at work now, and where it stopped."""
    began: dict[int, datetime] = {}
    for step in steps:
        if step.state in STEPS:  # another attempt begins again at an earlier one
            number = STEPS.index(step.state)
            began = {it: time for it, time in began.items() if it < number} | {number: step.time}
    reached = max(began, default=-1)
    return [
        Milestone(
            _step_name(number, mark, reached),
            began.get(number),
            _took(number, mark, began, steps[-1].time) if steps else None,
            mark,
        )
        for number, mark in ((number, _mark(number, reached, state)) for number in range(len(STEPS)))
    ]


def _mark(number: int, reached: int, state: State | None) -> str:
    if number < reached or (number == reached and state is State.DEPLOYED):
        return "done"
    if number > max(reached, 0):
        return "next"
    if state in (State.REJECTED, State.FAILED):
        return "stopped"
    return "waits" if state in (State.PARKED, State.RETRYING) else "now"


def _step_name(number: int, mark: str, reached: int) -> str:
    if number == 0 and reached < 0:
        return NOT_ACCEPTED[mark == "stopped"]
    return STEP_NAMES[STEPS[number]][mark in ("done", "next")]


def _took(number: int, mark: str, began: Mapping[int, datetime], end: datetime) -> timedelta | None:
    """Return the time from a step's beginning to that of the next one, or to the end where it stopped."""
    later = [time for it, time in began.items() if it > number]
    until = min(later) if later else end if mark == "stopped" else None
    return until - began[number] if until and number in began else None


class Pages:
    """Renders the pages of one gateway."""

    def __init__(self, base: str, public_url: str, portal_url: str | None) -> None:
        """Take the path before all links as `base`, without a slash at its end."""
        self._environment = Environment(
            loader=PackageLoader("worker.gateway"),
            autoescape=select_autoescape(default=True, default_for_string=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        hashes = {name: sha256(content).hexdigest()[:12] for name, (_, content) in STATIC.items()}
        self._environment.globals.update(
            base=base,
            public_url=public_url.rstrip("/"),
            portal_url=portal_url,
            t=TEXTS,
            static=lambda name: f"{base}/static/{hashes[name]}/{name}",
            states=STATES,
            marks=MARKS,
            nav=_nav,
        )
        self._environment.filters.update(
            time=_time,
            iso=_iso,
            seconds=_seconds,
            size=_size,
            breakable=_breakable,
            code_spans=_code_spans,
            for_whom=_for_whom,
        )

    def render(self, template: str, **values: object) -> str:
        """Render a template by its name."""
        return self._environment.get_template(template).render(**values)

    def request(self, one: Shown, session: Session, stale: Stale | None, nonce: str) -> str:
        """Return the page of one request. `stale`: set while Kafka does not answer."""
        return self.render("request.html", it=one, session=session, stale=stale, nonce=nonce)

    def live(self, one: Shown, session: Session, stale: Stale | None, nonce: str) -> str:
        """Return the part of that page that changes."""
        return self.render("_request.html", it=one, session=session, stale=stale, nonce=nonce)

    def requests(self, ones: Sequence[Shown], session: Session, stale: Stale | None, *, everybody: bool) -> str:
        """Return the list."""
        return self.render("requests.html", ones=ones, session=session, stale=stale, everybody=everybody)

    def listed(self, ones: Sequence[Shown], session: Session, stale: Stale | None, *, everybody: bool) -> str:
        """Return the part of the list that changes."""
        return self.render("_requests.html", ones=ones, session=session, stale=stale, everybody=everybody)

    def parked(self, ones: Sequence[Shown], failed: Sequence[Shown], session: Session, stale: Stale | None) -> str:
        """Return the page of what waits for an operator, and of what has failed."""
        return self.render("parked.html", ones=ones, failed=failed, session=session, stale=stale)

    def text(self, name: str) -> str:
        """Return a sentence of the table."""
        return TEXTS[name]

    def message(
        self, status: int, text: str, session: Session | None, code: str | None = None, *, has_links: bool = True
    ) -> str:
        """Return a page with one sentence on it.

        `has_links` is false at an address with a token in it, which a link would hand on as the referrer.
        """
        heading = TEXTS["not_found"] if code == "request-unknown" else _HEADINGS.get(status, TEXTS["error"])
        return self.render(
            "message.html", heading=heading, text=text, session=session, code=code, status=status, has_links=has_links
        )


def _nav(is_admin: bool) -> list[tuple[str, str, str]]:
    """Return the pages of the header: address, title, and name."""
    if not is_admin:
        return [("/requests", TEXTS["mine"], TEXTS["mine"])]
    return [
        ("/requests", TEXTS["mine"], TEXTS["yours"]),
        ("/requests?all=1", TEXTS["all"], TEXTS["everybodys"]),
        ("/parked", TEXTS["parked"], TEXTS["to_resolve"]),
    ]


def _status(entry: Entry | None) -> DeploymentStatus | None:
    try:
        return entry.status if entry else None
    except ValidationError:
        return None


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _iso(moment: datetime) -> str:
    return rfc3339(moment.astimezone(UTC))


def _seconds(duration: timedelta) -> str:
    seconds = duration.total_seconds()
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"


def _size(size: int) -> str:
    if size < 1000:
        return f"{size} bytes"
    return f"{size / 1000:.1f} kB" if size < 1_000_000 else f"{size / 1_000_000:.1f} MB"


def _breakable(name: str) -> Markup:
    """Let a long name break where its words end."""
    return Markup(_BREAK_AFTER.sub(r"\1<wbr>", escape(name)))  # noqa: S704 - it is escaped


def _code_spans(text: str) -> Markup:
    """Show what stands in backticks as code."""
    return Markup(_CODE.sub(r"<code>\1</code>", escape(text)))  # noqa: S704 - it is escaped


def _for_whom(text: str, is_admin: bool) -> str:
    """Leave out what only an operator can do."""
    return text if is_admin else text.partition(" Operator:")[0]
