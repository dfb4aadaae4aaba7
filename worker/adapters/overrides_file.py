"""The overrides file: strict YAML that is read once at startup, and bounded before any alias is expanded."""

from pathlib import Path
from typing import Any

import yaml

from worker import settings
from worker.domain.overrides.overrides import NO_OVERRIDES, Overrides, read_overrides
from worker.domain.overrides.patching import PatchError
from worker.errors import ConfigurationError

SETTING = "DEPLOYER_BUNDLE__OVERRIDES_FILE"
MAX_BYTES = 1024 * 1024
MAX_DEPTH = 40  # twice the depth of a Deployment's deepest field
MAX_VALUES = 10_000  # including keys and all values that aliases repeat; about 500 entries, which take seconds to try
MAX_NUMBER = 100  # characters; Python takes quadratic time for some longer numbers, and cannot write others

_TAG = "tag:yaml.org,2002:"
_TEXT = frozenset({f"{_TAG}str", f"{_TAG}timestamp"})  # JSON has no dates
_OTHER_SCALARS = frozenset({f"{_TAG}null", f"{_TAG}bool", f"{_TAG}int", f"{_TAG}float"})


def load_overrides(options: settings.BundleSettings) -> Overrides:
    """Read the overrides. Without a file, there are no overrides.

    Raises ConfigurationError with a line for every problem. Its message may quote names, quantities and choices, but
    never the value of a variable, an argument, a command or a header.
    """
    path = options.overrides_file
    if path is None:
        return NO_OVERRIDES
    try:
        return read_overrides(_read(path), options)
    except PatchError as error:
        raise ConfigurationError("\n".join(f"{SETTING}: {path}: {problem}" for problem in error.problems)) from None


def _read(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PatchError(f"cannot be read ({type(error).__name__}).") from None
    if len(data) > MAX_BYTES:
        raise PatchError(f"is larger than {MAX_BYTES} bytes. Let one entry match several nodes by a glob.")
    try:
        root = yaml.compose(data, _Loader)
        return None if root is None else _plain(root, 1)
    except yaml.MarkedYAMLError as error:
        # The error's own text quotes the file.
        mark = error.problem_mark
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise PatchError(f"is not YAML{where}: {error.problem}.") from None
    except (yaml.YAMLError, ValueError) as error:
        raise PatchError(f"is not YAML ({type(error).__name__}).") from None


class _Loader(yaml.SafeLoader):
    """Counts keys and values as if every alias were expanded, and stops at the limits. Raises PatchError."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._depth = self._values = 0
        self._repeated: dict[str | None, int] = {}  # anchor → number of values that an alias of it repeats

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call] # the stubs have no types here
        before = self._values
        self._values += self._repeated.get(event.anchor, 1) if isinstance(event, yaml.AliasEvent) else 1
        if self._values > MAX_VALUES:
            raise PatchError(
                f"holds more than {MAX_VALUES} keys and values, where an alias counts as all that it repeats. "
                "Let one entry match several nodes by a glob, and repeat less."
            )
        if self._depth == MAX_DEPTH:
            raise _too_deep(event.start_mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if not isinstance(event, yaml.AliasEvent) and event.anchor:
            self._repeated[event.anchor] = self._values - before
        return node


def _plain(node: yaml.Node, depth: int) -> Any:
    """Convert a node to JSON's types only: no duplicate keys, no keys except text, no dates, no recursion."""
    if depth > MAX_DEPTH:  # through aliases, which may even contain themselves
        raise _too_deep(node.start_mark)
    if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
        return _mapping(node, depth)
    if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
        return [_plain(element, depth + 1) for element in node.value]
    if node.tag in _TEXT:
        return node.value
    if node.tag in _OTHER_SCALARS:
        if len(node.value) > MAX_NUMBER:
            raise _refusal(node, f"a number of more than {MAX_NUMBER} characters; put it in quotes if it is text")
        return yaml.SafeLoader("").construct_object(node)
    raise _refusal(node, f"{node.tag.removeprefix(_TAG)[:40]} is not a type that manifests have")


def _mapping(node: yaml.MappingNode, depth: int) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key, value in node.value:
        if key.tag not in _TEXT:
            raise _refusal(key, "a key is text; put it in quotes, and write merges (<<) out")
        if key.value in mapping:
            raise _refusal(key, f"the key '{key.value[:80]}' occurs twice")
        mapping[key.value] = _plain(value, depth + 1)
    return mapping


def _too_deep(mark: yaml.Mark) -> PatchError:
    return PatchError(
        f"is nested deeper than {MAX_DEPTH} levels at line {mark.line + 1}, column {mark.column + 1}. "
        "No manifest is: close what is left open there, and let no alias contain itself."
    )


def _refusal(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
