"""The orchestrator's verdict on a bundle, without a cluster."""

from collections.abc import Mapping

from tests.extended.live.containers.pipeline import Key, Operation, load


def load_bundle(files: Mapping[str, bytes]) -> dict[Key, Operation]:
    """Load the files of a pipeline as the playground server passes them on. Raises Refused."""
    folder = "microservice/"
    protobufs = {it.removeprefix(folder): text.decode() for it, text in files.items() if it.startswith(folder)}
    return load(files["blueprint.json"].decode(), files["dockerinfo.json"].decode(), protobufs)
