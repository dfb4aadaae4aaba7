"""Settings: what is read from the environment, and how wrong values are rejected."""

from itertools import combinations
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from worker.errors import ConfigurationError
from worker.settings import (
    PREFIX,
    BuilderSettings,
    ClientSettings,
    GatewaySettings,
    Settings,
    read_settings,
    setting_names,
)

SECRETS = {
    "DEPLOYER_AUTH__SECRET": "first-canary-9137",
    "DEPLOYER_CATALOG__PASSWORD": "second-canary-9137",
    "DEPLOYER_ARTIFACTS__PASSWORD": "third-canary-9137",
}
REQUIRED = SECRETS | {
    "DEPLOYER_KAFKA__BOOTSTRAP_SERVERS": "kafka:9092",
    "DEPLOYER_CATALOG__URL": "http://cds-service:8000/ccds",
    "DEPLOYER_CATALOG__USERNAME": "ccds_client",
    "DEPLOYER_ARTIFACTS__URL": "https://nexus.example/repository/models",
    "DEPLOYER_ARTIFACTS__USERNAME": "reader",
    "DEPLOYER_PLAYGROUND__DEPLOY_URL": "https://playground.example/deploy_solution",
}


def refusal(**changes: str) -> str:
    """Return the error message for the changed environment."""
    with pytest.raises(ConfigurationError) as refused:
        read_settings(REQUIRED | changes, Settings)
    return str(refused.value)


def test_required_settings_are_enough() -> None:
    """With the required variables set, all others have a default."""
    settings = read_settings(REQUIRED, Settings)

    assert "kafka:9092" == settings.kafka.bootstrap_servers
    assert SecretStr("first-canary-9137") == settings.auth.secret
    assert 12 == settings.kafka.partitions


@pytest.mark.parametrize(
    ("name", "value", "group", "field", "expected"),
    [
        ("DEPLOYER_KAFKA__PARTITIONS", "3", "kafka", "partitions", 3),
        ("DEPLOYER_KAFKA__CREATE_TOPICS", "true", "kafka", "create_topics", True),
        ("DEPLOYER_KAFKA__SSL_CA_FILE", "/etc/ca.pem", "kafka", "ssl_ca_file", Path("/etc/ca.pem")),
        ("DEPLOYER_KAFKA__SASL_PASSWORD", "x", "kafka", "sasl_password", SecretStr("x")),
        ("DEPLOYER_AUTH__LEEWAY_SECONDS", "0", "auth", "leeway_seconds", 0.0),
        ("DEPLOYER_AUTH__ALGORITHM", "HS256", "auth", "algorithm", "HS256"),
        ("DEPLOYER_CATALOG__CHECK_ACCESS", "false", "catalog", "check_access", False),
        ("DEPLOYER_PLAYGROUND__TIMEOUT_SECONDS", "12.5", "playground", "timeout_seconds", 12.5),
        ("DEPLOYER_BUNDLE__STORAGE_SIZE", "500Mi", "bundle", "storage_size", "500Mi"),
        ("DEPLOYER_RUNTIME__HTTP_PORT", "0", "runtime", "http_port", 0),
        ("DEPLOYER_RUNTIME__LOG_LEVEL", "", "runtime", "log_level", "info"),
    ],
)
def test_value_is_read(name: str, value: str, group: str, field: str, expected: object) -> None:
    """A variable sets the field of its group; an empty variable counts as unset."""
    settings = read_settings(REQUIRED | {name: value}, Settings)

    assert expected == getattr(getattr(settings, group), field)


@pytest.mark.parametrize("name", [name for name in REQUIRED if name != "DEPLOYER_AUTH__SECRET"])
def test_missing_setting_is_named(name: str) -> None:
    """A missing required variable is reported with its description, and nothing else is."""
    environment = {key: value for key, value in REQUIRED.items() if key != name}

    with pytest.raises(ConfigurationError) as refused:
        read_settings(environment, Settings)

    group, field = name.removeprefix(PREFIX).lower().split("__")
    description = _fields(group)[field]
    assert f"{name}: missing. {description}" == str(refused.value)


