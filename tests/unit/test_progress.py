"""The progress of one request: no status that may not follow the one before."""

import pytest

from schemas import State
from tests.builders import CALLER, record
from tests.fakes import FakeClock, FakeReporter
from worker.domain.request import Request, read_request
from worker.errors import Internal
from worker.progress import Progress


def progress(reporter: FakeReporter) -> tuple[Progress, Request]:
    """Of the builders' request."""
    one = record()
    request_id, request = read_request(one)
    assert isinstance(request, Request)
    return Progress(reporter, FakeClock(), request_id, one.source, None), request


async def test_what_may_not_follow_is_not_published() -> None:
    """A state that leaves one out is a defect, and nobody sees it."""
    reporter = FakeReporter()
    it, _ = progress(reporter)
    with pytest.raises(AssertionError, match="building may not follow"):
        await it.building()
    assert [] == reporter.statuses


async def test_nothing_follows_a_final_status() -> None:
    """Whatever is tried after the end of a request."""
    reporter = FakeReporter()
    it, request = progress(reporter)
    await it.accepted(request, CALLER)
    await it.failed(Internal())
    for again in (it.failed(Internal()), it.building(), it.accepted(request, CALLER)):
        with pytest.raises(AssertionError, match="may not follow failed"):
            await again
    assert [State.ACCEPTED, State.FAILED] == [status.state for status in reporter.statuses]
