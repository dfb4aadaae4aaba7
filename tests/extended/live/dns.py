"""The cluster's DNS: SERVICE.NAMESPACE.svc.cluster.local is the address that the API server gave the Service."""

import socket
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from socketserver import BaseRequestHandler, ThreadingUDPServer
from typing import Any

from tests.extended.cluster.api import Api, Refused
from tests.extended.cluster.control_plane import ControlPlane
from tests.extended.live.registry import in_background

DOMAIN = "cluster.local"
_A = 1  # the type of record that is an IPv4 address (RFC 1035, 3.2.2)
_FOUND, _NO_SUCH_NAME = 0x8180, 0x8183


@contextmanager
def dns(cluster: ControlPlane, address: str) -> Iterator[None]:
    """Answer inside the block. Names other than those of Services do not exist: there is no other network."""
    with closing(cluster.open_api()) as api:

        class Handler(BaseRequestHandler):
            def handle(self) -> None:
                """Answer one question."""
                query: bytes = self.request[0]
                self.request[1].sendto(answer(query, partial(_address, api)), self.client_address)

        with in_background(ThreadingUDPServer((address, 53), Handler)):
            yield


def _address(api: Api, name: str, namespace: str) -> str | None:
    try:
        found: str = api.get("Service", namespace, name)["spec"]["clusterIP"]
    except Refused:
        return None
    return found


def answer(query: bytes, find: Any) -> bytes:
    """Return the answer to a query with one question (RFC 1035, 4.1); `find` returns the address of a Service."""
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
