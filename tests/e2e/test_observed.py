"""What an operator sees of a running worker: its metrics, and its traces at a collector."""

import gzip
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
from aiohttp import web
from aiokafka import AIOKafkaConsumer, TopicPartition
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from prometheus_client.parser import text_string_to_metric_families

from schemas import FINAL_STATES
from tests.support.builders import blueprint_document, node, operation, protobuf
from tests.support.stage import PARTITIONS, Stage, open_stage
from tests.support.worker_process import WorkerProcess
from worker.sandbox.graphene import CCDS_LOGIN, NEXUS_LOGIN
from worker.sandbox.graphene_data import make_model, make_pipeline
from worker.sandbox.http_server import served
from worker.sandbox.users import JWT_SECRET, SANDBOX_USER, sandbox_token

TRACE = "0af7651916cd43dd8448eb211c80319c"
PIPELINE = make_pipeline("Seen", blueprint_document(node("a")), {"a": protobuf(operation())})
SECRETS = (
    JWT_SECRET, CCDS_LOGIN[1], NEXUS_LOGIN[1], SANDBOX_USER.user_id, SANDBOX_USER.email, "eyJ", "Bearer", "UEsDB",
)  # fmt: skip


@dataclass(slots=True)
class Collector:
    """An OpenTelemetry collector that receives OTLP over HTTP and keeps it."""

    bodies: list[bytes] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()  # aiohttp has decompressed it
        self.bodies.append(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
        answer = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=answer, content_type="application/x-protobuf")

    def spans(self) -> dict[str, list[str]]:
        """Return the sorted names of the spans of each trace, by trace id."""
        found: dict[str, list[str]] = {}
        for body in self.bodies:
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        found.setdefault(span.trace_id.hex(), []).append(span.name)
        return {trace: sorted(names) for trace, names in found.items()}


@asynccontextmanager
async def collecting() -> AsyncIterator[tuple[Collector, str]]:
    collector, app = Collector(), web.Application()
    app.add_routes([web.post("/v1/traces", collector.take)])
    async with served(app) as url:
        yield collector, url


