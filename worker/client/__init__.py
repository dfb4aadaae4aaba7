"""Clients for senders of requests and readers of statuses: the commands, the gateway and other programs.

`DeployerClient` is for other programs; docs/clients.md has an example. Only the names in `__all__` are stable.
"""

from worker.client.deployer import DeployerClient
from worker.settings import KafkaSettings

__all__ = ["DeployerClient", "KafkaSettings"]
