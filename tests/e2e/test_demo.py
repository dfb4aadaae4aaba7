"""The demo as a newcomer runs it: in a separate process, in another folder, without a terminal."""

import asyncio
import hashlib
import json
import os
import re
import signal
import stat
import sys
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from uuid import UUID, uuid4

import aiohttp
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from tests.support.paths import ROOT
from worker.cli.demo import CLICKED, DEMO_REQUESTS

TRANSCRIPT = ROOT / "tests" / "data" / "demo.txt"
DEPLOYED = ("sudoku", "news-training", "entity-recogniser")
MARK = "DEMO_TEST_MARK"
SECONDS = 60


class Demo:
    """A running demo; `mark` is in the environment of every process it starts."""

    def __init__(self, process: asyncio.subprocess.Process, mark: str) -> None:
        self.process = process
        self.mark = mark
        self.said = ""

    async def until(self, words: str) -> None:
        """Read the output up to the line with these words."""
        assert self.process.stdout
        while words not in self.said:
            line = await self.process.stdout.readline()
            assert line, self.said
            self.said += line.decode()

    async def end(self) -> int:
        """Read the rest of the output and return the exit code."""
        assert self.process.stdout
        self.said += (await self.process.stdout.read()).decode()
        return await self.process.wait()

    def left_running(self) -> list[str]:
        """Return the command lines of the processes that the demo started and that are still running."""
        return [command for command in map(self._command, Path("/proc").glob("[0-9]*")) if command]

    def _command(self, process: Path) -> str:
        try:
            ours = f"{MARK}={self.mark}".encode() in (process / "environ").read_bytes().split(b"\0")
            return (process / "cmdline").read_text().replace("\0", " ") if ours else ""
        except OSError:  # the process has exited, or belongs to another user
            return ""


