"""What a command says when it cannot do its work: one sentence, and never a traceback for a mistake of the user's."""

from aiokafka.errors import KafkaConnectionError, KafkaError, UnknownTopicOrPartitionError

from worker.errors import ConfigurationError, DeploymentError, StatusNotPublished


class CommandError(Exception):
    """The command cannot go on; the message is for the user."""


def explain(error: Exception) -> str | None:
    """The sentence for this error; None for a defect of ours, which deserves its traceback."""
    match error:
        case CommandError() | ConfigurationError() | StatusNotPublished():
            return str(error)
        case DeploymentError():
            return f"{error.message} [{error.code}]"
        case KafkaConnectionError():
            return "Kafka cannot be reached. Check DEPLOYER_KAFKA__BOOTSTRAP_SERVERS and the settings beside it."
        case UnknownTopicOrPartitionError():
            return "A topic does not exist. Start the worker with DEPLOYER_KAFKA__CREATE_TOPICS=true, or make it."
        case KafkaError():
            return (
                f"Kafka refused: {type(error).__name__.removesuffix('Error')}. `playground-deployer check` tells more."
            )
        case ModuleNotFoundError() if not str(error.name).startswith(("worker", "schemas")):
            return f"The package {error.name} is missing. Install playground-deployer[demo]."
        case OSError() if error.strerror:
            return f"{error.filename or 'The system says'}: {error.strerror}."
    return None
