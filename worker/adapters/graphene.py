"""FETCH and AUTHORISE: Graphene's database service (CCDS) → what a revision is, and whether the caller may read it.

CCDS says "not found" with status 200 and an empty body; older versions say 400 or 404. Whatever else is not a 200
with JSON is an outage, and never "a single model". It looks a revision up without regard to the solution in the
path, and checks nobody's rights by itself: both are done here.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import quote
from uuid import UUID

import aiohttp
import structlog

from schemas import Kind
from worker.adapters.http import Dependency, TooLarge
from worker.domain.bundle.presentation import MAX_ICON
from worker.domain.solution import Caller, LeftOut, Solution
from worker.domain.strict_json import JsonError, loads
from worker.errors import CODES, NotAllowed, NotFound, Stage, Unavailable
from worker.settings import ArtifactsSettings, CatalogSettings

MAX_JSON = 1024 * 1024  # bytes of one answer
MAX_DESCRIPTION = 4 * 1024 * 1024  # bytes: CCDS allows 2 MiB of HTML, and JSON escapes some of it
MAX_CATALOGS = 32  # a solution is published in one or two

_SLOW = LeftOut("Graphene's database did not answer in time.")

T = TypeVar("T")

log = structlog.get_logger()


class CatalogClient:
    """Reads CCDS. One per worker, because its connections are shared."""

    def __init__(self, session: aiohttp.ClientSession, settings: CatalogSettings) -> None:
        """Raises ConfigurationError when the settings cannot be used."""
        self._ccds = Dependency(session, settings, group="catalog", name="Graphene's database")
        self._check_access = settings.check_access
        self._timeout = settings.timeout_seconds

    async def find(self, solution_id: UUID, revision_id: UUID, caller: Caller | None) -> Solution:
        """What CCDS knows of this revision; everything is asked at the same time.

        Without a caller nobody's access is checked. Of several problems the same one is reported every time: an
        outage first, then what does not exist, then what is not allowed, then what the solution lacks.
        The icon and the description may fail, and are waited for no longer than one time-out.

        Raises:
            Unavailable: CCDS is down, slow, refuses our credentials or answers nonsense.
            NotFound: there is no such solution or revision, they do not belong together, or a file is missing.
            NotAllowed: the caller may not read the solution.
        """
        async with (
            _aside(self._icon(solution_id)) as icon,
            _aside(self._description(solution_id, revision_id)) as description,
        ):
            solution, revision, artifacts, allowed = await _all(
                self._object(f"solution/{solution_id}"),
                self._object(f"solution/{solution_id}/revision/{revision_id}"),
                self._list(f"revision/{revision_id}/artifact"),
                self._allowed(solution_id, caller),
            )
            name, kind = self._solution(solution)
            self._check_revision(revision, solution_id)
            if not allowed:
                raise NotAllowed("no-access", CODES["no-access"])
            files, remarks = _files(kind, artifacts)
            await asyncio.wait([icon, description], timeout=self._timeout)
            return Solution(
                solution_id,
                revision_id,
                name,
                kind,
                **files,
                icon=icon.result() if icon.done() else _SLOW,
                description=description.result() if description.done() else _SLOW,
                remarks=remarks,
            )

    def _solution(self, solution: dict[str, Any] | None) -> tuple[str, Kind]:
        if solution is None:
            raise NotFound("solution-not-found", CODES["solution-not-found"])
        name, toolkit = solution.get("name"), solution.get("toolkitTypeCode")
        if not isinstance(name, str) or not isinstance(toolkit, str | None):
            raise self._ccds.error("a solution without name or with a wrong toolkit type")
        composite = toolkit is not None and toolkit.upper() == "CP"
        return name, Kind.PIPELINE if composite else Kind.SINGLE_MODEL

    def _check_revision(self, revision: dict[str, Any] | None, solution_id: UUID) -> None:
        if revision is None:
            raise NotFound("revision-not-found", CODES["revision-not-found"])
        owner = revision.get("solutionId")
        if not isinstance(owner, str):
            raise self._ccds.error("a revision without solution id")
        if owner.lower() != str(solution_id):
            raise NotFound("revision-of-another-solution", CODES["revision-of-another-solution"])

    async def _allowed(self, solution_id: UUID, caller: Caller | None) -> bool:
        if caller is None or not self._check_access:
            return True
        path = f"access/user/{quote(caller.user_id, safe='')}/solution/{solution_id}"
        answer = await self._object(path, stage="authorise")
        if answer is None:
            return False
        count = answer.get("count")
        if type(count) is not int:
            raise self._ccds.error("an access check without count", "authorise")
        return count > 0

    async def _icon(self, solution_id: UUID) -> bytes | LeftOut | None:
        # Not Accept: application/json, which CCDS refuses for a picture.
        got = await _optional("icon", self._ccds.get(f"solution/{solution_id}/pic", accept="*/*", max_bytes=MAX_ICON))
        if got is None or isinstance(got, LeftOut):
            return got
        if got.status not in (200, 400, 404):
            return LeftOut(f"Graphene's database answered with status {got.status}.")
        return got.body or None

    async def _description(self, solution_id: UUID, revision_id: UUID) -> str | LeftOut | None:
        """The text for the first catalog, in CCDS's order, that has one; else why one could not be read."""
        catalogs = await _optional("description", self._list(f"catalog/solution/{solution_id}"))
        if isinstance(catalogs, LeftOut):
            return catalogs
        ids = [catalog_id for catalog in catalogs if (catalog_id := _uuid(catalog.get("catalogId")))]
        async with AsyncExitStack() as stack:
            texts = [
                await stack.enter_async_context(_aside(_optional("description", self._text(revision_id, catalog_id))))
                for catalog_id in ids[:MAX_CATALOGS]
            ]
            missed = None
            for text in texts:
                found = await text
                if isinstance(found, str):
                    return found
                missed = missed or found
        return missed

    async def _text(self, revision_id: UUID, catalog_id: UUID) -> str | None:
        answer = await self._object(f"revision/{revision_id}/catalog/{catalog_id}/descr", MAX_DESCRIPTION)
        text = answer.get("description") if answer else None
        return text if isinstance(text, str) and text.strip() else None

    async def _object(self, path: str, max_bytes: int = MAX_JSON, stage: Stage = "fetch") -> dict[str, Any] | None:
        value = await self._json(path, max_bytes, stage)
        if not isinstance(value, dict | None):
            raise self._ccds.error("something else than a JSON object", stage)
        return value

    async def _list(self, path: str) -> list[dict[str, Any]]:
        value = await self._json(path, MAX_JSON, "fetch")
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self._ccds.error("something else than a list of JSON objects")
        return value

    async def _json(self, path: str, max_bytes: int, stage: Stage) -> Any:
        """The answer's JSON; None when CCDS knows nothing of it."""
        try:
            answer = await self._ccds.get(path, accept="application/json", max_bytes=max_bytes, stage=stage)
        except TooLarge:
            raise self._ccds.error(f"longer than {max_bytes} bytes", stage) from None
        if answer.status in (400, 404) or (answer.status == 200 and not answer.body.strip()):
            return None
        if answer.status != 200:
            raise self._ccds.error(f"status {answer.status}", stage)
        try:
            return loads(answer.body, max_bytes=max_bytes, max_string=max_bytes)
        except JsonError as error:
            raise self._ccds.error(str(error), stage) from None


