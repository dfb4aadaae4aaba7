"""`bundle` with the sandbox's Graphene."""

import io
import os
import signal
import stat
import subprocess
import sys
import zipfile
from fcntl import F_SETPIPE_SZ, fcntl
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from worker.cli import main
from worker.cli.bundle import purpose
from worker.sandbox.graphene_data import CASES

DEPLOYABLE = ("sudoku", "news-training", "entity-recogniser")


def bundle(key: str, *options: str | Path) -> int:
    """Run `bundle --sandbox` for one of the sandbox's solutions."""
    ids = (CASES[key].solution_id, CASES[key].revision_id)
    return main(["bundle", "--sandbox", *map(str, (*ids, *options))])


@pytest.mark.parametrize("key", DEPLOYABLE)
def test_folder_and_zip_hold_the_same(key: str, tmp_path: Path) -> None:
    """--dir writes the files that unpacking --output gives."""
    assert 0 == bundle(key, "--output", tmp_path / "a.zip")
    assert 0 == bundle(key, "--dir", tmp_path / "new" / "folder")
    folder = tmp_path / "new" / "folder"
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        zipped = {name: archive.read(name) for name in archive.namelist()}
    assert zipped == {str(it.relative_to(folder)): it.read_bytes() for it in folder.rglob("*") if it.is_file()}
    assert [tmp_path / "a.zip"] == [it for it in tmp_path.iterdir() if it.is_file()]


