"""The last sentence of every error message: what to do."""

import re

# fmt: off
VERBS = frozenset({
    "Add", "Ask", "Check", "Choose", "Correct", "Give", "Log", "Look", "Make", "On-board", "Operator", "Rename",
    "Replace", "Save", "Send", "Shorten", "Split", "Tell", "Use",
})
# fmt: on


def tells_what_to_do(message: str) -> bool:
    """Return whether the last sentence of an error message states the remedy."""
    last = re.split(r"(?<=\.) (?=[A-Z])", message)[-1]
    return message.endswith(".") and re.split("[ ,:]", last)[0] in VERBS
