"""CCDS, Nexus and playground for measurements: a separate process that answers with almost no work.

`python -m tests.extended.bench.dependencies NODES LATENCY_SECONDS POST_SECONDS` prints its address and serves pipelines
that differ only in their ids, until it is terminated. Answers are made once, for one pipeline. A request then costs
parsing its first line and replacing the id. Like the real servers, CCDS reports the blueprint's size, and Nexus the
protobufs' checksum.
"""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha1
from uuid import UUID

from tests.support.builders import blueprint, edge, node, operation, protobuf
from worker.sandbox.graphene import CCDS_PATH, NEXUS_PATH

SOLUTION_ID = UUID("11111111-1111-4111-8111-111111111111")
REVISION_ID = UUID("22222222-2222-4222-8222-222222222222")
BLUEPRINT_URI = f"org/acumos/{SOLUTION_ID}/blueprint.json"
_PREFIX = str(SOLUTION_ID)[:24]
_SOLUTION = re.compile(rf"{_PREFIX}\d{{12}}".encode())
PROTO = protobuf(operation()).encode() + b"// A comment of thirty bytes.\n" * 20


def solution_id(number: int) -> str:
    """Return the id of one of the solutions."""
    return f"{_PREFIX}{number:012}"


def pipeline(nodes: int) -> bytes:
    """Return a circular pipeline of this many nodes, each with its own protobuf."""
    names = [f"node-{number}" for number in range(nodes)]
    return blueprint(
        *(
            node(name, operation("run", edge(names[(at + 1) % nodes])), proto_uri=_proto_uri(at))
            for at, name in enumerate(names)
        )
    )


def _proto_uri(number: int) -> str:
    return f"org/acumos/{SOLUTION_ID}/node-{number}/1.0.0/node-{number}-1.0.0.proto"


class Server(asyncio.Protocol):
    """One connection. Requests are answered in order, each after the latency."""

    def __init__(self, answers: dict[bytes, bytes], deployed: bytes, latency: float, post_latency: float) -> None:
        self._answers = answers
        self._deployed = deployed
        self._latency = latency
        self._post_latency = post_latency
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, rest = self._buffer.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
            if len(rest) < length:
                return
            self._buffer = rest[length:]
            latency = self._post_latency if head.startswith(b"POST") else self._latency
            asyncio.get_running_loop().call_later(latency, self._answer, head.split(b" ", 2)[:2])

    def _answer(self, request: list[bytes]) -> None:
        method, path = request
        if method == b"POST":
            return self._transport.write(self._deployed)
        ours, found = str(SOLUTION_ID).encode(), _SOLUTION.search(path)
        theirs = found[0] if found else ours
        return self._transport.write(self._answers.get(path.replace(theirs, ours), _http(b"")).replace(ours, theirs))


def _http(body: bytes, content_type: bytes = b"application/json", more: bytes = b"") -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n%s\r\n"
    return head % (content_type, len(body), more) + body


def answers(nodes: int) -> dict[bytes, bytes]:
    """Return the complete HTTP answer for each path."""
    solution = {"solutionId": str(SOLUTION_ID), "name": "Bench", "toolkitTypeCode": "CP"}
    revision = {"solutionId": str(SOLUTION_ID), "revisionId": str(REVISION_ID)}
    document = pipeline(nodes)
    artifact = {"artifactTypeCode": "BP", "uri": BLUEPRINT_URI, "size": len(document)}
    documents = {
        f"/solution/{SOLUTION_ID}": solution,
        f"/solution/{SOLUTION_ID}/revision/{REVISION_ID}": revision,
        f"/revision/{REVISION_ID}/artifact": [artifact],
        f"/catalog/solution/{SOLUTION_ID}": [],
        f"/access/user/user-0/solution/{SOLUTION_ID}": {"count": 1},
    }
    documents |= {f"/access/user/user-{user}/solution/{SOLUTION_ID}": {"count": 1} for user in range(2000)}
    found = {f"{CCDS_PATH}{path}".encode(): _http(json.dumps(it).encode()) for path, it in documents.items()}
    found[f"{CCDS_PATH}/solution/{SOLUTION_ID}/pic".encode()] = _http(b"", b"application/octet-stream")
    found[f"{NEXUS_PATH}/{BLUEPRINT_URI}".encode()] = _http(document)
    checksum = b'ETag: "{SHA1{%s}}"\r\n' % sha1(PROTO, usedforsecurity=False).hexdigest().encode()
    for number in range(nodes):
        found[f"{NEXUS_PATH}/{_proto_uri(number)}".encode()] = _http(PROTO, b"text/plain", checksum)
    return found


@asynccontextmanager
async def served_apart(nodes: int, latency: float, post_latency: float | None = None) -> AsyncIterator[str]:
    """Serve the dependencies from a separate process; yield their address. `post_latency` None: like other answers."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.extended.bench.dependencies",
        str(nodes),
        str(latency),
        str(latency if post_latency is None else post_latency),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def main() -> None:
    """Serve until terminated."""
    ready = answers(int(sys.argv[1]))
    deployed = _http(b"/dashboard?selected_deployment_id=bench-1", b"text/html")
    server = await asyncio.get_running_loop().create_server(
        lambda: Server(ready, deployed, float(sys.argv[2]), float(sys.argv[3])), "127.0.0.1", 0
    )
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)  # noqa: T201
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
