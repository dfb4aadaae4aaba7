"""The issuer's keys: how often they are read, how long they count during an outage, and which of them are used."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from structlog.testing import capture_logs
from yarl import URL

from tests.support import corpus
from tests.support.tokens import (
    ALGORITHMS,
    CLAIMS,
    NOW,
    Issuer,
    decode,
    document,
    encode,
    mac,
    part,
    private_key,
    public_jwk,
)
from worker.adapters import jwks
from worker.adapters.http import dependency_session
from worker.adapters.jwks import IssuerKeys, KeysUnreadable, read_document
from worker.adapters.tokens import Signatures, TokenVerifier
from worker.errors import Unauthenticated, Unavailable

Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Published:
    """An issuer's JWKS that a test can change, with its clock and its reads."""

    def __init__(self, *keys: Any, alg: str = "ES256", patience: float = jwks.PATIENCE_SECONDS) -> None:
        self.issuer = Issuer(alg)
        self.answer: bytes | None = document(*(keys or [public_jwk(alg)]))
        self.now = 0.0
        self.reads: list[float] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.keys = IssuerKeys(self.read, Signatures(alg), lambda: self.now, patience)
        self.tokens = TokenVerifier(self.issuer.settings(), lambda: NOW, self.keys)

    async def read(self) -> bytes:
        self.reads.append(self.now)
        await self.gate.wait()
        if self.answer is None:
            raise KeysUnreadable("no connection")
        return self.answer

    def publish(self, *keys: Any) -> None:
        self.answer = document(*keys)

    async def verdict(self, kid: str | None = "key-1", name: str = "key-1", key: Any = None) -> str:
        """Return the verdict on a token that names `kid` and is signed with the private key `name`, or with `key`."""
        header = {"alg": self.issuer.alg, **({} if kid is None else {"kid": kid})}
        try:
            await self.tokens.authenticate(
                self.issuer.make(header=header, key=key or private_key(self.issuer.alg, name)), None
            )
        except (Unauthenticated, Unavailable) as error:
            return error.code
        return "ok"


ISSUER_AWAY = "keys-unavailable"
REFUSED = "token-signature"


# Frequency and age of reads


async def test_keys_are_read_when_the_first_token_comes_and_kept() -> None:
    """Keys are read with the first token, shared by many tokens, and read again after ten minutes."""
    issuer = Published()
    assert [] == issuer.reads
    for issuer.now in (5.0, 6.0, 604.9):
        assert "ok" == await issuer.verdict()
    assert [5.0] == issuer.reads
    issuer.now = 605.0
    assert "ok" == await issuer.verdict()
    assert [5.0, 605.0] == issuer.reads


async def test_a_new_key_counts_without_a_restart() -> None:
    """A token that names an unknown key triggers a read, and a withdrawn key stops counting."""
    issuer = Published()
    assert "ok" == await issuer.verdict()
    issuer.publish(public_jwk("ES256", "key-2"), public_jwk("ES256"))
    issuer.now = 100.0
    assert "ok" == await issuer.verdict("key-2", "key-2")
    assert "ok" == await issuer.verdict()
    issuer.publish(public_jwk("ES256", "key-2"))
    assert "ok" == await issuer.verdict()  # cached for at most ten minutes
    issuer.now = 700.0
    assert REFUSED == await issuer.verdict()
    assert "ok" == await issuer.verdict("key-2", "key-2")
    assert [0.0, 100.0, 700.0] == issuer.reads


async def test_a_thousand_unknown_keys_are_one_read_in_ten_seconds() -> None:
    """Tokens with made-up key names cause at most one read in ten seconds, and valid tokens still count."""
    issuer = Published()
    verdicts = []
    for number in range(1000):
        issuer.now = number * 0.0999  # all within a hundred seconds
        verdicts.append(await issuer.verdict(f"key-{number + 2}", "stranger"))
    assert {REFUSED} == set(verdicts)
    assert "ok" == await issuer.verdict()
    assert 10 == len(issuer.reads)
    assert all(later - earlier >= 10 for earlier, later in zip(issuer.reads, issuer.reads[1:], strict=False))


