"""Names, image references and paths that have caused bugs somewhere: tests/data/naughty.json, and long ones."""

import json
from itertools import product

from tests.support.paths import DATA

_DATA = json.loads((DATA / "naughty.json").read_text(encoding="utf-8"))
_HEX = "a" * 64

_CONTROLS = (f"a{chr(code)}b" for code in (*range(32), *range(0x7F, 0xA1), 0x2028, 0x2029))
_LONG = (
    *("A" * 51, "a" * 52, "a" * 63, "a" * 64, "a" * 100, "x" * 1000, "Ab " * 34, "a" * 50 + "-", "a-" * 30, "-" * 100),
    *("9" * 64, "é" * 100, "😀" * 100),
)
HOSTILE_NAMES = tuple(
    dict.fromkeys((*(name for names in _DATA["names"].values() for name in names), *_LONG, *_CONTROLS))
)

_STEMS = ("sudoku", "news", "entity", "image", "text", "y", "n", "on", "e3", "x1", "null", "data", "a")
_ENDS = ("", "-gui", "-solver", "-classifier", "-2", "-v1-0", "--x", "web", "-e5", "0", "s-and-" + "long" * 9)
GOOD_NAMES = (*(stem + end for stem, end in product(_STEMS, _ENDS)), "a" * 51, "z" * 50 + "9", "x-" * 25 + "y")

GOOD_IMAGES = tuple(_DATA["images"]["good"])
ODD_IMAGES = (  # strange, but valid
    *_DATA["images"]["odd"],
    *(f"model@sha256:{_HEX}", f"r.example/m:1@sha512:{_HEX * 2}", "m@sha384:" + "f" * 96, "x:" + "t" * 128),
    "r.example/" + "p/" * 40 + "q",
)
BAD_IMAGES = (
    *_DATA["images"]["bad"],
    *("a:" + "t" * 129, _HEX, "f0" * 32, "r.example/" + "a" * 300, "x" * 4000),
    *(f"a@sha256:{_HEX.upper()}", f"a@sha256:{_HEX[1:]}", f"a@sha256:{_HEX}a", f"a@sha256:{_HEX}@sha256:{_HEX}"),
)

GOOD_PATHS, BAD_PATHS = tuple(_DATA["folders"]["good"]), tuple(_DATA["folders"]["bad"])
GOOD_PIPELINES, RESERVED_PIPELINES = (*_DATA["pipelines"]["good"], "a" * 30), tuple(_DATA["pipelines"]["reserved"])
