"""docs/contract.md lists the error codes of worker/errors.py."""

import re

import pytest

from tests.support.paths import ROOT
from worker.errors import CODES, FAILED, REJECTED, UNAVAILABLE, Failed, Rejected, Unavailable

PAGE = ROOT / "docs" / "contract.md"


def table() -> str:
    """The error codes as the page shows them."""
    rows = [
        f"| `{code}` | `{family.state}` | {'yes' if family.retryable else 'no'} | {sentence} |"
        for family, codes in ((Rejected, REJECTED), (Unavailable, UNAVAILABLE), (Failed, FAILED))
        for code, sentence in codes.items()
    ]
    return "\n".join(["| code | ends in | retryable | what it means, what to do |", "|---|---|---|---|", *rows])


def test_page_has_the_table_of_the_code() -> None:
    """The table is the code's own; on failure the right one is printed, to be pasted."""
    found = re.search(
        r"<!-- error codes: .*? -->\n(.*?)\n?<!-- end of error codes -->", PAGE.read_text(encoding="utf-8"), re.DOTALL
    )
    assert found

    if found[1] != table():
        pytest.fail(f"docs/contract.md: paste this between the comments around the error codes\n\n{table()}\n")


def test_table_has_every_code() -> None:
    """No code is left out, and none breaks the table."""
    assert list(CODES) == re.findall(r"^\| `([a-z-]+)` \|", table(), re.MULTILINE)
    assert all("|" not in sentence and "\n" not in sentence for sentence in CODES.values())
