"""What a click becomes: a request that runs already, or a new one whose id everybody would choose. Pure.

A GET that deploys is repeated by reloads, restored tabs, proxies and replicas. All of them come to the same id, and
the workers deploy an id once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID, uuid5

from worker.gateway.view import Entry

_NAMESPACE = UUID("6f6b4f2e-7d0c-4a57-9f55-9e8f5f6c2b11")  # ours alone, so that no other program makes the same ids


@dataclass(frozen=True, slots=True)
class Join:
    """Show the request that there is."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish a request of this id."""

    request_id: str


def click(newest: Entry | None, fingerprint: str, token: str, now_ms: int, again_ms: int) -> Join | Publish:
    """Decide what a click is.

    Args:
        newest: the user's newest request for this solution and revision.
        fingerprint: of user, solution and revision.
        token: Graphene's; another one, of a later log-in, makes another request.
        now_ms, again_ms: unix milliseconds, and how long after its end a request is still the same one.
    """
    if newest and (not newest.is_final or now_ms - newest.ended_ms < again_ms):
        return Join(newest)
    last = newest.request_id if newest else ""
    return Publish(made_id(fingerprint, sha256(token.encode()).hexdigest(), last))


def made_id(*parts: str) -> str:
    """Return the id that everybody makes of these parts."""
    return str(uuid5(_NAMESPACE, "\n".join(parts)))


def refusal(method: str, headers: Mapping[str, str]) -> str | None:
    """Return why a GET that deploys must not: it comes from nobody's click. None: it may.

    Programs send none of these headers, and browsers always do (Fetch Metadata).
    """
    if method != "GET":
        return "Only GET deploys here."
    if "prefetch" in f"{headers.get('Sec-Purpose', '')} {headers.get('Purpose', '')}".lower():
        return "This address is not fetched beforehand: it deploys."
    if headers.get("Sec-Fetch-Mode", "navigate") != "navigate":
        return "This address is opened in a tab, and not called by a page: it deploys."
    if headers.get("Sec-Fetch-Dest", "document") != "document":
        return "This address is opened in a tab of its own, and not within a page: it deploys."
    return None
