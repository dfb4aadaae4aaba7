"""What is wrong between the worker and Kafka is said once, by the name of its setting, and not tried for ever."""

import asyncio
import os
import sys
from collections.abc import Callable, Mapping

import pytest
from aiokafka.errors import KafkaConnectionError

from tests.component.kafka_security.administrator import Administrator
from tests.component.kafka_security.conftest import PASSWORD, refused
from tests.component.kafka_security.secured import Secured
from tests.support.stage import environment, free_port
from worker.adapters.kafka.diagnosis import connected
from worker.settings import ClientSettings, Settings, read_settings

USER = "user-of-the-connections"
NOWHERE = "http://127.0.0.1:1"
LOGIN = "DEPLOYER_KAFKA__SASL_USERNAME and DEPLOYER_KAFKA__SASL_PASSWORD: Kafka does not accept this login."
SERVERS = "DEPLOYER_KAFKA__BOOTSTRAP_SERVERS: the broker's certificate"
OURS = "DEPLOYER_KAFKA__SSL_CERT_FILE and DEPLOYER_KAFKA__SSL_KEY_FILE: Kafka"
PROTOCOL = "DEPLOYER_KAFKA__SECURITY_PROTOCOL: Kafka"
Settle = Callable[[Secured], Mapping[str, str]]


def login(**changes: str) -> Settle:
    """The right login, but for the changes."""
    return lambda secured: (
        secured.scram(USER, PASSWORD) | {f"DEPLOYER_KAFKA__{name.upper()}": value for name, value in changes.items()}
    )


def at(listener: str, how: Settle) -> Settle:
    """The same at another port."""
    return lambda secured: {**how(secured), "DEPLOYER_KAFKA__BOOTSTRAP_SERVERS": secured.address(listener)}


WRONG: dict[str, tuple[Settle, str]] = {
    "password": (login(sasl_password="another-password"), LOGIN),
    "user": (login(sasl_username="nobody"), LOGIN),
    "mechanism": (
        login(sasl_mechanism="PLAIN"),
        "DEPLOYER_KAFKA__SASL_MECHANISM: Kafka offers no PLAIN here.",
    ),
    "the broker's certificate has expired": (lambda it: it.tls("EXPIRED"), f"{SERVERS} has expired."),
    "the broker's certificate names another host": (
        lambda it: it.tls("ELSEWHERE"),
        f"{SERVERS} is for another host (Hostname mismatch, certificate is not valid for 'localhost'.)",
    ),
    "an unknown CA": (
        lambda it: it.tls() | {"DEPLOYER_KAFKA__SSL_CA_FILE": str(it.other_ca)},
        "DEPLOYER_KAFKA__SSL_CA_FILE: it does not hold the CA of the broker's certificate (",
    ),
    "no CA": (
        lambda it: it.tls() | {"DEPLOYER_KAFKA__SSL_CA_FILE": ""},
        "DEPLOYER_KAFKA__SSL_CA_FILE: it is unset, and the system does not know the CA of the broker's certificate (",
    ),
    "no certificate of ours": (lambda it: it.tls("MTLS"), f"{OURS} wants a certificate of ours."),
    "our certificate has expired": (lambda it: it.mtls(it.expired_client), f"{OURS} does not accept our certificate ("),
    "our certificate is a stranger's": (
        lambda it: it.mtls(it.other_client),
        f"{OURS} does not accept our certificate (",
    ),
    "TLS where there is none": (
        at("PLAIN", lambda it: it.tls()),
        f"{PROTOCOL} speaks no TLS at this port. Set",
    ),
    "a login over TLS where there is none": (
        at("PLAIN", login()),
        f"{PROTOCOL} speaks no TLS at this port. Set",
    ),
    "no TLS where there is some": (
        at("TLS", login(security_protocol="PLAINTEXT")),
        f"{PROTOCOL} speaks TLS at this port. Set SSL or SASL_SSL instead of PLAINTEXT",
    ),
    "a login without TLS": (
        login(security_protocol="SASL_PLAINTEXT"),
        f"{PROTOCOL} speaks TLS at this port. Set SASL_SSL instead of SASL_PLAINTEXT",
    ),
    "a login where there is none": (at("TLS", login()), f"{PROTOCOL} takes no login at this port. Set SSL,"),
    "no login where there is one": (lambda it: it.tls("SCRAM"), f"{PROTOCOL} wants a login at this port. Set SASL_SSL"),
}


def settings(secured: Secured, how: Settle) -> dict[str, str]:
    """Of a worker that finds nothing of what it needs."""
    names = environment(secured.plain, "t", NOWHERE, NOWHERE)
    return {**names, "DEPLOYER_RUNTIME__HTTP_PORT": "0", **how(secured)}


@pytest.fixture
async def user(admin: Administrator) -> None:
    """Has a password and no right."""
    await admin.set_password(USER, PASSWORD)


@pytest.mark.parametrize("wrong", WRONG)
async def test_what_is_wrong_is_named(wrong: str, secured: Secured, user: None) -> None:
    """The worker ends at its start; the first words are the setting, and no password is among them."""
    how, expected = WRONG[wrong]
    given = settings(secured, how)
    said = await refused(read_settings(given, Settings))
    assert expected == said[: len(expected)]
    assert f" ({given['DEPLOYER_KAFKA__BOOTSTRAP_SERVERS']}; docs/kafka-security.md)." == said[said.rindex(" (") :]
    assert 1 == len(said.splitlines())
    assert given.get("DEPLOYER_KAFKA__SASL_PASSWORD", "no password") not in said


@pytest.mark.parametrize("command", [["run"], ["watch"]])
async def test_a_command_ends_with_one_line(command: list[str], secured: Secured, user: None) -> None:
    """Exit code 1, and nothing of Kafka's client before the sentence."""
    given = settings(secured, login(sasl_password="another-password"))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker", *command), env={**os.environ, **given}, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    lines = [line for line in errors.decode().splitlines() if '"level":"info"' not in line.replace(" ", "")]
    assert [f"playground-deployer: {LOGIN}"] == [line[: len(f"playground-deployer: {LOGIN}")] for line in lines]
    assert 1 == process.returncode


@pytest.mark.parametrize("first", ["away", "EXPIRED"])
async def test_one_broker_that_lets_us_in_is_enough(first: str, secured: Secured) -> None:
    """The others may be away, or have a certificate that has expired."""
    other = f"localhost:{await free_port()}" if first == "away" else secured.address(first)
    servers = {"DEPLOYER_KAFKA__BOOTSTRAP_SERVERS": f"{other},{secured.address('TLS')}"}
    async with connected(read_settings(secured.tls() | servers, ClientSettings).kafka) as connection:
        assert secured.ports["TLS"] == connection.port


async def test_a_broker_that_is_away_is_no_mistake(secured: Secured) -> None:
    """It is waited for, as ever."""
    away = {"DEPLOYER_KAFKA__BOOTSTRAP_SERVERS": f"localhost:{await free_port()}"}
    with pytest.raises(KafkaConnectionError):
        async with connected(read_settings(secured.tls() | away, ClientSettings).kafka):
            pass