@asynccontextmanager
async def demo(folder: Path, *options: str) -> AsyncIterator[Demo]:
    """Start `playground-deployer demo` in this folder."""
    mark = uuid4().hex
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "worker", "demo", *options, cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), MARK: mark},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(SECONDS):
            yield Demo(process, mark)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def comparable(said: str) -> str:
    """Return the output without the parts that differ from run to run.

    The statuses are sorted by request; those of one request keep their order.
    """
    for pattern, word in (
        (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
        (r"\((\d+\.\ds|\d+m\d\ds)\)", "(TIME)"),
        (r"after \d+\.\ds", "after TIME"),
        (r"-[0-9a-f]{32}\b", "-ID"),
        (r"\b\d+ files", "N files"),
        (r"Scripts in bundles .*", "Scripts in bundles …"),  # depends on this machine
    ):
        said = re.sub(pattern, word, said)
    lines = [line for line in said.splitlines(keepends=True) if "files, which are kept" not in line]
    order = {part.label: place for place, part in enumerate(DEMO_REQUESTS)}
    statuses = [line for line in lines if line.split()[:1] and line.split()[0] in order]
    first = lines.index(statuses[0])
    assert statuses == lines[first : first + len(statuses)]
    lines[first : first + len(statuses)] = sorted(statuses, key=lambda line: order[line.split()[0]])
    return "".join(lines)


async def test_the_demo_ends_as_its_transcript_says(tmp_path: Path) -> None:
    """The output matches the transcript, all requests end as expected, all zips open, and no process remains."""
    async with demo(tmp_path) as running:
        code = await running.end()
    assert TRANSCRIPT.read_text(encoding="utf-8") == comparable(running.said)
    assert (0, []) == (code, running.left_running())
    output = tmp_path / "demo-output"
    assert {*(f"{label}.zip" for label in DEPLOYED), "worker.log", "gateway.log"} == {
        it.name for it in output.iterdir()
    }
    for label in DEPLOYED:
        with zipfile.ZipFile(output / f"{label}.zip") as archive:
            entries = json.loads(archive.read("MANIFEST.json"))["entries"]
            assert {it: entries[it]["sha256"] for it in entries} == {
                it: hashlib.sha256(archive.read(it)).hexdigest() for it in archive.namelist() if it != "MANIFEST.json"
            }
    ended = [json.loads(line) for line in (output / "worker.log").read_text().splitlines() if "request ended" in line]
    assert {(part.state, part.code) for part in DEMO_REQUESTS} == {(it["state"], it["code"]) for it in ended}
    deployed = [it["request_id"] for it in ended if it["code"] is None]  # a rejection has a record id
    [clicked] = {*deployed} - {f"demo-{label}" for label in DEPLOYED}
    assert sorted([str(UUID(clicked)), *(f"demo-{label}" for label in DEPLOYED if label != CLICKED)]) == sorted(
        deployed
    )


@pytest.mark.parametrize(
    ("number", "when", "expected"),
    [
        (signal.SIGINT, "are sandboxes", 130),  # while Apache Kafka starts
        (signal.SIGTERM, "gateway  ", 143),  # while worker and gateway start
        (signal.SIGKILL, "expired-token", -9),
    ],
)
async def test_nothing_runs_on_after_an_interruption(
    number: signal.Signals, when: str, expected: int, tmp_path: Path
) -> None:
    """However the demo is stopped, its worker and its Apache Kafka stop too."""
    async with demo(tmp_path) as running:
        await running.until(when)
        running.process.send_signal(number)
        assert expected == await running.end()
        assert (number != signal.SIGKILL) == running.said.endswith("Everything has been stopped.\n")
        assert "Traceback" not in running.said
        while number == signal.SIGKILL and running.left_running():  # noqa: ASYNC110 - nothing notifies us
            await asyncio.sleep(0.02)
        assert [] == running.left_running()


async def test_keep_leaves_everything_up_to_try_the_commands(kafka: str, tmp_path: Path) -> None:
    """On another Kafka, --keep prints commands that work, and the demo deletes its topics at the end."""
    async with demo(tmp_path, "--kafka", kafka, "--keep", "--output", "out put") as running:
        await running.until(" check")
        output = tmp_path / "out put"
        assert [0o600, 0o600] == [stat.S_IMODE((output / name).stat().st_mode) for name in ("demo.env", "demo.token")]
        [group] = re.findall("GROUP_ID=(.+)", (output / "demo.env").read_text())
        assert [it for it in await topics(kafka) if it.startswith(group)]
        commands = [line for line in running.said.replace("\\\n", "").splitlines() if "python -m worker" in line]
        settings = next(line for line in running.said.splitlines() if "set -a" in line)
        for name in ("submit", "bundle", "check"):
            [command] = [line.strip() for line in commands if f"worker {name} " in f"{line} "]
            assert (0, name) == (await shell(f"{settings}; {command}", tmp_path, running.mark), name)
        [command] = [line.strip() for line in commands if re.search("worker status [^-]", line)]
        assert 0 == await shell(f"{settings}; {command}", tmp_path, running.mark)
        unpacked = output / "unpacked"
        with zipfile.ZipFile(output / "sudoku.zip") as archive:
            assert {it: archive.read(it) for it in archive.namelist()} == {
                str(it.relative_to(unpacked)): it.read_bytes() for it in unpacked.rglob("*") if it.is_file()
            }
        assert await pages_work(running.said)
        running.process.send_signal(signal.SIGINT)
        assert (0, []) == (await running.end(), running.left_running())
    assert not (output / "demo.env").exists()
    assert not (output / "demo.token").exists()
    assert [] == [it for it in await topics(kafka) if it.startswith(group)]


async def pages_work(said: str) -> bool:
    """Follow the two links: the page asks for a log-in first, and shows the first request afterwards."""
    [graphene] = re.findall(r"  Graphene +(http\S+)", said)
    [page] = re.findall(r"^ +(http\S+/requests/\S+)$", said, re.MULTILINE)
    headers = {"Accept": "text/html"}
    async with aiohttp.ClientSession(headers=headers, cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
        async with browser.get(page) as response:
            assert (401, True) == (response.status, f'href="{graphene}' in await response.text())
        async with browser.get(graphene) as response:
            [link] = re.findall(r'href="([^"]+/sudoku)"', await response.text())
        async with browser.get(graphene + link) as response:
            assert response.status == 200, await response.text()
        async with browser.get(page) as response:
            return "Sudoku Tutorial" in await response.text()


async def shell(line: str, folder: Path, mark: str) -> int:
    """Run a command line that the demo offers for copying."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = await asyncio.create_subprocess_shell(
        line, cwd=folder, env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), MARK: mark},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert 0 == process.returncode, said.decode()
    return process.returncode


async def topics(kafka: str) -> list[str]:
    """Return the names of all topics on the broker."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        return list(await admin.list_topics())
    finally:
        await admin.close()


async def test_a_terminal_gets_a_table_that_moves(kafka: str, tmp_path: Path) -> None:
    """On a terminal, rows are redrawn in place, NO_COLOR is respected, and the cursor is visible again at the end."""
    ours, theirs = os.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "worker", "demo", "--kafka", kafka, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "80"},
        stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    shown = await asyncio.to_thread(read_all, ours)
    assert 0 == await process.wait(), shown
    assert shown.count("expired-token") > 1
    assert "\x1b[1A" in shown
    assert None is re.search(r"\x1b\[[0-9;]*3[0-9]m", shown)
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
    assert "All four requests finished as expected" in shown


def read_all(terminal: int) -> str:
    """Return the output of the terminal until its last user closes it, which Linux reports as an error."""
    shown = b""
    with suppress(OSError):
        while more := os.read(terminal, 65536):
            shown += more
    os.close(terminal)
    return shown.decode()


async def test_no_kafka_at_the_given_address(tmp_path: Path) -> None:
    """Without a Kafka at the given address, the error message says what to do instead."""
    async with demo(tmp_path, "--kafka", "127.0.0.1:1") as running:
        assert 1 == await running.end()
    assert "playground-deployer: No Kafka answers at 127.0.0.1:1. Give another address with --kafka" in running.said
    assert "Traceback" not in running.said