async def test_a_thousand_unknown_keys_at_once_are_one_read() -> None:
    """A thousand simultaneous unknown keys cause one read."""
    issuer = Published()
    assert "ok" == await issuer.verdict()
    issuer.now = 60.0
    verdicts = await asyncio.gather(*(issuer.verdict(f"key-{number + 2}", "stranger") for number in range(1000)))
    assert {REFUSED} == set(verdicts)
    assert [0.0, 60.0] == issuer.reads


async def test_a_hundred_first_requests_share_one_read() -> None:
    """Requests that arrive during a read wait for that read."""
    issuer = Published()
    issuer.gate.clear()
    first = [asyncio.ensure_future(issuer.verdict()) for _ in range(100)]
    await asyncio.sleep(0)
    assert not any(one.done() for one in first)
    issuer.gate.set()
    assert ["ok"] * 100 == await asyncio.gather(*first)
    assert [0.0] == issuer.reads


async def test_a_slow_issuer_slows_nobody_who_has_a_key() -> None:
    """While stale keys are read again, one token waits and the others use the old keys."""
    issuer = Published()
    assert "ok" == await issuer.verdict()
    issuer.now = 650.0
    issuer.gate.clear()
    waiting = asyncio.ensure_future(issuer.verdict())
    await asyncio.sleep(0)
    assert "ok" == await issuer.verdict()
    assert not waiting.done()
    issuer.gate.set()
    assert "ok" == await waiting
    assert [0.0, 650.0] == issuer.reads


async def test_who_names_an_unknown_key_does_not_wait_for_long() -> None:
    """During a hanging read, thousands of tokens with unknown keys fail soon and tokens with known keys never wait."""
    issuer = Published(patience=0.01)
    assert "ok" == await issuer.verdict()
    issuer.now = 650.0
    issuer.gate.clear()
    reading = asyncio.ensure_future(issuer.verdict("key-2", "key-2"))
    await asyncio.sleep(0)
    strangers = asyncio.gather(*(issuer.verdict(f"stranger-{number}", "stranger") for number in range(1000)))
    await asyncio.sleep(0)
    assert "ok" == await issuer.verdict()
    async with asyncio.timeout(5):
        assert {ISSUER_AWAY} == set(await strangers)
    assert not reading.done()
    issuer.publish(public_jwk("ES256", "key-2"))
    issuer.gate.set()
    assert ("ok", [0.0, 650.0]) == (await reading, issuer.reads)


async def test_without_any_key_it_is_nobody_s_own_trouble() -> None:
    """The failure is dependency-wide only if no key is known; else it concerns the unknown key alone."""
    issuer = Published()
    issuer.answer = None
    with pytest.raises(Unavailable) as nothing_known:
        await issuer.keys.find("key-1")
    issuer.publish(public_jwk("ES256"))
    issuer.now = 10.0
    await issuer.keys.find("key-1")
    issuer.answer, issuer.now = None, 20.0
    with pytest.raises(Unavailable) as unknown:
        await issuer.keys.find("key-2")
    assert (True, False) == (nothing_known.value.dependency_wide, unknown.value.dependency_wide)


async def test_a_request_that_is_cancelled_frees_the_read() -> None:
    """A cancelled read leaves nothing locked, and later tokens are verified."""
    issuer = Published()
    issuer.gate.clear()
    cut_off = asyncio.ensure_future(issuer.verdict())
    await asyncio.sleep(0)
    cut_off.cancel()
    await asyncio.wait([cut_off])
    issuer.gate.set()
    assert ISSUER_AWAY == await issuer.verdict()
    issuer.now = 10.0
    assert "ok" == await issuer.verdict()


# Outage


@pytest.mark.parametrize(
    ("seconds", "verdict"), [(0.0, "ok"), (599.0, "ok"), (601.0, "ok"), (3599.0, "ok"), (3600.0, ISSUER_AWAY)]
)
async def test_known_keys_count_during_an_outage(seconds: float, verdict: str) -> None:
    """Known keys count for an hour after they were read; then requests fail as retryable, without blaming tokens."""
    issuer = Published()
    assert "ok" == await issuer.verdict()
    issuer.answer = None
    issuer.now = seconds
    assert verdict == await issuer.verdict()


