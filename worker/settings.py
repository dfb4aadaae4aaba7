"""Settings: environment variables `DEPLOYER_<GROUP>__<NAME>`, as one frozen model with a description per field.

A file can hold a secret instead of the variable: `DEPLOYER_AUTH__SECRET_FILE=/run/secrets/jwt`.
An empty value counts as unset, unless the setting's description gives a meaning to it. An unknown name `DEPLOYER_*__*`
is an error, so that a typo does not silently select a default. A setting's name with other underscores or in another
case is an error for the same reason. Other names that begin with `DEPLOYER` are ignored, because Kubernetes sets such
variables for Services.
"""

import re
from base64 import b64encode
from collections.abc import Mapping
from difflib import get_close_matches
from ipaddress import IPv6Address
from itertools import combinations
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from schemas import DeploymentRequested, DeploymentSettled, DeploymentStatus
from worker.errors import ConfigurationError

PREFIX = "DEPLOYER_"

_SERVER = r"([^\s,:/\[\]]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}"
_SERVERS = rf"^{_SERVER}(, ?{_SERVER})*$"
# A URL has no user, no password and no query, because `check` and the log show URLs.
HttpUrl = Annotated[str, Field(pattern=r"^https?://([^\s/?#@:\[\]]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[^\s?#@]*)?$")]
_NAMESPACES = "[a-z0-9*-]*[a-z0-9][a-z0-9*-]*"  # a name or a pattern; without a letter or digit it would mean all names
# As browsers write it in `Origin`, and with a path that needs no escapes: the prefix of routes, links and a cookie.
PublicUrl = Annotated[
    str,
    Field(pattern=r"^https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?$"),
]
Seconds = Annotated[float, Field(gt=0)]
SecretAlgorithm = Literal["HS256", "HS384", "HS512"]
PublicKeyAlgorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class KafkaSettings(_Group):
    """Kafka: brokers, topics and the consumer group."""

    bootstrap_servers: Annotated[str, Field(pattern=_SERVERS)] = Field(
        description="Bootstrap servers: host:port, separated by commas."
    )
    requests_topic: str = Field(DeploymentRequested.TOPIC, description="Topic of the deployment requests.")
    status_topic: str = Field(DeploymentStatus.TOPIC, description="Topic of the status events.")
    settlements_topic: str = Field(DeploymentSettled.TOPIC, description="Topic of the settlements of unknown outcomes.")
    dead_letter_topic: str = Field("playground.deployment.dead-letter", description="Topic of the dead letters.")
    group_id: str = Field("playground-deployer", description="Consumer group of the workers.")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="Protocol of the connections to brokers."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="SASL mechanism, if the protocol is SASL_*."
    )
    sasl_username: str | None = Field(None, description="User name, if the protocol is SASL_*.")
    sasl_password: SecretStr | None = Field(None, description="Password, if the protocol is SASL_*.")
    ssl_ca_file: Path | None = Field(None, description="CA certificates of the brokers (PEM); unset: the system's.")
    ssl_cert_file: Path | None = Field(None, description="Client certificate (PEM), for mutual TLS.")
    ssl_key_file: Path | None = Field(None, description="Private key of the client certificate (PEM), for mutual TLS.")
    create_topics: bool = Field(False, description="Whether the worker creates missing topics.")
    partitions: int = Field(
        12,
        ge=1,
        description="Number of partitions of the requests topic. The worker creates topics with this number, and a "
        "topic that exists must have it; more pods than partitions would be idle.",
    )
    replication_factor: int = Field(3, ge=1, description="Replication factor of the topics that the worker creates.")

    @model_validator(mode="after")
    def _four_topics(self) -> Self:
        """Reject one topic for two purposes: a worker that reads its own statuses as requests would loop forever."""
        names = ("requests_topic", "status_topic", "settlements_topic", "dead_letter_topic")
        for first, second in combinations(names, 2):
            if (topic := getattr(self, first)) == getattr(self, second):
                both = " and ".join(f"{PREFIX}KAFKA__{name.upper()}" for name in (first, second))
                raise ValueError(f"{both}: both are '{topic}'. Each of the four needs its own topic")
        return self


