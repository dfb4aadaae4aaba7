"""The values of the worker's counters."""

from worker.observability.metrics import PREFIX, REGISTRY


def counted(name: str, **labels: str) -> float:
    """Return the value of one of our series. It is shared by the whole process, so compare it before and after."""
    return REGISTRY.get_sample_value(f"{PREFIX}_{name}", labels) or 0.0
