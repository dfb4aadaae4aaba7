"""A sandbox playground server, which answers as the real server does and shows the bundles that it received.

POST /SECRET/deploy_solution accepts a bundle, runs its script with both of the real server's command lines and
--dry-run, and refuses the bundle when a run fails. There is no cluster. A client that may POST can run code, so the
sandbox is stricter than the real server. The path holds a secret that no page shows, requests of web pages and content
types other than JSON are refused, and by default only this machine may send bundles.
"""

import asyncio
import hmac
import secrets
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from aiohttp import web
from aiohttp.typedefs import Handler

from worker.sandbox import playground_page
from worker.sandbox.http_server import HANG, RESET, Fault, enable_faults, own_names
from worker.sandbox.playground_confinement import Confinement
from worker.sandbox.playground_dry_run import DryRuns, ScriptFailed
from worker.sandbox.playground_upload import (
    Deployment,
    Unusable,
    namespace_of,
    read_json,
    read_upload,
    solution_name,
    unpack,
)
from worker.sandbox.users import UNANSWERED_USER

MAX_REQUEST = 128 * 1024 * 1024  # bytes of one POST
ANY_USER = "*"

DASHBOARD = "/dashboard?selected_deployment_id="
_FAILED = "deploy solution failed with: "

# Known answers of the real server without a deployment. `hang` and `reset` happen after the body has been read.
PLAYGROUND_FAULTS: dict[str, Fault] = {
    "302": Fault(302, headers={"Location": "/"}),
    "401": Fault(401, "Not allowed for your domain: 127.0.0.1"),
    "500": Fault(
        500, f"{_FAILED}Command '['python3', 'kubernetes-client-script.py']' returned non-zero exit status 1."
    ),
    "none": Fault(200, f"{DASHBOARD}None"),
    "hang": HANG,
    "reset": RESET,
}


class Scripts(Protocol):
    """A runner of bundles' scripts."""

    async def check(self, files: dict[str, bytes], username: str, namespace: str) -> None:
        """Run the script of the bundle with these files. Raises ScriptFailed."""


class Playground:
    """The state of the server; tests may change `faults` and `allowed_addresses` while it runs."""

    def __init__(
        self,
        folder: Path,
        allowed_addresses: Collection[str] | None,
        scripts: Scripts | None,
        clock: Callable[[], datetime],
        secret: str,
        *,
        unique_names: bool,
        portal: str | None,
    ) -> None:
        self.deployments: dict[str, Deployment] = {}  # by namespace, in order of arrival
        # username or ANY_USER → fault instead of the real answer
        self.faults = {UNANSWERED_USER.email: Fault(502, "The gateway in front of the playground had no answer.")}
        self.allowed_addresses = allowed_addresses
        self.portal = portal
        self.overlaps = 0  # concurrent POSTs of one user, which the real server mixes up
        self._running: Counter[str] = Counter()
        self._folder = folder
        self._scripts = scripts
        self._clock = clock
        self._secret = secret
        self._unique_names = unique_names

    @property
    def deploy_path(self) -> str:
        """The path that accepts bundles. It holds the secret, and is only for the worker's setting DEPLOY_URL."""
        return f"/{self._secret}/deploy_solution"

    def refusal(self, request: web.Request) -> web.Response | None:
        """Return the answer to a POST that may not run code here; None for a POST that may come from the worker."""
        if "Origin" in request.headers:  # browsers send it with every POST, and workers never
            return web.Response(status=403, text="This playground takes no bundles from web pages.")
        secret = request.match_info.get("secret", "")
        if not hmac.compare_digest(secret.encode(), self._secret.encode()):
            return web.Response(status=403, text="This playground takes bundles only at its secret address.")
        if request.content_type != "application/json":
            return web.Response(status=415, text="This playground takes bundles as application/json.")
        return None

    @contextmanager
    def count_overlaps(self, username: str) -> Iterator[None]:
        """Count POSTs that arrive while another POST of the same user is running."""
        self.overlaps += self._running[username] > 0
        self._running[username] += 1
        try:
            yield
        finally:
            self._running[username] -= 1

    async def deploy(self, username: str, archive: bytes, request_id: str | None) -> str | None:
        """Check and store a bundle; return its namespace, or None if another user owns the namespace.

        Raises Unusable, ScriptFailed.
        """
        files = await asyncio.to_thread(unpack, archive)
        name = solution_name(files)
        namespace = namespace_of(name, unique=self._unique_names)
        owner = self.deployments.get(namespace)
        if owner is not None and owner.username != username:
            return None
        if self._scripts:
            await self._scripts.check(files, username, namespace)
        path = self._folder / f"{namespace}.zip"
        await asyncio.to_thread(path.write_bytes, archive)
        sizes = {file: len(content) for file, content in files.items()}
        digest = sha256(archive).hexdigest()
        self.deployments[namespace] = Deployment(
            namespace, name, username, self._clock(), request_id, sizes, len(archive), digest, path
        )
        return namespace