class AuthSettings(_Group):
    """The verification of tokens."""

    secret: SecretStr | None = Field(
        None,
        description="The portal's `jwt.auth.secret.key`, as text (JJWT decodes it as base64). This or `JWKS_URL`.",
    )
    jwks_url: HttpUrl | None = Field(
        None, description="URL of the issuer's public keys (JWKS), instead of a secret; requires `ALGORITHM`."
    )
    algorithm: Literal[SecretAlgorithm, PublicKeyAlgorithm] = Field(
        "HS512", description="The only accepted algorithm: HS… with `SECRET`; RS…, PS…, ES… or EdDSA with `JWKS_URL`."
    )
    issuer: str | None = Field(None, description="Required `iss` of a token; unset: not checked.")
    audience: str | None = Field(None, description="Required `aud` of a token; unset: not checked.")
    leeway_seconds: float = Field(30, ge=0, le=120, description="Allowed clock skew for `exp` and `nbf`.")
    max_queue_age_seconds: float = Field(
        900,
        ge=0,
        description="How long a token may wait in Kafka and still be verified as of the time of its arrival.",
    )
    allow_weak_secret: bool = Field(False, description="Whether to accept a secret of fewer than 16 bytes, decoded.")

    @model_validator(mode="after")
    def _one_kind_of_key(self) -> Self:
        """Reject a mix-up of the two kinds of key, which would use a public key as a secret."""
        secret, keys, algorithm = "DEPLOYER_AUTH__SECRET", "DEPLOYER_AUTH__JWKS_URL", "DEPLOYER_AUTH__ALGORITHM"
        if (self.secret is None) == (self.jwks_url is None):
            problem = "neither is set" if self.secret is None else "both are set"
            raise ValueError(f"{secret} or {keys}: {problem}; set one, the portal's secret or the URL of public keys")
        if self.secret is None and self.algorithm.startswith("HS"):
            raise ValueError(
                f"{algorithm}: {self.algorithm} requires {secret}; with {keys} set its keys' algorithm, e.g. RS256"
            )
        if self.jwks_url is None and not self.algorithm.startswith("HS"):
            raise ValueError(f"{algorithm}: {self.algorithm} requires {keys}; with {secret} use HS512")
        return self


class CatalogSettings(_Group):
    """Graphene's database service (CCDS)."""

    url: HttpUrl = Field(description="Base URL with the context path, e.g. http://cds-service:8000/ccds.")
    username: str = Field(description="User name for HTTP Basic.")
    password: SecretStr = Field(description="Password for HTTP Basic.")
    check_access: bool = Field(
        True,
        description="Whether to check that the user may read the solution, and that the solution's author may read the "
        "protobufs in it.",
    )
    protobufs_of_unknown: Literal["refuse", "allow"] = Field(
        "refuse",
        description="Whether to refuse or allow a pipeline with a protobuf whose path names no solution, so that "
        "access to the protobuf cannot be checked.",
    )
    timeout_seconds: Seconds = Field(10, description="Time-out of a request.")


class ArtifactsSettings(_Group):
    """The Nexus repository of blueprints and protobufs."""

    url: HttpUrl = Field(description="URL of the repository, e.g. https://artifacts.example/models.")
    username: str = Field(description="User name for HTTP Basic.")
    password: SecretStr = Field(description="Password for HTTP Basic.")
    timeout_seconds: Seconds = Field(10, description="Time-out of the download of a file.")
    cache_bytes: int = Field(
        4 * 1024 * 1024,
        ge=0,
        description="Maximum memory for the cache of files, in bytes; 0: no cache. A file is cached for 10 minutes, "
        "and only when the checksum that Nexus sends, or the size in Graphene's database, confirms its content.",
    )


