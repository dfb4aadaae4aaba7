"""What every refusal ends with: a sentence that says what to do."""

import re

# fmt: off
VERBS = frozenset({
    "Add", "Ask", "Check", "Choose", "Correct", "Give", "Log", "Look", "Make", "On-board", "Operator", "Rename",
    "Replace", "Save", "Send", "Shorten", "Split", "Tell", "Use",
})
# fmt: on


def tells_what_to_do(message: str) -> bool:
    """Whether the last sentence of a refusal is the way out of it."""
    last = re.split(r"(?<=\.) (?=[A-Z])", message)[-1]
    return message.endswith(".") and re.split("[ ,:]", last)[0] in VERBS
