"""The pages: their generated parts, and the names in them."""

import re
import shlex
from pathlib import Path

import pytest

from schemas import SUCCESSORS, State
from tests.support.pages import DOCS, PARTS, Part, error_codes
from tests.support.paths import ROOT
from tests.support.pictures import FOLDER, PICTURES, Picture, points, read_figures
from worker.cli import _parser, main
from worker.errors import CODES

PAGES = sorted(
    {
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "SECURITY.md",
        *DOCS.rglob("*.md"),
        *(ROOT / "helm").glob("*.md"),
    }
)
INDEX = DOCS / "README.md"
# Other projects' files: h11's, and one in the zip of the Java deployer.
FOREIGN = {"_state.py", "status_client.py"}
PYTHON_FILES = [
    path.relative_to(ROOT).as_posix()
    for folder in ("release", "schemas", "tests", "worker")
    for path in (ROOT / folder).rglob("*.py")
]

# Placeholders in commands, each with an example.
PLACEHOLDERS = {
    "SOLUTION": "e0a145e4-29aa-4d7e-bb1a-6329329be33b",
    "REVISION": "e5ef4c44-3813-4637-a493-d22281f643ea",
}


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_a_printed_part_is_what_the_code_says(part: Part) -> None:
    """Each generated part is what the code prints; `make pages` rewrites it."""
    assert part.make() == part.shown()


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_a_picture_is_what_the_figures_say(picture: Picture) -> None:
    """Each picture is what the figures draw; `make pages` redraws it."""
    assert picture.draw(read_figures()) == picture.path.read_text(encoding="utf-8")


def test_every_picture_is_shown() -> None:
    """docs/performance.md shows every picture, and no picture that is not drawn."""
    shown = re.findall(r"\]\(pictures/(.+)\.svg\)", (DOCS / "performance.md").read_text(encoding="utf-8"))
    drawn = [picture.name for picture in PICTURES]
    assert sorted(drawn) == sorted(shown) == sorted(path.stem for path in FOLDER.iterdir())


def test_a_line_goes_by_the_number_in_the_name() -> None:
    """A line follows the numbers in its figures' names; a name that only contains the pattern is another figure."""
    figures = {"after 10,000 requests": 3.0, "after 900 requests": 1.0, "after 900 requests, peak": 2.0}
    assert [(900.0, 1.0), (10_000.0, 3.0)] == points(figures, r"after ([\d,]+) requests")
    with pytest.raises(ValueError, match="no figure"):
        points(figures, r"before (\d+) requests")


def test_writing_a_part_changes_nothing_else(tmp_path: Path) -> None:
    """Writing a part changes only the text between its marks, and a page without the marks raises."""
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- it -->\nold\n<!-- /it -->\nafter\n")
    part = Part(page, "it", lambda: "new\nlines")
    part.write()
    assert "before\n<!-- it -->\nnew\nlines\n<!-- /it -->\nafter\n" == page.read_text()
    with pytest.raises(ValueError, match="other"):
        part._replace(name="other").write()


def test_the_table_of_codes_has_every_code() -> None:
    """The table has every error code, and no sentence breaks it."""
    assert list(CODES) == re.findall(r"^\| `([a-z-]+)` \|", error_codes(), re.MULTILINE)
    assert all("|" not in sentence and "\n" not in sentence for sentence in CODES.values())


def test_every_step_between_states_is_explained() -> None:
    """docs/states.md has a row for each allowed step between states, in the order of the code."""
    text = (DOCS / "states.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (the record|`[a-z]+`) \| `([a-z]+)` \| .+ \|$", text, re.MULTILINE)
    steps = [(state, follower) for state in (None, *State) for follower in State if follower in SUCCESSORS[state]]
    assert [(f"`{state}`" if state else "the record", follower) for state, follower in steps] == rows


def test_the_index_names_every_page() -> None:
    """docs/README.md links every page in its folder, and the index of the decisions."""
    linked = {(DOCS / it).resolve() for it in re.findall(r"\]\(([^)#:]+\.md)\)", INDEX.read_text(encoding="utf-8"))}
    assert [] == sorted(it.name for it in {*DOCS.glob("*.md"), DOCS / "decisions" / "README.md"} - {INDEX} - linked)