def test_everything_wrong_is_named_at_once() -> None:
    """One start reports everything that is missing."""
    with pytest.raises(ConfigurationError) as refused:
        read_settings({}, Settings)

    assert sorted(REQUIRED) == sorted(line.split(":")[0].split(" or ")[0] for line in str(refused.value).splitlines())


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("DEPLOYER_KAFKA__BOOTSTRAP_SERVER", "DEPLOYER_KAFKA__BOOTSTRAP_SERVERS"),
        ("DEPLOYER_KAKFA__PARTITIONS", "DEPLOYER_KAFKA__PARTITIONS"),
        ("DEPLOYER___PARTITIONS", "DEPLOYER_KAFKA__PARTITIONS"),
        ("DEPLOYER_KAFKA__PARTITIONS__MORE", "DEPLOYER_KAFKA__PARTITIONS"),
        ("DEPLOYER_KAFKA__PARTITIONS_FILE", "DEPLOYER_KAFKA__PARTITIONS"),
        ("DEPLOYER_GATEWAY__PUBLIC_ULR", "DEPLOYER_GATEWAY__PUBLIC_URL"),
        ("DEPLOYER_X__", ""),
    ],
)
def test_unknown_setting_is_refused(name: str, meant: str) -> None:
    """A misspelled variable is rejected with the closest name, and never silently becomes a default."""
    hint = f"did you mean {meant}?" if meant else "docs/settings.md lists them all"
    assert f"{name}: unknown setting; {hint}" == refusal(**{name: "1"})


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("DEPLOYER_KAFKA_GROUP_ID", "DEPLOYER_KAFKA__GROUP_ID"),
        ("DEPLOYERKAFKA__GROUP_ID", "DEPLOYER_KAFKA__GROUP_ID"),
        ("DEPLOYER_KAFKA_GROUPID", "DEPLOYER_KAFKA__GROUP_ID"),
        ("DEPLOYER___KAFKA___GROUP_ID", "DEPLOYER_KAFKA__GROUP_ID"),
        ("deployer_kafka__group_id", "DEPLOYER_KAFKA__GROUP_ID"),
        ("DEPLOYER_kafka__group_id", "DEPLOYER_KAFKA__GROUP_ID"),
        ("deployer.kafka.group-id", "DEPLOYER_KAFKA__GROUP_ID"),
        ("deployer_kafka__group_idd", "DEPLOYER_KAFKA__GROUP_ID"),
        ("DEPLOYER_AUTH_SECRET", "DEPLOYER_AUTH__SECRET"),
        ("DEPLOYER_AUTH_SECRET_FILE", "DEPLOYER_AUTH__SECRET_FILE"),
        ("DEPLOYER_RUNTIME_HTTP_PORT", "DEPLOYER_RUNTIME__HTTP_PORT"),
    ],
)
@pytest.mark.parametrize("model", [Settings, ClientSettings])
def test_a_name_with_other_underscores_or_case_is_refused(name: str, meant: str, model: type[Settings]) -> None:
    """A name with other underscores or case is rejected; otherwise the default would silently stay in force."""
    with pytest.raises(ConfigurationError) as refused:
        read_settings(REQUIRED | {name: "canary-9137"}, model)

    assert f"{name}: unknown setting; did you mean {meant}?" == str(refused.value)


@pytest.mark.parametrize("name", setting_names())
def test_every_setting_is_missed_with_one_underscore(name: str) -> None:
    """With one underscore too few, every setting is recognised and suggested by its own name."""
    mistaken = name.replace("__", "_")

    assert f"{mistaken}: unknown setting; did you mean {name}?" == refusal(**{mistaken: "1"})


