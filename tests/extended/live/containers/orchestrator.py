"""An orchestrator: it takes a bundle's files, calls each operation and passes its output along the blueprint's edges.

Messages are passed on as the bytes in which they arrive: the next node reads what the previous node wrote, because
their protobufs agree.
"""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import grpc

from .pipeline import Key, Operation, Refused, load

PORT = 8061
STARTING_SECONDS = 3  # as long as the real one: it does not listen until then, which a probe detects
RETRY_SECONDS = 0.5
AWAY = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED}  # the errors of a killed pod

messages, services = grpc.protos_and_services("orchestrator.proto")


class Running:
    """A running pipeline, with a thread for each operation."""

    def __init__(self, operations: dict[Key, Operation], say: Any) -> None:
        self._operations, self._say = operations, say
        self._inputs: dict[Key, SimpleQueue[bytes]] = {key: SimpleQueue() for key in operations}
        self._channels = {it.address: grpc.insecure_channel(it.address) for it in operations.values()}
        self.threads = [threading.Thread(target=self._serve, args=(key,), daemon=True) for key in operations]
        for thread in self.threads:
            thread.start()

    def _serve(self, key: Key) -> None:
        """Call one operation repeatedly."""
        operation = self._operations[key]
        while True:
            request = self._requests(key) if operation.request_stream else self._request(key)
            while not self._call(key, request):
                time.sleep(RETRY_SECONDS)  # its pod may soon be replaced

    def _request(self, key: Key) -> bytes:
        return b"" if self._operations[key].is_source else self._inputs[key].get()

    def _requests(self, key: Key) -> Iterator[bytes]:
        while True:
            yield self._request(key)

    def _call(self, key: Key, request: Any) -> bool:
        """Pass on its answer; return False if the node is unreachable."""
        operation = self._operations[key]
        channel = self._channels[operation.address]
        kinds = ("unary", "stream")
        method = f"{kinds[operation.request_stream]}_{kinds[operation.response_stream]}"
        self._say(key, "rpc.started")
        try:
            answer = getattr(channel, method)(operation.path)(request)
            for response in answer if operation.response_stream else [answer]:
                self._say(key, "rpc.returned")
                for target in operation.targets:
                    self._inputs[target].put(response)
        except grpc.RpcError as error:
            self._say(key, "exception", {"code": error.code().name, "details": error.details()})
            return error.code() not in AWAY
        return True


class Orchestrator:
    """The service of orchestrator.proto."""

    def __init__(self) -> None:
        self._loaded: dict[Key, Operation] | None = None
        self._running: Running | None = None
        self._observers: list[SimpleQueue[Any]] = []

    def initialize(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Report errors in the status, not as gRPC errors."""
        try:
            self._loaded = load(request.blueprint, request.dockerinfo, request.protofiles)
        except Refused as reason:
            return messages.OrchestrationStatus(success=False, code=-1, message=str(reason))
        return messages.OrchestrationStatus(success=True, message=f"initialized {len(self._loaded)} operations")

    def run(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Answer success with success=false and code=0, as the real orchestrator does."""
        if self._loaded is None:
            return messages.OrchestrationStatus(success=False, code=-1, message="not initialized")
        if self._running is None:
            self._running = Running(self._loaded, self._say)
        return messages.OrchestrationStatus(success=False, code=0, message="started", active_threads=self._threads)

    def get_status(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Return the number of operations that are served."""
        said = "running" if self._running else "not running"
        return messages.OrchestrationStatus(success=True, message=said, active_threads=self._threads)

    def observe(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        """Yield every event from now on."""
        events: SimpleQueue[Any] = SimpleQueue()
        self._observers.append(events)
        while context.is_active():
            yield events.get()

    @property
    def _threads(self) -> int:
        return len(self._running.threads) if self._running else 0

    def _say(self, key: Key, name: str, detail: dict[str, str] | None = None) -> None:
        container, operation = key
        event = messages.OrchestrationEvent(component=container, name=name, detail={"rpc": operation, **(detail or {})})
        print(container, operation, name, detail or "")
        for observer in self._observers:
            observer.put(event)


def main() -> None:
    """Serve until killed. SIGTERM has no effect on it, because it is process 1 without a handler."""
    time.sleep(STARTING_SECONDS)
    server = grpc.server(ThreadPoolExecutor(8))
    services.add_OrchestratorServicer_to_server(Orchestrator(), server)
    server.add_insecure_port(f"0.0.0.0:{PORT}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
