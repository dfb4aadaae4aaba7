"""Picture and description: what is passed on, and the warning about the rest."""

from typing import Any

import pytest

from schemas import Kind
from tests.support.builders import PNG, solution
from worker.domain.bundle.plan import Plan, plan_single_model
from worker.domain.bundle.presentation import MAX_ATTRIBUTES, MAX_CHARS, MAX_CHARS_WITH_PICTURES, MAX_ICON, MAX_TAGS
from worker.domain.solution import LeftOut

WEBP = b"RIFF\x24\0\0\0WEBPVP8 "


def plan(**about: Any) -> Plan:
    """A model with this picture and this description."""
    return plan_single_model(solution(kind=Kind.SINGLE_MODEL, name="model", image="registry.example/model:1", **about))


def warnings(**about: Any) -> str:
    """Return the warnings about the given picture or description; the other is valid."""
    given = plan(**({"icon": PNG, "description": "Good."} | about))
    assert (given.icon is None) == ("icon" in about)
    return " ".join(given.warnings)


@pytest.mark.parametrize("icon", [PNG, b"\xff\xd8\xff\xe0JFIF", b"GIF87a", b"GIF89a;", WEBP, PNG.ljust(MAX_ICON)])
def test_an_image_is_passed_on(icon: bytes) -> None:
    """PNG, JPEG, GIF and WebP images, recognized by their first bytes, are passed on unchanged."""
    presented = plan(icon=icon, description="Good.")
    assert (icon, ()) == (presented.icon, presented.warnings)


@pytest.mark.parametrize(
    "icon",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
        b"<?xml version='1.0'?><svg/>",
        b"\xef\xbb\xbf<svg/>",
        b"<!doctype html><script>alert(1)</script>",
        b"GIF8",
        b"GIF88a",
        b"\x89PNG\n\x1a\n",
        b" " + PNG,
        b"RIFF\0\0\0\0WAVE",
        b"BM\0\0\0\0",
        b"\0\0\1\0",
        b"%PDF-1.7",
        b"PK\x03\x04",
        b"\x7fELF",
        b"#!/bin/sh",
        b"MZ",
        b'{"status": 400, "error": "none"}',
        b"\0",
        b"",
    ],
)
def test_what_is_no_image_is_left_out(icon: bytes) -> None:
    """Anything else, including SVG with its scripts, is left out, and the warning lists the accepted formats."""
    assert warnings(icon=icon) == (
        "The picture is left out: it is not a PNG, JPEG, GIF or WebP image. Upload it as one."
    )


@pytest.mark.parametrize(
    ("about", "warning"),
    [
        ({"icon": None}, "The solution has no picture, so none is shown."),
        ({"icon": LeftOut("it is ill.")}, "The picture is left out: it is ill."),
        ({"icon": PNG.ljust(MAX_ICON + 1)}, "The picture is left out: it is larger than 2 MiB. Make it smaller."),
    ],
)
def test_a_picture_that_is_not_there(about: dict[str, Any], warning: str) -> None:
    """A missing picture is only a warning, because a solution needs none."""
    assert warning == warnings(**about)


@pytest.mark.parametrize(
    ("description", "warning"),
    [
        (None, "The solution has no description, so none is shown."),
        (LeftOut("it is ill."), "The description is left out: it is ill."),
        ("x" * (MAX_CHARS + 1), "The description is left out: it is longer than 200000 characters. Simplify it."),
        ("<p>" * (MAX_TAGS + 1), "The description is left out: it has more than 8000 tags. Simplify it."),
        (
            "x" * (MAX_CHARS_WITH_PICTURES + 1),
            "The description is left out: it is longer than 2097152 characters. Simplify it.",
        ),
        (
            "<p " + "a " * (MAX_ATTRIBUTES + 1) + ">x",
            "The description is left out: a tag has more than 200 attributes. Simplify it.",
        ),
        (" <script>x</script> ", "The description is left out: nothing of it may be shown. Simplify it."),
    ],
)
def test_a_description_that_is_not_there(description: Any, warning: str) -> None:
    """A description that is left out has a warning with the reason and, if there is a remedy, the remedy."""
    presented = plan(icon=PNG, description=description)
    assert (None, (warning,)) == (presented.description, presented.warnings)


def test_a_description_that_lost_something() -> None:
    """The warning lists as many removed tags as fit into a status."""
    html = "x" + "".join(f"<tag-number-{n}-of-a-long-name>" for n in range(20))
    (warning,) = plan(icon=PNG, description=html).warnings
    assert (
        "tag-number-0-of-a-long-name, tag-number-1-of-a-long-name, tag-number-10-of-a-long-name, and more: " in warning
    )
    assert len(warning) <= 200


def test_a_clean_description_is_not_talked_about() -> None:
    """A description from which nothing was removed has no warning."""
    presented = plan(icon=PNG, description="<p>Good.</p>")
    assert () == presented.warnings
    assert presented.description
    assert presented.description.endswith(b"\n<p>Good.</p>\n")


@pytest.mark.parametrize(
    "link", ["https:/x", "https:x", "HTTP:/x/y", "http:\\\\x", "https:", " https:/x", "https:\t/x", "ht\ntps:/x"]
)
def test_a_link_that_is_a_relative_one_goes(link: str) -> None:
    """A link that is relative on an HTTPS page is removed, as it leads into the playground with the user's session."""
    given = plan(icon=PNG, description=f'<p>Text <a href="{link}">here</a></p>')
    assert given.description is not None
    assert b"href" not in given.description
    assert "The description is shown without href=" in " ".join(given.warnings)


@pytest.mark.parametrize("link", ["https://x.example/y", "HTTP://x.example", "mailto:x@y.example"])
def test_a_link_that_leads_elsewhere_stays(link: str) -> None:
    """A link that names its own server is kept."""
    given = plan(icon=PNG, description=f'<p>Text <a href="{link}">here</a></p>')
    assert given.description is not None
    assert f'href="{link}"'.encode() in given.description
