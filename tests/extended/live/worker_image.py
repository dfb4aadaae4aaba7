"""The worker's own image, built by the Dockerfile's commands, as a layout to pull from."""

import json
import tempfile
from functools import cache
from pathlib import Path

from tests.extended.image.root import BASE_ENV, build, python_for, sent
from tests.extended.live.images import Layout, python_files, tree
from tests.support.dockerfile import read_dockerfile
from tests.support.kept import kept
from tests.support.paths import ROOT

REPOSITORY, TAG = "playground-deployer", "live"


@cache
def worker_layout() -> Path:
    """Return the layout's folder; half a minute if the worker has changed. Needs bubblewrap, root and the network."""
    copied = ("worker/", "schemas/", "requirements", "pyproject.toml", "README.md")
    files = [name for name in sent(ROOT) if name.startswith(copied)]
    key = [f"{name}\0".encode() + (ROOT / name).read_bytes() for name in ("Dockerfile", *files)]
    return kept("live-worker", [Path(__file__).read_bytes(), *key], _write)


def _write(folder: Path) -> None:
    stages = read_dockerfile((ROOT / "Dockerfile").read_text(encoding="utf-8"), BASE_ENV)
    last = stages[-1]
    with tempfile.TemporaryDirectory(prefix="worker-image-") as temporary:
        root = build(stages, ROOT, Path(temporary))
        installed = list(tree(root / "opt", "opt", frozenset({"__pycache__"})))
        modules = [it for _, it in installed if isinstance(it, Path) and ".so" in it.suffixes]
        layout = Layout(folder)
        base = layout.layer(python_files(python_for(last.base), "usr/local", modules))
        config = {
            "Entrypoint": json.loads(last.facts["ENTRYPOINT"]),
            "Cmd": json.loads(last.facts["CMD"]),
            "Env": [f"{name}={value}" for name, value in last.env.items()],
            "WorkingDir": last.facts["WORKDIR"],
            "User": last.facts["USER"],
        }
        layout.add(f"{REPOSITORY}:{TAG}", [base, layout.layer(installed)], config)
        layout.close()