@pytest.mark.parametrize("key", DEPLOYABLE)
def test_explain_knows_every_file(key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--explain lists what runs and the purpose of each file."""
    assert 0 == bundle(key, "--output", tmp_path / "a.zip", "--explain")
    shown = capsys.readouterr().out
    names = zipfile.ZipFile(io.BytesIO((tmp_path / "a.zip").read_bytes())).namelist()
    assert [] == [name for name in names if f"  {name}" not in shown or not purpose(name)]
    assert ("shared folder /data/shared: claim shared-folder" in shown) == (key == "news-training")


def test_a_filled_folder_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder with other files needs --force, and the other files stay."""
    (tmp_path / "mine").write_text("mine")
    assert 1 == bundle("sudoku", "--dir", tmp_path)
    assert "is not empty. Choose another folder, or add --force" in capsys.readouterr().err
    assert ["mine"] == [it.name for it in tmp_path.iterdir()]
    assert 0 == bundle("sudoku", "--dir", tmp_path, "--force")
    assert ("mine", True) == ((tmp_path / "mine").read_text(), (tmp_path / "blueprint.json").exists())


def zip_of(path: Path, key: str = "sudoku") -> bytes:
    """Return the zip, written through a new file."""
    assert 0 == bundle(key, "--output", path)
    return path.read_bytes()


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """An earlier file is replaced as a whole: a reader keeps all of it, and no other file remains."""
    (tmp_path / "a.zip").write_bytes(b"earlier")
    with (tmp_path / "a.zip").open("rb") as opened:
        assert zip_of(tmp_path / "a.zip").startswith(b"PK")
        assert b"earlier" == opened.read()
    assert ["a.zip"] == [it.name for it in tmp_path.iterdir()]


def test_a_planted_temporary_name_is_not_followed(tmp_path: Path) -> None:
    """The temporary name is unpredictable, so another user of the folder cannot have it written through a link."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for name in (f".a.zip.{os.getpid()}", f".a.zip.{os.getpid()}.tmp", ".a.zip.tmp", ".a.zip", "a.zip.tmp"):
        (tmp_path / name).symlink_to(victim)
    names = {it.name for it in tmp_path.iterdir()}
    assert zip_of(tmp_path / "a.zip").startswith(b"PK")
    assert "mine" == victim.read_text()
    assert names | {"a.zip"} == {it.name for it in tmp_path.iterdir()}


def test_a_planted_name_that_is_known_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even a link with the exact temporary name is never written through, because the file must be new."""
    monkeypatch.setattr("secrets.token_hex", lambda _: "known")
    victim = tmp_path / "victim"
    (tmp_path / ".known.tmp").symlink_to(victim)
    assert 1 == bundle("sudoku", "--output", tmp_path / "a.zip")
    assert [".known.tmp"] == [it.name for it in tmp_path.iterdir()]


@pytest.mark.parametrize("kind", ["link", "link to nothing", "file", "link to itself"])
def test_no_linked_folder_is_written_through(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--dir --force writes only into the folder, and a link or file in place of a subfolder is reported by its path."""
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    folder.mkdir()
    if kind == "link":
        elsewhere.mkdir()
    if kind == "file":
        (folder / "deployments").touch()
    else:
        (folder / "deployments").symlink_to("deployments" if kind == "link to itself" else elsewhere)
    assert 1 == bundle("sudoku", "--dir", folder, "--force")
    assert f"{folder}/deployments is a link or a file, and nothing is written through it. Remove it." in (
        capsys.readouterr().err
    )
    assert [] == (list(elsewhere.iterdir()) if kind == "link" else [*tmp_path.glob("elsewhere")])


def test_no_linked_file_is_written_through(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--dir --force replaces links and hard links with files, except for the folder itself; a subfolder is kept."""
    folder, victim = tmp_path / "folder", tmp_path / "victim"
    (folder / "deployments").mkdir(parents=True)
    victim.write_text("mine")
    (folder / "blueprint.json").symlink_to(victim)
    (folder / "deployments" / "orchestrator_service.yaml").symlink_to(victim)
    (folder / "dockerinfo.json").hardlink_to(victim)
    os.mkfifo(folder / "modelname.txt")
    (tmp_path / "link").symlink_to(folder)
    assert 0 == bundle("sudoku", "--dir", tmp_path / "link", "--force")
    assert "mine" == victim.read_text()
    for name in ("blueprint.json", "deployments/orchestrator_service.yaml", "dockerinfo.json"):
        assert not (folder / name).is_symlink()
    assert [] == [it.name for it in folder.rglob(".*")]
    (folder / "blueprint.json").unlink()
    (folder / "blueprint.json").mkdir()
    assert 1 == bundle("sudoku", "--dir", folder, "--force")
    assert "blueprint.json cannot be written: it is a folder." in capsys.readouterr().err


@pytest.mark.parametrize("linked", [False, True])
def test_a_fifo_is_written_through(linked: bool, tmp_path: Path) -> None:
    """A FIFO, or a link to one, receives the zip and remains; so would a device, which no test may risk."""
    fifo, link = tmp_path / "fifo", tmp_path / "link"
    os.mkfifo(fifo)
    link.symlink_to("fifo")
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        fcntl(reader, F_SETPIPE_SZ, 1 << 20)
        assert 0 == bundle("sudoku", "--output", link if linked else fifo)
        received = os.read(reader, 1 << 20)
    finally:
        os.close(reader)
    assert (True, True) == (stat.S_ISFIFO(fifo.lstat().st_mode), link.is_symlink())
    assert ["fifo", "link"] == sorted(it.name for it in tmp_path.iterdir())
    assert zip_of(tmp_path / "a.zip") == received


@pytest.mark.parametrize("earlier", [b"earlier" * 100_000, None])
def test_a_link_is_written_through(earlier: bytes | None, tmp_path: Path) -> None:
    """A link's target receives the zip and nothing else, whether or not it existed, and the link remains."""
    target, link = tmp_path / "target.zip", tmp_path / "link.zip"
    link.symlink_to("target.zip")
    if earlier is not None:
        target.write_bytes(earlier)
    assert zip_of(tmp_path / "a.zip") == zip_of(link)
    assert (True, False) == (link.is_symlink(), target.is_symlink())
    assert zip_of(tmp_path / "a.zip") == target.read_bytes()


@pytest.mark.parametrize("output", ["-", "stdout"])
def test_stdout_has_the_zip_and_nothing_else(
    output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """`-`, or another name for stdout, writes only the zip there; messages and explanations go to stderr."""
    monkeypatch.chdir(tmp_path)
    Path("stdout").symlink_to("/proc/self/fd/1")
    assert 0 == bundle("sudoku", "--output", output, "--explain")
    shown = capfdbinary.readouterr()
    assert zip_of(tmp_path / "a.zip") == shown.out
    said = shown.err.decode().splitlines()
    assert ("A pipeline: ", "stdout: ") == (said[1][:12], said[-1][:8])
    assert ["a.zip", "stdout"] == sorted(it.name for it in tmp_path.iterdir())


def test_a_file_may_be_called_minus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`./-` is a file of that name."""
    monkeypatch.chdir(tmp_path)
    assert 0 == bundle("sudoku", "--output", "./-")
    assert zip_of(tmp_path / "a.zip") == Path("-").read_bytes()


def test_no_bundle_leaves_stdout_empty(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Without a bundle stdout stays empty, so no reader mistakes text for a zip."""
    assert 1 == bundle("broken", "--output", "-", "--explain")
    assert b"" == capfdbinary.readouterr().out


def test_ctrl_c_ends_the_wait_for_a_reader(tmp_path: Path) -> None:
    """Ctrl-C interrupts opening a FIFO without a reader, although the kernel blocks it outside the event loop."""
    os.mkfifo(tmp_path / "fifo")
    ids = (str(CASES["sudoku"].solution_id), str(CASES["sudoku"].revision_id))
    command = [sys.executable, "-m", "worker", "bundle", *ids, "--sandbox", "--explain", "--output", f"{tmp_path}/fifo"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as waiting:
        try:
            assert waiting.stdout is not None
            assert "Files\n" in iter(waiting.stdout.readline, "")  # the explanation; the next step opens the FIFO
            waiting.send_signal(signal.SIGINT)
            assert 130 == waiting.wait(30)
        finally:
            waiting.kill()


def test_what_cannot_run_makes_no_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A solution that cannot run produces no bundle, only the sentence and code that its status would have."""
    assert 1 == bundle("broken", "--output", tmp_path / "a.zip")
    said = capsys.readouterr().err
    assert said.startswith("playground-deployer: Node 'splitter1' is a Splitter")
    assert said.endswith("[node-not-runnable]\n")
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(("place", "said"), [("missing/a.zip", "missing is not a folder"), ("", "it is a folder")])
def test_a_place_that_cannot_be_written_is_named(
    place: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unwritable path is reported in a sentence, without a traceback."""
    assert 1 == bundle("sudoku", "--output", tmp_path / place)
    assert said in capsys.readouterr().err
    assert [] == list(tmp_path.iterdir())


def test_a_file_is_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--dir with the path of a file is reported in a sentence."""
    (tmp_path / "file").touch()
    assert 1 == bundle("sudoku", "--dir", tmp_path / "file")
    assert "file: Not a directory." in capsys.readouterr().err


def test_the_operators_overrides_are_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--explain lists the override entries that changed each file, and an invalid overrides file produces no bundle."""
    (tmp_path / "overrides.yaml").write_text(
        'overrides: [{match: {node: "*-gui"}, patch: {spec: {replicas: 2}}}, {match: {node: "*"}, patch: {}}]'
    )
    monkeypatch.setenv("DEPLOYER_BUNDLE__OVERRIDES_FILE", str(tmp_path / "overrides.yaml"))
    assert 0 == bundle("sudoku", "--dir", tmp_path / "out", "--explain")
    shown = capsys.readouterr().out
    assert "  deployments/sudoku-gui_deployment.yaml: entries 1, 2\n" in shown
    assert "  deployments/orchestrator_deployment.yaml: entry 2\n" in shown
    assert "replicas: 2" in (tmp_path / "out" / "deployments" / "sudoku-gui_deployment.yaml").read_text()

    (tmp_path / "overrides.yaml").write_text("overrides: 1")
    assert 1 == bundle("sudoku", "--dir", tmp_path / "none")
    assert "overrides.yaml: the file: overrides: must be a list." in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
