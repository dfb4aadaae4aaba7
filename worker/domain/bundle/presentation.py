"""How the playground shows a solution: its picture and its description, as far as they may be passed on.

Both are decoration. Whatever is wrong with one of them ends in a warning and keeps nothing from being deployed.
"""

from dataclasses import dataclass, field
from textwrap import shorten

from worker.domain.bundle.description import Unusable, sanitise
from worker.domain.solution import LeftOut, Solution

MAX_ICON = 2 * 1024 * 1024  # bytes

# What every browser shows and none runs. SVG is not among them: it carries scripts, and links to other servers.
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a")


@dataclass(frozen=True, slots=True)
class Presentation:
    """What goes into the bundle, and what a user would want to know about the rest."""

    icon: bytes | None = field(repr=False)
    description: bytes | None = field(repr=False)
    warnings: tuple[str, ...]


def present(solution: Solution) -> Presentation:
    """Pass on what is harmless."""
    icon, about_icon = _icon(solution.icon)
    description, about_description = _description(solution.description)
    return Presentation(icon, description, (*about_icon, *about_description))


def _icon(icon: bytes | LeftOut | None) -> tuple[bytes | None, tuple[str, ...]]:
    if icon is None:
        return None, ("The solution has no picture; the playground shows none.",)
    if isinstance(icon, LeftOut):
        return None, (f"The picture is left out: {icon.reason}",)
    if len(icon) > MAX_ICON:
        return None, (f"The picture is left out: it is larger than {MAX_ICON >> 20} MiB. Make it smaller.",)
    if not _is_image(icon):
        return None, ("The picture is left out: it is no PNG, JPEG, GIF or WebP image. Upload it as one.",)
    return icon, ()


def _is_image(data: bytes) -> bool:
    return data.startswith(_SIGNATURES) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


def _description(html: str | LeftOut | None) -> tuple[bytes | None, tuple[str, ...]]:
    if html is None:
        return None, ("The solution has no description; the playground shows none.",)
    if isinstance(html, LeftOut):
        return None, (f"The description is left out: {html.reason}",)
    try:
        description = sanitise(html)
    except Unusable as problem:
        return None, (f"The description is left out: {problem}. Simplify it.",)
    return description.document, _about(description.removed)


def _about(removed: tuple[str, ...]) -> tuple[str, ...]:
    if not removed:
        return ()
    shown = shorten(", ".join(removed), 100, placeholder=" and more")  # a warning has 200 characters
    return (f"The description is shown without {shown}: only text, links, lists and tables are passed on.",)
