"""An orchestrator that judges a pipeline as the generic-parallel-orchestrator does (contract §7), and runs nothing."""

import importlib.util
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

from tests.extended.cluster.api import Json
from tests.unit.ontarget.bundles import ONTARGET

CLIENT = "orchestrator_client/orchestrator_client.py"


class Orchestrator:
    """The four calls; it notes what it was asked."""

    def __init__(self, messages: Any) -> None:
        self.asked: list[str] = []
        self._messages = messages

    def initialize(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Errors are in the status, not of gRPC."""
        self.asked.append("initialize")
        try:
            judge(json.loads(request.blueprint), json.loads(request.dockerinfo), request.protofiles)
        except (KeyError, TypeError, ValueError) as error:
            return self._messages.OrchestrationStatus(success=False, code=-1, message=repr(error))
        return self._messages.OrchestrationStatus(success=True, message="initialized")

    def run(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Answers with success=false and code=0 where all is well, as the real one."""
        self.asked.append("run")
        return self._messages.OrchestrationStatus(success=False, code=0, message="started")

    def get_status(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Busy."""
        self.asked.append("get_status")
        return self._messages.OrchestrationStatus(success=True, active_threads=4)

    def observe(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        """One event, then the end."""
        self.asked.append("observe")
        yield self._messages.OrchestrationEvent(component="somebody", name="rpc.started")


@contextmanager
def serve(port: int) -> Iterator[Orchestrator]:
    """As if the cluster led a node's port to it."""
    spec = importlib.util.spec_from_file_location("orchestrator_client", ONTARGET / CLIENT)
    assert spec
    assert spec.loader
    client = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(client)
    messages, services = client.load_interface()
    running, server = Orchestrator(messages), grpc.server(ThreadPoolExecutor(1))
    services.add_OrchestratorServicer_to_server(running, server)
    assert port == server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield running
    finally:
        server.stop(None).wait()


def judge(blueprint: Json, docker_info: Json, protos: Mapping[str, str]) -> None:
    """Raises KeyError, TypeError or ValueError where the real one cannot initialise, or fails when it runs."""
    entries = docker_info["docker_info_list"]
    names = [it["container_name"] for it in entries]
    _refuse("twice in dockerinfo", [name for name, count in Counter(names).items() if count > 1])
    for entry in entries:
        int(entry["port"])
    _refuse("no Service to dial", [it["container_name"] for it in entries if not it["ip_address"]])
    nodes = {it["container_name"]: it for it in blueprint["nodes"]}
    _refuse("not present in dockerinfo", [name for name in nodes if name not in names])
    inputs: dict[tuple[str, str], str] = {}
    for name, node in nodes.items():
        # Only the entry `orchestrator` may have none. The first service counts, and it starts its line.
        if node["operation_signature_list"] and not re.search("^service ", protos[f"{name}.proto"], re.MULTILINE):
            raise ValueError(f"no service in {name}.proto")
        for operation in node["operation_signature_list"]:
            key = (name, operation["operation_signature"]["operation_name"])
            _refuse("twice", [key] if key in inputs else [])
            inputs[key] = operation["operation_signature"]["input_message_name"]
            str(operation["operation_signature"]["output_message_name"])
    for node in nodes.values():
        for operation in node["operation_signature_list"]:
            for edge in operation["connected_to"]:
                target = (edge["container_name"], edge["operation_signature"]["operation_name"])
                _refuse("Empty has an incoming link", [target] if inputs[target] == "Empty" else [])


def _refuse(what: str, who: list[Any]) -> None:
    if who:
        raise ValueError(f"{what}: {who}")
