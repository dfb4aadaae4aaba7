"""FETCH, PLAN, RENDER, BUNDLE: solution and revision id in, bundle out."""

from collections.abc import Mapping
from uuid import UUID

from schemas import Kind
from worker import settings
from worker.concurrency import together
from worker.domain.bundle.archive import Bundle, build_bundle, check_size
from worker.domain.bundle.blueprint import read_blueprint
from worker.domain.bundle.plan import Plan, plan_pipeline, plan_single_model
from worker.domain.overrides.overrides import NO_OVERRIDES, Overrides
from worker.domain.solution import Caller, Solution
from worker.errors import ConfigurationError, NotDeployable, NotFound
from worker.observability.telemetry import stage
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
        self._catalog = catalog
        self._artifacts = artifacts
        self._shipped = shipped
        self._options = options
        self._overrides = overrides

    async def build(self, solution_id: UUID, revision_id: UUID, caller: Caller | None) -> tuple[Plan, Bundle]:
        """Authorise, fetch, plan, render, bundle. Raises DeploymentError."""
        with stage("fetch"):
            solution = await self._catalog.find(solution_id, revision_id, caller)
            plan = await self._plan(solution)
            protos = await self._protos(plan)
        with stage("bundle"):
            return plan, build_bundle(plan, protos, self._shipped, self._options, self._overrides)

    def warm_up(self) -> None:
        """Build one bundle: the manifests' model classes are compiled at their first use (0.2 s).

        Raises ConfigurationError when the orchestrator's image is none.
        """
        nil = UUID(int=0)
        solution = Solution(nil, nil, "warm-up", Kind.PIPELINE)
        blueprint = read_blueprint(_WARM_UP_BLUEPRINT, max_nodes=2)
        try:
            plan = plan_pipeline(solution, blueprint, self._options.orchestrator_image)
        except NotDeployable as error:  # the one thing in it that is not ours, and no request's fault
            raise ConfigurationError(error.message) from None
        build_bundle(plan, {}, self._shipped, self._options)

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


_WARM_UP_BLUEPRINT = b"""{"name": "warm-up", "nodes": [
    {"container_name": "/data/shared", "node_type": "SharedFolder"},
    {"container_name": "node", "image": "registry.example/node:1", "proto_uri": "a/b.proto", "operation_signature_list":
        [{"operation_signature": {"operation_name": "o", "input_message_name": "I", "output_message_name": "O"}}]}
]}"""
