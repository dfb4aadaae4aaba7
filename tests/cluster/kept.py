"""What takes long to make is made once per user, and kept in the cache folder."""

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

from platformdirs import user_cache_dir

Make = Callable[[Path], None]
"""Fills the empty folder given. May raise whatever it likes; nothing is kept then."""


class Unavailable(Exception):
    """What is missing on this machine, and the way out."""


def kept(name: str, parts: list[bytes], make: Make) -> Path:
    """The folder of `name` made of just these parts. It is made beside and renamed, so two may do so at once."""
    key = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[:16]
    place = Path(user_cache_dir("playground-deployer")) / f"{name}-{key}"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".making-") as beside:
            made = Path(beside) / "it"
            made.mkdir()
            make(made)
            try:
                made.rename(place)
            except OSError:  # somebody else was faster
                if not place.exists():
                    raise
    return place
