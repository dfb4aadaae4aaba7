"""The public contract: the events that this service reads and writes, and their topics.

This package imports only pydantic and never `worker`, so that teams that consume the events can use it alone.
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
