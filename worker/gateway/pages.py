"""The pages: Jinja2 templates, rendered from data that the user may see. All external text is escaped."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from importlib.resources import files

from cachetools import LRUCache
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape
from pydantic import ValidationError

from schemas import FINAL_STATES, DeploymentStatus, State, rfc3339
from worker.errors import CODES, Unavailable
from worker.gateway.entry import Entry, Step
from worker.gateway.service import Found
from worker.gateway.sessions import Session
from worker.gateway.texts import KINDS, MARKS, NOT_ACCEPTED, STATES, STEP_NAMES, STEPS, TEXTS
from worker.gateway.view import turns_of

MAX_LISTED = 200  # requests on one page
MAX_CARD_BYTES = 10 * 1024 * 1024  # of rendered cards that are kept: about 13,000
CARD_OVERHEAD = 250  # bytes of a kept card's key
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
    """Kafka does not answer. The page shows the state at `since`; None: nothing has been read yet."""

    since: datetime | None


@dataclass(frozen=True, slots=True)
class Milestone:
    """One of the four steps of a request that is deployed without a failure."""

    name: str
    time: datetime | None  # when the step began
    took: timedelta | None
    mark: str  # done, now, waits, stopped, or next


@dataclass(frozen=True, slots=True)
class Shown:
    """A request as its page shows it."""

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
        """A prefix of the id, long enough to distinguish three deployments of the same name."""
        return self.request_id.removeprefix("record-")[:8]

    @property
    def title(self) -> str:
        """The solution's name, or the start of its id until the name is known."""
        return (self.status and self.status.solution_name) or f"Solution {self.solution_id[:8]}"

    @property
    def version(self) -> str | None:
        """The version of the revision; None until it is known."""
        return self.status.solution_version if self.status else None

    @property
    def heading(self) -> str:
        """The name of the state."""
        return STATES[self.state][0]

    @property
    def sentence(self) -> str:
        """The meaning of the state in one sentence. For a request that an error ended, the worker's message."""
        if self.status and self.status.error and self.is_over:
            return self.status.error.message
        if self.turn > 1:
            before = "One of your requests is" if self.turn == 2 else f"{self.turn - 1} of your requests are"
            return f"{before} before it. They are deployed one after the other."
        return STATES[self.state][1]

    @property
    def detail(self) -> str | None:
        """The worker's error message for a request without a final status."""
        return self.status.error.message if self.status and self.status.error and not self.is_over else None

    @property
    def advice(self) -> str | None:
        """The meaning of a final error code and the remedy, unless the message is the same text."""
        error = self.status.error if self.status else None
        text = CODES.get(error.code) if error and self.is_over else None
        return text if error and text != error.message else None

    @property
    def code(self) -> str | None:
        """The code of the error, if there is one."""
        return self.status.error.code if self.status and self.status.error else None

    @property
    def has_dead_letter(self) -> bool:
        """Whether an operator may replay the request: its retries ran out, or its outcome stayed unknown."""
        code = self.code or ""
        return self.state is State.FAILED and (code in Unavailable.codes or code == "outcome-unknown")

    @property
    def next_attempt(self) -> datetime | None:
        """The earliest time of the next attempt."""
        return self.status.next_attempt_at if self.status and self.state is State.RETRYING else None

    @property
    def kind(self) -> str | None:
        """The kind of the solution."""
        return KINDS[self.status.kind] if self.status and self.status.kind else None

    @property
    def is_plain(self) -> bool:
        """Whether the sentence adds nothing to the name of the state."""
        return self.state in (State.DEPLOYED, State.BUILDING, State.SUBMITTING)

    @property
    def has_more_steps(self) -> bool:
        """Whether the request had statuses that the four steps do not show."""
        kept = [step.state for step in self.steps]
        return not self.is_complete or len(set(kept)) < len(kept) or not set(kept) - _ENDS <= set(STEPS)

    @property
    def is_over(self) -> bool:
        """Whether the state is final."""
        return self.state in FINAL_STATES

    @property
    def is_live(self) -> bool:
        """Whether the state may still change."""
        return not self.is_over

    @property
    def time(self) -> datetime | None:
        """The time of the first known status."""
        return self.steps[0].time if self.steps else None


def shown(found: Found, user_id: str, turn: int = 0) -> Shown:
    """Return the request as a page shows it to the user. `turn`: its position in the user's key queue."""
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
        turn,
        *asked,
        entry.sequence if entry else -1,
        entry is None or entry.belongs_to(user_id),
    )


