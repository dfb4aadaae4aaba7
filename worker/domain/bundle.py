"""solution.zip: which files are in it, and the same bytes for the same input on every machine."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from schemas import Kind
from worker import __version__, settings
from worker.domain import yaml
from worker.domain.manifests import render
from worker.domain.overrides import NO_OVERRIDES, Overrides
from worker.domain.plan import Container, Plan
from worker.domain.stored_zip import stored_zip
from worker.errors import NotDeployable

GENERATOR = "playground-deployer"
MAX_PROTOS_BYTES = 16 * 1024 * 1024

Files = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A finished solution.zip."""

    data: bytes = field(repr=False)
    sha256: str
    nodes: tuple[str, ...]
    files: Mapping[str, bytes] = field(repr=False)
    overridden: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # file → the operator's entries in it


def build_bundle(
    plan: Plan,
    protos: Mapping[str, bytes],
    shipped: Mapping[str, bytes],
    options: settings.Bundle,
    overrides: Overrides = NO_OVERRIDES,
) -> Bundle:
    """Render and pack.

    protos: container name → protobuf text. shipped: what comes with the deployer (worker/ontarget), by path.
    Raises NotDeployable (bundle-too-large), OverridesInvalid.
    """
    check_size(sum(map(len, protos.values())))
    manifests, overridden = _manifests(plan, options, overrides)
    files = manifests | _descriptions(plan, options) | _shipped(plan, shipped)
    files |= {f"microservice/{name}.proto": text for name, text in protos.items()}
    files["MANIFEST.json"] = _manifest(plan, files)
    data = stored_zip(files)
    nodes = tuple(container.name for container in plan.containers)
    return Bundle(data, sha256(data).hexdigest(), nodes, files, overridden)


def check_size(protos: int) -> None:
    """Judge the size of all protobufs together, in bytes. Raises NotDeployable (bundle-too-large)."""
    if protos > MAX_PROTOS_BYTES:
        raise NotDeployable(
            "bundle-too-large", f"The protobufs have more than {MAX_PROTOS_BYTES >> 20} MiB in all. Make them smaller."
        )


def _manifests(plan: Plan, options: settings.Bundle, overrides: Overrides) -> tuple[Files, dict[str, tuple[int, ...]]]:
    """The files, and which of the operator's entries changed some of them."""
    files, overridden = {}, {}
    for name, rendered in render(plan, options).items():
        manifest, entries = overrides.apply(rendered)
        path = f"deployments/{name}"
        files[path] = yaml.dump(manifest.model_dump(by_alias=True, exclude_none=True))
        if entries:
            overridden[path] = entries
    return files, overridden


def _descriptions(plan: Plan, options: settings.Bundle) -> Files:
    """Files about the solution, each on its own: a missing icon drops nothing else."""
    files = {
        "blueprint.json": _json(plan.document),
        "source_system_url.txt": options.source_system_url.encode(),
        "federation-endpoint.url": options.source_system_url.encode(),
    }
    if plan.presentation.icon is not None:
        files["solution_icon.png"] = plan.presentation.icon
    if plan.presentation.description is not None:
        files["solution_description.html"] = plan.presentation.description
    if plan.kind is Kind.PIPELINE:
        files["dockerinfo.json"] = _docker_info(plan.containers)
    else:
        # Older playground servers make the namespace of it.
        files["modelname.txt"] = plan.containers[0].name.encode()
    return files


def _docker_info(containers: tuple[Container, ...]) -> bytes:
    """Service ports as strings; the script on the target puts NodePorts in their place."""
    entries = [{"container_name": it.name, "ip_address": it.name, "port": str(it.service_port)} for it in containers]
    return _json({"docker_info_list": entries})


def _shipped(plan: Plan, shipped: Mapping[str, bytes]) -> Files:
    """The folder orchestrator_client/ makes the playground show a Run button, so only pipelines have it."""
    if plan.kind is Kind.PIPELINE:
        return {name: data for name, data in shipped.items() if name != "requirements-single.txt"}
    return {
        "kubernetes-client-script.py": shipped["kubernetes-client-script.py"],
        "deployment-readme.txt": shipped["deployment-readme.txt"],
        "requirements.txt": shipped["requirements-single.txt"],
    }


def _manifest(plan: Plan, files: Files) -> bytes:
    """What the zip was made of and by; nothing of the request, so that the same solution gives the same bytes."""
    return _json(
        {
            "generator": {"name": GENERATOR, "version": __version__},
            "solutionId": str(plan.solution_id),
            "revisionId": str(plan.revision_id),
            "entries": {name: {"sha256": sha256(files[name]).hexdigest()} for name in sorted(files)},
        }
    )


def _json(document: Mapping[str, Any]) -> bytes:
    # In one line, as today's bundles have it: indenting takes the encoder's slow path.
    return (json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n").encode()
