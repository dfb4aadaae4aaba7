"""The image as Docker builds and runs it."""

import json

from tests.extended.docker.shell import said
from worker import __version__

RESTRICTED = "--read-only --cap-drop ALL --security-opt no-new-privileges --tmpfs /tmp"


def test_the_image_builds_and_its_command_says_the_version(image: str) -> None:
    """The image prints its version when run as in README.md: without capabilities or a writable root."""
    assert f"playground-deployer {__version__}\n" == said(f"docker run --rm {RESTRICTED} {image} --version")


def test_a_container_runs_as_a_user_without_a_name(image: str) -> None:
    """A container runs as a nameless user, not root and in no group of the machine."""
    ask = "import os; print(os.getuid(), os.getgid(), *os.getgroups())"
    assert "65532 65532 65532\n" == said(f"docker run --rm --entrypoint python3 {image} -c '{ask}'")


def test_the_image_says_what_it_is(image: str) -> None:
    """The image has the version and revision that `make image` sets, and the expected default command."""
    (config,) = json.loads(said(f"docker image inspect --format '[{{{{json .Config}}}}]' {image}"))
    labels = {name.rpartition(".")[2]: value for name, value in config["Labels"].items()}
    assert ("playground-deployer", __version__, "0123abc") == (labels["title"], labels["version"], labels["revision"])
    assert (["playground-deployer"], ["run"], "SIGTERM") == (config["Entrypoint"], config["Cmd"], config["StopSignal"])
