"""A headless Chromium, driven by Playwright, and axe-core to check pages for accessibility.

Chromium is Debian's: from PATH, or unpacked into the cache folder. Driver and axe-core come from wheels.
"""

import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.support.debian import debian_folder
from tests.support.kept import install_wheels, kept

LOCK = Path(__file__).with_name("requirements.lock")
PYTHON = f"{sys.implementation.cache_tag}"
OPTIONS = (
    "--no-sandbox",  # Chromium cannot sandbox as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

_FONTS = """\
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
<dir>/usr/share/fonts</dir><dir>{folder}/usr/share/fonts</dir><cachedir>{folder}/fonts-cache</cachedir>
<match><edit name="family" mode="append_last"><string>DejaVu Sans</string></edit></match>
<alias><family>monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>
</fontconfig>
"""


@cache
def packages() -> Path:
    """Return the folder with Playwright and axe-core, downloading 50 MB if needed. Raises Unavailable."""
    return kept("browser-packages", [LOCK.read_bytes(), PYTHON.encode()], partial(install_wheels, LOCK))


@cache
def axe() -> str:
    """Return the source of axe-core."""
    [found] = packages().rglob("axe.min.js")
    return found.read_text(encoding="utf-8")


@cache
def chromium() -> tuple[Path, dict[str, str]]:
    """Return the program and the variables that it needs, downloading 120 MB if needed. Raises Unavailable."""
    if found := shutil.which("chromium") or shutil.which("google-chrome"):
        return Path(found), {}
    fonts = "fonts-dejavu-core"
    folder = debian_folder("chromium", "chromium", fonts, with_dependencies=True)
    libraries = sorted({str(it.parent) for it in (folder / "usr" / "lib").rglob("*.so*") if "chromium" not in it.parts})
    config = folder / "fonts.conf"
    config.write_text(_FONTS.format(folder=folder), encoding="utf-8")
    return folder / "usr" / "lib" / "chromium" / "chromium", {
        "LD_LIBRARY_PATH": os.pathsep.join(libraries),
        "FONTCONFIG_FILE": str(config),
    }


@asynccontextmanager
async def running_chromium() -> AsyncIterator[Any]:
    """Yield Playwright's Browser. Raises Unavailable."""
    program, variables = chromium()
    if str(packages()) not in sys.path:
        sys.path.append(str(packages()))
    playwright = import_module("playwright.async_api")
    async with playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(
            executable_path=program, args=list(OPTIONS), env={**os.environ, **variables}
        )
        try:
            yield browser
        finally:
            await browser.close()