def test_the_index_of_the_decisions_is_complete() -> None:
    """Each decision has its number, its date and its line in the index."""
    folder = DOCS / "decisions"
    records = sorted(folder.glob("[0-9]*.md"))
    index = (folder / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[(\d{4})\]\((.+)\) \| (.+) \| ([\d-]+) \|$", index, re.MULTILINE)
    heads = [re.match(r"# (\d{4}) (.+)\n\n(\d{4}-\d\d-\d\d)\n", it.read_text(encoding="utf-8")) for it in records]
    assert [(it[1], path.name, it[2], it[3]) for it, path in zip(heads, records, strict=True) if it] == listed
    assert [f"{number:04}" for number in range(1, len(records) + 1)] == [path.name[:4] for path in records]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_on_a_page_are_taken(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The program accepts every command on a page."""
    refused = []
    for line in re.findall(r"^ *playground-deployer (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
        try:
            _parser().parse_args([PLACEHOLDERS.get(word, word) for word in shlex.split(line, comments=True)])
        except SystemExit:
            refused.append(f"{line}: {capsys.readouterr().err}")
    assert [] == refused


def test_the_page_of_commands_lists_all(capsys: pytest.CaptureFixture[str]) -> None:
    """The page lists all commands in the order of `--help`."""
    with pytest.raises(SystemExit):
        main(["--help"])
    commands = re.findall(r"^    ([a-z-]+)(?= |$)", capsys.readouterr().out, re.MULTILINE)
    page = (DOCS / "commands.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(?:playground-deployer|…) ([a-z-]+)", page, re.MULTILINE)
    assert commands == list(dict.fromkeys(rows))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_paths_on_a_page_exist(page: Path) -> None:
    """Every path on a page is a file, a folder, or a pattern with a match."""
    named = re.findall(
        r"`((?:compose|docs|helm|release|schemas|tests|worker)/[\w./*-]*)`", page.read_text(encoding="utf-8")
    )
    assert [] == sorted(path for path in named if not any(ROOT.glob(path.rstrip("/"))))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_python_files_on_a_page_exist(page: Path) -> None:
    """Every Python file on a page exists; a short name is the end of a path."""
    named = set(re.findall(r"`([\w/-]+\.py)`", page.read_text(encoding="utf-8"))) - FOREIGN
    assert [] == sorted(name for name in named if not any(f"/{path}".endswith(f"/{name}") for path in PYTHON_FILES))


def test_the_path_of_a_request_names_whole_paths() -> None:
    """The tables name files with their folders, so that the check of paths covers each of them."""
    rows = re.findall(r"^\|.*\|$", (DOCS / "request-path.md").read_text(encoding="utf-8"), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([\w/.-]+\.py)`", row)}
    assert named
    assert [] == sorted(name for name in named if not (ROOT / name).is_file())


def test_the_sums_of_the_traced_files_are_those_of_their_table() -> None:
    """The totals below the table of `make trace` are those of its rows, one for each file."""
    text = (DOCS / "request-path.md").read_text(encoding="utf-8")
    table = re.search(
        r"<!-- trace -->\n(.*)<!-- /trace -->\n\n(\d+) files, (\d+) functions, \d+ changes", text, re.DOTALL
    )
    assert table
    rows = re.findall(r"^\| `(.+)` \| (\d+) \| \d+ \|$", table[1], re.MULTILINE)
    assert (len({file for file, _ in rows}), sum(int(functions) for _, functions in rows)) == (
        int(table[2]),
        int(table[3]),
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_make_has_the_targets_on_a_page(page: Path) -> None:
    """The Makefile has every target that a page names, in commands and in text."""
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    lines = re.findall(r"(?:^    |`)(?:[A-Z_]+=\w+ )?make ([a-z -]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert [] == sorted({target for line in lines for target in line.partition("  ")[0].split()} - known)
