"""FETCH, PLAN, RENDER, BUNDLE: solution and revision id in, bundle out.

Nearly every solution is small. A small solution is planned and packed on the event loop, within its Allowance: memory
suffices for all small solutions that are built at the same time, and none of them blocks the loop for 50 ms. A large
solution is built again in a thread, with memory reserved (worker/delivery/admission.py).
"""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from operator import itemgetter
from typing import ParamSpec, TypeVar
from uuid import UUID

from cachetools import LRUCache

from schemas import Kind
from worker import settings
from worker.concurrency import in_thread
from worker.domain.bundle.archive import Bundle, build_bundle
from worker.domain.bundle.blueprint import check_image, is_blueprint, read_blueprint
from worker.domain.bundle.plan import (
    Container,
    Plan,
    check_protobufs,
    plan_pipeline,
    plan_single_model,
    proto_without_service,
    protobuf_invalid,
)
from worker.domain.bundle.protobuf import Protobuf, ProtobufError, read_protobuf
from worker.domain.overrides.overrides import NO_OVERRIDES, Overrides
from worker.domain.solution import ByteLimit, Caller, LeftOut, Solution, Unproven
from worker.errors import ConfigurationError, NeedsReservation, NotDeployable, NotFound, Unavailable, WorkerError
from worker.observability.telemetry import stages
from worker.ports import Artifacts, Catalog

P = ParamSpec("P")
T = TypeVar("T")

SMALL_BYTES = 256 * 1024  # of all fetched data; ordinary pipelines have 20 to 100 kB
SMALL_VALUES = 4_000  # commas and brackets in a blueprint, as strict_json counts them: 100 ordinary nodes, 15 ms, 2 MiB
SMALL_MARKUP = 2_000  # tags and character references in a description: 25 ms in the worst case
# Limits for all protobufs of a pipeline: 0.8 s in a thread. A protobuf usually has 1 kB and 150 marks, rarely 12 kB.
MAX_READ = 512 * 1024
MAX_MARKS = 30_000
MAX_KNOWN = 4 * 1024 * 1024  # bytes of protobufs whose declarations are kept; these take about as much memory
MAX_BUILT = 4 * 1024 * 1024  # bytes of known bundles and their inputs: 20 tutorials
SMALL_MANIFESTS = 1_200  # 12 per container, plus one per folder that it mounts: 100 containers, 25 ms, 0.5 MB


class Allowance:
    """What one attempt may still fetch and build. Exceeding a small allowance raises NeedsReservation."""

    def __init__(self, *, large: bool = False) -> None:
        self.large = large
        self.fetched = ByteLimit(math.inf) if large else ByteLimit(SMALL_BYTES, NeedsReservation)

    def check_texts(self, html: str | LeftOut | None, blueprint: bytes = b"") -> None:
        """Check the size of a description before it is sanitised, and of a blueprint before it is parsed."""
        markup = html.count("<") + html.count("&") if isinstance(html, str) else 0
        self._need(markup <= SMALL_MARKUP and sum(map(blueprint.count, (b",", b"[", b"{"))) <= SMALL_VALUES)

    def check_manifests(self, containers: int, folders: int) -> None:
        """Check the number of manifests before the plan is rendered."""
        self._need(containers * (12 + folders) <= SMALL_MANIFESTS)

    def _need(self, fits: bool) -> None:
        if not fits and not self.large:
            raise NeedsReservation("larger than what needs no reservation")


@dataclass(slots=True)
class Built:
    """The plan and bundle of a solution and its files. They depend on nothing else, and on no request."""

    source: tuple[Solution, bytes] = field(repr=False)  # the bytes are the blueprint
    planned: Plan  # without the warnings about the protobufs
    plan: Plan
    protos: Mapping[str, bytes] = field(repr=False)
    bundle: Bundle | None = None

    def size(self) -> int:
        """Return about how many bytes are kept: most of them are in the zip, and a second time in its files."""
        return 2 * len(self.bundle.data) + 16 * 1024 if self.bundle else 0


class KnownBundles:
    """Built bundles by their inputs. A class of students deploys one tutorial, and all of them get the same bundle."""

    def __init__(self) -> None:
        self._built: LRUCache[tuple[Solution, bytes], Built] = LRUCache(MAX_BUILT, getsizeof=Built.size)

    def find(self, solution: Solution, blueprint: bytes) -> Built | None:
        """Return what was built from these inputs. The caller must compare the protobufs."""
        return self._built.get((solution, blueprint))

    def keep(self, built: Built) -> None:
        """Keep a bundle of at most an eighth of MAX_BUILT, and evict the least recently used bundles for it."""
        if built.size() <= MAX_BUILT / 8:
            self._built[built.source] = built


