"""Settings: environment variables `DEPLOYER_<GROUP>__<NAME>`, as one frozen model with a sentence per field.

Every secret can be given as a file instead: `DEPLOYER_AUTH__SECRET_FILE=/run/secrets/jwt`.
An empty value counts as unset, unless the setting's sentence says otherwise. Unknown names `DEPLOYER_*__*` are an
error, so that a typo does not silently become a default, and so is a setting's name with other underscores or in other
case. Other names that begin with `DEPLOYER` are ignored, because Kubernetes sets such variables for Services.
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
# No user, no password, no query: `check` and the log show URLs.
HttpUrl = Annotated[str, Field(pattern=r"^https?://([^\s/?#@:\[\]]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[^\s?#@]*)?$")]
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
        description="Number of partitions of the requests topic, whoever created it: topics are made with so many, and "
        "more pods would be idle.",
    )
    replication_factor: int = Field(3, ge=1, description="Replication factor of the topics that the worker creates.")

    @model_validator(mode="after")
    def _four_topics(self) -> Self:
        """Reject one topic for two purposes: a worker that reads its own statuses as requests never ends."""
        names = ("requests_topic", "status_topic", "settlements_topic", "dead_letter_topic")
        for first, second in combinations(names, 2):
            if (topic := getattr(self, first)) == getattr(self, second):
                both = " and ".join(f"{PREFIX}KAFKA__{name.upper()}" for name in (first, second))
                raise ValueError(f"{both}: both are '{topic}'. Each of the four needs a topic of its own")
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
        900, ge=0, description="How long a token may wait in Kafka and still be judged by the time of its arrival."
    )
    allow_weak_secret: bool = Field(False, description="Whether to accept a secret of fewer than 16 bytes, decoded.")

    @model_validator(mode="after")
    def _one_kind_of_key(self) -> Self:
        """Reject a mix-up, with which a public key would be used as a secret."""
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
        True, description="Whether to check that the user may read the solution, and its author the protobufs in it."
    )
    protobufs_of_unknown: Literal["refuse", "allow"] = Field(
        "refuse",
        description="What becomes of a pipeline with a protobuf whose path names no solution, so that nobody's access "
        "can be checked.",
    )
    timeout_seconds: Seconds = Field(10, description="Time-out of a request.")


class ArtifactsSettings(_Group):
    """The Nexus repository of blueprints and protobufs."""

    url: HttpUrl = Field(description="URL of the repository, e.g. https://artifacts.example/models.")
    username: str = Field(description="User name for HTTP Basic.")
    password: SecretStr = Field(description="Password for HTTP Basic.")
    timeout_seconds: Seconds = Field(10, description="Time-out of a file.")
    cache_bytes: int = Field(
        4 * 1024 * 1024,
        ge=0,
        description="Maximum memory for files that are kept for 10 minutes instead of being fetched again, in bytes; "
        "0: none. Only files that are proven to be what was asked for are kept: by the checksum that Nexus sends, or "
        "the size in Graphene's database.",
    )


class PlaygroundSettings(_Group):
    """The playground server."""

    deploy_url: Annotated[str, Field(pattern=r"^https?://[^\s?#@]+/deploy_solution$")] = Field(
        description="URL to which bundles are POSTed; it ends in /deploy_solution."
    )
    public_url: HttpUrl | None = Field(
        None,
        description="URL of the playground as users reach it, for the links in statuses; unset: `DEPLOY_URL` without "
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
        259200, description="How long a parked request waits to be resolved; then it is `failed` as `unresolved`."
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
    storage_class: str | None = Field(None, description="Storage class of shared folders; unset: the default one.")
    storage_size: Annotated[str, Field(pattern=r"^[1-9][0-9]*([EPTGMK]i?|k)?$")] = Field(
        "1Gi", description="Size of a shared folder, as a Kubernetes quantity."
    )
    source_system_url: str = Field("", description="Public URL of Graphene, for links from a deployment back to it.")
    max_nodes: int = Field(
        200, ge=1, le=300, description="Maximum number of nodes of a pipeline; at most 300 fit into a status."
    )
    max_shared_folders: int = Field(10, ge=1, le=50, description="Maximum number of shared folders of a pipeline.")
    reserved_namespaces: Annotated[str, Field(pattern=r"^[a-z0-9*-]+(,[a-z0-9*-]+)*$")] = Field(
        "default,kube,kube-*,kubernetes,kubernetes-*,openshift,openshift-*,argocd,calico-apiserver,calico-system,"
        "cattle-fleet-system,cattle-system,cert-manager,flux-system,gatekeeper-system,ingress-nginx,istio-system,"
        "knative-eventing,knative-serving,kyverno,linkerd,longhorn-system,metallb-system,rook-ceph,tigera-operator,velero",
        description="Names of the cluster's own namespaces, separated by commas; `*` stands for anything. No pipeline "
        "gets one of them.",
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
    max_buffered_records: int = Field(1000, ge=1, description="Maximum number of records read and not finished.")
    max_buffered_bytes: int = Field(16 * 1024 * 1024, ge=1, description="Maximum size of these records, in bytes.")
    max_open_requests_per_user: int = Field(
        50,
        ge=1,
        description="Maximum number of requests of one user that are accepted and neither ended nor parked; further "
        "ones are rejected.",
    )
    max_bytes_in_flight: int = Field(
        160 * 1024 * 1024,
        ge=64 * 1024 * 1024,
        description="Maximum size of what is fetched and built at the same time for large solutions, in bytes; small "
        "ones (256 KiB) do not count.",
    )
    request_deadline_seconds: Seconds = Field(
        3600,
        description="How long a request is retried, with pauses of 0.5 to 60 s, or longer when the playground asks for "
        "it, not counting the time while a dependency is known to be down.",
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
        description="Secret of at least 32 characters with which the session cookies are signed; all replicas have the "
        "same one."
    )
    http_port: int = Field(8081, ge=0, le=65535, description="Port of the gateway; 0: any free port.")
    public_url: PublicUrl = Field(
        "http://localhost:8081",
        description="URL of the gateway as browsers reach it, with the prefix that an ingress may strip, e.g. "
        "https://graphene.example/playground-deployer; a host in letters of other scripts as `xn--…`, and a path of "
        "letters, digits, `-`, `.`, `_` and `~`.",
    )
    portal_url: HttpUrl | None = Field(
        None, description="URL of Graphene's portal, which pages link to when someone has to log in; unset: no link."
    )
    wait_seconds: float = Field(
        3, ge=0, le=300, description="How long /deploy waits for the deployment before it shows the request's page."
    )
    again_seconds: float = Field(
        60,
        ge=0,
        description="How long after its end a reloaded /deploy shows a request instead of deploying again.",
    )
    admin_role: str | None = Field(
        None,
        description="Role in a token whose users see all requests and may settle and replay; unset: nobody.",
    )
    max_open_requests: int = Field(
        20, ge=1, description="Maximum number of open requests of one user; further ones are answered with 429."
    )
    max_requests_per_minute: int = Field(
        120,
        ge=1,
        description="Maximum number of HTTP requests of a user in a minute; more are answered with 429.",
    )
    max_streams: int = Field(1000, ge=1, description="Maximum number of event streams.")
    max_streams_per_user: int = Field(10, ge=1, description="Maximum number of event streams of one user.")
    view_max_requests: int = Field(
        100_000,
        ge=1,
        description="Maximum number of requests kept in memory to be shown; what ended first goes first.",
    )
    view_max_bytes: int = Field(112 * 1024 * 1024, ge=1, description="Maximum size of what is kept of them, in bytes.")

    notify: bool = Field(
        False,
        description="Whether Graphene's portal notifies users, behind its bell, when their requests have ended; one "
        "process of all replicas does it for each partition.",
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
            raise ValueError("DEPLOYER_GATEWAY__SESSION_KEY: it has fewer than 32 characters. Choose a longer one")
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
    """All settings, by group."""

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
    """The settings of `gateway`; those that only the worker needs are ignored, so that both can share them."""

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
    """The settings of the commands that only use Kafka."""

    kafka: KafkaSettings


_MAY_BE_EMPTY = frozenset({"image_pull_secret", "source_system_url"})

_Model = TypeVar("_Model", bound=BaseModel)


def read_settings(environ: Mapping[str, str], model: type[_Model]) -> _Model:
    """Read the groups of `model` (Settings, BuilderSettings, ClientSettings) from the environment.

    Raises ConfigurationError, which names every unknown, missing or invalid variable.
    """
    values: dict[str, dict[str, str]] = {group: {} for group in model.model_fields}
    problems: list[str] = []
    for name, value in sorted(environ.items()):
        if not name.startswith(PREFIX) or "__" not in name or name != name.upper():
            problems += _misspelt(name, value)
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
    """Return every secret in the settings, and each login in its HTTP Basic form."""
    found: list[str] = []
    for _, group in settings:
        secrets = {name: value.get_secret_value() for name, value in group if isinstance(value, SecretStr)}
        found += secrets.values()
        if "password" in secrets:
            found.append(b64encode(f"{group.username}:{secrets['password']}".encode()).decode())
    return found


def _group_fields(group: str) -> Mapping[str, FieldInfo]:
    field = Settings.model_fields.get(group) or GatewayProcessSettings.model_fields.get(group)
    return field.annotation.model_fields if field and field.annotation else {}


def setting_names() -> list[str]:
    """Return the names of all variables, with those of the files of secrets."""
    names = []
    for group in Settings.model_fields | GatewayProcessSettings.model_fields:
        fields = _group_fields(group)
        names += [f"{PREFIX}{group}__{key}".upper() for key in fields]
        names += [f"{PREFIX}{group}__{key}_file".upper() for key in sorted(_secrets(fields))]
    return names


def _misspelt(name: str, value: str) -> list[str]:
    """Return what is wrong with a variable that is none of ours, if it is one but for underscores and case."""
    upper = name.upper()
    if not upper.startswith(PREFIX.rstrip("_")) or _is_of_a_service(name, value):
        return []
    meant = {_letters(known): known for known in setting_names()}.get(_letters(upper))
    if meant:
        return [f"{name}: unknown setting; did you mean {meant}?"]
    return [f"{name}: unknown setting; {_hint(upper)}"] if upper.startswith(PREFIX) and "__" in upper else []


def _is_of_a_service(name: str, value: str) -> bool:
    """Tell whether it is a variable like DEPLOYER_GATEWAY_HTTP_PORT=tcp://10.0.0.1:80, which Kubernetes sets."""
    return name.endswith("_PORT") and re.match(r"[a-z]+://", value) is not None


def _letters(name: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", name)


def _hint(name: str) -> str:
    """Return what may be meant by an unknown name."""
    known = [it.removeprefix(PREFIX) for it in setting_names()]
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
