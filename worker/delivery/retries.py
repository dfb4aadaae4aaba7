"""When a request is tried again: exponential, with jitter, and never before the dependency wants it."""

FIRST_SECONDS = 1.0
MOST_SECONDS = 60.0


def pause(attempt: int, retry_after: float | None, chance: float) -> float:
    """Seconds until the next attempt.

    Args:
        attempt: the one that failed, from 1.
        retry_after: seconds the dependency asked for (RFC 9110 10.2.3); None: it did not.
        chance: 0 … 1, drawn anew each time, so that requests that failed together do not come back together.
    """
    longest: float = min(MOST_SECONDS, FIRST_SECONDS * 2 ** min(attempt - 1, 16))
    return max(longest * (0.5 + chance / 2), retry_after or 0.0)
