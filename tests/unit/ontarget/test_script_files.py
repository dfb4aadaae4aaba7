"""Links and special files in the bundle: nothing outside the bundle's folder is read or written."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.unit.ontarget.bundles import SCRIPT, claim, pipeline, single_model, snapshot, write_yaml
from tests.unit.ontarget.kube_api import KubeApi
from tests.unit.ontarget.running import PYTHONS, Result, process

Command = Callable[..., Result]

# Files that the script reads, and files that it would write.
READ = [
    *("blueprint.json", "dockerinfo.json", "deployments", "deployments/alpha_service.yaml", "orchestrator_client"),
    "orchestrator_client/orchestrator_client.py",
]
WRITTEN = ["deployments/alpha_service_webui.yaml", "deployments/alpha_service_ingress.yaml"]
OURS = ["deployments/.alpha_service_webui.yaml.new", "deployments/anything"]


@pytest.mark.parametrize("flags", [["--dry-run"], ["--delete"], []])
@pytest.mark.parametrize("name", [*READ, *WRITTEN, *OURS])
def test_links(name: str, flags: list[str], command: Command, api: KubeApi, tmp_path: Path) -> None:
    """A link in place of any file or folder is rejected by name, even if its target is valid."""
    bundle, target = pipeline(tmp_path / "bundle"), tmp_path / "target"
    if (bundle / name).exists():
        (bundle / name).rename(target)
    else:
        target.write_text("theirs")
    (bundle / name).symlink_to(target)
    before = snapshot(tmp_path)
    api.portal = "nobody must ask"

    done = command(bundle, *flags)

    assert (1, f"error: {bundle / name} is a link, and links in a bundle are not followed.") == (
        done.code,
        done.err.splitlines()[0],
    )
    assert before == snapshot(tmp_path)


@pytest.mark.parametrize("name", ["dockerinfo.json", "blueprint.json", "deployments/pvc.yaml"])
@pytest.mark.parametrize("target", ["nothing", "blueprint.json", "../../../../../../../../etc/hostname", "/dev/zero"])
def test_links_to_anything(name: str, target: str, tmp_path: Path) -> None:
    """A link is rejected whatever its target: nothing, a neighbour, a file outside the bundle, a device."""
    bundle = single_model(tmp_path / "bundle")
    (bundle / name).unlink(missing_ok=True)
    (bundle / name).symlink_to(target)

    done = process(bundle, "-n", "play", "--dry-run")

    assert 1 == done.code
    assert f"error: bundle/{name} is a link, and links" in done.err


@pytest.mark.parametrize("name", ["dockerinfo.json", "blueprint.json", "deployments/pvc.yaml"])
@pytest.mark.parametrize(
    ("make", "sentence"),
    [(os.mkfifo, "is no ordinary file."), (os.mkdir, "Is a directory.")],
    ids=["pipe", "folder"],
)
def test_no_files(name: str, make: Callable[[Path], None], sentence: str, tmp_path: Path) -> None:
    """A pipe without a writer never blocks the script, and a folder in place of a file is rejected."""
    bundle = single_model(tmp_path / "bundle")
    (bundle / name).unlink(missing_ok=True)
    make(bundle / name)

    done = process(bundle, "-n", "play", "--dry-run")

    assert 1 == done.code
    assert done.err.startswith("error: ")
    assert f"{name.rpartition('/')[2]} {sentence.replace('Is', 'cannot be read: Is')}" in done.err
    assert all(line.startswith("error: ") for line in done.err.splitlines())


@pytest.mark.parametrize("name", ["", "deployments/"])
def test_links_where_a_file_is_prepared(name: str, command: Command, script: ModuleType, tmp_path: Path) -> None:
    """A link at the path of a temporary file is removed, and nothing is written through it."""
    bundle, theirs = pipeline(tmp_path / "bundle"), tmp_path / "theirs"
    theirs.write_text("theirs")
    (bundle / f"{name}.x.json.new").symlink_to(theirs)

    script.write(bundle / f"{name}x.json", "ours", bundle)

    assert ("ours", "theirs") == ((bundle / f"{name}x.json").read_text(), theirs.read_text())
    assert not (bundle / f"{name}.x.json.new").is_symlink()


@pytest.mark.parametrize("name", ["deployments", "deployments/x.yaml"])
def test_links_that_come_later(name: str, script: ModuleType, tmp_path: Path) -> None:
    """A link that appears after the check is not written through."""
    bundle, theirs = pipeline(tmp_path / "bundle"), tmp_path / "theirs"
    if name == "deployments":
        (bundle / name).rename(theirs)
    else:
        theirs.write_text("theirs")
    (bundle / name).symlink_to(theirs)
    before = snapshot(tmp_path)

    with pytest.raises(script.Problem, match="is a link"):
        script.write(bundle / "deployments" / "x.yaml", "ours", bundle)

    assert before == snapshot(tmp_path)


def test_links_that_come_at_once(script: ModuleType, tmp_path: Path) -> None:
    """A file that became a link after the check is not opened."""
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    (tmp_path / "theirs").write_text("theirs")

    for mode in ("rb", "wb"):
        with pytest.raises(OSError, match="symbolic links"):
            open(tmp_path / "link", mode, opener=script.without_links).close()

    assert "theirs" == (tmp_path / "theirs").read_text()


def test_bundle_behind_a_link(command: Command, tmp_path: Path, secret: list[object], config: Any) -> None:
    """The path to the bundle and the operator's own files may be links, as mounted secrets are."""
    bundle = pipeline(tmp_path / "elsewhere", shared_folder=True)
    (tmp_path / "bundle").symlink_to(bundle)
    arguments = [*secret, *config(hostname="example.org")]
    for position in (3, 5):
        link = tmp_path / f"link-{position}"
        link.symlink_to(str(arguments[position]))
        arguments[position] = link

    done = command(tmp_path / "bundle", *arguments)

    assert (0, "") == (done.code, done.err)
    assert (bundle / "deployments" / "alpha_service_ingress.yaml").exists()


