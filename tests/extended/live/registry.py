"""The registry that containerd pulls from: OCI image layouts over HTTP (distribution-spec), password optional."""

import base64
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseServer
from threading import Thread
from typing import Any

from tests.extended.live.images import NAME, PAUSE


@contextmanager
def in_background(server: BaseServer) -> Iterator[None]:
    """Serve inside the block, in threads that do not delay the exit."""
    server.daemon_threads = True  # type: ignore[attr-defined]
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield
    server.shutdown()
    server.server_close()
    thread.join()


class Registry:
    """Serves by name and digest; one registry serves all host names.

    `login` is user:password, or None if everyone may pull. The node's pause container never needs a password.
    """

    def __init__(self, layouts: list[Path], address: tuple[str, int]) -> None:
        self.login: str | None = None
        self.refused = 0  # requests without the right password
        self._blobs = {f"sha256:{it.name}": it for layout in layouts for it in (layout / "blobs" / "sha256").iterdir()}
        listed = [it for layout in layouts for it in json.loads((layout / "index.json").read_text())["manifests"]]
        self._kinds = {it["digest"]: it["mediaType"] for it in listed}
        self._names = {it["annotations"][NAME]: it["digest"] for it in listed}
        self._server = ThreadingHTTPServer(address, type("Handler", (_Handler,), {"registry": self}))

    def serving(self) -> AbstractContextManager[None]:
        """Serve inside the block."""
        return in_background(self._server)

    def may_pull(self, path: str, authorization: str) -> bool:
        """Return whether the header has the password, or none is needed."""
        if (
            self.login is None
            or path.startswith(f"/v2/{PAUSE.partition(':')[0]}/")
            or authorization == f"Basic {base64.b64encode(self.login.encode()).decode()}"
        ):
            return True
        self.refused += 1
        return False

    def find(self, path: str) -> tuple[str, str, Path] | None:
        """Return digest, media type and file of /v2/NAME/manifests/REFERENCE or /v2/NAME/blobs/DIGEST."""
        name, kind, reference = path.removeprefix("/v2/").rsplit("/", 2)
        digest = self._names.get(f"{name}:{reference}", reference) if kind == "manifests" else reference
        if digest not in self._blobs:
            return None
        return digest, self._kinds.get(digest, "application/octet-stream"), self._blobs[digest]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: Registry

    def do_GET(self) -> None:
        """Answer GET and HEAD."""
        path = self.path.partition("?")[0]
        if not self.registry.may_pull(path, self.headers.get("Authorization", "")):
            self._answer(401, **{"WWW-Authenticate": 'Basic realm="images"'})
        elif path == "/v2/":
            self._answer(200)
        elif found := self.registry.find(path):
            digest, kind, file = found
            size = str(file.stat().st_size)
            self._answer(200, **{"Content-Type": kind, "Content-Length": size, "Docker-Content-Digest": digest})
            if self.command == "GET":
                with file.open("rb") as opened:
                    self.connection.sendfile(opened)
        else:
            self._answer(404)

    do_HEAD = do_GET  # noqa: N815 - the server calls it so

    def _answer(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.flush()

    def log_message(self, *_: Any) -> None:
        """Log nothing."""
