"""What people do with existing requests: deploy again, settle, replay. `worker/client` has what the commands share."""

from aiokafka import TopicPartition

from schemas import DeploymentStatus, ReplayPermitted
from worker.adapters.kafka.clients import client_options, fetch_record, open_reader
from worker.client.dead_letters import DeadLetterFilter, build_replay, open_originals, read_dead_letters, send_replay
from worker.client.requests import OutgoingRequest, RequestPublisher
from worker.client.settlements import OperatorStatement, build_settlement, publish_settlement, publishable
from worker.domain.request import Record, Request, read_request
from worker.domain.tokens import strip_bearer
from worker.errors import CommandError
from worker.gateway.front_door import made_id
from worker.settings import KafkaSettings


class Operations:
    """The operations. Each opens the clients that it needs, because operations are rare."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka

    async def deploy_again(self, publisher: RequestPublisher, last: DeploymentStatus, key: bytes, nonce: str) -> str:
        """Publish a request again, and return its new id. The same nonce leads to the same id.

        The new request carries the token of the original record, which may have expired. Therefore it is a permitted
        replay.

        Raises:
            CommandError: Kafka has deleted the record, or the request was never accepted.
            KafkaError: Kafka does not answer.
        """
        if last.fingerprint is None or last.solution_id is None or last.revision_id is None:
            raise CommandError("This request was never accepted. Choose Deploy for Execution in Graphene again.")
        tp = TopicPartition(self._kafka.requests_topic, last.source.partition)
        async with open_reader(client_options(self._kafka), [tp]) as reader:
            record = await fetch_record(reader, tp, last.source.offset)
        request = read_request(Record.of("", record)) if record else None
        if not isinstance(request, Request) or record is None or record.key != key:
            raise CommandError("Kafka has deleted this request. Choose Deploy for Execution in Graphene again.")
        request_id = made_id(last.fingerprint, last.request_id, nonce)
        await publisher.permit(
            ReplayPermitted(request_id=request_id, replay_of=last.request_id, fingerprint=last.fingerprint), key
        )
        token = strip_bearer(request.token)
        again = OutgoingRequest(request_id, last.solution_id, last.revision_id, token, last.request_id)
        await publisher.publish(again, key=key)
        return request_id

    async def settle(self, last: DeploymentStatus, outcome: str, reason: str, by: str) -> None:
        """Record the outcome of a parked request, as `resolve` does. Raises CommandError, KafkaError."""
        if outcome not in ("deployed", "failed", "retry"):
            raise CommandError("The outcome is not deployed, failed or retry. Choose one of these.")
        statement = OperatorStatement(publishable("How you know", reason, 1000), publishable("Your name", by, 200))
        await publish_settlement(self._kafka, build_settlement(last, outcome, statement), last.source.partition)

    async def replay(self, publisher: RequestPublisher, request_id: str) -> str:
        """Replay a dead letter's request, as `dead-letter replay` does, and return its new id.

        Raises CommandError, KafkaError.
        """
        letters = [it async for it in read_dead_letters(self._kafka, DeadLetterFilter(request_id=request_id))]
        if not letters:
            raise CommandError("This request has no dead letter: it finished for another reason, or is too old.")
        async with open_originals(self._kafka) as originals:
            request = await build_replay(letters[-1], originals, {})
        await send_replay(publisher, request, letters[-1], permitted=True)
        return request.request_id
