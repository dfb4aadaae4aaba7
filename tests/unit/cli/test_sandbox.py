"""`sandbox`: the dependencies on their own."""

from datetime import UTC, datetime, timedelta

import jwt
import pytest

from worker.cli import main
from worker.cli.sandbox import open_dependency
from worker.domain.tokens import jjwt_key
from worker.sandbox.graphene import GRAPHENE
from worker.sandbox.graphene_data import CASES
from worker.sandbox.playground import PLAYGROUND
from worker.sandbox.users import JWT_SECRET, SANDBOX_USER


@pytest.mark.parametrize(("address", "allowed"), [("127.0.0.1", {"127.0.0.1"}), ("0.0.0.0", None)])
def test_only_a_playground_that_others_reach_takes_their_bundles(address: str, allowed: set[str] | None) -> None:
    """Bundles are code: they come from this machine alone, unless the address says that others are wanted."""
    with open_dependency("playground", address) as app:
        found = app[PLAYGROUND].allowed_addresses
    assert allowed == (None if found is None else set(found))


def test_the_graphene_is_that_of_the_demo() -> None:
    """It holds the revisions whose ids the documentation names."""
    with open_dependency("graphene", "127.0.0.1") as app:
        graphene = app[GRAPHENE]
    assert [] == [case.key for case in CASES.values() if graphene.revision(str(case.revision_id)) is None]


def test_the_token_is_good_for_half_a_day(capsys: pytest.CaptureFixture[str]) -> None:
    """One line, the token of the sandbox's user, signed with the secret of the sandbox's worker."""
    before = datetime.now(UTC)
    assert 0 == main(["sandbox", "token"])
    (line,) = capsys.readouterr().out.splitlines()
    claims = jwt.decode(line, jjwt_key(JWT_SECRET), algorithms=["HS512"])
    assert SANDBOX_USER.user_id == claims["mlpuser"]["userId"]
    lifetime = datetime.fromtimestamp(claims["exp"], UTC) - before
    assert timedelta(hours=11, minutes=59) < lifetime < timedelta(hours=12, seconds=30)
