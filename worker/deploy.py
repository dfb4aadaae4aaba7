"""The path of a request on one screen: authenticate → wait for the key lock → build → submit → report.

`worker/delivery/` receives the records. `worker/domain/lifecycle.py` decides each next step, by the same rules for
fresh and for inherited requests.
"""

import asyncio
from contextlib import nullcontext, suppress
from dataclasses import dataclass

import structlog

from schemas import DeploymentInfo, fingerprint
from worker.build import Builder
from worker.delivery.admission import Admission, Reservation
from worker.delivery.partition import Job
from worker.domain import lifecycle
from worker.domain.lifecycle import Lifecycle, Step
from worker.errors import CODES, DeploymentError, Internal, NeedsReservation, StatusNotPublished, Unavailable
from worker.observability import logs, telemetry
from worker.ports import Clocks, Playground, Tokens


@dataclass(frozen=True, slots=True)
class Deployer:
    """Takes one request to its final status, from its record or from the last status of an earlier worker."""

    tokens: Tokens
    builder: Builder
    playground: Playground
    admission: Admission
    clocks: Clocks
    lifecycle: Lifecycle

    async def handle(self, job: Job) -> None:
        """Run a job until its request is final, parked, or known to be a repeat. Raises only StatusNotPublished."""
        tracing = telemetry.Spans.tracer and telemetry.processing(job.record, job.state)
        with structlog.contextvars.bound_contextvars(request_id=job.state.request_id), tracing or nullcontext():
            self.admission.outage(job)
            try:
                while not isinstance(step := self.lifecycle.next_step(job, self.clocks.now()), lifecycle.End):
                    try:
                        await self._take(step, job)
                    except DeploymentError as error:
                        await self._report(error.without_frames(), job)
            except asyncio.CancelledError:
                if job.stopping and (left := self.lifecycle.after_stop(job, self.clocks.now())):
                    await job.publish(left)
                raise
            except StatusNotPublished:
                raise
            except Exception:  # noqa: BLE001 - any defect is logged and fails the request
                structlog.get_logger().exception("a defect ended the request")
                await self._report(Internal(), job)
            job.finish()

    async def _take(self, step: Step, job: Job) -> None:
        match step:
            case lifecycle.Authenticate():
                await self._authenticate(job)
            case lifecycle.WaitForKeyLock():  # one request per user: the playground mixes up parallel uploads
                await job.acquire_key_lock()
            case lifecycle.BuildAndSubmit():
                for large in (False, True):  # a solution that proves large starts again, with memory reserved
                    with suppress(NeedsReservation):
                        async with self.admission.attempt(job, large=large) as room:
                            deployment = await self._build_and_submit(job, room)
                        await job.publish(job.state.deployed(self.clocks.now(), deployment))
                        break
            case lifecycle.Sleep(until, excluded=True):  # for the issuer; other requests continue
                await self.admission.awaiting_keys.wait(job, self.clocks.sleep_until(until))
            case lifecycle.Sleep(until):
                await self.clocks.sleep_until(until)
            case lifecycle.AwaitSettlement(until):
                settled = await job.wait_for_settlement(until)
                self.admission.outage(job)  # an outage during the wait does not extend the new request deadline
                await job.publish(self.lifecycle.after_settlement(job.state, settled, self.clocks.now()))
            case lifecycle.CompareWithOriginal():  # a repeated request gets no status
                await job.compare_with_original()
            case lifecycle.GiveUp(error):
                raise error

    async def _authenticate(self, job: Job) -> None:
        """Identify the caller. The token of an accepted request is only read; a repeat or replay skips its times."""
        request, accepted, at = job.readable_request(), await job.accepted_fingerprint(), job.record.appended_at
        with telemetry.stages.authenticate():
            if accepted and job.was_accepted:  # its token may have expired since, and its key may be gone
                caller = self.tokens.read(request.token)
            else:
                caller = await self.tokens.authenticate(request.token, at, times=accepted is None)
            asked = fingerprint(caller.user_id, request.solution_id, request.revision_id)
            if accepted not in (None, asked):
                caller = await self.tokens.authenticate(request.token, at)
        logs.hide(request.token, caller.user_id, caller.email)
        if job.claim(caller, asked):
            job.publish(job.state.accepted(self.clocks.now(), asked))  # not awaited: awaiting the next status covers it

    async def _build_and_submit(self, job: Job, room: Reservation) -> DeploymentInfo:
        request, seconds = job.readable_request(), self.lifecycle.playground.timeout_seconds
        if not room.large:  # a large attempt published `building` when it started as small
            await job.publish(job.state.building(self.clocks.now()))
        async with self.admission.limiter.build():
            asked = request.solution_id, request.revision_id, job.caller
            plan, bundle = await self.builder.build(*asked, large=room.large)
        until = self.clocks.monotonic() + seconds
        await job.publish(job.state.submitting(self.clocks.now(), plan, bundle, seconds))  # durable before the POST
        room.shrink(len(data := bundle.data))
        del plan, bundle  # a POST takes minutes, and these hold a second copy of every file
        async with self.admission.limiter.post():
            return await job.post(self._submit(job, data, room, until))

    async def _submit(self, job: Job, data: bytes, room: Reservation, until: float) -> DeploymentInfo:
        """POST the bundle. Both clocks are read last: a worker that waits for the outcome may have given up by now."""
        seconds = min(job.state.seconds_left(self.clocks.now()), until - self.clocks.monotonic())
        if seconds <= 0 or not job.caller:
            raise Unavailable("attempt-late", CODES["attempt-late"], "submit")
        with room if room.large else nullcontext(), telemetry.stages.submit():
            return await self.playground.submit(data, job.caller.email, job.state.request_id, seconds)

    async def _report(self, error: DeploymentError, job: Job) -> None:
        """Publish the status that the error leads to. While the issuer's keys are unavailable, sleep instead."""
        after = self.lifecycle.after_error(
            job, error, self.clocks.now(), self.clocks.jitter(), self.admission.outage(job)
        )
        await (self._take(after, job) if isinstance(after, lifecycle.Sleep) else job.publish(after, error))
