"""The image, built once for all tests of this folder."""

import pytest

from tests.extended.image.container import Image
from tests.extended.image.root import BASE_ENV, build
from tests.support.dockerfile import read_dockerfile
from tests.support.paths import ROOT


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Build the image from this project's Dockerfile; it takes half a minute, most of it in pip."""
    stages = read_dockerfile((ROOT / "Dockerfile").read_text(encoding="utf-8"), BASE_ENV)
    return Image(stages[-1], build(stages, ROOT, tmp_path_factory.mktemp("image")))
