"""The orchestrator's view of a bundle: the operations of a pipeline, their addresses, and the edges of their output.

Imports nothing of the project, because it is part of the orchestrator's image. Validates like the most permissive
public orchestrators (docs/contract.md lists what they reject), and compiles protobufs with protoc.
"""

import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet, ServiceDescriptorProto
from grpc_tools import protoc

Key = tuple[str, str]  # container, operation


class Refused(Exception):
    """The reason why the pipeline cannot be initialised, or would fail as soon as it runs."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One rpc of one node."""

    address: str  # host:port
    path: str  # of the gRPC method
    input: str
    output: str
    request_stream: bool
    response_stream: bool
    targets: tuple[Key, ...]

    @property
    def is_source(self) -> bool:
        """Return whether it is called without another operation's output."""
        return self.input == "Empty"


def load(blueprint: str, docker_info: str, protobufs: Mapping[str, str]) -> dict[Key, Operation]:
    """Load the three parts of an OrchestrationConfiguration. Raises Refused."""
    try:
        entries = {it["container_name"]: it for it in _without_twins(json.loads(docker_info)["docker_info_list"])}
        nodes = {it["container_name"]: it for it in json.loads(blueprint)["nodes"]}
        addresses = {name: f"{it['ip_address']}:{int(it['port'])}" for name, it in entries.items() if it["ip_address"]}
        _refuse("not present in dockerinfo", nodes.keys() - entries.keys())
        _refuse("without an address in dockerinfo", nodes.keys() - addresses.keys())
        compiled = {name: _compile(protobufs[f"{name}.proto"]) for name in entries if f"{name}.proto" in protobufs}
        _refuse_contradictions(compiled)
        operations: dict[Key, Operation] = {}
        for name, node in nodes.items():
            listed = node["operation_signature_list"]
            _refuse("without a protobuf", [name] if listed and name not in compiled else [])
            if name in compiled:
                service = _service(compiled[name], protobufs[f"{name}.proto"], name)
                found = {(name, _name(it)): _operation(it, addresses[name], compiled[name], service) for it in listed}
                _refuse("operations that are there twice", [name] if len(found) < len(listed) else [])
                operations |= found
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Refused(f"{type(error).__name__}: {error}") from error
    targets = [it for operation in operations.values() for it in operation.targets]
    _refuse("not an operation that a link may lead to", set(targets) - operations.keys())
    _refuse("Empty, with an incoming link", {it for it in targets if operations[it].is_source})
    return operations


def _without_twins(entries: list[Any]) -> list[Any]:
    counts = Counter(it["container_name"] for it in entries)
    _refuse("twice in dockerinfo", [name for name, count in counts.items() if count > 1])
    return entries


def _name(entry: Any) -> str:
    return str(entry["operation_signature"]["operation_name"])


def _operation(entry: Any, address: str, file: FileDescriptorProto, service: ServiceDescriptorProto) -> Operation:
    name, signature = _name(entry), entry["operation_signature"]
    found = [it for it in service.method if it.name == name]
    _refuse(f"not an rpc of {service.name}", [] if found else [name])
    rpc = found[0]
    found_messages = (rpc.input_type.rpartition(".")[2], rpc.output_type.rpartition(".")[2])
    wanted = (str(signature["input_message_name"]), str(signature["output_message_name"]))
    _refuse(f"with other messages than {wanted}", [] if found_messages == wanted else [f"{name}{found_messages}"])
    package = f"{file.package}." if file.package else ""
    return Operation(
        address=address,
        path=f"/{package}{service.name}/{name}",
        input=wanted[0],
        output=wanted[1],
        request_stream=rpc.client_streaming,
        response_stream=rpc.server_streaming,
        targets=tuple((str(it["container_name"]), _name(it)) for it in entry["connected_to"]),
    )


def _service(file: FileDescriptorProto, text: str, node: str) -> ServiceDescriptorProto:
    """Return the first service whose line begins with the word."""
    called = re.search(r"^service ([^{\n]*)", re.sub("\r\n?", "\n", text), re.MULTILINE)
    name = called[1].strip() if called else ""
    found = [it for it in file.service if it.name == name]
    _refuse("without a service", [] if found else [node])
    return found[0]


def _refuse_contradictions(compiled: Mapping[str, FileDescriptorProto]) -> None:
    """Reject conflicts: all messages, enums and services become one file, so a name has one meaning in its package."""
    known: dict[str, bytes] = {}
    for file in compiled.values():
        declared = {it.name: it.SerializeToString(deterministic=True) for it in file.message_type}
        declared |= {it.name: it.SerializeToString(deterministic=True) for it in file.enum_type}
        declared |= {it.name: it.SerializeToString(deterministic=True) for it in file.service}
        for short, content in declared.items():
            name = f"{file.package}.{short}"
            _refuse("declared twice, and differently", [] if known.setdefault(name, content) == content else [name])


@lru_cache(maxsize=1000)
def _compile(text: str) -> FileDescriptorProto:
    with tempfile.TemporaryDirectory(prefix="protoc-") as name:
        folder = Path(name)
        (folder / "node.proto").write_bytes(text.encode())
        shipped = files("grpc_tools") / "_proto"
        options = [f"-I{folder}", f"-I{shipped}", f"--descriptor_set_out={folder / 'set'}", str(folder / "node.proto")]
        if protoc.main(["protoc", *options]):
            raise Refused("protoc refuses a protobuf")
        [file] = FileDescriptorSet.FromString((folder / "set").read_bytes()).file
    return file


def _refuse(what: str, who: Iterable[Any]) -> None:
    with suppress(StopIteration):
        raise Refused(f"{next(iter(sorted(who)))}: {what}")
