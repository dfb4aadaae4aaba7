"""What is read off the worker's state when Prometheus asks: nothing of it has to be kept up to date.

Only the ends of the partitions are Kafka's to tell: they are asked for every ENDS_SECONDS, so that no scrape waits.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from datetime import datetime

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from schemas import State
from worker.delivery.admission import Breakers, Capacity
from worker.delivery.consumer import RequestConsumer
from worker.delivery.partition import Lane
from worker.observability.metrics import LOOP_LAG, PREFIX

ENDS_SECONDS = 15
ENDS_TIMEOUT_SECONDS = 5


class Readings(Collector):
    """Of one worker. Register it where `/metrics` looks, and let `follow` run."""

    def __init__(
        self,
        requests: RequestConsumer,
        capacity: Capacity,
        breakers: Breakers,
        limits: Mapping[str, float],
        now: Callable[[], datetime],
        clock: Callable[[], float],
    ) -> None:
        """
        Args:
            limits: seconds by name, for `limit_seconds`.
            now: for the age of requests.
            clock: monotonic seconds, for how long a stop takes.
        """
        self._requests = requests
        self._capacity = capacity
        self._breakers = breakers
        self._limits = limits
        self._now = now
        self._clock = clock
        self.ends: Mapping[int, int] = {}  # partition → its end offset, when it was last asked for

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """What Prometheus reads."""
        lanes = list(self._requests.lanes.values())
        yield _gauge(
            "requests_in_flight", "Requests that call a dependency now, at most MAX_IN_FLIGHT.", self._capacity.taken
        )
        yield _gauge(
            "buffered_records",
            "Records that have been read and are not finished.",
            sum(lane.buffered for lane in lanes),
        )
        yield _gauge("buffered_bytes", "Bytes of the buffered records.", sum(lane.bytes for lane in lanes))
        yield from self._of_partitions(lanes)
        yield _gauge(
            "oldest_incomplete_age_seconds",
            "Time since the oldest unfinished request was read; 0 without one. Parked requests do not count: they wait "
            "for an operator.",
            self._oldest(lanes),
        )
        yield _gauge(
            "parked_requests",
            "Requests in the state `parked`: their POST was not answered, and an operator has to resolve them.",
            sum(job.entry.state is State.PARKED for lane in lanes for job in lane.jobs),
        )
        yield _gauge(
            "drain_seconds", "How long a shutdown has waited for running requests; 0 otherwise.", self._draining()
        )
        yield _gauge(
            "breaker_state",
            "0: closed; 1: open, the dependency is down and its requests wait; 2: half-open, one request tries it.",
            {(name,): breaker.state for name, breaker in self._breakers.all.items()},
            "dependency",
        )
        yield _gauge(
            "limit_seconds",
            "Settings that the alerts compare with: `request` is REQUEST_DEADLINE_SECONDS, `post` the playground's "
            "TIMEOUT_SECONDS.",
            {(name,): seconds for name, seconds in self._limits.items()},
            "limit",
        )

    def _of_partitions(self, lanes: Iterable[Lane]) -> Iterator[GaugeMetricFamily]:
        by = {(str(lane.partition),): lane for lane in lanes if lane.alive}  # before, it does not know its offset
        yield _gauge(
            "partition_committable_offset",
            "The committable offset: every request below it has ended.",
            {key: lane.tracker.mark for key, lane in by.items()},
            "partition",
        )
        yield _gauge(
            "partition_incomplete_records",
            "Records of the partition that have been read and are not finished.",
            {key: lane.tracker.open for key, lane in by.items()},
            "partition",
        )
        yield _gauge(
            "consumer_lag_records",
            "Records of the partition that are not finished, read or not: its end offset minus the committable offset.",
            {
                key: max(0, self.ends[lane.partition] - lane.tracker.mark)
                for key, lane in by.items()
                if lane.partition in self.ends
            },
            "partition",
        )

    def _oldest(self, lanes: Iterable[Lane]) -> float:
        now = self._now()
        ages = (now - job.entry.since for lane in lanes for job in lane.jobs if job.entry.state is not State.PARKED)
        return max((age.total_seconds() for age in ages), default=0.0)

    def _draining(self) -> float:
        since = self._requests.draining_since
        return 0.0 if since is None else self._clock() - since

    async def follow(
        self, consumer: AIOKafkaConsumer, topic: str, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        """Until it is cancelled: looks at the loop every second, and at the partitions' ends every ENDS_SECONDS."""
        while True:
            await self._look(consumer, topic)
            for _ in range(ENDS_SECONDS):
                began = self._clock()
                await sleep(1)
                LOOP_LAG.observe(max(0.0, self._clock() - began - 1))

    async def _look(self, consumer: AIOKafkaConsumer, topic: str) -> None:
        places = [TopicPartition(topic, partition) for partition in self._requests.lanes]
        try:
            async with asyncio.timeout(ENDS_TIMEOUT_SECONDS):
                ends = await consumer.end_offsets(places) if places else {}
        except (KafkaError, TimeoutError):
            ends = {}  # no lag is better than an old one: that Kafka is away is seen by it
        self.ends = {place.partition: end for place, end in ends.items()}


def _gauge(name: str, about: str, value: float | Mapping[tuple[str, ...], float], *labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"{PREFIX}_{name}", about, labels=labels)
    for key, one in value.items() if isinstance(value, Mapping) else [((), value)]:
        family.add_metric(key, one)
    return family
