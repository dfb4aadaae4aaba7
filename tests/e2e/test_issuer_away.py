"""An unreachable issuer, and tokens that name keys which may or may not exist."""

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from schemas import FINAL_STATES, State
from tests.support.builders import blueprint_document, node, operation, protobuf
from tests.support.stage import open_stage
from tests.support.statuses import ended
from tests.support.tokens import CLAIMS, Issuer, document, private_key, public_jwk
from worker.delivery.awaiting_keys import MAX_AWAITING_KEYS
from worker.sandbox.graphene_data import make_pipeline
from worker.sandbox.http_server import served
from worker.sandbox.users import User

STRANGERS = 1600
SENDERS = 40


def user(name: str) -> User:
    return User(name, name, f"{name}@graphene.example")


def token(of: User, kid: str, signed_with: str) -> str:
    """Return a token with this key id, signed with the issuer's key or another."""
    mine = {**CLAIMS["mlpuser"], "userId": of.user_id, "email": of.email}
    claims = {**CLAIMS, "exp": int(time.time()) + 1800, "mlpuser": mine}
    return Issuer("ES256").make(claims, {"alg": "ES256", "kid": kid}, private_key("ES256", signed_with))


@dataclass
class Keys:
    """The keys that the issuer publishes; while the issuer is away, its answer is delayed."""

    published: bytes = field(default_factory=lambda: document(public_jwk("ES256", "old")))
    there: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, _: web.Request) -> web.Response:
        await self.there.wait()
        return web.Response(body=self.published)


async def shown(url: str, metric: str) -> float:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as page:
        return sum(
            float(line.rpartition(" ")[2])
            for line in (await page.text()).splitlines()
            if line.startswith(f"playground_deployer_{metric}")
        )


@pytest.mark.timeout(300)
async def test_made_up_keys_keep_nobody_out(kafka: str, unique: str, tmp_path: Path) -> None:
    """While the issuer is away, 1,600 requests with made-up keys do not delay a user whose key is known.

    When the issuer is back, a user whose key is new is deployed, and each of the 1,600 requests has exactly one final
    status.
    """
    keys, app = Keys(), web.Application()
    app.add_routes([web.get("/keys", keys.answer)])
    good = make_pipeline("Good", blueprint_document(node("a")), {"a": protobuf(operation())})
    async with served(app) as issuer, open_stage(kafka, unique, tmp_path) as stage:
        stage.env |= {
            "DEPLOYER_AUTH__SECRET": "",
            "DEPLOYER_AUTH__JWKS_URL": f"{issuer}/keys",
            "DEPLOYER_AUTH__ALGORITHM": "ES256",
        }
        stage.graphene.add(good)

        async def ask(request_id: str, of: User, kid: str, signed_with: str) -> None:
            await stage.ask(good, request_id, of, token=token(of, kid, signed_with))

        async with stage.worker(tmp_path / "worker.log") as worker:
            keys.there.set()
            await ask("before", user("ada"), "old", "old")
            await stage.until_final(["before"])
            keys.there.clear()
            probes = 0
            while not await shown(worker.url, "requests_awaiting_keys"):  # keys that were read recently are trusted
                await ask(f"probe-{probes}", user("probe"), f"probe-{probes}", "other")
                await asyncio.sleep(0.5)  # nothing notifies us, so poll
                probes += 1
            await ask("rotated", user("grace"), "new", "new")
            strangers = {f"stranger-{number}": user(f"sender-{number % SENDERS}") for number in range(STRANGERS)}
            await asyncio.gather(*(ask(it, of, f"made-up-{it}", "other") for it, of in strangers.items()))
            async with asyncio.timeout(20):
                await ask("during", user("ada"), "old", "old")
                during = (await stage.until_final(["during"]))["during"]
            async with asyncio.timeout(120):
                while sum(ended(stage.statuses.about(it)) for it in strangers) < STRANGERS - MAX_AWAITING_KEYS:  # noqa: ASYNC110
                    await asyncio.sleep(0.2)  # all end as they are read, except those that may wait
            waiting = await shown(worker.url, "requests_awaiting_keys")
            buffered = await shown(worker.url, "buffered_records")
            keys.published = document(public_jwk("ES256", "old"), public_jwk("ES256", "new"))
            keys.there.set()
            all_of_them = ["rotated", *strangers, *(f"probe-{number}" for number in range(probes))]
            statuses = await stage.until_final(all_of_them)
            committed = await stage.committed()
    assert State.DEPLOYED == during[-1].state
    assert waiting <= MAX_AWAITING_KEYS
    assert buffered <= 1000
    assert State.DEPLOYED == statuses["rotated"][-1].state
    ends = [[it for it in statuses[name] if it.state in FINAL_STATES] for name in strangers]
    assert {1} == {len(of) for of in ends}
    codes = [of[0].error.code for of in ends if of[0].error]
    assert {"keys-unavailable", "token-signature"} == set(codes)
    assert STRANGERS == len(codes)
    assert codes.count("token-signature") <= MAX_AWAITING_KEYS
    assert STRANGERS + probes + 3 == committed
