"""`python -m tests.support.faults.worker`: the worker with shorter waits, optionally killed at a named point.

FAULTS_KILL=point:request id sends it SIGKILL when that request reaches the point; with FAULTS_STOP=1 it gets SIGSTOP.
Only the waits and the points are patched in, because a test cannot reach them from outside.
"""

import asyncio
import base64
import os
import signal
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from schemas import DeploymentStatus, Message, State
from worker import app
from worker.adapters import playground as playground_module
from worker.adapters.kafka.partition_store import PartitionWriter
from worker.adapters.playground import PlaygroundClient
from worker.concurrency import new_event_loop
from worker.delivery.partition import Job
from worker.domain import lifecycle
from worker.domain.partition_state import Checkpoint
from worker.errors import DeploymentError
from worker.observability import logs
from worker.settings import Settings, read_settings, secret_values

POINTS = (
    "before-intent", "after-intent", "before-bytes", "mid-body", "before-response", "after-response", "before-commit",
    "mid-commit", "after-commit",
)  # fmt: skip
SESSION_MS = 6000
SERVER_MARGIN = timedelta(seconds=1)


class Kill:
    """The point and the request at which this worker dies."""

    def __init__(self, text: str) -> None:
        self.point, _, self.request_id = text.partition(":")

    def at(self, point: str, request_id: str) -> None:
        """Send the signal if this is the point and the request."""
        if (point, request_id) == (self.point, self.request_id):
            self.request_id = ""  # a worker that was only stopped continues
            os.kill(os.getpid(), signal.SIGSTOP if os.environ.get("FAULTS_STOP") else signal.SIGKILL)


def install(kill: Kill) -> None:
    """Patch the points into the worker."""
    publish, submit, commit_plainly = Job.publish, PlaygroundClient.submit, PartitionWriter._commit

    def around_intent(
        self: Job, status: DeploymentStatus, error: DeploymentError | None = None
    ) -> asyncio.Future[None]:
        if status.state is not State.SUBMITTING:
            return publish(self, status, error)
        kill.at("before-intent", status.request_id)

        def after_intent(done: asyncio.Future[None]) -> None:
            if not done.cancelled() and done.exception() is None:
                kill.at("after-intent", status.request_id)

        durable = publish(self, status, error)
        durable.add_done_callback(after_intent)  # called before the request continues, which starts to wait later
        return durable

    async def around_post(self: PlaygroundClient, bundle: bytes, user: str, request_id: str, seconds: float) -> Any:
        kill.at("before-bytes", request_id)
        if kill.point == "mid-body" and kill.request_id == request_id:
            playground_module.LARGE = 0  # small bundles are not streamed
            playground_module._body = partial(_half_sent, kill)
        answer = await submit(self, bundle, user, request_id, seconds)
        kill.at("after-response", request_id)
        return answer

    async def commit(
        self: PartitionWriter, messages: Sequence[Message], checkpoint: Checkpoint | None
    ) -> Sequence[int]:
        deployed = any(
            b'"state":"deployed"' in message.value and message.key == kill.request_id.encode() for message in messages
        )
        if deployed:
            kill.at("before-commit", kill.request_id)
        producer_commit = self._producer.commit_transaction

        async def around_commit() -> None:
            kill.at("mid-commit", kill.request_id)
            await producer_commit()
            kill.at("after-commit", kill.request_id)

        self._producer.commit_transaction = around_commit if deployed else producer_commit
        try:
            return await commit_plainly(self, messages, checkpoint)
        finally:
            self._producer.commit_transaction = producer_commit

    Job.publish = around_intent  # type: ignore[method-assign]
    PlaygroundClient.submit = around_post  # type: ignore[method-assign, assignment]
    PartitionWriter._commit = commit  # type: ignore[method-assign]


async def _half_sent(kill: Kill, start: bytes, bundle: bytes, end: bytes) -> AsyncIterator[bytes]:
    """Yield half of a body, then reach the point, then yield the rest."""
    text = start + base64.b64encode(bundle) + end
    yield text[: len(text) // 2]
    await asyncio.sleep(0)  # uvloop writes at the end of a loop iteration
    kill.at("mid-body", kill.request_id)
    yield text[len(text) // 2 :]


def say_what_waits() -> None:
    """Print the stack of every task, for a test whose wait timed out."""
    for task in asyncio.all_tasks():
        task.print_stack()


async def main() -> None:
    """Run the worker until it is stopped or killed."""
    app.SESSION_MS = SESSION_MS
    lifecycle.SERVER_MARGIN = SERVER_MARGIN
    install(Kill(os.environ.get("FAULTS_KILL", "")))
    settings = read_settings(os.environ, Settings)
    logs.configure(settings.runtime.log_level, settings.runtime.log_format, secrets=secret_values(settings))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, say_what_waits)
    await app.run(settings, stop)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=new_event_loop) as runner:  # as in the worker
        runner.run(main())
