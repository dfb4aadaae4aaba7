"""`dead-letter` on Apache Kafka: letters as the worker writes them, and requests that are replayed."""

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from schemas import DeploymentRequested, State
from tests.component.cli.test_commands import REVISION, SOLUTION, Desk
from tests.support.builders import final_status
from worker.client.requests import OutgoingRequest, open_publisher
from worker.domain.dead_letter import MAX_REPLAYS, NONCE, TIMESTAMP, DeadLetter, Replay, dead_letter
from worker.domain.request import Record, Request, read_request, record_id
from worker.errors import CODES, Unavailable, Unreadable
from worker.sandbox.users import SANDBOX_USER, User, sandbox_token

BUSY = Unavailable("playground-busy", CODES["playground-busy"], "submit")
SLOW = Unavailable("catalog-timeout", CODES["catalog-timeout"], "fetch")
OTHER_USER = User("user-2", "bob", "bob@graphene.example")
PARTITION = 4  # the partition of SANDBOX_USER's key, of 12


@dataclass(slots=True)
class Box:
    """The dead-letter topic of one test."""

    desk: Desk
    tokens: list[str]

    async def request(self, request_id: str, user: User = SANDBOX_USER, replay_of: str | None = None) -> Record:
        """Publish a request with its own token, and return its record."""
        token = sandbox_token(datetime.now(UTC), timedelta(hours=1, seconds=len(self.tokens)), user)
        self.tokens.append(token)
        ask = OutgoingRequest(request_id, SOLUTION, REVISION, token, replay_of)
        async with open_publisher(self.desk.kafka) as requests:
            await requests.publish(ask)
        return await self.received()

    async def received(self) -> Record:
        """Return the next request in the topic."""
        await self.desk.answer()
        return self.desk.seen[-1][0]

    async def put(self, letter: DeadLetter, producer: AIOKafkaProducer | None = None) -> str:
        """Write a letter to its topic and return its position."""
        written = await (producer or self.desk.producer).send_and_wait(
            self.desk.kafka.dead_letter_topic, letter.value, key=letter.key, headers=[*letter.headers]
        )
        return f"{written.partition}:{written.offset}"

    async def give_up(self, request_id: str, error: Unavailable = BUSY, **more: Any) -> str:
        """Write the letter of a request that ended after four attempts and return its position."""
        return await self.put(letter(await self.request(request_id, **more), error))

    async def run(self, *arguments: str, code: int = 0) -> tuple[list[str], str]:
        """Run `dead-letter` with these arguments; return the lines of stdout, and stderr.

        Neither may contain part of a token.
        """
        ended, output, errors = await self.desk.run("dead-letter", *arguments)
        assert code == ended, errors
        shown = "\n".join((*output, errors))
        assert not [part for token in self.tokens for part in token.split(".") if part in shown]
        assert "Traceback" not in errors
        return output, errors

    async def sent(self) -> int:
        """Return the number of requests in their topic."""
        consumer = self.desk.consumer
        return sum((await consumer.end_offsets(consumer.assignment())).values())

    async def expire(self) -> None:
        """Make Kafka delete all requests."""
        consumer, admin = self.desk.consumer, AIOKafkaAdminClient(bootstrap_servers=self.desk.kafka.bootstrap_servers)
        ends = await consumer.end_offsets(consumer.assignment())
        await admin.start()
        try:
            await admin.delete_records({place: RecordsToDelete(end) for place, end in ends.items() if end})
        finally:
            await admin.close()


@pytest.fixture
async def box(desk: Desk) -> Box:
    """An empty dead-letter topic."""
    return Box(desk, [])


def nonce(request_id: str) -> str:
    """Return the nonce of a request's letter."""
    return f"nonce of {request_id}"


def replay_id(original: str, number: int, of: str | None = None) -> str:
    """Return the id of the n-th replay, derived from the letter of the request `of`; None: of the original's letter."""
    return Replay(original, number, nonce(of or original)).request_id


def letter(record: Record, error: Unavailable = BUSY) -> DeadLetter:
    """Return a dead letter as the worker writes it."""
    request = read_request(record)
    assert isinstance(request, Request)
    return dead_letter(record, final_status(record, request.id, error), request, error, nonce(request.id))


def unreadable() -> DeadLetter:
    """Return the letter of a record that was not a request."""
    record = Record("cluster", "requests", 1, 3, 1_700_000_000_000, True, b"user-1", b"{")
    problem = read_request(record)
    assert isinstance(problem, Unreadable)
    return dead_letter(record, final_status(record, record_id(record), problem, 1), problem, problem, "x")


