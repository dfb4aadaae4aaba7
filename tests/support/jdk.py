"""A Java compiler and Kafka's command-line tools, for tests of clients that are not ours."""

import asyncio
import os
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.support.kept import Unavailable
from worker.sandbox.kafka_installation import Jar, find_java, kafka_jars

# A broker does not need the tools, so its lock does not contain them.
TOOLS = Jar(
    "org.apache.kafka", "kafka-tools", "4.3.1", "62f3c5dd7aa3442d4c5bc6a95f86e2502178ea09de8e27f74d9563bf955e253c"
)
COMMANDS = {
    "kafka-console-producer.sh": "org.apache.kafka.tools.ConsoleProducer",
    "kafka-console-consumer.sh": "org.apache.kafka.tools.consumer.ConsoleConsumer",
}


def find_javac() -> Path:
    """Return `javac` of JAVA_HOME or PATH. Raises Unavailable."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("javac", path=str(Path(home, "bin"))) if home else None
    if found := found or shutil.which("javac"):
        return Path(found)
    raise Unavailable("There is no Java compiler. Install a JDK of 17 or newer.")


async def class_path(*more: Jar) -> str:
    """Return the class path of Kafka's own jars, as `java -cp` expects it."""
    jars = await kafka_jars()
    jars += await kafka_jars(jars=more) if more else []
    return os.pathsep.join(map(str, jars))


async def write_kafka_tools(folder: Path) -> None:
    """Write Kafka's shell scripts into a folder, as its distribution has them in bin/."""
    java, jars = await asyncio.to_thread(find_java), await class_path(TOOLS)
    for name, main in COMMANDS.items():
        _write_script(folder / name, [str(java), "-XX:TieredStopAtLevel=1", "-cp", jars, main])


def _write_script(path: Path, command: Sequence[str]) -> None:
    path.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n', encoding="utf-8")
    path.chmod(0o755)
