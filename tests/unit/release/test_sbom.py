"""The bill of materials matches the lock, with the licence of each package."""

import json

import pytest

from release.licences import PAGE, LicenceRefused, check, page, spdx
from release.lock import locked, read_lock
from release.sbom import sbom
from worker import __version__


def test_the_sbom_has_every_package_of_the_lock() -> None:
    """The SBOM is CycloneDX 1.6 and has each package of the lock.

    Each has its version, package URL, licence, and the hash of each installable file.
    """
    document = json.loads(sbom(locked()))
    assert ("CycloneDX", "1.6") == (document["bomFormat"], document["specVersion"])
    assert {(it.name, it.version, f"pkg:pypi/{it.name}@{it.version}") for it in locked()} == {
        (it["name"], it["version"], it["purl"]) for it in document["components"]
    }
    assert {it.name: list(it.hashes) for it in locked()} == {
        it["name"]: sorted(one["content"] for one in it["externalReferences"][0]["hashes"])
        for it in document["components"]
    }
    assert all(it["licenses"][0]["expression"] for it in document["components"])
    about = document["metadata"]["component"]
    assert ("playground-deployer", __version__) == (about["name"], about["version"])


def test_the_sbom_says_who_needs_whom() -> None:
    """Every package is reachable from the worker, so that a vulnerable package can be traced to its dependants."""
    needs = {it["ref"]: it.get("dependsOn", []) for it in json.loads(sbom(locked()))["dependencies"]}
    reached, open_ = set(), [f"playground-deployer@{__version__}"]
    while open_:
        ref = open_.pop()
        if ref not in reached:
            reached.add(ref)
            open_ += needs[ref]
    assert set(needs) == reached


def test_the_sbom_is_reproducible() -> None:
    """The SBOM is reproducible: it has no timestamp and no random number."""
    assert sbom(locked()) == sbom(locked())


def test_a_package_without_a_hash_is_refused() -> None:
    """A package without a hash is rejected, because any content would be installed for it."""
    with pytest.raises(ValueError, match=r"b has no hash; run make lock"):
        read_lock("a==1 \\\n    --hash=sha256:" + "0" * 64 + "\nb==2\n")


def test_the_page_of_licences_is_fresh() -> None:
    """The licence page is what `make licences` writes; a licence that is not allowed would fail here as well."""
    assert page(locked()) == PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["MIT"], "MIT"),
        (["apache-2.0 or bsd-3-clause"], "Apache-2.0 OR BSD-3-Clause"),
        (["Copyright of somebody\nand a whole text", "License :: OSI Approved :: MIT License"], "MIT"),
        (["Apache 2"], "Apache-2.0"),
    ],
)
def test_what_metadata_say_becomes_an_spdx_expression(given: list[str], expected: str) -> None:
    """The first text that is an SPDX expression, or is known to mean one, is used."""
    assert expected == spdx("some", given)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], r"^some: its metadata have no SPDX licence, only: nothing\. Look the licence up and add it to _TEXTS$"),
        (["As is."], r"^some: its metadata have no SPDX licence, only: As is\.\. Look the licence up"),
    ],
)
def test_a_licence_that_nobody_knows_is_refused(given: list[str], expected: str) -> None:
    """An unknown licence is rejected with the package's name and the text found."""
    with pytest.raises(LicenceRefused, match=expected):
        spdx("some", given)


@pytest.mark.parametrize("expression", ["GPL-3.0-only", "MIT AND AGPL-3.0-or-later", "MIT OR LicenseRef-Own"])
def test_a_licence_that_is_not_allowed_is_refused(expression: str) -> None:
    """A licence that is not allowed is rejected with its package and a remedy; each of several must be allowed."""
    with pytest.raises(LicenceRefused, match=r"^some: \S+ is not in ALLOWED .* Use another package, or add"):
        check("some", expression)