async def test_list_shows_one_line_each(box: Box) -> None:
    """`list` prints the letters that the filter selects, as text or JSON, and omits uncommitted letters."""
    busy, slow = await box.give_up("r-1"), await box.give_up("r-2", SLOW)
    other = await box.give_up("r-3", user=OTHER_USER)
    lost = await box.put(unreadable())
    producer = AIOKafkaProducer(
        bootstrap_servers=box.desk.kafka.bootstrap_servers, transactional_id=box.desk.kafka.group_id
    )
    async with producer:
        with suppress(LookupError):
            async with producer.transaction():
                await box.put(unreadable(), producer)
                raise LookupError
    lines, errors = await box.run("list")
    assert ("", {busy, slow, other, lost}) == (errors, {line.split()[0] for line in lines})
    line = next(line for line in lines if line.startswith(f"{busy} "))
    assert f"  r-1  attempt 4  {box.desk.kafka.requests_topic}/{PARTITION}:0  {CODES['playground-busy']}" in line
    hour_ago, soon = (f"{datetime.now(UTC) + timedelta(hours=it):%Y-%m-%dT%H:%M:%SZ}" for it in (-1, 1))
    for arguments, expected in {
        ("--code", "catalog-timeout"): {slow},
        ("--code", "playground-busy", "--key", OTHER_USER.user_id): {other},
        ("--request-id", "r-1"): {busy},
        ("--offset", busy, "--offset", lost): {busy, lost},
        (busy,): {busy},
        ("99:0",): set(),
        ("--since", hour_ago): {busy, slow, other, lost},
        ("--since", soon): set(),
    }.items():
        lines, _ = await box.run("list", "--json", *arguments)
        assert expected == {json.loads(line)["place"] for line in lines}, arguments


async def test_show_tells_everything(box: Box) -> None:
    """`show` prints headers and value, without any control character for the terminal."""
    record = await box.request("r-1")
    whole = letter(record)
    odd = DeadLetter(whole.key, b'{"mood": "\\u001b[2J\x7f"}', (*whole.headers, ("x", b"\x1b[31m")))
    place, other = await box.put(whole), await box.put(odd)
    lines, _ = await box.run("show", place)
    shown = json.loads("\n".join(lines))
    headers = {name: value.decode() for name, value in whole.headers if name != NONCE}
    assert headers == shown["headers"]
    assert json.loads(whole.value) == shown["value"]
    assert ("r-1", "playground-busy", 4) == (shown["requestId"], shown["code"], shown["attempt"])
    assert {"topic": record.topic, "partition": PARTITION, "offset": 0, "timestamp": record.timestamp_ms} == shown[
        "original"
    ]
    lines, _ = await box.run("show", other)
    assert all(line.isprintable() for line in lines)
    assert {"mood": "\x1b[2J\x7f"} == json.loads("\n".join(lines))["value"]
    _, errors = await box.run("show", place, "0:99", code=1)
    assert "There is no dead letter at 0:99. List them with: playground-deployer dead-letter list." in errors


async def test_a_replay_is_the_request_under_a_new_id(box: Box) -> None:
    """A replay keeps the original's key, partition and token; the worker absorbs a second copy as the same request."""
    place = await box.give_up("r-1")
    await box.give_up("r-2", SLOW)
    new = replay_id("r-1", 1)
    lines, _ = await box.run("replay", "--code", "playground-busy", "--dry-run")
    assert [f"{place}  r-1 → {new}", "Would be replayed: 1. Cannot be sent: 0. Already replayed: 0."] == lines
    assert 2 == await box.sent()
    for _ in range(2):
        lines, errors = await box.run("replay", "--offset", place)
        assert ([f"{place}  r-1 → {new}", "Replayed: 1. Could not be sent: 0. Already replayed: 0."], "") == (
            lines,
            errors,
        )
        record = await box.received()
        assert (SANDBOX_USER.user_id.encode(), PARTITION) == (record.key, record.partition)
        assert Request(new, SOLUTION, REVISION, f"Bearer {box.tokens[0]}", "r-1") == read_request(record)
        headers = dict(record.headers)
        assert (DeploymentRequested.TYPE.encode(), new.encode()) == (headers["ce_type"], headers["ce_id"])
        assert "jwtToken" not in json.loads(record.value or b"")


