"""The licences of what the worker needs: each is known, and allowed. `make licences` writes docs/licences.md.

From the packages' own metadata: `License-Expression` (PEP 639), else the free text or the classifiers of before.
"""

import re
import sys
from collections.abc import Iterable
from importlib.metadata import metadata
from pathlib import Path

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from release.lock import ROOT, Package, locked

PAGE = ROOT / "docs" / "licences.md"

# They ask for their text to be kept, and for no more of whoever installs the worker. MPL-2.0 concerns its own files.
ALLOWED = {"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "MPL-2.0", "PSF-2.0", "Unlicense"}

# What older metadata say instead of an SPDX identifier.
_TEXTS = {
    "Apache 2": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "3-Clause BSD License": "BSD-3-Clause",
    "License :: OSI Approved :: BSD License": "BSD-3-Clause",  # of Jinja2, which has three clauses
    "License :: OSI Approved :: MIT License": "MIT",
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
}


class LicenceRefused(Exception):
    """The message names the package, its licence and the way out."""


def licence_of(name: str) -> str:
    """Return the SPDX expression of an installed package. Raises LicenceRefused when its metadata give none."""
    about = metadata(name)
    given = [text for key in ("License-Expression", "License", "Classifier") for text in about.get_all(key) or []]
    return spdx(name, [it for it in given if it and (it.startswith("License ::") or " :: " not in it)])


def spdx(name: str, given: Iterable[str]) -> str:
    """Return the first of these texts that is an SPDX expression, or known to mean one."""
    texts = list(given)
    for text in texts:
        try:
            return str(canonicalize_license_expression(_TEXTS.get(text, text)))
        except InvalidLicenseExpression:
            continue
    said = "; ".join(text.partition("\n")[0][:80] for text in texts) or "nothing"
    raise LicenceRefused(f"{name}: its metadata give no SPDX licence but: {said}. Look it up, add it to _TEXTS")


def check(name: str, expression: str) -> None:
    """Raise LicenceRefused for a licence that is not in ALLOWED."""
    identifiers = set(re.findall(r"[A-Za-z0-9.+-]+", expression)) - {"AND", "OR", "WITH"}
    if refused := sorted(identifiers - ALLOWED):
        raise LicenceRefused(
            f"{name}: {', '.join(refused)} is not in ALLOWED of release/licences.py. "
            "Take another package, or add it there"
        )


def page(packages: Iterable[Package]) -> str:
    """docs/licences.md. Raises LicenceRefused."""
    rows = []
    for package in packages:
        expression = licence_of(package.name)
        check(package.name, expression)
        rows.append(f"| {package.name} | {expression} |")
    about = "Of the packages that the worker is installed with (`requirements.lock`), from their own metadata."
    return "\n".join(["# Licences", "", about, "", "| package | licence (SPDX) |", "|---|---|", *rows, ""])


def main(target: Path = PAGE) -> int:
    """Write the page."""
    try:
        text = page(locked())
    except LicenceRefused as error:
        print(error, file=sys.stderr)
        return 1
    target.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
