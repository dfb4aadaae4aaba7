"""Base images get the digests of their tags, and images without a digest are named."""

import pytest

from release.digests import PLACES, digest, pinned, without
from release.lock import ROOT

INDEX, AMD64, ARM64 = (f"sha256:{letter * 64}" for letter in "abc")
INSPECTION = f"""\
Name:      registry.example/library/python:3.13-slim-bookworm
MediaType: application/vnd.oci.image.index.v1+json
Digest:    {INDEX}

Manifests:
  Name:      registry.example/library/python:3.13-slim-bookworm@{AMD64}
  MediaType: application/vnd.oci.image.manifest.v1+json
  Platform:  linux/amd64

  Name:      registry.example/library/python:3.13-slim-bookworm@{ARM64}
  MediaType: application/vnd.oci.image.manifest.v1+json
  Platform:  linux/arm64
"""
DOCKER_LIST = INSPECTION.replace("vnd.oci.image.index.v1", "vnd.docker.distribution.manifest.list.v2")
IMAGES = {"Dockerfile": "python:3.13.14-slim-bookworm", "docker-compose.yml": "apache/kafka:4.3.1"}


@pytest.mark.parametrize("file", PLACES)
def test_every_image_of_others_gets_the_digest(file: str) -> None:
    """Only the image's line changes, and it keeps its tag; the next run replaces the digest."""
    text, asked = (ROOT / file).read_text(encoding="utf-8"), []
    once = pinned(file, text, lambda image: asked.append(image) or INSPECTION)  # type: ignore[func-returns-value]
    twice = pinned(file, once, lambda _: INSPECTION.replace(INDEX, AMD64))
    assert [IMAGES[file]] == asked
    (line,) = set(once.splitlines()) - set(twice.splitlines())
    assert line.endswith(f"{IMAGES[file].removeprefix('python:')}@{INDEX}")
    assert once.replace(INDEX, AMD64) == twice
    assert len(text.splitlines()) == len(once.splitlines())


@pytest.mark.parametrize("inspection", [INSPECTION, DOCKER_LIST])
def test_the_digest_is_that_of_all_platforms(inspection: str) -> None:
    """The digest is that of the index of all platforms, in both formats of registries."""
    assert INDEX == digest(inspection)


@pytest.mark.parametrize(
    "inspection",
    [
        "",
        "ERROR: not found\n",
        INSPECTION.replace("image.index", "image.manifest"),
        INSPECTION.replace(INDEX, INDEX[:-1]),
    ],
)
def test_nothing_else_is_taken_for_one(inspection: str) -> None:
    """An error is rejected, and so is a single platform's digest, which would fix the image to that platform."""
    with pytest.raises(ValueError, match="no digest of an index"):
        digest(inspection)


@pytest.mark.parametrize("file", PLACES)
def test_an_image_without_a_digest_is_named(file: str) -> None:
    """Images without a digest are named; the image built here is not."""
    once = pinned(file, (ROOT / file).read_text(encoding="utf-8"), lambda _: INSPECTION)
    assert [] == without(file, once)
    assert [IMAGES[file]] == without(file, once.replace(f"@{INDEX}", ""))
