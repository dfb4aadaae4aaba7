"""`python -m release.digests`: write into Dockerfile and docker-compose.yml which digest their images' tags have now.

With --check, warn of images without a digest: only a machine that reaches their registry can look one up.
"""

import re
import subprocess
import sys
from collections.abc import Callable

from release.lock import ROOT

# File → what stands before the image's name and tag, the name that comes first, and how both look.
PLACES = {
    "Dockerfile": ("python:", re.compile(r"(?m)^(ARG PYTHON=)([\w.-]+)(@sha256:[0-9a-f]{64})?$")),
    "docker-compose.yml": ("", re.compile(r"(?m)^( +image: )([\w.-]+/[\w.-]+:[\w.-]+)(@sha256:[0-9a-f]{64})?$")),
}
_INDEX = re.compile(r"(?m)^MediaType: +\S+(?:image\.index|manifest\.list)\S*\nDigest: +(sha256:[0-9a-f]{64})$")


def main(arguments: list[str]) -> int:
    """0, or an exception that says why a digest could not be looked up."""
    for file in PLACES:
        text = (ROOT / file).read_text(encoding="utf-8")
        if arguments == ["--check"]:
            for image in without(file, text):
                print(f"{file}: {image} has no digest; docs/releasing.md says how it gets one")
        else:
            (ROOT / file).write_text(pinned(file, text, inspect), encoding="utf-8")
    return 0


def without(file: str, text: str) -> list[str]:
    """List the images that have a tag alone."""
    name, pattern = PLACES[file]
    return [f"{name}{found[2]}" for found in pattern.finditer(text) if not found[3]]


def pinned(file: str, text: str, look_up: Callable[[str], str]) -> str:
    """Give each image the digest in what `look_up` says of its tag; the tag stays, for people."""
    name, pattern = PLACES[file]
    return pattern.sub(lambda found: f"{found[1]}{found[2]}@{digest(look_up(name + found[2]))}", text)


def digest(inspection: str) -> str:
    """Find the digest of all platforms together. Raises ValueError when there is none: one platform's fits no other."""
    found = _INDEX.search(inspection)
    if found is None:
        raise ValueError(f"no digest of an index in:\n{inspection[:500]}")
    return found[1]


def inspect(image: str) -> str:
    """Ask the registry what it has under the tag."""
    return subprocess.check_output(["docker", "buildx", "imagetools", "inspect", image], text=True)  # noqa: S607


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
