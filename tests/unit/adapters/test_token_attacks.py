"""Hostile and broken tokens (tests/support/token_attacks.py) against a worker with a secret, or with public keys."""

import inspect
import re

import pytest
from jwt.algorithms import HMACAlgorithm

from tests.support import corpus
from tests.support.token_attacks import SIGNATURE, attacks
from tests.support.tokens import SECRET, USER, Issuer, decode, encode
from worker.errors import Unauthenticated

SETUPS = (Issuer("HS512"), Issuer("RS256"), Issuer("ES256"))


async def test_what_proves_nothing_is_refused() -> None:
    """Every hostile or broken token raises one exception type with its own code, and the error shows none of it."""
    sizes, wrong = [], {}
    for issuer in SETUPS:
        verifier = issuer.verifier()
        await verifier.authenticate(issuer.make(), None)  # or everything would be rejected
        tried = attacks(issuer)
        sizes.append(len(tried))
        for name, (token, code) in tried.items():
            try:
                await verifier.authenticate(token, None)
                verdict = "accepted"
            except Exception as error:  # noqa: BLE001 - its type is the point
                verdict = judged(error, token)
            if code != verdict:
                wrong[issuer.alg, name] = f"{verdict}, not {code}"
    corpus.record("attack tokens", sum(sizes), len(wrong))
    assert {} == wrong
    assert min(sizes) >= 60


def judged(error: Exception, token: str) -> str:
    """Return the code of a correct refusal, or what is wrong with the error."""
    if type(error) is not Unauthenticated:
        return type(error).__name__
    if error.__cause__ is not None or error.retryable:
        return "a cause that shows, or a retry"
    shown = f"{error} {error!r} {error.info()!r}"
    parts = [part for part in re.split(r"[.\s]+", token) if len(part) >= 12]
    return "the token shows" if any(text in shown for text in [*parts, *SECRETS]) else error.code


SECRETS = ("ada@example", USER["userId"], "canary", SECRET)


async def test_a_wrong_byte_counts_the_same_wherever_it_is() -> None:
    """A signature with one wrong byte is rejected in the same way, whichever byte it is."""
    refusals = []
    for issuer in SETUPS:
        signed, _, signature = issuer.make().rpartition(".")
        right, verifier = decode(signature), issuer.verifier()
        await verifier.authenticate(f"{signed}.{signature}", None)
        for place in range(len(right)):
            changed = right[:place] + bytes([right[place] ^ 1]) + right[place + 1 :]
            with pytest.raises(Unauthenticated) as caught:
                await verifier.authenticate(f"{signed}.{encode(changed)}", None)
            refusals.append((caught.value.code, caught.value.message))
    wrong = [refusal for refusal in refusals if refusal != refusals[0]]
    corpus.record("signatures with one wrong bit", len(refusals), len(wrong))
    assert [] == wrong
    assert SIGNATURE == refusals[0][0]


def test_hmacs_are_compared_in_constant_time() -> None:
    """The library still compares HMACs in constant time; the test reads its source and measures no time."""
    assert "compare_digest" in inspect.getsource(HMACAlgorithm.verify)
