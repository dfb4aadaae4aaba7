"""Settings: environment variables `DEPLOYER_<GROUP>__<NAME>`, one frozen model, a sentence per field.

`environment.py` reads them.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from schemas import DeploymentRequested, DeploymentSettled, DeploymentStatus

PREFIX = "DEPLOYER_"

_SERVER = r"([^\s,:/\[\]]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}"
_SERVERS = rf"^{_SERVER}(, ?{_SERVER})*$"
# No user, no password, no query: check and the log show addresses.
HttpUrl = Annotated[str, Field(pattern=r"^https?://([^\s/?#@:\[\]]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[^\s?#@]*)?$")]
Seconds = Annotated[float, Field(gt=0)]
SecretAlgorithm = Literal["HS256", "HS384", "HS512"]
PublicKeyAlgorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Kafka(_Group):
    """The broker, the topics and the consumer group."""

    bootstrap_servers: Annotated[str, Field(pattern=_SERVERS)] = Field(
        description="Brokers to start from: host:port, separated by commas."
    )
    requests_topic: str = Field(DeploymentRequested.TOPIC, description="Where deployment requests arrive.")
    status_topic: str = Field(DeploymentStatus.TOPIC, description="Where status events are published.")
    settlements_topic: str = Field(DeploymentSettled.TOPIC, description="Where unknown outcomes are settled.")
    dead_letter_topic: str = Field(
        "playground.deployment.dead-letter", description="Where records go that could not be read."
    )
    group_id: str = Field("playground-deployer", description="The consumer group of all workers.")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How brokers are spoken to."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="How to log in, when the protocol is SASL_*."
    )
    sasl_username: str | None = Field(None, description="The user, when the protocol is SASL_*.")
    sasl_password: SecretStr | None = Field(None, description="The password, when the protocol is SASL_*.")
    ssl_ca_file: Path | None = Field(None, description="CA certificates (PEM); unset: the system's.")
    ssl_cert_file: Path | None = Field(None, description="Our certificate (PEM), for mutual TLS.")
    ssl_key_file: Path | None = Field(None, description="Our certificate's key (PEM), for mutual TLS.")
    create_topics: bool = Field(False, description="Whether the worker makes topics that are missing.")
    partitions: int = Field(12, ge=1, description="Partitions of the topics the worker makes.")
    replication_factor: int = Field(3, ge=1, description="Replicas of the topics the worker makes.")


class Auth(_Group):
    """How tokens are verified."""

    secret: SecretStr | None = Field(
        None,
        description="The portal's `jwt.auth.secret.key`, as text; JJWT decodes it as base64. This or `JWKS_URL`.",
    )
    jwks_url: HttpUrl | None = Field(
        None, description="Where the issuer publishes its public keys, instead of a secret; needs `ALGORITHM`."
    )
    algorithm: Literal[SecretAlgorithm, PublicKeyAlgorithm] = Field(
        "HS512", description="The one algorithm accepted: HS… with `SECRET`, RS…, PS…, ES… or EdDSA with `JWKS_URL`."
    )
    issuer: str | None = Field(None, description="The `iss` a token must have; unset: not checked.")
    audience: str | None = Field(None, description="The `aud` a token must have; unset: not checked.")
    leeway_seconds: float = Field(30, ge=0, le=120, description="Clock skew allowed for `exp` and `nbf`.")
    max_queue_age_seconds: float = Field(
        900, ge=0, description="How long a token may wait in Kafka and still count as it did on arrival."
    )
    allow_weak_secret: bool = Field(
        False, description="Whether a secret that decodes to fewer than 16 bytes may be used."
    )

    @model_validator(mode="after")
    def _one_kind_of_key(self) -> Self:
        """Mixed up, a public key would be taken for a secret."""
        secret, keys, algorithm = "DEPLOYER_AUTH__SECRET", "DEPLOYER_AUTH__JWKS_URL", "DEPLOYER_AUTH__ALGORITHM"
        if (self.secret is None) == (self.jwks_url is None):
            given = "missing; give one" if self.secret is None else "both are given; give one"
            raise ValueError(f"{secret} or {keys}: {given}, the portal's secret or the address of public keys")
        if self.secret is None and self.algorithm.startswith("HS"):
            raise ValueError(
                f"{algorithm}: {self.algorithm} needs {secret}; with {keys} set what its keys are for, e.g. RS256"
            )
        if self.jwks_url is None and not self.algorithm.startswith("HS"):
            raise ValueError(f"{algorithm}: {self.algorithm} needs {keys}; with {secret} use HS512")
        return self


class Catalog(_Group):
    """Graphene's database service (CCDS)."""

    url: HttpUrl = Field(description="Its base with the context path, e.g. http://cds-service:8000/ccds.")
    username: str = Field(description="For HTTP Basic.")
    password: SecretStr = Field(description="For HTTP Basic.")
    check_access: bool = Field(True, description="Whether the user must be allowed to read the solution.")
    timeout_seconds: Seconds = Field(10, description="For one answer.")