async def test_an_unknown_key_during_an_outage_is_not_the_tokens_fault() -> None:
    """An unknown key during an outage is retryable, since the issuer may have rotated its keys."""
    issuer = Published()
    assert "ok" == await issuer.verdict()
    issuer.answer, issuer.now = None, 100.0
    assert ISSUER_AWAY == await issuer.verdict("key-2", "key-2")
    assert REFUSED == await issuer.verdict("key-1", "stranger")
    issuer.publish(public_jwk("ES256", "key-2"))
    issuer.now = 109.0
    assert ISSUER_AWAY == await issuer.verdict("key-2", "key-2")
    issuer.now = 110.0
    assert "ok" == await issuer.verdict("key-2", "key-2")
    assert [0.0, 100.0, 110.0] == issuer.reads


async def test_an_outage_from_the_start_is_asked_for_once_in_ten_seconds() -> None:
    """Without any key every request fails, and the issuer is called once in ten seconds."""
    issuer = Published()
    issuer.answer = None
    for issuer.now in (0.0, 1.0, 9.9, 10.0, 19.9):
        assert ISSUER_AWAY == await issuer.verdict()
    assert [0.0, 10.0] == issuer.reads
    issuer.publish(public_jwk("ES256"))
    issuer.now = 20.0
    assert "ok" == await issuer.verdict()


async def test_an_issuer_without_keys_is_believed() -> None:
    """An empty key set withdraws all keys at once, and tokens are not blamed for it."""
    issuer = Published()
    assert "ok" == await issuer.verdict()
    issuer.publish()
    issuer.now = 600.0
    assert ISSUER_AWAY == await issuer.verdict()


async def test_refresh_reads_now() -> None:
    """`refresh`, for `check`, reads the issuer at most once in ten seconds and reports an outage."""
    issuer = Published()
    await issuer.tokens.refresh()
    await issuer.tokens.refresh()
    issuer.now = 10.0
    await issuer.tokens.refresh()
    assert [0.0, 10.0] == issuer.reads
    issuer.answer, issuer.now = None, 20.0
    with pytest.raises(Unavailable, match="public keys cannot be fetched"):
        await issuer.tokens.refresh()


# Choice of the key


