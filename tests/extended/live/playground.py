"""A playground server that deploys: the sandbox's answers and pages around the bundle's script, run on a real node."""

import asyncio
import time
from contextlib import closing
from pathlib import Path

from tests.extended.cluster import pythons
from tests.extended.cluster.control_plane import ControlPlane
from tests.extended.cluster.server import BARE, Configuration, Deployment, Server
from worker.sandbox.playground_dry_run import ScriptFailed
from worker.sandbox.playground_upload import write_files


class Deploying:
    """Makes the namespace and runs the script with the server's flags, as contract.md describes the real server."""

    def __init__(self, folder: Path, cluster: ControlPlane, configuration: Configuration = BARE) -> None:
        self.server = Server(folder, cluster.kubeconfig, pythons.running(), configuration)
        self.done: dict[str, float] = {}  # namespace → when its script ended, by the monotonic clock
        self._cluster = cluster

    def deployment(self, username: str, namespace: str) -> Deployment:
        """Return the location of a bundle."""
        return Deployment(namespace, self.server.folder / "solutions" / username.encode().hex() / namespace)

    async def check(self, files: dict[str, bytes], username: str, namespace: str) -> None:
        """Deploy the bundle. Raises ScriptFailed."""
        await asyncio.to_thread(self._deploy, files, self.deployment(username, namespace))

    def _deploy(self, files: dict[str, bytes], deployment: Deployment) -> None:
        write_files(files, deployment.folder)
        with closing(self._cluster.open_api()) as api:
            api.make_namespace(deployment.namespace)
            result = self.server.run(deployment)
            if result.code:
                api.call("DELETE", f"api/v1/namespaces/{deployment.namespace}")
                raise ScriptFailed(f"Command returned non-zero exit status {result.code}.\n{result.out}{result.err}")
        self.done[deployment.namespace] = time.monotonic()
