"""The samples of docs/clients.md, copied from the page and run: each works as written."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.jdk import class_path, find_javac, write_kafka_tools
from tests.support.kept import needed
from tests.support.paths import ROOT
from tests.support.stage import Stage, open_stage
from tests.support.topics import unique_name
from worker.sandbox.graphene_data import stored_case
from worker.sandbox.kafka_installation import find_java
from worker.sandbox.users import SANDBOX_USER, sandbox_token

PAGE = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
SAMPLES = dict(re.findall(r"<!-- sample: ([\w.]+) -->\n```\w+\n(.*?)```", PAGE, re.DOTALL))
MODEL = stored_case("entity-recogniser")


@dataclass
class Reader:
    """A reader of the page who copies a sample into an empty folder and runs it there."""

    stage: Stage
    folder: Path
    env: dict[str, str]

    def copy(self, name: str) -> None:
        """Write the sample into the folder; only the names of the topics are changed."""
        prefix = self.stage.topics.requests_topic.removesuffix("requests")
        (self.folder / name).write_text(SAMPLES[name].replace("playground.deployment.", prefix), encoding="utf-8")

    async def run(self, *command: str | Path) -> str:
        """Run a command until it exits and return its output. Raises AssertionError when the exit code is not 0."""
        process = await asyncio.create_subprocess_exec(
            *command, cwd=self.folder, env=self.env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        output, errors = await asyncio.wait_for(process.communicate(), 100)
        assert 0 == process.returncode, (output + errors).decode()
        return output.decode()


@asynccontextmanager
async def open_reader(kafka: str, tmp_path: Path, *, gateway: bool = False) -> AsyncIterator[Reader]:
    """Open a worker, and optionally a gateway, with the variables that the page names."""
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(open_stage(kafka, unique_name(), tmp_path))
        await stack.enter_async_context(stage.worker(tmp_path / "worker.log"))
        folder = tmp_path / "reader"
        folder.mkdir()
        env = {
            "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "TOKEN": sandbox_token(datetime.now(UTC)),
            "USER_ID": SANDBOX_USER.user_id,
            "SOLUTION": str(MODEL.solution_id),
            "REVISION": str(MODEL.revision_id),
            "KAFKA": kafka,
        }
        if gateway:
            env["GATEWAY"] = (await stack.enter_async_context(stage.gateway(tmp_path / "gateway.log"))).url
        yield Reader(stage, folder, env)


def deployed_once(stage: Stage, states: Sequence[str]) -> None:
    """Check that all statuses were seen and that there is one deployment."""
    assert ["accepted", "building", "submitting", "deployed"] == states
    assert 1 == len(stage.playground.deployments)


async def test_curl(kafka: str, tmp_path: Path) -> None:
    """The curl sample deploys once, follows the events to the end, and leaves the token in no file.

    It sends two POSTs with one key, and prints the last status.
    """
    async with open_reader(kafka, tmp_path, gateway=True) as reader:
        reader.copy("curl.sh")
        printed = await reader.run("sh", "curl.sh")
        assert "event: over" in printed
        assert '"state":"deployed"' in printed.splitlines()[-1]
        assert ["curl.sh"] == [it.name for it in reader.folder.iterdir()]
        (statuses,) = reader.stage.statuses.by_request().values()
        deployed_once(reader.stage, [it.state for it in statuses])


async def test_python(kafka: str, tmp_path: Path) -> None:
    """The Python sample prints each status once and the address of the deployment."""
    async with open_reader(kafka, tmp_path) as reader:
        reader.copy("deploy.py")
        *lines, last = (await reader.run(sys.executable, "deploy.py")).splitlines()
        deployed_once(reader.stage, [line.split()[1] for line in lines])
        assert last.startswith(reader.stage.playground_url)


async def test_java(kafka: str, tmp_path: Path) -> None:
    """The Java sample compiles with Kafka's jars alone, reads `read_committed`, and is short enough for a page."""
    javac = needed(find_javac)
    async with open_reader(kafka, tmp_path) as reader:
        reader.copy("Deploy.java")
        jars = await class_path()
        await reader.run(
            javac, "-Werror", "-Xlint:all,-classfile,-processing", "-proc:none", "-cp", jars, "Deploy.java"
        )
        printed = await reader.run(await asyncio.to_thread(find_java), "-cp", f"{jars}{os.pathsep}.", "Deploy")
        deployed_once(reader.stage, [line.split()[1] for line in printed.splitlines() if line[:1].isdigit()])
    assert 80 >= len(SAMPLES["Deploy.java"].splitlines())


async def test_a_java_client_learns_of_a_refusal(kafka: str, tmp_path: Path) -> None:
    """The Java sample reports a rejection, although its status has a different id than the request."""
    javac = needed(find_javac)
    async with open_reader(kafka, tmp_path) as reader:
        reader.copy("Deploy.java")
        reader.env["TOKEN"] = "a.b.c"
        jars = await class_path()
        await reader.run(javac, "-proc:none", "-cp", jars, "Deploy.java")
        with pytest.raises(AssertionError, match="0 rejected"):
            await reader.run(await asyncio.to_thread(find_java), "-cp", f"{jars}{os.pathsep}.", "Deploy")


async def test_kafkas_own_tools(kafka: str, tmp_path: Path) -> None:
    """With Kafka's console tools, header, key and value are entered by hand, and all statuses are printed."""
    async with open_reader(kafka, tmp_path) as reader:
        await write_kafka_tools(reader.folder)
        reader.copy("console.sh")
        printed = await reader.run("sh", "console.sh")
        deployed_once(reader.stage, re.findall(r'"state":"(\w+)"', printed))


def test_the_page_has_these_samples() -> None:
    """The page has exactly the samples that the tests above run."""
    assert ["curl.sh", "deploy.py", "Deploy.java", "console.sh"] == [*SAMPLES]