class Artifacts(_Group):
    """The Nexus repository with blueprints and protobufs."""

    url: HttpUrl = Field(description="The repository, e.g. https://nexus/repository/acumos_model_maven.")
    username: str = Field(description="For HTTP Basic.")
    password: SecretStr = Field(description="For HTTP Basic.")
    timeout_seconds: Seconds = Field(10, description="For one file.")


class Playground(_Group):
    """The playground server."""

    deploy_url: Annotated[str, Field(pattern=r"^https?://[^\s?#@]+/deploy_solution$")] = Field(
        description="Where bundles are POSTed; ends in /deploy_solution."
    )
    timeout_seconds: Seconds = Field(330, description="For one deployment; the server itself gives up after 300.")
    ca_file: Path | None = Field(None, description="CA certificates (PEM) of the server; unset: the system's.")
    on_unknown_outcome: Literal["park", "retry"] = Field(
        "park", description="When a POST stays without an answer: wait for `resolve`, or POST again, perhaps doubly."
    )
    park_max_seconds: Seconds = Field(
        259200, description="How long a parked request waits for `resolve`; then it is `failed` as `unresolved`."
    )


class Bundle(_Group):
    """What goes into solution.zip."""

    orchestrator_image: str = Field(
        "cicd.ai4eu-dev.eu:7444/generic-parallel-orchestrator/orchestrator_container:1.8",
        description="The image that runs pipelines.",
    )
    image_pull_secret: str = Field(
        "acumos-registry", description="Name of the pull secret in the namespace; empty: none."
    )
    storage_class: str | None = Field(None, description="For shared folders; unset: the cluster's default.")
    storage_size: Annotated[str, Field(pattern=r"^[1-9][0-9]*([EPTGMK]i?|k)?$")] = Field(
        "1Gi", description="Of one shared folder, as a Kubernetes quantity."
    )
    source_system_url: str = Field("", description="Graphene's public address, for links back from a deployment.")
    max_nodes: int = Field(200, ge=1, le=300, description="The most nodes a pipeline may have; 300 fit into a status.")
    security_profile: Literal["default", "restricted"] = Field(
        "default",
        description="`restricted` adds what Pod Security `restricted` asks for; images that need root stop working.",
    )
    overrides_file: Path | None = Field(
        None, description="Patches for the manifests, by node, image or claim (docs/overrides.md); unset: none."
    )


class Runtime(_Group):
    """The worker itself."""

    max_in_flight: int = Field(32, ge=1, description="Requests worked on at the same time.")
    max_buffered_records: int = Field(1000, ge=1, description="Records read and not finished, at most.")
    max_buffered_bytes: int = Field(16 * 1024 * 1024, ge=1, description="Their bytes, at most.")
    request_deadline_seconds: Seconds = Field(
        3600, description="How long a request is tried again; stands still while a neighbour is known to be down."
    )
    drain_seconds: Seconds = Field(
        360, description="How long a stop waits for running requests; at least the playground's time-out + 30."
    )
    http_port: int = Field(8080, ge=0, le=65535, description="For /live, /ready and /metrics; 0: any free port.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least that is logged.")
    log_format: Literal["json", "console"] = Field("json", description="How logs are written.")


class Tracing(_Group):
    """OpenTelemetry traces; the variables `OTEL_…` of its SDK say the rest."""

    endpoint: HttpUrl | None = Field(
        None, description="The collector for OTLP over HTTP, e.g. http://otel-collector:4318; unset: no traces."
    )
    sample_ratio: float = Field(
        1.0, ge=0, le=1, description="The share of requests traced whose `traceparent` does not decide it."
    )


class Settings(_Group):
    """Everything that can be set, by neighbour."""

    kafka: Kafka
    auth: Auth
    catalog: Catalog
    artifacts: Artifacts
    playground: Playground
    bundle: Bundle = Bundle()
    runtime: Runtime = Runtime()
    tracing: Tracing = Tracing()

    @model_validator(mode="after")
    def _drain_outlasts_a_deployment(self) -> Self:
        least = self.playground.timeout_seconds + 30
        if self.runtime.drain_seconds < least:
            raise ValueError(
                f"DEPLOYER_RUNTIME__DRAIN_SECONDS must be at least {least:g}, "
                "the playground's time-out + 30, or a stop would cut running deployments off"
            )
        return self


class CatalogSettings(_Group):
    """What `bundle` needs: no Kafka, no tokens, no playground."""

    catalog: Catalog
    artifacts: Artifacts
    bundle: Bundle = Bundle()


class KafkaSettings(_Group):
    """What `submit` and `watch` need."""

    kafka: Kafka
