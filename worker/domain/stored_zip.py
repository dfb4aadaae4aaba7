"""A zip whose bytes depend on nothing but its files: sorted, stored, with one date and one mode.

Deflate differs from one zlib to the next, and the standard library's writer spends most of its time on what a
fixed layout does not need. The layout is PKWARE's APPNOTE 4.3, without extra fields.
"""

import re
import struct
from collections.abc import Mapping
from zlib import crc32

# Entry names are made of node names and our own words; anything else is a defect.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*", re.ASCII)

_VERSION = 20  # 2.0, which every reader understands
_UNIX = 3
_STORED = 0
_TIME, _DATE = 0, 33  # 1980-01-01 00:00:00, the earliest a zip can hold
_MODE = 0o100644 << 16

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s2B5H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_MAX_BYTES, _MAX_ENTRIES = 0xFFFFFFFF, 0xFFFF


def stored_zip(files: Mapping[str, bytes]) -> bytes:
    """Path → content, as a zip.

    Raises ValueError for a path outside the closed alphabet, or more than 4 GiB or 65,535 files.
    """
    entries: list[bytes] = []
    directory: list[bytes] = []
    offset = 0
    for path in sorted(files):
        if not _NAME.fullmatch(path):
            raise ValueError(f"not an entry name: {path!r}")
        name, data = path.encode(), files[path]
        common = (_STORED, _TIME, _DATE, crc32(data), len(data), len(data), len(name), 0)
        local = _LOCAL.pack(b"PK\x03\x04", _VERSION, 0, *common)
        directory.append(_CENTRAL.pack(b"PK\x01\x02", _VERSION, _UNIX, _VERSION, 0, *common, 0, 0, 0, _MODE, offset))
        directory.append(name)
        entries += (local, name, data)
        offset += len(local) + len(name) + len(data)
    size = sum(map(len, directory))
    if offset + size > _MAX_BYTES or len(files) > _MAX_ENTRIES:
        raise ValueError(f"{len(files)} files of {offset} bytes are too many for a zip")
    end = _END.pack(b"PK\x05\x06", 0, 0, len(files), len(files), size, offset, 0)
    return b"".join((*entries, *directory, end))