PLAYGROUND = web.AppKey("playground", Playground)


def playground_app(
    folder: Path,
    *,
    allowed_addresses: Collection[str] | None = ("127.0.0.1", "::1"),
    unique_names: bool = False,
    confinement: Confinement | None = None,
    scripts: Scripts | None = None,
    script_seconds: float = 60,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    secret: str | None = None,
    names: Collection[str] = (),
    portal: str | None = None,
) -> web.Application:
    """Create the application; `app[PLAYGROUND]` is its state.

    Args:
        folder: where zips are stored; created if missing.
        allowed_addresses: addresses that may POST; None allows all.
        unique_names: one deployment per solution name, like the server's `unique_deployment_per_solution`.
        confinement: confines the script of each bundle; None: scripts are not run, and only unusable zips are refused.
        scripts: runs the scripts when there is no `confinement`.
        script_seconds: time limit of one run.
        clock: returns the current time.
        secret: the secret part of `Playground.deploy_path`; None: a new secret.
        names: the host's names in addition to localhost.
        portal: URL of the page with solutions to deploy, to which the list links.
    """
    folder.mkdir(parents=True, exist_ok=True)
    app = web.Application(middlewares=[own_names(*names), _redirect_unknown_posts], client_max_size=MAX_REQUEST)
    if confinement:
        scripts = DryRuns(folder, script_seconds, confinement)
    app[PLAYGROUND] = Playground(
        folder,
        allowed_addresses,
        scripts,
        clock,
        secret or secrets.token_urlsafe(32),
        unique_names=unique_names,
        portal=portal,
    )
    enable_faults(app)
    for path in ("/deploy_solution", "/{secret}/deploy_solution"):
        app.router.add_post(path, _deploy_solution)
        app.router.add_get(
            path, _log_in
        )  # for any secret, so that the answer does not show whether the secret is right
    app.router.add_get("/", _list)
    app.router.add_get("/dashboard", _dashboard)
    app.router.add_get("/deployments/{namespace}", _dashboard)
    app.router.add_get("/deployments/{namespace}/solution.zip", _archive)
    app.router.add_get("/api/deployments", _as_json)
    return app


async def _deploy_solution(request: web.Request) -> web.Response:
    playground = request.app[PLAYGROUND]
    if refusal := playground.refusal(request):
        return refusal
    body = await request.read()
    try:
        document = read_json(body)
        if playground.allowed_addresses is not None and request.remote not in playground.allowed_addresses:
            return _answer(f"Not allowed for your domain: {request.remote}", 401)
        username, archive = read_upload(document)
        with playground.count_overlaps(username):
            if fault := playground.faults.get(username) or playground.faults.get(ANY_USER):
                return await fault.answer(request)
            namespace = await playground.deploy(username, archive, request.headers.get("Idempotency-Key"))
    except Unusable:
        return _redirect()
    except ScriptFailed as error:
        return _answer(f"{_FAILED}{error}", 500)
    return _answer(f"{DASHBOARD}{namespace}")


def _answer(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html")


@web.middleware
async def _redirect_unknown_posts(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Redirect a POST to an unknown path to the start page, as the real server does."""
    try:
        return await handler(request)
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
        if request.method == "POST":
            return _redirect()
        raise


def _redirect() -> web.Response:
    return web.Response(status=302, headers={"Location": "/"}, text="Redirecting to /")


# ------------------------------------------------------------------------------------------------------------ pages


def _html(page: str, status: int = 200) -> web.Response:
    return web.Response(text=page, status=status, content_type="text/html", headers=playground_page.HEADERS)


async def _log_in(_: web.Request) -> web.Response:
    return _html(playground_page.login_page())


async def _list(request: web.Request) -> web.Response:
    playground = request.app[PLAYGROUND]
    return _html(playground_page.list_page(list(playground.deployments.values()), playground.portal))


def _requested_deployment(request: web.Request) -> Deployment | None:
    namespace = request.match_info.get("namespace") or request.query.get("selected_deployment_id", "")
    return request.app[PLAYGROUND].deployments.get(namespace)


async def _dashboard(request: web.Request) -> web.Response:
    deployment = _requested_deployment(request)
    if deployment is None:
        return _html(playground_page.missing_page(), status=404)
    files = unpack(await asyncio.to_thread(deployment.archive.read_bytes))
    return _html(playground_page.deployment_page(deployment, files))


async def _archive(request: web.Request) -> web.StreamResponse:
    deployment = _requested_deployment(request)
    if deployment is None:
        return _html(playground_page.missing_page(), status=404)
    headers = {"Content-Disposition": 'attachment; filename="solution.zip"'}
    return web.FileResponse(deployment.archive, headers=headers)


async def _as_json(request: web.Request) -> web.Response:
    return web.json_response([deployment.as_json() for deployment in request.app[PLAYGROUND].deployments.values()])