class Builder:
    """Solution and revision id in, bundle out. The command `bundle` needs nothing but a Builder."""

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
        except NotDeployable as error:  # a wrong setting, not the fault of a request
            raise ConfigurationError(error.message) from None
        self._catalog = catalog
        self._artifacts = artifacts
        self._shipped = shipped
        self._options = options
        self._overrides = overrides
        self._protobufs = KnownProtobufs()
        self._bundles = KnownBundles()

    async def build(
        self, solution_id: UUID, revision_id: UUID, caller: Caller | None, *, large: bool = True
    ) -> tuple[Plan, Bundle]:
        """Authorise, fetch, plan, render, bundle.

        Raises DeploymentError, and with `large=False` NeedsReservation for a solution that is not small.
        """
        allowance = Allowance(large=large)
        with stages.fetch():
            # In a task: the code that awaits the bundle is resumed once, and not after every answer.
            built = await asyncio.create_task(self._fetch(solution_id, revision_id, caller, allowance))
        with stages.bundle():
            if (bundle := built.bundle) is None:
                given = built.plan, built.protos, self._shipped, self._options, self._overrides
                bundle = built.bundle = await _done(allowance, build_bundle, *given)
                self._bundles.keep(built)
            return built.plan, bundle

    def warm_up(self) -> None:
        """Build one bundle, because the manifests' model classes and the protobuf grammar are compiled on first use."""
        nil = UUID(int=0)
        solution = Solution(nil, nil, "warm-up", Kind.PIPELINE)
        blueprint = read_blueprint(_WARM_UP_BLUEPRINT, max_nodes=2)
        plan = plan_pipeline(solution, blueprint, self._options.orchestrator_image)
        build_bundle(plan, {}, self._shipped, self._options)
        read_protobuf(b"")

    async def _fetch(self, solution_id: UUID, revision_id: UUID, caller: Caller | None, allowance: Allowance) -> Built:
        """Fetch the files and plan, or return the earlier result when all inputs are the same.

        The protobufs in the result are keyed by container name.
        """
        solution, data = await self._catalog.find(solution_id, revision_id, caller, allowance.fetched), b""
        if solution.kind is not Kind.SINGLE_MODEL:
            uri, size = solution.blueprint_uri or "", solution.file_size
            (found,) = await self._artifacts.fetch([uri], allowance.fetched, size)
            if found is None:
                raise NotFound("blueprint-missing", "The pipeline's blueprint is gone. Save the pipeline again.")
            data = found
        allowance.check_texts(solution.description, data)
        built = self._bundles.find(solution, data)
        plan = built.planned if built else await _done(allowance, self._plan, solution, data)
        allowance.check_manifests(len(plan.containers), len(plan.shared_folders))
        uris = {container.name: container.proto_uri for container in plan.containers if container.proto_uri}
        asked = [*dict.fromkeys(uris.values())]  # nodes of one model share its file, which is fetched only once
        left = allowance.fetched
        if solution.kind is Kind.SINGLE_MODEL:
            files = await self._artifacts.fetch(asked, left, solution.file_size)
        else:
            access = asyncio.ensure_future(self._catalog.check_protobufs(asked, solution, caller, left))
            try:
                try:
                    files = await self._artifacts.fetch(asked, left)
                except WorkerError:
                    await access  # its error wins: another user's file must stay secret, even its size
                    raise
                await access
            finally:
                access.cancel()
                await asyncio.gather(access, return_exceptions=True)
        texts, protos = dict(zip(asked, files, strict=True)), {}
        for name, uri in uris.items():
            if (text := texts[uri]) is None:
                raise NotFound("proto-missing", f"The protobuf of node '{name}' is gone. On-board its model again.")
            protos[name] = text
        if built and built.protos == protos:
            return built
        warnings = await self._protobufs.check(plan, protos)
        told = replace(plan, warnings=(*plan.warnings, *warnings)) if warnings else plan
        return Built((solution, data), plan, told, protos)

    def _plan(self, solution: Solution, data: bytes) -> Plan:
        options = self._options
        if solution.kind is Kind.SINGLE_MODEL:
            return plan_single_model(solution, options.reserved_namespaces)
        try:
            blueprint = read_blueprint(data, options.max_nodes, options.max_shared_folders)
        except NotDeployable as error:
            raise _in_doubt(error) if isinstance(data, Unproven) and not is_blueprint(data) else error from None
        return plan_pipeline(solution, blueprint, options.orchestrator_image, options.reserved_namespaces)


