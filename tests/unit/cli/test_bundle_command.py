"""`bundle`, with the sandbox's Graphene."""

import io
import zipfile
from pathlib import Path

import pytest

from worker.cli import main
from worker.cli.bundle import purpose
from worker.sandbox.graphene_data import CASES

DEPLOYABLE = ("sudoku", "news-training", "entity-recogniser")


def bundle(key: str, *options: str | Path) -> int:
    """`bundle --sandbox` for one of the sandbox's solutions."""
    ids = (CASES[key].solution_id, CASES[key].revision_id)
    return main(["bundle", "--sandbox", *map(str, (*ids, *options))])


@pytest.mark.parametrize("key", DEPLOYABLE)
def test_folder_and_zip_hold_the_same(key: str, tmp_path: Path) -> None:
    """--dir writes what unpacking --output gives."""
    assert 0 == bundle(key, "--output", tmp_path / "a.zip")
    assert 0 == bundle(key, "--dir", tmp_path / "new" / "folder")
    folder = tmp_path / "new" / "folder"
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        zipped = {name: archive.read(name) for name in archive.namelist()}
    assert zipped == {str(it.relative_to(folder)): it.read_bytes() for it in folder.rglob("*") if it.is_file()}
    assert [tmp_path / "a.zip"] == [it for it in tmp_path.iterdir() if it.is_file()]


@pytest.mark.parametrize("key", DEPLOYABLE)
def test_explain_knows_every_file(key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--explain says what runs, and what each file is for."""
    assert 0 == bundle(key, "--output", tmp_path / "a.zip", "--explain")
    shown = capsys.readouterr().out
    names = zipfile.ZipFile(io.BytesIO((tmp_path / "a.zip").read_bytes())).namelist()
    assert [] == [name for name in names if f"  {name}" not in shown or not purpose(name)]
    assert ("shared folder /data/shared: claim shared-folder" in shown) == (key == "news-training")


def test_a_filled_folder_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is written among other files, except with --force, and then they stay."""
    (tmp_path / "mine").write_text("mine")
    assert 1 == bundle("sudoku", "--dir", tmp_path)
    assert "is not empty. Choose another folder, or add --force" in capsys.readouterr().err
    assert ["mine"] == [it.name for it in tmp_path.iterdir()]
    assert 0 == bundle("sudoku", "--dir", tmp_path, "--force")
    assert ("mine", True) == ((tmp_path / "mine").read_text(), (tmp_path / "blueprint.json").exists())


def test_what_cannot_run_makes_no_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The sentence and the code are those a status would have."""
    assert 1 == bundle("broken", "--output", tmp_path / "a.zip")
    said = capsys.readouterr().err
    assert said.startswith("playground-deployer: Node 'splitter1' is a Splitter")
    assert said.endswith("[node-not-runnable]\n")
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(("place", "said"), [("missing/a.zip", "missing is not a folder"), ("", "it is a folder")])
def test_a_place_that_cannot_be_written_is_named(
    place: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong path is a sentence, not a traceback."""
    assert 1 == bundle("sudoku", "--output", tmp_path / place)
    assert said in capsys.readouterr().err
    assert [] == list(tmp_path.iterdir())


def test_a_file_is_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--dir with a file in its place is a sentence too."""
    (tmp_path / "file").touch()
    assert 1 == bundle("sudoku", "--dir", tmp_path / "file")
    assert "file: Not a directory." in capsys.readouterr().err


def test_the_operators_overrides_are_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--explain says which entries changed which file; a wrong file gives no bundle."""
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
