from decimal import Decimal

import pytest

from tests.support.corpus import record
from tests.support.kubernetes_schemas import VALIDATORS, schema_problems
from tests.support.semantic.bundle import problems
from tests.support.semantic.words import quantity
from tests.unit.domain.bundle.broken_manifests import SCHEMA, SEMANTIC, Change, Objects, good


def spoiled(change: Change) -> Objects:
    objects = good()
    change(objects)
    return objects


def by_schemas(objects: Objects) -> list[str]:
    return [fault for it in objects for fault in schema_problems(it)]


def test_a_good_bundle_is_good() -> None:
    """A bundle with every kind of object, including those of the script, raises no false alarm."""
    kinds = {it["kind"] for it in good()}
    assert {"Deployment", "Service", "PersistentVolumeClaim", "Ingress"} == kinds
    assert [] == problems(good())
    assert [] == by_schemas(good())


@pytest.mark.parametrize("name", SEMANTIC)
def test_the_semantic_check_finds_what_no_schema_does(name: str) -> None:
    """The semantic check finds each mistake that no schema sees, before an API server or a stuck pipeline does."""
    fault, change = SEMANTIC[name]
    objects = spoiled(change)
    assert [] == by_schemas(objects)
    assert [] != [it for it in problems(objects) if fault in it]


@pytest.mark.parametrize("name", SCHEMA)
def test_the_schemas_find_the_rest(name: str) -> None:
    """Unknown fields, wrong types and missing parts fail the schemas of all three versions."""
    found = by_schemas(spoiled(SCHEMA[name]))
    assert set(VALIDATORS) == {fault.partition(":")[0] for fault in found}


def test_the_corpus_of_mistakes() -> None:
    """The corpus has at least 28 mistakes for the semantic check and 16 for the schemas, of Kubernetes 1.25 to 1.37."""
    assert ["1.25", "1.31", "1.37"] == list(VALIDATORS)
    assert len(SEMANTIC) >= 28
    assert len(SCHEMA) >= 16
    missed = [name for name, (_, change) in SEMANTIC.items() if not problems(spoiled(change))]
    record("mistakes for the semantic check", len(SEMANTIC), len(missed))
    record("mistakes for the schemas", len(SCHEMA), sum(not by_schemas(spoiled(it)) for it in SCHEMA.values()))


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1Gi", 1024**3), ("500M", 500_000_000), ("1500m", Decimal("1.5")), ("1e3", 1000), ("1E3", 1000),
        ("1E", 10**18), ("1Ei", 1024**6), (".5", Decimal("0.5")), ("5.", 5), ("+1k", 1000), ("1n", Decimal("1e-9")),
        (2, 2),
        *((text, None) for text in ("", "1GB", "Gi", "1 Gi", "1K", "1ki", "1e", "one", "1,5", "0x10", "1_000")),
    ],
)  # fmt: skip
def test_quantities_are_read_as_the_api_server_does(text: str | int, amount: Decimal | int | None) -> None:
    """Quantities have decimal or binary units or exponents, and nothing else is accepted."""
    assert amount == quantity(text)
