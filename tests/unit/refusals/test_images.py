"""Image references by corpus, with the verdicts of the reference implementation (tests/data/images)."""

import json

import pytest

from tests.support.corpus import record
from tests.support.paths import DATA
from tests.support.ways_out import tells_what_to_do
from worker.domain.bundle.blueprint import check_image
from worker.errors import NotDeployable

VERDICTS: dict[str, list[str]] = json.loads((DATA / "images" / "references.json").read_text(encoding="utf-8"))
MEANING = {"has no tag": "untagged", "has the tag latest": "latest", None: "fixed"}


def verdict(image: str) -> str:
    """Return the worker's verdict; any other exception fails the test."""
    try:
        return MEANING[check_image(image, "Node 'x'")]
    except NotDeployable as refusal:
        said = (refusal.code, tells_what_to_do(refusal.message))
        return "invalid" if said == ("image-invalid" if image.strip() else "image-empty", True) else str(said)


def test_the_worker_agrees_with_the_reference_implementation() -> None:
    """The worker agrees with the reference implementation on what is a reference and what fixes one version."""
    wrong = [
        (image, expected) for expected, images in VERDICTS.items() for image in images if verdict(image) != expected
    ]
    record("image references", sum(map(len, VERDICTS.values())), len(wrong))
    assert [] == wrong
    assert sum(map(len, VERDICTS.values())) >= 1000


@pytest.mark.parametrize("scheme", ["http", "https", "HTTPS", "docker", "oci", "containers-storage", "x" * 100])
def test_a_scheme_is_named(scheme: str) -> None:
    """A scheme, the usual mistake, is named by the message, which advises to leave it out."""
    with pytest.raises(NotDeployable, match="leave the scheme out") as refusal:
        check_image(f"{scheme}://registry.example/model:1", "Node 'x'")
    assert len(refusal.value.message) < 300
