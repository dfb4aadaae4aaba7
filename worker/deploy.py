"""The path of a request, on one screen.

receive → authenticate → authorise → fetch → plan → render → bundle → submit → report
"""

import asyncio
from datetime import datetime

import structlog

from schemas import DeploymentInfo, State
from worker.build import Builder
from worker.delivery.admission import Breakers, Capacity
from worker.delivery.attempts import Attempts, Clocks, Policy
from worker.delivery.progress import Progress, identity
from worker.domain.dead_letter import dead_letter
from worker.domain.request import Request, derived_id
from worker.domain.solution import Caller
from worker.errors import (
    CODES,
    Conflict,
    DeploymentError,
    Internal,
    OutcomeUnknown,
    OverridesInvalid,
    StatusNotPublished,
    Unauthenticated,
    Unavailable,
    Unreadable,
)
from worker.observability import logs, telemetry
from worker.observability.metrics import DEAD_LETTERS
from worker.ports import Job, Playground, Tokens

log = structlog.get_logger()


class Deployer:
    """Takes one request to its final status, from its record or from where another worker left it."""

    def __init__(
        self,
        tokens: Tokens,
        builder: Builder,
        playground: Playground,
        capacity: Capacity,
        breakers: Breakers,
        clocks: Clocks,
        policy: Policy,
    ) -> None:
        self._tokens = tokens
        self._builder = builder
        self._playground = playground
        self._capacity = capacity
        self._clocks = clocks
        self._policy = policy
        self._attempts = Attempts(breakers, clocks, policy)

    async def handle(self, job: Job) -> None:
        """Ends in exactly one final status, whatever happens. Raises StatusNotPublished and nothing else."""
        with (
            structlog.contextvars.bound_contextvars(request_id=job.request_id),
            telemetry.processing(job.record, job.request_id, job.entry.traceparent),
        ):
            if job.entry.offset != job.record.offset:
                return await self._repeat(job)
            progress = Progress(job, self._clocks.wall, job.request_id, job.record.source, job.entry.last)
            try:
                await self._deploy(job, progress)
            except DeploymentError as error:
                await _fail(job, progress, error)
            except asyncio.CancelledError:
                await self._leave(job, progress)
                raise
            except StatusNotPublished:
                raise
            except Exception:
                log.exception("a defect ended the request")
                await progress.failed(Internal())
            _ended(progress)
        return None

    async def _deploy(self, job: Job, progress: Progress) -> None:
        if progress.state is State.PARKED and await self._attempts.settled(job, progress):
            return
        request = _readable(job)
        progress.identify(request)
        caller = None
        if progress.state is None:
            caller = await self._authenticate(job, request)
            progress.accepted(identity(caller.user_id, request.solution_id, request.revision_id))
        async with job.turn():  # one request of a user at a time: the playground mixes up parallel uploads
            if progress.state is not State.SUBMITTING or not await self._attempts.settled(job, progress):
                who = caller or await self._authenticate(job, request)
                await self._attempts.until_done(job, progress, lambda: self._attempt(job, request, who, progress))
        await self._parked(job, progress)  # outside of the turn

    async def _attempt(self, job: Job, request: Request, caller: Caller, progress: Progress) -> None:
        timeout = self._policy.submit_seconds
        async with self._capacity.begun():
            await progress.building()
            async with self._capacity.building():
                plan, bundle = await self._builder.build(request.solution_id, request.revision_id, caller)
            until = self._clocks.monotonic() + timeout
            deadline = await progress.submitting(plan, bundle, timeout)  # durable before the first byte is sent
            async with self._capacity.posting():
                post = self._post(bundle.data, caller, request, deadline, until)
                deployment = await job.post(progress.attempt, post)
        await progress.deployed(deployment)

    async def _post(
        self, bundle: bytes, caller: Caller, request: Request, deadline: datetime, until: float
    ) -> DeploymentInfo:
        """Both clocks are looked at last: whoever waits for this outcome may have given it up by then."""
        seconds = min((deadline - self._clocks.wall()).total_seconds(), until - self._clocks.monotonic())
        if seconds <= 0:
            raise Unavailable("attempt-late", CODES["attempt-late"], "submit")
        with telemetry.stage("submit"):
            return await self._playground.submit(bundle, caller.email, request.id, seconds)

    async def _parked(self, job: Job, progress: Progress) -> None:
        """A parked request waits outside its user's turn; settled as `retry` it queues anew."""
        if progress.state is State.PARKED:
            log.warning("request parked", **progress.summary())
            await self._deploy(job, progress)

    async def _authenticate(self, job: Job, request: Request) -> Caller:
        """Who asks. Once it was accepted, a token's times are not judged again, nor for a replay of the same."""
        before = job.entry if job.entry.identity else job.known(request.replay_of or "")
        accepted = before.identity if before else None
        caller = await self._caller(job, request, times=accepted is None)
        if accepted and accepted != identity(caller.user_id, request.solution_id, request.revision_id):
            caller = await self._caller(job, request, times=True)
        logs.hide(request.token, caller.user_id, caller.email)
        if job.record.key != caller.user_id.encode():
            raise Unauthenticated("wrong-record-key", CODES["wrong-record-key"])
        return caller

    async def _caller(self, job: Job, request: Request, *, times: bool) -> Caller:
        at = job.record.appended_at
        with telemetry.stage("authenticate"):
            return await self._attempts.until_answered(
                job, lambda: self._tokens.authenticate(request.token, at, times=times)
            )

    async def _repeat(self, job: Job) -> None:
        """The id is another record's: the same request again gets nothing new, another one is refused."""
        try:
            request = _readable(job)
            caller = await self._authenticate(job, request)
            await job.first_status()
            if job.entry.identity == identity(caller.user_id, request.solution_id, request.revision_id):
                log.info("request repeated", original_offset=job.entry.offset)
                telemetry.duplicate()
                return job.absorbed()
            raise Conflict("request-id-conflict", CODES["request-id-conflict"])
        except DeploymentError as error:
            job.rename(derived_id(job.record))
            if job.entry.state is not None:  # ended by an earlier worker, whose offset did not pass
                return job.absorbed()
            progress = Progress(job, self._clocks.wall, job.request_id, job.record.source)
            await _fail(job, progress, error)
            _ended(progress)

    async def _leave(self, job: Job, progress: Progress) -> None:
        """The worker stops: what it built in vain is no sign of a request that ends workers."""
        if job.stopping and not job.posted and progress.state in (State.BUILDING, State.SUBMITTING):
            await progress.retrying(None, self._clocks.wall(), self._attempts.deadline(job))


def _readable(job: Job) -> Request:
    """Raises DeploymentError, mostly Unreadable."""
    if not isinstance(job.request, Request):
        raise job.request
    return job.request


def _ended(progress: Progress) -> None:
    log.info("request ended", **progress.summary())
    telemetry.ended(progress.state, progress.code, progress.seconds)


async def _fail(job: Job, progress: Progress, error: DeploymentError) -> None:
    """With a dead letter where reading failed or the retries ran out."""
    if isinstance(error, OverridesInvalid):
        log.error("the overrides do not fit", detail=error.message)
    letter = None
    if isinstance(error, Unreadable | Unavailable | OutcomeUnknown):
        letter = dead_letter(job.record, job.request_id, job.request, error, progress.attempt)
    await progress.failed(error, letter)
    if letter:
        DEAD_LETTERS.labels(error.code).inc()
