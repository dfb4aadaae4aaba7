"""Gauges that are computed from the worker's state at each scrape, so that no code has to keep them up to date.

Only the end offsets of the partitions come from Kafka. They are queried every ENDS_SECONDS, so that no scrape waits.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from schemas import State
from worker.delivery.admission import Admission
from worker.delivery.consumer import RequestConsumer
from worker.delivery.partition import PartitionProcessor
from worker.domain.partition_state import REMEMBERED
from worker.observability.metrics import LOOP_LAG, PREFIX
from worker.ports import Clocks

ENDS_SECONDS = 15
LAG_SECONDS = 0.25  # a shorter stall of the event loop may fall between two checks
ENDS_TIMEOUT_SECONDS = 5


class WorkerCollector(Collector):
    """Metrics of one worker. Register the collector in the registry of `/metrics`, and run `follow`."""

    def __init__(
        self, requests: RequestConsumer, admission: Admission, limits: Mapping[str, float], clocks: Clocks
    ) -> None:
        """`limits` are seconds by name, for the metric `limit_seconds`."""
        self._requests = requests
        self._admission = admission
        self._limits = limits
        self._clocks = clocks
        # By partition, from the last query to Kafka: the end offset, the offset to read next, and `held_up` records.
        self.ends: Mapping[int, int] = {}
        self.positions: Mapping[int, int] = {}
        # For partitions that are not processed yet: the group's committed offset, or the beginning of the partition.
        self.committed: Mapping[int, int] = {}
        self.held_up: Mapping[int, int] = {}
        self.partitions = 0  # the number of partitions of the requests topic

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges for Prometheus."""
        processors = list(self._requests.processors.values())
        yield _gauge(
            "requests_in_flight",
            "Requests that call a dependency now, at most MAX_IN_FLIGHT.",
            self._admission.limiter.in_use,
        )
        yield _gauge(
            "buffered_records",
            "Records that have been read and are not finished, without requests that await keys, and without up to "
            "2,000 that wait for the key lock behind an earlier request of their user.",
            sum(it.state.offsets.buffered for it in processors),
        )
        yield _gauge(
            "buffered_bytes",
            "Bytes of the buffered records.",
            sum(it.state.offsets.buffered_bytes for it in processors),
        )
        yield _gauge(
            "requests_awaiting_keys",
            "Requests, at most 100, whose token names a key that cannot be fetched from the issuer now. They are not "
            "counted among the buffered records.",
            len(self._admission.awaiting_keys),
        )
        yield _gauge(
            "requests_awaiting_turn",
            "Requests that wait for an earlier request of their user. Up to 2,000 of them are not counted among the "
            "buffered records.",
            next((it.context.key_queue.waiting for it in processors), 0),
        )
        budget = self._admission.budget
        yield _gauge(
            "bytes_in_flight",
            "Bytes reserved for large solutions: 64 MiB for each while it is built, then the size of its bundle.",
            budget.reserved,
        )
        yield _gauge("bytes_in_flight_limit", "The limit of `bytes_in_flight`: MAX_BYTES_IN_FLIGHT.", budget.limit)
        yield _gauge(
            "reservations_waiting", "Requests with a large solution that wait for their reservation.", budget.waiting
        )
        yield _gauge(
            "topic_partitions",
            "Partitions of the requests topic, by Kafka's last answer. The partitions assigned to all workers together "
            "should have this number.",
            self.partitions,
        )
        yield from self._of_partitions(processors)
        yield _gauge(
            "oldest_incomplete_age_seconds",
            "Time since the oldest unfinished request was read, or since its wait for earlier requests of its user "
            "ended; 0 without an unfinished request. Requests that still wait for an earlier request of their user do "
            "not count, and neither do parked requests, which wait for an operator.",
            self._oldest(processors),
        )
        yield _gauge(
            "parked_requests",
            "Requests in the state `parked`: the outcome of their POST is unknown until an operator resolves them. "
            "They count among the user's open requests.",
            sum(len(it.state.requests.parked) for it in processors),
        )
        yield _gauge(
            "known_requests",
            f"Requests that the worker knows: open ones, and of each partition the last {REMEMBERED:,} that ended.",
            sum(len(it.state.requests) for it in processors),
        )
        yield _gauge(
            "drain_seconds", "How long a shutdown has waited for running requests; 0 otherwise.", self._draining()
        )
        yield _gauge(
            "breaker_state",
            "0: closed; 1: open, the dependency is down for all users and requests wait for it; 2: half-open, one "
            "request tries it.",
            {(name,): breaker.state for name, breaker in self._admission.breakers.all.items()},
            "dependency",
        )
        yield _gauge(
            "limit_seconds",
            "Settings that the alerts compare with: `request` is REQUEST_DEADLINE_SECONDS, `post` the playground's "
            "TIMEOUT_SECONDS.",
            {(name,): seconds for name, seconds in self._limits.items()},
            "limit",
        )

    def _of_partitions(self, processors: Iterable[PartitionProcessor]) -> Iterator[GaugeMetricFamily]:
        by = {(str(it.partition),): it for it in processors if it.ready}  # until the take-over, the offset is unknown
        yield _gauge(
            "partition_committable_offset",
            "The committable offset: every request below it has ended.",
            {key: it.state.offsets.committable_offset for key, it in by.items()},
            "partition",
        )
        yield _gauge(
            "partition_incomplete_records",
            "Buffered records of the partition: read and not finished, without the requests that `buffered_records` "
            "leaves out as well.",
            {key: it.state.offsets.buffered for key, it in by.items()},
            "partition",
        )
        yield _gauge(
            "consumer_lag_records",
            "Records of the partition that are not finished, read or not: its end offset minus the committable "
            "offset, or 0 when every record was read and finished. While the partition is not processed: its end "
            "offset minus the committed offset.",
            {(str(it.partition),): self._lag(it) for it in processors if it.partition in self.ends},
            "partition",
        )
        yield _gauge(
            "partition_held_up_records",
            "Records of the partition that wait for the end of a sender's transaction: its high watermark minus the "
            "last stable offset.",
            {key: self.held_up[it.partition] for key, it in by.items() if it.partition in self.held_up},
            "partition",
        )
        yield _gauge(
            "partition_unprocessed_seconds",
            "For how long an assigned partition has not been processed; 0 when it is.",
            {(str(partition),): seconds for partition, seconds in self._requests.unprocessed().items()},
            "partition",
        )

    def _lag(self, processor: PartitionProcessor) -> int:
        """Return the lag, without the transaction markers after the last record, which are not requests."""
        offsets, end = processor.state.offsets, self.ends[processor.partition]
        if not processor.ready:
            return max(0, end - self.committed.get(processor.partition, end))
        unfinished = offsets.committable_offset
        if unfinished == offsets.next_offset:  # every record that was read is finished, excluded records as well
            unfinished = max(unfinished, self.positions.get(processor.partition, 0))
        return max(0, end - unfinished)

    def _oldest(self, processors: Iterable[PartitionProcessor]) -> float:
        now = self._clocks.now()
        jobs = (job for it in processors for job in it.jobs if job.state.state is not State.PARKED)
        ages = (now - (job.turn_at or job.state.since) for job in jobs if not job.waits_for_turn)
        return max((age.total_seconds() for age in ages), default=0.0)

    def _draining(self) -> float:
        since = self._requests.draining_since
        return 0.0 if since is None else self._clocks.monotonic() - since

    async def follow(
        self, consumer: AIOKafkaConsumer, topic: str, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        """Measure the loop's lag every LAG_SECONDS, and query end offsets every ENDS_SECONDS, until cancelled."""
        while True:
            await self._look(consumer, topic)
            for _ in range(int(ENDS_SECONDS / LAG_SECONDS)):
                began = self._clocks.monotonic()
                await sleep(LAG_SECONDS)
                LOOP_LAG.observe(max(0.0, self._clocks.monotonic() - began - LAG_SECONDS))

    async def _look(self, consumer: AIOKafkaConsumer, topic: str) -> None:
        tps = [TopicPartition(topic, partition) for partition in self._requests.processors]
        self.partitions = len(consumer.partitions_for_topic(topic) or ())
        try:
            async with asyncio.timeout(ENDS_TIMEOUT_SECONDS):
                ends = await consumer.end_offsets(tps) if tps else {}
                processors, assigned = self._requests.processors, consumer.assignment()
                read = [tp for tp in ends if tp in assigned and processors[tp.partition].ready]
                self.positions = {tp.partition: await consumer.position(tp) for tp in read}
                unread = [tp for tp in ends if tp in assigned and not processors[tp.partition].ready]
                begin = await consumer.beginning_offsets(unread) if unread else {}
                self.committed = {tp.partition: await consumer.committed(tp) or begin[tp] for tp in unread}
        except (KafkaError, KeyError, TimeoutError):
            ends, read = {}, []  # no lag is better than a stale lag: it shows that Kafka is away
        self.ends = {tp.partition: end for tp, end in ends.items()}
        known = {tp.partition: (consumer.highwater(tp), consumer.last_stable_offset(tp)) for tp in read}
        self.held_up = {it: high - stable for it, (high, stable) in known.items() if None not in (high, stable)}


def _gauge(name: str, about: str, value: float | Mapping[tuple[str, ...], float], *labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"{PREFIX}_{name}", about, labels=labels)
    for key, one in value.items() if isinstance(value, Mapping) else [((), value)]:
        family.add_metric(key, one)
    return family
