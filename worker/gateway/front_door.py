"""Decides what a click becomes: an existing request, or a new request with a deterministic id. Pure.

Reloads, restored tabs, proxies and replicas repeat a GET that deploys. All repetitions lead to the same request id, and
the workers deploy each id once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID, uuid5

from worker.gateway.entry import Entry

_NAMESPACE = UUID("6f6b4f2e-7d0c-4a57-9f55-9e8f5f6c2b11")  # unique, so that no other program creates the same ids


@dataclass(frozen=True, slots=True)
class Join:
    """Show the existing request."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish a request with this id."""

    request_id: str


def click(newest: Entry | None, fingerprint: str, token: str, now_ms: int, again_ms: int) -> Join | Publish:
    """Decide whether a click joins the newest request or publishes another request.

    Args:
        newest: the user's newest request for this solution and revision.
        fingerprint: of user, solution and revision.
        token: Graphene's. The token of a later log-in leads to another request.
        now_ms: unix milliseconds.
        again_ms: milliseconds after its final status during which a request is still joined.
    """
    if newest and (not newest.is_final or now_ms - newest.time_ms < again_ms):
        return Join(newest)
    last = newest.request_id if newest else ""
    return Publish(made_id(fingerprint, sha256(token.encode()).hexdigest(), last))


def made_id(*parts: str) -> str:
    """Return the id that every replica derives from these parts."""
    return str(uuid5(_NAMESPACE, "\n".join(parts)))


def refusal(method: str, headers: Mapping[str, str]) -> str | None:
    """Return why a GET must not deploy, because no person's click caused it. None: it may deploy.

    Browsers send these headers to HTTPS addresses and to localhost (Fetch Metadata). Programs send none of them.
    """
    if method != "GET":
        return "Only GET deploys at this address."
    if "prefetch" in f"{headers.get('Sec-Purpose', '')} {headers.get('Purpose', '')}".lower():
        return "This address deploys, so it must not be prefetched. Open it in a tab."
    if headers.get("Sec-Fetch-Mode", "navigate") != "navigate":
        return "This address deploys, so a page's script must not call it. Open it in a tab."
    if headers.get("Sec-Fetch-Dest", "document") != "document":
        return "This address deploys, so a page must not embed it. Open it in a tab of its own."
    return None
