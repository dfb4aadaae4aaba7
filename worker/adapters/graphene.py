"""Graphene's database service (CCDS), which describes revisions and access rights, and Graphene's files in Nexus.

CCDS reports "not found" with status 200 and an empty body. Older versions report it with status 400 or 404. Every
other answer that is not a 200 with JSON of the expected shape is an outage, and never means "a single model". Other
unusable JSON, such as JSON with too many values, is no outage: the solution's owner wrote its content, so only that
request fails.

CCDS looks up a revision without checking that it belongs to the solution in the path, and does not check access rights.
This module does both.
"""

import asyncio
import math
import re
import time
import unicodedata
from collections.abc import Callable, Coroutine, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote
from uuid import UUID

import aiohttp
import structlog
from cachetools import TTLCache

from schemas import Kind
from worker.adapters.http import Answer, Dependency, NotAFile, TooLarge, TooLargeTogether, spend, stop
from worker.domain.bundle.archive import MAX_PROTOS_BYTES, protos_too_large
from worker.domain.bundle.presentation import MAX_ICON
from worker.domain.solution import ByteLimit, Caller, LeftOut, Solution, Unproven
from worker.domain.strict_json import JsonError, NotJson, loads
from worker.errors import CODES, NotAllowed, NotFound, Stage, Unavailable
from worker.settings import ArtifactsSettings, CatalogSettings

MAX_JSON = 1024 * 1024  # bytes of one answer
MAX_VALUES = 5_000  # of one answer: 8 ms to read; an artifact has 12 values, and a revision some dozens of artifacts
MAX_DESCRIPTION = 4 * 1024 * 1024  # bytes, of all catalogs: CCDS allows 2 MiB of HTML, and JSON escapes some of it
MAX_CATALOGS = 32  # a solution is published in one or two

_SLOW = LeftOut("Graphene's database did not answer in time.")

# The required answers: the solution, the revision, its artifacts, and the access check if it is enabled.
_REQUIRED: Sequence[tuple[str, type, Stage]] = (
    ("the solution", dict, "fetch"),
    ("the revision", dict, "fetch"),
    ("its artifacts", list, "fetch"),
    ("the access to it", dict, "authorise"),
)
_ACCESS = _REQUIRED[3]
_CATALOGS: Sequence[tuple[str, type, Stage]] = (("its catalogs", list, "fetch"),)
_TEXT: Sequence[tuple[str, type, Stage]] = (("its description", dict, "fetch"),)

Outcome = Answer | BaseException | None
"""CCDS's answer, None if CCDS has no such object, or the error that prevented an answer."""

log = structlog.get_logger()


