import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable
from itertools import product
from pathlib import Path
from threading import Barrier

import pytest
from aiohttp import web

from worker.errors import ConfigurationError
from worker.sandbox.http_server import served
from worker.sandbox.kafka_installation import (
    Jar,
    cache_folder,
    from_repository,
    import_extra,
    kafka_jars,
    locked_jars,
)


def content(name: str) -> bytes:
    return f"the classes of {name}".encode()


def jar(name: str) -> Jar:
    return Jar("org.example", name, "1.0", hashlib.sha256(content(name)).hexdigest())


class Repository:
    """A repository that records each fetch and returns wrong content for the first `spoil` of them."""

    def __init__(self, spoil: int = 0, before: Callable[[], object] = lambda: None) -> None:
        self.given: list[str] = []
        self.spoil = spoil
        self.before = before

    def __call__(self, wanted: Jar, folder: Path) -> Path:
        self.before()
        assert [] == list(folder.iterdir())
        self.given.append(wanted.artifact)
        path = folder / "deep" / wanted.file_name
        path.parent.mkdir()
        path.write_bytes(b"cut off" if len(self.given) <= self.spoil else content(wanted.artifact))
        return path


class Unreachable:
    """A repository without a network."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self, wanted: Jar, folder: Path) -> Path:
        raise self.error


def test_the_lock_is_the_whole_of_kafka() -> None:
    """The lock has 46 jars with a SHA-256 each and unique file names, including Kafka's main jar."""
    jars = locked_jars()
    assert 46 == len({one.file_name for one in jars}) == len(jars)
    assert {64} == {len(one.sha256) for one in jars}
    assert "org.apache.kafka:kafka_2.13:4.3.1" in map(str, jars)


async def test_missing_jars_are_fetched_once(tmp_path: Path) -> None:
    """The second start fetches nothing and returns the same class path."""
    cache, repository = tmp_path / "new" / "cache", Repository()
    jars = [jar("broker"), jar("clients")]
    first = await kafka_jars(cache, jars=jars, fetch=repository)
    assert [cache / "broker-1.0.jar", cache / "clients-1.0.jar"] == first
    assert [content("broker"), content("clients")] == [path.read_bytes() for path in first]
    assert first == await kafka_jars(cache, jars=jars, fetch=repository)
    assert ["broker", "clients"] == sorted(repository.given)


async def test_a_damaged_jar_is_fetched_again(tmp_path: Path) -> None:
    """A jar with a wrong SHA-256 is fetched again; intact jars stay."""
    (tmp_path / "broker-1.0.jar").write_bytes(content("broker")[:-1])
    (tmp_path / "clients-1.0.jar").write_bytes(content("clients"))
    repository = Repository()
    await kafka_jars(tmp_path, jars=[jar("broker"), jar("clients")], fetch=repository)
    assert ["broker"] == repository.given
    assert content("broker") == (tmp_path / "broker-1.0.jar").read_bytes()


async def test_a_broken_transfer_is_tried_once_more(tmp_path: Path) -> None:
    """A transfer with a wrong SHA-256 is retried once, as if nothing had arrived."""
    repository = Repository(spoil=1)
    (path,) = await kafka_jars(tmp_path, jars=[jar("broker")], fetch=repository)
    assert content("broker") == path.read_bytes()
    assert ["broker", "broker"] == repository.given


