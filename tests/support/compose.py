"""docker-compose.yml without Docker: its services as processes of this machine.

In Docker each service has its own network; here they share one. Addresses are therefore translated: a service's name
becomes 127.0.0.1, and each port becomes a free port.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tests.support.paths import ROOT
from worker.sandbox.kafka_node import unused_ports

Json = dict[str, Any]

IN_CONTAINER = re.compile(r"docker compose exec (?:-T )?worker playground-deployer ")


def read_compose() -> Json:
    """Return the file with its anchors resolved."""
    document: Json = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return document


class Translated:
    """The services, with addresses and files translated to this machine."""

    def __init__(self, folder: Path) -> None:
        """Keep the volumes in `folder`."""
        self._folder = folder
        self._document = read_compose()
        self._ports: dict[tuple[str, str], str] = {}
        self.services: Json = self._document["services"]

    def environment(self, service: str) -> dict[str, str]:
        """Return only the variables that the file sets, and the paths on which programs and modules are found."""
        variables: Mapping[str, str] = self.services[service].get("environment", {})
        translated = {name: self._text(service, value) for name, value in variables.items()}
        own = {"worker": ("DEPLOYER_RUNTIME__HTTP_PORT", "8080"), "gateway": ("DEPLOYER_GATEWAY__HTTP_PORT", "8081")}
        if service in own:  # the default port is the same for all processes of this machine
            name, port = own[service]
            translated[name] = self._port(service, port)
        return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **translated}

    def command(self, service: str) -> list[str]:
        """Return the arguments of the image's entry point."""
        return [self._text(service, word) for word in self.services[service].get("command", ["run"])]

    def is_healthy(self, service: str) -> bool:
        """Run the service's own health check."""
        kind, program, *words = self.services[service]["healthcheck"]["test"]
        assert "CMD" == kind
        program = {"python3": sys.executable}.get(program, program)
        command = [program, *(self._text(service, word) for word in words)]
        return 0 == subprocess.run(command, capture_output=True, timeout=10, check=False).returncode

    def address(self, service: str, port: str) -> str:
        """Return the address of a published port."""
        return f"127.0.0.1:{self._port(service, port)}"

    def volume(self, target: str) -> Path:
        """Return the folder that stands in for a container's folder."""
        place = self._folder / target.lstrip("/")
        place.mkdir(parents=True, exist_ok=True)
        return place

    def _text(self, service: str, text: str) -> str:
        def address(found: re.Match[str]) -> str:
            host, separator, port = found.groups()
            if host in self.services:
                return f"127.0.0.1{separator}{self._port(host, port)}"
            return f"{host}{separator}{self._port(service, port)}"

        text = re.sub(r"([\w.]*)([:/])(\d{4,5})\b", address, text)
        for name, secret in self._document["secrets"].items():
            text = text.replace(f"/run/secrets/{name}", str(ROOT / secret["file"]))
        for volume in self.services[service].get("volumes", ()):
            target = volume.partition(":")[2]
            text = text.replace(target, str(self.volume(target)))
        return text

    def _port(self, service: str, port: str) -> str:
        if (service, port) not in self._ports:
            (free,) = unused_ports(1)
            self._ports[service, port] = str(free)
        return self._ports[service, port]


def lines_to_try() -> dict[str, str]:
    """Return the lines that `make up` prints, by command, ready for a shell.

    `parked` submits a request that will be parked.
    """
    text = (ROOT / "compose" / "try.txt").read_text(encoding="utf-8").replace("\\\n", "")
    found = [line.strip() for line in text.splitlines() if IN_CONTAINER.search(line)]
    return {"parked" if "--parked" in line else IN_CONTAINER.split(line)[-1].split()[0]: line for line in found}


async def open_link(link: str) -> str:
    """Open the link of "Deploy for Execution" as a browser does; return the page with the user's deployments."""
    browser = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(headers=browser, cookie_jar=jar, trust_env=False) as session:
        async with session.get(link, allow_redirects=False) as response:
            assert response.status in (302, 303), await response.text()
        async with session.get(f"{link.partition('/deploy/')[0]}/requests") as response:
            return await response.text()