@pytest.mark.parametrize(
    ("keys", "kid", "verdict"),
    [
        ([{}], "key-1", "ok"),
        ([{}], None, "ok"),  # the only candidate
        ([{"kid": None}], None, "ok"),
        ([{}, {"use": "enc", "kid": "key-2"}], None, "ok"),  # the other is not for signatures
        ([{}, {"kid": "key-2"}], None, REFUSED),  # ambiguous
        ([{}, {"kid": None}], None, REFUSED),
        ([{"kid": None}], "key-1", REFUSED),  # a name is required
        ([{}], "key-2", REFUSED),
        ([{}], "KEY-1", REFUSED),
        ([{"use": None, "alg": None, "key_ops": None}], "key-1", "ok"),
        ([{"use": "enc"}, {"kid": "key-2"}], "key-1", REFUSED),
        ([{"alg": "ES384"}, {"kid": "key-2"}], "key-1", REFUSED),
        ([{"alg": "ECDH-ES"}, {"kid": "key-2"}], "key-1", REFUSED),
        ([{"key_ops": ["sign"]}, {"kid": "key-2"}], "key-1", REFUSED),
        ([{"key_ops": ["sign", "verify"]}], "key-1", "ok"),
        ([{"key_ops": "verify"}, {"kid": "key-2"}], "key-1", REFUSED),
        ([{"kty": "RSA"}, {"kid": "key-2"}], "key-1", REFUSED),
        ([{"crv": "P-384"}, {"kid": "key-2"}], "key-1", REFUSED),
        ([{"crv": ["P-256"]}, {"kid": "key-2"}], "key-1", REFUSED),
        ([{}, {"kid": "key-1"}], "key-1", ISSUER_AWAY),  # the name is used twice, and no key is left
        ([{}, {"kid": "key-1"}, {"kid": "key-2"}], "key-1", REFUSED),
        ([{}, {"kid": "key-1", "use": "enc"}], "key-1", "ok"),  # names are compared among keys for signatures
        ([{"kid": 1}, {"kid": ["key-1"]}, {"kid": {}}, {"kid": "key-2"}], "key-1", REFUSED),
        ([{"kid": "k" * 257}, {"kid": "key-2"}], "k" * 256, REFUSED),
        ([{"d": "AAAA"}, {"kid": "key-2"}], "key-1", REFUSED),  # its private part is public
        ([{"x": "A"}, {"kid": "key-2"}], "key-1", REFUSED),
        ([{"x": 1}, {"kid": "key-2"}], "key-1", REFUSED),
        ([{"y": None}, {"kid": "key-2"}], "key-1", REFUSED),
        ([{"x": encode(bytes(32))}, {"kid": "key-2"}], "key-1", REFUSED),  # a point off the curve
        ([{"x5u": "http://203.0.113.1/", "x5c": ["AAAA"], "x5t": "AAAA"}], "key-1", "ok"),  # never read
    ],
    ids=str,
)
async def test_which_published_key_counts(keys: list[dict[str, Any]], kid: str | None, verdict: str) -> None:
    """`kid`, `use`, `key_ops`, `alg`, `kty` and `crv` are honoured; broken and private keys are left out.

    All entries are variants of the one key with which the token is signed.
    """
    issuer = Published(*(public_jwk("ES256", "key-1", **changes) for changes in keys))
    assert verdict == await issuer.verdict(kid)


@pytest.mark.parametrize("alg", ["RS256", "ES256", "EdDSA"])
async def test_keys_for_something_else_are_ordinary(alg: str) -> None:
    """Keys for other algorithms and for encryption cause no warning, as issuers usually publish some."""
    others = [public_jwk(other, alg=None) for other in ("RS256", "ES256", "ES384", "EdDSA") if other != alg]
    issuer = Published(*others, public_jwk(alg, "enc", use="enc"), public_jwk(alg), alg=alg)
    with capture_logs() as logs:
        assert "ok" == await issuer.verdict()
    assert [] == logs


@pytest.mark.parametrize("alg", [alg for alg in ALGORITHMS if not alg.startswith("HS")])
async def test_secrets_in_a_key_set_are_never_keys(alg: str) -> None:
    """No symmetric key is taken from a JWKS, whatever its entry claims, so RSA and `oct` cannot be confused."""
    secret = {"kty": "oct", "k": encode(b"x" * 64), "use": "sig"}
    disguises = [{**secret, "kid": f"oct-{name}", "alg": name} for name in ("HS256", "HS512", alg)]
    disguises.append({**public_jwk(alg, "stranger"), **secret, "kid": "oct-mixed"})
    disguises.append({**public_jwk(alg, "stranger"), "k": encode(b"x" * 64), "kid": "both"})
    issuer = Published(public_jwk(alg), *disguises, alg=alg)
    assert "ok" == await issuer.verdict()
    for disguise in disguises:
        kid = disguise["kid"]
        for claimed in ("HS256", "HS512", alg):
            token = mac(f"{part({'alg': claimed, 'kid': kid})}.{part(CLAIMS)}", b"x" * 64, "HS256")
            with pytest.raises(Unauthenticated):
                await issuer.tokens.authenticate(token, None)
        assert REFUSED == await issuer.verdict(kid, "stranger")