QUICK_BYTES = 16 * 1024
QUICK_MARKS = 600  # in a file that is parsed in 10 ms: four times the usual number

MARKS = tuple(bytes((char,)) for char in b";{}()[]<>=,./\"'")  # their number grows with that of tokens and comments


def _is_quick(data: bytes) -> bool:
    return len(data) <= QUICK_BYTES and sum(map(data.count, MARKS)) <= QUICK_MARKS


class KnownProtobufs:
    """Parsed protobufs by their content: the protobufs of a tutorial are parsed once, and not again for each user."""

    def __init__(self, read: Callable[[bytes], Protobuf] = read_protobuf) -> None:
        self._read = read
        self._known: LRUCache[bytes, tuple[Protobuf | ProtobufError, int]] = LRUCache(
            MAX_KNOWN, getsizeof=itemgetter(1)
        )
        # Files are parsed in threads, one quick and one slow file at a time: Python would not parse two files faster.
        # No quick file waits for a slow file.
        self._locks = {False: asyncio.Lock(), True: asyncio.Lock()}

    async def check(self, plan: Plan, protos: Mapping[str, bytes]) -> Sequence[str]:
        """Return the warnings about these protobufs, by container. Raises NotDeployable, Unavailable."""
        read: dict[str, Protobuf] = {}
        warnings: list[str] = []
        left, marks = MAX_READ, MAX_MARKS
        counted: set[bytes] = set()
        for container in plan.containers:
            if (data := protos.get(container.name)) is None:
                continue
            if (digest := sha256(data).digest()) not in counted:  # nodes that share a file are counted once
                counted.add(digest)
                left, marks = left - len(data), marks - sum(map(data.count, MARKS))
            if left < 0 or marks < 0:
                warnings.append(f"From '{container.name}' on, the protobufs are too large to be checked.")
                break
            found = await self._find(data, digest)
            if isinstance(data, Unproven):
                _check_unproven(plan, container, found)
            if isinstance(found, Protobuf):
                read[container.name] = found
            elif plan.kind is Kind.PIPELINE:
                raise protobuf_invalid(container, found)
            else:
                warnings.append(protobuf_invalid(container, found).message)
        return (*warnings, *check_protobufs(plan, read)) if plan.kind is Kind.PIPELINE else warnings

    async def _find(self, data: bytes, digest: bytes) -> Protobuf | ProtobufError:
        """Parse a file, unless the result is known."""
        if digest not in self._known:
            async with self._locks[_is_quick(data)]:
                if digest not in self._known:  # no other task has parsed it while this task waited
                    self._known[digest] = await in_thread(self._read_or_error, data), len(data) + 1024
        return self._known[digest][0]

    def _read_or_error(self, data: bytes) -> Protobuf | ProtobufError:
        try:
            return self._read(data)
        except ProtobufError as error:
            return error.with_traceback(None)


def _check_unproven(plan: Plan, container: Container, found: Protobuf | ProtobufError) -> None:
    """Raise Unavailable for an unproven file that is not a protobuf, or only the beginning of a node's protobuf."""
    if isinstance(found, ProtobufError):
        raise _in_doubt(protobuf_invalid(container, found))
    if plan.kind is Kind.PIPELINE and not found.services:
        raise _in_doubt(proto_without_service(container.name, "declares no service"))


def _in_doubt(error: NotDeployable) -> Unavailable:
    """Turn an error into Unavailable, because a proxy in front of the repository may have caused the error."""
    message = (
        "The repository's answer cannot be read, and neither a checksum nor a known size proves that it is the file. "
        f"It is fetched again until the request deadline. {error.message}"
    )
    return Unavailable("artifacts-error", message).because("", "an unproven file that cannot be read")


async def _done(allowance: Allowance, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    return await in_thread(work, *args, **kwargs) if allowance.large else work(*args, **kwargs)


_WARM_UP_BLUEPRINT = b"""{"name": "warm-up", "nodes": [
    {"container_name": "/data/shared", "node_type": "SharedFolder"},
    {"container_name": "node", "image": "registry.example/node:1", "proto_uri": "a/b.proto", "operation_signature_list":
        [{"operation_signature": {"operation_name": "o", "input_message_name": "I", "output_message_name": "O"}}]}
]}"""
