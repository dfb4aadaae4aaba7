"""`python -m release.digests`: write the current digests of image tags into Dockerfile and docker-compose.yml.

With --check, only warn of images without a digest, because looking one up needs access to the registry.
"""

import re
import subprocess
import sys
from collections.abc import Callable

from release.lock import ROOT

# File → the name that precedes the tag, and the pattern of prefix, image or tag, and digest.
PLACES = {
    "Dockerfile": ("python:", re.compile(r"(?m)^(ARG PYTHON=)([\w.-]+)(@sha256:[0-9a-f]{64})?$")),
    "docker-compose.yml": ("", re.compile(r"(?m)^( +image: )([\w.-]+/[\w.-]+:[\w.-]+)(@sha256:[0-9a-f]{64})?$")),
}
_INDEX = re.compile(r"(?m)^MediaType: +\S+(?:image\.index|manifest\.list)\S*\nDigest: +(sha256:[0-9a-f]{64})$")


def main(arguments: list[str]) -> int:
    """Pin or check all images. Return 0; raise an exception if a digest cannot be looked up."""
    for file in PLACES:
        text = (ROOT / file).read_text(encoding="utf-8")
        if arguments == ["--check"]:
            for image in without(file, text):
                print(f"{file}: {image} has no digest; docs/releasing.md explains how to add it")
        else:
            (ROOT / file).write_text(pinned(file, text, inspect), encoding="utf-8")
    return 0


def without(file: str, text: str) -> list[str]:
    """List the images that have only a tag."""
    name, pattern = PLACES[file]
    return [f"{name}{found[2]}" for found in pattern.finditer(text) if not found[3]]


def pinned(file: str, text: str, look_up: Callable[[str], str]) -> str:
    """Pin each image to the digest that `look_up` returns for its tag. The tag is kept for readers."""
    name, pattern = PLACES[file]
    return pattern.sub(lambda found: f"{found[1]}{found[2]}@{digest(look_up(name + found[2]))}", text)


def digest(inspection: str) -> str:
    """Find the digest of the index of all platforms. Raises ValueError if there is only a platform's own digest."""
    found = _INDEX.search(inspection)
    if found is None:
        raise ValueError(f"no digest of an index in:\n{inspection[:500]}")
    return found[1]


def inspect(image: str) -> str:
    """Return the registry's description of the tag."""
    return subprocess.check_output(["docker", "buildx", "imagetools", "inspect", image], text=True)  # noqa: S607


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
