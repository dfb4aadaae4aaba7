"""The cluster's DNS: SERVICE.NAMESPACE.svc.cluster.local is the address that the API server gave the Service."""

import socket
import struct
from contextlib import closing
from socketserver import BaseRequestHandler, ThreadingUDPServer
from threading import Thread
from types import TracebackType
from typing import Any, Self

from tests.extended.cluster.api import Api, Refused
from tests.extended.cluster.control_plane import ControlPlane

DOMAIN = "cluster.local"
_A = 1  # the type of record that is an IPv4 address (RFC 1035, 3.2.2)
_FOUND, _NO_SUCH_NAME = 0x8180, 0x8183


class Dns:
    """Answers for as long as it is open. Everything but Services is no name: there is no other network."""

    def __init__(self, cluster: ControlPlane, address: str) -> None:
        handler = type("Handler", (_Handler,), {"cluster": cluster})
        self._server = ThreadingUDPServer((address, 53), handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseRequestHandler):
    cluster: ControlPlane

    def handle(self) -> None:
        """Answer one question."""
        query: bytes = self.request[0]
        with closing(self.cluster.open_api()) as api:
            self.request[1].sendto(
                answer(query, lambda name, namespace: _address(api, name, namespace)), self.client_address
            )


def _address(api: Api, name: str, namespace: str) -> str | None:
    try:
        found: str = api.get("Service", namespace, name)["spec"]["clusterIP"]
    except Refused:
        return None
    return found


def answer(query: bytes, find: Any) -> bytes:
    """The answer to a query with one question (RFC 1035, 4.1); `find` has the address of a Service."""
    place, labels = 12, []
    while length := query[place]:
        labels.append(query[place + 1 : place + 1 + length].decode("ascii", "replace").lower())
        place += length + 1
    question = query[12 : place + 5]
    (kind,) = struct.unpack("!H", query[place + 1 : place + 3])
    known = find(labels[0], labels[1]) if labels[2:] == ["svc", *DOMAIN.split(".")] else None
    record = (
        b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 5, 4) + socket.inet_aton(known) if known and kind == _A else b""
    )
    header = query[:2] + struct.pack("!HHHHH", _FOUND if known else _NO_SUCH_NAME, 1, bool(record), 0, 0)
    return header + question + record
