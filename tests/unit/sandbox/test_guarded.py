import signal
import sys
from pathlib import Path
from signal import Signals

import pytest

from worker.sandbox.supervised_process import SupervisedProcess

FOREVER = "import signal; print('up', flush=True); signal.pause()"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {FOREVER}"


def start(code: str, folder: Path, remove: Path | None = None) -> SupervisedProcess:
    return SupervisedProcess([sys.executable, "-c", code], folder=folder, log=folder / "log", remove=remove)


@pytest.mark.parametrize(("code", "expected"), [("", 0), ("raise SystemExit(3)", 3)])
async def test_the_exit_code_comes_through(code: str, expected: int, tmp_path: Path) -> None:
    """The guard passes the command's exit code on."""
    process = start(code, tmp_path)
    assert expected == await process.wait(30)
    assert not process.running
    process.close()


async def test_output_and_folder_are_as_asked(tmp_path: Path) -> None:
    """Both output streams are appended to the log; the command runs in its folder with an empty input."""
    (tmp_path / "log").write_text("before\n")
    process = start("import os, sys; print(os.getcwd(), sys.stdin.read(), file=sys.stderr)", tmp_path)
    await process.wait(30)
    process.close()
    assert f"before\n{tmp_path} \n" == (tmp_path / "log").read_text()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
async def test_signals_are_passed_on(sent: Signals, tmp_path: Path) -> None:
    """Signals reach the command, and the exit code is a shell's; the folder to remove stays while its owner lives."""
    keep = tmp_path / "keep"
    keep.mkdir()
    process = start(FOREVER, tmp_path, remove=keep)
    process.send(sent)
    assert 128 + sent == await process.wait(30)
    process.send(sent)
    process.close()
    assert keep.exists()


async def test_closing_ends_what_does_not_listen(tmp_path: Path) -> None:
    """Closing kills a command that ignores SIGTERM and removes the folder, as the owner's exit would."""
    gone = tmp_path / "gone"
    (gone / "deep").mkdir(parents=True)
    process = start(DEAF, tmp_path, remove=gone)
    assert None is await process.wait(0.01)
    process.close()
    process.close()
    assert not process.running
    assert not gone.exists()