@pytest.mark.parametrize("name", ["blueprint.json", "dockerinfo.json", "deployments/pvc.yaml"])
def test_size(name: str, command: Command, tmp_path: Path) -> None:
    """A file above its size limit is rejected before it is parsed."""
    bundle = pipeline(tmp_path / "bundle")
    (bundle / name).touch()
    os.truncate(bundle / name, (1 << 24) + 1)

    done = command(bundle, "--dry-run")

    limit = 256 if name.endswith("yaml") else 16384
    assert 1 == done.code
    assert f"{bundle / name} is larger than {limit} KiB." in done.err


def test_size_that_is_allowed(command: Command, tmp_path: Path) -> None:
    """A manifest with a long text and a large blueprint are within the limits."""
    bundle, document = pipeline(tmp_path / "bundle"), claim()
    document["metadata"]["annotations"] = {"a": "x" * 200_000}
    write_yaml(bundle / "deployments" / "pvc.yaml", document)
    (bundle / "blueprint.json").write_text('{"name": "' + "x" * 10_000_000 + '"}')

    assert (0, "") == (command(bundle, "--dry-run").code, command(bundle, "--dry-run").err)


PLANTED = [
    "yaml.py", "argparse.py", "json.py", "shutil.py", "re.py", "dataclasses.py", "pathlib.py", "typing.py",
    "kubernetes.py", "urllib3.py", "yaml/__init__.py", "kubernetes/__init__.py", "urllib/__init__.py",
    "sitecustomize.py", "os.py",
]  # fmt: skip


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("where", ["here", "there", "linked", "on the path"])
def test_modules_beside_the_script(where: str, python: str, tmp_path: Path) -> None:
    """No module in the script's folder is imported, wherever the script is started and whatever the module's name."""
    bundle = single_model(tmp_path / "bundle")
    for name in PLANTED:
        (bundle / name).parent.mkdir(exist_ok=True)
        (bundle / name).write_text("raise SystemExit('planted')\n")
    (tmp_path / "link.py").symlink_to(bundle / SCRIPT)
    script = {"here": SCRIPT, "linked": str(tmp_path / "link.py")}.get(where, str(bundle / SCRIPT))
    # An empty entry of PYTHONPATH is the current folder, and Python itself would import a planted `os` from there.
    for name in ("os.py", "sitecustomize.py") if where == "on the path" else ():
        (bundle / name).unlink()
    path = {"PYTHONPATH": f"{bundle}"} if where == "on the path" else {}
    for wanted in (["--dry-run"], []):
        done = subprocess.run(
            [python, "-s", script, "-n", "play", "-bp", str(bundle), *wanted],
            cwd=bundle if where == "here" else tmp_path,
            env={**os.environ, "KUBECONFIG": "/nowhere", **path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "planted" not in done.stdout + done.stderr
        assert (int(not wanted), "No access to a cluster" in done.stderr) == (done.returncode, not wanted)
