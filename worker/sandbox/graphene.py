"""A sandbox Graphene: its database service (CCDS) and its repository (Nexus), over HTTP with Basic auth.

Both answer as the real servers do, oddities included. CCDS reports "not found" with status 200 and an empty body,
ignores the solution in the path of a revision, and returns a picture only to clients that accept
`application/octet-stream`.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from hashlib import sha1
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler

from worker.sandbox.graphene_data import CASES, Json, Stored, stored_case
from worker.sandbox.http_server import Fault, enable_faults, own_names
from worker.sandbox.users import STRANGER

CCDS_PATH = "/ccds"
NEXUS_PATH = "/repository/acumos_model_maven"
CCDS_LOGIN = ("ccds_client", "the-sandbox-database")  # user name, password
NEXUS_LOGIN = ("acumos_model_rw", "the-sandbox-repository")

_REALMS = {CCDS_PATH: "Acumos-CDS", NEXUS_PATH: "Sonatype Nexus Repository Manager"}
_CREDENTIALS = {
    CCDS_PATH: aiohttp.encode_basic_auth(*CCDS_LOGIN),
    NEXUS_PATH: aiohttp.encode_basic_auth(*NEXUS_LOGIN),
}
_WITHOUT_LOGIN = frozenset({f"{CCDS_PATH}/healthcheck", f"{CCDS_PATH}/version"})


@dataclass(slots=True)
class Graphene:
    """The data and the behaviour of the two servers; tests may change both while the servers run."""

    latency: float = 0.0  # seconds before each answer
    faults: dict[str, Fault] = field(default_factory=dict)  # start of a path → fault instead of the real answer
    private: set[str] = field(default_factory=set)  # ids of solutions that only their owners may read
    strangers: set[str] = field(default_factory=lambda: {STRANGER.user_id})  # ids of users who may read nothing
    request_counts: Counter[str] = field(default_factory=Counter)  # path → number of requests
    files: dict[str, bytes] = field(default_factory=dict)  # URI in the repository → content
    _revisions: dict[str, Stored] = field(default_factory=dict)

    def add(self, stored: Stored) -> None:
        """Add a revision of a solution, or replace the revision with the same id."""
        self._revisions[stored.revision["revisionId"]] = stored
        self.files.update(stored.files)

    def revision(self, revision_id: str) -> Stored | None:
        """Find a revision by its id alone, as CCDS does."""
        return self._revisions.get(revision_id)

    def revisions(self, solution_id: str) -> list[Stored]:
        """Return the revisions of a solution in the order in which they were added."""
        return [stored for stored in self._revisions.values() if stored.solution["solutionId"] == solution_id]

    def latest(self, solution_id: str) -> Stored | None:
        """Return the latest revision of a solution, whose solution object is current."""
        return next(reversed(self.revisions(solution_id)), None)

    def members(self) -> set[str]:
        """Return the solution ids of the pipelines' models, which have no revisions here."""
        return {member for stored in self._revisions.values() for member in stored.members}

    def fault(self, path: str) -> Fault | None:
        """Return the first fault whose key is a prefix of `path`."""
        return next((fault for start, fault in self.faults.items() if path.startswith(start)), None)


GRAPHENE = web.AppKey("graphene", Graphene)


def graphene_app(latency: float = 0.0, names: Collection[str] = ()) -> web.Application:
    """Create the application with the sandbox's own cases; `app[GRAPHENE]` is its state.

    `latency` is in seconds. `names` are the host's names in addition to localhost.
    """
    app = web.Application(middlewares=[own_names(*names), _gateway])
    graphene = app[GRAPHENE] = Graphene(latency)
    for key in CASES:
        graphene.add(stored_case(key))
    enable_faults(app)
    for path, query in _CCDS.items():
        app.router.add_get(CCDS_PATH + path, _ccds_handler(query))
    app.router.add_get(CCDS_PATH + "/solution/{solution}/pic", _picture)
    app.router.add_get(NEXUS_PATH + "/", _start_page)
    app.router.add_get(NEXUS_PATH + "/{uri:.+}", _file)
    return app


# ------------------------------------------------------------------------------------------------------------- CCDS

Ids = Mapping[str, str]


def _solution(graphene: Graphene, ids: Ids) -> Json | None:
    stored = graphene.latest(ids["solution"])
    return stored.solution if stored else None


def _revision(graphene: Graphene, ids: Ids) -> Json | None:
    stored = graphene.revision(ids["revision"])
    return stored.revision if stored else None


def _revisions(graphene: Graphene, ids: Ids) -> list[Json]:
    return [stored.revision for solution in ids["solutions"].split(",") for stored in graphene.revisions(solution)]


def _artifacts(graphene: Graphene, ids: Ids) -> list[Json]:
    stored = graphene.revision(ids["revision"])
    return stored.artifacts if stored else []