async def metrics(worker: WorkerProcess) -> tuple[str, dict[tuple[str, ...], float]]:
    """Return the metrics page, and each value by metric name and label values, in the order of the label names."""
    async with aiohttp.ClientSession() as session, session.get(f"{worker.url}/metrics") as response:
        assert 200 == response.status
        page = await response.text()
    prefix = "playground_deployer_"
    return page, {
        (sample.name.removeprefix(prefix), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


async def traceparents(stage: Stage) -> dict[str, list[str]]:
    """Return the traceparent of each status, by request id."""
    found: dict[str, list[str]] = {}
    reader = AIOKafkaConsumer(
        bootstrap_servers=stage.bootstrap, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    await reader.start()
    try:
        places = [TopicPartition(stage.topics.status_topic, number) for number in range(PARTITIONS)]
        reader.assign(places)
        ends = await reader.end_offsets(places)
        while any([await reader.position(place) < ends[place] for place in places]):
            for records in (await reader.getmany(timeout_ms=200)).values():
                for record in records:
                    value = dict(record.headers)["traceparent"].decode()
                    found.setdefault(record.key.decode(), []).append(value)
    finally:
        await reader.stop()
    return found


async def test_metrics_say_what_happened(kafka: str, unique: str, tmp_path: Path) -> None:
    """The metrics count and time deployed, rejected and unreadable requests, and show no user data or secret."""
    async with open_stage(kafka, unique, tmp_path) as stage:
        stage.graphene.add(PIPELINE)
        stage.env["DEPLOYER_RUNTIME__REQUEST_DEADLINE_SECONDS"] = "7200"
        unknown = make_model("Unknown", "registry.example/unknown:1", "syntax = 'proto3';")
        async with stage.worker(tmp_path / "worker.log") as worker:
            await stage.ask(PIPELINE, "r-1")
            await stage.ask(unknown, "r-2")
            unreadable = b"deploy it, please", SANDBOX_USER.user_id.encode(), [("ce_id", b"r-3")]
            stage.statuses.places["r-3"] = await stage.publish(*unreadable)
            await stage.until_final(["r-1", "r-2", "r-3"])
            page, read = await metrics(worker)
            while read["request_duration_seconds_count",] < 3:  # a status is published shortly before it is counted
                page, read = await metrics(worker)
    assert 1 == read["requests_total", "", "deployed"]
    assert 1 == read["requests_total", "solution-not-found", "rejected"]
    assert 1 == read["requests_total", "not-json", "rejected"]
    assert 1 == read["dead_letters_total", "not-json"]
    assert 3 == read["request_duration_seconds_count",]
    assert 1 == read["http_requests_total", "2xx", "playground"]
    assert 2 == read["http_requests_total", "2xx", "artifacts"]
    assert [2, 2, 1, 1] == [
        read["stage_duration_seconds_count", it] for it in ("authenticate", "fetch", "bundle", "submit")
    ]
    assert (0, PARTITIONS, 0, 0) == (
        read["transactions_total", "failed"],
        read["partitions_assigned",],
        read["requests_in_flight",],
        read["parked_requests",],
    )
    assert (7200, 330) == (read["limit_seconds", "request"], read["limit_seconds", "post"])
    assert read["transactions_total", "committed"] == read["transaction_duration_seconds_count",] >= 5
    assert [] == [secret for secret in SECRETS if secret in page]


async def test_a_trace_goes_from_the_portal_to_the_statuses(kafka: str, unique: str, tmp_path: Path) -> None:
    """The collector gets the spans of the sender's trace, every status continues it, and no span shows a secret."""
    async with collecting() as (collector, url), open_stage(kafka, unique, tmp_path) as stage:
        stage.env["DEPLOYER_TRACING__ENDPOINT"] = url
        stage.graphene.add(PIPELINE)
        async with stage.worker(tmp_path / "worker.log"):
            headers = [("traceparent", f"00-{TRACE}-b7ad6b7169203331-01".encode())]
            await stage.ask(PIPELINE, "r-1", headers=headers, value={"jwtToken": sandbox_token(datetime.now(UTC))})
            await stage.ask(PIPELINE, "r-2", headers=[], value={"jwtToken": sandbox_token(datetime.now(UTC))})
            statuses = await stage.until_final(["r-1", "r-2"])
        said = await traceparents(stage)
        spans = collector.spans()
    own = {value[3:35] for value in said["r-2"]}
    assert ({TRACE}, 1) == ({value[3:35] for value in said["r-1"]}, len(own))
    assert {TRACE, *own} == set(spans)
    expected = [
        *["GET artifacts"] * 2, *["GET catalog"] * 6, "POST playground", "authenticate", "bundle", "fetch",
        "key_queue", f"process {stage.topics.requests_topic}", "send accepted", "send building", "send deployed",
        "send submitting", "submit",
    ]  # fmt: skip
    assert expected == spans[TRACE]
    assert 4 == len(set(said["r-1"])) == len(statuses["r-1"])
    assert FINAL_STATES & {status.state for status in statuses["r-1"]}
    sent = b"".join(collector.bodies)
    assert [] == [secret for secret in SECRETS if secret.encode() in sent]


async def test_a_collector_that_is_away_disturbs_nobody(kafka: str, unique: str, tmp_path: Path) -> None:
    """With an unreachable collector, requests are deployed, the worker stops normally, and its log has the problem."""
    async with open_stage(kafka, unique, tmp_path) as stage:
        stage.env["DEPLOYER_TRACING__ENDPOINT"] = "http://127.0.0.1:9"
        stage.graphene.add(PIPELINE)
        log = tmp_path / "worker.log"
        async with stage.worker(log):
            await stage.ask(PIPELINE, "r-1")
            await stage.until_final(["r-1"])
    assert re.search("opentelemetry", log.read_text())
    assert 1 == len(stage.playground.deployments)


async def test_a_trace_goes_from_the_click_to_the_status(kafka: str, unique: str, tmp_path: Path) -> None:
    """Gateway and worker send spans of the sender's trace, and the status on the topic continues that trace."""
    async with collecting() as (collector, url), open_stage(kafka, unique, tmp_path) as stage:
        stage.env["DEPLOYER_TRACING__ENDPOINT"] = url
        stage.graphene.add(PIPELINE)
        given = sandbox_token(datetime.now(UTC), user=SANDBOX_USER)
        headers = {"jwtToken": given, "traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "Prefer": "wait=60"}
        async with (
            stage.worker(tmp_path / "worker.log"),
            stage.gateway(tmp_path / "gateway.log") as gateway,
            aiohttp.ClientSession(headers=headers) as session,
            session.get(
                f"{gateway.url}/deploy/{PIPELINE.solution_id}/{PIPELINE.revision_id}", allow_redirects=False
            ) as response,
        ):
            assert 302 == response.status, await response.text()
        told = await traceparents(stage)
    names = collector.spans()[TRACE]
    assert 1 == names.count("GET /deploy/{solution}/{revision}")
    assert {f"process {stage.topics.requests_topic}", "send accepted", "send deployed", "POST playground"} <= {*names}
    assert {TRACE} == {it.split("-")[1] for values in told.values() for it in values}
    assert [] == [secret for secret in SECRETS if secret.encode() in b"".join(collector.bodies)]
