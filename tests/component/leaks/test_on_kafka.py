"""A worker process at `debug` on a real Kafka: its log, its pages, and every record it wrote."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import aiohttp
from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.component.leaks.canaries import TOKEN, USER, Watch, token
from tests.component.leaks.test_requests import RECORDS, TOKENS
from tests.component.leaks.world import MODEL, PIPELINE, Echo, canary_graphene
from tests.component.leaks.world import environment as canary_environment
from tests.support.stage import PARTITIONS, Stage, open_stage
from worker.sandbox.graphene import CCDS_PATH
from worker.sandbox.playground import ANY_USER

# The playground's own pages show who deployed what, and its files. They contain no token and no password of ours.
SHOWN_BY_THE_PLAYGROUND = {
    "claim email",
    "password in the blueprint",
    "zip in base64",  # the icon, as an image inside the page
    "zip's description",
    "zip's icon",
    "zip's protobuf",
}


async def everything(stage: Stage, topics: Sequence[str]) -> str:
    """Return all records of these topics: keys, values and headers, except a dead letter's key that is the user's
    id."""
    letters = stage.topics.dead_letter_topic
    consumer = AIOKafkaConsumer(bootstrap_servers=stage.bootstrap, auto_offset_reset="earliest")
    async with consumer:
        places = [TopicPartition(topic, number) for topic in topics for number in range(PARTITIONS)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        read: list[str] = []
        while any([await consumer.position(place) < end for place, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                read += [f"{record.value.decode()} {record.headers!r}" for record in records]
                read += [repr(it.key) for it in records if it.topic != letters or it.key != USER.user_id.encode()]
    return "\n".join(read)


async def pages(url: str, paths: Sequence[str]) -> str:
    """Return the texts of these pages, requested with a token."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        return "\n".join([await (await session.get(f"{url}{path}?token={TOKEN}")).text() for path in paths])


def worker_settings(stage: Stage) -> Mapping[str, str]:
    """Return settings with the canaries as secrets, without a Kafka login and with the stage's own way to deploy."""
    secrets = canary_environment(stage.graphene_url, stage.graphene_url, stage.playground_url)
    others = ("KAFKA", "TIMEOUT", "DEPLOY_URL")
    ours = {name: value for name, value in secrets.items() if not any(it in name for it in others)}
    return ours | {"DEPLOYER_RUNTIME__REQUEST_DEADLINE_SECONDS": "1"}  # a test outage is over soon


async def test_a_worker_on_kafka(kafka: str, unique: str, tmp_path: Path, watch: Watch) -> None:
    """Neither log, pages nor records contain a secret, when requests succeed or fail or dependencies repeat them."""
    async with open_stage(kafka, unique, tmp_path, make_graphene=canary_graphene) as stage:
        stage.env |= worker_settings(stage)
        log = tmp_path / "worker.log"
        async with stage.worker(log) as worker:
            await stage.ask(PIPELINE, "pipeline", USER, token=token())
            await stage.ask(MODEL, "model", USER, token=token())
            await stage.until_final(["pipeline", "model"])
            bundle = await stage.bundle_alone(PIPELINE)
            watch.learn_zip(bundle.data)
            stage.playground.faults[ANY_USER] = Echo(500, "deploy solution failed with: ")
            await stage.ask(PIPELINE, "echo-of-the-playground", USER, token=token())
            await stage.until_final(["echo-of-the-playground"])
            stage.graphene.faults[CCDS_PATH] = Echo(500)
            await stage.ask(PIPELINE, "echo-of-CCDS", USER, token=token())
            await stage.until_final(["echo-of-CCDS"])
            stage.graphene.faults.clear()
            for number, make in enumerate(TOKENS.values()):
                await stage.ask(PIPELINE, f"token-{number}", USER, token=make())
            for one in [make() for make in RECORDS.values()]:
                await stage.publish(one.value or b"", one.key, one.headers)
            await stage.ask(PIPELINE, "last", USER, token=token())
            await stage.until_final(["echo-of-CCDS", "last", *(f"token-{number}" for number in range(len(TOKENS)))])
            said = await pages(worker.url, ["/live", "/ready", "/metrics", "/none"])
            deployed = list(stage.playground.deployments)
            shown = await pages(
                stage.playground_url, ["/", "/api/deployments", *(f"/deployments/{it}" for it in deployed)]
            )

        names = stage.topics
        records = await everything(stage, [names.status_topic, names.settlements_topic, names.dead_letter_topic])
        assert 2 == len(deployed)
        assert "deployed" in records
        watch.check("Kafka: worker's log", log.read_bytes())
        watch.check("Kafka: worker's pages", said)
        watch.check("Kafka: statuses, settlements and dead letters", records)
        assert watch.found(shown) <= SHOWN_BY_THE_PLAYGROUND
