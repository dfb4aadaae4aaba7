"""When a token counts: its own times, the broker's append time, and the request's wait in Kafka."""

import pytest

from tests.support import corpus
from tests.support.tokens import CLAIMS, NOW, Issuer
from worker.errors import Unauthenticated

LEEWAY, MAX_QUEUE_AGE = 30, 900
EXPIRED, EARLY = "token-expired", "token-not-yet-valid"

# exp and nbf of the token and the broker's append time, in seconds from now; None: no nbf, or no append time
# (CreateTime is set by the producer, who could be the attacker).
Row = tuple[int, int | None, float | None, str | None, str]
TABLE: list[Row] = [
    (+60, None, None, None, "valid"),
    (+1, None, -5000, None, "valid, however long the request waited"),
    (+60, None, +120, None, "valid, whatever the broker's clock says"),
    (0, None, None, None, "valid up to its second"),
    (-30, None, None, None, "within the leeway"),
    (-31, None, None, EXPIRED, "past the leeway, CreateTime: nobody knows when it arrived"),
    (-899, None, None, EXPIRED, "ran out in the queue, CreateTime: nobody knows when it arrived"),
    (-31, None, -1, None, "arrived at the end of the leeway"),
    (-31, None, -1.5, None, "arrived half a second before that"),
    (-31, None, -0.5, EXPIRED, "arrived half a second after it"),
    (-31, None, 0, EXPIRED, "ran out before it arrived"),
    (-800, None, -800, None, "ran out when it arrived, 800 s ago"),
    (-800, None, -770, None, "arrived with the last second of the leeway"),
    (-800, None, -769, EXPIRED, "arrived one second after the leeway"),
    (-800, None, -900, None, "waited exactly as long as it may"),
    (-800, None, -900.5, EXPIRED, "waited half a second longer"),
    (-100, None, -901, EXPIRED, "waited too long, though it ran out lately"),
    (-99_999, None, -10, EXPIRED, "ran out long before it arrived"),
    (-31, None, +60, EXPIRED, "the broker's clock is ahead: arrived after its end"),
    (-31, None, -(10**9), EXPIRED, "an append time of long ago"),
    (-31, None, 0.0, EXPIRED, "redelivered at once: the append time is the first one's"),
    (-200, None, -400, None, "redelivered after an outage of ours, within the wait"),
    (-200, None, -1000, EXPIRED, "redelivered after a longer outage: the wait counts from the first delivery"),
    (-200, None, -2, EXPIRED, "replayed: appended anew after it ran out"),
    (+100, None, -2, None, "replayed while still valid"),
    (+60, 0, None, None, "valid from now"),
    (+60, +30, None, None, "valid in 30 s: within the leeway"),
    (+60, +31, None, EARLY, "valid in 31 s"),
    (+60, +31, -900, EARLY, "valid in 31 s: waiting in the queue helps nobody"),
    (-31, +31, -10, EARLY, "ran out before it begins"),
    (-31, -20, -25, None, "not yet valid when it arrived, ran out in the queue: it was valid within the leeway"),
    (+60, -99_999, None, None, "valid for long"),
]


async def test_the_truth_table_of_expiry() -> None:
    """Every row holds for the whole verifier, with either kind of key, a leeway of 30 s and waits of up to 900 s."""
    wrong = []
    for issuer in (Issuer("HS512"), Issuer("ES256")):
        verifier = issuer.verifier(leeway_seconds=LEEWAY, max_queue_age_seconds=MAX_QUEUE_AGE)
        for expires, begins, appended, expected, why in TABLE:
            token = issuer.with_claims(exp=NOW + expires, nbf=None if begins is None else NOW + begins)
            try:
                await verifier.authenticate(token, None if appended is None else NOW + appended)
                verdict = None
            except Unauthenticated as error:
                verdict = error.code
            if expected != verdict:
                wrong.append((issuer.alg, why, verdict))
    corpus.record("expiry in the queue", 2 * len(TABLE), len(wrong))
    assert [] == wrong


@pytest.mark.parametrize(
    ("leeway", "max_queue_age", "late", "waited", "good"),
    [
        (0, 900, 0, None, True),
        (0, 900, 1, None, False),
        (0, 900, 1, 1, True),
        (120, 900, 120, None, True),
        (120, 900, 121, None, False),
        (30, 0, 31, 1, False),  # no wait is allowed
        (30, 0, 30, 1, True),  # none is needed
        (30, 200, 100, 200, True),
        (30, 140, 100, 150, False),
    ],
)
async def test_leeway_and_longest_wait_are_settings(
    leeway: int, max_queue_age: int, late: int, waited: int | None, good: bool
) -> None:
    """Leeway and longest wait are settings that apply at their limits, including 0."""
    issuer = Issuer("HS512")
    verifier = issuer.verifier(leeway_seconds=leeway, max_queue_age_seconds=max_queue_age)
    authenticated = verifier.authenticate(
        issuer.make({**CLAIMS, "exp": NOW - late}), None if waited is None else NOW - waited
    )
    if good:
        await authenticated
    else:
        with pytest.raises(Unauthenticated, match="expired"):
            await authenticated
