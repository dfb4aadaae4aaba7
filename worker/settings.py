"""Settings: environment variables `DEPLOYER_<GROUP>__<NAME>`, one frozen model, a sentence per field.

Every secret can come from a file instead: `DEPLOYER_AUTH__SECRET_FILE=/run/secrets/jwt`.
An empty value counts as unset, where the setting's sentence does not say otherwise. Unknown `DEPLOYER_*__*` names
are refused, so that a typing error cannot silently become a default; names without `__`, as Kubernetes makes for
services, are left alone.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from schemas import DeploymentRequested, DeploymentSettled, DeploymentStatus
from worker.errors import ConfigurationError

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


class KafkaSettings(_Group):
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


class AuthSettings(_Group):
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


class CatalogSettings(_Group):
    """Graphene's database service (CCDS)."""

    url: HttpUrl = Field(description="Its base with the context path, e.g. http://cds-service:8000/ccds.")
    username: str = Field(description="For HTTP Basic.")
    password: SecretStr = Field(description="For HTTP Basic.")
    check_access: bool = Field(True, description="Whether the user must be allowed to read the solution.")
    timeout_seconds: Seconds = Field(10, description="For one answer.")


class ArtifactsSettings(_Group):
    """The Nexus repository with blueprints and protobufs."""

    url: HttpUrl = Field(description="The repository, e.g. https://nexus/repository/acumos_model_maven.")
    username: str = Field(description="For HTTP Basic.")
    password: SecretStr = Field(description="For HTTP Basic.")
    timeout_seconds: Seconds = Field(10, description="For one file.")


class PlaygroundSettings(_Group):
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


class BundleSettings(_Group):
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


class RuntimeSettings(_Group):
    """The worker itself."""

    max_in_flight: int = Field(32, ge=1, description="Requests worked on at the same time.")
    max_buffered_records: int = Field(1000, ge=1, description="Records read and not finished, at most.")
    max_buffered_bytes: int = Field(16 * 1024 * 1024, ge=1, description="Their bytes, at most.")
    request_deadline_seconds: Seconds = Field(
        3600, description="How long a request is tried again; stands still while a dependency is known to be down."
    )
    drain_seconds: Seconds = Field(
        360, description="How long a stop waits for running requests; at least the playground's time-out + 30."
    )
    http_port: int = Field(8080, ge=0, le=65535, description="For /live, /ready and /metrics; 0: any free port.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least that is logged.")
    log_format: Literal["json", "console"] = Field("json", description="How logs are written.")


class TracingSettings(_Group):
    """OpenTelemetry traces; the variables `OTEL_…` of its SDK say the rest."""

    endpoint: HttpUrl | None = Field(
        None, description="The collector for OTLP over HTTP, e.g. http://otel-collector:4318; unset: no traces."
    )
    sample_ratio: float = Field(
        1.0, ge=0, le=1, description="The share of requests traced whose `traceparent` does not decide it."
    )


class Settings(_Group):
    """Everything that can be set, by dependency."""

    kafka: KafkaSettings
    auth: AuthSettings
    catalog: CatalogSettings
    artifacts: ArtifactsSettings
    playground: PlaygroundSettings
    bundle: BundleSettings = BundleSettings()
    runtime: RuntimeSettings = RuntimeSettings()
    tracing: TracingSettings = TracingSettings()

    @model_validator(mode="after")
    def _drain_outlasts_a_deployment(self) -> Self:
        least = self.playground.timeout_seconds + 30
        if self.runtime.drain_seconds < least:
            raise ValueError(
                f"DEPLOYER_RUNTIME__DRAIN_SECONDS must be at least {least:g}, "
                "the playground's time-out + 30, or a stop would cut running deployments off"
            )
        return self


class BuilderSettings(_Group):
    """What `bundle` needs: no Kafka, no tokens, no playground."""

    catalog: CatalogSettings
    artifacts: ArtifactsSettings
    bundle: BundleSettings = BundleSettings()


class ClientSettings(_Group):
    """What `submit` and `watch` need."""

    kafka: KafkaSettings


_MAY_BE_EMPTY = frozenset({"image_pull_secret", "source_system_url"})

_Model = TypeVar("_Model", bound=BaseModel)


def read_settings(environ: Mapping[str, str], model: type[_Model]) -> _Model:
    """Read the groups of `model` (Settings, CatalogSettings, KafkaSettings) from the environment.

    Raises ConfigurationError, naming every variable that is unknown, missing or wrong.
    """
    values: dict[str, dict[str, str]] = {group: {} for group in model.model_fields}
    problems: list[str] = []
    for name, value in sorted(environ.items()):
        if not name.startswith(PREFIX) or "__" not in name:
            continue
        group, _, key = name.removeprefix(PREFIX).lower().partition("__")
        fields = _group_fields(group)
        if key not in fields and key.removesuffix("_file") in _secrets(fields):
            key = key.removesuffix("_file")
            given = _read_secret(name, value, problems)
        else:
            given = value
        if key not in fields:
            problems.append(f"{name}: no such setting; README.md lists them all")
        elif (given or key in _MAY_BE_EMPTY) and group in values:
            if key in values[group]:
                problems.append(f"{name}: the value and its file are both given; give one")
            values[group][key] = given
    try:
        settings = model.model_validate(values)
    except ValidationError as error:
        problems += [_explain(detail) for detail in error.errors(include_input=False, include_url=False)]
    if problems:
        raise ConfigurationError("\n".join(problems))
    return settings


def _group_fields(group: str) -> Mapping[str, FieldInfo]:
    field = Settings.model_fields.get(group)
    return field.annotation.model_fields if field and field.annotation else {}


def _secrets(fields: Mapping[str, FieldInfo]) -> set[str]:
    return {name for name, field in fields.items() if "SecretStr" in str(field.annotation)}


def _read_secret(name: str, path: str, problems: list[str]) -> str:
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{name}: cannot read the file ({type(error).__name__})")
        return ""


def _explain(detail: ErrorDetails) -> str:
    if len(detail["loc"]) < 2:
        return str(detail["msg"]).removeprefix("Value error, ")
    group, key = detail["loc"][:2]
    name = f"{PREFIX}{group}__{key}".upper()
    description = _group_fields(str(group))[str(key)].description
    match detail["type"]:
        case "missing":
            return f"{name}: missing. {description}"
        case "string_pattern_mismatch":
            return f"{name}: not of this form. {description}"
    return f"{name}: {detail['msg']}. {description}"
