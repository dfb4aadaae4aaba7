"""`python -m tests.support.heavy_worker`: the path of requests without Kafka, in a process whose memory is measured.

The deployer, the builder, the gates and the adapters are the worker's; Graphene and the playground are at the addresses
in the environment. Prints the final state of its requests and its largest resident size.
"""

import asyncio
import json
import os
import sys
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

from tests.support.builders import SOLUTION_ID, record
from tests.support.fakes import FakeJob, FakeTokens
from worker.adapters.playground import PlaygroundClient, playground_session
from worker.app import CLOCKS, open_builder
from worker.delivery.admission import Admission, Breakers, Budget, Limiter
from worker.deploy import Deployer
from worker.domain.lifecycle import Lifecycle
from worker.settings import BuilderSettings, PlaygroundSettings, RuntimeSettings, read_settings


def peak() -> float:
    """Return VmHWM of this process in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


async def main(users: int, revision: str, solution: str = str(SOLUTION_ID)) -> None:
    """Submit one request for the same revision from each of `users` users at once."""
    settings = read_settings(
        {name: value for name, value in os.environ.items() if "PLAYGROUND" not in name}, BuilderSettings
    )
    playground = PlaygroundSettings(deploy_url=os.environ["DEPLOYER_PLAYGROUND__DEPLOY_URL"])
    runtime = RuntimeSettings()
    async with AsyncExitStack() as stack:
        builder = await stack.enter_async_context(open_builder(settings))
        builder.warm_up()
        client = PlaygroundClient(await stack.enter_async_context(playground_session(playground)), playground)
        budget = Budget(runtime.max_bytes_in_flight)
        admission = Admission(Limiter(runtime.max_in_flight), Breakers(CLOCKS.monotonic, CLOCKS.sleep), budget)
        deployer = Deployer(FakeTokens(), builder, client, admission, CLOCKS, Lifecycle(playground, runtime))
        started = peak()
        asked = record({"solutionId": solution, "revisionId": revision, "jwtToken": "token"})
        jobs = [FakeJob(asked, clocks=CLOCKS) for _ in range(users)]
        await asyncio.gather(*map(deployer.handle, jobs))
        ends = Counter(f"{job.statuses[-1].state} {'.'.join(job.statuses[-1].warnings or ())[:200]}" for job in jobs)
        said = {"started": started, "peak": peak(), "ends": ends, "reserved": budget.reserved}
        sys.stdout.write(f"{json.dumps(said)}\n")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), *sys.argv[2:]))
