"""An Apache Kafka with its authorizer and secured listeners, and the settings of its clients."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from tests.support.certificates import Authority, Certificate
from tests.support.proxy import Proxy
from worker.sandbox.kafka import EmbeddedKafka
from worker.sandbox.kafka_node import HOST, Ports, unused_ports

MECHANISM = "SCRAM-SHA-512"
_NAMES = ("SCRAM", "PROXIED", "TLS", "MTLS", "EXPIRED", "ELSEWHERE")


@dataclass(frozen=True, slots=True)
class Secured:
    """The listeners of that Kafka, and the files that their clients need."""

    kafka: EmbeddedKafka
    ports: Mapping[str, int]
    proxied: int
    ca: Path
    other_ca: Path
    client: Certificate
    expired_client: Certificate
    other_client: Certificate

    @property
    def plain(self) -> str:
        """The listener where every client is an administrator."""
        return self.kafka.bootstrap_servers

    def address(self, listener: str) -> str:
        """Return the address of a listener.

        PLAIN; SCRAM, and PROXIED through a proxy; TLS; MTLS; EXPIRED: TLS with an expired certificate; ELSEWHERE: TLS
        with another host's certificate.
        """
        return self.plain if listener == "PLAIN" else f"localhost:{self.ports[listener]}"

    @asynccontextmanager
    async def proxy(self) -> AsyncIterator[Proxy]:
        """Run the proxy in front of PROXIED."""
        async with Proxy(HOST, self.proxied).served(HOST, self.ports["PROXIED"]) as proxy:
            yield proxy

    def scram(self, user: str, password: str, listener: str = "SCRAM") -> dict[str, str]:
        """Return the settings of a client that logs in over TLS."""
        return {
            "DEPLOYER_KAFKA__BOOTSTRAP_SERVERS": self.address(listener),
            "DEPLOYER_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
            "DEPLOYER_KAFKA__SASL_MECHANISM": MECHANISM,
            "DEPLOYER_KAFKA__SASL_USERNAME": user,
            "DEPLOYER_KAFKA__SASL_PASSWORD": password,
            "DEPLOYER_KAFKA__SSL_CA_FILE": str(self.ca),
        }

    def tls(self, listener: str = "TLS") -> dict[str, str]:
        """Return the settings of an anonymous client over TLS."""
        return {
            "DEPLOYER_KAFKA__BOOTSTRAP_SERVERS": self.address(listener),
            "DEPLOYER_KAFKA__SECURITY_PROTOCOL": "SSL",
            "DEPLOYER_KAFKA__SSL_CA_FILE": str(self.ca),
        }

    def mtls(self, certificate: Certificate | None = None) -> dict[str, str]:
        """Return the settings of a client that authenticates with its certificate."""
        certificate = certificate or self.client
        return {
            **self.tls("MTLS"),
            "DEPLOYER_KAFKA__SSL_CERT_FILE": str(certificate.certificate),
            "DEPLOYER_KAFKA__SSL_KEY_FILE": str(certificate.key),
        }


CLIENT_PRINCIPAL = "User:CN=worker,O=graphene"


def secured_kafka(folder: Path) -> Secured:
    """Configure the broker without starting it."""
    numbers = unused_ports(3 + len(_NAMES))
    own, proxied = Ports(next(numbers), next(numbers)), next(numbers)
    ports = dict(zip(_NAMES, numbers, strict=True))
    authority, other = Authority(folder, "authority"), Authority(folder, "another-authority")
    here = ("localhost", HOST)
    broker = authority.issue("broker", *here)
    expired = authority.issue("expired-broker", *here, valid=-timedelta(days=1))
    elsewhere = authority.issue("elsewhere", "broker.elsewhere.example")
    properties = {
        **_listeners(own, ports, ports | {"PROXIED": proxied}),
        **_stores(
            {
                "SCRAM": broker,
                "PROXIED": broker,
                "TLS": broker,
                "MTLS": broker,
                "EXPIRED": expired,
                "ELSEWHERE": elsewhere,
            }
        ),
        "listener.name.mtls.ssl.client.auth": "required",
        "listener.name.mtls.ssl.truststore.type": "PEM",
        "listener.name.mtls.ssl.truststore.location": str(authority.file),
        "sasl.enabled.mechanisms": MECHANISM,
        **{f"listener.name.{it}.{MECHANISM.lower()}.sasl.jaas.config": _LOGIN for it in ("scram", "proxied")},
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    kafka = EmbeddedKafka(pick_ports=lambda: own, properties=properties)
    return Secured(
        kafka,
        ports,
        proxied,
        authority.file,
        other.file,
        authority.issue("worker"),
        authority.issue("expired-worker", valid=-timedelta(days=1)),
        other.issue("stranger"),
    )


_LOGIN = "org.apache.kafka.common.security.scram.ScramLoginModule required;"


def _listeners(own: Ports, ports: Mapping[str, int], opened: Mapping[str, int]) -> dict[str, str]:
    """Return the listener properties; `ports` are advertised, `opened` are bound."""
    kinds = {name: "SASL_SSL" if name in ("SCRAM", "PROXIED") else "SSL" for name in ports}
    plain = f"PLAINTEXT://{HOST}:{own.broker}"
    bound = [f"{name}://{HOST}:{port}" for name, port in opened.items()]
    advertised = [f"{name}://localhost:{port}" for name, port in ports.items()]
    return {
        "listeners": ",".join([plain, f"CONTROLLER://{HOST}:{own.controller}", *bound]),
        "advertised.listeners": ",".join([plain, *advertised]),
        "listener.security.protocol.map": ",".join(
            f"{name}:{kind}" for name, kind in {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", **kinds}.items()
        ),
        "inter.broker.listener.name": "PLAINTEXT",
    }


def _stores(certificates: Mapping[str, Certificate]) -> dict[str, str]:
    return {
        f"listener.name.{name.lower()}.ssl.keystore.{key}": value
        for name, certificate in certificates.items()
        for key, value in (("type", "PEM"), ("location", str(certificate.store)))
    }
