"""The public contract: the events this service reads and writes, and the topics they travel on.

Imports pydantic only, never `worker`, so that a team which consumes the events can use it alone.
`python -m schemas.export` writes `generated/` (JSON Schema, AsyncAPI) from these classes.
"""

from schemas.events import (
    FINAL_STATES,
    SUCCESSORS,
    BundleInfo,
    DeploymentInfo,
    DeploymentRequested,
    DeploymentSettled,
    DeploymentStatus,
    ErrorInfo,
    Kind,
    Message,
    ReplayPermitted,
    SourceInfo,
    State,
    cloud_event_headers,
    fingerprint,
    rfc3339,
)

__all__ = [
    "FINAL_STATES",
    "SUCCESSORS",
    "BundleInfo",
    "DeploymentInfo",
    "DeploymentRequested",
    "DeploymentSettled",
    "DeploymentStatus",
    "ErrorInfo",
    "Kind",
    "Message",
    "ReplayPermitted",
    "SourceInfo",
    "State",
    "cloud_event_headers",
    "fingerprint",
    "rfc3339",
]
