"""The progress of one request: no status that may not follow the one before."""

import pytest
from worker.delivery.progress import Progress

from schemas import State
from tests.support.fakes import FakeClock, FakeJob
from worker.domain.request import Request
from worker.errors import Internal

WHOSE = "0" * 64


def progress(job: FakeJob) -> Progress:
    """Of the builders' request."""
    assert isinstance(job.request, Request)
    return Progress(job, FakeClock(), job.request_id, job.record.source)


async def test_what_may_not_follow_is_not_published() -> None:
    """A state that leaves one out is a defect, and nobody sees it."""
    job = FakeJob()
    it = progress(job)
    with pytest.raises(AssertionError, match="building may not follow"):
        await it.building()
    assert [] == job.statuses


async def test_nothing_follows_a_final_status() -> None:
    """Whatever is tried after the end of a request."""
    job = FakeJob()
    it = progress(job)
    it.accepted(WHOSE)
    await it.failed(Internal())
    for again in (it.failed(Internal()), it.building(), it.parked(Internal())):
        with pytest.raises(AssertionError, match="may not follow failed"):
            await again
    assert [State.ACCEPTED, State.FAILED] == [status.state for status in job.statuses]
