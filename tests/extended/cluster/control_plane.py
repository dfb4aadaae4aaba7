"""A Kubernetes control plane on this machine: etcd, API server and controllers; no scheduler, no kubelet.

`python -m tests.extended.cluster.control_plane` starts one for as long as it runs, and prints its kubeconfig.
"""

import json
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from urllib3.exceptions import HTTPError

from tests.extended.cluster.api import Api, Refused
from tests.extended.cluster.binary import hyperkube_binary
from tests.support.kept import Unavailable
from worker.sandbox.kafka_node import HOST, unused_ports
from worker.sandbox.supervised_process import SupervisedProcess

ADMIN, NOBODY = "admin", "nobody"
START_SECONDS = 60
_STARTS = 3
"""The number of attempts to start: another process may take a free port before it is opened."""
_LOG_LINES = 20
_KEY = "certificates/apiserver.key"  # the API server's own; tokens signed with it are useless here

# The controllers whose effects people see. Claims keep a finalizer that has to be removed.
_CONTROLLERS = (
    *("namespace", "deployment", "replicaset", "garbage-collector", "endpointslice", "clusterrole-aggregation"),
    *("persistentvolume-binder", "persistentvolumeclaim-protection"),
)


class ControlPlane:
    """A control plane that ends with this process, and keeps nothing.

    with ControlPlane(binary) as cluster:
        subprocess.run(command, env={"KUBECONFIG": str(cluster.kubeconfig)})
    """

    def __init__(self, binary: Path, options: Sequence[str] = (), controllers: Sequence[str] = ()) -> None:
        """Give the API server further `options`, and run further `controllers`, for callers that add a node."""
        self.url = ""
        self.folder = Path(tempfile.mkdtemp(prefix="playground-cluster-"))
        self._binary = binary
        self._options, self._controllers = options, (*_CONTROLLERS, *controllers)
        self._processes: list[SupervisedProcess] = []
        self._tokens = {user: secrets.token_hex(16) for user in (ADMIN, NOBODY)}

    @property
    def kubeconfig(self) -> Path:
        """Return the administrator's kubeconfig."""
        return self.kubeconfig_of(ADMIN)

    def kubeconfig_of(self, user: str) -> Path:
        """Return the kubeconfig of ADMIN, or of NOBODY, who has no rights until a test grants some."""
        return self.folder / f"{user}.kubeconfig"

    def open_api(self) -> Api:
        """Open the administrator's access, for tests."""
        return Api(self.url, self._tokens[ADMIN], self._certificate)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Return when requests are answered, after about 3 s. Raises RuntimeError with the end of the logs."""
        try:
            for _ in range(_STARTS):
                self.folder.mkdir(exist_ok=True)
                if self._try():
                    return
                logs = self.logs()
                self.stop()
            raise RuntimeError(f"the Kubernetes control plane does not start here:\n{logs}")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Send SIGKILL: there is nothing to save. May be called again."""
        processes, self._processes = self._processes, []
        for process in reversed(processes):
            process.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _certificate(self) -> Path:
        """Return the certificate that the API server makes for itself at its start."""
        return self.folder / "certificates" / "apiserver.crt"

    def _try(self) -> bool:
        etcd, peer, port = unused_ports(3)
        self.url = f"https://{HOST}:{port}"
        self._write_files()
        # Only etcd writes throughout its run, so the folder can be removed when etcd ends.
        self._run("etcd", f"data-{etcd}", str(etcd), str(peer), remove=self.folder)
        self._run(
            "kube-apiserver",
            f"--etcd-servers=http://{HOST}:{etcd}",
            f"--secure-port={port}",
            f"--bind-address={HOST}",
            "--cert-dir=certificates",
            "--service-account-issuer=https://playground-deployer.example",
            f"--service-account-key-file={_KEY}",
            f"--service-account-signing-key-file={_KEY}",
            "--token-auth-file=tokens.csv",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.0.0.0/16",
            "--service-node-port-range=30000-32767",
            "--disable-admission-plugins=ServiceAccount",
            "--endpoint-reconciler-type=none",
            *self._options,
        )
        if not self.becomes(lambda api: api.call("GET", "readyz") is not None):
            return False
        self._run(
            "kube-controller-manager",
            f"--kubeconfig={self.kubeconfig.name}",
            f"--controllers={','.join(f'{name}-controller' for name in self._controllers)}",
            "--leader-elect=false",
            "--secure-port=0",
        )
        # A deleted claim is removed only when a controller releases it.
        with closing(self.open_api()) as api:
            spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
            api.create({"kind": "PersistentVolumeClaim", "metadata": {"name": "probe"}, "spec": spec}, "default")
            api.delete("PersistentVolumeClaim", "default", "probe")
        return self.becomes(lambda api: not api.find("PersistentVolumeClaim", "default"))

    def _write_files(self) -> None:
        certificates = self.folder / "certificates"
        certificates.mkdir(exist_ok=True)
        groups = {ADMIN: ',"system:masters"', NOBODY: ""}
        lines = "".join(f"{token},{user},{user}{groups[user]}\n" for user, token in self._tokens.items())
        (self.folder / "tokens.csv").write_text(lines)
        cluster = {"server": self.url, "certificate-authority": str(self._certificate)}
        for user, token in self._tokens.items():
            document = {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "here",
                "contexts": [{"name": "here", "context": {"cluster": "here", "user": user}}],
                "clusters": [{"name": "here", "cluster": cluster}],
                "users": [{"name": user, "user": {"token": token}}],
            }
            self.kubeconfig_of(user).write_text(json.dumps(document))

    def run(self, program: str, *arguments: str) -> None:
        """Run another of Kubernetes' programs in the same folder."""
        self._run(program, *arguments)

    def _run(self, program: str, *arguments: str, remove: Path | None = None) -> None:
        log = self.folder / f"{program}.log"
        command = [str(self._binary), program, *arguments]
        self._processes.append(SupervisedProcess(command, folder=self.folder, log=log, remove=remove))

    def becomes(self, look: Callable[[Api], bool]) -> bool:
        """Return whether `look` succeeds before a process ends or time runs out."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and all(process.running for process in self._processes):
            with suppress(OSError, HTTPError, Refused), closing(self.open_api()) as api:
                if look(api):
                    return True
            time.sleep(0.05)
        return False

    def logs(self) -> str:
        """Return the end of each program's log."""
        tails = [(log.name, log.read_text(errors="replace").splitlines()) for log in self.folder.glob("*.log")]
        return "\n".join(line for name, lines in tails for line in (f"--- {name}", *lines[-_LOG_LINES:]))


def _serve() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        with ControlPlane(hyperkube_binary(_say)) as cluster:
            sys.stdout.write(f"export KUBECONFIG={cluster.kubeconfig}\n")
            sys.stdout.flush()
            signal.pause()
    except Unavailable as reason:
        sys.exit(str(reason))
    except KeyboardInterrupt:
        return


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    _serve()
