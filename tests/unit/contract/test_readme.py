import re
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from tests.support.paths import ROOT
from worker.settings import PREFIX, Settings

README = ROOT / "README.md"


def settings_table() -> str:
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for group, field in Settings.model_fields.items():
        assert isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        for name, setting in field.annotation.model_fields.items():
            rows.append(
                f"| `{PREFIX}{group}__{name}`".upper() + f" | {shown(setting.default)} | {setting.description} |"
            )
    return "\n".join(rows)


def shown(default: Any) -> str:
    if default is PydanticUndefined:
        return "**required**"
    if default is None or default == "":
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def test_the_readme_lists_every_setting() -> None:
    """The table is made of the settings themselves; a red test prints what belongs between the marks."""
    table = re.search(r"<!-- settings -->\n(.*)\n<!-- /settings -->", README.read_text(encoding="utf-8"), re.DOTALL)
    assert table is not None
    assert settings_table() == table[1]