def _files(kind: Kind, artifacts: Sequence[dict[str, Any]]) -> tuple[dict[str, str], tuple[str, ...]]:
    """The uris of what has to be there, as fields of Solution, and remarks on what was chosen."""
    if kind is Kind.PIPELINE:
        blueprints = _uris(artifacts, "BP", "blueprint-missing")
        return {"blueprint_uri": blueprints[0]}, _chosen(blueprints, "blueprints", "first")
    images = _uris(artifacts, "DI", "image-missing")
    protos = _uris(artifacts, "MI", "proto-missing")  # "model image", in practice the .proto
    remarks = _chosen(images, "Docker images", "last") + _chosen(protos, "protobufs", "first")
    return {"image": images[-1], "proto_uri": protos[0]}, remarks  # Graphene's own deployers take the last image, too


def _chosen(uris: list[str], what: str, which: str) -> tuple[str, ...]:
    return (f"The revision has {len(uris)} {what}; the {which} one is deployed.",) if len(uris) > 1 else ()


def _uris(artifacts: Sequence[dict[str, Any]], type_code: str, missing: str) -> list[str]:
    uris = [artifact.get("uri") for artifact in artifacts if artifact.get("artifactTypeCode") == type_code]
    found = [uri for uri in uris if isinstance(uri, str) and uri.strip()]
    if not found:
        raise NotFound(missing, CODES[missing])
    return found


