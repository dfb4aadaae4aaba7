import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.support.compose import Json, Translated, read_compose
from tests.support.dockerfile import read_dockerfile
from tests.support.paths import ROOT
from worker.sandbox.environment import worker_environment
from worker.sandbox.kafka_installation import VERSION
from worker.settings import GatewayProcessSettings, Settings, read_settings

OURS = ("worker", "gateway", "graphene", "playground")
SCHEMA = ROOT / "tests" / "data" / "compose" / "compose-spec.json"


@pytest.fixture
def services() -> Json:
    found: Json = read_compose()["services"]
    return found


def violations(document: Any) -> list[str]:
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def test_the_file_is_of_the_compose_specification() -> None:
    """The Compose specification's schema accepts the file, and would reject a misspelt key."""
    document = read_compose()
    assert [] == violations(document)
    document["services"]["worker"]["read-only"] = True
    assert 1 == len(violations(document))


def test_the_worker_accepts_its_settings(tmp_path: Path) -> None:
    """Every variable is a known setting, and with the secrets the settings are those of the demo's worker."""
    environment = Translated(tmp_path).environment("worker")
    settings = read_settings(environment, Settings)
    told = worker_environment(
        environment["DEPLOYER_KAFKA__BOOTSTRAP_SERVERS"],
        environment["DEPLOYER_CATALOG__URL"].removesuffix("/ccds"),
        environment["DEPLOYER_PLAYGROUND__PUBLIC_URL"],
        "",
    ) | {it: environment[it] for it in ("DEPLOYER_RUNTIME__HTTP_PORT", "DEPLOYER_PLAYGROUND__DEPLOY_URL")}
    assert read_settings(told, Settings) == settings


def test_the_gateway_accepts_its_settings(tmp_path: Path) -> None:
    """The gateway accepts its settings, shares the worker's, and its URL is its published port."""
    services = Translated(tmp_path)
    settings = read_settings(services.environment("gateway"), GatewayProcessSettings)
    worker = read_settings(services.environment("worker"), Settings)
    assert (worker.auth, worker.catalog, worker.artifacts) == (settings.auth, settings.catalog, settings.artifacts)
    assert worker.kafka == settings.kafka.model_copy(update={"create_topics": True, "replication_factor": 1})
    assert f"http://{services.address('gateway', '8081')}" == settings.gateway.public_url
    document = read_compose()["services"]["gateway"]
    assert ["127.0.0.1:8081:8081"] == document["ports"]
    assert document["environment"]["DEPLOYER_GATEWAY__PUBLIC_URL"] == "http://127.0.0.1:8081"


def test_worker_and_playground_share_a_secret(services: Json) -> None:
    """The worker's URL contains the playground's secret, and links lead to the published port."""
    secret = (ROOT / read_compose()["secrets"]["playground-secret"]["file"]).read_text(encoding="utf-8").strip()
    environment, playground = services["worker"]["environment"], services["playground"]
    expected = f"http://playground:8000/{secret}/deploy_solution"
    assert expected == environment["DEPLOYER_PLAYGROUND__DEPLOY_URL"]
    words = playground["command"]
    assert "/run/secrets/playground-secret" == words[words.index("--secret-file") + 1]
    assert [f"{environment['DEPLOYER_PLAYGROUND__PUBLIC_URL'].removeprefix('http://')}:8000"] == playground["ports"]


def test_a_misspelt_variable_is_refused(tmp_path: Path) -> None:
    """A misspelt variable is rejected, so the tests of settings would notice one."""
    environment = Translated(tmp_path).environment("worker")
    with pytest.raises(Exception, match="DEPLOYER_KAFKA__TOPIC: unknown setting"):
        read_settings(environment | {"DEPLOYER_KAFKA__TOPIC": "x"}, Settings)


def test_nothing_is_reached_from_other_machines(services: Json) -> None:
    """Each published port is bound to 127.0.0.1, and no service uses the host's network."""
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert {"127.0.0.1"} == {port.split(":")[0] for port in ports}
    assert not {"network_mode", "privileged", "pid", "devices", "cap_add"} & {
        key for it in services.values() for key in it
    }


def test_every_image_has_a_version(services: Json) -> None:
    """Kafka's image has the embedded Kafka's version and a digest, and our image is built from this folder."""
    images = {name: service["image"] for name, service in services.items()}
    image, _, digest = images["kafka"].partition("@")
    assert f"apache/kafka:{VERSION}" == image
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest)
    assert {"playground-deployer:compose"} == {images[name] for name in OURS}
    assert "." == services["worker"]["build"]


def test_every_service_can_little_and_comes_back(services: Json) -> None:
    """Every service drops all capabilities, restarts and has a health check, and ours are read-only."""
    for name, service in services.items():
        assert (["ALL"], ["no-new-privileges=true"]) == (service["cap_drop"], service["security_opt"]), name
        assert ("unless-stopped", True) == (service["restart"], "healthcheck" in service), name
        assert "user" not in service, name  # the image's own unprivileged user
    for name in OURS:
        assert (True, 1) == (services[name]["read_only"], len(services[name]["tmpfs"])), name


def test_the_services_fit_the_image(services: Json) -> None:
    """The ports and programs in the file are those of the Dockerfile."""
    last = read_dockerfile((ROOT / "Dockerfile").read_text(encoding="utf-8"), {"PATH": "/usr/bin"})[-1]
    assert f"127.0.0.1:{last.facts['EXPOSE']}:{last.facts['EXPOSE']}" == services["worker"]["ports"][0]
    assert {"sandbox"} == {services[name]["command"][0] for name in ("graphene", "playground")}
    assert "command" not in services["worker"]
    assert ["gateway"] == services["gateway"]["command"]


def test_the_worker_starts_last_and_may_finish(services: Json, tmp_path: Path) -> None:
    """The worker starts once the others are healthy, before the gateway, and a stop leaves it time to drain."""
    assert {"worker": {"condition": "service_healthy"}} == services["gateway"]["depends_on"]
    waits = services["worker"]["depends_on"]
    assert {name: {"condition": "service_healthy"} for name in ("kafka", "graphene", "playground")} == waits
    drain = read_settings(Translated(tmp_path).environment("worker"), Settings).runtime.drain_seconds
    grace = re.fullmatch(r"(\d+)s", services["worker"]["stop_grace_period"])
    assert grace and int(grace[1]) >= drain + 30


def test_what_must_last_is_in_a_volume_with_a_name(services: Json) -> None:
    """Kafka's data is in a named volume that outlives `make down`, and nothing is written into this folder."""
    assert {"kafka-data"} == set(read_compose()["volumes"])
    volumes = {name: service["volumes"] for name, service in services.items() if "volumes" in service}
    assert {"kafka": [f"kafka-data:{services['kafka']['environment']['KAFKA_LOG_DIRS']}"]} == volumes