class PlaygroundSettings(_Group):
    """The playground server."""

    deploy_url: Annotated[str, Field(pattern=r"^https?://[^\s?#@]+/deploy_solution$")] = Field(
        description="URL to which bundles are POSTed; it ends in /deploy_solution."
    )
    public_url: HttpUrl | None = Field(
        None,
        description="URL of the playground for users, in the links in statuses; unset: `DEPLOY_URL` without "
        "/deploy_solution.",
    )
    timeout_seconds: Seconds = Field(330, description="Time-out of a deployment; the server's own is 300 s.")
    ca_file: Path | None = Field(None, description="CA certificates of the server (PEM); unset: the system's.")
    on_unknown_outcome: Literal["park", "retry"] = Field(
        "park",
        description="After a POST whose outcome is unknown: `park` until it is resolved, or `retry` and risk a second "
        "deployment.",
    )
    park_max_seconds: Seconds = Field(
        259200,
        description="How long a parked request waits to be resolved; after that time it is `failed` as `unresolved`.",
    )


class BundleSettings(_Group):
    """The content of solution.zip."""

    orchestrator_image: str = Field(
        "cicd.ai4eu-dev.eu:7444/generic-parallel-orchestrator/orchestrator_container:1.8",
        description="Image of the orchestrator, which runs pipelines.",
    )
    image_pull_secret: str = Field(
        "acumos-registry", description="Name of the image pull secret in the namespace; empty: none."
    )
    storage_class: str | None = Field(None, description="Storage class of shared folders; unset: the default class.")
    storage_size: Annotated[str, Field(pattern=r"^[1-9][0-9]*([EPTGMK]i?|k)?$")] = Field(
        "1Gi", description="Size of a shared folder, as a Kubernetes quantity."
    )
    source_system_url: str = Field("", description="Public URL of Graphene, for links from a deployment to Graphene.")
    max_nodes: int = Field(
        200, ge=1, le=300, description="Maximum number of nodes of a pipeline; at most 300 fit into a status."
    )
    max_shared_folders: int = Field(10, ge=1, le=50, description="Maximum number of shared folders of a pipeline.")
    reserved_namespaces: Annotated[str, Field(pattern=rf"^({_NAMESPACES}(,{_NAMESPACES})*)?$")] = Field(
        "",
        description="Further namespaces that no pipeline gets, separated by commas; `*` matches any text. The "
        "cluster's own namespaces (`default`, `kube-*`, `istio-system` and others, docs/bundle.md) are always "
        "reserved: the script in the bundle refuses them on the target.",
    )
    security_profile: Literal["default", "restricted"] = Field(
        "default", description="`restricted` meets Pod Security `restricted`; images that need root stop working."
    )
    overrides_file: Path | None = Field(
        None, description="Patches for the manifests, by node, image or claim (docs/overrides.md); unset: none."
    )


class RuntimeSettings(_Group):
    """The worker process."""

    max_in_flight: int = Field(32, ge=1, description="Maximum number of requests in flight.")
    max_buffered_records: int = Field(
        1000, ge=1, description="Maximum number of buffered records, which are read and not finished."
    )
    max_buffered_bytes: int = Field(16 * 1024 * 1024, ge=1, description="Maximum size of buffered records, in bytes.")
    max_open_requests_per_user: int = Field(
        50,
        ge=1,
        description="Maximum number of requests of one user that are accepted and have no final status, parked "
        "requests included; further requests are rejected.",
    )
    max_bytes_in_flight: int = Field(
        160 * 1024 * 1024,
        ge=64 * 1024 * 1024,
        description="Maximum memory for large solutions that are fetched and built at the same time, in bytes; small "
        "solutions (256 KiB) do not count.",
    )
    request_deadline_seconds: Seconds = Field(
        3600,
        description="How long after it was read a request may start another attempt. The backoff between two attempts "
        "is 0.5 to 60 s, or longer when the playground sends `Retry-After`. The time while a breaker is open does not "
        "count; the wait for earlier requests of the user does.",
    )
    drain_seconds: Seconds = Field(
        360, description="How long a shutdown waits for running requests; at least the playground's time-out + 30 s."
    )
    http_port: int = Field(8080, ge=0, le=65535, description="Port of /live, /ready and /metrics; 0: any free port.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level that is logged.")
    log_format: Literal["json", "console"] = Field("json", description="Format of the logs.")


