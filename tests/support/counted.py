"""What the worker's counters say."""

from worker.observability.metrics import PREFIX, REGISTRY


def counted(name: str, **labels: str) -> float:
    """The value of a series of ours, which stands for the whole process: look before and after."""
    return REGISTRY.get_sample_value(f"{PREFIX}_{name}", labels) or 0.0