@pytest.mark.parametrize(
    "name",
    [
        *("DEPLOYER_SERVICE_HOST", "DEPLOYER_PORT", "DEPLOYER_PORT_8080_TCP_ADDR", "DEPLOYER_KAFKA_SERVICE_HOST"),
        *("DEPLOYER_GATEWAY_PORT_8081_TCP", "DEPLOYER_GATEWAY_HTTP_PORT", "DEPLOYER_GATEWAY_SERVICE_PORT_HTTP"),
        *("DEPLOYER_TOKEN", "DEPLOYER", "KAFKA__PARTITIONS", "PATH"),
    ],
)
def test_other_names_are_left_alone(name: str) -> None:
    """Variables that Kubernetes sets for a service called deployer, and unrelated variables, are ignored."""
    assert read_settings(REQUIRED, Settings) == read_settings(REQUIRED | {name: "tcp://10.0.0.1:80"}, Settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEPLOYER_KAFKA__PARTITIONS", "many"),
        ("DEPLOYER_KAFKA__PARTITIONS", "0"),
        ("DEPLOYER_KAFKA__CREATE_TOPICS", "perhaps"),
        ("DEPLOYER_KAFKA__SECURITY_PROTOCOL", "TLS"),
        ("DEPLOYER_AUTH__ALGORITHM", "none"),
        ("DEPLOYER_AUTH__JWKS_URL", "issuer.example/keys"),
        ("DEPLOYER_AUTH__JWKS_URL", "file:///etc/keys"),
        ("DEPLOYER_AUTH__JWKS_URL", "https://user:canary-9137@issuer.example/keys"),
        ("DEPLOYER_AUTH__JWKS_URL", "https://issuer.example/keys#canary-9137"),
        ("DEPLOYER_AUTH__LEEWAY_SECONDS", "121"),
        ("DEPLOYER_CATALOG__URL", "cds-service:8000"),
        ("DEPLOYER_CATALOG__URL", "http://user:canary-9137@cds-service/ccds"),
        ("DEPLOYER_CATALOG__URL", "http://user:canary/9137@cds-service/ccds"),
        ("DEPLOYER_CATALOG__URL", "http://cds-service:canary-9137/ccds"),
        ("DEPLOYER_CATALOG__URL", "http://[::1/ccds"),
        ("DEPLOYER_CATALOG__URL", "http://:80/ccds"),
        ("DEPLOYER_PLAYGROUND__DEPLOY_URL", "https://playground.example/"),
        ("DEPLOYER_PLAYGROUND__TIMEOUT_SECONDS", "0"),
        ("DEPLOYER_BUNDLE__STORAGE_SIZE", "big"),
        ("DEPLOYER_BUNDLE__RESERVED_NAMESPACES", "*"),
        ("DEPLOYER_BUNDLE__RESERVED_NAMESPACES", "a,*-"),
        ("DEPLOYER_BUNDLE__RESERVED_NAMESPACES", "a,"),
        ("DEPLOYER_BUNDLE__RESERVED_NAMESPACES", "a b"),
        ("DEPLOYER_BUNDLE__RESERVED_NAMESPACES", "Platform"),
        ("DEPLOYER_RUNTIME__HTTP_PORT", "65536"),
        ("DEPLOYER_BUNDLE__MAX_NODES", "501"),
        ("DEPLOYER_RUNTIME__LOG_LEVEL", "trace"),
    ],
)
def test_wrong_value_is_refused_by_name(name: str, value: str) -> None:
    """A wrong value is reported by its variable and not shown: it may be a misplaced secret."""
    message = refusal(**{name: value})

    assert message.startswith(f"{name}: ")
    assert 1 == len(message.splitlines())
    assert "canary" not in message


KEYS = {"DEPLOYER_AUTH__JWKS_URL": "https://issuer.example/keys", "DEPLOYER_AUTH__SECRET": ""}


