"""A stand-in for Graphene's portal: every visitor is logged in, and Deploy for Execution opens the gateway."""

from collections.abc import Callable
from datetime import UTC, datetime
from html import escape

from aiohttp import web

from worker.sandbox.graphene_data import CASES, Case
from worker.sandbox.playground_page import HEADERS, page
from worker.sandbox.users import SANDBOX_USER, sandbox_token

DEPLOY = "/deploy-for-execution/"


def add_portal(app: web.Application, gateway: str, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
    """Add the portal's pages to the sandbox Graphene; `gateway` is the URL of the deployer's gateway."""

    async def solutions(_: web.Request) -> web.Response:
        return web.Response(text=_solutions_page(gateway), content_type="text/html", headers=HEADERS)

    async def deploy(request: web.Request) -> web.Response:
        case = CASES.get(request.match_info["case"])
        if case is None:
            raise web.HTTPNotFound
        # As in the portal, the token is in the URL, because a link to another page cannot send a header.
        address = f"{gateway}/deploy/{case.solution_id}/{case.revision_id}?jwtToken={sandbox_token(clock())}"
        return web.Response(status=302, headers={"Location": address, "Referrer-Policy": "no-referrer"})

    app.router.add_get("/", solutions)
    app.router.add_get(DEPLOY + "{case}", deploy)


def _solutions_page(gateway: str) -> str:
    return page(
        "Graphene sandbox",
        "<h1>Graphene sandbox</h1>"
        f"<p>You are logged in as <strong>{escape(SANDBOX_USER.email)}</strong>. Deploy for Execution opens a new tab "
        "with a new token of yours in its URL, as in the Design Studio.</p>"
        f"{''.join(map(_solution, CASES.values()))}"
        f'<p><a href="{escape(gateway)}/requests">See your deployments</a> (after the first one)</p>',
    )


def _solution(case: Case) -> str:
    link = f'<a href="{DEPLOY}{case.key}" target="_blank" rel="noopener">Deploy for Execution</a>'
    return (
        f'<article class="card"><h2>{escape(case.title.partition(",")[0])}</h2>'
        f"<p>{escape(case.title.partition(', ')[2].capitalize())}</p><p>{link}</p></article>"
    )
