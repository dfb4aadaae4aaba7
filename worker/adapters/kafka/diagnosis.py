"""Why Kafka does not let us in, as one sentence that names the setting.

aiokafka's clients say "Unable to bootstrap" whatever it was, and try for ever. A single connection tells the reason:
what waiting does not mend becomes a ConfigurationError here; a broker that is merely away stays a KafkaConnectionError.
"""

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from aiokafka.conn import AIOKafkaConnection, collect_hosts, create_conn
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.admin import SaslHandShakeRequest
from aiokafka.protocol.metadata import MetadataRequest

from worker.adapters.kafka.clients import client_options, stop_client
from worker.errors import ConfigurationError
from worker.settings import KafkaSettings

ANSWER_SECONDS = 10
STOP_SECONDS = 2
# OpenSSL's X509_V_ERR_…: what a certificate is refused for.
_NOT_YET_VALID, _EXPIRED, _OTHER_HOST, _UNKNOWN_CA = 9, 10, (62, 64), (2, 18, 19, 20, 21, 27)
_NONSENSE = (AssertionError, LookupError, ValueError, struct.error)  # from a broker that is none
_TROUBLES = (KafkaError, OSError, TimeoutError, *_NONSENSE)


@asynccontextmanager
async def connected(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaConnection]:
    """To the first of the brokers that lets us in.

    Raises ConfigurationError when one refuses us for good and none lets us in, KafkaConnectionError when none is there.
    """
    options = client_options(kafka)
    refused: ConfigurationError | None = None
    for host, port, _ in collect_hosts(options.pop("bootstrap_servers"), randomize=False):
        async with AsyncExitStack() as stack:
            try:
                connection = await stack.enter_async_context(_opened(host, port, options))
                await connection.send(MetadataRequest([]))  # a broker that wants a login hangs up only now
            except _TROUBLES as error:
                reason = _refusal(kafka, error) or await _misunderstanding(kafka, host, port, options)
                if reason:
                    refused = ConfigurationError(f"{reason} ({host}:{port}; docs/kafka-security.md).")
                continue
            yield connection
            return
    # Without its cause: a broker may repeat the password in it.
    raise refused or KafkaConnectionError(f"none of {kafka.bootstrap_servers} answers") from None


@asynccontextmanager
async def _opened(host: str, port: int, options: Mapping[str, Any]) -> AsyncIterator[AIOKafkaConnection]:
    """Logged in, where the options say so."""
    connection = await create_conn(host, port, request_timeout_ms=ANSWER_SECONDS * 1000, **options)
    try:
        yield connection
    finally:
        await stop_client(connection.close, STOP_SECONDS)


def _refusal(kafka: KafkaSettings, error: BaseException) -> str | None:
    """What the error itself says."""
    cause = (isinstance(error, KafkaConnectionError) and error.__cause__) or error
    match cause:
        case ssl.SSLCertVerificationError():
            return _untrusted(kafka, cause)
        case ssl.SSLError() if "ALERT" in str(cause.reason or cause):
            return _our_certificate(kafka, str(cause.reason or cause))
        case SaslAuthenticationFailed():
            return (
                "DEPLOYER_KAFKA__SASL_USERNAME and DEPLOYER_KAFKA__SASL_PASSWORD: Kafka does not accept this login. "
                "Give it the password that Kafka has for the user"
            )
        case UnsupportedSaslMechanismError():
            return (
                f"DEPLOYER_KAFKA__SASL_MECHANISM: Kafka offers no {kafka.sasl_mechanism} here. Set one that it offers"
            )
        case IllegalSaslStateError():
            return (
                "DEPLOYER_KAFKA__SECURITY_PROTOCOL: Kafka takes no login at this port. "
                f"Set {kafka.security_protocol.removeprefix('SASL_')}, or give the port for logins"
            )
    return None


def _untrusted(kafka: KafkaSettings, error: ssl.SSLCertVerificationError) -> str:
    """The broker's certificate."""
    code = error.verify_code
    if code in (_EXPIRED, _NOT_YET_VALID):
        what = "has expired" if code == _EXPIRED else "is not valid yet"
        return f"DEPLOYER_KAFKA__BOOTSTRAP_SERVERS: the broker's certificate {what}. The broker needs a new one"
    if code in _OTHER_HOST:
        return (
            f"DEPLOYER_KAFKA__BOOTSTRAP_SERVERS: the broker's certificate is for another host ({error.verify_message}) "
            "Name the broker as its certificate does"
        )
    if code not in _UNKNOWN_CA:
        return (
            f"DEPLOYER_KAFKA__BOOTSTRAP_SERVERS: the broker's certificate is no good ({error.verify_message}). "
            "The broker needs a new one"
        )
    given = "does not hold" if kafka.ssl_ca_file else "is unset, and the system does not know"
    return (
        f"DEPLOYER_KAFKA__SSL_CA_FILE: it {given} the CA of the broker's certificate ({error.verify_message}). "
        "Give the CA's certificate"
    )


def _our_certificate(kafka: KafkaSettings, alert: str) -> str:
    if "CERTIFICATE" not in alert and "UNKNOWN_CA" not in alert:
        return f"DEPLOYER_KAFKA__SECURITY_PROTOCOL: Kafka breaks off TLS ({alert})"
    names = "DEPLOYER_KAFKA__SSL_CERT_FILE and DEPLOYER_KAFKA__SSL_KEY_FILE"
    if kafka.ssl_cert_file is None:
        return f"{names}: Kafka wants a certificate of ours. Give one that its CA has signed"
    return f"{names}: Kafka does not accept our certificate ({alert}). Give a valid one that its CA has signed"


async def _misunderstanding(kafka: KafkaSettings, host: str, port: int, options: Mapping[str, Any]) -> str | None:
    """A broker that is spoken to in the wrong way only hangs up. Does it answer in another one?"""
    setting, protocol = "DEPLOYER_KAFKA__SECURITY_PROTOCOL", kafka.security_protocol
    login, _, tls = protocol.rpartition("_")
    if tls == "SSL":
        if await _speaks_without_tls(host, port):
            return f"{setting}: Kafka speaks no TLS at this port. Set another than {protocol}, or give its port for TLS"
    elif await _speaks_tls(host, port):
        wanted = f"{login}_SSL" if login else "SSL or SASL_SSL"
        return f"{setting}: Kafka speaks TLS at this port. Set {wanted} instead of {protocol}"
    if not login and await _wants_login(host, port, options):
        return f"{setting}: Kafka wants a login at this port. Set SASL_{'SSL' if tls == 'SSL' else 'PLAINTEXT'}"
    return None


async def _speaks_without_tls(host: str, port: int) -> bool:
    with suppress(*_TROUBLES):
        async with _opened(host, port, {}):
            return True
    return False


async def _speaks_tls(host: str, port: int) -> bool:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is said to whoever it is
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except ssl.SSLError as error:
        return "ALERT" in str(error.reason)
    except (OSError, TimeoutError):
        return False
    writer.transport.abort()
    return True


async def _wants_login(host: str, port: int, options: Mapping[str, Any]) -> bool:
    with suppress(*_TROUBLES):
        async with _opened(host, port, options) as connection:
            answer = await connection.send(SaslHandShakeRequest("PLAIN"))
            return bool(answer.error_code != IllegalSaslStateError.errno)
    return False
