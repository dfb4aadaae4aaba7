"""An engine and the image built in it, once for all tests; the compose file's services, healthy for each test."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.extended.docker.engine import running_engine
from tests.extended.docker.images import base_image, kafka_image
from tests.extended.docker.shell import said
from tests.extended.live.machine import is_inside
from tests.support import corpus
from tests.support.kept import Unavailable, needed
from worker import __version__

BUILD_SECONDS = 600


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Report at the end of the run how long something took."""
    started = time.monotonic()
    yield
    corpus.say(f"docker: {what} took {time.monotonic() - started:.0f} s")


@pytest.fixture(scope="session")
def engine() -> Iterator[None]:
    """Put Docker on PATH, with stand-ins for the base images."""

    def look() -> None:
        if not is_inside():
            raise Unavailable("Run `make test-docker`, which makes the machine that these tests need.")

    needed(look)
    with running_engine([base_image(), kafka_image()]):
        corpus.say("docker: " + said("docker version --format 'Engine {{.Server.Version}}'").strip())
        corpus.say("docker: " + said("docker compose version").strip())
        yield


@pytest.fixture(scope="session")
def image(engine: None) -> str:
    """Build the image as `make image` does, on the stand-in for Python's image."""
    name = f"playground-deployer:{__version__}"
    arguments = {"PYTHON": base_image().tag, "VERSION": __version__, "REVISION": "0123abc"}
    options = " ".join(f"--build-arg {key}={value}" for key, value in arguments.items())
    with timed("docker build ."):
        said(f"docker build --progress plain --tag {name} {options} .", seconds=BUILD_SECONDS)
    return name


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Configure the compose file: images without the digests, which only the real images have."""
    file: Path = tmp_path_factory.mktemp("compose") / "stand-ins.yml"
    services = {
        "worker": {"build": {"args": {"PYTHON": base_image().tag}}},
        "kafka": {"image": kafka_image().name, "pull_policy": "never"},
    }
    file.write_text(yaml.safe_dump({"services": services}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPOSE_FILE", f"docker-compose.yml:{file}")
        yield


@pytest.fixture
def services(image: str, stand_ins: None) -> str:
    """Start the services with `make up`, from `image`'s build cache, until all are healthy; yield its output."""
    with timed("docker compose up --build --wait"):
        try:
            return said("make up", seconds=BUILD_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{said('docker compose logs --tail 40')}") from None