class CatalogClient:
    """Reads CCDS. A worker has one client, so that requests share its connections."""

    def __init__(self, session: aiohttp.ClientSession, settings: CatalogSettings) -> None:
        """Raise ConfigurationError if the settings cannot be used."""
        self._ccds = Dependency(session, settings, name="catalog", called="Graphene's database", nothing=(400, 404))
        self._check_access = settings.check_access
        self._allow_unknown = settings.protobufs_of_unknown == "allow"
        self._timeout = settings.timeout_seconds

    async def find(
        self, solution_id: UUID, revision_id: UUID, caller: Caller | None, left: ByteLimit | None = None
    ) -> Solution:
        """Look up a revision. Queries that do not depend on each other run concurrently.

        Without a caller, no access is checked. Of several problems, the same one is reported every time: first an
        outage or an unusable answer, then a missing object, then a denied access, then a missing file.
        The icon and the description are optional, and the wait for both is limited to one time-out.

        Raises:
            Unavailable: CCDS is down or slow, rejects our credentials, or its answer is not valid.
            NotFound: the solution or the revision does not exist, they do not belong together, a file is missing, or
                CCDS's data about them cannot be used.
            NotAllowed: the caller may not read the solution.
            NeedsReservation: the answers together exceed the bytes in `left`.
        """
        left = left or ByteLimit(math.inf)
        required = [
            self._get(f"solution/{solution_id}", left),
            self._get(f"solution/{solution_id}/revision/{revision_id}", left),
            self._get(f"revision/{revision_id}/artifact", left),
        ]
        if caller is not None and self._check_access:
            user = quote(caller.user_id, safe="")
            required.append(self._get(f"access/user/{user}/solution/{solution_id}", left, stage="authorise"))
        # CCDS rejects Accept: application/json for a picture.
        picture = self._ccds.get(f"solution/{solution_id}/pic", accept="*/*", max_bytes=MAX_ICON, left=(left,))
        icon = _settled(picture)
        catalogs = _settled(self._get(f"catalog/solution/{solution_id}", left))
        optional: list[asyncio.Future[Any]] = [icon, catalogs]
        try:
            solution, revision, artifacts, *access = self._read(await _settled(*required), _REQUIRED)
            allowed = self._allowed(*access)
            name, kind, owner_id = self._solution(solution)
            version = self._version(revision, solution_id)
            if not allowed:
                raise NotAllowed("no-access", CODES["no-access"])
            files, remarks = _files(kind, artifacts or ())
            description = asyncio.create_task(self._description(catalogs, revision_id, left))
            optional.append(description)
            await asyncio.wait(optional, timeout=self._timeout)
            return Solution(
                solution_id,
                revision_id,
                name,
                kind,
                owner_id,
                version,
                **files,
                icon=_icon(*icon.result()) if icon.done() else _SLOW,
                description=description.result() if description.done() else _SLOW,
                remarks=remarks,
            )
        finally:
            if not all(it.done() and not it.cancelled() and it.exception() is None for it in optional):
                await stop(*optional)

    async def check_protobufs(
        self, uris: Sequence[str], solution: Solution, caller: Caller | None, left: ByteLimit
    ) -> None:
        """Reject protobufs of solutions that neither the pipeline's owner nor the caller may read.

        The pipeline's author writes the URIs, but the worker fetches them with its own rights. Without a caller, no
        access is checked.

        Raises:
            NotAllowed: neither may read a file's solution, or the solution is unknown and PROTOBUFS_OF_UNKNOWN is not
                `allow`.
            NotFound: a URI is not a plain path, or as in `find`.
            Unavailable, NeedsReservation: as in `find`.
        """
        if caller is None or not self._check_access:
            return
        for uri in uris:
            artifact_path(uri)  # a URI that is no plain path is the node's own error, whoever the file belongs to
        found = {_solution_in(uri) for uri in uris} - {solution.solution_id}
        if None in found and not self._allow_unknown:
            raise NotAllowed("proto-of-unknown", CODES["proto-of-unknown"])
        asked = sorted(str(it) for it in found if it)
        for user_id in dict.fromkeys(filter(None, (solution.owner_id, caller.user_id))):
            user = quote(user_id, safe="")
            answers = await _settled(
                *(self._get(f"access/user/{user}/solution/{it}", left, stage="authorise") for it in asked)
            )
            counts = self._read(answers, [_ACCESS] * len(asked))
            asked = [it for it, count in zip(asked, counts, strict=True) if not self._allowed(count)]
        if asked:
            raise NotAllowed("no-access-to-proto", CODES["no-access-to-proto"])

    def _get(
        self, path: str, *left: ByteLimit, max_bytes: int = MAX_JSON, stage: Stage = "fetch"
    ) -> Coroutine[Any, Any, Answer | None]:
        return self._ccds.get(path, accept="application/json", max_bytes=max_bytes, stage=stage, left=left)

    def _read(self, answers: Sequence[Outcome], expected: Sequence[tuple[str, type, Stage]]) -> list[Any]:
        """Read each answer as the expected JSON, or as None if the answer is empty.

        Raises Unavailable for an answer that is not JSON or has an unexpected shape. Raises NotFound for other unusable
        JSON, because its content belongs to the solution.
        """
        values = []
        for answer, (what, kind, stage) in zip(answers, expected, strict=False):  # the access check may be missing
            if isinstance(answer, TooLarge):  # JSON, or the web page of a proxy
                is_json = answer.begins.lstrip().startswith((b"{", b"["))
                raise _unreadable(what, answer) if is_json else self._ccds.error(str(answer), stage)
            if isinstance(answer, BaseException):
                raise answer
            body = answer.body.strip() if answer else b""
            try:
                value = (
                    loads(body, max_bytes=MAX_DESCRIPTION, max_string=MAX_DESCRIPTION, max_values=MAX_VALUES)
                    if body
                    else None
                )
            except NotJson as error:
                raise self._ccds.error(str(error), stage) from None
            except JsonError as error:
                raise _unreadable(what, error) from None
            items = value if isinstance(value, list) else ()
            if not isinstance(value, kind | None) or not all(isinstance(item, dict) for item in items):
                raise self._ccds.error("JSON of another shape than was asked for", stage)
            values.append(value)
        return values

    def _allowed(self, *access: dict[str, Any] | None) -> bool:
        """Return whether each access check counts at least one access. Returns True if there is no access check."""
        for answer in access:
            count = 0 if answer is None else answer.get("count")
            if type(count) is not int:
                raise self._ccds.error("an access check without count", "authorise")
            if count <= 0:
                return False
        return True

    def _solution(self, solution: dict[str, Any] | None) -> tuple[str, Kind, str | None]:
        if solution is None:
            raise NotFound("solution-not-found", CODES["solution-not-found"])
        name, toolkit = solution.get("name"), solution.get("toolkitTypeCode")
        if not isinstance(name, str) or not isinstance(toolkit, str | None):
            raise self._ccds.error("a solution without name or with a wrong toolkit type")
        composite = toolkit is not None and toolkit.upper() == "CP"
        owner = solution.get("userId")
        return name, Kind.PIPELINE if composite else Kind.SINGLE_MODEL, owner if isinstance(owner, str) else None

    def _version(self, revision: dict[str, Any] | None, solution_id: UUID) -> str | None:
        if revision is None:
            raise NotFound("revision-not-found", CODES["revision-not-found"])
        owner = revision.get("solutionId")
        if not isinstance(owner, str):
            raise self._ccds.error("a revision without solution id")
        if owner.lower() != str(solution_id):
            raise NotFound("revision-of-another-solution", CODES["revision-of-another-solution"])
        version = revision.get("version")
        return version if isinstance(version, str) and version else None

    async def _description(
        self, catalogs: asyncio.Future[list[Outcome]], revision_id: UUID, left: ByteLimit
    ) -> str | LeftOut | None:
        """Fetch the text of the first catalog, in CCDS's order, that has a text.

        If no catalog has a text, return the reason why one could not be read, or None. Catalogs are read one after the
        other, and together up to MAX_DESCRIPTION: nearly always, the first catalog has a text.
        """
        try:
            (listed,) = self._read(await catalogs, _CATALOGS)
        except (Unavailable, NotFound) as error:
            return _left_out("description", error.message)
        ids = [catalog_id for catalog in listed or () if (catalog_id := _uuid(catalog.get("catalogId")))]
        texts, missed = ByteLimit(MAX_DESCRIPTION), None
        for catalog_id in ids[:MAX_CATALOGS]:
            path = f"revision/{revision_id}/catalog/{catalog_id}/descr"
            text = self._get(path, texts, left, max_bytes=int(texts.remaining))
            try:
                (found,) = self._read(await _settled(text), _TEXT)
            except (Unavailable, NotFound) as error:
                missed = missed or _left_out("description", error.message)
            else:
                description = found.get("description") if found else None
                if isinstance(description, str) and description.strip():
                    return description
            if texts.remaining < 0:
                break
        return missed


