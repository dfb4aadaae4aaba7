import asyncio
import fcntl
import json
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path

import pytest

from worker.sandbox.playground_confinement import (
    NOT_RUN,
    AnotherUser,
    Bubblewrap,
    Confinement,
    find_confinement,
    give,
    started_as,
    works,
)
from worker.sandbox.playground_dry_run import SCRIPT, DryRuns, ScriptFailed

BWRAP = Bubblewrap(shutil.which("bwrap") or "bwrap")
with_bubblewrap = pytest.mark.skipif(not works(BWRAP), reason="bubblewrap does not work here")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a program as another user")

# A script that attempts what a hostile script would, and reports what worked.
HOSTILE = b"""
import glob, json, os, pathlib, signal, socket, sys
told = json.loads((pathlib.Path(__file__).parent / "told.json").read_text())
done = []

def attempt(name, action):
    try:
        action()
    except OSError:
        return
    done.append(name)

def write(folder):
    file = pathlib.Path(folder, "written-by-a-test")
    file.write_text("")
    file.unlink()

for folder in ("/", "/tmp", "/usr", "/etc", "/dev", "/dev/shm", "/proc", sys.prefix, told["folder"], ".."):
    attempt(f"write to {folder}", lambda: write(folder))
for folder in (".", pathlib.Path(__file__).parent, os.environ["HOME"]):
    attempt("write to its own", lambda: write(folder))
for file in (told["file"], "/etc/passwd", "/etc/shadow", os.path.expanduser("~root/.profile")):
    attempt(f"read {file}", lambda: open(file).close())
for file in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/dev/kmsg"):
    attempt(f"open {file}", lambda: os.close(os.open(file, os.O_WRONLY)))
attempt("connect", lambda: socket.create_connection(("127.0.0.1", told["port"]), 5).close())
attempt("signal", lambda: os.kill(told["process"], 0))
seen = b"".join(pathlib.Path(it).read_bytes() for it in glob.glob("/proc/[0-9]*/environ"))
if told["secret"].encode() in seen + str(os.environ).encode():
    done.append("secret")
sys.exit(json.dumps(done))
"""


@with_bubblewrap
async def test_in_bubblewrap_a_script_has_its_own_folder_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bubblewrap a script can write only to its own folder.

    It reads no other user's file, reaches no network and no process, and sees no secret.
    """
    monkeypatch.setenv("DEPLOYER_AUTH__SECRET", "hidden-from-scripts")
    (tmp_path / "file").write_text("of somebody else")
    with socket.create_server(("127.0.0.1", 0)) as server:
        told = {
            "folder": str(tmp_path),
            "file": str(tmp_path / "file"),
            "port": server.getsockname()[1],
            "process": os.getpid(),
            "secret": "hidden-from-scripts",
        }
        files = {SCRIPT: HOSTILE, "told.json": json.dumps(told).encode()}
        with pytest.raises(ScriptFailed) as failed:
            await DryRuns(tmp_path, 30, BWRAP).check(files, "ada@example.org", "demo-1")
    assert ["write to its own"] * 3 == json.loads(str(failed.value).splitlines()[-1])


@with_bubblewrap
async def test_in_bubblewrap_nothing_outlives_a_script(tmp_path: Path) -> None:
    """A detached child process dies with its script in bubblewrap: its lock becomes free."""
    script = b"""
import fcntl, os, time
held = open(os.path.join(os.environ["HOME"], "lock"), "w")
fcntl.flock(held, fcntl.LOCK_EX)
if os.fork() == 0:
    os.setsid()
    os.closerange(0, held.fileno())
    time.sleep(99)
