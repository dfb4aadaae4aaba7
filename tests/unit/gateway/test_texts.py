"""The page texts cover every value of the contract."""

from schemas import Kind, State
from worker.gateway.texts import KINDS, STATES, STEP_NAMES, STEPS


def test_every_state_has_its_texts() -> None:
    """Every state, and None before the first status, has its texts: pages and the bell would fail with a KeyError."""
    assert {None, *State} == set(STATES)
    assert all(name and sentence for name, sentence in STATES.values())


def test_every_step_and_every_kind_has_its_name() -> None:
    """Every step and every kind has a name, which pages look up as they do states."""
    assert set(STEPS) == set(STEP_NAMES)
    assert set(Kind) == set(KINDS)
