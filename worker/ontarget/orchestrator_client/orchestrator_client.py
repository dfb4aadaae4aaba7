#!/usr/bin/env python3
"""Talk to the orchestrator of a deployed pipeline.

    python3 orchestrator_client.py initialize     hand over blueprint.json, dockerinfo.json and microservice/*.proto
    python3 orchestrator_client.py run            start the pipeline
    python3 orchestrator_client.py get-status     ask how it is
    python3 orchestrator_client.py observe        follow what happens, until Ctrl-C

Outside the cluster give the address of any of its nodes: --endpoint HOST or --endpoint HOST:PORT. The port is
in dockerinfo.json once kubernetes-client-script.py has run. Exit code 0: done, 1: failed, 2: wrong arguments.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from pathlib import Path
from typing import Any, Sequence

try:
    import grpc
    import grpc_tools  # noqa: F401 - grpc needs it to read orchestrator.proto
except ImportError:
    sys.exit("error: The packages grpcio and grpcio-tools are missing. Run: pip install -r requirements.txt")

BUNDLE = Path(__file__).resolve().parent.parent
CONNECT_SECONDS = 10  # a NodePort leads to a pod only some time after the pod is ready


class Problem(Exception):
    """What keeps us from going on, in a sentence a person can act on."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command and its options."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw, allow_abbrev=False)
    parser.add_argument("command", choices=["initialize", "run", "get-status", "get_status", "observe"])
    parser.add_argument("-e", "--endpoint", help="HOST or HOST:PORT (default: as in dockerinfo.json)")
    parser.add_argument("-b", "--basepath", type=Path, default=BUNDLE, help="the bundle (default: where this is)")
    parser.add_argument("--label", default="", help="label of the run (run, get-status)")
    parser.add_argument("--name-regex", default=".*", help="observe only events with such names")
    parser.add_argument("--component-regex", default=".*", help="observe only events of such components")
    parser.add_argument("--timeout", type=float, default=300, metavar="SECONDS", help="for an answer (default: 300)")
    return parser.parse_args(arguments)


def read(path: Path) -> str:
    """The text of a file of the bundle. Raises Problem."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Problem(f"{path} cannot be read: {error}.") from None


def endpoint(options: argparse.Namespace) -> str:
    """What is given, completed from the orchestrator's entry in dockerinfo.json. Raises Problem."""
    given = options.endpoint or ""
    if ":" in given:
        return given
    path = options.basepath / "dockerinfo.json"
    try:
        entries = json.loads(read(path))["docker_info_list"]
        entry = next(entry for entry in entries if entry["container_name"] == "orchestrator")
        return f"{given or entry['ip_address']}:{entry['port']}"
    except (ValueError, KeyError, TypeError, StopIteration):
        raise Problem(f"{path} has no entry for the orchestrator. Give --endpoint HOST:PORT.") from None


def load_interface() -> tuple[Any, Any]:
    """Messages and services of orchestrator.proto, read now instead of shipping generated code."""
    # grpc looks for .proto files where Python looks for modules.
    sys.path.insert(0, str(BUNDLE / "protobuf"))
    messages, services = grpc.protos_and_services("orchestrator.proto")
    return messages, services


def configuration(messages: Any, base: Path) -> Any:
    """The files of the bundle as they are; the orchestrator finds a node's proto as <container name>.proto."""
    return messages.OrchestrationConfiguration(
        blueprint=read(base / "blueprint.json"),
        dockerinfo=read(base / "dockerinfo.json"),
        protofiles={path.name: read(path) for path in sorted((base / "microservice").glob("*.proto"))},
        queuesize=0,
        iterations=0,
    )


def observe(stub: Any, messages: Any, options: argparse.Namespace) -> None:
    """One line per event."""
    wanted = messages.OrchestrationObservationConfiguration(
        name_regex=options.name_regex, component_regex=options.component_regex
    )
    for event in stub.observe(wanted):
        details = " ".join(f"{key}={value}" for key, value in sorted(event.detail.items()))
        print(f"{event.component}: {event.name} {details}".rstrip(), flush=True)


def call(options: argparse.Namespace, channel: Any) -> None:
    """Carry out the command. Raises Problem when the orchestrator reports an error."""
    messages, services = load_interface()
    stub = services.OrchestratorStub(channel)
    if options.command == "observe":
        observe(stub, messages, options)
        return
    if options.command == "initialize":
        status = stub.initialize(configuration(messages, options.basepath), timeout=options.timeout)
    else:
        method = getattr(stub, options.command.replace("-", "_"))
        status = method(messages.RunLabel(label=options.label), timeout=options.timeout)
    # Orchestrators report errors here, not as gRPC errors; and those in use leave `success` false when all is well.
    if not status.success and status.code != 0:
        raise Problem(f"The orchestrator reports code {status.code}: {status.message}")
    print(f"{status.message or 'done'} (active threads: {status.active_threads})")


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 done, 1 failed; argparse exits with 2."""
    options = parse(arguments)
    try:
        target = endpoint(options)
        with grpc.insecure_channel(target) as channel:
            with contextlib.suppress(grpc.FutureTimeoutError):  # the call says why
                grpc.channel_ready_future(channel).result(timeout=min(CONNECT_SECONDS, options.timeout))
            call(options, channel)
    except Problem as problem:
        reason = str(problem)
    except grpc.RpcError as error:
        hint = "" if options.endpoint else " Outside the cluster give --endpoint HOST, the address of any of its nodes."
        reason = f"No answer from the orchestrator at {target}: {error.details()} ({error.code().name}).{hint}"
    except KeyboardInterrupt:
        return 0 if options.command == "observe" else 1
    else:
        return 0
    print(f"error: {reason}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
