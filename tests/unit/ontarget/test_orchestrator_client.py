"""The orchestrator client against a gRPC server with the orchestrator's interface."""

import importlib.util
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pytest

from tests.unit.ontarget.bundles import ONTARGET, pipeline
from tests.unit.ontarget.running import PYTHONS, Result

CLIENT = "orchestrator_client/orchestrator_client.py"


@pytest.fixture(scope="module")
def client() -> ModuleType:
    """The module orchestrator_client.py, whose folder is not a package."""
    spec = importlib.util.spec_from_file_location("orchestrator_client", ONTARGET / CLIENT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def interface(client: ModuleType) -> tuple[Any, Any]:
    """The messages and services of orchestrator.proto."""
    loaded: tuple[Any, Any] = client.load_interface()
    return loaded


class Orchestrator:
    """An orchestrator that records requests and returns a given status."""

    def __init__(self, messages: Any) -> None:
        self.messages = messages
        self.asked: list[tuple[str, Any]] = []
        self.status = {"success": True, "message": "initialized", "active_threads": 3}
        self.address = ""

    def initialize(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Answer `initialize`."""
        return self._answer("initialize", request)

    def run(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Answer `run`."""
        return self._answer("run", request)

    def get_status(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Answer `get_status`."""
        return self._answer("get_status", request)

    def observe(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        """Yield two events."""
        self.asked.append(("observe", request))
        yield self.messages.OrchestrationEvent(component="alpha", name="rpc.started", detail={"b": "2", "a": "1"})
        yield self.messages.OrchestrationEvent(component="beta", name="thread.terminate")

    def _answer(self, method: str, request: Any) -> Any:
        self.asked.append((method, request))
        return self.messages.OrchestrationStatus(**self.status)


@pytest.fixture
def orchestrator(interface: tuple[Any, Any]) -> Iterator[Orchestrator]:
    """An orchestrator on a local port."""
    messages, services = interface
    running = Orchestrator(messages)
    server = grpc.server(ThreadPoolExecutor(2))
    services.add_OrchestratorServicer_to_server(running, server)
    running.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield running
    server.stop(None).wait()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle of a pipeline."""
    return pipeline(tmp_path / "bundle")


@pytest.fixture
def ask(
    client: ModuleType, bundle: Path, orchestrator: Orchestrator, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    """Run a command in this process."""

    def run(*arguments: str) -> Result:
        code = client.main([*arguments, "--basepath", str(bundle), "--endpoint", orchestrator.address])
        return Result(code, *capsys.readouterr())

    return run


def test_interface(interface: tuple[Any, Any]) -> None:
    """Messages have the wire format that the orchestrators in use read, field number by field number."""
    messages, _ = interface
    cases = [
        (
            messages.OrchestrationConfiguration(
                blueprint="b", dockerinfo="d", protofiles={"k": "v"}, queuesize=7, iterations=8
            ),
            b"\x0a\x01b\x12\x01d\x1a\x06\x0a\x01k\x12\x01v\x20\x07\x28\x08",
        ),
        (messages.RunLabel(label="l"), b"\x0a\x01l"),
        (
            messages.OrchestrationStatus(success=True, code=2, message="m", active_threads=3),
            b"\x08\x01\x10\x02\x1a\x01m\x20\x03",
        ),
        (messages.OrchestrationObservationConfiguration(name_regex="n", component_regex="c"), b"\x0a\x01n\x12\x01c"),
        (
            messages.OrchestrationEvent(run="r", name="n", component="c", detail={"k": "v"}),
            b"\x0a\x01r\x12\x01n\x1a\x01c\x22\x06\x0a\x01k\x12\x01v",
        ),
    ]

    assert [wire for _, wire in cases] == [message.SerializeToString() for message, _ in cases]
    service = messages.DESCRIPTOR.services_by_name["Orchestrator"]
    assert "Orchestrator" == service.full_name
    assert {
        "initialize": ("OrchestrationConfiguration", "OrchestrationStatus"),
        "observe": ("OrchestrationObservationConfiguration", "OrchestrationEvent"),
        "run": ("RunLabel", "OrchestrationStatus"),
        "get_status": ("RunLabel", "OrchestrationStatus"),
    } == {method.name: (method.input_type.name, method.output_type.name) for method in service.methods}


def test_initialize(ask: Callable[..., Result], orchestrator: Orchestrator, bundle: Path) -> None:
    """`initialize` sends the unchanged texts of the files, with protobufs under their file names."""
    done = ask("initialize")

    ((method, request),) = orchestrator.asked
    assert Result(0, "initialized (active threads: 3)\n", "") == done
    assert "initialize" == method
    assert (bundle / "blueprint.json").read_text() == request.blueprint
    assert (bundle / "dockerinfo.json").read_text() == request.dockerinfo
    assert {
        name: (bundle / "microservice" / name).read_text(encoding="utf-8") for name in ("alpha.proto", "beta.proto")
    } == dict(request.protofiles)
    assert (0, 0) == (request.queuesize, request.iterations)


@pytest.mark.parametrize(("command", "method"), [("run", "run"), ("get-status", "get_status"), ("get_status",) * 2])
def test_run_and_status(command: str, method: str, ask: Callable[..., Result], orchestrator: Orchestrator) -> None:
    """`run` and `get-status` send the label and print the answer."""
    done = ask(command, "--label", "first")

    assert 0 == done.code
    assert [(method, "first")] == [(name, request.label) for name, request in orchestrator.asked]


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        ({"success": True, "message": "initialized"}, 0, ""),
        ({"success": False, "code": 0, "message": "initialized"}, 0, ""),
        ({"success": False, "code": -1, "message": "KeyError: x"}, 1, "error: The orchestrator reports code -1: KeyEr"),
    ],
)
def test_errors_in_the_status(
    status: dict[str, Any],
    code: int,
    message: str,
    ask: Callable[..., Result],
    orchestrator: Orchestrator,
) -> None:
    """An error status exits with 1 and its message.

    success=false with code 0 counts as success, because orchestrators may report success that way.
    """
    orchestrator.status = status

    done = ask("initialize")

    assert code == done.code
    assert message == done.err[: len(message)]
    assert bool(message) == bool(done.err)


def test_observe(ask: Callable[..., Result], orchestrator: Orchestrator) -> None:
    """`observe` prints one line per event, of all events by default."""
    done = ask("observe", "--component-regex", "a.*")

    ((_, request),) = orchestrator.asked
    assert Result(0, "alpha: rpc.started a=1 b=2\nbeta: thread.terminate\n", "") == done
    assert (".*", "a.*") == (request.name_regex, request.component_regex)


def test_default_endpoint(client: ModuleType, bundle: Path) -> None:
    """Host and port default to the orchestrator's entry in dockerinfo.json."""

    def endpoint(*arguments: str) -> Any:
        return client.endpoint(client.parse(["run", "--basepath", str(bundle), *arguments]))

    assert "orchestrator:8061" == endpoint()
    assert "node-1:8061" == endpoint("--endpoint", "node-1")
    assert "node-1:30000" == endpoint("-e", "node-1:30000")
    for text in ('{"docker_info_list": []}', "{}", "[", "[]"):
        (bundle / "dockerinfo.json").write_text(text)
        with pytest.raises(client.Problem, match="has no entry for the orchestrator"):
            endpoint()


def test_nobody_answers(client: ModuleType, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An address without a listener exits with 1, and the message names the address and a remedy."""
    document = {"docker_info_list": [{"container_name": "orchestrator", "ip_address": "127.0.0.1", "port": 1}]}
    (bundle / "dockerinfo.json").write_text(json.dumps(document))

    code = client.main(["run", "--basepath", str(bundle), "--timeout", "0.2"])

    error = capsys.readouterr().err
    assert 1 == code
    assert error.startswith("error: No answer from the orchestrator at 127.0.0.1:1: ")
    assert "--endpoint HOST" in error


def test_a_port_that_leads_nowhere_yet(client: ModuleType, bundle: Path, interface: tuple[Any, Any]) -> None:
    """The client waits for an orchestrator that is reachable a moment later, because NodePorts lag behind the pods."""
    messages, services = interface
    running, server = Orchestrator(messages), grpc.server(ThreadPoolExecutor(2))
    services.add_OrchestratorServicer_to_server(running, server)
    with socket.create_server(("127.0.0.1", 0)) as refusing, ThreadPoolExecutor(1) as beside:
        port = refusing.getsockname()[1]
        code = beside.submit(client.main, ["run", "--basepath", str(bundle), "--endpoint", f"127.0.0.1:{port}"])
        refusing.accept()[0].close()
        refusing.close()
        server.add_insecure_port(f"127.0.0.1:{port}")
        server.start()

        assert 0 == code.result()
    server.stop(None).wait()
    assert ["run"] == [method for method, _ in running.asked]


def test_incomplete_bundle(ask: Callable[..., Result], bundle: Path) -> None:
    """A missing file is reported by name."""
    (bundle / "blueprint.json").unlink()

    done = ask("initialize")

    assert 1 == done.code
    assert f"error: {bundle / 'blueprint.json'} cannot be read" in done.err


@pytest.mark.parametrize("python", PYTHONS)
def test_as_a_process(python: str, bundle: Path, orchestrator: Orchestrator) -> None:
    """The client finds its files in the unpacked bundle, with each available interpreter."""
    command = [python, str(bundle / CLIENT), "--endpoint", orchestrator.address, "initialize"]

    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    usage = subprocess.run([sys.executable, str(bundle / CLIENT), "start"], capture_output=True, check=False)

    assert (0, "initialized (active threads: 3)\n", "") == (done.returncode, done.stdout, done.stderr)
    assert 2 == usage.returncode