class GatewaySettings(_Group):
    """The gateway: HTTP for the portal, browsers and programs."""

    session_key: SecretStr = Field(
        description="Secret of at least 32 characters that signs the session cookies; all replicas need the same "
        "secret."
    )
    http_port: int = Field(8081, ge=0, le=65535, description="Port of the gateway; 0: any free port.")
    public_url: PublicUrl = Field(
        "http://localhost:8081",
        description="URL of the gateway for browsers, with the prefix that an ingress may strip, e.g. "
        "https://graphene.example/playground-deployer. Write a host in other scripts as `xn--…`; the path has letters, "
        "digits, `-`, `.`, `_` and `~` only.",
    )
    portal_url: HttpUrl | None = Field(
        None,
        description="URL of Graphene's portal, to which pages link when the user has to log in; unset: no link.",
    )
    wait_seconds: float = Field(
        3, ge=0, le=300, description="How long /deploy waits for the deployment before it shows the request's page."
    )
    again_seconds: float = Field(
        60,
        ge=0,
        description="How long after a request's final status a reloaded /deploy shows that request instead of "
        "deploying again.",
    )
    admin_role: str | None = Field(
        None,
        description="Role in a token whose users see all requests, and may resolve and replay them; unset: no user "
        "may.",
    )
    max_open_requests: int = Field(
        20, ge=1, description="Maximum number of open requests of one user; further requests are answered with 429."
    )
    max_requests_per_minute: int = Field(
        120,
        ge=1,
        description="Maximum number of HTTP requests of one user per minute; further requests are answered with 429.",
    )
    max_streams: int = Field(1000, ge=1, description="Maximum number of event streams.")
    max_streams_per_user: int = Field(10, ge=1, description="Maximum number of event streams of one user.")
    view_max_requests: int = Field(
        100_000,
        ge=1,
        description="Maximum number of requests kept in memory for display; the request that finished first is "
        "discarded first.",
    )
    view_max_bytes: int = Field(96 * 1024 * 1024, ge=1, description="Maximum memory for these requests, in bytes.")

    notify: bool = Field(
        False,
        description="Whether Graphene's portal notifies users, behind its bell icon, when their requests have a final "
        "status; for each partition, one replica sends the notifications.",
    )

    @field_validator("public_url")
    @classmethod
    def _as_in_origin(cls, value: str) -> str:
        """Write it as browsers write `Origin`: in small letters, and without the scheme's own port."""
        url = urlsplit(value)
        try:
            port = url.port
        except ValueError:
            raise ValueError("its port is above 65535") from None
        host = f"[{IPv6Address(url.hostname or '')}]" if url.netloc.startswith("[") else url.hostname
        usual = {"http": 80, "https": 443}[url.scheme]
        return f"{url.scheme}://{host}{'' if port in (None, usual) else f':{port}'}{url.path}"

    @model_validator(mode="after")
    def _long_key(self) -> Self:
        if len(self.session_key.get_secret_value()) < 32:
            raise ValueError("DEPLOYER_GATEWAY__SESSION_KEY: fewer than 32 characters. Choose a longer key")
        return self


class TracingSettings(_Group):
    """OpenTelemetry traces; the SDK's own variables `OTEL_…` configure the rest."""

    endpoint: HttpUrl | None = Field(
        None, description="URL of the OTLP/HTTP collector, e.g. http://otel-collector:4318; unset: no traces."
    )
    sample_ratio: float = Field(
        1.0, ge=0, le=1, description="Share of the requests without a `traceparent` that are traced."
    )


class Settings(_Group):
    """All settings of the worker, by group."""

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
                "the playground's time-out + 30, or a shutdown would cut off running deployments"
            )
        return self


class GatewayProcessSettings(_Group):
    """The settings of `gateway`. Groups of the worker alone are ignored, so that both can share one environment."""

    kafka: KafkaSettings
    auth: AuthSettings
    catalog: CatalogSettings
    artifacts: ArtifactsSettings
    gateway: GatewaySettings
    bundle: BundleSettings = BundleSettings()
    runtime: RuntimeSettings = RuntimeSettings()
    tracing: TracingSettings = TracingSettings()


class BuilderSettings(_Group):
    """The settings of `bundle`: no Kafka, no tokens, no playground."""

    catalog: CatalogSettings
    artifacts: ArtifactsSettings
    bundle: BundleSettings = BundleSettings()


