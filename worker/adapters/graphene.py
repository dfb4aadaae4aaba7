"""Graphene: its database service (CCDS), which says what a revision is and who may read it, and its files in Nexus.

CCDS says "not found" with status 200 and an empty body; older versions say 400 or 404. Whatever else is not a 200
with JSON is an outage, and never "a single model". JSON that cannot be used is no outage: what is in it was written by
the solution's owner, whose request alone it ends. It looks a revision up without regard to the solution in the
path, and checks no access rights by itself: both are done here.
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
MAX_VALUES = 5_000  # of one answer: 8 ms to read; one artifact has 12, and a revision some dozens of them
MAX_DESCRIPTION = 4 * 1024 * 1024  # bytes, of all catalogs: CCDS allows 2 MiB of HTML, and JSON escapes some of it
MAX_CATALOGS = 32  # a solution is published in one or two

_SLOW = LeftOut("Graphene's database did not answer in time.")

# The answers without which there is no solution: solution, revision, artifacts, and the access check if there is one.
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
"""What CCDS said, None when it does not have it, or why it could not be had."""

log = structlog.get_logger()


class CatalogClient:
    """Reads CCDS. One per worker, because its connections are shared."""

    def __init__(self, session: aiohttp.ClientSession, settings: CatalogSettings) -> None:
        """Raise ConfigurationError when the settings cannot be used."""
        self._ccds = Dependency(session, settings, name="catalog", called="Graphene's database", nothing=(400, 404))
        self._check_access = settings.check_access
        self._allow_unknown = settings.protobufs_of_unknown == "allow"
        self._timeout = settings.timeout_seconds

    async def find(
        self, solution_id: UUID, revision_id: UUID, caller: Caller | None, left: ByteLimit | None = None
    ) -> Solution:
        """Look up a revision; what does not depend on another answer is asked for at the same time.

        Without a caller no access is checked. Of several problems the same one is reported every time: an outage
        first, then what does not exist, then what is not allowed, then what the solution lacks.
        The icon and the description may fail, and are waited for no longer than one time-out.

        Raises:
            Unavailable: CCDS is down, slow, refuses our credentials or answers nonsense.
            NotFound: there is no such solution or revision, they do not belong together, a file is missing, or what
                CCDS says of them cannot be used.
            NotAllowed: the caller may not read the solution.
            NeedsReservation: together it is more than is left.
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
        # Not Accept: application/json, which CCDS refuses for a picture.
        picture = self._ccds.get(f"solution/{solution_id}/pic", accept="*/*", max_bytes=MAX_ICON, left=(left,))
        icon = _settled(picture)
        catalogs = _settled(self._get(f"catalog/solution/{solution_id}", left))
        optional: list[asyncio.Future[Any]] = [icon, catalogs]
        try:
            solution, revision, artifacts, *access = self._read(await _settled(*required), _REQUIRED)
            allowed = self._allowed(*access)
            name, kind, owner_id = self._solution(solution)
            self._check_revision(revision, solution_id)
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
        """Refuse protobufs of solutions that neither the pipeline's owner nor the caller may read.

        Their uris are written by the pipeline's author, and fetched with the worker's rights. Without a caller no
        access is checked.

        Raises:
            NotAllowed: a file of somebody else, or, where PROTOBUFS_OF_UNKNOWN are refused, of nobody knows whom.
            NotFound: a URI is not a plain path, or as `find`.
            Unavailable, NeedsReservation: as `find`.
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
        """Read each answer as the JSON that is expected, or None when CCDS has nothing to say.

        Raises Unavailable for what is not JSON; NotFound for JSON that cannot be used: its content is the solution's.
        """
        values = []
        for answer, (what, kind, stage) in zip(answers, expected, strict=False):  # the access check may be missing
            if isinstance(answer, TooLarge):  # JSON, or a page of something between us
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
        """Tell whether CCDS counts an access, where it was asked."""
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

    def _check_revision(self, revision: dict[str, Any] | None, solution_id: UUID) -> None:
        if revision is None:
            raise NotFound("revision-not-found", CODES["revision-not-found"])
        owner = revision.get("solutionId")
        if not isinstance(owner, str):
            raise self._ccds.error("a revision without solution id")
        if owner.lower() != str(solution_id):
            raise NotFound("revision-of-another-solution", CODES["revision-of-another-solution"])

    async def _description(
        self, catalogs: asyncio.Future[list[Outcome]], revision_id: UUID, left: ByteLimit
    ) -> str | LeftOut | None:
        """Fetch the text for the first catalog, in CCDS's order, that has one; else say why one could not be read.

        One after the other, and together no more than MAX_DESCRIPTION: nearly always the first one has a text.
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
        f"What Graphene's database says of {what} cannot be used: {why}. Correct the solution there.",
    )


