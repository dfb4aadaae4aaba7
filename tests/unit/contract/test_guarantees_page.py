import json
import re

from tests.support.paths import ROOT

DOCS = ROOT / "docs"


def table() -> str:
    """The results of the full run, as the page shows them."""
    rows = ["| row | fault | kept | figures | seed |", "|---|---|---|---|---|"]
    results = json.loads((DOCS / "faults.json").read_text(encoding="utf-8"))
    for name, it in sorted(results.items(), key=lambda row: (int(re.sub(r"\D", "", row[0])), row[0])):
        figures = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in it["figures"].items() if value != 0)
        rows.append(f"| {name} | {it['fault']} | {'yes' if it['kept'] else '**no**'} | {figures} | {it['seed']} |")
    return "\n".join(rows)


def test_the_page_shows_the_full_run() -> None:
    """Its table is made of the results; a red test prints what belongs between the marks. Zeros are left out."""
    page = (DOCS / "guarantees.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- faults -->\n(.*?)\n?<!-- /faults -->", page, re.DOTALL)
    assert found
    assert table() == found[1]
