"""The commands: their own error messages, and what Python prints for them."""

import asyncio
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import pytest

from tests.component.leaks import canaries
from tests.component.leaks.canaries import TOKEN, Watch
from tests.component.leaks.test_kafka import broker, refuses, refuses_later
from tests.component.leaks.world import MODEL, PIPELINE, Echo, canary_graphene, environment, mirror
from tests.support.paths import ROOT
from worker.adapters.kafka.topics import required_topics
from worker.cli import main
from worker.sandbox.graphene import GRAPHENE
from worker.sandbox.http_server import served
from worker.settings import PREFIX, KafkaSettings

IDS = [str(PIPELINE.solution_id), str(PIPELINE.revision_id)]
NOWHERE = "http://127.0.0.1:1"

Command = Callable[..., str]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """A function that runs one command in this process and returns its output, which must not have a traceback."""
    for name in os.environ:
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)

    def run(code: int, *arguments: str, stdin: bytes = b"", env: Mapping[str, str]) -> str:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        with monkeypatch.context() as patched:
            for name, value in env.items():
                patched.setenv(name, value)
            try:
                ended: object = main(arguments)
            except SystemExit as wrong_usage:
                ended = wrong_usage.code
        printed = capfd.readouterr()
        assert code == ended, printed.err
        assert printed.out + printed.err
        assert "Traceback" not in printed.err
        return printed.out + printed.err

    return run


def test_mistakes_on_the_command_line(command: Command, watch: Watch, tmp_path: Path) -> None:
    """A token or password in the wrong argument is not repeated, because terminal output is often kept."""
    submit = ("submit", *IDS)
    password = canaries.NEXUS_PASSWORD
    env = environment(NOWHERE, NOWHERE, NOWHERE)
    wrong_usage: dict[str, Sequence[str]] = {
        "token as an option": (*submit, "--token", TOKEN),
        "token with an option": (*submit, f"--token={TOKEN}"),
        "token as an argument": (*submit, TOKEN),
        "token as an id": ("submit", IDS[0], TOKEN),
        "token as a command": (TOKEN,),
        "token as a request id": (*submit, "--request-id", TOKEN),
        "token with --token-stdin": (*submit, f"--token-stdin={TOKEN}"),
        "token as a timeout": (*submit, "--wait", "--timeout", TOKEN),
        "token as an address": ("demo", "--kafka", TOKEN),
        "password as an option": ("check", "--password", password),
        "password with an option": ("check", f"--nexus-password={password}"),
    }
    for name, arguments in wrong_usage.items():
        watch.check(f"command: {name}", command(2, *arguments, env=env))
    binary = tmp_path / "token"
    binary.write_bytes(TOKEN.encode() + b"\xff")
    for name, file in {
        "token": TOKEN,
        "short token": TOKEN[:100],
        "binary": str(binary),
        "folder": str(tmp_path),
    }.items():
        watch.check(f"command: {name} as a token file", command(1, *submit, "--token-file", file, env=env))
    watch.check("command: binary stdin", command(1, *submit, "--token-stdin", stdin=TOKEN.encode() + b"\xff", env=env))
    no_tokens = {"two tokens": f"{TOKEN} {TOKEN}", "half a token": TOKEN[:200], "no header": TOKEN.partition(".")[2]}
    for name, text in no_tokens.items():
        watch.check(f"command: {name}", command(1, *submit, env=env | {"DEPLOYER_TOKEN": text}))


@contextmanager
def dependencies() -> Iterator[dict[str, str]]:
    """Run broken dependencies and a good one in a separate thread, and yield their addresses."""
    addresses: dict[str, str] = {"nowhere": NOWHERE}
    ready = threading.Event()
    stop: Callable[[], object]

    async def serve() -> None:
        nonlocal stop
        stopping, loop = asyncio.Event(), asyncio.get_running_loop()
        stop = lambda: loop.call_soon_threadsafe(stopping.set)  # noqa: E731
        echo = canary_graphene()
        echo[GRAPHENE].faults["/"] = Echo(401)
        async with AsyncExitStack() as stack:
            addresses["good"] = await stack.enter_async_context(served(canary_graphene()))
            addresses["echo"] = await stack.enter_async_context(served(echo))
            addresses["mirror"] = await stack.enter_async_context(mirror("{}\r\n\r\n"))
            addresses["broker"] = await stack.enter_async_context(broker(refuses))
            ready.set()
            await stopping.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(20)
    try:
        yield addresses
    finally:
        stop()
        thread.join()


