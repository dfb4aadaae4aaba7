"""`python -m tests.support.shifted_worker HOURS`: a worker whose clock is HOURS ahead, or behind if negative."""

import os
import sys
import time
from datetime import UTC, datetime, timedelta
from functools import partial

SHIFT = timedelta(hours=float(sys.argv[1]))
_right = time.time
time.time = lambda: _right() + SHIFT.total_seconds()  # patched before Kafka's client imports it for its records

from worker import app  # noqa: E402
from worker.concurrency import run_until_signal  # noqa: E402
from worker.observability import logs  # noqa: E402
from worker.ports import Clocks  # noqa: E402
from worker.settings import Settings, read_settings  # noqa: E402

if __name__ == "__main__":
    logs.configure("info", "json")
    app.CLOCKS = Clocks(lambda: datetime.now(UTC) + SHIFT, app.CLOCKS.monotonic, app.CLOCKS.sleep, app.CLOCKS.jitter)
    run_until_signal(partial(app.run, read_settings(os.environ, Settings)))
