import zipfile
from io import BytesIO

import pytest

from worker.domain.bundle.archive import stored_zip

FILES = {"b/c.txt": b"second", "a.txt": b"", "b/a.bin": bytes(range(256)) * 300}


def by_the_standard_library(files: dict[str, bytes]) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, files[name])
    return buffer.getvalue()


@pytest.mark.parametrize("files", [FILES, {}, {"x": b"1"}])
def test_the_bytes_are_those_of_the_standard_library(files: dict[str, bytes]) -> None:
    """The zip has the bytes that the standard library writes, in whatever order the files are given."""
    assert by_the_standard_library(files) == stored_zip(files)
    assert by_the_standard_library(files) == stored_zip(dict(reversed(files.items())))


@pytest.mark.parametrize(
    "name", ["", "/a", "../a", "a/../b", "a/./b", "a//b", "a/", "a\\b", "C:a", "a\0b", "a b", "ä", ".a", "-a", "a\n"]
)
def test_a_name_that_could_lead_elsewhere_is_never_written(name: str) -> None:
    """A name that could lead elsewhere raises, since names come from node names and code, never from users."""
    with pytest.raises(ValueError, match="not an entry name"):
        stored_zip({name: b""})


def test_too_many_files_are_refused() -> None:
    """Too many files raise, because a zip without extensions counts them in 16 bits."""
    with pytest.raises(ValueError, match="too many"):
        stored_zip({f"f{number}": b"" for number in range(65_536)})
