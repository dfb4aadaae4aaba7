"""The routes: the handler of each address. docs/gateway.md describes them for callers."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, urlsplit
from uuid import UUID, uuid4

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from aiohttp_sse import EventSourceResponse
from aiokafka.errors import KafkaError

from schemas import State
from worker.domain import strict_json
from worker.domain.solution import Caller
from worker.errors import CommandError, WorkerError
from worker.gateway.answers import (
    Answers,
    Refused,
    bearer_of,
    id_of,
    portal_cookie,
    refused,
    see_other,
    token_of,
    wanted_wait,
    wants_page,
)
from worker.gateway.connection import MAX_BODY, Connection
from worker.gateway.downloads import Downloads, send
from worker.gateway.entry import Entry
from worker.gateway.forms import FormError, form_of
from worker.gateway.front_door import refusal
from worker.gateway.headers import add_headers
from worker.gateway.metrics import PUBLISHED, REFUSED, STREAMS, STREAMS_CUT_OFF
from worker.gateway.operations import Operations
from worker.gateway.pages import MAX_LISTED, STATIC, Pages, Shown, Stale, shown
from worker.gateway.service import Away, Found, Gateway, TooMany, has_news, is_deployed
from worker.gateway.sessions import Made, Session
from worker.gateway.view import turns_of
from worker.settings import GatewaySettings

API_WAIT = 3.0  # seconds that a POST waits for its first status
SEND_SECONDS = 10.0  # to send one event to a browser that does not read
LOOK_SECONDS = 1.0  # between two events of a list, and between two checks that the reader is still connected
REFRESH_SECONDS = 15.0  # between two renderings without a new status: the position in the key queue may change
PING_SECONDS = 15  # between two pings; proxies close streams that are silent for 30 to 60 s
OPERATION_SECONDS = 15.0  # for an operation on a request, which reads topics
MAX_FAILED = 50  # failed requests on the operators' page
MAX_KEY = 255  # characters of an idempotency key
AGAIN_WITH_KEY = (
    "The request could not be published because Kafka does not answer. Send it again with the same Idempotency-Key, so "
    "that the solution is deployed only once."
)


T = TypeVar("T")


class Builds(Protocol):
    """A builder of bundles, such as the worker's Builder."""

    def build(self, solution_id: UUID, revision_id: UUID, caller: Caller | None) -> Awaitable[tuple[Any, Any]]:
        """Return plan and bundle. Raises DeploymentError."""
        ...


