"""FETCH, PLAN, RENDER, BUNDLE: solution and revision id in, bundle out."""

import asyncio
from collections.abc import Mapping
from uuid import UUID

from schemas import Kind
from worker import settings
from worker.domain.bundle.archive import Bundle, build_bundle
from worker.domain.bundle.blueprint import check_image, read_blueprint
from worker.domain.bundle.plan import Plan, plan_pipeline, plan_single_model
from worker.domain.overrides.overrides import NO_OVERRIDES, Overrides
from worker.domain.solution import Caller, Solution
from worker.errors import ConfigurationError, NotDeployable, NotFound
from worker.observability.telemetry import stages
from worker.ports import Artifacts, Catalog


class Builder:
    """Solution and revision id in, bundle out. `bundle` on the command line uses it alone."""

    def __init__(
        self,
        catalog: Catalog,
        artifacts: Artifacts,
        shipped: Mapping[str, bytes],
        options: settings.BundleSettings,
        overrides: Overrides = NO_OVERRIDES,
    ) -> None:
        """Raise ConfigurationError when the orchestrator's image is not a valid reference."""
        try:
            check_image(options.orchestrator_image, "DEPLOYER_BUNDLE__ORCHESTRATOR_IMAGE")
        except NotDeployable as error:  # no request's fault
            raise ConfigurationError(error.message) from None
        self._catalog = catalog
        self._artifacts = artifacts
        self._shipped = shipped
        self._options = options
        self._overrides = overrides

    async def build(self, solution_id: UUID, revision_id: UUID, caller: Caller | None) -> tuple[Plan, Bundle]:
        """Authorise, fetch, plan, render, bundle. Raises DeploymentError."""
        with stages.fetch():
            # A task of its own: what waits for the bundle is resumed once, and not with every answer.
            plan, protos = await asyncio.create_task(self._fetch(solution_id, revision_id, caller))
        with stages.bundle():
            return plan, build_bundle(plan, protos, self._shipped, self._options, self._overrides)

    def warm_up(self) -> None:
        """Build one bundle: the manifests' model classes are compiled at their first use (0.2 s)."""
        nil = UUID(int=0)
        solution = Solution(nil, nil, "warm-up", Kind.PIPELINE)
        blueprint = read_blueprint(_WARM_UP_BLUEPRINT, max_nodes=2)
        plan = plan_pipeline(solution, blueprint, self._options.orchestrator_image)
        build_bundle(plan, {}, self._shipped, self._options)

    async def _fetch(
        self, solution_id: UUID, revision_id: UUID, caller: Caller | None
    ) -> tuple[Plan, Mapping[str, bytes]]:
        """Fetch and plan; the protobufs come by the names of their containers."""
        solution = await self._catalog.find(solution_id, revision_id, caller)
        if solution.kind is Kind.SINGLE_MODEL:
            plan = plan_single_model(solution)
        else:
            (data,) = await self._artifacts.fetch([solution.blueprint_uri or ""])
            if data is None:
                raise NotFound("blueprint-missing", "The pipeline's blueprint is gone. Save the pipeline again.")
            blueprint = read_blueprint(data, self._options.max_nodes)
            plan = plan_pipeline(solution, blueprint, self._options.orchestrator_image)
        uris = {container.name: container.proto_uri for container in plan.containers if container.proto_uri}
        owners = {uri: name for name, uri in uris.items()}  # nodes of one model share its file, which is fetched once
        found = dict(zip(owners, await self._artifacts.fetch(list(owners)), strict=True))
        protos = {}
        for name, uri in uris.items():
            text = found[uri]
            if text is None:
                raise NotFound("proto-missing", f"The protobuf of node '{name}' is gone. On-board its model again.")
            protos[name] = text
        return plan, protos


_WARM_UP_BLUEPRINT = b"""{"name": "warm-up", "nodes": [
    {"container_name": "/data/shared", "node_type": "SharedFolder"},
    {"container_name": "node", "image": "registry.example/node:1", "proto_uri": "a/b.proto", "operation_signature_list":
        [{"operation_signature": {"operation_name": "o", "input_message_name": "I", "output_message_name": "O"}}]}
]}"""
