"""What may be shown of a solution: its picture, and its description, which is HTML that a user wrote.

A picture is what every browser shows and none runs. Of the description, the tags and attributes listed here stay and
nothing else: no script, style, picture or form, and no link but to http, https and mailto. nh3 builds the tree a
browser would build and writes it out again.

Before that, the text is bounded: building the tree takes time with the square of its depth, and of a tag's attributes,
and repeats every open formatting tag in each new block, with its attributes. 27 kB can become a gigabyte that way,
500 kB of `<div>` take half a minute, and 475 kB of attributes 4 s. So `_Markup` first writes the text anew, with only
the attributes that may stay. It reads tags as a browser does (HTML, 13.2.5), and no safety rests on it.
"""

import re
from dataclasses import dataclass
from html import escape
from textwrap import shorten

import nh3

from worker.errors import WorkerError

MAX_ICON = 2 * 1024 * 1024  # bytes
MAX_CHARS = 200_000  # without pictures that are part of the text
MAX_CHARS_WITH_PICTURES = 2 * 1024 * 1024  # as Graphene does; to look for pictures in twice as many takes 60 ms
MAX_TAGS = 8_000  # opening, and as many closing: 200 kB of ordinary text have fewer, and worse ones take 0.4 s
MAX_ATTRIBUTES = 200  # of one tag: a browser compares each with each, and an editor writes five

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


def _without_relative(_tag: str, attribute: str, value: str) -> str | None:
    """Drop a link like https:/path, which a browser takes for a relative one on a page that came by the same scheme."""
    relative = attribute == "href" and _RELATIVE.match(_IGNORED.sub("", value))
    return None if relative else value


_IGNORED = re.compile(r"^[\x00-\x20]+|[\t\n\r]")  # by a browser, in a link
_RELATIVE = re.compile(r"https?:(?!//)", re.IGNORECASE)
_CLEANER = nh3.Cleaner(
    tags=set(TAGS),
    clean_content_tags=set(_WITH_CONTENT),
    attributes=ATTRIBUTES | {"*": set()},  # else nh3 lets `title` and `lang` pass everywhere
    url_schemes=SCHEMES,
    attribute_filter=_without_relative,
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

_SPACE = r"\t\n\f\r "  # as HTML has it
_VALUE = rf"""(?:"[^"]*(?:"|\Z)|'[^']*(?:'|\Z)|[^{_SPACE}>"'][^{_SPACE}>]*|(?=>)|\Z)"""
# Possessive throughout: what was read is not read again, and 200 kB take 15 ms at most.
_WRITTEN = rf"[^{_SPACE}/>][^{_SPACE}/>=]*+(?:[{_SPACE}]*+=[{_SPACE}]*+{_VALUE})?+"
_ATTRIBUTE = re.compile(rf"([^{_SPACE}/>][^{_SPACE}/>=]*+)(?:[{_SPACE}]*+=[{_SPACE}]*+({_VALUE}))?")
_REST = rf"(?:[{_SPACE}/]++|{_WRITTEN})*+"
# What is no markup: in these no tag is read until their own end.
_RAW = "iframe|noembed|noframes|script|style|textarea|title|xmp"
_MARKUP = re.compile(
    rf"<!--(?:-?>|.*?(?:--!?>|\Z))"  # a comment
    rf"|<(?:[!?]|/[^a-zA-Z])[^>]*>?"  # a declaration, an instruction, nonsense
    rf"|<(?P<raw>(?ai:{_RAW}))(?=[{_SPACE}/>]){_REST}>(?P<text>.*?)(?:(?ai:</(?P=raw))(?=[{_SPACE}/>]){_REST}(?:>|\Z)|\Z)"
    rf"|<(?P<end>/?)(?P<name>[a-zA-Z][^{_SPACE}/>]*)(?P<rest>{_REST})(?P<close>>|\Z)",
    re.DOTALL,
)
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
    """Keep what is harmless. Raises Unusable: too long, too many tags or attributes, nothing left."""
    if len(html) > MAX_CHARS_WITH_PICTURES:
        raise Unusable(f"it is longer than {MAX_CHARS_WITH_PICTURES} characters. Simplify it.")
    text = _INLINE_PICTURE.sub('=""', html)
    if len(text) > MAX_CHARS:
        raise Unusable(f"it is longer than {MAX_CHARS} characters. Simplify it.")
    closing = text.count("</")
    if max(closing, text.count("<") - closing) > MAX_TAGS:
        raise Unusable(f"it has more than {MAX_TAGS} tags. Simplify it.")
    markup = _Markup()
    clean = _CLEANER.clean(_MARKUP.sub(markup.rewritten, text)).strip()
    if not clean:
        raise Unusable("nothing of it may be shown. Simplify it.")
    if clean.count(' href="') < markup.links:
        markup.removed.add("href=")
    return Description(clean, tuple(sorted(markup.removed)))


class _Markup:
    """Writes each piece of markup anew, and notes for people what goes."""

    def __init__(self) -> None:
        self.removed: set[str] = set()
        self.links = 0
        self._known: dict[str, tuple[str, int]] = {}  # piece → what becomes of it, and whether that is a link

    def rewritten(self, match: re.Match[str]) -> str:
        """Write one piece without what may not stay: whatever begins a tag in the new text ends with its next `>`."""
        piece = match[0]
        if (known := self._known.get(piece)) is None:  # most tags come again and again
            known = self._known[piece] = self._piece(*match.groups())
        self.links += known[1]
        return known[0]

    def _piece(self, raw: str | None, text: str, end: str, name: str | None, rest: str, close: str) -> tuple[str, int]:
        if raw:
            self._remove_tag(raw.lower())
            return escape(text, quote=False) if raw.lower() == "xmp" else "", 0
        if not name or not close:  # a browser drops a tag that the text ends in
            return "", 0
        kept, link = "", 0
        if not end:
            if name.lower() not in TAGS | _UNMISSED:
                self._remove_tag(name.lower())
            elif rest:
                kept, link = self._attributes(name.lower(), rest)
        itself = "/" if rest.endswith("/") and _ATTRIBUTE.sub("", rest).endswith("/") else ""
        return f"<{end}{name}{kept}{itself}>", link

    def _remove_tag(self, name: str) -> None:
        self.removed.add(name if _NAME.fullmatch(name) else "unknown tags")

    def _attributes(self, tag: str, rest: str) -> tuple[str, int]:
        found: dict[str, str] = {}
        for number, attribute in enumerate(_ATTRIBUTE.finditer(rest), start=1):
            if number > MAX_ATTRIBUTES:
                raise Unusable(f"a tag has more than {MAX_ATTRIBUTES} attributes. Simplify it.")
            found.setdefault(attribute[1].lower(), attribute[2] or "")
        known = ATTRIBUTES.get(tag, set())
        missed = found.keys() - known - _SET_BY_US
        self.removed.update(f"{name}=" for name in missed if _NAME.fullmatch(name))
        kept = "".join(f' {name}="{_value(value)}"' for name, value in found.items() if name in known)
        return kept, int(tag == "a" and "href" in found)


def _value(text: str) -> str:
    """Write a value between double quotes; its character references stay what they are."""
    inner = text[1:].removesuffix(text[0]) if text[:1] in ('"', "'") else text
    return inner.replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
