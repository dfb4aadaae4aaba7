"""`release/install.sh` with a Python, a pip and a uv that record their calls."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from release.lock import ROOT

PYTHON = """\
#!/bin/sh
case "$*" in
"-c "*) exit "$(cat too-old 2>/dev/null || echo 0)" ;;
"-m venv --clear .venv")
    echo "new .venv" >> calls
    rm -rf .venv
    mkdir -p .venv/bin
    cp tools/pip tools/python .venv/bin ;;
*) exit 9 ;;
esac
"""
VENV_PYTHON = """\
#!/bin/sh
echo "python, byte code ${PYTHONDONTWRITEBYTECODE:-written}" >> calls
"""
# A tool fails if its call contains a line of the file `refused`; pip installs uv, unless it has no such wheel.
TOOL = """\
#!/bin/sh
call="${0##*/} $*"
echo "$call" >> calls
[ -z "${UV_COMPILE_BYTECODE-}" ] || echo "compiled" >> calls
while IFS= read -r line; do case "$call" in *"$line"*) exit 1 ;; esac; done < refused
case "$call" in *" install "*requirements-uv.lock) cp tools/uv .venv/bin ;; esac
"""
UV_LOCK = "--only-binary :all: --require-hashes -r requirements-uv.lock"
DEMO_LOCK = "--require-hashes -r requirements-demo.lock"
EDITABLE = "--no-deps --no-build-isolation --editable ."
DEV_LOCK = "--require-hashes -r requirements-dev.lock"
ASK_NOBODY = "uv pip install --quiet --python .venv/bin/python --offline "
UV = "uv pip install --quiet --python .venv/bin/python "
PIP = "pip install --quiet --disable-pip-version-check "


class Checkout:
    """A folder with the script and the recording tools."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wheels = folder / "cache" / "playground-deployer" / "uv"
        (folder / "release").mkdir()
        (folder / "tools").mkdir()
        shutil.copy(ROOT / "release" / "install.sh", folder / "release")
        for name, text in {"base": PYTHON, "python": VENV_PYTHON, "pip": TOOL, "uv": TOOL}.items():
            (folder / "tools" / name).write_text(text)
            (folder / "tools" / name).chmod(0o755)
        self.refuse()

    def refuse(self, *parts: str) -> None:
        """Let each call fail that contains one of these texts."""
        (self.folder / "refused").write_text("".join(f"{it}\n" for it in parts))

    def install(self, what: str) -> tuple[int, list[str]]:
        """Return the exit code and the recorded calls."""
        calls = self.folder / "calls"
        calls.unlink(missing_ok=True)
        done = subprocess.run(
            ["/bin/sh", self.folder / "release" / "install.sh", what],
            env={
                "PATH": os.environ["PATH"],
                "PYTHON": str(self.folder / "tools" / "base"),
                "PYTHONDONTWRITEBYTECODE": "1",
                "XDG_CACHE_HOME": str(self.folder / "cache"),
            },
            capture_output=True,
            check=False,
        )
        return done.returncode, calls.read_text().splitlines() if calls.exists() else []

    def has(self, stamp: str) -> bool:
        return (self.folder / ".venv" / stamp).exists()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def bootstrap(wheels: Path) -> list[str]:
    return [
        f"pip download --quiet --disable-pip-version-check --dest {wheels} {UV_LOCK}",
        f"{PIP}--no-index --find-links {wheels} {UV_LOCK}",
    ]


def test_the_demo_is_installed_by_uv_and_uv_by_pip(checkout: Checkout) -> None:
    """pip installs uv and uv the demo, all by hash.

    Imported modules are compiled despite PYTHONDONTWRITEBYTECODE.
    """
    code, calls = checkout.install("demo")
    assert (0, True, False) == (code, checkout.has("demo"), checkout.has("unfinished"))
    assert [
        "new .venv",
        *bootstrap(checkout.wheels),
        ASK_NOBODY + DEMO_LOCK,
        ASK_NOBODY + EDITABLE,
        "python, byte code written",
    ] == calls


def test_the_tools_come_to_what_the_demo_has(checkout: Checkout) -> None:
    """`dev` adds to an installed demo, and a later `demo` keeps it: neither starts from scratch."""
    checkout.install("demo")
    assert (0, [ASK_NOBODY + DEV_LOCK, "compiled"]) == checkout.install("dev")
    code, calls = checkout.install("demo")
    assert (0, True, False) == (code, checkout.has("dev"), "new .venv" in calls)


def test_what_uv_has_not_in_its_cache_it_fetches(checkout: Checkout) -> None:
    """uv tries its cache first, which is enough on a machine without network, and then the network."""
    checkout.refuse("--offline")
    code, calls = checkout.install("demo")
    assert 0 == code
    assert [ASK_NOBODY + DEMO_LOCK, UV + DEMO_LOCK, ASK_NOBODY + EDITABLE, UV + EDITABLE] == calls[3:-1]


def test_pip_does_what_uv_cannot(checkout: Checkout) -> None:
    """pip installs the same locks and hashes if uv fails, for example with a registry that only pip's settings name."""
    checkout.refuse("uv pip")
    code, calls = checkout.install("demo")
    assert (0, True) == (code, checkout.has("demo"))
    assert [PIP + DEMO_LOCK, PIP + EDITABLE] == [it for it in calls[3:] if it.startswith("pip")]


def test_pip_alone_is_enough(checkout: Checkout) -> None:
    """pip alone installs everything if there is no wheel of uv."""
    checkout.refuse(UV_LOCK)
    code, calls = checkout.install("demo")
    assert (0, True) == (code, checkout.has("demo"))
    assert [PIP + DEMO_LOCK, PIP + EDITABLE, "python, byte code written"] == calls[2:]
    assert (0, [PIP + DEV_LOCK, "compiled"]) == checkout.install("dev")


def test_uv_is_kept_for_a_machine_without_network(checkout: Checkout) -> None:
    """The wheel of uv is kept in the user's cache for a machine without network.

    uv keeps what it installs in its own cache.
    """
    checkout.wheels.mkdir(parents=True)
    checkout.refuse("download")
    code, calls = checkout.install("demo")
    assert (0, bootstrap(checkout.wheels)[1:]) == (code, calls[1:2])


@pytest.mark.parametrize("lock", [DEMO_LOCK, DEV_LOCK])
def test_an_unfinished_install_starts_from_scratch(checkout: Checkout, lock: str) -> None:
    """An interrupted install starts from scratch, because uv and pip take a half-installed package for complete."""
    checkout.install("demo")
    checkout.refuse(lock)
    code, _ = checkout.install("demo" if lock == DEMO_LOCK else "dev")
    assert (1, False, True) == (code, checkout.has("dev"), checkout.has("unfinished"))
    checkout.refuse()
    code, calls = checkout.install("dev")
    assert (0, "new .venv", ASK_NOBODY + DEV_LOCK) == (code, calls[0], calls[-2])
    assert (True, True, False) == (checkout.has("demo"), checkout.has("dev"), checkout.has("unfinished"))


def test_an_environment_without_pip_is_created_again(checkout: Checkout) -> None:
    """An environment without pip is recreated: pip is the last part of creating it, so that was interrupted."""
    checkout.install("demo")
    (checkout.folder / ".venv" / "bin" / "pip").unlink()
    code, calls = checkout.install("demo")
    assert (0, "new .venv") == (code, calls[0])


def test_an_old_python_makes_no_environment(checkout: Checkout) -> None:
    """A Python that is too old creates no environment."""
    (checkout.folder / "too-old").write_text("1")
    assert (1, []) == checkout.install("demo")
    assert not checkout.has("bin")
