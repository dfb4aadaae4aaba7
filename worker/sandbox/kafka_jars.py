"""Apache Kafka's own jars: fetched once per user by their exact coordinates, and never used unchecked.

`kafka-4.3.1-jars.lock` names each with its sha256. Dependencies are not resolved here: the lock is complete.
"""

import asyncio
import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from worker.concurrency import together
from worker.errors import ConfigurationError
from worker.sandbox.extra import import_extra

VERSION = "4.3.1"
WAYS_OUT = (
    "Use a Kafka that runs already, `playground-deployer demo --kafka HOST:PORT`, "
    f"or start one in Docker, `docker run -p 9092:9092 apache/kafka:{VERSION}`"
)
LOCK = Path(__file__).with_name(f"kafka-{VERSION}-jars.lock")

_AT_ONCE = 8
_SILENCE_SECONDS = 30
_ATTEMPTS = 2
"""A connection that breaks once in 46 files is ordinary."""


@dataclass(frozen=True, slots=True)
class Jar:
    """One line of the lock."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        """What it is called in the cache: artifact and version, as everywhere in Java."""
        return f"{self.artifact}-{self.version}.jar"

    def __str__(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"


Fetch = Callable[[Jar, Path], Path]
"""Puts a jar somewhere into the empty folder given and returns where. Blocks; raises OSError or RuntimeError."""

Progress = Callable[[int, int], None]
"""Told after each jar that was fetched: how many by now, of how many."""


def locked_jars(lock: Path = LOCK) -> list[Jar]:
    """Every jar that the lock names, in its order."""
    return [_read_line(line) for line in lock.read_text(encoding="utf-8").splitlines()]


def _read_line(line: str) -> Jar:
    coordinate, _, sha256 = line.partition(" sha256:")
    group, artifact, version = coordinate.split(":")
    return Jar(group, artifact, version, sha256)


def cache_folder() -> Path:
    """This user's, where XDG_CACHE_HOME or the system wants it. Raises ConfigurationError without the extra."""
    return Path(import_extra("platformdirs").user_cache_dir("playground-deployer")) / f"kafka-{VERSION}"


@contextmanager
def from_repository(address: str | None = None) -> Iterator[Fetch]:
    """Fetch by exact coordinate from this Maven repository; the central one, which jgo knows, unless another is given.

    One pool of connections for all. jgo's own way makes two for each jar, which takes six times as long.
    """
    address = address or import_extra("jgo.constants").MAVEN_CENTRAL_URL
    requests = import_extra("requests")
    # Who asks too often is told when to come back. Connections that break are the matter of _ATTEMPTS.
    retry = requests.adapters.Retry(3, connect=0, read=0, status_forcelist=[429])
    with requests.Session() as session:
        session.mount(address, requests.adapters.HTTPAdapter(pool_maxsize=_AT_ONCE, max_retries=retry))

        def fetch(jar: Jar, folder: Path) -> Path:
            path = folder / jar.file_name
            place = f"{jar.group.replace('.', '/')}/{jar.artifact}/{jar.version}/{jar.file_name}"
            with session.get(f"{address}/{place}", stream=True, timeout=_SILENCE_SECONDS) as answer:
                answer.raise_for_status()
                with path.open("wb") as file:
                    file.writelines(answer.iter_content(1 << 16))
            return path

        yield fetch


async def kafka_jars(
    folder: Path | None = None,
    *,
    jars: Sequence[Jar] | None = None,
    fetch: Fetch | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """The class path: every jar, checked by its sha256; what is missing or damaged is fetched first.

    With all there it takes 0.1 s, else about 1 s on a fast line. Two processes may do this at once: each fetches
    beside and renames. Raises ConfigurationError when a jar cannot be had, naming the ways to do without.
    """
    folder = folder or cache_folder()
    jars = locked_jars() if jars is None else jars
    missing = await asyncio.to_thread(_missing, jars, folder)
    if missing:
        with nullcontext(fetch) if fetch else from_repository() as fetch_one:
            await _fetch_all(missing, folder, fetch_one, progress)
    return [folder / jar.file_name for jar in jars]


async def _fetch_all(jars: Sequence[Jar], folder: Path, fetch: Fetch, progress: Progress | None) -> None:
    loop = asyncio.get_running_loop()
    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="kafka-jars")
    fetched = 0

    async def one(jar: Jar) -> None:
        nonlocal fetched
        await loop.run_in_executor(pool, _obtain, jar, folder, fetch)
        fetched += 1
        if progress:
            progress(fetched, len(jars))

    try:
        await together(one(jar) for jar in jars)
    finally:
        # After a failure or Ctrl-C nobody waits for the rest.
        pool.shutdown(wait=False, cancel_futures=True)


def _missing(jars: Sequence[Jar], folder: Path) -> list[Jar]:
    return [jar for jar in jars if not _is_sound(folder / jar.file_name, jar)]


def _is_sound(path: Path, jar: Jar) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == jar.sha256
    except OSError:
        return False


def _obtain(jar: Jar, folder: Path, fetch: Fetch) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".fetching-") as beside:
            _fetch_checked(jar, Path(beside), fetch).replace(folder / jar.file_name)
    except OSError as error:
        raise ConfigurationError(
            f"Apache Kafka cannot be kept in {folder}: {error.strerror}. Set XDG_CACHE_HOME to a folder with room"
        ) from error


def _fetch_checked(jar: Jar, folder: Path, fetch: Fetch) -> Path:
    for attempt in range(_ATTEMPTS):
        place = folder / str(attempt)
        place.mkdir()
        cause: Exception | None = None
        try:
            path = fetch(jar, place)
            if _is_sound(path, jar):
                return path
            reason = "wrong sha256"
        except (OSError, RuntimeError) as error:
            cause, reason = error, type(error).__name__
    raise ConfigurationError(f"Apache Kafka {VERSION} cannot be fetched ({reason} at {jar}). {WAYS_OUT}") from cause
