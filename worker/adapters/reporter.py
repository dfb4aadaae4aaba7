"""Status events out: CloudEvents in binary mode, into the partition their request came from."""

from aiokafka import AIOKafkaProducer

from schemas import DeploymentStatus


class StatusPublisher:
    """Publishes with an idempotent producer, so that a retried send neither doubles nor reorders."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, source: str) -> None:
        self._producer = producer
        self._topic = topic
        self._source = source.encode()

    async def publish(self, status: DeploymentStatus, traceparent: str | None) -> None:
        """Returns when all in-sync replicas have it. Raises KafkaError, ValueError (too large)."""
        value = status.to_json()
        # A record the producer itself refuses would leave a gap in its sequence numbers for good.
        if len(value) > DeploymentStatus.MAX_BYTES:
            raise ValueError(f"a status of {len(value)} bytes is larger than {DeploymentStatus.MAX_BYTES}")
        headers = [
            ("ce_specversion", b"1.0"),
            ("ce_type", DeploymentStatus.TYPE.encode()),
            ("ce_source", self._source),
            ("ce_id", f"{status.request_id}:{status.sequence}".encode()),
            ("ce_subject", status.request_id.encode()),
            ("ce_time", status.time.isoformat().encode()),
            ("content-type", b"application/json"),
        ]
        if traceparent:
            headers.append(("traceparent", traceparent.encode()))
        await self._producer.send_and_wait(
            self._topic,
            value,
            key=status.request_id.encode(),
            partition=status.source.partition,
            headers=headers,
        )
