"""The files generated from the values and the worker's settings: `make chart`; `--check` only compares.

The worker's settings become the part `settings` of values.yaml; values.yaml becomes values.schema.json and the table
in the chart's README; the worker's version becomes the chart's.
"""

import argparse
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

from tests.component.chart.values import CHART, VALUES, Value, read_values, schema_of
from tests.component.chart.worker_settings import ELSEWHERE, schemas, template_facts, values_block
from worker import __version__
from worker.settings import PREFIX

ABOUT = CHART / "Chart.yaml"
README = CHART / "README.md"


def files() -> dict[Path, str]:
    """Return the content of every generated file."""
    values_text = _between(VALUES.read_text(encoding="utf-8"), "# <settings>\n", values_block(), "# </settings>")
    of_settings = schemas()
    values = [replace(it, own_schema=of_settings.get(it.path, it.own_schema)) for it in read_values(values_text)]
    readme = _between(README.read_text(encoding="utf-8"), "<!-- values -->\n", _table(values), "<!-- /values -->")
    readme = _between(readme, "<!-- elsewhere -->\n", _elsewhere(), "<!-- /elsewhere -->")
    about = ABOUT.read_text(encoding="utf-8")
    return {
        ABOUT: re.sub(r"((?:ersion|image): (?:playground-deployer:)?)[0-9]\S*", rf"\g<1>{__version__}", about),
        VALUES: values_text,
        CHART / "values.schema.json": json.dumps(schema_of(values), indent=2, ensure_ascii=False) + "\n",
        CHART / "files" / "settings.yaml": template_facts(),
        README: readme,
    }


def stale() -> list[str]:
    """Return the names of files that are missing or different."""
    return [
        path.relative_to(CHART.parent).as_posix()
        for path, text in files().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]


def _between(text: str, start: str, content: str, end: str) -> str:
    return re.sub(f"{re.escape(start)}.*{re.escape(end)}", lambda _: start + content + end, text, flags=re.DOTALL)


def _table(values: list[Value]) -> str:
    rows = ["| value | type | default | meaning |", "|---|---|---|---|"]
    for it in values:
        default = json.dumps(it.default, ensure_ascii=False)
        rows.append(f"| `{it.path}` | {it.type} | `{default}` | {it.sentence.replace('|', '&#124;')} |")
    return "\n".join(rows) + "\n"


def _elsewhere() -> str:
    rows = ["| setting | value |", "|---|---|"]
    for setting, value in ELSEWHERE.items():
        rows.append(f"| `{PREFIX}{setting.replace('.', '__')}`".upper() + f" | `{value}` |")
    return "\n".join(rows) + "\n"


def main() -> None:
    """Write the files, or with `--check` exit 1 and name the stale ones."""
    parser = argparse.ArgumentParser(prog="python -m tests.component.chart.generated", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is stale")
    if parser.parse_args().check:
        if names := stale():
            sys.exit(f"stale: {', '.join(names)}; run `make chart` and commit")
        return
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