"""
    kept: list[Path] = []

    class Keeping(Bubblewrap):
        """A Bubblewrap that links each lock to a path that stays."""

        def command(self, command: list[str], folder: Path) -> list[str]:
            """Link the lock, and return the command of bubblewrap."""
            (folder / "lock").touch()
            kept.append(tmp_path / f"lock-{len(kept)}")
            os.link(folder / "lock", kept[-1])
            return super().command(command, folder)

    await DryRuns(tmp_path, 30, Keeping(shutil.which("bwrap") or "")).check({SCRIPT: script}, "ada", "demo-1")
    for file in kept:
        with file.open() as lock:
            await asyncio.wait_for(asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX), 10)
    assert 2 == len(kept)


@as_root
async def test_another_user_owns_the_copy_alone() -> None:
    """The other user runs without our groups, in a writable folder, next to files that it cannot read."""
    with tempfile.TemporaryDirectory() as around:
        (Path(around) / "zip").touch(mode=0o600)
        copy = Path(around) / "copy"
        copy.mkdir(mode=0o700)
        give(copy, AnotherUser.user)
        command = "id -u; id -G; touch file && echo written; cat ../zip || ls .. || echo denied; exit 1"
        ours = os.getgroups()
        os.setgroups([4])
        try:
            with pytest.raises(ScriptFailed) as failed:
                await DryRuns(Path(around), 30, AnotherUser())._execute(["/bin/sh", "-c", command], copy)
        finally:
            os.setgroups(ours)
    assert ["65533", "65533", "written", "denied"] == str(failed.value).splitlines()[1:5]


def test_another_user_gets_all_of_the_copy(tmp_path: Path) -> None:
    """Every file and folder of the copy belongs to the other user, who can traverse but not list the parent folder."""
    user = 65533 if os.geteuid() == 0 else os.geteuid()
    (tmp_path / "copy" / "a").mkdir(parents=True)
    (tmp_path / "copy" / "a" / "b").touch()
    tmp_path.chmod(0o700)
    give(tmp_path / "copy", user)
    assert [user] * 3 == [it.stat().st_uid for it in (tmp_path / "copy", *(tmp_path / "copy").rglob("*"))]
    assert (0o711, os.geteuid()) == (tmp_path.stat().st_mode & 0o777, tmp_path.stat().st_uid)


def test_another_user_is_in_no_group_of_ours() -> None:
    """The other user is in none of our groups, so files that our groups may read stay ours.

    A confinement without a user starts the script as before.
    """
    assert {"user": 65533, "group": 65533, "extra_groups": ()} == started_as(AnotherUser.user)
    assert {} == started_as(Bubblewrap.user)


def test_bubblewrap_is_told_what_to_take_away(tmp_path: Path) -> None:
    """The command removes namespaces and capabilities, and makes all but the folder read-only, in this order."""
    words = BWRAP.command(["program", "argument"], tmp_path)
    options = words[1 : words.index("--")]
    assert ["--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"] == options[:5]
    bound = [(options[it], options[it + 1]) for it, word in enumerate(options) if "bind" in word]
    assert [("--bind", str(tmp_path))] == [it for it in bound if it[0] != "--ro-bind-try"]
    python = {str(it) for one in (sys.prefix, sys.base_prefix) for it in (one, Path(one).resolve())}
    system = {"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache"}
    assert python | system == {path for _, path in bound[:-1]}
    sealed = ["--remount-ro", "/proc", "--remount-ro", "/dev", "--remount-ro", "/"]
    assert [*sealed, "--chdir", str(tmp_path)] == options[-8:]
    assert ["program", "argument"] == words[words.index("--") + 1 :]


@pytest.mark.parametrize(
    ("bubblewrap", "is_root", "working", "expected"),
    [
        ("bwrap", True, (Bubblewrap, AnotherUser), Bubblewrap),
        ("bwrap", False, (Bubblewrap,), Bubblewrap),
        ("bwrap", True, (AnotherUser,), AnotherUser),
        (None, True, (AnotherUser,), AnotherUser),
        ("bwrap", False, (AnotherUser,), None),
        (None, False, (), None),
        (None, True, (), None),
    ],
)
def test_the_first_confinement_that_works_is_taken(
    bubblewrap: str | None, is_root: bool, working: tuple[type, ...], expected: type | None
) -> None:
    """Bubblewrap is preferred to another user, which needs root; without either, no script runs."""

    def try_out(confinement: Confinement) -> bool:
        return isinstance(confinement, working)

    found = find_confinement(bubblewrap, try_out, is_root=is_root)
    assert expected is (None if found is None else type(found))


@pytest.mark.parametrize("program", ["/nowhere/bwrap", "/bin/false", "/etc/hostname"])
def test_a_bubblewrap_that_does_not_work_is_not_used(program: str) -> None:
    """A bubblewrap that is missing, fails or is not a program is not used.

    It fails, for example, where a container forbids namespaces.
    """
    assert not works(Bubblewrap(program))


def test_people_are_told_in_one_sentence() -> None:
    """Each confinement has one sentence about whether scripts run and what they can do."""
    for about in (Bubblewrap.about, AnotherUser.about, NOT_RUN):
        assert about.startswith("Scripts in bundles ")
        assert (1, True) == (about.count("."), about.endswith("."))
