"""The playground server around the bundle's script: how it unpacks, starts and then reads."""

import io
import json
import os
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.extended.cluster.api import Api, Json, Refused
from tests.extended.cluster.pythons import Python
from tests.unit.ontarget.bundles import AUTHS, SCRIPT
from tests.unit.ontarget.running import Result
from worker.sandbox.playground_upload import namespace_of

USER = "ada@playground.example"
HOSTNAME = "play.example.org"
PULL_SECRET = "acumos-registry"


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings that config.json may contain or omit."""

    hostname: bool
    pull_secret: bool

    def __str__(self) -> str:
        words = ("hostname" if self.hostname else "", "secret" if self.pull_secret else "")
        return "+".join(filter(None, words)) or "bare"


CONFIGURATIONS = [Configuration(hostname, secret) for hostname in (True, False) for secret in (True, False)]
FULL, BARE = CONFIGURATIONS[0], CONFIGURATIONS[-1]


class Server:
    """The server's working folder, with the kubeconfig of its user."""

    def __init__(
        self, folder: Path, kubeconfig: Path, python: Python, configuration: Configuration, auths: Json = AUTHS
    ) -> None:
        """Configure the server; `auths` is the content of its pull secret."""
        self.folder = folder
        self._python = python
        self._configuration = configuration
        self._home = folder / "home"
        (self._home / ".kube").mkdir(parents=True)
        (self._home / ".kube" / "config").symlink_to(kubeconfig)
        self._config = folder / "config.json"
        self._secret = folder / "docker.json"
        self._secret.write_text(json.dumps(auths))
        keys: Json = {"allowed_ip_addresses": ["127.0.0.1"]}
        if configuration.hostname:
            keys["hostname"] = HOSTNAME
        if configuration.pull_secret:
            keys |= {"name_kubernetes_pull_secret": PULL_SECRET, "path_kubernetes_pull_secret": str(self._secret)}
        self._config.write_text(json.dumps(keys))

    def unpack(self, archive: bytes) -> "Deployment":
        """Unpack a bundle three times, as the server does, and with `extractall`."""
        user = Path("solutions") / USER.encode().hex()
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            name = json.loads(opened.read("blueprint.json"))["name"]
            namespace = namespace_of(name, unique=False)
            for place in ("temporary", user / "tmp", user / namespace):
                opened.extractall(self.folder / place)
        return Deployment(namespace, self.folder / user / namespace)

    def arguments(self, deployment: "Deployment", *more: str) -> list[str]:
        """Return the arguments after the script's path in the server's command line."""
        base = str(deployment.folder.relative_to(self.folder))
        if self._configuration.pull_secret:
            images = ["-sn", PULL_SECRET, "-ps", str(self._secret)]
        else:
            images = ["--image_pull_policy", "IfNotPresent"]
        return ["-n", deployment.namespace, "-bp", base, *images, "--config-file", f"{self.folder}/config.json", *more]

    def start(self, deployment: "Deployment", *more: str) -> subprocess.Popen[str]:
        """Start the server's exact command line in its working folder."""
        base = deployment.folder.relative_to(self.folder)
        return subprocess.Popen(
            [self._python.path, f"{base}/{SCRIPT}", *self.arguments(deployment, *more)],
            cwd=self.folder,
            # Some libraries warn about old Pythons.
            env={"PATH": os.environ["PATH"], "HOME": str(self._home), "PYTHONWARNINGS": "ignore"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, deployment: "Deployment", *more: str) -> Result:
        """Run the script to its end."""
        with self.start(deployment, *more) as process:
            out, err = process.communicate()
        return Result(process.returncode, out, err)


@dataclass(frozen=True, slots=True)
class Deployment:
    """A namespace and its bundle."""

    namespace: str
    folder: Path

    def json(self, name: str) -> Json:
        """Return the content of a JSON file of the bundle."""
        document: Json = json.loads((self.folder / name).read_text())
        return document

    @property
    def docker_info(self) -> list[Json]:
        """Return the entries of dockerinfo.json; none for a single model."""
        if not (self.folder / "dockerinfo.json").exists():
            return []
        return list(self.json("dockerinfo.json")["docker_info_list"])


@dataclass(frozen=True, slots=True)
class Seen:
    """A container as the server's pages show it."""

    image: str
    shared_folder: str | None
    page_port: int
    page_host: str | None


def look(deployment: Deployment, api: Api) -> dict[str, Seen]:
    """Return what the server finds for each container: from the manifests, then by names derived from its name."""
    seen = {}
    for path in sorted(deployment.folder.glob("deployments/*")):
        document = yaml.safe_load(path.read_text())
        containers = _dig(document, "spec", "template", "spec", "containers")
        if path.name.endswith(("yaml", "yml")) and containers:
            name = containers[0]["name"]
            env = {it["name"]: it["value"] for it in containers[0].get("env") or []}
            page = api.get("Service", deployment.namespace, f"{name}webui")
            try:
                ingress = api.get("Ingress", deployment.namespace, f"{name}webuiingress")
            except Refused:
                host = None
            else:
                host = ingress["spec"]["rules"][0]["host"]
            port = page["spec"]["ports"][0]["nodePort"]
            seen[name] = Seen(containers[0]["image"], env.get("SHARED_FOLDER_PATH"), port, host)
    return seen


def _dig(document: Any, *path: str) -> Any:
    for key in path:
        document = document.get(key) if isinstance(document, dict) else None
    return document
