"""Parts of the package's extra `demo`, which the worker itself does without."""

from importlib import import_module
from types import ModuleType

from worker.errors import ConfigurationError


def import_extra(name: str) -> ModuleType:
    """Import a module of the extra. Raises ConfigurationError, saying how to install it, when it is missing."""
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigurationError(
            f"'{name}' is not installed. The embedded Apache Kafka needs it: pip install playground-deployer[demo]"
        ) from error
