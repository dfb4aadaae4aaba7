"""The chart on the node, with an image by the Dockerfile: installed, tested, upgraded under load, scaled, removed."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas import State
from tests.component.chart.rendering import FULL_NAME, RELEASE, find, helm, merged, render
from tests.component.chart.values import CHART, Json
from tests.extended.cluster.api import Api
from tests.extended.live.conftest import Seconds
from tests.extended.live.machine import ADDRESS
from tests.extended.live.node import Node, is_ready
from tests.extended.live.people import timed
from tests.extended.live.worker_image import REPOSITORY, TAG
from tests.support.stage import Stage, open_stage
from tests.support.topics import committed_offsets, unique_name
from worker.sandbox.graphene_data import stored_case
from worker.sandbox.kafka import EmbeddedKafka
from worker.sandbox.kafka_node import HOST, Ports, unused_ports
from worker.sandbox.playground import playground_app
from worker.sandbox.users import User

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(400)]

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
PARTITIONS = 4
SECRETS = {"auth": "secret", "catalog": "password", "artifacts": "password"}  # group → setting, and key in its Secret


class Slowly:
    """A playground that takes as long as a small deployment, and runs nothing."""

    async def check(self, files: dict[str, bytes], username: str, namespace: str) -> None:
        """Take the time of a deployment."""
        await asyncio.sleep(0.3)


@pytest_asyncio.fixture(loop_scope="session")
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """Yield a stage with dependencies that pods reach, and a Kafka with a listener for them."""
    broker, controller, pods = unused_ports(3)
    listeners = f"PLAINTEXT://{HOST}:{broker},PODS://{ADDRESS}:{pods}"
    properties = {
        "listeners": f"{listeners},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": listeners,
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,PODS:PLAINTEXT,CONTROLLER:PLAINTEXT",
    }

    def playground(folder: Path) -> Any:
        return playground_app(folder, allowed_addresses=None, scripts=Slowly())

    async with (
        EmbeddedKafka(pick_ports=lambda: Ports(broker, controller), properties=properties, short_lived=True) as kafka,
        open_stage(
            kafka.bootstrap_servers, unique_name(), tmp_path, PARTITIONS, make_playground=playground, host=ADDRESS
        ) as opened,
    ):
        opened.env["DEPLOYER_KAFKA__BOOTSTRAP_SERVERS"] = f"{ADDRESS}:{pods}"
        yield opened


def values_of(stage: Stage, changes: Json) -> Json:
    """Return the values that an operator writes for this stage."""
    settings: Json = {}
    for name, value in stage.env.items():
        group, _, key = name.removeprefix("DEPLOYER_").lower().partition("__")
        if SECRETS.get(group) != key and key != "create_topics":
            first, *others = key.split("_")
            settings.setdefault(group, {})[first + "".join(map(str.capitalize, others))] = value
    for key in ("partitions", "replicationFactor"):
        settings["kafka"][key] = int(settings["kafka"][key])
    values: Json = {
        "image": {"registry": "images.example", "repository": REPOSITORY, "tag": TAG},
        "settings": settings,
        "secrets": {group: {"existingSecret": "deployer", "key": group} for group in SECRETS},
    }
    return merged(values, changes)


class Release:
    """`helm` in one namespace, where the Secret is."""

    def __init__(self, node: Node, api: Api, stage: Stage, home: Path) -> None:
        self.namespace = unique_name()
        self._api, self._stage, self._home = api, stage, home
        self._access = ("--kubeconfig", str(node.cluster.kubeconfig), "--namespace", self.namespace)
        api.make_namespace(self.namespace, RESTRICTED)
        data = {group: stage.env[f"DEPLOYER_{group}__{key}".upper()] for group, key in SECRETS.items()}
        secret = {"kind": "Secret", "metadata": {"name": "deployer"}, "stringData": data | {"gateway": "k" * 32}}
        api.create(secret, self.namespace)

    def apply(self, verb: str, changes: Json) -> str:
        """Install or upgrade, and wait as an operator does."""
        text = json.dumps(values_of(self._stage, changes))
        more = ("--wait", "--timeout", "180s")
        return helm(verb, RELEASE, str(CHART), *more, *self._access, values=text, home=self._home)

    def run(self, *words: str) -> str:
        """Run another helm command."""
        return helm(*words, RELEASE, *self._access, home=self._home)

    def pods(self) -> list[Json]:
        """Return the pods that are not being deleted."""
        found = self._api.find("Pod", self.namespace)
        return [it for it in found if "deletionTimestamp" not in it["metadata"]]

    def components(self) -> list[str]:
        """Return the components of these pods."""
        return sorted(it["metadata"]["labels"]["app.kubernetes.io/component"] for it in self.pods())


def user(number: int) -> User:
    """Return one of several users."""
    return User(f"user-{number}", f"user-{number}", f"user-{number}@graphene.example")


async def lag(trigger: Json, bootstrap: str) -> int:
    """Return what KEDA's Kafka scaler reads with this metadata: records that the group has not committed."""
    assert ("earliest", "false") == (trigger["offsetResetPolicy"], trigger["excludePersistentLag"])
    committed = await committed_offsets(bootstrap, trigger["consumerGroup"])
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap) as consumer:
        places = [TopicPartition(trigger["topic"], number) for number in range(PARTITIONS)]
        ends = await consumer.end_offsets(places)
    return sum(end - max(0, committed.get(place.partition, 0)) for place, end in ends.items())


