"""A Kubernetes node on a machine of its own: the control plane, scheduler, kubelet, kube-proxy, containerd and DNS.

`python -m tests.extended.live.machine python -m tests.extended.live.node` starts one for as long as it runs.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.extended.cluster.binary import hyperkube_binary
from tests.extended.cluster.control_plane import ControlPlane
from tests.extended.live.dns import DOMAIN, dns
from tests.extended.live.images import PAUSE, oci_layout
from tests.extended.live.machine import ADDRESS, NAME, STATE, say
from tests.extended.live.packages import environment, link_iptables, network_plugins
from tests.extended.live.registry import Registry
from worker.sandbox.supervised_process import SupervisedProcess

PODS = "10.244.0.0/24"
REGISTRY = (ADDRESS, 5000)
NODE_SECONDS = 60

_OPTIONS = (
    "--allow-privileged",
    "--kubelet-preferred-address-types=InternalIP",  # for the logs of pods: the node's name cannot be resolved
)
_CONTROLLERS = ("node-lifecycle", "taint-eviction")  # for the pods of a node that is gone

# All host names of the bundle's images lead to one registry.
_HOSTS = f'[host."http://{REGISTRY[0]}:{REGISTRY[1]}"]\n  capabilities = ["pull", "resolve"]\n'
_CONTAINERD = """\
version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = [
  "io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]
[grpc]
  address = "{folder}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "images.example/{pause}"
  restrict_oom_score_adj = true  # not every machine lets processes be spared
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{folder}/registries"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{folder}/cni"
"""


@dataclass(frozen=True, slots=True)
class Node:
    """A cluster of one node that runs containers."""

    cluster: ControlPlane
    registry: Registry
    seconds: float  # from the start to Ready


@contextmanager
def running_node(layouts: list[Path]) -> Iterator[Node]:
    """Yield a node when it is Ready. Raises RuntimeError with the end of the logs."""
    started = time.monotonic()
    folder = STATE / "containerd"
    folder.mkdir()
    with ExitStack() as stack:
        registry = Registry(layouts, REGISTRY)
        stack.enter_context(registry.serving())
        containerd = _containerd(folder)
        stack.callback(containerd.close)
        cluster = stack.enter_context(ControlPlane(hyperkube_binary(say), _OPTIONS, _CONTROLLERS))
        stack.enter_context(dns(cluster, ADDRESS))
        _start(cluster, folder)
        if not cluster.becomes(lambda api: any(map(is_ready, api.call("GET", "api/v1/nodes")["items"]))):
            logs = (folder / "containerd.log").read_text(errors="replace")
            raise RuntimeError(f"the node does not become Ready:\n{cluster.logs()}\n--- containerd.log\n{logs[-4000:]}")
        yield Node(cluster, registry, time.monotonic() - started)


def is_ready(document: dict[str, object]) -> bool:
    """Return whether a node or a pod reports that it is Ready."""
    status = document["status"]
    assert isinstance(status, dict)
    return any(it["type"] == "Ready" and it["status"] == "True" for it in status.get("conditions", []))


def _containerd(folder: Path) -> SupervisedProcess:
    for name in ("cni", "registries/_default", "programs"):
        (folder / name).mkdir(parents=True)
    (folder / "registries" / "_default" / "hosts.toml").write_text(_HOSTS)
    text = _CONTAINERD.format(folder=folder, pause=PAUSE, plugins=network_plugins())
    (folder / "config.toml").write_text(text)
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": f"{folder}/addresses",
            "ranges": [[{"subnet": PODS}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    network = {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge]}
    (folder / "cni" / "10-pods.conflist").write_text(json.dumps(network))
    link_iptables(folder / "programs")
    os.environ.update(environment(folder / "programs"))  # kubelet and kube-proxy also need to find programs
    command = ["containerd", "--config", f"{folder}/config.toml"]
    return SupervisedProcess(command, folder=folder, log=folder / "containerd.log")


def _start(cluster: ControlPlane, folder: Path) -> None:
    kubelet = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "failCgroupV1": False,
        "failSwapOn": False,
        "containerRuntimeEndpoint": f"unix://{folder}/containerd.sock",
        "clusterDNS": [ADDRESS],
        "clusterDomain": DOMAIN,
        # Everything is in memory, so the fill level of this machine's disk does not matter.
        "evictionHard": dict.fromkeys(
            ("memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available", "imagefs.inodesFree"),
            "0%",
        ),
        "imageGCHighThresholdPercent": 100,
        "localStorageCapacityIsolation": False,
        "oomScoreAdj": 0,
        "nodeStatusUpdateFrequency": "2s",
        "podLogsDir": str(STATE / "pods"),
        "volumePluginDir": str(STATE / "volume-plugins"),
    }
    proxy = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",  # nftables rejects NodePorts on 127.0.0.1
        "clientConnection": {"kubeconfig": str(cluster.kubeconfig)},
        "clusterCIDR": PODS,
        "conntrack": {"maxPerCore": 0},
        "oomScoreAdj": 0,
        "hostnameOverride": NAME,
    }
    for name, document in (("kubelet", kubelet), ("kube-proxy", proxy)):
        (cluster.folder / f"{name}.json").write_text(json.dumps(document))
    access = f"--kubeconfig={cluster.kubeconfig}"
    cluster.run("kube-scheduler", access, "--leader-elect=false", "--secure-port=0")
    cluster.run(
        "kubelet",
        access,
        "--config=kubelet.json",
        f"--root-dir={STATE}/kubelet",
        "--cert-dir=kubelet-certificates",
        f"--hostname-override={NAME}",
        f"--node-ip={ADDRESS}",
    )
    cluster.run("kube-proxy", "--config=kube-proxy.json")


def _serve() -> None:
    """Start a node, and print what people need to inspect it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with running_node([oci_layout()]) as node:
        sys.stdout.write(f"Ready after {node.seconds:.1f} s.\nexport KUBECONFIG={node.cluster.kubeconfig}\n")
        sys.stdout.flush()
        if command := sys.argv[1:]:
            sys.exit(subprocess.run(command, check=False).returncode)
        signal.pause()


if __name__ == "__main__":
    _serve()
