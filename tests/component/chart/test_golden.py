from pathlib import Path

import pytest

from tests.component.chart.environment import environment, said_by_values
from tests.component.chart.golden import NAMES, expected, rendered, values_of
from tests.component.chart.helm_binary import HELM_3
from tests.component.chart.judging import pods, problems, restricted_problems
from tests.component.chart.rendering import MIDDLE, NEWEST, OLDEST, find_all, objects, pod, render, text, worker
from tests.component.chart.worker_settings import chart_settings
from worker.settings import GatewayProcessSettings, Settings, read_settings

_NEEDS_NEWER = {"placed"}  # preStopSleepSeconds
_WITH_GATEWAY = [it for it in NAMES if values_of(it).get("gateway", {}).get("enabled")]


@pytest.mark.parametrize("name", NAMES)
def test_the_render_is_the_reviewed_one(name: str) -> None:
    """Each render equals the reviewed file, which `make chart` rewrites and the reviewer checks as a diff."""
    assert expected(name) == rendered(name)


@pytest.mark.parametrize("name", NAMES)
def test_helm_3_says_the_same(name: str) -> None:
    """The oldest supported helm renders the same objects, in a different order."""
    found, of_helm_3 = (objects(it) for it in (expected(name), text(values_of(name), version=HELM_3)))
    assert sorted(found, key=str) == sorted(of_helm_3, key=str)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kubernetes", [OLDEST, MIDDLE, NEWEST])
def test_a_cluster_takes_it(name: str, kubernetes: str) -> None:
    """Three versions of Kubernetes accept the objects, because features that a version lacks are left out."""
    version = MIDDLE if name in _NEEDS_NEWER and kubernetes == OLDEST else kubernetes
    assert [] == problems(render(values_of(name), kubernetes=version), version)


@pytest.mark.parametrize("name", NAMES)
def test_pod_security(name: str) -> None:
    """Every pod passes `restricted`, including those of the gateway and of `helm test`."""
    found = render(values_of(name))
    assert (3 if name in _WITH_GATEWAY else 2) == len(list(pods(found)))
    assert [] == restricted_problems(found)


@pytest.mark.parametrize("name", NAMES)
def test_the_worker_reads_what_values_say(name: str, tmp_path: Path) -> None:
    """From the rendered variables and files the worker reads the settings in the values."""
    found = render(values_of(name))
    settings = read_settings(environment(found, tmp_path), Settings)
    assert Settings.model_validate(said_by_values(values_of(name), tmp_path)) == settings


@pytest.mark.parametrize("name", _WITH_GATEWAY)
def test_the_gateway_reads_what_values_say(name: str, tmp_path: Path) -> None:
    """The gateway reads the settings in the values, and gets no setting that only the worker needs."""
    found = render(values_of(name))
    given = environment(found, tmp_path, "gateway")
    (tmp_path / "gateway-secret").write_text("k" * 32)  # the mounted source's name is too short for a key
    said = said_by_values(values_of(name), tmp_path, "gateway")
    said["gateway"]["session_key"] = "k" * 32
    assert GatewayProcessSettings.model_validate(said) == read_settings(given, GatewayProcessSettings)
    assert [] == [it for it in given if it.startswith("DEPLOYER_PLAYGROUND__")]


@pytest.mark.parametrize("name", [it for it in NAMES if it not in _WITH_GATEWAY])
def test_without_a_gateway_there_is_nothing_of_it(name: str) -> None:
    """The gateway is off by default, and then no object and no variable mentions it."""
    found = render(values_of(name))
    assert [] == [it["kind"] for it in found if it["metadata"]["name"].endswith("-gateway")]
    assert [] == find_all(found, "Ingress") + find_all(found, "HTTPRoute")
    assert [] == [it["name"] for it in worker(found)["env"] if it["name"].startswith("DEPLOYER_GATEWAY")]


@pytest.mark.parametrize("name", NAMES)
def test_check_sees_what_the_worker_sees(name: str) -> None:
    """The pod of `helm test` has the worker's variables, mounts, volumes and image."""
    found = render(values_of(name))
    of_worker = pod(found)
    of_check = dict(next(spec for _, spec in pods(found) if "restartPolicy" in spec))
    assert of_worker["volumes"] == of_check["volumes"]
    shared = ("image", "env", "envFrom", "volumeMounts", "securityContext")
    (check,) = of_check["containers"]
    assert [worker(found).get(key) for key in shared] == [check.get(key) for key in shared]
    assert ["check"] == check["args"]


def test_no_setting_is_left_out() -> None:
    """`every-setting` has every setting, each with a value other than its default."""
    given = values_of("every-setting")["settings"]
    at_default = [it for it in chart_settings() if given.get(it.group, {}).get(it.key, it.default) == it.default]
    # Public keys and a secret exclude each other.
    assert ["jwks_url"] == [it.name for it in at_default]
