"""A deployed pipeline can be started with the files that the script has written."""

import json
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy

import pytest

from tests.extended.cluster import pythons
from tests.extended.cluster.api import Json
from tests.extended.cluster.orchestrator import CLIENT, serve
from tests.extended.cluster.pythons import Python
from tests.extended.cluster.server import BARE, Configuration, Server
from tests.extended.live.containers.pipeline import Key, Operation, Refused, load


@pytest.mark.parametrize("case", ["sudoku", "news-training"])
def test_from_deployed_to_running(
    case: str, build_zip: Callable[..., bytes], server: Callable[[Python, Configuration], Server]
) -> None:
    """The orchestrator client finds the NodePort, and the orchestrator accepts blueprint, dockerinfo and protobufs."""
    playground = server(pythons.running(), BARE)
    deployment = playground.unpack(build_zip(case))
    assert 0 == playground.run(deployment).code
    port = next(it["port"] for it in deployment.docker_info if it["container_name"] == "orchestrator")

    with serve(port) as orchestrator:
        for command in ("initialize", "run", "get-status", "observe"):
            done = subprocess.run(
                [sys.executable, deployment.folder / CLIENT, "--endpoint", "127.0.0.1", command],
                capture_output=True,
                text=True,
                check=False,
            )
            assert (0, "") == (done.returncode, done.stderr)

    assert ["initialize", "run", "get_status", "observe"] == orchestrator.asked


SIGNATURE = {"operation_name": "run", "input_message_name": "In", "output_message_name": "Out"}
EDGE = {"container_name": "a", "operation_signature": {"operation_name": "run"}}
OPERATION = {"operation_signature": SIGNATURE, "connected_to": [EDGE]}
NODE = {"container_name": "a", "operation_signature_list": [OPERATION]}
PROTOBUF = 'syntax = "proto3";\nmessage In {}\nmessage Out {}\nservice S { rpc run(In) returns (Out); }\n'

Parts = tuple[Json, list[Json], dict[str, str]]
"""blueprint.json, the entries of dockerinfo.json, protobufs by file name."""


def _in_dockerinfo(parts: Parts) -> None:
    parts[1][0]["container_name"] = "A"


def _edge(parts: Parts) -> None:
    parts[0]["nodes"][0]["operation_signature_list"][0]["connected_to"][0]["container_name"] = "A"


def _list(parts: Parts) -> None:
    del parts[0]["nodes"][0]["operation_signature_list"]


def _empty(parts: Parts) -> None:
    parts[0]["nodes"][0]["operation_signature_list"][0]["operation_signature"]["input_message_name"] = "Empty"


def _service(parts: Parts) -> None:
    parts[2]["a.proto"] = PROTOBUF.replace("service", "  service")


def _rpc(parts: Parts) -> None:
    parts[2]["a.proto"] = PROTOBUF.replace("rpc run", "rpc walk")


def _no_protobuf(parts: Parts) -> None:
    parts[2].clear()


def _twice(parts: Parts) -> None:
    parts[1].append(parts[1][0])


def _port(parts: Parts) -> None:
    parts[1][0]["port"] = "http"


@pytest.mark.parametrize("spoil", [_in_dockerinfo, _edge, _list, _empty, _service, _rpc, _no_protobuf, _twice, _port])
def test_the_orchestrator_is_not_blind(spoil: Callable[[Parts], None]) -> None:
    """The tests' orchestrator rejects what the public orchestrator is known to reject."""
    parts = {"nodes": [deepcopy(NODE)]}, [{"container_name": "a", "ip_address": "a", "port": 1}], {"a.proto": PROTOBUF}
    assert [("a", "run")] == list(_loaded(parts))
    spoil(parts)

    with pytest.raises(Refused):
        _loaded(parts)


def _loaded(parts: Parts) -> dict[Key, Operation]:
    blueprint, entries, protobufs = parts
    return load(json.dumps(blueprint), json.dumps({"docker_info_list": entries}), protobufs)
