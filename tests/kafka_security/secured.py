"""An Apache Kafka with its own authorizer and secured listeners, and what its clients are told."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from tests.kafka_security.certificates import Authority, Certificate
from worker.sandbox.kafka import EmbeddedKafka
from worker.sandbox.kafka_node import HOST, Ports, unused_ports

MECHANISM = "SCRAM-SHA-512"
_NAMES = ("SCRAM", "TLS", "MTLS", "EXPIRED", "ELSEWHERE")


@dataclass(frozen=True, slots=True)
class Secured:
    """Where its listeners are, and what a client of them needs."""

    kafka: EmbeddedKafka
    ports: Mapping[str, int]
    ca: Path
    other_ca: Path
    client: Certificate
    expired_client: Certificate
    other_client: Certificate

    @property
    def plain(self) -> str:
        """Where everybody is the administrator."""
        return self.kafka.bootstrap_servers

    def address(self, listener: str) -> str:
        """SCRAM, TLS, MTLS; EXPIRED: TLS whose certificate has expired; ELSEWHERE: whose names another host; PLAIN."""
        return self.plain if listener == "PLAIN" else f"localhost:{self.ports[listener]}"

    def scram(self, user: str, password: str) -> dict[str, str]:
        """The settings of a client that logs in over TLS."""
        return {
            "DEPLOYER_KAFKA__BOOTSTRAP_SERVERS": self.address("SCRAM"),
            "DEPLOYER_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
            "DEPLOYER_KAFKA__SASL_MECHANISM": MECHANISM,
            "DEPLOYER_KAFKA__SASL_USERNAME": user,
            "DEPLOYER_KAFKA__SASL_PASSWORD": password,
            "DEPLOYER_KAFKA__SSL_CA_FILE": str(self.ca),
        }

    def tls(self, listener: str = "TLS") -> dict[str, str]:
        """The settings of a client that nobody knows, over TLS."""
        return {
            "DEPLOYER_KAFKA__BOOTSTRAP_SERVERS": self.address(listener),
            "DEPLOYER_KAFKA__SECURITY_PROTOCOL": "SSL",
            "DEPLOYER_KAFKA__SSL_CA_FILE": str(self.ca),
        }

    def mtls(self, certificate: Certificate | None = None) -> dict[str, str]:
        """The settings of a client that is known by its certificate."""
        certificate = certificate or self.client
        return {
            **self.tls("MTLS"),
            "DEPLOYER_KAFKA__SSL_CERT_FILE": str(certificate.certificate),
            "DEPLOYER_KAFKA__SSL_KEY_FILE": str(certificate.key),
        }


CLIENT_PRINCIPAL = "User:CN=worker,O=graphene"


def secured_kafka(folder: Path) -> Secured:
    """Not started yet."""
    numbers = unused_ports(2 + len(_NAMES))
    own = Ports(next(numbers), next(numbers))
    ports = dict(zip(_NAMES, numbers, strict=True))
    authority, other = Authority(folder, "authority"), Authority(folder, "another-authority")
    here = ("localhost", HOST)
    broker = authority.issue("broker", *here)
    expired = authority.issue("expired-broker", *here, valid=-timedelta(days=1))
    elsewhere = authority.issue("elsewhere", "broker.elsewhere.example")
    properties = {
        **_listeners(own, ports),
        **_stores({"SCRAM": broker, "TLS": broker, "MTLS": broker, "EXPIRED": expired, "ELSEWHERE": elsewhere}),
        "listener.name.mtls.ssl.client.auth": "required",
        "listener.name.mtls.ssl.truststore.type": "PEM",
        "listener.name.mtls.ssl.truststore.location": str(authority.file),
        "sasl.enabled.mechanisms": MECHANISM,
        f"listener.name.scram.{MECHANISM.lower()}.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    kafka = EmbeddedKafka(pick_ports=lambda: own, properties=properties)
    return Secured(
        kafka,
        ports,
        authority.file,
        other.file,
        authority.issue("worker"),
        authority.issue("expired-worker", valid=-timedelta(days=1)),
        other.issue("stranger"),
    )


def _listeners(own: Ports, ports: Mapping[str, int]) -> dict[str, str]:
    kinds = {name: "SASL_SSL" if name == "SCRAM" else "SSL" for name in ports}
    plain = f"PLAINTEXT://{HOST}:{own.broker}"
    bound = [f"{name}://{HOST}:{port}" for name, port in ports.items()]
    told = [f"{name}://localhost:{port}" for name, port in ports.items()]
    return {
        "listeners": ",".join([plain, f"CONTROLLER://{HOST}:{own.controller}", *bound]),
        "advertised.listeners": ",".join([plain, *told]),
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
