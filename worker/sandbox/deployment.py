"""A bundle that the sandbox playground has taken."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Deployment:
    """A bundle that was taken."""

    namespace: str
    name: str  # of the solution, as blueprint.json has it
    username: str
    time: datetime
    request_id: str | None  # the header Idempotency-Key, which the real server does not look at
    files: dict[str, int]  # path → bytes
    size: int  # bytes of the zip
    sha256: str  # of the zip
    archive: Path = field(repr=False)

    @property
    def kind(self) -> str:
        """As the real server tells it."""
        return "pipeline" if any(name.startswith("orchestrator_client/") for name in self.files) else "single model"

    @property
    def has_shared_folder(self) -> bool:
        """As the real server tells it."""
        return "deployments/pvc.yaml" in self.files

    def as_json(self) -> dict[str, Any]:
        """For GET /api/deployments."""
        names = ("namespace", "name", "username", "kind", "files", "size", "sha256")
        own = {"time": self.time.isoformat(), "requestId": self.request_id, "sharedFolder": self.has_shared_folder}
        return {name: getattr(self, name) for name in names} | own
