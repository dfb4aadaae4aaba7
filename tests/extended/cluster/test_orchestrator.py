"""Whoever has deployed a pipeline can start it with what the script has written."""

import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy

import pytest

from tests.extended.cluster import pythons
from tests.extended.cluster.api import Json
from tests.extended.cluster.orchestrator import CLIENT, judge, serve
from tests.extended.cluster.pythons import Python
from tests.extended.cluster.server import BARE, Configuration, Server


@pytest.mark.parametrize("case", ["sudoku", "news-training"])
def test_from_deployed_to_running(
    case: str, build_zip: Callable[..., bytes], server: Callable[[Python, Configuration], Server]
) -> None:
    """The orchestrator client finds the NodePort, and the orchestrator takes blueprint, dockerinfo and protobufs."""
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


def _in_dockerinfo(blueprint: Json, entries: list[Json], protos: dict[str, str]) -> None:
    entries[0]["container_name"] = "A"


def _edge(blueprint: Json, entries: list[Json], protos: dict[str, str]) -> None:
    blueprint["nodes"][0]["operation_signature_list"][0]["connected_to"][0]["container_name"] = "A"


def _list(blueprint: Json, entries: list[Json], protos: dict[str, str]) -> None:
    del blueprint["nodes"][0]["operation_signature_list"]


def _empty(blueprint: Json, entries: list[Json], protos: dict[str, str]) -> None:
    blueprint["nodes"][0]["operation_signature_list"][0]["operation_signature"]["input_message_name"] = "Empty"


def _proto(blueprint: Json, entries: list[Json], protos: dict[str, str]) -> None:
    protos["a.proto"] = protos["a.proto"].replace("service", "  service")


def _twice(blueprint: Json, entries: list[Json], protos: dict[str, str]) -> None:
    entries.append(entries[0])


@pytest.mark.parametrize("spoil", [_in_dockerinfo, _edge, _list, _empty, _proto, _twice])
def test_the_judge_is_not_blind(spoil: Callable[[Json, list[Json], dict[str, str]], None]) -> None:
    """What the real orchestrator is known to refuse is refused by the one above."""
    blueprint, entries = {"nodes": [deepcopy(NODE)]}, [{"container_name": "a", "ip_address": "a", "port": 1}]
    protos = {"a.proto": 'syntax = "proto3";\nservice S {}\n'}
    judge(blueprint, {"docker_info_list": entries}, protos)
    spoil(blueprint, entries, protos)

    with pytest.raises((KeyError, ValueError)):
        judge(blueprint, {"docker_info_list": entries}, protos)
