"""Error messages of the commands: one sentence each, and no traceback for a user's mistake."""

from aiokafka.errors import KafkaConnectionError, KafkaError, UnknownTopicOrPartitionError

from worker.adapters.kafka.diagnosis import KafkaUnreachable
from worker.errors import CommandError, ConfigurationError, DeploymentError, StatusNotPublished, one_line


def error_message(error: Exception) -> str | None:
    """Return the sentence for an expected error; None for a bug in this program, which needs its traceback."""
    match error:
        case CommandError() | ConfigurationError() | StatusNotPublished():
            return str(error)
        case DeploymentError():
            return f"{error.message} [{error.code}]"
        case KafkaConnectionError():
            reasons = f": {error.reasons}" if isinstance(error, KafkaUnreachable) else ""
            return (
                f"Kafka cannot be reached{reasons}. Check DEPLOYER_KAFKA__BOOTSTRAP_SERVERS and the related settings."
            )
        case UnknownTopicOrPartitionError():
            return "A topic does not exist. Create it, or start the worker with DEPLOYER_KAFKA__CREATE_TOPICS=true."
        case KafkaError():
            return (
                f"Kafka refused: {type(error).__name__.removesuffix('Error')}{_reason(error)}. "
                "Run `playground-deployer check` for details."
            )
        case ModuleNotFoundError() if not str(error.name).startswith(("worker", "schemas")):
            return f"The package {error.name} is missing. Install playground-deployer[demo]."
        case OSError() if error.strerror:
            return f"{error.filename or 'The operating system reports'}: {error.strerror}."
    return None


def _reason(error: KafkaError) -> str:
    """Return the meaning of Kafka's error code, without the text that a broker may have put into the error."""
    description = getattr(type(error), "description", "")
    return f" ({one_line(description).rstrip('. ')})" if description else ""