@pytest.mark.parametrize(
    "algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
)
def test_public_keys_in_place_of_a_secret(algorithm: str) -> None:
    """A JWKS URL and its algorithm are enough; an empty secret counts as unset."""
    auth = read_settings(REQUIRED | KEYS | {"DEPLOYER_AUTH__ALGORITHM": algorithm}, Settings).auth

    assert (None, "https://issuer.example/keys", algorithm) == (auth.secret, auth.jwks_url, auth.algorithm)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"DEPLOYER_AUTH__SECRET": ""},
            (
                "DEPLOYER_AUTH__SECRET or DEPLOYER_AUTH__JWKS_URL: neither is set; set one, "
                "the portal's secret or the URL of public keys"
            ),
        ),
        (
            {"DEPLOYER_AUTH__JWKS_URL": "https://issuer.example/keys", "DEPLOYER_AUTH__ALGORITHM": "RS256"},
            (
                "DEPLOYER_AUTH__SECRET or DEPLOYER_AUTH__JWKS_URL: both are set; set one, "
                "the portal's secret or the URL of public keys"
            ),
        ),
        *(
            (
                KEYS | algorithm,
                (
                    f"DEPLOYER_AUTH__ALGORITHM: {name} requires DEPLOYER_AUTH__SECRET; "
                    "with DEPLOYER_AUTH__JWKS_URL set its keys' algorithm, e.g. RS256"
                ),
            )
            for name, algorithm in {"HS512": {}, "HS256": {"DEPLOYER_AUTH__ALGORITHM": "HS256"}}.items()
        ),
        *(
            (
                {"DEPLOYER_AUTH__ALGORITHM": name},
                (
                    f"DEPLOYER_AUTH__ALGORITHM: {name} requires DEPLOYER_AUTH__JWKS_URL; "
                    "with DEPLOYER_AUTH__SECRET use HS512"
                ),
            )
            for name in ("RS256", "PS512", "ES384", "EdDSA")
        ),
    ],
)
def test_exactly_one_kind_of_key(changes: dict[str, str], message: str) -> None:
    """A secret or public keys must be set, with a matching algorithm: any mix could use a public key as a secret."""
    assert message == refusal(**changes)


TOPICS = [f"DEPLOYER_KAFKA__{name}_TOPIC" for name in ("REQUESTS", "STATUS", "SETTLEMENTS", "DEAD_LETTER")]


@pytest.mark.parametrize(("first", "second"), [*combinations(TOPICS, 2)])
@pytest.mark.parametrize("model", [Settings, ClientSettings])
def test_no_two_topics_are_one(first: str, second: str, model: type[Settings]) -> None:
    """Two topics must not have one name: a request whose statuses are read as requests would never finish."""
    with pytest.raises(ConfigurationError) as refused:
        read_settings(REQUIRED | {first: "one", second: "one"}, model)

    assert f"{first} and {second}: both are 'one'. Each of the four needs its own topic" == str(refused.value)


def test_a_topic_with_another_one_s_default_name() -> None:
    """A configured name is also compared with the defaults of other topics."""
    assert f"{TOPICS[0]} and {TOPICS[1]}: both are " in refusal(**{TOPICS[1]: "playground.deployment.requests"})


def test_stop_outlasts_a_deployment() -> None:
    """A drain shorter than the playground's time-out + 30 s is rejected: it would cut running deployments off."""
    slow = {"DEPLOYER_PLAYGROUND__TIMEOUT_SECONDS": "400"}

    assert "DEPLOYER_RUNTIME__DRAIN_SECONDS must be at least 430" in refusal(**slow)
    assert (
        430
        == read_settings(REQUIRED | slow | {"DEPLOYER_RUNTIME__DRAIN_SECONDS": "430"}, Settings).runtime.drain_seconds
    )


@pytest.mark.parametrize("name", [*SECRETS, "DEPLOYER_KAFKA__SASL_PASSWORD"])
def test_secret_comes_from_a_file(name: str, tmp_path: Path) -> None:
    """Every secret can come from a file; a trailing line break, as editors add it, is removed."""
    file = tmp_path / "secret"
    file.write_text(" from a file \n")
    environment = {key: value for key, value in REQUIRED.items() if key != name} | {f"{name}_FILE": str(file)}

    settings = read_settings(environment, Settings)

    group, field = name.removeprefix(PREFIX).lower().split("__")
    assert SecretStr(" from a file ") == getattr(getattr(settings, group), field)


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A file that cannot be read stops the start and names its variable."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for path, reason in ((tmp_path / "absent", "FileNotFoundError"), (tmp_path / "binary", "UnicodeDecodeError")):
        message = refusal(DEPLOYER_KAFKA__SASL_PASSWORD_FILE=str(path))
        assert f"DEPLOYER_KAFKA__SASL_PASSWORD_FILE: cannot read the file ({reason})" == message


