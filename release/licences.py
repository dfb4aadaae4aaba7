"""The licences of the worker's packages, which must be known and allowed. `make licences` writes docs/licences.md.

The source is the packages' own metadata: `License-Expression` (PEP 639), or else the older free text or classifiers.
"""

import re
import sys
from collections.abc import Iterable
from importlib.metadata import metadata
from pathlib import Path

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from release.lock import ROOT, Package, locked

PAGE = ROOT / "docs" / "licences.md"

# They require only that their text is kept when the worker is installed. MPL-2.0 concerns its own files.
ALLOWED = {"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "MPL-2.0", "PSF-2.0", "Unlicense"}

# Texts in older metadata, and the SPDX identifiers that they mean.
_TEXTS = {
    "Apache 2": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "3-Clause BSD License": "BSD-3-Clause",
    "License :: OSI Approved :: BSD License": "BSD-3-Clause",  # Jinja2's, which has three clauses
    "License :: OSI Approved :: MIT License": "MIT",
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
}


class LicenceRefused(Exception):
    """The message has the package, its licence and the remedy."""


def licence_of(name: str) -> str:
    """Return the SPDX expression of an installed package. Raises LicenceRefused if its metadata have none."""
    about = metadata(name)
    given = [text for key in ("License-Expression", "License", "Classifier") for text in about.get_all(key) or []]
    return spdx(name, [it for it in given if it and (it.startswith("License ::") or " :: " not in it)])


def spdx(name: str, given: Iterable[str]) -> str:
    """Return the first of these texts that is, or is known to mean, an SPDX expression."""
    texts = list(given)
    for text in texts:
        try:
            return str(canonicalize_license_expression(_TEXTS.get(text, text)))
        except InvalidLicenseExpression:
            continue
    said = "; ".join(text.partition("\n")[0][:80] for text in texts) or "nothing"
    raise LicenceRefused(
        f"{name}: its metadata have no SPDX licence, only: {said}. Look the licence up and add it to _TEXTS"
    )


def check(name: str, expression: str) -> None:
    """Raise LicenceRefused for a licence that is not in ALLOWED."""
    identifiers = set(re.findall(r"[A-Za-z0-9.+-]+", expression)) - {"AND", "OR", "WITH"}
    if refused := sorted(identifiers - ALLOWED):
        raise LicenceRefused(
            f"{name}: {', '.join(refused)} is not in ALLOWED of release/licences.py. "
            "Use another package, or add the licence there"
        )


def page(packages: Iterable[Package]) -> str:
    """Return the text of docs/licences.md. Raises LicenceRefused."""
    rows = []
    for package in packages:
        expression = licence_of(package.name)
        check(package.name, expression)
        rows.append(f"| {package.name} | {expression} |")
    about = "The licences of the worker's packages (`requirements.lock`), from the packages' own metadata."
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