def test_dependencies_that_are_wrong(command: Command, watch: Watch, tmp_path: Path) -> None:
    """No command shows a secret when settings are incomplete or a dependency is broken.

    The dependencies are unreachable, repeat the login, or speak no HTTP.
    """
    with dependencies() as urls:
        envs = {
            name: environment(url, url, url)
            | {"DEPLOYER_TOKEN": TOKEN, "DEPLOYER_KAFKA__BOOTSTRAP_SERVERS": urls["broker"]}
            for name, url in urls.items()
        }
        nowhere = envs["nowhere"]
        for name, change in {
            "without an address": {"DEPLOYER_CATALOG__URL": ""},
            "with a secret as a number": {"DEPLOYER_KAFKA__PARTITIONS": canaries.JWT_SECRET},
            "with a secret that is none": {"DEPLOYER_AUTH__SECRET": "canary"},
        }.items():
            for verb in ("run", "check"):
                watch.check(f"command: {verb} {name}", command(1, verb, env=nowhere | change))
        for name, env in envs.items():
            if name != "good":
                watch.check(f"command: check, {name}", command(1, "check", env=env))
                bundle = ("bundle", "--explain", "--output", str(tmp_path / "x.zip"), *IDS)
                watch.check(f"command: bundle, {name}", command(1, *bundle, env=env))
        for name, stored in {"pipeline": PIPELINE, "model": MODEL}.items():
            ids = (str(stored.solution_id), str(stored.revision_id))
            written = command(0, "bundle", "--explain", "--dir", str(tmp_path / name), *ids, env=envs["good"])
            watch.check(f"command: bundle of a {name}", written)
        for name, arguments in {
            "submit": ("submit", *IDS),
            "wait": ("submit", *IDS, "--wait"),
            "watch": ("watch",),
            "status": ("status", "--open"),
        }.items():
            watch.check(f"command: {name}, Kafka refuses the login", command(1, *arguments, env=nowhere))


async def process(watch: Watch, name: str, *arguments: str, env: Mapping[str, str], until: bytes | None = None) -> str:
    """Run Python in its debug mode and return its output; with `until`, send SIGTERM once the output contains it."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "dev", *arguments),
        cwd=ROOT,
        env={**inherited, **env},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        assert child.stdout
        written = await child.stdout.readuntil(until) if until else b""
        if until:
            child.send_signal(signal.SIGTERM)
        written += await child.stdout.read()
        await child.wait()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    watch.check(name, written)
    return written.decode()


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_the_worker_without_kafka(log_format: str, watch: Watch) -> None:
    """Without Kafka, the worker keeps trying and reports it, without a secret."""
    env = environment(NOWHERE, NOWHERE, NOWHERE) | {"DEPLOYER_RUNTIME__LOG_FORMAT": log_format}
    arguments, until = ("-m", "worker", "run"), b"Kafka unreachable"
    assert "KafkaUnreachable" in await process(watch, f"command: run, {log_format}", *arguments, env=env, until=until)


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_the_worker_whom_kafka_refuses(log_format: str, watch: Watch) -> None:
    """When a broker repeats the rejected login, the worker stops with its own message, without the password."""
    topics = [topic.name for topic in required_topics(KafkaSettings(bootstrap_servers="localhost:9092"))]
    async with broker(refuses_later(*topics)) as address:
        env = environment(NOWHERE, NOWHERE, NOWHERE) | {
            "DEPLOYER_KAFKA__BOOTSTRAP_SERVERS": address,
            "DEPLOYER_RUNTIME__LOG_FORMAT": log_format,
        }
        written = await process(watch, f"command: run, refused, {log_format}", "-m", "worker", "run", env=env)
        assert "invalid credentials" in written
        assert "DEPLOYER_KAFKA__SASL_PASSWORD: Kafka rejects this login." in written.splitlines()[-1]


# What Python itself prints about uncaught exceptions and warnings.
SCRIPT = """
import asyncio, gc, os, sys, threading, warnings
from worker.observability import logs

secret, token = os.environ["DEPLOYER_CATALOG__PASSWORD"], os.environ["DEPLOYER_TOKEN"]
logs.configure("info", sys.argv[1], secrets=[secret])

def fail():
    raise ValueError(f"{token} {secret}") from KeyError(secret, token)

class Broken:
    def __del__(self):
        fail()
    def __repr__(self):
        return secret

async def forget():
    async def failing():
        fail()
    task = asyncio.create_task(failing(), name=token)
    await asyncio.wait([task])
    del task
    gc.collect()
    asyncio.get_running_loop().call_exception_handler({"message": token, "object": secret})
    asyncio.get_running_loop().call_soon(fail)
    await asyncio.sleep(0)

warnings.warn(f"{token} {secret}")
warnings.warn_explicit(token, ResourceWarning, secret, 1)
thread = threading.Thread(target=fail, name=token)
thread.start()
thread.join()
Broken()
asyncio.run(forget(), debug=True)
print("all said", flush=True)
fail()
"""


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_what_nobody_catches(log_format: str, watch: Watch) -> None:
    """Warnings and uncaught exceptions, in threads, tasks, `__del__` and at the top level, pass through the log."""
    env = environment(NOWHERE, NOWHERE, NOWHERE) | {"DEPLOYER_TOKEN": TOKEN}
    written = await process(watch, f"Python: what nobody catches, {log_format}", "-c", SCRIPT, log_format, env=env)
    for words in ("UserWarning", "ResourceWarning", "unraisable exception", "never retrieved", "all said"):
        assert words in written
    assert 2 == written.count("uncaught exception")  # the thread's, and the last exception
