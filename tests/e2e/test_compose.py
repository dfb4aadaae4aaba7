"""docker-compose.yml, run on this machine: every service with its own command, settings and health check."""

import asyncio
import os
import shlex
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGTERM

from tests.support.compose import IN_CONTAINER, Translated, lines_to_try, open_link
from worker.sandbox.kafka_installation import find_java, kafka_jars
from worker.sandbox.supervised_process import SupervisedProcess

SECONDS = 60
PROGRAM = (sys.executable, "-m", "worker")


async def java_command(main: str, *arguments: str) -> list[str]:
    return [str(find_java()), "-cp", os.pathsep.join(map(str, await kafka_jars())), main, *arguments]


class Running:
    """The services, started in the order of their dependencies."""

    def __init__(self, folder: Path) -> None:
        self.translated = Translated(folder)
        self._folder = folder
        self.processes: dict[str, SupervisedProcess] = {}

    async def up(self) -> None:
        """Start the services like `up --wait`: return when all are healthy."""
        names = self._in_order()
        for name in names:
            for needed in self.translated.services[name].get("depends_on", ()):
                await self.until_healthy(needed)
            await (
                self._start_kafka()
                if name == "kafka"
                else self._start(name, [*PROGRAM, *self.translated.command(name)])
            )
        for name in names:
            await self.until_healthy(name)

    def _in_order(self) -> list[str]:
        """Return the services, each after its dependencies."""
        needs = {name: it.get("depends_on", {}) for name, it in self.translated.services.items()}
        ordered: list[str] = []
        while len(ordered) < len(needs):
            ordered += [it for it in needs if it not in ordered and set(needs[it]) <= set(ordered)]
        return ordered

    async def until_healthy(self, name: str) -> None:
        """Poll until the service is healthy; fail if it exits first."""
        while not await asyncio.to_thread(self.translated.is_healthy, name):
            assert self.processes[name].running, self.log(name).read_text()
            await asyncio.sleep(0.1)  # nothing notifies us, so poll

    async def stop(self, name: str) -> int | None:
        """Stop the service with SIGTERM and return its exit code."""
        self.processes[name].send(SIGTERM)
        return await self.processes[name].wait(SECONDS)

    def log(self, name: str) -> Path:
        """Return the service's log file."""
        return self._folder / f"{name}.log"

    async def _start(self, name: str, command: list[str]) -> SupervisedProcess:
        environment = self.translated.environment(name)
        process = SupervisedProcess(command, folder=self._folder, log=self.log(name), environment=environment)
        self.processes[name] = process
        return process

    async def _start_kafka(self) -> None:
        """Start Kafka like its image: a wrapper writes the configuration and formats the folder, then the broker
        starts."""
        defaults, mounted, final = (self.translated.volume(name) for name in ("/defaults", "/mounted", "/final"))
        for name in ("server.properties", "log4j2.yaml", "tools-log4j2.yaml"):
            (defaults / name).touch()
        folders = {"default": defaults, "mounted": mounted, "final": final}
        options = [f"--{name}-configs-dir={folder}" for name, folder in folders.items()]
        wrapper = await java_command("kafka.docker.KafkaDockerWrapper", "setup", *options)
        configuring = await self._start("kafka", wrapper)
        code = await configuring.wait(SECONDS)
        configuring.close()
        assert 0 == code, self.log("kafka").read_text()
        await self._start("kafka", await java_command("kafka.Kafka", str(final / "server.properties")))

    async def shell(self, line: str, until: str = "") -> tuple[int, str]:
        """Run a line in the worker's container and return its exit code and output.

        With `until`, stop the line with SIGTERM once it has printed that text.
        """
        environment = {**self.translated.environment("worker"), "PROGRAM": shlex.join(PROGRAM)}
        process = await asyncio.create_subprocess_shell(
            f"exec {line}" if until else line,
            cwd=self._folder,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert process.stdout
        said = ""
        async with asyncio.timeout(SECONDS):
            while part := (await process.stdout.readline()).decode():
                said += part
                if until and until in said:
                    process.terminate()
                    until = ""
            return await process.wait(), said


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Running]:
    services = Running(folder)
    await kafka_jars()  # the download may take long
    try:
        async with asyncio.timeout(SECONDS):
            await services.up()
        yield services
    finally:
        for process in services.processes.values():
            process.close()


async def clicks(services: Running, line: str) -> None:
    """Open the link that the line prints, like a browser, and check that the deployment is on the user's page."""
    code, said = await services.shell(line)
    assert 0 == code, said
    link = said.strip().replace("127.0.0.1:8081", services.translated.address("gateway", "8081"))
    assert "Sudoku" in await open_link(link)


async def test_the_services_run_as_the_file_says(tmp_path: Path) -> None:
    """All services become healthy, and the lines that `make up` prints deploy a request.

    No health check passes after its service has stopped.
    """
    async with running(tmp_path) as services:
        lines = {name: IN_CONTAINER.sub("$PROGRAM ", line) for name, line in lines_to_try().items()}
        assert "Scripts in bundles " in services.log("playground").read_text()
        assert ["check", "parked", "resolve", "sandbox", "status", "submit", "watch"] == sorted(lines)
        code, said = await services.shell(lines["check"])
        assert 0 == code, said
        code, said = await services.shell(lines["submit"])
        assert (0, True) == (code, "deployed" in said), said
        _, said = await services.shell(lines["watch"], until="deployed")
        assert "Sudoku" in said
        await clicks(services, lines["sandbox"])
        code, request_id = await services.shell(lines["parked"])
        assert 0 == code, request_id
        async with asyncio.timeout(SECONDS):
            while "parked" not in (await services.shell(lines["status"]))[1]:
                pass
        code, said = await services.shell(lines["resolve"].replace("REQUEST", request_id.strip()))
        assert (0, True) == (code, "Resolved as failed by you" in said), said
        for name in ("gateway", "worker", "graphene", "playground", "kafka"):
            ended = 143 if name == "kafka" else 0  # Java's exit code after SIGTERM
            assert ended == await services.stop(name), services.log(name).read_text()
        assert not any(map(services.translated.is_healthy, services.processes))
