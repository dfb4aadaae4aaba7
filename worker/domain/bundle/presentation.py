"""What may be shown of a solution: its picture, and its description, which is HTML that a user wrote.

A picture is what every browser shows and none runs. Of the description, the tags and attributes listed here stay and
nothing else: no script, style, picture or form, and no link but to http, https and mailto. nh3 builds the tree a
browser would build and writes it out again.

Before that, the text is bounded: building the tree takes time with the square of its depth, and repeats every open
formatting tag in each new block. 27 kB can become a gigabyte that way, and 500 kB of `<div>` take half a minute.
"""

import re
from collections import Counter
from dataclasses import dataclass
from textwrap import shorten

import nh3

from worker.errors import WorkerError

MAX_ICON = 2 * 1024 * 1024  # bytes
MAX_CHARS = 200_000  # without pictures that are part of the text; Graphene allows two million
MAX_TAGS = 8_000  # opening, and as many closing: 200 kB of ordinary text have fewer

# SVG is not among them: it carries scripts, and links to other servers.
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a")

# fmt: off
TAGS = frozenset({
    "a", "b", "blockquote", "br", "caption", "cite", "code", "dd", "del", "div", "dl", "dt", "em", "h1", "h2", "h3",
    "h4", "h5", "h6", "hr", "i", "ins", "kbd", "li", "mark", "ol", "p", "pre", "q", "s", "samp", "small", "span",
    "strong", "sub", "sup", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "u", "ul", "var",
})
# Their text is not for readers, or is parsed by other rules than HTML's.
_WITH_CONTENT = frozenset({
    "audio", "canvas", "iframe", "math", "noembed", "noframes", "noscript", "object", "script", "select", "style",
    "svg", "template", "textarea", "title", "video",
})
# fmt: on
ATTRIBUTES = {"a": {"href"}, "td": {"colspan", "rowspan"}, "th": {"colspan", "rowspan"}}
SCHEMES = {"http", "https", "mailto"}

_CLEANER = nh3.Cleaner(
    tags=set(TAGS),
    clean_content_tags=set(_WITH_CONTENT),
    attributes=ATTRIBUTES | {"*": set()},  # else nh3 lets `title` and `lang` pass everywhere
    url_schemes=SCHEMES,
    url_relative="deny",  # it would lead into the playground server, with the user's session there
    link_rel="noopener noreferrer",
    set_tag_attribute_values={"a": {"target": "_blank"}},  # the page is shown inside another one
)

# The character set, because one that a browser guesses turns harmless text into tags (ISO-2022-JP does). The policy
# holds where the file is shown as a document of its own, as in an <object>; a page it is pasted into ignores both.
_HEAD = (
    '<!doctype html>\n<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; base-uri 'none'; form-action 'none'\">\n"
)

_INLINE_PICTURE = re.compile(r"""=\s*(?:"data:[^"<>]*"|'data:[^'<>]*')""", re.IGNORECASE)
# What a browser repeats in each block until it is closed (HTML, 13.2.4.3; an `a` ends the one before).
_FORMATTING = "b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u"
_FORMATTING_TAG = re.compile(rf"<({_FORMATTING})[\s/][^<>]*>", re.IGNORECASE)
_FORMATTING_LEFT = re.compile(rf"<(?:{_FORMATTING})[\s/]", re.IGNORECASE)

_TAG = re.compile(r"""<([a-z][^\s/>]*)((?:[^<>"']|"[^"]*"|'[^']*')*)""", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""([^\s/=>"']+)(?:\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'>]*))?""")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}=?")
_UNMISSED = frozenset({"html", "head", "body", "meta"})
_SET_BY_US = frozenset({"rel", "target"})


Shown = tuple[bytes | None, tuple[str, ...]]
"""What goes into the bundle, and what a user would want to know about the rest."""


class Unusable(WorkerError):
    """It cannot be passed on. The message goes on after "The … is left out:"."""


@dataclass(frozen=True, slots=True)
class Description:
    """A description that may be shown."""

    html: str
    removed: tuple[str, ...]  # names of tags, and of attributes with a `=` after them


def shown_picture(icon: bytes) -> Shown:
    """Let a picture pass as it is. Raises Unusable."""
    if len(icon) > MAX_ICON:
        raise Unusable(f"it is larger than {MAX_ICON >> 20} MiB. Make it smaller.")
    if not icon.startswith(_SIGNATURES) and not (icon[:4] == b"RIFF" and icon[8:12] == b"WEBP"):
        raise Unusable("it is not a PNG, JPEG, GIF or WebP image. Upload it as one.")
    return icon, ()


def shown_description(html: str) -> Shown:
    """Make a document of what may be shown. Raises Unusable."""
    description = sanitise(html)
    removed = shorten(", ".join(description.removed), 100, placeholder=" and more")  # a warning has 200 characters
    about = f"The description is shown without {removed}: only text, links, lists and tables are passed on."
    return f"{_HEAD}{description.html}\n".encode(), (about,) if removed else ()


def sanitise(html: str) -> Description:
    """Keep what is harmless. Raises Unusable: too long, too many tags, nothing left."""
    text = _INLINE_PICTURE.sub('=""', html)
    if len(text) > MAX_CHARS:
        raise Unusable(f"it is longer than {MAX_CHARS} characters. Simplify it.")
    closing = text.count("</")
    if max(closing, text.count("<") - closing) > MAX_TAGS:
        raise Unusable(f"it has more than {MAX_TAGS} tags. Simplify it.")
    # Of identical tags only three are repeated; attributes, which do not stay anyway, would make them differ.
    bounded = _FORMATTING_TAG.sub(r"<\1>", text)
    if len(_FORMATTING_LEFT.findall(bounded)) > len(_FORMATTING.split("|")):
        raise Unusable("its tags are not well formed. Simplify it.")
    clean = _CLEANER.clean(bounded).strip()
    if not clean:
        raise Unusable("nothing of it may be shown. Simplify it.")
    return Description(clean, _removed(text, clean))


def _removed(html: str, clean: str) -> tuple[str, ...]:
    """List what is missing, for people: a reading by regular expressions, on which no safety rests."""
    removed: set[str] = set()
    links = 0
    for (tag, rest), times in Counter(_TAG.findall(html)).items():
        name = tag.lower()
        if name not in TAGS | _UNMISSED:
            removed.add(name if _NAME.fullmatch(name) else "unknown tags")
            continue
        known = ATTRIBUTES.get(name, set()) | _SET_BY_US
        attributes = [attribute.lower() for attribute in _ATTRIBUTE.findall(rest)]
        removed.update(
            f"{attribute}=" for attribute in attributes if attribute not in known and _NAME.fullmatch(attribute)
        )
        links += times * (name == "a" and "href" in attributes)
    if clean.count(' href="') < links:
        removed.add("href=")
    return tuple(sorted(removed))
