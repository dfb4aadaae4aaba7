"""The path of a request, on one screen.

receive → authenticate → authorise → fetch → plan → render → bundle → submit → report
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol
from uuid import UUID

import structlog

from schemas import DeploymentInfo, Kind
from worker import logs, settings
from worker.domain.blueprint import read_blueprint
from worker.domain.bundle import Bundle, build_bundle, check_size
from worker.domain.overrides import NO_OVERRIDES, Overrides
from worker.domain.plan import Plan, plan_pipeline, plan_single_model
from worker.domain.request import Record, Request, read_request
from worker.domain.solution import Caller, Solution
from worker.errors import (
    CODES,
    DeploymentError,
    Internal,
    NotFound,
    OverridesInvalid,
    StatusNotPublished,
    Unauthenticated,
    Unreadable,
)
from worker.progress import Progress, Reporter
from worker.together import together

Turn = AbstractAsyncContextManager[None]

log = structlog.get_logger()


class Tokens(Protocol):
    """Who is asking. Raises Unauthenticated, Unavailable."""

    async def authenticate(self, token: str, appended_at: float | None) -> Caller: ...


class Catalog(Protocol):
    """What a revision is, and whether the caller may read it. Raises NotFound, NotAllowed, Unavailable."""

    async def find(self, solution_id: UUID, revision_id: UUID, caller: Caller | None) -> Solution: ...


class Artifacts(Protocol):
    """One file of a solution. Raises `missing` when there is none, else NotFound, Unavailable."""

    async def fetch(self, uri: str, missing: NotFound) -> bytes: ...


class Playground(Protocol):
    """Where bundles are deployed. Raises PlaygroundRefused, OutcomeUnknown, Unavailable."""

    async def submit(self, bundle: bytes, username: str, request_id: str) -> DeploymentInfo: ...


class Builder:
    """Solution and revision id in, bundle out. `bundle` on the command line uses it alone."""

    def __init__(
        self,
        catalog: Catalog,
        artifacts: Artifacts,
        shipped: Mapping[str, bytes],
        options: settings.Bundle,
        overrides: Overrides = NO_OVERRIDES,
    ) -> None:
        self._catalog = catalog
        self._artifacts = artifacts
        self._shipped = shipped
        self._options = options
        self._overrides = overrides

    async def build(self, solution_id: UUID, revision_id: UUID, caller: Caller | None) -> tuple[Plan, Bundle]:
        """Authorise, fetch, plan, render, bundle. Raises DeploymentError."""
        solution = await self._catalog.find(solution_id, revision_id, caller)
        plan = await self._plan(solution)
        protos = await self._protos(plan)
        return plan, build_bundle(plan, protos, self._shipped, self._options, self._overrides)

    async def _plan(self, solution: Solution) -> Plan:
        if solution.kind is Kind.SINGLE_MODEL:
            return plan_single_model(solution)
        missing = NotFound("blueprint-missing", "The pipeline's blueprint is gone. Save the pipeline again.")
        data = await self._artifacts.fetch(solution.blueprint_uri or "", missing)
        blueprint = read_blueprint(data, self._options.max_nodes)
        return plan_pipeline(solution, blueprint, self._options.orchestrator_image)

    async def _protos(self, plan: Plan) -> dict[str, bytes]:
        """Container name → protobuf. Nodes of one model share its file, which is fetched once."""
        uris = {container.name: container.proto_uri for container in plan.containers if container.proto_uri}
        owners = {uri: name for name, uri in uris.items()}
        size = 0

        async def fetch(uri: str, name: str) -> bytes:
            nonlocal size
            text = await self._proto(uri, name)
            size += len(text)
            check_size(size)  # here, so that no more is fetched than may be sent
            return text

        texts = await together(fetch(uri, name) for uri, name in owners.items())
        found = dict(zip(owners, texts, strict=True))
        return {name: found[uri] for name, uri in uris.items()}

    async def _proto(self, uri: str, name: str) -> bytes:
        missing = NotFound("proto-missing", f"The protobuf of node '{name}' is gone. On-board its model again.")
        return await self._artifacts.fetch(uri, missing)


class Deployer:
    """Takes one record from the request to its final status."""

    def __init__(
        self,
        tokens: Tokens,
        builder: Builder,
        playground: Playground,
        reporter: Reporter,
        clock: Callable[[], datetime],
        submit_timeout: float,
    ) -> None:
        self._tokens = tokens
        self._builder = builder
        self._playground = playground
        self._reporter = reporter
        self._clock = clock
        self._submit_timeout = submit_timeout

    async def handle(self, record: Record, turn: Turn) -> None:
        """Ends in exactly one final status, whatever happens. Raises StatusNotPublished and nothing else."""
        request_id, request = read_request(record)
        progress = Progress(self._reporter, self._clock, request_id, record.source, record.traceparent)
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                if isinstance(request, Unreadable):
                    raise request
                await self._deploy(request, record, progress, turn)
            except DeploymentError as error:
                if isinstance(error, OverridesInvalid):
                    log.error("the overrides do not fit", detail=error.message)  # noqa: TRY400  # no traceback tells more
                await progress.failed(error)
            except StatusNotPublished:
                raise
            except Exception:
                log.exception("a defect ended the request")
                await progress.failed(Internal())
            log.info("request ended", **progress.summary())

    async def _deploy(self, request: Request, record: Record, progress: Progress, turn: Turn) -> None:
        progress.identify(request)
        caller = await self._tokens.authenticate(request.token, record.appended_at)
        logs.hide(request.token, caller.user_id, caller.email)
        if record.key != caller.user_id.encode():
            raise Unauthenticated("wrong-record-key", CODES["wrong-record-key"])
        await progress.accepted(request, caller)
        async with turn:  # one request of a user at a time: the playground mixes up parallel uploads
            await progress.building()
            plan, bundle = await self._builder.build(request.solution_id, request.revision_id, caller)
            await progress.submitting(plan, bundle, self._submit_timeout)
            deployment = await self._playground.submit(bundle.data, caller.email, request.id)
            await progress.deployed(deployment)
