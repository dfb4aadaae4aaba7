"""Tens of thousands of strings that YAML readers may misread, the same in every run."""

import unicodedata
from collections.abc import Iterator
from itertools import chain, product
from random import Random

from tests.component.properties import naughty

WORDS = (
    "y",
    "n",
    "yes",
    "no",
    "on",
    "off",
    "true",
    "false",
    "null",
    "nil",
    "none",
    "nan",
    "inf",
    "infinity",
    "undefined",
)
INDICATORS = "-?:,[]{}#&*!|>'\"%@`=<~.+_/\\$();^"
SPACES = (
    " ",
    "\t",
    "\n",
    "\r",
    "\r\n",
    "\x0b",
    "\x0c",
    "\x85",
    "\xa0",
    "\u2028",
    "\u2029",
    "\u3000",
    "\u200b",
    "\ufeff",
)
UNITS = (
    "",
    "e3",
    "E3",
    "e+3",
    "e-3",
    "E+308",
    "e400",
    ".",
    ".5",
    ".5e1",
    "_000",
    ",000",
    ":30",
    ":30:20",
    "k",
    "Mi",
    "%",
)
DOCUMENTS = (
    *(
        "---",
        "...",
        "--- a",
        "a\n---\nb: c",
        "%YAML 1.1\n---\na",
        "a: b",
        "a: b\nc: d",
        "- a\n- b",
        "? a\n: b",
        "{a: b}",
    ),
    *(
        "[a, b]",
        "&a b",
        "*a",
        "!!int 1",
        "!!python/object/apply:os.system [id]",
        "!<tag:yaml.org,2002:int> 1",
        "<<: *a",
    ),
    *("|\n  a", ">-\n  a", "a #b", "#a", "'a'", '"a"', "'", '"', "''", '""', "\\", "\\n", "\\x41", "\\u263A"),
    "key: |\n  x\n",
)
LENGTHS = (0, 1, 63, 64, 127, 128, 129, 1000, 1017, 1018, 1019, 1020, 1021, 1022, 1023, 1024)
LONGEST_KEY = 1024


def corpus() -> list[str]:
    """Return all strings, without duplicates."""
    parts = (_words(), _numbers(), _hex(), _dates(), _characters(), _spaced(), _structures(), _long(), _random())
    return list(dict.fromkeys(chain(naughty.HOSTILE_NAMES, naughty.ODD_IMAGES, naughty.BAD_IMAGES, *parts)))


def _words() -> Iterator[str]:
    """Yield YAML 1.1's words in every mix of cases, alone and with a prefix or suffix."""
    for word in WORDS:
        letters = [sorted({letter, letter.upper()}) for letter in word[:5]]
        for mixture in map("".join, product(*letters)):
            yield from (mixture + word[5:], f".{mixture}", f"-.{mixture}", f"+{mixture}", f" {mixture}", f"{mixture} ")
    yield from (word + sign for word in WORDS for sign in INDICATORS)
    yield from (sign + word for word in WORDS for sign in INDICATORS)


def _numbers() -> Iterator[str]:
    """Yield numbers in every notation of YAML 1.1 and 1.2, JSON and programming languages."""
    digits = ("0", "1", "7", "8", "9", "00", "01", "07", "08", "0889694", "123", "1" * 25)
    yield from map("".join, product(("", "-", "+"), digits, UNITS))
    prefixes = (
        "0x",
        "0X",
        "0o",
        "0O",
        "0b",
        "0B",
        "0",
        "#",
        "$",
        "x",
        "1e",
        "1E",
        "1_",
        "_",
        ".",
        "..",
        "-.",
        "1:",
        "٣",
    )
    yield from map(
        "".join, product(("", "-", "+"), prefixes, ("1", "7", "f", "F", "10", "0_1", "89", "DEAD", "_", ".", ":59"))
    )


def _hex() -> Iterator[str]:
    """Yield short and long git hashes, as in versions and tags: one short hash in seventy looks like a number."""
    random = Random(1)
    for _ in range(9000):
        yield f"{random.getrandbits(28):07x}"
    for length in (4, 8, 12, 40, 64):
        yield from (f"{random.getrandbits(4 * length):0{length}x}" for _ in range(400))
    for _ in range(3000):  # hashes that look like a number
        yield f"{random.randrange(10**4)}e{random.randrange(10**2)}"
        yield f"0{random.randrange(8**6):o}"
        yield f"{random.randrange(10**8)}"


def _dates() -> Iterator[str]:
    """Yield timestamps and sexagesimal numbers."""
    days = ("2026-11-24", "2026-1-2", "26-11-24", "2026-13-45", "0000-00-00")
    times = ("", "T12:30:45Z", "t12:30:45.5", " 12:30:45", " 12:30:45 +1", "\t12:30:45-01:00", "T1:2:3", " 12:30")
    yield from map("".join, product(days, times))
    yield from (f"{hours}:{rest}" for hours in range(25) for rest in ("00", "30", "59", "60", "30:45", "30:45.5", "5"))


def _characters() -> Iterator[str]:
    """Yield all characters of the first blocks and some of every Unicode class: alone, in the middle, at the ends."""
    random = Random(2)
    classes: dict[str, list[str]] = {}
    for code in (*range(0x3000), *range(0xD7A0, 0xD800), *range(0xE000, 0x20000, 7), 0x10FFFE, 0x10FFFF):
        if not 0xD800 <= code < 0xE000:
            classes.setdefault(unicodedata.category(chr(code)), []).append(chr(code))
    first = [chr(code) for code in (*range(0x250), *range(0x2000, 0x2070), 0xFEFF, *range(0xFFF0, 0x10000), 0x1FFFE)]
    for char in (
        *first,
        *(char for members in classes.values() for char in random.sample(members, min(60, len(members)))),
    ):
        yield from (char, f"a{char}", f"{char}a", f"a{char}b", char * 3)


def _spaced() -> Iterator[str]:
    """Yield white space in every form."""
    for space, other in product(SPACES, SPACES):
        yield from (space + other, f"a{space}{other}", f"{space}{other}a", f"a{space}b{other}c", f"{space}a:{other}b")


def _structures() -> Iterator[str]:
    """Yield documents, mappings, lists, comments and tags, and every pair of indicators."""
    yield from DOCUMENTS
    yield from (f"a\n{text}\n" for text in DOCUMENTS)
    yield from map("".join, product(INDICATORS, INDICATORS, ("", "a", " a", ": a")))


def _long() -> Iterator[str]:
    """Yield strings around every length limit of a line or a key."""
    yield from (char * length for length in LENGTHS for char in ("a", "1", " ", "é", "\n", "\x07", '"', "a ", "日"))


def _random() -> Iterator[str]:
    """Yield random mixtures of all pieces."""
    random = Random(3)
    pieces = (
        *WORDS,
        *INDICATORS,
        *SPACES,
        *UNITS,
        *DOCUMENTS,
        "0",
        "1",
        "e",
        "a",
        "Z",
        "é",
        "日",
        "😀",
        "\x07",
        "\x1b",
        "\x7f",
    )
    for _ in range(9000):
        yield "".join(random.choices(pieces, k=random.randrange(2, 9)))
