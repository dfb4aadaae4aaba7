import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.extended.image.root import sent
from tests.support.dockerfile import Run, Stage, read_dockerfile
from tests.support.paths import ROOT
from worker import __version__
from worker.settings import RuntimeSettings


@pytest.fixture
def stages() -> list[Stage]:
    return read_dockerfile((ROOT / "Dockerfile").read_text(encoding="utf-8"), {"PATH": "/usr/bin"})


def test_the_image_starts_the_worker_as_nobody(stages: list[Stage]) -> None:
    """The image has the unprivileged user, program, command and port that the chart and the compose file rely on."""
    last = stages[-1]
    assert ("65532:65532", ["playground-deployer", "run"]) == (last.facts["USER"], last.command)
    assert (str(RuntimeSettings().http_port), "SIGTERM") == (last.facts["EXPOSE"], last.facts["STOPSIGNAL"])
    assert str(128 * 1024 * 1024) == last.env["MALLOC_TRIM_THRESHOLD_"]


def test_nothing_comes_into_the_image_unseen(stages: list[Stage]) -> None:
    """Everything that pip installs has a hash in a lock or is ours, and leaves no cache."""
    runs = [step.command for stage in stages for step in stage.steps if isinstance(step, Run)]
    pips = [command for run in runs for command in run.split("&&") if "/pip " in command]
    assert 4 == len(pips)
    assert [] == [it for it in pips if "--require-hashes" not in it and "--no-deps" not in it]
    assert [] == [it for it in pips if "--no-cache-dir" not in it]


def test_the_base_is_one_python_that_the_project_promises(stages: list[Stage]) -> None:
    """Both stages use one Python that pyproject.toml allows, pinned by its digest because tags move."""
    (base,) = {stage.base for stage in stages}
    number = re.fullmatch(r"python:3\.(\d+)\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", base)
    least = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=3.")
    assert number and int(number[1]) >= int(least)


def test_the_context_is_what_the_dockerfile_copies() -> None:
    """The build context has all files of the packages, and no tests, documents or git files."""
    files = sent(ROOT)
    package = {it.relative_to(ROOT).as_posix() for name in ("worker", "schemas") for it in (ROOT / name).rglob("*")}
    wanted = {it for it in package if (ROOT / it).is_file() and "__pycache__" not in it}
    assert wanted | {"README.md", "pyproject.toml", "requirements.lock", "requirements-build.lock"} == set(files)


def test_make_image_names_what_it_builds(stages: list[Stage], tmp_path: Path) -> None:
    """`make image` passes version and commit to the labels, and the version to the tag."""
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    docker.chmod(0o755)
    path = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    said = subprocess.check_output(["make", "--silent", "image"], cwd=ROOT, env=path, text=True).splitlines()
    commit = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=ROOT, text=True).strip()
    given = [f"VERSION={__version__}", f"REVISION={commit}"]
    assert [
        *("build", "--tag", f"playground-deployer:{__version__}"),
        *(word for it in given for word in ("--build-arg", it)),
        ".",
    ] == said
    assert {"VERSION", "REVISION"} == set(stages[-1].args)


def test_what_the_reader_does_not_know_is_no_dockerfile_of_ours() -> None:
    """An instruction that the reader does not know raises, so the image's tests cannot miss one."""
    with pytest.raises(ValueError, match="HEALTHCHECK"):
        read_dockerfile("FROM python:3.13-slim-bookworm\nHEALTHCHECK NONE\n", {})