def _members(graphene: Graphene, ids: Ids) -> list[str]:
    stored = graphene.latest(ids["solution"])
    return stored.members if stored else []


def _catalogs(graphene: Graphene, ids: Ids) -> list[Json]:
    stored = graphene.latest(ids["solution"])
    return stored.catalogs if stored else []


def _description(graphene: Graphene, ids: Ids) -> Json | None:
    stored = graphene.revision(ids["revision"])
    if stored is None or ids["catalog"] not in stored.descriptions:
        return None
    times = {key: stored.revision[key] for key in ("created", "modified")}
    names = {"revisionId": ids["revision"], "catalogId": ids["catalog"]}
    return names | {"description": stored.descriptions[ids["catalog"]]} | times


def _access(graphene: Graphene, ids: Ids) -> Json:
    stored, user = graphene.latest(ids["solution"]), ids["user"]
    known = stored is not None or ids["solution"] in graphene.members()
    is_owner = stored is not None and stored.solution["userId"] == user
    is_private = ids["solution"] in graphene.private
    return {"count": int(known and user not in graphene.strangers and (is_owner or not is_private))}


Query = Callable[[Graphene, Ids], Any]

_CCDS: dict[str, Query] = {
    "/healthcheck": lambda *_: {"status": 200, "data": "the sandbox is healthy"},
    "/version": lambda *_: {"status": 200, "data": "3.1.1"},
    "/solution/{solution}": _solution,
    "/solution/{solutions}/revision": _revisions,
    "/solution/{solution}/revision/{revision}": _revision,
    "/solution/{solution}/comp": _members,
    "/revision/{revision}/artifact": _artifacts,
    "/catalog/solution/{solution}": _catalogs,
    "/revision/{revision}/catalog/{catalog}/descr": _description,
    "/access/user/{user}/solution/{solution}": _access,
}


def _ccds_handler(query: Query) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        value = query(request.app[GRAPHENE], request.match_info)
        return web.Response() if value is None else _json(value)

    return answer


async def _picture(request: web.Request) -> web.Response:
    accept = request.headers.get("Accept", "*/*")
    if not any(media_type in accept for media_type in ("*/*", "application/*", "application/octet-stream")):
        return _framework_error(request, 406, "Not Acceptable")
    stored = request.app[GRAPHENE].latest(request.match_info["solution"])
    if stored is None or stored.icon is None:
        return web.Response()
    return web.Response(body=stored.icon, content_type="application/octet-stream")


def _json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return web.Response(
        body=text.encode(), status=status, headers={"Content-Type": "application/json;charset=UTF-8", **(headers or {})}
    )


def _framework_error(
    request: web.Request, status: int, error: str, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return an error in the format of Spring itself, which answers when no controller does."""
    document = {
        "timestamp": "2026-01-05T09:00:00.000+0000",
        "status": status,
        "error": error,
        "message": error,
        "path": request.path,
        "decorated-by": "sandbox",
    }
    return _json(document, status, headers)


# ------------------------------------------------------------------------------------------------------------ Nexus


async def _start_page(_: web.Request) -> web.Response:
    """Answer as Nexus does: it reports with status 200 that a Maven repository cannot be browsed."""
    return web.Response(text="<title>Repository - Nexus</title>", content_type="text/html")


async def _file(request: web.Request) -> web.Response:
    content = request.app[GRAPHENE].files.get(request.match_info["uri"])
    if content is None:
        return web.Response(status=404, text="<h1>404 - Nexus Repository Manager</h1>", content_type="text/html")
    is_json = request.path.endswith(".json")
    response = web.Response(body=content, content_type="application/json" if is_json else "text/plain")
    response.headers["ETag"] = f'"{{SHA1{{{sha1(content, usedforsecurity=False).hexdigest()}}}}}"'
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        response.enable_compression(web.ContentCoding.gzip)
    return response


# ---------------------------------------------------------------------------------------------------------- gateway


@web.middleware
async def _gateway(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Apply delay, faults and login to every request."""
    graphene = request.app[GRAPHENE]
    graphene.request_counts[request.path] += 1
    await asyncio.sleep(graphene.latency)
    if fault := graphene.fault(request.path):
        return await fault.answer(request)
    service = next((path for path in _REALMS if request.path.startswith(f"{path}/")), None)
    if service and request.path not in _WITHOUT_LOGIN and request.headers.get("Authorization") != _CREDENTIALS[service]:
        return _unauthorized(request, service)
    try:
        return await handler(request)
    except web.HTTPNotFound:
        if service == CCDS_PATH:
            return _framework_error(request, 404, "Not Found")
        raise


def _unauthorized(request: web.Request, service: str) -> web.Response:
    challenge = {"WWW-Authenticate": f'Basic realm="{_REALMS[service]}"'}
    if service == CCDS_PATH:
        return _framework_error(request, 401, "Unauthorized", challenge)
    return web.Response(status=401, headers=challenge)
