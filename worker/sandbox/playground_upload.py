"""Uploaded bundles, which are validated strictly, because the sandbox playground runs their scripts."""

import base64
import json
import re
import stat
import zipfile
import zlib
from dataclasses import dataclass, field
from datetime import datetime
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import uuid4

from worker.errors import WorkerError

MAX_ENTRIES = 2000
MAX_BYTES = 64 * 1024 * 1024  # of all files together, uncompressed
MAX_NAME = 200  # bytes of one path

_LISTED = b"PK\1\2"  # the first bytes of each entry in a zip's list of files
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}  # zipfile unpacks other methods without a limit

_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", re.ASCII)


class Unusable(WorkerError):
    """An upload that the real server answers with a redirect to its start page, without a reason."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """A bundle that the playground has accepted."""

    namespace: str
    name: str  # of the solution, from blueprint.json
    username: str
    time: datetime
    request_id: str | None  # the header Idempotency-Key, which the real server ignores
    files: dict[str, int]  # path → bytes
    size: int  # bytes of the zip
    sha256: str  # of the zip
    archive: Path = field(repr=False)

    @property
    def kind(self) -> str:
        """`pipeline` or `single model`, the real server's terms."""
        return "pipeline" if any(name.startswith("orchestrator_client/") for name in self.files) else "single model"

    @property
    def has_shared_folder(self) -> bool:
        """Whether the bundle claims a shared folder."""
        return "deployments/pvc.yaml" in self.files

    def as_json(self) -> dict[str, Any]:
        """Return the object for GET /api/deployments."""
        names = ("namespace", "name", "username", "kind", "files", "size", "sha256")
        own = {"time": self.time.isoformat(), "requestId": self.request_id, "sharedFolder": self.has_shared_folder}
        return {name: getattr(self, name) for name in names} | own


def read_json(body: bytes) -> Any:
    """Parse a JSON document. Raises Unusable."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Unusable("the body is not JSON") from error


def read_upload(document: Any) -> tuple[str, bytes]:
    """Return the user name, in lower case, and the zip. Raises Unusable."""
    fields = document if isinstance(document, dict) else {}
    username, solution = fields.get("username"), fields.get("solution")
    if not isinstance(username, str) or not isinstance(solution, str):
        raise Unusable("username or solution is missing or not a string")
    try:
        archive = base64.b64decode(solution, validate=True)
    except ValueError as error:
        raise Unusable("solution is not base64") from error
    username = username.strip().lower()
    if not username or len(username.encode()) > 127:  # its hex digits are the name of a folder
        raise Unusable("username is empty or too long")
    return username, archive


def unpack(archive: bytes) -> dict[str, bytes]:
    """Return path → content of every file, in the zip's order.

    Raises Unusable for a zip that is broken, huge or hostile.
    """
    if archive.count(_LISTED) > MAX_ENTRIES:  # counted before zipfile creates an object for each entry
        raise Unusable("too many files")
    try:
        with zipfile.ZipFile(BytesIO(archive)) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
            _check(members)
            return {member.filename: _content(opened, member) for member in members}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise Unusable("not a readable zip") from error


def _content(opened: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Read as many bytes as the zip declares. Without this limit, zipfile would unpack all of the entry's data."""
    with opened.open(member) as file:
        return file.read(member.file_size)


def _check(members: list[zipfile.ZipInfo]) -> None:
    if sum(member.file_size for member in members) > MAX_BYTES:
        raise Unusable("too large")
    names = {member.filename for member in members}
    if len(names) < len(members):
        raise Unusable("two files with the same name")
    for member in members:
        path = PurePosixPath(member.filename)
        relative = str(path) == member.filename != "." and not path.is_absolute() and ".." not in path.parts
        if not relative or set("\\:") & set(member.filename) or len(member.filename.encode()) > MAX_NAME:
            raise Unusable("a path that leaves the folder, or is too long")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise Unusable("a symbolic link")
        if member.compress_type not in _METHODS:
            raise Unusable("a compression method that bundles do not use")
        if any(str(parent) in names for parent in path.parents):
            raise Unusable("a name that is both a file and a folder")


def write_files(files: dict[str, bytes], folder: Path) -> None:
    """Write the files from `unpack` into `folder`, which must not exist yet. Raises OSError."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def solution_name(files: dict[str, bytes]) -> str:
    """Return `name` of blueprint.json. Raises Unusable without one, as the real server does."""
    if "blueprint.json" not in files:
        raise Unusable("no blueprint.json")
    blueprint = read_json(files["blueprint.json"])
    name = blueprint.get("name") if isinstance(blueprint, dict) else None
    if not isinstance(name, str):
        raise Unusable("blueprint.json has no name")
    return name


def namespace_of(name: str, *, unique: bool) -> str:
    """Derive a namespace as the real server does: a new one for each deployment, unless names are `unique`.

    Raises Unusable.
    """
    namespace = re.sub("[ _]", "-", name.lower())
    if not unique:
        namespace += f"-{uuid4().hex}"
    if len(namespace) > 63 or not _NAMESPACE.fullmatch(namespace):
        raise Unusable("no namespace can be derived from the name")
    return namespace
