"""An orchestrator that validates pipelines as the generic-parallel-orchestrator does; it runs nothing."""

import importlib.util
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

from tests.extended.live.containers.pipeline import Refused, load
from tests.unit.ontarget.bundles import ONTARGET

CLIENT = "orchestrator_client/orchestrator_client.py"


class Orchestrator:
    """The service with its four calls; it records its requests."""

    def __init__(self, messages: Any) -> None:
        self.asked: list[str] = []
        self._messages = messages

    def initialize(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Report errors in the status, not as gRPC errors."""
        self.asked.append("initialize")
        try:
            load(request.blueprint, request.dockerinfo, request.protofiles)
        except Refused as reason:
            return self._messages.OrchestrationStatus(success=False, code=-1, message=str(reason))
        return self._messages.OrchestrationStatus(success=True, message="initialized")

    def run(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Answer success with success=false and code=0, as the real orchestrator does."""
        self.asked.append("run")
        return self._messages.OrchestrationStatus(success=False, code=0, message="started")

    def get_status(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Answer "busy"."""
        self.asked.append("get_status")
        return self._messages.OrchestrationStatus(success=True, active_threads=4)

    def observe(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        """Send one event, then end the stream."""
        self.asked.append("observe")
        yield self._messages.OrchestrationEvent(component="somebody", name="rpc.started")


@contextmanager
def serve(port: int) -> Iterator[Orchestrator]:
    """Serve as if the cluster routed a node's port here."""
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