class Routes:
    """All routes of a gateway."""

    def __init__(
        self, gateway: Gateway, builder: Builds, operations: Operations, pages: Pages, settings: GatewaySettings
    ) -> None:
        sessions = gateway.sessions
        self._gateway = gateway
        self._builder = builder
        self._operations = operations
        self._sessions = sessions
        self._pages = pages
        self._settings = settings
        self._answers = Answers(pages, sessions)
        self._base = urlsplit(settings.public_url).path.rstrip("/")
        self._origin = "{0.scheme}://{0.netloc}".format(urlsplit(settings.public_url))
        self._openapi = _openapi(settings.public_url)
        self._streams: dict[str, list[web.Request]] = {}  # user → open event streams and long polls
        self._downloads = Downloads()
        self.stopping = asyncio.Event()

    def add_to(self, app: web.Application) -> None:
        """Add every route, with and without the prefix, because an ingress may or may not strip the prefix."""
        if self._base:
            app.router.add_get(self._base, self.home, allow_head=False)
        for prefix in {"", self._base}:
            for method, path, respond in (
                ("GET", "/deploy/{solution}/{revision}", self.click),
                ("POST", "/deploy", self.posted_click),
                ("GET", "/getSolutionZip/{solution}/{revision}", self.solution_zip),
                ("POST", "/v1/deployments", self.create),
                ("GET", "/v1/deployments/{id}", self.status),
                ("GET", "/v1/deployments/{id}/events", self.status_events),
                ("GET", "/", self.home),
                ("GET", "/requests", self.listing),
                ("GET", "/requests/events", self.list_events),
                ("GET", "/requests/{id}", self.show),
                ("GET", "/requests/{id}/events", self.page_events),
                ("GET", "/parked", self.parked),
                ("POST", "/requests/{id}/again", self.again),
                ("POST", "/requests/{id}/settle", self.settle),
                ("POST", "/requests/{id}/replay", self.replay),
                ("POST", "/log-out", self.log_out),
                ("GET", "/static/{hash}/{name}", self.static),
                ("GET", "/openapi.json", self.openapi),
            ):
                if method == "GET":
                    app.router.add_get(prefix + path, respond, allow_head=False)
                else:
                    app.router.add_route(method, prefix + path, respond)

    @property
    def middleware(self) -> Middleware:
        """The middleware that turns exceptions of the routes into answers."""

        @web.middleware
        async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
            try:
                return await handler(request)
            except WorkerError as error:
                why = refused(error)
            except FormError as error:
                why = Refused(error.status, "not-a-form", str(error))
            except Refused as error:
                why = error
            return self._answers.refuse(request, why.status, why.code, why.message)

        return answer

    def refuse(self, request: web.Request, status: int, code: str, message: str) -> web.Response:
        """Answer an HTTP request that no route answered."""
        return self._answers.refuse(request, status, code, message)

    # ------------------------------------------------------------------------------------------- the portal's

    async def click(self, request: web.Request) -> web.StreamResponse:
        """`GET /deploy/{solution}/{revision}`: the address that today's portal opens in a new tab."""
        if reason := refusal(request.method, request.headers):
            REFUSED.labels("not-a-click").inc()
            raise Refused(403, "not-a-click", reason)
        ids = request.match_info
        return await self._click(
            request, token_of(request), id_of(ids["solution"], "solution"), id_of(ids["revision"], "revision")
        )

    async def posted_click(self, request: web.Request) -> web.StreamResponse:
        """`POST /deploy`: the same as a form, so that no address contains the token."""
        form = await form_of(request)
        solution, revision, token = (form.get(it, "") for it in ("solutionId", "revisionId", "jwtToken"))
        return await self._click(request, token, id_of(solution, "solution"), id_of(revision, "revision"))

    async def _click(self, request: web.Request, token: str, solution: UUID, revision: UUID) -> web.StreamResponse:
        began = asyncio.get_running_loop().time()
        session = await self._gateway.authenticate(token)
        before = self._sessions.read(request)
        if before and before.user_id == session.user_id:
            for made in reversed(before.made):
                session = session.with_made(made)
        async with self._waiting(request, session, self._settings.wait_seconds) as seconds:
            try:
                found = await self._gateway.deploy(session, token, solution, revision)
            except (TooMany, Away) as error:  # the user is known, so the session lets them read their pages
                why = refused(error)
                response = self._answers.refuse(request, why.status, why.code, why.message)
                self._sessions.write(response, session)
                return response
            if found.made:
                session = session.with_made(found.made)
            rest = max(0.0, began + seconds - asyncio.get_running_loop().time())
            found = await self._wait(request, found, session, rest)
        return self._after_click(request, session, found)

    def _after_click(self, request: web.Request, session: Session, found: Found) -> web.StreamResponse:
        """Answer as the Java deployer does if the outcome is known, otherwise redirect to the request's page."""
        status = found.entry.status if found.entry else None
        if is_deployed(found) and status and status.deployment:
            response = web.Response(status=302, headers={"Location": status.deployment.url})
        elif status and status.error and status.state in (State.REJECTED, State.FAILED) and not wants_page(request):
            response = web.Response(status=404, text=f"{status.error.message} [{status.error.code}]\n")
        else:
            response = see_other(self._page_of(found.request_id))
        self._sessions.write(response, session)
        return response

    async def solution_zip(self, request: web.Request) -> web.StreamResponse:
        """`GET /getSolutionZip/{solution}/{revision}`: download the bundle, without Kafka and the playground."""
        ids = request.match_info
        solution, revision = id_of(ids["solution"], "solution"), id_of(ids["revision"], "revision")
        # The portal's cookie alone permits no deployment, but it permits reading what its user may read.
        token = token_of(request)
        if not token and (token := portal_cookie(request)) and refusal(request.method, request.headers):
            REFUSED.labels("not-a-click").inc()
            raise Refused(
                403, "not-a-click", "The portal's cookie is accepted only if this address is opened in a tab."
            )
        session = await self._gateway.authenticate(token)
        async with self._downloads.slot(session.user_id):
            _, bundle = await self._builder.build(solution, revision, Caller(session.user_id, session.email))
            headers = {"Content-Disposition": 'attachment; filename="solution.zip"', "Content-Type": "application/zip"}
            return await send(request, bundle.data, web.StreamResponse(headers=headers))

    # -------------------------------------------------------------------------------------------- for programs

    async def create(self, request: web.Request) -> web.StreamResponse:
        """`POST /v1/deployments`: publish a request, and answer with its first status or its id."""
        token = bearer_of(request)
        session = await self._gateway.authenticate(token or "")
        solution, revision = _asked(await request.read())
        key = request.headers.get("Idempotency-Key", "").strip().strip('"') or str(uuid4())
        if len(key) > MAX_KEY or not key.isprintable():
            raise Refused(400, "invalid-request", f"Use an Idempotency-Key of up to {MAX_KEY} printable characters.")
        async with self._waiting(request, session, API_WAIT) as seconds:
            try:
                found = await self._gateway.deploy_with_key(session, token or "", solution, revision, key)
            except Away:
                raise Away(AGAIN_WITH_KEY) from None
            found = await self._wait(request, found, session, seconds, after=-1)
        response = _json(found, 202)
        response.headers["Location"] = f"{self._base}/v1/deployments/{found.request_id}"
        response.headers["Retry-After"] = "2"
        return response

    async def status(self, request: web.Request) -> web.StreamResponse:
        """`GET /v1/deployments/{id}`: the last status, or the next status."""
        session = await self._reader(request)
        found = self._gateway.find(request.match_info["id"], session)
        if found is None:
            return self._answers.not_found(request, session)
        known = _sequence(request.headers.get("If-None-Match", ""), found.request_id)
        async with self._waiting(request, session) as seconds:
            if seconds:
                found = await self._wait(request, found, session, seconds, after=known)
        if found.entry and found.entry.sequence == known:
            return web.Response(status=304, headers={"ETag": _etag(found)})
        return _json(found, 200)

    async def status_events(self, request: web.Request) -> web.StreamResponse:
        """`GET /v1/deployments/{id}/events`: statuses as server-sent events."""
        session = await self._reader(request)
        found = self._gateway.find(request.match_info["id"], session)
        if found is None:
            return self._answers.not_found(request, session)

        async def last(it: Found) -> str:
            return it.entry.json.decode() if it.entry else ""

        return await self._follow(request, session, found, "status", last)

    async def openapi(self, _: web.Request) -> web.StreamResponse:
        """`GET /openapi.json`: the description of this interface, for tools."""
        return web.Response(body=self._openapi, content_type="application/json")

    async def _reader(self, request: web.Request) -> Session:
        """Return the session of the reader, from a token or from the cookie. Raises Refused, Unauthenticated."""
        if token := bearer_of(request):
            return await self._gateway.authenticate(token)
        return await self._session(request)

    async def _session(self, request: web.Request) -> Session:
        session = self._sessions.read(request)
        if session is None:
            raise Refused(401, "session-missing", self._pages.text("no_session_text"))
        await self._gateway.rates.take(session.user_id)
        return session

    # ---------------------------------------------------------------------------------------------- for people

    async def home(self, _: web.Request) -> web.StreamResponse:
        """`GET /`: redirect to the list of requests."""
        return see_other(f"{self._base}/requests")

    async def listing(self, request: web.Request) -> web.StreamResponse:
        """`GET /requests`: the user's requests, newest first; with `?all=1`, all users' requests for administrators."""
        session = await self._session(request)
        everybody = _all_wanted(request, session)
        await self._gateway.learn(session)
        found, queue = self._list(session, everybody)
        return self._answers.page(self._pages.requests(found, session, queue, self._stale(), everybody=everybody))

    def _list(self, session: Session, everybody: bool) -> tuple[list[Found], list[Entry]]:
        """Return the requests of the list, and the user's open requests, which show how long each has to wait."""
        queue = self._gateway.own_open(session)
        if everybody:
            return [Found(it.request_id, it) for it in self._gateway.view.latest(MAX_LISTED)], queue
        own = self._gateway.own(session, MAX_LISTED)
        listed = {it.request_id for it in own}
        # Requests that only the session knows: without a status, or rejected before their token was verified.
        made = (self._gateway.find(it.request_id, session) for it in session.made if it.request_id not in listed)
        return [*filter(None, made), *(Found(it.request_id, it) for it in own)], queue

    async def show(self, request: web.Request) -> web.StreamResponse:
        """`GET /requests/{id}`: the page of a request."""
        session = await self._session(request)
        found = self._gateway.find(request.match_info["id"], session)
        if found is None:
            return self._answers.not_found(request, session)
        await self._gateway.learn(session)
        page = self._pages.request(self._shown(found, session), session, self._stale(), secrets.token_urlsafe(12))
        return self._answers.page(page)

    def _shown(self, found: Found, session: Session) -> Shown:
        turn = 0
        if found.entry and found.entry.state is State.ACCEPTED:
            turn = turns_of(self._gateway.own_open(session)).get(found.entry.key, 0)
        return shown(found, session.user_id, turn)

    async def list_events(self, request: web.Request) -> web.StreamResponse:
        """`GET /requests/events`: the list whenever it changes, at most once a second."""
        session = await self._session(request)
        everybody = _all_wanted(request, session)
        last: object = None
        async with self._stream(request, session) as response:
            with self._gateway.watching_list(session, everybody) as news:
                while self._is_read(request, response, session):
                    news.clear()
                    await self._gateway.learn(session)
                    found, queue = self._list(session, everybody)
                    stale = self._stale()
                    # Everything that the list shows follows from these.
                    state = stale, [*map(_version, found)], [(it.key, it.offset, it.sequence) for it in queue]
                    if state != last:
                        last, html = state, self._pages.listed(found, session, queue, stale, everybody=everybody)
                        await response.send(html, event="page")
                        await _either(self.stopping)
                    else:
                        await response.send("", event="alive")
                    await self._until(news, request, response, session)
            await self._say_expired(response, session)
        return response

    async def page_events(self, request: web.Request) -> web.StreamResponse:
        """`GET /requests/{id}/events`: the changing part of the page, immediately and whenever it changes."""
        session = await self._session(request)
        found = self._gateway.find(request.match_info["id"], session)
        if found is None:
            return self._answers.not_found(request, session)
        nonce = secrets.token_urlsafe(12)

        async def live(it: Found) -> str:
            await self._gateway.learn(session)
            return self._pages.live(self._shown(it, session), session, self._stale(), nonce)

        return await self._follow(request, session, found, "page", live)

    async def parked(self, request: web.Request) -> web.StreamResponse:
        """`GET /parked`: the parked and the failed requests, for administrators."""
        session = await self._admin(request)
        view = self._gateway.view
        ones, failed = (
            [shown(Found(it.request_id, it), session.user_id) for it in entries]
            for entries in (view.parked()[:MAX_LISTED], view.failed(MAX_FAILED))
        )
        return self._answers.page(self._pages.parked(ones, failed, session, self._stale()))

    async def again(self, request: web.Request) -> web.StreamResponse:
        """`POST /requests/{id}/again`: publish the owner's request again, once for each nonce of the page."""
        session, found = await self._acting(request)
        form = await form_of(request)
        nonce = form.get("nonce", "")
        if not found.entry or not found.entry.belongs_to(session.user_id) or not 8 <= len(nonce) <= 64:
            return self._answers.not_found(request, session)
        if not found.entry.is_final:  # a parked request may be deployed
            raise Refused(409, "not-ended", "This request has not finished. Wait until it has, then deploy it again.")
        await self._gateway.learn(session)
        publisher = self._gateway.publisher_for(session)
        key = session.user_id.encode()
        new = await self._done(self._operations.deploy_again(publisher, found.entry.status, key, nonce))
        PUBLISHED.inc()
        return self._to_new(session, found.entry.key[0], new, found)

    async def settle(self, request: web.Request) -> web.StreamResponse:
        """`POST /requests/{id}/settle`: an administrator records the outcome of a parked request."""
        session, found, entry = await self._administering(request)
        form = await form_of(request)
        outcome, reason = form.get("outcome", ""), form.get("reason", "")
        before = entry.sequence
        await self._done(self._operations.settle(entry.status, outcome, reason, session.email))
        await self._gateway.wait(found, session, API_WAIT, after=before)
        return see_other(self._page_of(found.request_id))

    async def replay(self, request: web.Request) -> web.StreamResponse:
        """`POST /requests/{id}/replay`: an administrator replays a dead letter's request."""
        session, found, entry = await self._administering(request)
        await self._gateway.learn(session)
        publisher = self._gateway.publisher_for(session)
        new = await self._done(self._operations.replay(publisher, found.request_id))
        PUBLISHED.inc()
        return self._to_new(session, entry.key[0], new, found)

    async def _done(self, work: Awaitable[T]) -> T:
        """Await an operation, at most OPERATION_SECONDS. Raises Refused, Away."""
        try:
            async with asyncio.timeout(OPERATION_SECONDS):
                return await work
        except CommandError as error:
            raise Refused(409, "not-possible", str(error)) from None
        except (KafkaError, TimeoutError):
            raise Away from None

    async def _acting(self, request: web.Request) -> tuple[Session, Found]:
        """Return the user and the request of an action that one of the gateway's own pages sent. Raises Refused."""
        self._same_origin(request)
        session = await self._session(request)
        found = self._gateway.find(request.match_info["id"], session)
        if found is None:
            raise Refused(404, "request-unknown", self._pages.text("not_found_text"))
        return session, found

    async def _administering(self, request: web.Request) -> tuple[Session, Found, Entry]:
        """Return the administrator and the request of an action. Raises Refused."""
        session, found = await self._acting(request)
        if not session.is_admin or found.entry is None:
            raise Refused(404, "request-unknown", self._pages.text("not_found_text"))
        return session, found, found.entry

    async def _admin(self, request: web.Request) -> Session:
        session = await self._session(request)
        if not session.is_admin:
            raise Refused(404, "not-found", self._pages.text("not_found_text"))
        return session

    def _to_new(self, session: Session, partition: int, request_id: str, old: Found) -> web.StreamResponse:
        """Redirect to a request that was created from another request and that may not have a status yet."""
        asked = (old.entry.asked if old.entry else None) or ("", "")
        response = see_other(self._page_of(request_id))
        self._sessions.write(response, session.with_made(Made(request_id, partition, -1, *asked)))
        return response

    async def log_out(self, request: web.Request) -> web.StreamResponse:
        """`POST /log-out`: delete the session cookie."""
        self._same_origin(request)
        response = see_other(f"{self._base}/requests")
        self._sessions.end(response)
        return response

    async def static(self, request: web.Request) -> web.StreamResponse:
        """`GET /static/{hash}/{name}`: style sheet, script and icon. The hash lets browsers cache them."""
        found = STATIC.get(request.match_info["name"])
        if found is None:
            raise Refused(404, "not-found", "There is no such file.")
        headers = {"Cache-Control": "public, max-age=31536000, immutable"}
        return web.Response(body=found[1], content_type=found[0], charset="utf-8", headers=headers)

    def _same_origin(self, request: web.Request) -> None:
        """Reject requests that another site's page sends. Raises Refused.

        From a page without a referrer, such as an error page, browsers send the origin `null`. They still send
        `Sec-Fetch-Site`.
        """
        site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
        if site not in (None, "same-origin", "none") or (site is None and origin not in (None, self._origin)):
            raise Refused(403, "other-origin", "This form came from another site. Send it from the gateway's own page.")

    def _stale(self) -> Stale | None:
        return None if self._gateway.reader.is_connected else Stale(self._gateway.reader.as_of)

    def _page_of(self, request_id: str) -> str:
        return f"{self._base}/requests/{quote(request_id, safe='')}"

    # ------------------------------------------------------------------------------------------------- streams

    @asynccontextmanager
    async def _following(self, request: web.Request, session: Session) -> AsyncIterator[None]:
        """Count an event stream or a long poll during the block, if the limits allow it. Raises TooMany."""
        own = self._streams.get(session.user_id, [])
        followed = sum(it.transport is not None for it in own)  # without disconnected readers, as after a reload
        if sum(map(len, self._streams.values())) >= self._settings.max_streams:
            raise TooMany("The gateway has too many open pages and event streams. Try again in a while.")
        if followed >= self._settings.max_streams_per_user:
            raise TooMany("You have too many open pages and event streams. Close one and try again.")
        self._streams[session.user_id] = own
        own.append(request)
        STREAMS.inc()
        try:
            yield
        finally:
            STREAMS.dec()
            own.remove(request)
            if not own:
                del self._streams[session.user_id]

    @asynccontextmanager
    async def _stream(self, request: web.Request, session: Session) -> AsyncIterator["_Stream"]:
        """Open an event stream, if the limits allow it. Raises TooMany."""
        async with self._following(request, session):
            response = _Stream(send_timeout=SEND_SECONDS, ping_interval=PING_SECONDS)
            add_headers(request, response)
            response.headers["Cache-Control"] = "no-store"
            try:
                await response.prepare(request)
                async with response:
                    # The reader has disconnected or does not read; `is_cut_off` distinguishes them.
                    with suppress(ConnectionError, TimeoutError):
                        yield response
            finally:
                connection = request.protocol
                if response.is_cut_off or (isinstance(connection, Connection) and connection.is_unreachable):
                    STREAMS_CUT_OFF.inc()

    @asynccontextmanager
    async def _waiting(self, request: web.Request, session: Session, default: float = 0.0) -> AsyncIterator[float]:
        """Yield the seconds that the answer may wait. A wait above the default counts as a stream. Raises TooMany."""
        seconds = wanted_wait(request, default)
        if seconds <= default:
            yield seconds
        else:
            async with self._following(request, session):
                yield seconds

    async def _wait(
        self, request: web.Request, found: Found, session: Session, seconds: float, after: int | None = None
    ) -> Found:
        """Wait for news of a request until the time is up, the sender disconnects, or the gateway stops."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while not self.stopping.is_set():
            rest = until - loop.time()
            found = await self._gateway.wait(found, session, max(0.0, min(rest, LOOK_SECONDS)), after=after)
            if rest <= LOOK_SECONDS or has_news(found, after) or request.transport is None:
                break
        return found

    async def _follow(
        self,
        request: web.Request,
        session: Session,
        found: Found,
        event: str,
        render: Callable[[Found], Awaitable[str]],
    ) -> web.StreamResponse:
        """Send the current state and each change. 204 for a client that has seen the end stops its EventSource."""
        is_over = found.entry is not None and found.entry.is_final
        if is_over and request.headers.get("Last-Event-ID", "") == _event_id(found):
            return web.Response(status=204)
        told = ""
        async with self._stream(request, session) as response, self._gateway.watching(found) as news:
            while self._is_read(request, response, session):
                news.clear()
                found = self._gateway.again(found, session)
                text = await render(found)
                if text != told:
                    await response.send(text, event=event, id=_event_id(found))
                    told = text
                else:
                    await response.send("", event="alive")  # scripts cannot see pings
                if found.entry is not None and found.entry.is_final:
                    await response.send("", event="over", id=_event_id(found))
                    break
                await self._until(news, request, response, session)
            await self._say_expired(response, session)
        return response

    async def _say_expired(self, response: EventSourceResponse, session: Session) -> None:
        """Notify the page if its stream ends because the session has expired."""
        if self._sessions.has_expired(session):
            await response.send("", event="expired")

    async def _until(
        self, news: asyncio.Event, request: web.Request, response: EventSourceResponse, session: Session
    ) -> None:
        """Wait for news or for a change of Kafka's availability, at most REFRESH_SECONDS."""
        loop, before = asyncio.get_running_loop(), self._gateway.reader.is_connected
        until = loop.time() + REFRESH_SECONDS
        reader = self._gateway.reader
        while self._is_read(request, response, session) and reader.is_connected == before and loop.time() < until:
            await _either(news, self.stopping)
            if news.is_set():
                return

    def _is_read(self, request: web.Request, response: EventSourceResponse, session: Session) -> bool:
        """Return whether a permitted reader is connected. This detects a disconnect before the next ping does."""
        if self.stopping.is_set() or self._sessions.has_expired(session):
            return False
        return response.is_connected() and request.transport is not None


