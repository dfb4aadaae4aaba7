"""The parts of a solution that users see: its picture, and its description, which is HTML that a user wrote.

A picture must have a format that every browser displays and no browser executes. A description keeps only the tags and
attributes listed here: no scripts, styles, pictures or forms, and no links except to http, https and mailto. nh3 builds
the tree that a browser would build, and serialises the tree again.

The text is bounded before nh3 reads it. Building the tree takes time quadratic in its depth and in the number of a
tag's attributes, and repeats every open formatting tag, with its attributes, in each new block. That way 27 kB can
become a gigabyte, 500 kB of `<div>` take half a minute, and 475 kB of attributes take 4 s. `_Markup` therefore first
rewrites the text with only the allowed attributes. `_Markup` reads tags as a browser does (HTML, 13.2.5), but safety
does not depend on that.
"""

import re
from dataclasses import dataclass
from html import escape
from textwrap import shorten

import nh3

from worker.errors import WorkerError

MAX_ICON = 2 * 1024 * 1024  # bytes
MAX_CHARS = 200_000  # without inline pictures
MAX_CHARS_WITH_PICTURES = 2 * 1024 * 1024  # Graphene's limit; searching twice as many for pictures takes 60 ms
MAX_TAGS = 8_000  # of opening and of closing tags each: 200 kB of ordinary text have fewer; the worst text takes 0.4 s
MAX_ATTRIBUTES = 200  # of one tag: a browser compares all pairs, and an editor writes five attributes

# SVG is not allowed, because it may contain scripts and links to other servers.
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a")

# fmt: off
TAGS = frozenset({
    "a", "b", "blockquote", "br", "caption", "cite", "code", "dd", "del", "div", "dl", "dt", "em", "h1", "h2", "h3",
    "h4", "h5", "h6", "hr", "i", "ins", "kbd", "li", "mark", "ol", "p", "pre", "q", "s", "samp", "small", "span",
    "strong", "sub", "sup", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "u", "ul", "var",
})
# Removed with their content, which is not for readers, or is parsed by other rules than those of HTML.
_WITH_CONTENT = frozenset({
    "audio", "canvas", "iframe", "math", "noembed", "noframes", "noscript", "object", "script", "select", "style",
    "svg", "template", "textarea", "title", "video",
})
# fmt: on
ATTRIBUTES = {"a": {"href"}, "td": {"colspan", "rowspan"}, "th": {"colspan", "rowspan"}}
SCHEMES = {"http", "https", "mailto"}


def _without_relative(_tag: str, attribute: str, value: str) -> str | None:
    """Drop a link such as https:/path, which a browser treats as relative on a page with the same scheme."""
    relative = attribute == "href" and _RELATIVE.match(_IGNORED.sub("", value))
    return None if relative else value


_IGNORED = re.compile(r"^[\x00-\x20]+|[\t\n\r]")  # characters of a link that a browser ignores
_RELATIVE = re.compile(r"https?:(?!//)", re.IGNORECASE)
_CLEANER = nh3.Cleaner(
    tags=set(TAGS),
    clean_content_tags=set(_WITH_CONTENT),
    attributes=ATTRIBUTES | {"*": set()},  # without this, nh3 allows `title` and `lang` on every tag
    url_schemes=SCHEMES,
    attribute_filter=_without_relative,
    url_relative="deny",  # a relative link would lead to the playground server, with the user's session there
    link_rel="noopener noreferrer",
    set_tag_attribute_values={"a": {"target": "_blank"}},  # the description is shown inside another page
)

# The character set is declared because a guessed character set, such as ISO-2022-JP, can turn harmless text into tags.
# The policy applies if the file is shown as a document of its own, as in an <object>. A page into which the file is
# pasted ignores both.
_HEAD = (
    '<!doctype html>\n<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; base-uri 'none'; form-action 'none'\">\n"
)

_INLINE_PICTURE = re.compile(r"""=\s*(?:"data:[^"<>]*"|'data:[^'<>]*')""", re.IGNORECASE)

_SPACE = r"\t\n\f\r "  # HTML's white space
_VALUE = rf"""(?:"[^"]*(?:"|\Z)|'[^']*(?:'|\Z)|[^{_SPACE}>"'][^{_SPACE}>]*|(?=>)|\Z)"""
# All quantifiers are possessive, so that no text is read twice: 200 kB take at most 15 ms.
_WRITTEN = rf"[^{_SPACE}/>][^{_SPACE}/>=]*+(?:[{_SPACE}]*+=[{_SPACE}]*+{_VALUE})?+"
_ATTRIBUTE = re.compile(rf"([^{_SPACE}/>][^{_SPACE}/>=]*+)(?:[{_SPACE}]*+=[{_SPACE}]*+({_VALUE}))?")
_REST = rf"(?:[{_SPACE}/]++|{_WRITTEN})*+"
# Elements whose content is not markup: no tag is read before their own end tag.
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
"""The content for the bundle, and warnings for the user about what was left out."""


class Unusable(WorkerError):
    """A picture or a description that cannot be shown. The message continues "The … is left out:"."""


@dataclass(frozen=True, slots=True)
class Description:
    """A description that may be shown."""

    html: str
    removed: tuple[str, ...]  # names of tags, and names of attributes followed by `=`


def shown_picture(icon: bytes) -> Shown:
    """Return a picture unchanged. Raises Unusable."""
    if len(icon) > MAX_ICON:
        raise Unusable(f"it is larger than {MAX_ICON >> 20} MiB. Make it smaller.")
    if not icon.startswith(_SIGNATURES) and not (icon[:4] == b"RIFF" and icon[8:12] == b"WEBP"):
        raise Unusable("it is not a PNG, JPEG, GIF or WebP image. Upload it as one.")
    return icon, ()


def shown_description(html: str) -> Shown:
    """Return an HTML document of the parts that may be shown. Raises Unusable."""
    description = sanitise(html)
    removed = shorten(", ".join(description.removed), 100, placeholder=" and more")  # a warning has 200 characters
    about = f"The description is shown without {removed}: only text, links, lists and tables are passed on."
    return f"{_HEAD}{description.html}\n".encode(), (about,) if removed else ()


def sanitise(html: str) -> Description:
    """Keep only the harmless parts.

    Raises Unusable if the text is too long, has too many tags or attributes, or if nothing is left.
    """
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
    """Rewrites each piece of markup, and records for users what is removed."""

    def __init__(self) -> None:
        self.removed: set[str] = set()
        self.links = 0
        self._known: dict[str, tuple[str, int]] = {}  # piece → its replacement, and whether that is a link

    def rewritten(self, match: re.Match[str]) -> str:
        """Rewrite one piece with only the allowed parts. A tag in the result ends at the first `>` after its start."""
        piece = match[0]
        if (known := self._known.get(piece)) is None:  # most tags recur
            known = self._known[piece] = self._piece(*match.groups())
        self.links += known[1]
        return known[0]

    def _piece(self, raw: str | None, text: str, end: str, name: str | None, rest: str, close: str) -> tuple[str, int]:
        if raw:
            self._remove_tag(raw.lower())
            return escape(text, quote=False) if raw.lower() == "xmp" else "", 0
        if not name or not close:  # a browser drops an unfinished tag at the end of the text
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
    """Escape a value for double quotes. Its character references stay unchanged."""
    inner = text[1:].removesuffix(text[0]) if text[:1] in ('"', "'") else text
    return inner.replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
