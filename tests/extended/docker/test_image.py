"""The image as Docker builds and runs it."""

import json

from tests.extended.docker.shell import said
from worker import __version__

RESTRICTED = "--read-only --cap-drop ALL --security-opt no-new-privileges --tmpfs /tmp"


def test_the_image_builds_and_its_command_says_the_version(image: str) -> None:
    """As README.md runs it: without capabilities or a root to write to."""
    assert f"playground-deployer {__version__}\n" == said(f"docker run --rm {RESTRICTED} {image} --version")


def test_a_container_runs_as_a_user_without_a_name(image: str) -> None:
    """Not root, in no group of the machine's."""
    ask = "import os; print(os.getuid(), os.getgid(), *os.getgroups())"
    assert "65532 65532 65532\n" == said(f"docker run --rm --entrypoint python3 {image} -c '{ask}'")


def test_the_image_says_what_it_is(image: str) -> None:
    """Version and revision as `make image` gives them, and what a container does unless it is told otherwise."""
    (config,) = json.loads(said(f"docker image inspect --format '[{{{{json .Config}}}}]' {image}"))
    labels = {name.rpartition(".")[2]: value for name, value in config["Labels"].items()}
    assert ("playground-deployer", __version__, "0123abc") == (labels["title"], labels["version"], labels["revision"])
    assert (["playground-deployer"], ["run"], "SIGTERM") == (config["Entrypoint"], config["Cmd"], config["StopSignal"])
