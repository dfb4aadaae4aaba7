"""FETCH: the Nexus repository → blueprints and protobufs.

An artifact's uri comes out of the database or a blueprint, which users write. It is a path below the configured
repository and nothing else, so that no uri can reach another server or another path with our credentials.
"""

import re
from urllib.parse import quote

import aiohttp

from worker.adapters.http import Neighbour, TooLarge
from worker.errors import CODES, NotFound
from worker.settings import Artifacts

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

    def __init__(self, session: aiohttp.ClientSession, settings: Artifacts) -> None:
        """Raises ConfigurationError when the settings cannot be used."""
        self._nexus = Neighbour(session, settings, group="artifacts", name="The repository")

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
