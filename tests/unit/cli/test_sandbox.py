"""`sandbox`: the dependencies run separately."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import jwt
import pytest

from worker.cli import main
from worker.cli.sandbox import open_dependency, read_secret
from worker.domain.tokens import jjwt_key
from worker.errors import CommandError
from worker.sandbox.graphene import GRAPHENE
from worker.sandbox.graphene_data import CASES
from worker.sandbox.http_server import served
from worker.sandbox.playground import PLAYGROUND
from worker.sandbox.users import JWT_SECRET, SANDBOX_USER, UNANSWERED_USER, User


@pytest.mark.parametrize(("address", "allowed"), [("127.0.0.1", {"127.0.0.1"}), ("0.0.0.0", None)])
def test_only_a_playground_that_others_reach_takes_their_bundles(address: str, allowed: set[str] | None) -> None:
    """Bundles, which are code, are accepted from this machine alone, unless the address is open to others."""
    with open_dependency("playground", address) as app:
        found = app[PLAYGROUND].allowed_addresses
    assert allowed == (None if found is None else set(found))


SECRET = "a-secret-of-16-characters"


def test_the_secret_of_the_playground_is_in_a_file(tmp_path: Path) -> None:
    """The playground's secret is read without its line end and becomes the path that takes bundles."""
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    with open_dependency("playground", "127.0.0.1", read_secret(tmp_path / "secret")) as app:
        assert f"/{SECRET}/deploy_solution" == app[PLAYGROUND].deploy_path


@pytest.mark.parametrize("text", ["", "too-short", f"{SECRET}/x", f"{SECRET}?", f"{SECRET} x", f"{SECRET}\xff"])
def test_what_is_no_secret_is_refused(text: str, tmp_path: Path) -> None:
    """A secret that is short or no part of a path is rejected, in a sentence with the file but not its content."""
    (tmp_path / "secret").write_bytes(text.encode("latin-1"))
    with pytest.raises(CommandError) as refused:
        read_secret(tmp_path / "secret")
    assert f"{tmp_path}/secret needs one line of 16 or more" in str(refused.value)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(("options", "user"), [([], SANDBOX_USER), (["--parked"], UNANSWERED_USER)])
def test_whose_token_it_is(options: list[str], user: User, capsys: pytest.CaptureFixture[str]) -> None:
    """The token is the demo user's, or with `--parked` that of a user whom the playground gives no clear answer."""
    assert 0 == main(["sandbox", "token", *options])
    claims = jwt.decode(capsys.readouterr().out.strip(), jjwt_key(JWT_SECRET), algorithms=["HS512"])
    assert user.email == claims["mlpuser"]["email"]
    with open_dependency("playground", "127.0.0.1") as app:
        assert (user is UNANSWERED_USER) == (user.email in app[PLAYGROUND].faults)


@pytest.mark.parametrize("part", ["graphene", "playground"])
async def test_in_containers_each_part_has_its_name(part: str) -> None:
    """In containers a part answers to its service's name, and to no name that a web page could use."""
    answers = []
    with open_dependency(part, "0.0.0.0") as app:
        async with served(app) as url, aiohttp.ClientSession(url) as session:
            for name in (part, "evil.example"):
                async with session.get("/", headers={"Host": f"{name}:8000"}) as response:
                    answers.append(response.status == 421)
    assert [False, True] == answers


def test_the_graphene_is_that_of_the_demo() -> None:
    """The sandbox's Graphene has the revisions whose ids the documentation names."""
    with open_dependency("graphene", "127.0.0.1") as app:
        graphene = app[GRAPHENE]
    assert [] == [case.key for case in CASES.values() if graphene.revision(str(case.revision_id)) is None]


def test_the_token_is_good_for_half_a_day(capsys: pytest.CaptureFixture[str]) -> None:
    """The token is one line for the sandbox's user, signed with the worker's secret and valid for half a day."""
    before = datetime.now(UTC)
    assert 0 == main(["sandbox", "token"])
    (line,) = capsys.readouterr().out.splitlines()
    claims = jwt.decode(line, jjwt_key(JWT_SECRET), algorithms=["HS512"])
    assert SANDBOX_USER.user_id == claims["mlpuser"]["userId"]
    lifetime = datetime.fromtimestamp(claims["exp"], UTC) - before
    assert timedelta(hours=11, minutes=59) < lifetime < timedelta(hours=12, seconds=30)
