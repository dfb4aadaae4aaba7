import json

from tests.support.builders import FINGERPRINT, REVISION_ID, SOLUTION_ID, final_status, record
from worker.domain.dead_letter import DeadLetter, dead_letter
from worker.domain.request import Record, read_request
from worker.errors import DeploymentError, Unavailable, Unreadable

IDS = {"solutionId": str(SOLUTION_ID), "revisionId": str(REVISION_ID)}
GIVEN_UP = Unavailable("catalog-timeout", "It did not answer.")


def letter(one: Record, error: DeploymentError | None = None) -> DeadLetter:
    request = read_request(one)
    why = error or request
    assert isinstance(why, DeploymentError)
    return dead_letter(one, final_status(one, "r-1", why, 3), request, why, "0123")


def test_of_a_request_everything_is_kept_but_its_token() -> None:
    """A dead letter keeps enough to send the request again, and the user's key, but never the token."""
    one = record(IDS | {"requestId": "r-1", "replayOf": "r-0", "jwtToken": "s3cret", "more": "s3cret"})
    kept = letter(one, GIVEN_UP)
    assert IDS | {"requestId": "r-1", "replayOf": "r-0"} == json.loads(kept.value)
    assert b"user-1" == kept.key
    assert {
        "dlt-original-topic": b"requests",
        "dlt-original-partition": b"3",
        "dlt-original-offset": b"7",
        "dlt-original-timestamp": b"1700000000000",
        "dlt-error-code": b"catalog-timeout",
        "dlt-error-message": b"It did not answer.",
        "dlt-attempt": b"3",
        "dlt-request-id": b"r-1",
        "dlt-fingerprint": FINGERPRINT.encode(),
        "dlt-nonce": b"0123",
    } == dict(kept.headers)
    assert "s3cret" not in repr(kept) + str(kept.value)


def test_of_what_cannot_be_read_nothing_is_kept() -> None:
    """An unreadable record may hold a token, so its letter keeps only size and hash, by which two can be compared."""
    one = record(b'{"jwtToken": "s3cret"', key=b"s3cret")
    kept = letter(one)
    assert {"size", "sha256"} == json.loads(kept.value).keys()
    assert kept.key is None
    assert "s3cret" not in f"{kept.value!r}{kept.headers!r}"
    assert isinstance(read_request(one), Unreadable)