def rsa_jwk(bits: int = 2048, **changes: Any) -> dict[str, Any]:
    numbers = rsa.generate_private_key(65537, bits).public_key().public_numbers()
    size = (bits + 7) // 8
    return {"kty": "RSA", "kid": "key-1", "n": encode(numbers.n.to_bytes(size, "big")), "e": "AQAB", **changes}


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (lambda: rsa_jwk(1024), "1024 bits"),
        (lambda: rsa_jwk(n=encode(b"\xff" * 1025)), "too long"),
        (lambda: rsa_jwk(n=encode(b"\xff" * 10_000)), "too long"),
        (lambda: rsa_jwk(n=encode(b"\xff" * 255 + b"\xfe")), "not a key"),  # even
        (lambda: rsa_jwk(n=""), "`n`"),
        (lambda: rsa_jwk(n=None), "`n`"),
        (lambda: rsa_jwk(n="AAAA="), "`n`"),
        (lambda: rsa_jwk(e="AQ"), "not a key"),  # 1: every signature is its own message
        (lambda: rsa_jwk(e="Ag"), "not a key"),  # 2
        (lambda: rsa_jwk(e="AA"), "not a key"),  # 0
        (lambda: rsa_jwk(e=65537), "`e`"),
        (lambda: rsa_jwk(d="AAAA"), "private part"),
        (lambda: rsa_jwk(p="AAAA"), "private part"),
        (lambda: rsa_jwk(k="AAAA"), "private part"),
        (lambda: rsa_jwk(oth=[]), "private part"),
    ],
)
async def test_rsa_keys_that_must_not_be_used(entry: Callable[[], dict[str, Any]], why: str) -> None:
    """Weak, oversized, broken and private RSA keys are left out, and the log has the reason without the key."""
    jwk = entry()
    issuer = Published(jwk, public_jwk("RS256", "key-2"), alg="RS256")
    with capture_logs() as logs:
        assert "ok" == await issuer.verdict("key-2", "key-2")
    assert REFUSED == await issuer.verdict("key-1")
    [entry_left_out] = [line for line in logs if line["event"] == "a key of the issuer is left out"]
    assert 0 == entry_left_out["place"]
    assert why in entry_left_out["why"]
    assert not any(
        str(value)[:16] in repr(logs) for value in jwk.values() if isinstance(value, str) and len(value) > 16
    )


async def test_a_key_of_another_curve_is_not_a_key_for_the_algorithm() -> None:
    """A P-384 key is rejected under ES256, although the library could verify with it."""
    issuer = Published(public_jwk("ES384", alg=None), public_jwk("ES256", "key-2"))
    assert REFUSED == await issuer.verdict(key=private_key("ES384"))


# Hostile answers

HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "a log-in page": b"<!doctype html><title>Log in</title>",
    "null": b"null",
    "a list": json.dumps([public_jwk("ES256")]).encode(),
    "a key without a list": json.dumps(public_jwk("ES256")).encode(),
    "keys is an object": json.dumps({"keys": {"key-1": public_jwk("ES256")}}).encode(),
    "keys is text": b'{"keys":"key-1"}',
    "keys is null": b'{"keys":null}',
    "keys twice": b'{"keys":[],"keys":' + json.dumps([public_jwk("ES256")]).encode() + b"}",
    "a member twice": document(public_jwk("ES256")).replace(b'"kid"', b'"use":"sig","kid"'),
    "cut off": document(public_jwk("ES256"))[:-3],
    "more after it": document(public_jwk("ES256")) * 2,
    "a byte order mark": b"\xef\xbb\xbf" + document(public_jwk("ES256")),
    "UTF-16": document(public_jwk("ES256")).decode().encode("utf-16"),
    "NaN": document(public_jwk("ES256"), float("nan")),
    "deep": b'{"keys":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "a long string": document(public_jwk("ES256"), {"x5c": ["A" * 17_000]}),
    "a long number": document(public_jwk("ES256")).replace(b'"keys"', b'"n":1' + b"0" * 5000 + b',"keys"'),
    "too many keys": document(*[public_jwk("ES256", kid=f"key-{number}") for number in range(101)]),
    "too many bytes": document(public_jwk("ES256"), *[{"x": "A" * 4000}] * 70),
}