def _files(kind: Kind, artifacts: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Choose what has to be there, as fields of Solution; with remarks where there was a choice."""
    if kind is Kind.PIPELINE:
        blueprints = _artifacts(artifacts, "BP", "blueprint-missing")
        remarks = _chosen(blueprints, "blueprints", "first")
        return {"blueprint_uri": blueprints[0]["uri"], "file_size": _size(blueprints[0])}, remarks
    images = _artifacts(artifacts, "DI", "image-missing")
    protos = _artifacts(artifacts, "MI", "proto-missing")  # "model image", in practice the .proto
    remarks = _chosen(images, "Docker images", "last") + _chosen(protos, "protobufs", "first")
    # Graphene's own deployers take the last image, too.
    return {"image": images[-1]["uri"], "proto_uri": protos[0]["uri"], "file_size": _size(protos[0])}, remarks


def _chosen(found: Sequence[object], what: str, which: str) -> tuple[str, ...]:
    return (f"The revision has {len(found)} {what}; the {which} one is deployed.",) if len(found) > 1 else ()


def _artifacts(artifacts: Sequence[dict[str, Any]], type_code: str, missing: str) -> list[dict[str, Any]]:
    """Return those of one type that have a uri. Raises NotFound: there is none."""
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
    """Start it all, and wait for every result or error, so that chance does not choose which of two errors counts."""
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


KEPT_SECONDS = 600  # for repositories that let a released file be written again, against Maven's rule
MAX_URI = 512  # characters; the width of CCDS's column
MAX_FILE = 1024 * 1024  # bytes

# Maven paths of models contain names that people gave. They are letters, marks, digits, punctuation and symbols of any
# language, the two joiners that Hindi, Persian and emoji need, and spaces between them. Excluded are characters with a
# meaning in a URL, in a template or on Windows, and the look-alikes of the slash.
_EXCLUDED = frozenset('"#/<>?[\\]^`{|}\u2044\u2215\u2216\u29f5\u29f8\u29f9')
_CATEGORIES = frozenset("LMNPS")
_JOINERS = "\u200c\u200d"
_WITHOUT_JOINERS = str.maketrans(dict.fromkeys(_JOINERS))
# What a character must not become for a server that normalises paths: `\uff05` is a `%` then, and `\u2100` has a slash.
_NORMALISED = frozenset("#%/?\\")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_DOTS = re.compile(r"\.*(?:;.*)?", re.DOTALL)  # `..;x` is `..` for servers that know path parameters
_UNICODE_ESCAPE = re.compile("%u[0-9a-f]{4}", re.IGNORECASE)


def artifact_path(uri: str) -> str:
    """Turn a uri into a percent-encoded path, to stand behind the repository's URL and a slash.

    A uri comes out of the database or a blueprint, which users write. It is a path below the configured repository
    and nothing else, so that no uri can reach another server or another path with our credentials.

    Raises:
        NotFound: `artifact-uri-invalid`; it is not a plain relative path. It is not repeated, as a user wrote it.
    """
    segments = uri.split("/")
    # A user name before a host has its `@` in the first segment; Maven's groups have none.
    if len(uri) > MAX_URI or _SCHEME.match(uri) or "@" in segments[0] or not all(map(_is_plain, segments)):
        raise NotFound("artifact-uri-invalid", CODES["artifact-uri-invalid"])
    return quote(uri, safe="/~+:(),&'!=;@$*")  # as java.net.URI does, by which Graphene's own deployers fetch


def _is_plain(segment: str) -> bool:
    """Tell whether a segment is a name, also to whoever unescapes it once more, or twice."""
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
    """Tell whether a segment is made of the characters of names, and no dots alone, also once it is normalised."""
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
    """Return whose file it is: a path has the solution's id behind the group, and nothing else that looks so before."""
    segments = (unquote(it).partition(";")[0] for it in uri.split("/")[:-1])  # without parameters, as a server reads it
    return next(filter(None, map(_uuid, segments)), None)


def _size_kept(file: bytes) -> int:
    return len(file) + 1024  # its path, and what the cache needs for it


class KnownFiles:
    """Files that were released, by their paths, for a while: they do not change in a Maven repository.

    Who may have them is decided elsewhere, by what CCDS says each time.
    """

    def __init__(self, max_bytes: int, clock: Callable[[], float]) -> None:
        """`clock` gives seconds."""
        self._files: TTLCache[str, bytes] = TTLCache(max_bytes, KEPT_SECONDS, clock, getsizeof=_size_kept)

    def find(self, path: str, size: int | None) -> bytes | None:
        """Return what is known, if it has that size; `size` None: nobody knows which it has."""
        found = self._files.get(path)
        return found if found is not None and size in (None, len(found)) else None

    def keep(self, path: str, file: bytes) -> None:
        """Keep it, in place of what was not used for the longest time."""
        if _size_kept(file) <= self._files.maxsize and "-SNAPSHOT" not in path:  # which change until they are released
            self._files[path] = file


class ArtifactsClient:
    """Reads the Nexus repository: blueprints and protobufs. One per worker, because its connections are shared."""

    def __init__(
        self, session: aiohttp.ClientSession, settings: ArtifactsSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Raise ConfigurationError when the settings cannot be used. `clock` gives seconds."""
        self._nexus = Dependency(session, settings, name="artifacts", called="The repository", nothing=(404,))
        self._known = KnownFiles(settings.cache_bytes, clock)
        self._in_doubt = False  # whether the repository is up; what is known would hide it from the breakers

    async def fetch(
        self, uris: Sequence[str], left: ByteLimit | None = None, size: int | None = None
    ) -> list[bytes | None]:
        """Fetch the files of these uris at the same time; None for one that the repository does not have.

        A file without proof that it is the one behind the uri is `Unproven`.
        `size`: of the one file, in bytes, as CCDS has it.

        Raises:
            NotFound: a uri is not a plain path, a file is larger than MAX_FILE, or a web page, or empty.
            NotDeployable: together they are larger than a bundle may be.
            Unavailable: the repository is down, slow, refuses our credentials or answers with an error, or something
                answers in its place.
            NeedsReservation: together they are more than is left.
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
