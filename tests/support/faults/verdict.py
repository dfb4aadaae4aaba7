"""The verdict after every fault, over all requests of the run."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise

from schemas import FINAL_STATES, SUCCESSORS, DeploymentStatus, State
from tests.support.faults.playground import CountingPlayground


@dataclass(frozen=True, slots=True)
class Verdict:
    """Figures of one run. All but the first four must be 0 unless a row of the table allows otherwise."""

    requests: int
    deployed: int
    rejected: int
    failed: int
    parked: int
    lost: int  # no final status
    ended_twice: int  # more than one final status, for a read_committed reader
    illegal: int  # a gap, a repetition, or a state that may not follow
    doubled_posts: int  # POSTs beyond the first of each request
    wrong_bundles: int
    overlaps: int  # concurrent POSTs of one user

    def figures(self) -> dict[str, int]:
        """Return the figures for the report."""
        return asdict(self)


def judge(
    asked: Iterable[str],
    statuses: Mapping[str, list[DeploymentStatus]],
    playground: CountingPlayground,
    expected: Mapping[str, str],
) -> Verdict:
    """Return the verdict; `expected` maps a request id to the SHA-256 of the bundle that is built for it alone."""
    ids = list(asked)
    last = {it: statuses[it][-1].state if statuses.get(it) else None for it in ids}
    finals = {it: sum(status.state in FINAL_STATES for status in statuses.get(it, [])) for it in ids}
    states = Counter(last.values())
    return Verdict(
        requests=len(ids),
        deployed=states[State.DEPLOYED],
        rejected=states[State.REJECTED],
        failed=states[State.FAILED],
        parked=states[State.PARKED],
        lost=sum(count == 0 for count in finals.values()) - states[State.PARKED],
        ended_twice=sum(count > 1 for count in finals.values()),
        illegal=sum(not _is_legal(statuses.get(it, [])) for it in ids),
        doubled_posts=sum(playground.posts[it] - 1 for it in ids if playground.posts[it]),
        wrong_bundles=sum(playground.bundles[it] != expected[it] for it in ids if it in playground.bundles),
        overlaps=playground.overlaps,
    )


def _is_legal(statuses: list[DeploymentStatus]) -> bool:
    states = [None, *(status.state for status in statuses)]
    return [status.sequence for status in statuses] == list(range(len(statuses))) and all(
        after in SUCCESSORS[before] for before, after in pairwise(states) if after is not None
    )