def test_value_and_file_together_are_refused(tmp_path: Path) -> None:
    """A value together with its file is rejected instead of guessing which of them counts."""
    (tmp_path / "secret").write_text("from a file")

    message = refusal(DEPLOYER_AUTH__SECRET_FILE=str(tmp_path / "secret"))

    assert "DEPLOYER_AUTH__SECRET_FILE: both the value and its file are set; set one" == message


def test_secrets_are_never_shown() -> None:
    """No form of the settings and no error message shows a secret."""
    settings = read_settings(REQUIRED, Settings)
    shown = [
        *(repr(settings), str(settings), f"{settings}", repr(settings.auth), repr(settings.model_dump())),
        settings.model_dump_json(),
        refusal(DEPLOYER_RUNTIME__DRAIN_SECONDS="1", DEPLOYER_KAFKA__PARTITIONS="x", DEPLOYER_AUTH__SECRETS="x"),
    ]

    assert [] == [text for text in shown if "canary" in text]


def test_settings_do_not_change() -> None:
    """Settings are frozen after the start."""
    with pytest.raises(ValueError, match="frozen"):
        read_settings(REQUIRED, Settings).runtime.http_port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("model", "groups"), [(BuilderSettings, ("CATALOG", "ARTIFACTS")), (ClientSettings, ("KAFKA",))]
)
def test_a_command_asks_only_for_what_it_uses(
    model: type[BuilderSettings] | type[ClientSettings], groups: tuple[str, ...]
) -> None:
    """A command needs only its own settings: `bundle` no Kafka, `submit` no catalog.

    Variables of other groups are known and not read.
    """
    needed = {name: value for name, value in REQUIRED.items() if name.split("__")[0].removeprefix(PREFIX) in groups}

    assert read_settings(needed, model) == read_settings(REQUIRED, model)


@pytest.mark.parametrize("group", Settings.model_fields)
def test_every_setting_is_explained(group: str) -> None:
    """Every setting has a description."""
    descriptions = _fields(group)

    assert descriptions
    assert [] == [name for name, text in descriptions.items() if not text.endswith(".")]


def _fields(group: str) -> dict[str, str]:
    model = Settings.model_fields[group].annotation
    assert model is not None
    return {name: field.description or "" for name, field in model.model_fields.items()}


@pytest.mark.parametrize(
    "path",
    ["//evil.example", "/a//b", "/a//", "/a%20b", "/ä", "/{x}", "/..", "/a/../b", "/.", '/"', "/a;b", "/a b", "/a\\b"],
)
def test_the_gateways_path_is_one_that_is_served(path: str) -> None:
    """A path that a route, a link or a cookie would read differently is rejected at the start."""
    with pytest.raises(ValidationError, match="public_url"):
        GatewaySettings.model_validate({"session_key": "k" * 32, "public_url": f"https://a.example{path}"})


@pytest.mark.parametrize("host", ["ä.example", "a.example:65536", "a.example:0x50", "a b.example", '"', "[::g]", "[1]"])
def test_the_gateways_host_is_one_that_browsers_write(host: str) -> None:
    """A host that no browser sends in `Origin` is rejected: only ASCII letters and valid ports occur there."""
    with pytest.raises(ValidationError, match="public_url"):
        GatewaySettings.model_validate({"session_key": "k" * 32, "public_url": f"https://{host}/p"})


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ("https://Portal.Example:443/Deploy", "https://portal.example/Deploy"),
        ("http://a.example:80", "http://a.example"),
        ("http://a.example:0080/", "http://a.example/"),
        ("http://a.example:443/a-b/c_d~e.f", "http://a.example:443/a-b/c_d~e.f"),
        ("https://[2001:DB8:0::1]:8443", "https://[2001:db8::1]:8443"),
    ],
)
def test_the_gateways_origin_is_written_as_browsers_do(given: str, known: str) -> None:
    """The origin is normalised to lower case without the default port, because forms compare it with `Origin`."""
    assert known == GatewaySettings.model_validate({"session_key": "k" * 32, "public_url": given}).public_url
