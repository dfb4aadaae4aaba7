"""The sandbox playground's pages: pure functions from deployments to HTML, which escape all received texts."""

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from html import escape
from urllib.parse import quote

from worker.sandbox.playground_upload import Deployment

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2733; --dim: #5b6b7b; --paper: #f6f8fa; --card: #fff; --line: #d9e0e7;
  --link: #0b5cad; --chip: #e4eefa; }
@media (prefers-color-scheme: dark) { :root { --ink: #e3e9ef; --dim: #9aa8b5; --paper: #12181f; --card: #1a222b;
  --line: #2f3b47; --link: #7db8f5; --chip: #21354a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 4rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
a { color: var(--link); }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.125rem; margin: 0 0 .25rem; }
h3 { font-size: .875rem; margin: 1.5rem 0 .5rem; color: var(--dim); }
p { margin: 0 0 1rem; }
.dim { color: var(--dim); }
.chip { display: inline-block; padding: 0 .5rem; border-radius: 1rem; background: var(--chip); font-size: .875rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; margin: 0 0 .75rem; }
article.card { padding: .75rem 1rem; }
article p { margin: 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; padding: .75rem 1rem; margin: 1rem 0; }
dt { color: var(--dim); }
dd { margin: 0; }
time { white-space: nowrap; }
details + details { border-top: 1px solid var(--line); }
summary { cursor: pointer; padding: .375rem 1rem; }
summary span { float: right; padding-left: 1rem; }
pre { margin: 0; padding: .75rem 1rem; border-top: 1px solid var(--line); overflow-x: auto; overflow-wrap: normal;
  font: .8125rem/1.5 ui-monospace, monospace; tab-size: 4; }
figure { margin: 0; padding: .75rem 1rem; border-top: 1px solid var(--line); }
figure img { max-width: 100%; }
"""

_STYLE_HASH = base64.b64encode(sha256(_STYLE.encode()).digest()).decode()

# No foreign content and no scripts, so that the page cannot run any content of a bundle.
HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

_IMAGES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}


def list_page(deployments: Sequence[Deployment], portal: str | None = None) -> str:
    """Return the page of all deployments, newest first, with a link to the portal if there is one."""
    if not deployments:
        intro = "No bundle has been received yet. Send a deployment request, then reload this page."
    else:
        count = f"{len(deployments)} deployment" + ("s" if len(deployments) > 1 else "")
        intro = f"{count}, newest first. Nothing is running: there is no cluster."
    entries = "".join(map(_entry, reversed(deployments)))
    link = f'<p><a href="{escape(portal)}">Deploy a solution in the Graphene sandbox</a></p>' if portal else ""
    return page("Playground sandbox", f'<h1>Playground sandbox</h1><p class="dim">{intro}</p>{link}{entries}')


def deployment_page(deployment: Deployment, files: Mapping[str, bytes]) -> str:
    """Return the page of one deployment with all its files."""
    facts = {
        "User": escape(deployment.username),
        "Time": _time(deployment.time),
        "Namespace": escape(deployment.namespace),
        "Request": escape(deployment.request_id or "no id"),
        "Bundle": f"{len(files)} files, {_size(deployment.size)} · {_download(deployment)}",
        "SHA-256": deployment.sha256,
    }
    table = "".join(f"<dt>{term}</dt><dd>{value}</dd>" for term, value in facts.items())
    heading = f'<p><a href="/">← All deployments</a></p><h1>{escape(deployment.name)}</h1><p>{_chips(deployment)}</p>'
    return page(deployment.name, f'{heading}<dl class="card">{table}</dl>{_folders(files)}')


def missing_page() -> str:
    """Return the page for a namespace without a deployment."""
    text = '<h1>No such deployment</h1><p>This namespace has no deployment. <a href="/">See all deployments</a></p>'
    return page("No such deployment", text)


def login_page() -> str:
    """Return the page at the address to which bundles are POSTed, where the real server has its login page."""
    text = (
        "<h1>Log in</h1><p>The real playground has its login page here. The sandbox has no accounts: "
        '<a href="/">see all deployments</a></p>'
    )
    return page("Log in", text)


def page(title: str, body: str) -> str:
    """Return a page of the sandbox; `title` is escaped here, and `body` by the caller."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>{body}</body></html>\n"
    )


def _entry(deployment: Deployment) -> str:
    link = f"/deployments/{quote(deployment.namespace)}"
    return (
        f'<article class="card"><h2><a href="{link}">{escape(deployment.name)}</a></h2>'
        f"<p>{_chips(deployment)}</p>"
        f"<p>{escape(deployment.username)} · {_time(deployment.time)}</p>"
        f'<p class="dim">{escape(deployment.namespace)}</p>'
        f"<p>{len(deployment.files)} files, {_size(deployment.size)} · {_download(deployment)}</p></article>"
    )


def _chips(deployment: Deployment) -> str:
    chips = [deployment.kind, *(["shared folder"] if deployment.has_shared_folder else [])]
    return " ".join(f'<span class="chip">{chip}</span>' for chip in chips)


def _download(deployment: Deployment) -> str:
    return f'<a href="/deployments/{quote(deployment.namespace)}/solution.zip">Download solution.zip</a>'


def _folders(files: Mapping[str, bytes]) -> str:
    """Render the files of the top folder first, then folder by folder."""
    folders: dict[str, list[str]] = {}
    for name in sorted(files):
        folders.setdefault(name.rpartition("/")[0], []).append(name)
    return "".join(
        f"<h3>{escape(f'{folder}/') if folder else 'Files'}</h3>"
        f'<section class="card">{"".join(_file(name, files[name]) for name in names)}</section>'
        for folder, names in sorted(folders.items())
    )


def _file(name: str, content: bytes) -> str:
    size = f'<span class="dim">{_size(len(content))}</span>'
    return f"<details><summary>{size}{escape(name.rpartition('/')[2])}</summary>{_content(content)}</details>"


def _content(content: bytes) -> str:
    for start, media_type in _IMAGES.items():
        if content.startswith(start):
            data = base64.b64encode(content).decode()
            return f'<figure><img alt="" src="data:{media_type};base64,{data}"></figure>'
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = "This file is not text. Download solution.zip to open it."
    return f"<pre>{escape(text) or 'This file is empty.'}</pre>"


def _time(time: datetime) -> str:
    return f'<time datetime="{time.isoformat()}">{time:%Y-%m-%d %H:%M:%S} UTC</time>'


def _size(size: int) -> str:
    return f"{size} bytes" if size < 1000 else f"{size / 1000:.1f} kB"