async def test_two_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Two starts that fetch the same jar at once both get an intact jar and leave nothing else."""
    both = Barrier(2, timeout=30)
    paths = await asyncio.gather(
        *(kafka_jars(tmp_path, jars=[jar("broker")], fetch=Repository(before=both.wait)) for _ in range(2))
    )
    assert [[tmp_path / "broker-1.0.jar"]] * 2 == paths
    assert [tmp_path / "broker-1.0.jar"] == list(tmp_path.iterdir())
    assert content("broker") == paths[0][0].read_bytes()


@pytest.mark.parametrize(
    ("fetch", "reason"),
    [
        pytest.param(Unreachable(ConnectionError("user:password@proxy")), "ConnectionError", id="no network"),
        pytest.param(Unreachable(RuntimeError("not found")), "RuntimeError", id="not in the repository"),
        pytest.param(Repository(spoil=2), "wrong sha256", id="another content"),
    ],
)
async def test_what_cannot_be_fetched_names_both_ways_out(
    fetch: Callable[[Jar, Path], Path], reason: str, tmp_path: Path
) -> None:
    """The message has the reason and two remedies, without the original error, which may hold a proxy's password."""
    with pytest.raises(ConfigurationError) as refusal:
        await kafka_jars(tmp_path, jars=[jar("broker")], fetch=fetch)
    assert (
        f"Apache Kafka 4.3.1 cannot be downloaded ({reason} at org.example:broker:1.0). Use a Kafka that is "
        "already running, `playground-deployer demo --kafka HOST:PORT`, or start one in Docker, "
        "`docker run -p 9092:9092 apache/kafka:4.3.1`"
    ) == str(refusal.value)
    assert [] == list(tmp_path.iterdir())


async def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """An unwritable cache is named, with the variable that moves it."""
    (tmp_path / "file").touch()
    with pytest.raises(
        ConfigurationError, match=r"cannot be stored in .*file/cache: Not a directory\. Set XDG_CACHE_HOME"
    ):
        await kafka_jars(tmp_path / "file" / "cache", jars=[jar("broker")], fetch=Repository())


async def test_progress_counts_what_is_fetched(tmp_path: Path) -> None:
    """Progress counts only the jars that are fetched, not those already there."""
    (tmp_path / "raft-1.0.jar").write_bytes(content("raft"))
    seen: list[tuple[int, int]] = []
    await kafka_jars(
        tmp_path,
        jars=[jar("broker"), jar("raft"), jar("clients")],
        fetch=Repository(),
        progress=lambda *now: seen.append(now),
    )
    assert [(1, 2), (2, 2)] == seen


def test_without_the_extra_the_way_to_install_it_is_named() -> None:
    """A missing extra is reported with its install command; only the embedded Kafka needs it."""
    with pytest.raises(ConfigurationError, match=r"'no_such_part' is not .*: pip install playground-deployer\[demo\]"):
        import_extra("no_such_part")


def test_the_cache_is_this_users() -> None:
    """The cache is below the user's cache folder, separate for each version."""
    assert ("playground-deployer", "kafka-4.3.1") == cache_folder().parts[-2:]


def asking(answer: Callable[[web.Request], Awaitable[web.Response]]) -> web.Application:
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    return app


async def test_jars_come_from_the_repository_by_their_coordinate(tmp_path: Path) -> None:
    """Jars are fetched by coordinate over reused connections, because a new connection takes longer than a jar."""
    connections: set[object] = set()

    async def answer(request: web.Request) -> web.Response:
        connections.add(request.transport)
        found = re.fullmatch(r"/maven/org/example/([a-z]+)/1\.0/\1-1\.0\.jar", request.path)
        return web.Response(body=content(found[1])) if found else web.Response(status=404)

    jars = [jar("".join(name)) for name in product("ab", repeat=5)]
    async with served(asking(answer)) as address:
        with from_repository(f"{address}/maven") as fetch:
            paths = await kafka_jars(tmp_path, jars=jars, fetch=fetch)
    assert [content(it.artifact) for it in jars] == [path.read_bytes() for path in paths]
    assert len(connections) <= 8 < len(jars)


async def test_a_repository_that_has_not_the_jar_is_asked_twice(tmp_path: Path) -> None:
    """A missing jar is requested twice, and its error page is not taken for a jar."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=404, body=content("broker"))

    async with served(asking(answer)) as address:
        with (
            from_repository(address) as fetch,
            pytest.raises(ConfigurationError, match=r"\(HTTPError at org\.example:broker:1\.0\)"),
        ):
            await kafka_jars(tmp_path, jars=[jar("broker")], fetch=fetch)
    assert ["/org/example/broker/1.0/broker-1.0.jar"] * 2 == asked
