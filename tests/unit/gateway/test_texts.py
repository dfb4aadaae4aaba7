"""The texts of the pages cover every value that the contract has."""

from schemas import Kind, State
from worker.gateway.texts import KINDS, STATES, STEP_NAMES, STEPS


def test_every_state_has_its_texts() -> None:
    """Pages and the portal's bell look up any state, and None before the first status: a missing text is a KeyError."""
    assert {None, *State} == set(STATES)
    assert all(name and sentence for name, sentence in STATES.values())


def test_every_step_and_every_kind_has_its_name() -> None:
    """A page looks them up as it does the states."""
    assert set(STEPS) == set(STEP_NAMES)
    assert set(Kind) == set(KINDS)
