"""What senders of requests and readers of statuses use: the commands, the gateway and programs of others.

`DeployerClient` is for programs; docs/clients.md has an example. What is not named here may change.
"""

from worker.client.deployer import DeployerClient
from worker.settings import KafkaSettings

__all__ = ["DeployerClient", "KafkaSettings"]
