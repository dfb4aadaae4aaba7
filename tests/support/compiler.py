"""The real protobuf compiler, run in this process as the orchestrator runs it."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc


class Compiler:
    """protoc, for one file at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shipped = str(files("grpc_tools") / "_proto")

    def compile(self, text: str | bytes) -> tuple[FileDescriptorProto | None, str]:
        """Return the compiled descriptor, or None on failure, and protoc's output without the folder's path."""
        file, output, errors = (self._folder / name for name in ("file.proto", "descriptors", "errors"))
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        with self._stderr(errors):
            code = protoc.main(
                ["protoc", f"-I{self._folder}", f"-I{self._shipped}", f"--descriptor_set_out={output}", str(file)]
            )
        said = errors.read_text(encoding="utf-8", errors="replace").replace(f"{self._folder}/", "")
        return None if code else FileDescriptorSet.FromString(output.read_bytes()).file[0], said

    @contextmanager
    def _stderr(self, file: Path) -> Iterator[None]:
        """Redirect this process's stderr, where protoc writes its errors, into a file."""
        kept = os.dup(2)
        with file.open("wb") as target:
            os.dup2(target.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


@contextmanager
def open_compiler() -> Iterator[Compiler]:
    """Yield a compiler with a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="protoc-") as folder:
        yield Compiler(Path(folder))
