"""Answers: pages for people, problem details (RFC 9457) for programs. Also reads what an HTTP request carries."""

import re
from uuid import UUID

from aiohttp import web

from worker.domain.tokens import strip_bearer
from worker.errors import DeploymentError, Rejected, Unauthenticated, Unavailable, WorkerError
from worker.gateway.metrics import REFUSED
from worker.gateway.pages import Pages
from worker.gateway.service import Away, KeyReused, TooMany
from worker.gateway.sessions import Session, Sessions
from worker.gateway.texts import TEXTS

MAX_WAIT = 300.0  # seconds: the maximum for `Prefer: wait`
RETRY_AFTER = "5"

_WAIT = re.compile(r"(?:^|[,;\s])wait=(\d{1,6})(?:$|[,;\s])")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Refused(Exception):
    """The HTTP request is refused with this status, code and message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def refused(error: WorkerError) -> Refused:
    """Translate an error into an answer. Raises the error itself if it has no answer."""
    match error:
        case Unauthenticated():
            REFUSED.labels("token").inc()
            return Refused(401, error.code, error.message)
        case Unavailable():
            return Refused(503, error.code, error.message)
        case TooMany():
            REFUSED.labels("limit").inc()
            return Refused(429, "too-many-requests", str(error))
        case Away():
            REFUSED.labels("kafka").inc()
            return Refused(503, "kafka-unavailable", str(error))
        case KeyReused():
            return Refused(422, "idempotency-key-reused", str(error))
        case Rejected():  # as the Java deployer answers
            return Refused(404, error.code, error.message)
        case DeploymentError():
            return Refused(500, error.code, error.message)
    raise error


class Answers:
    """Creates error answers and page answers."""

    def __init__(self, pages: Pages, sessions: Sessions) -> None:
        self._pages = pages
        self._sessions = sessions

    def refuse(self, request: web.Request, status: int, code: str, message: str) -> web.Response:
        """Answer with an error: a page for a browser, problem details for `/v1`, plain text otherwise."""
        if wants_page(request):
            session = self._sessions.read(request)
            has_links = "jwtToken" not in request.query
            response = self.page(self._pages.message(status, message, session, code, has_links=has_links), status)
        elif is_api(request):
            response = problem(status, code, message)
        else:
            response = web.Response(status=status, text=f"{message} [{code}]\n")
        if status == 401:
            response.headers["WWW-Authenticate"] = 'Bearer realm="playground-deployer"'
        if status in (429, 503):
            response.headers["Retry-After"] = RETRY_AFTER
        return response

    def no_session(self, request: web.Request) -> web.Response:
        """Answer a request without a valid session."""
        if not wants_page(request):
            return self.refuse(request, 401, "session-missing", TEXTS["no_session_text"])
        return self.page(self._pages.message(401, TEXTS["no_session_text"], None, "session-missing"), 401)

    def not_found(self, request: web.Request, session: Session | None) -> web.Response:
        """Answer that the request does not exist or belongs to another user. The answer does not show which."""
        if not wants_page(request):
            return self.refuse(request, 404, "request-unknown", TEXTS["not_found_text"])
        return self.page(self._pages.message(404, TEXTS["not_found_text"], session, "request-unknown"), 404)

    @staticmethod
    def page(html: str, status: int = 200) -> web.Response:
        """Answer with a page.

        A successful page sends its referrer to the gateway, because browsers omit the origin of a form on a page
        without a referrer. An error page may have a token in its address, so it sends no referrer.
        """
        headers = {"Referrer-Policy": "same-origin"} if status == 200 else {}
        return web.Response(status=status, text=html, content_type="text/html", headers=headers)


def problem(status: int, code: str, message: str) -> web.Response:
    """Return problem details."""
    body = {"type": "about:blank", "status": status, "title": message.partition(". ")[0].rstrip("."), "detail": message}
    return web.json_response(body | {"code": code}, status=status, content_type="application/problem+json")


def see_other(path: str) -> web.Response:
    """Send a browser to a page."""
    return web.Response(status=303, headers={"Location": path})


def wants_page(request: web.Request) -> bool:
    """Return whether the client is a browser that accepts a page."""
    return not is_api(request) and "text/html" in request.headers.get("Accept", "")


def is_api(request: web.Request) -> bool:
    """Return whether the address belongs to the API for programs."""
    return "/v1/" in request.path


def wanted_wait(request: web.Request, default: float = 0.0) -> float:
    """Read `Prefer: wait=<seconds>` (RFC 7240)."""
    found = _WAIT.search(",".join(request.headers.getall("Prefer", ())))
    return min(float(found[1]), MAX_WAIT) if found else default


def token_of(request: web.Request) -> str:
    """Return the first token found in the locations that today's portal uses, or an empty string."""
    given = (request.headers.get("jwtToken"), request.headers.get("Authorization"), request.query.get("jwtToken"))
    return next((it for it in given if it and strip_bearer(it)), "")


def portal_cookie(request: web.Request) -> str:
    """Return the token in the portal's cookie. Its value contains a space, so libraries skip the cookie."""
    for part in ";".join(request.headers.getall("Cookie", ())).split(";"):
        name, _, value = part.strip().partition("=")
        if name == "authToken":
            return value.strip().strip('"')
    return ""


def bearer_of(request: web.Request) -> str | None:
    """Return the token of `Authorization: Bearer`, if there is one."""
    header = request.headers.get("Authorization", "")
    return header if header.lower().startswith("bearer ") else None


def id_of(text: str, what: str) -> UUID:
    """Parse a Graphene id. Raises Refused."""
    if not _UUID.fullmatch(text):
        raise Refused(404, "not-an-id", f"The {what} id is not a UUID. Check the link or the form.")
    return UUID(text)