async def test_what_was_replayed_before_is_said(box: Box) -> None:
    """A letter that was already replayed is reported with the replay's state, and is not sent again.

    The worker would treat the second replay as a duplicate.
    """
    place = await box.give_up("r-1")
    await box.run("replay", place)
    await box.desk.answer(State.ACCEPTED, State.BUILDING)
    sent, new = await box.sent(), replay_id("r-1", 1)
    for more in ([], ["--dry-run"]):
        lines, errors = await box.run("replay", place, *more)
        none = "Would be replayed: 0. Cannot be sent: 0." if more else "Replayed: 0. Could not be sent: 0."
        said = f"{place}  r-1: already replayed as {new}, which is building."
        assert ([said, f"{none} Already replayed: 1."], "") == (lines, errors)
    assert sent == await box.sent()


async def test_what_cannot_be_replayed_is_passed_over(box: Box) -> None:
    """A letter that cannot be replayed is reported with its reason, the others are sent, and the exit code is 1."""
    chained = await box.give_up(replay_id("r-0", MAX_REPLAYS), replay_of="r-0")
    lost = await box.put(unreadable())
    record = await box.request("r-2")
    whole = letter(record)
    earlier = tuple((name, b"1" if name == TIMESTAMP else value) for name, value in whole.headers)
    another = await box.put(DeadLetter(whole.key, whole.value, earlier))  # the topic was recreated since
    good = await box.give_up("r-3")
    lines, errors = await box.run("replay", "--all", code=1)
    assert [f"{good}  r-3 → {replay_id('r-3', 1)}", "Replayed: 1. Could not be sent: 3. Already replayed: 0."] == lines
    said = {line.split()[0]: line for line in errors.splitlines()}
    assert {chained, lost, another} == said.keys()
    assert f"already been replayed {MAX_REPLAYS} times" in said[chained]
    assert "could not be read (not-json)" in said[lost]
    assert "Kafka has deleted the request's record, and the token with it." in said[another]
    replayed = read_request(await box.received())
    assert isinstance(replayed, Request)
    assert replay_id("r-3", 1) == replayed.id
    lines, _ = await box.run("replay", chained, "--force")
    last = replay_id("r-0", MAX_REPLAYS)
    assert f"{chained}  {last} → {replay_id('r-0', MAX_REPLAYS + 1, last)}" == lines[0]


async def test_a_token_file_replaces_tokens_that_are_gone(box: Box, tmp_path: Path) -> None:
    """A token file supplies one token for all requests of its user; other users' requests are not sent with it."""
    place, other = await box.give_up("r-1"), await box.give_up("r-2", user=OTHER_USER)
    await box.expire()
    lines, errors = await box.run("replay", "--all", code=1)
    assert (["Replayed: 0. Could not be sent: 2. Already replayed: 0."], 2) == (lines, errors.count("--token-file"))
    token = sandbox_token(datetime.now(UTC), timedelta(hours=2))
    box.tokens.append(token)
    file = tmp_path / "token"
    file.write_text(f"Bearer {token}\n")
    lines, errors = await box.run("replay", "--all", "--token-file", str(file), code=1)
    assert [f"{place}  r-1 → {replay_id('r-1', 1)}", "Replayed: 1. Could not be sent: 1. Already replayed: 0."] == lines
    assert errors.startswith(f"{other}  r-2: the request and the token belong to different users.")
    request = read_request(await box.received())
    assert isinstance(request, Request)
    assert f"Bearer {token}" == request.token
    _, errors = await box.run("replay", "--all", "--token-file", token, code=1)
    assert "--token-file: " in errors


async def test_replays_take_their_time(box: Box) -> None:
    """`replay` sends at most `--rate` requests per second."""
    for number in range(3):
        await box.give_up(f"r-{number}")
    began = monotonic()
    lines, _ = await box.run("replay", "--all", "--rate", "2")
    assert ("Replayed: 3. Could not be sent: 0. Already replayed: 0.", True) == (lines[-1], monotonic() - began >= 1)


async def test_a_replay_has_to_be_chosen(box: Box) -> None:
    """`replay` requires a selection, so that no operator replays everything by mistake."""
    await box.give_up("r-1")
    _, errors = await box.run("replay", code=2)
    assert "no dead letter is selected" in errors
    assert 1 == await box.sent()


async def test_a_topic_that_does_not_exist_is_named(box: Box) -> None:
    """A missing dead-letter topic is named at once."""
    name = box.desk.environment["DEPLOYER_KAFKA__DEAD_LETTER_TOPIC"] = f"{box.desk.kafka.group_id}.none"
    _, errors = await box.run("list", code=1)
    assert f"DEPLOYER_KAFKA__DEAD_LETTER_TOPIC: the topic '{name}' does not exist" in errors