class _Stream(EventSourceResponse):
    """An event stream that records whether it was closed because an event or a ping was not read."""

    is_cut_off = False

    def _abort_transport(self) -> None:
        self.is_cut_off = True
        super()._abort_transport()


async def _either(*events: asyncio.Event) -> None:
    """Wait for one of the events, at most LOOK_SECONDS."""
    waiting = [asyncio.ensure_future(it.wait()) for it in events]
    try:
        await asyncio.wait(waiting, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for it in waiting:
            it.cancel()


def _all_wanted(request: web.Request, session: Session) -> bool:
    """Return whether an administrator wants all users' requests."""
    return session.is_admin and "all" in request.query


def _event_id(found: Found) -> str:
    return f"{found.request_id}:{found.entry.sequence if found.entry else -1}"


def _version(found: Found) -> tuple[object, ...]:
    """Return a value that changes with each status, and when the id is reused."""
    return (found.entry.key, found.entry.offset, found.entry.sequence) if found.entry else (found.request_id,)


def _etag(found: Found) -> str:
    return f'"{_event_id(found)}"'


def _sequence(tag: str, request_id: str) -> int | None:
    """Return the sequence number in an ETag; None if the ETag is not of this request."""
    start = f"{request_id}:"
    text = tag.strip().removeprefix("W/").strip('"')
    number = text.removeprefix(start) if text.startswith(start) else ""
    return int(number) if number.isdecimal() and len(number) < 10 else None


def _json(found: Found, status: int) -> web.Response:
    """Return the last status as it was published, or only the id before the first status."""
    if found.entry is None:
        return web.json_response({"requestId": found.request_id}, status=status)
    headers = {"ETag": _etag(found)}
    return web.Response(body=found.entry.json, status=status, content_type="application/json", headers=headers)


def _openapi(public_url: str) -> bytes:
    """Return the OpenAPI document with this gateway's address."""
    text = files("schemas").joinpath("generated", "openapi.json").read_text(encoding="utf-8")
    return json.dumps(json.loads(text) | {"servers": [{"url": public_url.rstrip("/")}]}).encode()


def _asked(body: bytes) -> tuple[UUID, UUID]:
    """Read the ids of solution and revision from a request's body. Raises Refused."""
    try:
        asked: Any = strict_json.loads(body, max_bytes=MAX_BODY, max_string=MAX_BODY)
    except strict_json.JsonError as error:
        raise Refused(400, "not-json", f"The body is {error}. Send one JSON object.") from None
    if not isinstance(asked, dict):
        raise Refused(400, "invalid-request", "The body is not a JSON object. Send one with solutionId and revisionId.")
    ids = []
    for name in ("solutionId", "revisionId"):
        try:
            ids.append(UUID(asked[name]))
        except (KeyError, ValueError, TypeError, AttributeError):
            raise Refused(400, "invalid-request", f"{name} is missing or not a UUID. Correct it.") from None
    return ids[0], ids[1]
