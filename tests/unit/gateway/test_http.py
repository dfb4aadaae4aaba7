"""The gateway's HTTP server: its port and address families."""

import socket

import aiohttp
import pytest
from aiohttp import web

from worker.errors import ConfigurationError
from worker.gateway.http import Connections, serving


@pytest.mark.parametrize("host", [None, "127.0.0.1"])
async def test_a_port_in_use_names_its_setting(host: str | None) -> None:
    """A port in use is reported with its setting, for all addresses and for the address of `--host`."""
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"DEPLOYER_GATEWAY__HTTP_PORT: port {port}: Address"):
            async with serving(web.Application(), Connections(), host, port):
                pass


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="there is no IPv6 here")
async def test_one_port_for_both_families() -> None:
    """An arbitrary free port is the same for IPv4 and IPv6, because a pod is reached by an address of either family."""
    async with serving(web.Application(), Connections(), None, 0) as port, aiohttp.ClientSession() as session:
        for host in ("127.0.0.1", "[::1]"):
            async with session.get(f"http://{host}:{port}/") as response:
                assert 404 == response.status
