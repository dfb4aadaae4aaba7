"""Explain why a connection to Kafka fails, in one sentence that names the setting to change.

aiokafka's clients report "Unable to bootstrap" whatever the cause, and retry indefinitely. A single connection reveals
the cause. This module raises ConfigurationError for a failure that waiting cannot fix, and KafkaUnreachable if no
broker can be reached.
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

from worker.adapters.kafka.clients import STOP_SECONDS, client_options, stop_client
from worker.adapters.network import network_reason
from worker.errors import ConfigurationError
from worker.settings import KafkaSettings

ANSWER_SECONDS = 10
# OpenSSL's X509_V_ERR_… codes: why a certificate is rejected.
_NOT_YET_VALID, _EXPIRED, _OTHER_HOST, _UNKNOWN_CA = 9, 10, (62, 64), (2, 18, 19, 20, 21, 27)
_NOT_KAFKA = (AssertionError, LookupError, ValueError, struct.error)  # the server speaks another protocol
_CONNECTION_ERRORS = (KafkaError, OSError, TimeoutError, *_NOT_KAFKA)


class KafkaUnreachable(KafkaConnectionError):  # type: ignore[misc]  # aiokafka has no types
    """No bootstrap server can be reached. `reasons`: one per server, without a broker's own words."""

    def __init__(self, reasons: str) -> None:
        super().__init__(reasons)
        self.reasons = reasons


@asynccontextmanager
async def connected(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaConnection]:
    """Connect to the first bootstrap server that accepts us.

    If none does, raises ConfigurationError if a server rejects our settings, and otherwise KafkaUnreachable.
    """
    options = client_options(kafka)
    refused: ConfigurationError | None = None
    reasons = []
    for host, port, _ in collect_hosts(options.pop("bootstrap_servers"), randomize=False):
        async with AsyncExitStack() as stack:
            try:
                connection = await stack.enter_async_context(_open_connection(host, port, options))
                await connection.send(MetadataRequest([]))  # a broker that requires a login disconnects only now
            except _CONNECTION_ERRORS as error:
                reason = _explain(kafka, error) or await _find_mismatch(kafka, host, port, options)
                if reason:
                    refused = ConfigurationError(f"{reason} ({host}:{port}; docs/kafka-security.md).")
                reasons.append(f"{host}:{port}: {_describe(error)}")
                continue
            yield connection
            return
    # Without the cause, in which a broker may repeat the password.
    raise refused or KafkaUnreachable("; ".join(reasons)) from None


@asynccontextmanager
async def _open_connection(host: str, port: int, options: Mapping[str, Any]) -> AsyncIterator[AIOKafkaConnection]:
    """Connect, and log in if the options contain a login."""
    connection = await create_conn(host, port, request_timeout_ms=ANSWER_SECONDS * 1000, **options)
    try:
        yield connection
    finally:
        await stop_client(connection.close, STOP_SECONDS)


def _explain(kafka: KafkaSettings, error: BaseException) -> str | None:
    """Return the reason, with the setting to change, if the error itself reveals it."""
    match cause := _cause(error):
        case ssl.SSLCertVerificationError():
            return _explain_broker_certificate(kafka, cause)
        case ssl.SSLError() if "ALERT" in str(cause.reason or cause):
            return _explain_client_certificate(kafka, str(cause.reason or cause))
        case SaslAuthenticationFailed():
            return (
                "DEPLOYER_KAFKA__SASL_USERNAME and DEPLOYER_KAFKA__SASL_PASSWORD: Kafka rejects this login. "
                "Set the password that Kafka has for the user"
            )
        case UnsupportedSaslMechanismError():
            return (
                f"DEPLOYER_KAFKA__SASL_MECHANISM: Kafka does not offer {kafka.sasl_mechanism} here. "
                "Set one that it offers"
            )
        case IllegalSaslStateError():
            return (
                "DEPLOYER_KAFKA__SECURITY_PROTOCOL: Kafka does not use SASL at this port. "
                f"Set {kafka.security_protocol.removeprefix('SASL_')}, or use the port with SASL"
            )
    return None


def _describe(error: BaseException) -> str:
    """Return the kind of failure, for an error that does not reveal which setting is wrong."""
    match cause := _cause(error):
        case OSError():
            return network_reason(cause)
        case KafkaConnectionError() | EOFError():
            return "the connection was closed"
        case KafkaError():
            return type(cause).__name__.removesuffix("Error")
    return "not Kafka's protocol"


def _cause(error: BaseException) -> BaseException:
    return (isinstance(error, KafkaConnectionError) and error.__cause__) or error


def _explain_broker_certificate(kafka: KafkaSettings, error: ssl.SSLCertVerificationError) -> str:
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
            f"DEPLOYER_KAFKA__BOOTSTRAP_SERVERS: the broker's certificate is invalid ({error.verify_message}). "
            "The broker needs a new one"
        )
    problem = "does not contain" if kafka.ssl_ca_file else "is unset, and the system does not know"
    return (
        f"DEPLOYER_KAFKA__SSL_CA_FILE: it {problem} the CA of the broker's certificate ({error.verify_message}). "
        "Set a file with the CA's certificate"
    )


def _explain_client_certificate(kafka: KafkaSettings, alert: str) -> str:
    if "CERTIFICATE" not in alert and "UNKNOWN_CA" not in alert:
        return f"DEPLOYER_KAFKA__SECURITY_PROTOCOL: the TLS handshake failed ({alert})"
    names = "DEPLOYER_KAFKA__SSL_CERT_FILE and DEPLOYER_KAFKA__SSL_KEY_FILE"
    if kafka.ssl_cert_file is None:
        return f"{names}: Kafka requires a client certificate. Set one that its CA has signed"
    return f"{names}: Kafka rejects our certificate ({alert}). Set a valid one that its CA has signed"


async def _find_mismatch(kafka: KafkaSettings, host: str, port: int, options: Mapping[str, Any]) -> str | None:
    """Try the other security protocols, because a broker just closes a connection with the wrong protocol."""
    setting, protocol = "DEPLOYER_KAFKA__SECURITY_PROTOCOL", kafka.security_protocol
    login, _, tls = protocol.rpartition("_")
    if tls == "SSL":
        if await _speaks_without_tls(host, port):
            return f"{setting}: Kafka does not use TLS at this port. Replace {protocol}, or use the port with TLS"
    elif await _speaks_tls(host, port):
        wanted = f"{login}_SSL" if login else "SSL or SASL_SSL"
        return f"{setting}: Kafka uses TLS at this port. Set {wanted} instead of {protocol}"
    if not login and await _requires_login(host, port, options):
        return f"{setting}: Kafka requires a login at this port. Set SASL_{'SSL' if tls == 'SSL' else 'PLAINTEXT'}"
    return None


async def _speaks_without_tls(host: str, port: int) -> bool:
    with suppress(*_CONNECTION_ERRORS):
        async with _open_connection(host, port, {}):
            return True
    return False


async def _speaks_tls(host: str, port: int) -> bool:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # safe, because nothing is sent to the server
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except ssl.SSLError as error:
        return "ALERT" in str(error.reason)
    except (OSError, TimeoutError):
        return False
    writer.transport.abort()
    return True


async def _requires_login(host: str, port: int, options: Mapping[str, Any]) -> bool:
    with suppress(*_CONNECTION_ERRORS):
        async with _open_connection(host, port, options) as connection:
            answer = await connection.send(SaslHandShakeRequest("PLAIN"))
            return bool(answer.error_code != IllegalSaslStateError.errno)
    return False