async def test_the_chart_from_install_to_uninstall(
    stage: Stage, node: Node, api: Api, seconds: Seconds, tmp_path: Path
) -> None:
    """The chart installs, upgrades under load, scales and uninstalls under `restricted`, and every request deploys."""
    release = Release(node, api, stage, tmp_path / "helm")
    two: Json = {"scaling": {"replicas": 2}}
    gateway: Json = {
        "gateway": {"enabled": True, "replicas": 1},
        "secrets": {"gateway": {"existingSecret": "deployer", "key": "gateway"}},
        "settings": {"gateway": {"publicUrl": "http://gateway.example"}},
    }
    took = await asyncio.to_thread(timed, lambda: release.apply("install", merged(two, gateway)))
    seconds.note("chart", "ready", took)
    assert ["gateway", "worker", "worker"] == release.components()
    assert all(map(is_ready, release.pods()))
    assert all(0 == it["status"]["containerStatuses"][0]["restartCount"] for it in release.pods())

    stored = stored_case("sudoku")
    await stage.ask(stored, "first")
    assert [State.DEPLOYED] == [it[-1].state for it in (await stage.until_final(["first"])).values()]
    assert "Phase:          Succeeded" in await asyncio.to_thread(release.run, "test")

    # Under load: 60 requests of ten users, published while every pod is replaced.
    upgrade = asyncio.create_task(
        asyncio.to_thread(
            release.apply, "upgrade", merged(two, gateway, {"settings": {"runtime": {"logLevel": "debug"}}})
        )
    )
    asked = [f"loaded-{number}" for number in range(60)]
    for number, request_id in enumerate(asked):
        await stage.ask(stored, request_id, user(number % 10))
        await asyncio.sleep(0.1)  # the load is spread over the update
    await upgrade
    ends = await stage.until_final(asked)
    assert {State.DEPLOYED} == {it[-1].state for it in ends.values()}
    assert not any(status.state is State.PARKED for it in ends.values() for status in it)

    # Without workers, the autoscaler's metric is the number of waiting records.
    [trigger] = find(render(values_of(stage, {"scaling": {"mode": "keda"}})), "ScaledObject")["spec"]["triggers"]
    read = trigger["metadata"]
    assert 0 == await lag(read, stage.bootstrap)
    await asyncio.to_thread(release.apply, "upgrade", {"scaling": {"replicas": 0}})
    waiting = [f"waiting-{number}" for number in range(40)]
    for number, request_id in enumerate(waiting):
        await stage.ask(stored, request_id, user(number % 10))
    assert 40 == await lag(read, stage.bootstrap)
    assert 2 == -(-40 // int(read["lagThreshold"]))  # the number of pods that it would want
    await asyncio.to_thread(release.apply, "upgrade", two)
    assert {State.DEPLOYED} == {it[-1].state for it in (await stage.until_final(waiting)).values()}

    assert FULL_NAME in {it["metadata"]["name"] for it in api.find("Deployment", release.namespace)}
    await asyncio.to_thread(release.run, "uninstall")
    assert ["check"] == release.components()  # helm keeps the pod of its test
