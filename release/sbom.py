"""The bill of materials: the worker's packages, as CycloneDX 1.6. The same lock gives the same bytes."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import requires
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from release.licences import licence_of
from release.lock import Package
from worker import __version__

NAME = "playground-deployer"
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def sbom(packages: Sequence[Package]) -> str:
    """Return schema-valid JSON. Raises LicenceRefused, and ValueError if the JSON is not valid."""
    components = {package.name: _component(package) for package in packages}
    root = Component(type=ComponentType.APPLICATION, name=NAME, version=__version__, bom_ref=f"{NAME}@{__version__}")
    # A fixed time, and a serial number derived from the content, so that all builds are identical.
    seed = "\n".join(f"{it.name}=={it.version}" for it in packages)
    bom = Bom(components=components.values(), serial_number=uuid5(NAMESPACE_URL, f"{NAME}@{__version__}\n{seed}"))
    bom.metadata = BomMetaData(component=root, timestamp=EPOCH)
    for name, component in ((NAME, root), *components.items()):
        bom.register_dependency(component, [components[it] for it in _needs(name, components)])
    text = str(JsonV1Dot6(bom).output_as_string(indent=2)) + "\n"
    if problem := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise ValueError(f"the SBOM is not valid CycloneDX: {problem}")
    return text


def _component(package: Package) -> Component:
    """Return the component, with hashes at a reference to its files: its own hashes would be those of one file."""
    purl = PackageURL("pypi", name=package.name, version=package.version)
    files = ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION,
        url=XsUri(purl.to_string()),
        comment="The files that requirements.lock allows.",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=it) for it in package.hashes],
    )
    return Component(
        type=ComponentType.LIBRARY,
        name=package.name,
        version=package.version,
        purl=purl,
        bom_ref=purl.to_string(),
        licenses=[LicenseExpression(licence_of(package.name))],
        external_references=[files],
    )


def _needs(name: str, components: Mapping[str, Component]) -> list[str]:
    """Return the components that it requires, with any extras, according to its metadata."""
    required = {str(canonicalize_name(Requirement(it).name)) for it in requires(name) or []}
    return sorted(required & set(components) - {name})
