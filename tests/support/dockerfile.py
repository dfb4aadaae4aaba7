"""A reader for the part of the Dockerfile language that ours uses; it rejects everything else."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

_WORDS = {"FROM", "ARG", "WORKDIR", "COPY", "RUN", "LABEL", "ENV", "USER", "EXPOSE", "STOPSIGNAL", "ENTRYPOINT", "CMD"}


@dataclass(frozen=True, slots=True)
class Copy:
    """Files from the context or from an earlier stage."""

    sources: list[str]
    target: str
    stage: str | None


@dataclass(frozen=True, slots=True)
class Run:
    """A shell command, with the variables and the folder in effect at its line."""

    command: str
    env: Mapping[str, str]
    folder: str


@dataclass(slots=True)
class Stage:
    """The result of one FROM. Steps are in file order; all other fields hold the values at the end of the stage."""

    base: str
    name: str
    env: dict[str, str]
    args: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    steps: list[Copy | Run] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=lambda: {"WORKDIR": "/"})  # instruction → its arguments

    @property
    def command(self) -> list[str]:
        """Return the command that a container starts. ENTRYPOINT and CMD are in the form that needs no shell."""
        return [*json.loads(self.facts["ENTRYPOINT"]), *json.loads(self.facts["CMD"])]


def read_dockerfile(text: str, base_env: Mapping[str, str]) -> list[Stage]:
    """Return the stages. Raises ValueError for an instruction that this reader does not support."""
    stages: list[Stage] = []
    args: dict[str, str] = {}
    for word, rest in _instructions(text):
        if word == "FROM":
            base, *name = re.split(r"\s+AS\s+", _filled(rest, args))
            stages.append(Stage(base, name[0] if name else "", dict(base_env)))
        elif not stages:
            args |= _pairs(rest)
        else:
            _apply(stages[-1], word, rest)
    return stages


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for line in re.sub(r"\\\n\s*", "", lines).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word and word not in _WORDS:
            raise ValueError(f"{word}: this reader does not know it")
        if word:
            yield word, rest.strip()


def _apply(stage: Stage, word: str, rest: str) -> None:
    known = stage.args | stage.env
    match word:
        case "ARG":
            stage.args |= _pairs(rest)
        case "ENV":
            stage.env |= _pairs(_filled(rest, known))
        case "LABEL":
            stage.labels |= _pairs(_filled(rest, known))
        case "RUN":
            stage.steps.append(Run(rest, known, stage.facts["WORKDIR"]))
        case "COPY":
            *sources, target = shlex.split(rest)
            origin = sources.pop(0).removeprefix("--from=") if sources[0].startswith("--from=") else None
            if any(source.startswith("--") for source in sources):
                raise ValueError(f"COPY {rest}: this reader does not know the option")
            stage.steps.append(Copy(sources, str(Path(stage.facts["WORKDIR"]) / target), origin))
        case _:
            stage.facts[word] = rest


def _pairs(text: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in shlex.split(text))


def _filled(text: str, variables: Mapping[str, str]) -> str:
    return Template(text).substitute(variables)