def _unreadable(what: str, why: Exception) -> NotFound:
    return NotFound(
        "solution-unreadable",
        f"Graphene's data about {what} cannot be used: {why}. Correct the solution there.",
    )


def _files(kind: Kind, artifacts: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the required files as fields of Solution, with remarks if there was a choice. Raises NotFound."""
    if kind is Kind.PIPELINE:
        blueprints = _artifacts(artifacts, "BP", "blueprint-missing")
        remarks = _chosen(blueprints, "blueprints", "first")
        return {"blueprint_uri": blueprints[0]["uri"], "file_size": _size(blueprints[0])}, remarks
    images = _artifacts(artifacts, "DI", "image-missing")
    protos = _artifacts(artifacts, "MI", "proto-missing")  # type "model image", in practice the .proto file
    remarks = _chosen(images, "Docker images", "last") + _chosen(protos, "protobufs", "first")
    # Graphene's own deployers also take the last image.
    return {"image": images[-1]["uri"], "proto_uri": protos[0]["uri"], "file_size": _size(protos[0])}, remarks


def _chosen(found: Sequence[object], what: str, which: str) -> tuple[str, ...]:
    return (f"The revision has {len(found)} {what}; the {which} one is deployed.",) if len(found) > 1 else ()


def _artifacts(artifacts: Sequence[dict[str, Any]], type_code: str, missing: str) -> list[dict[str, Any]]:
    """Return the artifacts of one type that have a URI. Raises NotFound if there is none."""
    found = [
        it
        for it in artifacts
        if it.get("artifactTypeCode") == type_code and isinstance(uri := it.get("uri"), str) and uri.strip()
    ]
    if not found:
        raise NotFound(missing, CODES[missing])
    return found


def _size(artifact: dict[str, Any]) -> int | None:
    size = artifact.get("size")
    return size if type(size) is int and size >= 0 else None


def _uuid(value: Any) -> UUID | None:
    try:
        return UUID(value) if isinstance(value, str) and len(value) == 36 else None
    except ValueError:
        return None


def _settled(*work: Coroutine[Any, Any, Answer | None]) -> asyncio.Future[list[Outcome]]:
    """Start all queries, and wait for every result or error, so that the error to report does not depend on timing."""
    return asyncio.gather(*work, return_exceptions=True)


def _icon(answer: Outcome) -> bytes | LeftOut | None:
    if isinstance(answer, TooLarge):
        return _left_out("icon", "it is too large. Make it smaller.")
    if isinstance(answer, Unavailable):
        return _left_out("icon", answer.message)
    if isinstance(answer, BaseException):
        raise answer
    return answer.body or None if answer else None


def _left_out(what: str, reason: str) -> LeftOut:
    log.warning("left out of the bundle", what=what, reason=reason)
    return LeftOut(reason)


KEPT_SECONDS = 600  # for repositories that allow a released file to be overwritten, against Maven's rule
MAX_URI = 512  # characters; the width of CCDS's column
MAX_FILE = 1024 * 1024  # bytes

# Maven paths of models contain names that people chose. Allowed are letters, marks, digits, punctuation and symbols of
# any language, the two joiners that Hindi, Persian and emoji need, and spaces between other characters. Excluded are
# characters with a meaning in a URL, in a template or on Windows, and the look-alikes of the slash.
_EXCLUDED = frozenset('"#/<>?[\\]^`{|}\u2044\u2215\u2216\u29f5\u29f8\u29f9')
_CATEGORIES = frozenset("LMNPS")
_JOINERS = "\u200c\u200d"
_WITHOUT_JOINERS = str.maketrans(dict.fromkeys(_JOINERS))
# Characters that must not result when a server normalises a path: `\uff05` becomes `%`, and `\u2100` yields a slash.
_NORMALISED = frozenset("#%/?\\")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_DOTS = re.compile(r"\.*(?:;.*)?", re.DOTALL)  # `..;x` is `..` for servers that support path parameters
_UNICODE_ESCAPE = re.compile("%u[0-9a-f]{4}", re.IGNORECASE)


def artifact_path(uri: str) -> str:
    """Convert a URI to a percent-encoded path, which follows the repository's URL and a slash.

    A URI comes from the database or a blueprint, both of which users write. Only a path below the configured repository
    is accepted, so that no URI can reach another server or another path with our credentials.

    Raises:
        NotFound: `artifact-uri-invalid`, if the URI is not a plain relative path. The message does not repeat the URI,
            because a user wrote it.
    """
    segments = uri.split("/")
    # In a URI with a user name and a host, the first segment contains an `@`. Maven's groups never do.
    if len(uri) > MAX_URI or _SCHEME.match(uri) or "@" in segments[0] or not all(map(_is_plain, segments)):
        raise NotFound("artifact-uri-invalid", CODES["artifact-uri-invalid"])
    return quote(uri, safe="/~+:(),&'!=;@$*")  # as java.net.URI does, which Graphene's own deployers use


def _is_plain(segment: str) -> bool:
    """Return whether a segment is a name, and remains one however often a server unescapes it."""
    while _is_name(segment) and not _UNICODE_ESCAPE.search(segment):
        try:
            unescaped = unquote(segment, errors="strict")
        except UnicodeDecodeError:
            return False
        if unescaped == segment:
            return True
        segment = unescaped
    return False


def _is_name(segment: str) -> bool:
    """Return whether a segment has only the characters of names, and even when normalised is not only dots."""
    if segment != segment.strip(" ") or not all(map(_is_allowed, segment)):
        return False
    normalised = unicodedata.normalize("NFKC", segment).translate(_WITHOUT_JOINERS)
    return not _DOTS.fullmatch(normalised)


@lru_cache(4096)
def _is_allowed(char: str) -> bool:
    if char.isascii():
        return char.isprintable() and char not in _EXCLUDED
    if char not in _JOINERS and (char in _EXCLUDED or unicodedata.category(char)[0] not in _CATEGORIES):
        return False
    return _NORMALISED.isdisjoint(unicodedata.normalize("NFKC", char))


def _solution_in(uri: str) -> UUID | None:
    """Return the id of the solution that a file belongs to: the first UUID in the path, after the Maven group."""
    segments = (unquote(it).partition(";")[0] for it in uri.split("/")[:-1])  # without parameters, as a server reads it
    return next(filter(None, map(_uuid, segments)), None)


def _size_kept(file: bytes) -> int:
    return len(file) + 1024  # for the path and the cache's overhead


class KnownFiles:
    """A cache of released files by path, for KEPT_SECONDS: released files do not change in a Maven repository.

    The cache does not check access: CCDS is queried for that each time.
    """

    def __init__(self, max_bytes: int, clock: Callable[[], float]) -> None:
        """`clock` returns seconds."""
        self._files: TTLCache[str, bytes] = TTLCache(max_bytes, KEPT_SECONDS, clock, getsizeof=_size_kept)

    def find(self, path: str, size: int | None) -> bytes | None:
        """Return the file if it is cached and has this size. `size` is None if the size is unknown."""
        found = self._files.get(path)
        return found if found is not None and size in (None, len(found)) else None

    def keep(self, path: str, file: bytes) -> None:
        """Cache a file, and evict the least recently used files if the cache is full."""
        if _size_kept(file) <= self._files.maxsize and "-SNAPSHOT" not in path:  # snapshots change until their release
            self._files[path] = file


class ArtifactsClient:
    """Reads blueprints and protobufs from Nexus. A worker has one client, so that requests share its connections."""

    def __init__(
        self, session: aiohttp.ClientSession, settings: ArtifactsSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Raise ConfigurationError if the settings cannot be used. `clock` returns seconds."""
        self._nexus = Dependency(session, settings, name="artifacts", called="The repository", nothing=(404,))
        self._known = KnownFiles(settings.cache_bytes, clock)
        self._in_doubt = False  # after a failure, skip the cache, which would hide an outage from the breakers

    async def fetch(
        self, uris: Sequence[str], left: ByteLimit | None = None, size: int | None = None
    ) -> list[bytes | None]:
        """Fetch the files of these URIs concurrently. A file that the repository does not have is None.

        A file is `Unproven` if neither a checksum nor a size proves that it is the file of the URI.
        `size`: the size in bytes of a single file, as CCDS reports it.

        Raises:
            NotFound: a URI is not a plain path, or a file is larger than MAX_FILE, a web page, or empty.
            NotDeployable: the files together exceed MAX_PROTOS_BYTES.
            Unavailable: the repository is down or slow, rejects our credentials or answers with an error, or something
                else answers in its place.
            NeedsReservation: the files together exceed the bytes in `left`.
        """
        paths = [artifact_path(uri) for uri in uris]
        known = {} if self._in_doubt else {path: file for path in paths if (file := self._known.find(path, size))}
        limits = (ByteLimit(MAX_PROTOS_BYTES, TooLargeTogether), left or ByteLimit(math.inf))
        try:
            spend(limits, sum(map(len, known.values())))
            asked = [path for path in paths if path not in known]
            answers = await self._nexus.get_all(asked, accept="*/*", max_bytes=MAX_FILE, left=limits)
            for path, answer in zip(asked, answers, strict=True):
                if answer:
                    known[path] = file = self._nexus.file(answer, size)
                    if not isinstance(file, Unproven):
                        self._known.keep(path, file)
            self._in_doubt = self._in_doubt and not asked
            return [known.get(path) for path in paths]
        except Unavailable:
            self._in_doubt = True
            raise
        except NotAFile:
            raise NotFound("artifact-not-a-file", CODES["artifact-not-a-file"]) from None
        except TooLarge as error:
            self._nexus.check_too_large(error)
            raise NotFound(
                "artifact-too-large", f"A file of the solution is larger than {MAX_FILE} bytes. Make it smaller."
            ) from None
        except TooLargeTogether:
            raise protos_too_large() from None