def _uuid(value: Any) -> UUID | None:
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None


async def _all(*work: Coroutine[Any, Any, Any]) -> list[Any]:
    """The results in order. All are waited for, so that chance does not choose which of two failures is raised."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


async def _optional(what: str, work: Coroutine[Any, Any, T]) -> T | LeftOut:
    try:
        return await work
    except TooLarge:
        reason = "it is too large. Make it smaller."
    except Unavailable as error:
        reason = error.message
    log.warning("left out of the bundle", what=what, reason=reason)
    return LeftOut(reason)


@asynccontextmanager
async def _aside(work: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """Runs beside the block and never outlives it."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


# ----------------------------------------------------------------------------------------------------
# FETCH: the Nexus repository → blueprints and protobufs.
#
# An artifact's uri comes out of the database or a blueprint, which users write. It is a path below the configured
# repository and nothing else, so that no uri can reach another server or another path with our credentials.


MAX_URI = 512  # characters; the width of CCDS's column
MAX_FILE = 1024 * 1024  # bytes

# What Maven paths of models are made of; spaces, colons and brackets come from the name a user gave.
_SEGMENT = re.compile(r"[A-Za-z0-9._~+:(),-]+(?: +[A-Za-z0-9._~+:(),-]+)*")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_DOTS = re.compile(r"\.+")


def artifact_path(uri: str) -> str:
    """The uri as a percent-encoded path, to stand behind the repository's URL and a slash.

    Raises:
        NotFound: `artifact-uri-invalid`; it is no plain relative path. It is not repeated, as a user wrote it.
    """
    segments = uri.split("/")
    plain = (
        len(uri) <= MAX_URI
        and not _SCHEME.match(uri)
        and all(_SEGMENT.fullmatch(segment) and not _DOTS.fullmatch(segment) for segment in segments)
    )
    if not plain:
        raise NotFound("artifact-uri-invalid", CODES["artifact-uri-invalid"])
    return quote(uri, safe="/~+:")


class ArtifactsClient:
    """Reads Nexus. One per worker, because its connections are shared."""

    def __init__(self, session: aiohttp.ClientSession, settings: ArtifactsSettings) -> None:
        """Raises ConfigurationError when the settings cannot be used."""
        self._nexus = Dependency(session, settings, group="artifacts", name="The repository")

    async def fetch(self, uri: str, missing: NotFound, max_bytes: int = MAX_FILE) -> bytes:
        """One file of at most `max_bytes`.

        Raises:
            NotFound: `missing` when the repository has no such file; the uri is no plain path; the file is too large.
            Unavailable: the repository is down, slow, refuses our credentials or answers with an error.
        """
        path = artifact_path(uri)
        try:
            answer = await self._nexus.get(path, accept="*/*", max_bytes=max_bytes)
        except TooLarge:
            raise NotFound(
                "artifact-too-large", f"A file of the solution is larger than {max_bytes} bytes. Make it smaller."
            ) from None
        if answer.status == 404:
            raise missing
        if answer.status != 200:
            raise self._nexus.error(f"status {answer.status}")
        return answer.body