async def test_hostile_answers_are_outages() -> None:
    """An invalid key set fails new requests, keeps the known keys, and its problem is logged."""
    wrong = []
    for name, answer in HOSTILE.items():
        fresh, known = Published(), Published()
        assert "ok" == await known.verdict()
        fresh.answer = known.answer = answer
        known.now = 700.0
        with capture_logs() as logs:
            verdicts = (await fresh.verdict(), await known.verdict())
        said = [line["why"] for line in logs if line["event"] == "the issuer's keys cannot be read"]
        if verdicts != (ISSUER_AWAY, "ok") or len(said) != 2:
            wrong.append((name, verdicts, said))
    corpus.record("hostile key sets", len(HOSTILE), len(wrong))
    assert [] == wrong


@pytest.mark.parametrize(
    "entry", [None, 7, "key", [], {}, [[]], {"kty": None}, {"kty": ["EC"]}, {"kty": {"EC": 1}}], ids=str
)
async def test_entries_that_are_no_keys_are_passed_over(entry: Any) -> None:
    """One broken entry does not affect the valid keys."""
    issuer = Published(entry, public_jwk("ES256"), entry)
    assert "ok" == await issuer.verdict()


# HTTP


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with dependency_session() as opened:
        yield opened


async def failure(session: aiohttp.ClientSession, url: str) -> str:
    with pytest.raises(KeysUnreadable) as caught:
        await read_document(session, URL(url))
    return str(caught.value)


async def test_redirects_are_not_followed(session: aiohttp.ClientSession, serve: Serve) -> None:
    """Redirects are not followed, so no one who answers for the issuer can send the worker elsewhere."""
    asked = []

    async def elsewhere(request: web.Request) -> web.Response:
        asked.append(request.path)
        raise web.HTTPFound("/elsewhere")

    assert "the answer has status 302" == await failure(session, await serve(elsewhere) + "/keys")
    assert ["/keys"] == asked


@pytest.mark.parametrize("status", [201, 204, 304, 400, 401, 403, 404, 429, 500, 503])
async def test_other_statuses_are_outages(session: aiohttp.ClientSession, serve: Serve, status: int) -> None:
    """Any status but 200 is an outage."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status)

    assert f"the answer has status {status}" == await failure(session, await serve(answer))


async def test_a_huge_answer_is_cut_off(session: aiohttp.ClientSession, serve: Serve) -> None:
    """The limit holds while reading, for an endless body and for a compressed body that expands."""

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 65536)

    async def bomb(_: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(bytes(64 * 1024 * 1024)), headers={"Content-Encoding": "gzip"})

    for handler in (endless, bomb):
        assert f"the answer is longer than {jwks.MAX_BODY} bytes" == await failure(session, await serve(handler))


async def test_an_answer_that_breaks_off(
    session: aiohttp.ClientSession, serve_raw: Callable[[Talk], Awaitable[str]]
) -> None:
    """A short body, an answer that is not HTTP, and wrong compression are not answers."""

    def talk(answer: bytes) -> Talk:
        async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)

        return say

    lies = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}"
    for answer in (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", b"SSH-2.0-OpenSSH\r\n\r\n", lies):
        place = await serve_raw(talk(answer))
        assert "the answer is not valid HTTP or broke off" == await failure(session, f"http://{place}/keys")


async def test_an_issuer_that_does_not_answer(
    session: aiohttp.ClientSession, serve_raw: Callable[[Talk], Awaitable[str]]
) -> None:
    """A silent connection times out, and a refused connection fails at once."""

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    place = await serve_raw(silent)
    with pytest.raises(KeysUnreadable, match=r"no answer within 0\.05 s"):
        await read_document(session, URL(f"http://{place}/keys"), seconds=0.05)
    said = await failure(session, "http://127.0.0.1:1/keys")
    assert said.startswith("no connection: ClientConnectorError: ")


def test_limits_leave_room_for_real_key_sets() -> None:
    """The limit has room for large issuers, which publish a dozen keys with certificates: about 30 KiB."""
    entry = {**public_jwk("RS256"), "x5c": ["A" * 3000], "x5t": "A" * 27}
    assert len(document(*[entry] * 30)) < jwks.MAX_BODY
    assert 2048 == len(decode(entry["n"])) * 8
