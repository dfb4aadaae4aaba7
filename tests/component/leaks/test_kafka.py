"""Kafka's client: its log and its errors, with a broker that repeats the password it received."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from io import StringIO
from logging import DEBUG, StreamHandler, getLogger
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import ApiVersionResponse_v0, SaslAuthenticateResponse_v0, SaslHandShakeResponse_v1
from aiokafka.protocol.coordination import FindCoordinatorResponse_v1
from aiokafka.protocol.metadata import MetadataResponse_v0

from tests.component.leaks.canaries import Watch
from tests.component.leaks.world import environment, shown
from tests.support.logging_state import LIBRARIES
from worker.adapters.kafka.clients import client_options
from worker.adapters.kafka.diagnosis import connected
from worker.cli.error_messages import error_message
from worker.errors import ConfigurationError
from worker.observability import logs
from worker.observability.logs import Format
from worker.settings import Settings, read_settings, secret_values

API_VERSIONS, SASL_HANDSHAKE, SASL_AUTHENTICATE, METADATA, FIND_COORDINATOR = 18, 17, 36, 3, 10
VERSIONS = [
    (API_VERSIONS, 0, 0), (SASL_HANDSHAKE, 1, 1), (SASL_AUTHENTICATE, 0, 0), (METADATA, 0, 0), (FIND_COORDINATOR, 0, 1),
]  # fmt: skip
REFUSED = 58  # SASL_AUTHENTICATION_FAILED


def refuses(told: str) -> bytes:
    return bytes(SaslAuthenticateResponse_v0(REFUSED, f"invalid credentials: {told}", b"").encode())


def accepts_nonsense(told: str) -> bytes:
    return bytes(SaslAuthenticateResponse_v0(0, None, told.encode()).encode())


def refuses_later(*topics: str) -> Callable[[str], bytes]:
    """Accept the login of one connection, for as long as the worker verifies Kafka before it starts its clients."""
    host = ("127.0.0.1", 1)
    first = iter(
        [
            SaslAuthenticateResponse_v0(0, None, b""),
            MetadataResponse_v0([], []),
            MetadataResponse_v0([], [(0, topic, []) for topic in topics]),
            FindCoordinatorResponse_v1(0, 0, None, 1, *host),
            FindCoordinatorResponse_v1(0, 0, None, 1, *host),
        ]
    )

    def answer(told: str) -> bytes:
        said = next(first, None)
        return bytes(said.encode()) if said else refuses(told)

    return answer


def garbage(told: str) -> bytes:
    return told.encode() * 3


BROKERS: dict[str, Callable[[str], bytes]] = {
    "refuses the login": refuses,
    "answers with the login": accepts_nonsense,
    "answers with garbage": garbage,
}


@asynccontextmanager
async def broker(answer: Callable[[str], bytes]) -> AsyncIterator[str]:
    """Run a broker that speaks Kafka's protocol up to the login; yield its address."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                if size > 1_000_000:  # TLS, which reads as a very long request; Kafka hangs up as well
                    break
                request = await reader.readexactly(size)
                key, _, correlation = struct.unpack(">hhi", request[:8])
                if key == API_VERSIONS:
                    said = ApiVersionResponse_v0(0, VERSIONS).encode()
                elif key == SASL_HANDSHAKE:
                    said = SaslHandShakeResponse_v1(0, ["PLAIN", "SCRAM-SHA-512"]).encode()
                else:
                    said = answer(request[8:].decode(errors="replace").replace("\0", " "))
                writer.write(struct.pack(">ii", len(said) + 4, correlation) + said)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield "{}:{}".format(*server.sockets[0].getsockname())


def settings(bootstrap: str, mechanism: str = "PLAIN") -> Settings:
    """Return settings in which every secret is a canary."""
    changes = {"DEPLOYER_KAFKA__BOOTSTRAP_SERVERS": bootstrap, "DEPLOYER_KAFKA__SASL_MECHANISM": mechanism}
    return read_settings(environment("http://ccds", "http://nexus", "http://playground") | changes, Settings)


async def refusal(given: Settings) -> str:
    """Return the full text of the error that our own connection check raises."""
    try:
        async with connected(given.kafka):
            raise AssertionError("it was let in")
    except (KafkaError, ConfigurationError) as error:
        return f"{shown(error)} {error_message(error)}"


async def failure(make: Callable[..., Any], given: Settings) -> str:
    """Start a client and return the full text of its failure."""
    client = make(**client_options(given.kafka), request_timeout_ms=500)
    try:
        await client.start()
    except (KafkaError, ValueError, AssertionError, struct.error) as error:
        return f"{shown(error)} {error_message(error)} {client!r}"
    finally:
        await (client.close() if make is AIOKafkaAdminClient else client.stop())
    raise AssertionError("it started")


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_brokers_that_refuse(mechanism: str, log_format: Format, watch: Watch) -> None:
    """The password is neither in the client's log, even at `debug`, nor in its errors."""
    for name, answer in BROKERS.items():
        async with broker(answer) as address:
            given = settings(address, mechanism)
            log = StringIO()
            logs.configure("debug", log_format, log, secret_values(given))
            for library in LIBRARIES:
                getLogger(library).setLevel(DEBUG)
            said = [await failure(it, given) for it in (AIOKafkaAdminClient, AIOKafkaProducer, AIOKafkaConsumer)]
            said.append(await refusal(given))
            watch.check(f"Kafka: broker {name} ({mechanism}, {log_format})", log.getvalue(), *said)


async def test_nobody_answers(watch: Watch) -> None:
    """The client's errors about an unreachable broker show no secret."""
    log = StringIO()
    given = settings("127.0.0.1:1")
    logs.configure("debug", "json", log, secret_values(given))
    watch.check("Kafka: nobody answers", await failure(AIOKafkaProducer, given), log.getvalue())


async def test_the_client_would_tell(watch: Watch) -> None:
    """At `debug` the client's own log contains the password, which stays secret because we never write that log."""
    heard = StreamHandler(StringIO())
    library = getLogger("aiokafka")
    library.setLevel(DEBUG)
    library.addHandler(heard)
    try:
        async with broker(refuses) as address:
            await failure(AIOKafkaProducer, settings(address))
    finally:
        library.removeHandler(heard)
    assert "SASL password" in watch.found(heard.stream.getvalue())
