"""Base images get the digest that their tags have; what has none is named."""

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
    """The one line changes and keeps its tag; the next time the digest is replaced."""
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
    """In both forms that registries have for it."""
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
    """Neither an error nor one platform's digest, with which the image would be built on that platform alone."""
    with pytest.raises(ValueError, match="no digest of an index"):
        digest(inspection)


@pytest.mark.parametrize("file", PLACES)
def test_an_image_without_a_digest_is_named(file: str) -> None:
    """Those with one are not, nor the image that is built here."""
    once = pinned(file, (ROOT / file).read_text(encoding="utf-8"), lambda _: INSPECTION)
    assert [] == without(file, once)
    assert [IMAGES[file]] == without(file, once.replace(f"@{INDEX}", ""))