def milestones(state: State | None, steps: Sequence[Step]) -> list[Milestone]:
    """Return the four steps: which are done and how long each took, which is running, and which stopped."""
    began: dict[int, datetime] = {}
    for step in steps:
        if step.state in STEPS:  # another attempt restarts at an earlier step
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
    """Return the time from the start of a step to the start of the next step, or to the end if it stopped."""
    later = [time for it, time in began.items() if it > number]
    until = min(later) if later else end if mark == "stopped" else None
    return until - began[number] if until and number in began else None


def _size_of(card: bytes) -> int:
    return len(card) + CARD_OVERHEAD


class Pages:
    """Renders the pages of a gateway."""

    def __init__(self, base: str, public_url: str, portal_url: str | None) -> None:
        """Create the renderer. `base` is the path prefix of all links, without a trailing slash."""
        self._environment = Environment(
            loader=PackageLoader("worker.gateway"),
            autoescape=select_autoescape(default=True, default_for_string=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        # As UTF-8: one emoji makes a str use four bytes per character.
        self._cards: LRUCache[object, bytes] = LRUCache(MAX_CARD_BYTES, getsizeof=_size_of)
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
        """Return the page of a request. `stale` is set while Kafka does not answer."""
        return self.render("request.html", it=one, session=session, stale=stale, nonce=nonce)

    def live(self, one: Shown, session: Session, stale: Stale | None, nonce: str) -> str:
        """Return the part of the request's page that changes."""
        return self.render("_request.html", it=one, session=session, stale=stale, nonce=nonce)

    def requests(
        self, found: Sequence[Found], session: Session, queue: Sequence[Entry], stale: Stale | None, *, everybody: bool
    ) -> str:
        """Return the page with the list of requests. `queue`: the user's open requests."""
        cards = self._cards_of(found, session, queue, everybody=everybody)
        return self.render("requests.html", cards=cards, session=session, stale=stale, everybody=everybody)

    def listed(
        self, found: Sequence[Found], session: Session, queue: Sequence[Entry], stale: Stale | None, *, everybody: bool
    ) -> str:
        """Return the part of the list that changes."""
        cards = self._cards_of(found, session, queue, everybody=everybody)
        return self.render("_requests.html", cards=cards, stale=stale)

    def _cards_of(
        self, found: Sequence[Found], session: Session, queue: Sequence[Entry], *, everybody: bool
    ) -> list[Markup]:
        """Return the requests' cards. Of the 200 cards of a list, one or two change at a time."""
        cards, turns = [], turns_of(queue)
        for it in found:
            entry = it.entry
            if entry is None or it.made:  # only this session knows it by this id
                cards.append(self._card(shown(it, session.user_id), is_yours=False))
                continue
            turn, is_yours = turns.get(entry.key, 0), everybody and entry.belongs_to(session.user_id)
            # A card shows nothing else that changes.
            key = entry.key, entry.offset, entry.sequence, entry.time_ms, turn, is_yours
            kept = self._cards.get(key)
            if kept is None:
                kept = self._cards[key] = self._card(shown(it, session.user_id, turn), is_yours=is_yours).encode()
            cards.append(Markup(kept.decode()))  # noqa: S704 - it was rendered by `_card`
        return cards

    def _card(self, one: Shown, *, is_yours: bool) -> Markup:
        return Markup(self.render("_card.html", it=one, is_yours=is_yours))  # noqa: S704 - the template escapes

    def parked(self, ones: Sequence[Shown], failed: Sequence[Shown], session: Session, stale: Stale | None) -> str:
        """Return the page of parked and failed requests."""
        return self.render("parked.html", ones=ones, failed=failed, session=session, stale=stale)

    def text(self, name: str) -> str:
        """Return a text from the table `TEXTS`."""
        return TEXTS[name]

    def message(
        self, status: int, text: str, session: Session | None, code: str | None = None, *, has_links: bool = True
    ) -> str:
        """Return a page that shows one sentence.

        `has_links` is false at an address that contains a token, because a link could pass the address on as referrer.
        """
        heading = TEXTS["not_found"] if code == "request-unknown" else _HEADINGS.get(status, TEXTS["error"])
        return self.render(
            "message.html", heading=heading, text=text, session=session, code=code, status=status, has_links=has_links
        )


def _nav(is_admin: bool) -> list[tuple[str, str, str]]:
    """Return the links of the header: address, title, and name."""
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
    """Allow line breaks in a long name after punctuation."""
    return Markup(_BREAK_AFTER.sub(r"\1<wbr>", str(escape(name))))  # noqa: S704 - it is escaped


def _code_spans(text: str) -> Markup:
    """Show text in backticks as code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - it is escaped


def _for_whom(text: str, is_admin: bool) -> str:
    """Remove the advice that only an operator can follow."""
    return text if is_admin else text.partition(" Operator:")[0]