class ClientSettings(_Group):
    """The settings of the commands that use Kafka alone."""

    kafka: KafkaSettings


_MAY_BE_EMPTY = frozenset({"image_pull_secret", "source_system_url"})

_Model = TypeVar("_Model", bound=BaseModel)


def read_settings(environ: Mapping[str, str], model: type[_Model]) -> _Model:
    """Read the groups of `model`, one of the models above, from the environment.

    Raises ConfigurationError with one line for every unknown, missing or invalid variable.
    """
    values: dict[str, dict[str, str]] = {group: {} for group in model.model_fields}
    problems: list[str] = []
    for name, value in sorted(environ.items()):
        if not name.startswith(PREFIX) or "__" not in name or name != name.upper():
            problems += _misspelling(name, value)
            continue
        group, _, key = name.removeprefix(PREFIX).lower().partition("__")
        fields = _group_fields(group)
        if key not in fields and key.removesuffix("_file") in _secrets(fields):
            key = key.removesuffix("_file")
            text = _read_secret(name, value, problems)
        else:
            text = value
        if key not in fields:
            problems.append(f"{name}: unknown setting; {_hint(name)}")
        elif (text or key in _MAY_BE_EMPTY) and group in values:
            if key in values[group]:
                problems.append(f"{name}: both the value and its file are set; set one")
            values[group][key] = text
    try:
        settings = model.model_validate(values)
    except ValidationError as error:
        problems += [_explain(detail) for detail in error.errors(include_input=False, include_url=False)]
    if problems:
        raise ConfigurationError("\n".join(problems))
    return settings


def secret_values(settings: Settings | GatewayProcessSettings) -> list[str]:
    """Return every secret in the settings, and each login in its HTTP Basic form, for the log to hide."""
    values: list[str] = []
    for _, group in settings:
        secrets = {name: value.get_secret_value() for name, value in group if isinstance(value, SecretStr)}
        values += secrets.values()
        if "password" in secrets:
            values.append(b64encode(f"{group.username}:{secrets['password']}".encode()).decode())
    return values


def _group_fields(group: str) -> Mapping[str, FieldInfo]:
    field = Settings.model_fields.get(group) or GatewayProcessSettings.model_fields.get(group)
    return field.annotation.model_fields if field and field.annotation else {}


def setting_names() -> list[str]:
    """Return the names of all variables, including those that name a secret's file."""
    names = []
    for group in Settings.model_fields | GatewayProcessSettings.model_fields:
        fields = _group_fields(group)
        names += [f"{PREFIX}{group}__{key}".upper() for key in fields]
        names += [f"{PREFIX}{group}__{key}_file".upper() for key in sorted(_secrets(fields))]
    return names


def _misspelling(name: str, value: str) -> list[str]:
    """Return the problem with a variable that differs from a setting by underscores or case; none for any other."""
    upper = name.upper()
    if not upper.startswith(PREFIX.rstrip("_")) or _is_service_variable(name, value):
        return []
    setting = {_letters(known): known for known in setting_names()}.get(_letters(upper))
    if setting:
        return [f"{name}: unknown setting; did you mean {setting}?"]
    return [f"{name}: unknown setting; {_hint(upper)}"] if upper.startswith(PREFIX) and "__" in upper else []


def _is_service_variable(name: str, value: str) -> bool:
    """Return whether Kubernetes sets the variable for a Service: DEPLOYER_GATEWAY_HTTP_PORT=tcp://10.0.0.1:80."""
    return name.endswith("_PORT") and re.match(r"[a-z]+://", value) is not None


def _letters(name: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", name)


def _hint(name: str) -> str:
    """Return the setting that an unknown name resembles, or where all settings are listed."""
    known = [setting.removeprefix(PREFIX) for setting in setting_names()]
    likely = get_close_matches(name.removeprefix(PREFIX), known, 1)
    return f"did you mean {PREFIX}{likely[0]}?" if likely else "docs/settings.md lists them all"


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
            return f"{name}: invalid format. {description}"
    return f"{name}: {detail['msg']}. {description}"
