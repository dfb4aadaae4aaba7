from pathlib import Path

import pytest

from tests.support.golden import DEPLOYABLE, GOLDEN, build, files_below, shipped


@pytest.mark.parametrize("case", DEPLOYABLE)
async def test_a_bundle_is_the_golden_one(case: str, tmp_path: Path) -> None:
    """Each bundle equals its golden folder, built in a process with a different hash seed.

    `make golden` shows a change as a diff.
    """
    await build(case, tmp_path / "out", PYTHONHASHSEED="7")
    files = files_below(tmp_path / "out")
    assert files_below(GOLDEN / case) | shipped(files) == files
