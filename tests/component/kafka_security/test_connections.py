"""A connection problem is reported once, with the name of its setting, and is not retried."""

import asyncio
import os
import sys
from collections.abc import Callable, Mapping

import pytest
from aiokafka.errors import KafkaConnectionError

from tests.component.kafka_security.administrator import Administrator
from tests.component.kafka_security.conftest import PASSWORD, startup_error
from tests.component.kafka_security.secured import Secured
from tests.support.stage import environment
from worker.adapters.kafka.diagnosis import connected
from worker.sandbox.kafka_node import unused_ports
from worker.settings import ClientSettings, Settings, read_settings

USER = "user-of-the-connections"
NOWHERE = "http://127.0.0.1:1"
LOGIN = "DEPLOYER_KAFKA__SASL_USERNAME and DEPLOYER_KAFKA__SASL_PASSWORD: Kafka rejects this login."
SERVERS = "DEPLOYER_KAFKA__BOOTSTRAP_SERVERS: the broker's certificate"
OURS = "DEPLOYER_KAFKA__SSL_CERT_FILE and DEPLOYER_KAFKA__SSL_KEY_FILE: Kafka"
PROTOCOL = "DEPLOYER_KAFKA__SECURITY_PROTOCOL: Kafka"
Connection = Callable[[Secured], Mapping[str, str]]


def login(**changes: str) -> Connection:
    """Return the valid login, with these changes."""
    return lambda secured: (
        secured.scram(USER, PASSWORD) | {f"DEPLOYER_KAFKA__{name.upper()}": value for name, value in changes.items()}
    )


def at(listener: str, how: Connection) -> Connection:
    """Return the same settings with the port of another listener."""
    return lambda secured: {**how(secured), "DEPLOYER_KAFKA__BOOTSTRAP_SERVERS": secured.address(listener)}


PROBLEMS: dict[str, tuple[Connection, str]] = {
    "password": (login(sasl_password="another-password"), LOGIN),
    "user": (login(sasl_username="unknown"), LOGIN),
    "mechanism": (
        login(sasl_mechanism="PLAIN"),
        "DEPLOYER_KAFKA__SASL_MECHANISM: Kafka does not offer PLAIN here.",
    ),
    "the broker's certificate has expired": (lambda it: it.tls("EXPIRED"), f"{SERVERS} has expired."),
    "the broker's certificate names another host": (
        lambda it: it.tls("ELSEWHERE"),
        f"{SERVERS} is for another host (Hostname mismatch, certificate is not valid for 'localhost'.)",
    ),
    "an unknown CA": (
        lambda it: it.tls() | {"DEPLOYER_KAFKA__SSL_CA_FILE": str(it.other_ca)},
        "DEPLOYER_KAFKA__SSL_CA_FILE: it does not contain the CA of the broker's certificate (",
    ),
    "no CA": (
        lambda it: it.tls() | {"DEPLOYER_KAFKA__SSL_CA_FILE": ""},
        "DEPLOYER_KAFKA__SSL_CA_FILE: it is unset, and the system does not know the CA of the broker's certificate (",
    ),
    "no client certificate": (lambda it: it.tls("MTLS"), f"{OURS} requires a client certificate."),
    "our certificate has expired": (lambda it: it.mtls(it.expired_client), f"{OURS} rejects our certificate ("),
    "our certificate is a stranger's": (
        lambda it: it.mtls(it.other_client),
        f"{OURS} rejects our certificate (",
    ),
    "TLS at a port without it": (
        at("PLAIN", lambda it: it.tls()),
        f"{PROTOCOL} does not use TLS at this port. Replace",
    ),
    "a login over TLS at a port without either": (
        at("PLAIN", login()),
        f"{PROTOCOL} does not use TLS at this port. Replace",
    ),
    "no TLS at a port with it": (
        at("TLS", login(security_protocol="PLAINTEXT")),
        f"{PROTOCOL} uses TLS at this port. Set SSL or SASL_SSL instead of PLAINTEXT",
    ),
    "a login without TLS": (
        login(security_protocol="SASL_PLAINTEXT"),
        f"{PROTOCOL} uses TLS at this port. Set SASL_SSL instead of SASL_PLAINTEXT",
    ),
    "a login at a port without it": (at("TLS", login()), f"{PROTOCOL} does not use SASL at this port. Set SSL,"),
    "no login at a port with it": (
        lambda it: it.tls("SCRAM"),
        f"{PROTOCOL} requires a login at this port. Set SASL_SSL",
    ),
}


def settings(secured: Secured, how: Connection) -> dict[str, str]:
    """Return the settings of a worker without any other dependency."""
    names = environment(secured.plain, "t", NOWHERE, NOWHERE)
    return {**names, "DEPLOYER_RUNTIME__HTTP_PORT": "0", **how(secured)}


@pytest.fixture
async def user(admin: Administrator) -> None:
    """Create a user with a password and no ACL."""
    await admin.set_password(USER, PASSWORD)


@pytest.mark.parametrize("name", PROBLEMS)
async def test_the_problem_is_named(name: str, secured: Secured, user: None) -> None:
    """The worker fails at startup; its message starts with the setting and holds no password."""
    problem, expected = PROBLEMS[name]
    given = settings(secured, problem)
    message = await startup_error(read_settings(given, Settings))
    assert expected == message[: len(expected)]
    assert (
        f" ({given['DEPLOYER_KAFKA__BOOTSTRAP_SERVERS']}; docs/kafka-security.md)." == message[message.rindex(" (") :]
    )
    assert 1 == len(message.splitlines())
    assert given.get("DEPLOYER_KAFKA__SASL_PASSWORD", "no password") not in message


@pytest.mark.parametrize(("command", "begins"), [("run", '{"problem": "'), ("watch", "playground-deployer: ")])
async def test_a_command_ends_with_one_line(command: str, begins: str, secured: Secured, user: None) -> None:
    """The command exits with 1 and one message, without output of the Kafka client before it.

    The message of the worker is a line of its log.
    """
    given = settings(secured, login(sasl_password="another-password"))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker", command), env={**os.environ, **given}, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    lines = [line for line in errors.decode().splitlines() if '"level":"info"' not in line.replace(" ", "")]
    assert [f"{begins}{LOGIN}"] == [line[: len(f"{begins}{LOGIN}")] for line in lines]
    assert 1 == process.returncode


@pytest.mark.parametrize("first", ["unreachable", "EXPIRED"])
async def test_one_broker_that_accepts_us_is_enough(first: str, secured: Secured) -> None:
    """One accepting broker suffices: the others may be unreachable or have an expired certificate."""
    other = f"localhost:{next(unused_ports(1))}" if first == "unreachable" else secured.address(first)
    servers = {"DEPLOYER_KAFKA__BOOTSTRAP_SERVERS": f"{other},{secured.address('TLS')}"}
    async with connected(read_settings(secured.tls() | servers, ClientSettings).kafka) as connection:
        assert secured.ports["TLS"] == connection.port


async def test_an_unreachable_broker_is_no_mistake(secured: Secured) -> None:
    """An unreachable broker is no configuration error: the worker waits for it."""
    unreachable = {"DEPLOYER_KAFKA__BOOTSTRAP_SERVERS": f"localhost:{next(unused_ports(1))}"}
    with pytest.raises(KafkaConnectionError):
        async with connected(read_settings(secured.tls() | unreachable, ClientSettings).kafka):
            pass
