"""`python -m release [FOLDER]`: build wheel, SBOM and their SHA-256 sums into dist/, and test the wheel."""

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from release.changelog import problems
from release.lock import ROOT, locked
from release.sbom import EPOCH, NAME, sbom
from worker import __version__


def main(folder: Path) -> int:
    """Build the release. Return 0, or 1 with a sentence on stderr."""
    if wrong := problems((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), __version__):
        print("\n".join(wrong), file=sys.stderr)
        return 1
    folder.mkdir(parents=True, exist_ok=True)
    wheel = build_wheel(ROOT, folder)
    bill = folder / f"{NAME}-{__version__}.cdx.json"
    bill.write_text(sbom(locked()), encoding="utf-8")
    sums = "".join(f"{hashlib.sha256(it.read_bytes()).hexdigest()}  {it.name}\n" for it in (bill, wheel))
    (folder / "SHA256SUMS").write_text(sums, encoding="utf-8")
    said = try_out(wheel)
    print(f"{sums}{said} starts from the wheel and requirements.lock alone")
    return 0


def build_wheel(source: Path, folder: Path) -> Path:
    """Build the wheel. The same files give the same bytes on every machine and at any time."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder.absolute())]
    env = {**os.environ, "SOURCE_DATE_EPOCH": f"{EPOCH.timestamp():.0f}"}
    done = subprocess.run(command, cwd=source, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    (wheel,) = folder.glob(f"*-{__version__}-*.whl")
    return wheel


def try_out(wheel: Path) -> str:
    """Return the output of `--version` in a fresh environment, after importing everything that `run` imports."""
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder) / "bin" / "python"
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        for command in (
            [sys.executable, "-m", "venv", folder],
            [*pip, "--require-hashes", "--only-binary", ":all:", "-r", str(ROOT / "requirements.lock")],
            [*pip, "--no-deps", str(wheel.absolute())],
            [str(python), "-I", "-c", "import worker.app, worker.cli.run"],
        ):
            subprocess.run(command, check=True, cwd=folder)
        return subprocess.check_output([str(python.with_name(NAME)), "--version"], cwd=folder, text=True).strip()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist"))
