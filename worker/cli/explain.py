"""What is in a bundle, and why it differs from what the author of the solution wrote."""

from collections.abc import Iterator
from fnmatch import fnmatch

from schemas import Kind
from worker.cli.view import plain
from worker.domain.bundle.archive import Bundle
from worker.domain.bundle.plan import NODE_NAME_LIMIT, PIPELINE_NAME_LIMIT, Plan

# Entry → what it is for; the first pattern that fits counts.
PURPOSES = (
    ("blueprint.json", "the pipeline, as the orchestrator runs it"),
    ("dockerinfo.json", "where the orchestrator finds each node"),
    ("deployments/pvc*.yaml", "the claim of a shared folder"),
    ("deployments/*service.yaml", "how its node is reached"),
    ("deployments/*deployment.yaml", "its node's container"),
    ("microservice/*.proto", "its node's protobuf"),
    ("orchestrator_client/*", "starts and watches the pipeline on the target"),
    ("protobuf/*", "the orchestrator's interface"),
    ("kubernetes-client-script.py", "deploys all of this on the target"),
    ("requirements*.txt", "what the scripts need on the target"),
    ("deployment-readme.txt", "how to deploy by hand"),
    ("modelname.txt", "the model's name, for older playground servers"),
    ("solution_icon.png", "the solution's picture"),
    ("solution_description.html", "the solution's description, sanitised"),
    ("*url*", "where the solution came from"),
    ("MANIFEST.json", "which solution this is, and each file's sha256"),
)

RENAMED = " is called "  # in the warnings of worker.domain.plan
NAMES = (
    f"A node's name becomes a DNS label: lower-case letters, digits and hyphens, a letter first, at most "
    f"{NODE_NAME_LIMIT} characters; a pipeline's must make a namespace, at most {PIPELINE_NAME_LIMIT}. "
    "Others get a readable form and a short hash."
)


def explain(plan: Plan, bundle: Bundle) -> Iterator[str]:
    """Lines for people."""
    kind = "A single model" if plan.kind is Kind.SINGLE_MODEL else "A pipeline"
    yield plain(plan.solution_name)
    yield f"{kind}: solution {plan.solution_id}, revision {plan.revision_id}."
    yield ""
    yield "What runs"
    for container in plan.containers:
        yield f"  {container.name}  {container.image}"
    for folder in plan.shared_folders:
        yield f"  shared folder {folder.path}: claim {folder.claim}, mounted in every model"
    yield ""
    yield "What is not as its author wrote it"
    yield from (f"  {plain(warning)}" for warning in plan.warnings or ("Every name is as it was.",))
    if any(RENAMED in warning for warning in plan.warnings):
        yield f"  {NAMES}"
    yield ""
    if bundle.overridden:
        yield "What the operator's overrides changed"
        yield from (f"  {name}: {_entries(numbers)}" for name, numbers in bundle.overridden.items())
        yield ""
    yield "Files"
    width = max(map(len, bundle.files))
    yield from (f"  {name:<{width}}  {purpose(name)}" for name in sorted(bundle.files))
    yield ""


def purpose(name: str) -> str:
    """What an entry of the zip is for."""
    return next((text for pattern, text in PURPOSES if fnmatch(name, pattern)), "")


def _entries(numbers: tuple[int, ...]) -> str:
    return f"{'entry' if len(numbers) == 1 else 'entries'} {', '.join(map(str, numbers))}"
