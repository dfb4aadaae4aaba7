"""The golden bundles: the output of `playground-deployer bundle --dir` for each sandbox case.

`make golden` writes them again; read the diff line by line before you commit it. Files that ship with the deployer
(worker/ontarget) are compared with their source and not stored twice.
"""

import asyncio
import os
import shutil
import sys
import tempfile
from pathlib import Path

from tests.support.paths import DATA
from worker.app import shipped_files
from worker.sandbox.graphene import CCDS_LOGIN, CCDS_PATH, NEXUS_LOGIN, NEXUS_PATH, graphene_app
from worker.sandbox.graphene_data import CASES
from worker.sandbox.http_server import served

GOLDEN = DATA / "bundles"
DEPLOYABLE = sorted(CASES.keys() - {"broken"})


async def build(case: str, folder: Path, **more: str) -> None:
    """Run the command as a user does, against a sandbox Graphene."""
    async with served(graphene_app()) as url:
        env = {
            "DEPLOYER_CATALOG__URL": url + CCDS_PATH,
            "DEPLOYER_CATALOG__USERNAME": CCDS_LOGIN[0],
            "DEPLOYER_CATALOG__PASSWORD": CCDS_LOGIN[1],
            "DEPLOYER_ARTIFACTS__URL": url + NEXUS_PATH,
            "DEPLOYER_ARTIFACTS__USERNAME": NEXUS_LOGIN[0],
            "DEPLOYER_ARTIFACTS__PASSWORD": NEXUS_LOGIN[1],
            "DEPLOYER_BUNDLE__SOURCE_SYSTEM_URL": "https://graphene.example",
        }
        ids = (str(CASES[case].solution_id), str(CASES[case].revision_id))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "worker", "bundle", *ids, "--dir", str(folder),
            env={**os.environ, **env, **more}, stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        assert 0 == await process.wait()


def files_below(folder: Path) -> dict[str, bytes]:
    """Return the content of each file by relative path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def shipped(case_files: dict[str, bytes]) -> dict[str, bytes]:
    """Return the files of a bundle that ship with the deployer, with the content of their source."""
    source = shipped_files()
    names = {name: name for name in source} | (
        {}
        if "orchestrator_client/orchestrator_client.py" in case_files
        else {"requirements.txt": "requirements-single.txt"}
    )
    return {name: source[names[name]] for name in case_files if name in names}


async def write() -> None:
    """Write all golden folders."""
    for case in DEPLOYABLE:
        with tempfile.TemporaryDirectory() as temporary:
            await build(case, Path(temporary) / "out")
            files = files_below(Path(temporary) / "out")
        shutil.rmtree(GOLDEN / case, ignore_errors=True)
        for name in files.keys() - shipped(files).keys():
            path = GOLDEN / case / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(files[name])


if __name__ == "__main__":
    asyncio.run(write())
