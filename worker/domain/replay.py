"""Replays: the same request once more, under an id that says so and is the same however often it is sent."""

from dataclasses import dataclass
from uuid import NAMESPACE_URL, uuid5

from schemas import DeploymentRequested

MOST = 5  # replays of one request; whoever wants more says so
_COUNTED = 1000  # replays of one request that are found by their ids
_NAMESPACE = uuid5(NAMESPACE_URL, DeploymentRequested.TYPE)


def replay_id(original: str, number: int) -> str:
    """The id of the n-th replay, from 1. The worker knows it when it comes twice."""
    return str(uuid5(_NAMESPACE, f"{original}/replay/{number}"))  # no request id has a `/`


@dataclass(frozen=True, slots=True)
class Replay:
    """The n-th repetition of a request, from 1."""

    original: str
    number: int

    @property
    def request_id(self) -> str:
        """Its own id."""
        return replay_id(self.original, self.number)


def next_replay(request_id: str, replay_of: str | None) -> Replay:
    """What follows a request, which is an original or a replay itself.

    A request that says to be a replay, and has none of our ids, was repeated by its sender: it is an original to us.
    """
    if replay_of is not None:
        for number in range(1, _COUNTED):
            if replay_id(replay_of, number) == request_id:
                return Replay(replay_of, number + 1)
    return Replay(request_id, 1)
