"""`make demo-live`: a Sudoku, solved by a pipeline that a request has just deployed on a real node.

On a terminal the deployment stays up for a browser until Ctrl-C. The node has a separate network, so a socket in a
folder that both sides see connects a port on the outside to the page on the inside.
"""

import asyncio
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from aiohttp import web

from schemas import State
from tests.extended.live.images import oci_layout
from tests.extended.live.machine import is_inside, machine_command, prepare
from tests.extended.live.node import running_node
from tests.extended.live.people import PUZZLE, orchestrate, page, solution, solve, until_ready
from tests.extended.live.playground import Deploying
from tests.support.kept import Unavailable
from tests.support.stage import open_stage
from tests.support.topics import unique_name
from worker.sandbox.graphene_data import CASES, stored_case
from worker.sandbox.kafka import EmbeddedKafka
from worker.sandbox.playground import playground_app
from worker.sandbox.users import SANDBOX_USER

INTRO = """\
A Sudoku, solved by a pipeline. A request goes into Apache Kafka; the worker
builds the tutorial's bundle from Graphene's data and sends it to a playground,
whose script deploys it on a Kubernetes node that was made for this demo. The
pods are real: a page, an evaluator, a solver, and an orchestrator that carries
their messages.
"""
SOCKET = "PLAYGROUND_LIVE_PAGE"  # variable: the path of the socket to the page


def main() -> int:
    """Run the demo; return 1 with a sentence if there can be no node."""
    if is_inside():
        return asyncio.run(_until_told(_show(Path(os.environ[SOCKET]))))
    try:
        prepare()
    except Unavailable as reason:
        sys.stderr.write(f"{reason}\n")
        return 1
    return asyncio.run(_watch())


async def _watch() -> int:
    """Run the demo on its machine, and connect browsers to it. Runs outside."""
    with tempfile.TemporaryDirectory(prefix="demo-live-") as folder:
        socket = Path(folder, "page")

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await _join(reader, writer, *await asyncio.open_unix_connection(socket))

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        arguments = [f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"] if sys.stdin.isatty() else []
        command, environment = machine_command([sys.executable, "-m", __spec__.name, *arguments])
        process = await asyncio.create_subprocess_exec(
            *command,
            env=environment | {SOCKET: str(socket)},
            stdin=asyncio.subprocess.PIPE,  # closing it tells the demo to stop
            start_new_session=True,  # a worker that also receives Ctrl-C would not stop cleanly
        )
        assert process.stdin
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, process.stdin.close)
        code = await process.wait()
        server.close()
    return code


async def _until_told(showing: Coroutine[Any, Any, int]) -> int:
    """Run until the other side closes stdin, then stop cleanly. Runs inside."""
    task = asyncio.create_task(showing)
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        return 0
    finally:
        _say("\nEverything has been stopped.")


async def _show(socket: Path) -> int:
    """Show everything from the node to the solution. Runs inside."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it logs errors that it retries
    _say(INTRO)
    async with AsyncExitStack() as stack:
        with _step("Kubernetes node"):
            node = stack.enter_context(running_node([oci_layout()]))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="demo-")))
        with _step("Apache Kafka"):
            kafka = await stack.enter_async_context(EmbeddedKafka(short_lived=True))
        with _step("Graphene, playground, worker"):
            scripts = Deploying(folder / "server", node.cluster)

            def playground(folder: Path) -> web.Application:
                return playground_app(folder, scripts=scripts)

            opened = open_stage(kafka.bootstrap_servers, unique_name(), folder, make_playground=playground)
            stage = await stack.enter_async_context(opened)
            await stack.enter_async_context(stage.worker(folder / "worker.log"))
        api = stack.enter_context(closing(node.cluster.open_api()))
        _say(f"\n  published   {CASES['sudoku'].title}")
        await stage.ask(stored_case("sudoku"), "sudoku")
        statuses = (await stage.until_final(["sudoku"]))["sudoku"]
        for status in statuses:
            _say(f"  {status.state:11} {status.message}")
        deployment = statuses[-1].deployment
        if statuses[-1].state is not State.DEPLOYED or deployment is None:
            return 1
        _say("")
        with _step("all four pods Ready"):
            await asyncio.to_thread(until_ready, api, deployment.id)
        with _step("pipeline started"):
            bundle = scripts.deployment(SANDBOX_USER.email, deployment.id)
            await asyncio.to_thread(orchestrate, bundle, "initialize", "run")
        begun = time.monotonic()
        [verdict] = await asyncio.to_thread(solve, api, deployment.id)
        took = time.monotonic() - begun
        _say(f"\n{_beside(PUZZLE, solution(verdict))}\n")
        _say(f"Solved in {took:.2f} s{', and it is the only solution' if verdict['unique'] else ''}.")
        if sys.argv[1:]:
            await _keep(socket, int(page(api, deployment.id, "sudoku-gui").rstrip("/").rpartition(":")[2]))
    return 0


async def _keep(socket: Path, port: int) -> None:
    """Connect the socket to the page until Ctrl-C."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _join(reader, writer, *await asyncio.open_connection("127.0.0.1", port))

    async with await asyncio.start_unix_server(connected, socket):
        _say(f"\nNow you: {sys.argv[1]} is the pipeline's own page. Ctrl-C ends it.")
        await asyncio.Event().wait()


async def _join(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    other_reader: asyncio.StreamReader,
    other_writer: asyncio.StreamWriter,
) -> None:
    """Copy in both directions until both have ended."""

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await source.read(64 * 1024):
                target.write(data)
                await target.drain()
        target.close()

    await asyncio.gather(copy(reader, other_writer), copy(other_reader, writer))


def _beside(left: str, right: str) -> str:
    """Draw two Sudokus side by side, row by row."""
    rows = []
    for number in range(9):
        if number in (3, 6):
            rows.append(f"  {'------+-------+------'}        {'------+-------+------'}")
        cells = [_row(digits[9 * number : 9 * number + 9]) for digits in (left, right)]
        rows.append(f"  {cells[0]}   {'-->' if number == 4 else '   '}  {cells[1]}")
    return "\n".join(rows)


def _row(digits: str) -> str:
    shown = digits.replace("0", ".")
    return " | ".join(" ".join(shown[start : start + 3]) for start in (0, 3, 6))


@contextmanager
def _step(what: str) -> Iterator[None]:
    begun = time.monotonic()
    sys.stdout.write(f"  {what:30}")
    sys.stdout.flush()
    yield
    sys.stdout.write(f"({time.monotonic() - begun:.1f} s)\n")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
