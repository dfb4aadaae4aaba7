"""Every error of the worker, and the codes of those that end a request.

    WorkerError                          root of all errors that the worker raises itself
    ├── DeploymentError                  ends a request; has a code, a message, a stage, a final state
    │   ├── Rejected                     the request's own fault; the same request never succeeds
    │   │   ├── TooManyRequests          authenticate:  its user has as many open ones as one may have; retryable
    │   │   ├── Unreadable               receive:       the record is not a deployment request
    │   │   ├── Conflict                 receive:       another request has its id
    │   │   ├── Unauthenticated          authenticate:  no token, or an invalid one
    │   │   ├── NotAllowed               authorise:     a valid user who may not read the solution
    │   │   ├── NotFound                 fetch:         something that the solution refers to does not exist, or is unreadable
    │   │   └── NotDeployable            plan:          the solution cannot run on a playground
    │   └── Failed                       not the request's fault
    │       ├── Unavailable              a dependency is down, slow or rejects our credentials; retryable
    │       ├── PlaygroundRefused        submit:        the playground server refused the bundle
    │       ├── OutcomeUnknown           submit:        the bundle was sent, and nothing says what became of it
    │       ├── NotSettled               submit:        an unknown outcome that was resolved as failed, or not in time
    │       ├── WorkerDied               internal:      three workers in a row died while building its bundle
    │       ├── OverridesInvalid         bundle:        the operator's overrides make a manifest invalid
    │       └── Internal                 internal:      a bug in the worker
    ├── NeedsReservation                 a solution is large: its attempt begins again with a reservation of memory
    ├── StatusNotPublished               a status was not committed; the record is read again after the next take-over
    ├── PartitionLost                    the consumer group has assigned the partition to another worker
    ├── ConfigurationError               the worker cannot start; the message names the setting
    └── CommandError                     what a person asked for cannot be done; the message says what to do
        └── WrongUsage                   the command line contradicts itself, or lacks something; exit code 2

Adapters translate foreign errors into these where they enter, and nowhere else. `CODES` holds every code;
docs/contract.md lists them, and a test keeps the two identical.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from schemas import ErrorInfo, State

Stage = Literal["receive", "authenticate", "authorise", "fetch", "plan", "bundle", "submit", "internal"]

# Four tables, by how the request ends; a sentence says what the code means and what to do.
REJECTED: dict[str, str] = {
    # receive
    "not-json": "The record's value is not strict JSON (UTF-8, no NaN, no duplicate keys). Send one JSON object.",
    "invalid-request": "A field is missing or has the wrong type; the message names it. Correct it and send the request again.",
    "unknown-event-type": "`ce_type` names an event that this topic does not carry. Send the type given in docs/contract.md.",
    "request-id-conflict": "Another request, for another user or solution, already has this id. Send a new id.",
    # authenticate
    "token-missing": "Neither the header `authorization` nor `jwtToken` holds a token. Send exactly one.",
    "token-twice": "More than one token was sent, in `authorization` headers or `jwtToken`. Send exactly one.",
    "token-malformed": "The token is not a well-formed JSON Web Token. Send it as Graphene issued it.",
    "token-algorithm": "The token is not signed with the configured algorithm. Log in again.",
    "token-signature": "The token's signature is invalid: it was altered, or signed with another key. Log in again.",
    "token-claims": "A claim is missing or has the wrong type; the message names it. Log in again.",
    "token-not-yet-valid": "The token's `nbf` is in the future. Check the issuer's clock.",
    "token-expired": "The token expired before the request reached Kafka, or while it waited there for too long. Log in and send the request again.",
    "wrong-record-key": "The record key is not the token's user id (`mlpuser.userId`). Send that as the key.",
    "wrong-partition": "The record is not in the partition that its key leads to. Send it with the partitioner of Kafka's own clients (murmur2 of the key).",
    # authorise
    "no-access": "The user may not read this solution. Ask its owner for access.",
    "no-access-to-proto": "The protobuf of a node belongs to a solution that neither the pipeline's owner nor the user may read. Ask its owner for access, or replace the node.",
    "proto-of-unknown": "The path of a node's protobuf does not say to which solution it belongs. On-board the model again. Operator: DEPLOYER_CATALOG__PROTOBUFS_OF_UNKNOWN.",
    # fetch: what the solution refers to
    "solution-not-found": "Graphene has no solution with this id. Check the id.",
    "revision-not-found": "Graphene has no revision with this id. Check the id.",
    "revision-of-another-solution": "The revision belongs to another solution. Send ids that match.",
    "blueprint-missing": "The pipeline has no blueprint, or its file is gone. Save the pipeline again in the editor.",
    "image-missing": "The model has no Docker image artifact. On-board it again.",
    "proto-missing": "A node has no protobuf, or its file is gone. On-board the model again.",
    "solution-unreadable": "What Graphene's database says of the solution is no JSON that can be used; the message says where and why. Correct the solution there and send the request again.",
    "artifact-uri-invalid": "An artifact's URI is not a plain path in the repository. On-board the model again.",
    "artifact-not-a-file": "A file of the solution is a web page or empty, and is so in the repository. On-board the model again, or save the pipeline again.",
    "artifact-too-large": "A file of the solution exceeds the limit in the message. Make it smaller.",
    # plan
    "blueprint-invalid": "The blueprint is not in the editor's format; the message says where. Save the pipeline again.",
    "no-nodes": "The pipeline has no deployable node. Add one.",
    "too-many-nodes": "The pipeline has more nodes than the operator allows. Split it.",
    "proto-invalid": "The protobuf of a node cannot be loaded; the message names the file, the line and the problem. Correct it and on-board the model again.",
    "proto-without-service": "The protobuf of a node has no service that the orchestrator would find: a line that begins with `service`. Correct it and on-board the model again.",
    "proto-mismatch": "An operation of the pipeline is not in its node's protobuf, or has other messages there. Save the pipeline again with the model as it is now.",
    "proto-conflict": "Two protobufs declare one name with different content, and the orchestrator loads all into one. Make them the same, or rename one.",
    "node-not-runnable": "A node has a type without a container (Splitter, Collator). Replace it.",
    "image-empty": "A node has no container image. On-board its model again.",
    "image-invalid": "A container image reference is invalid; the message says why. Correct it.",
    "name-reserved": "A pipeline or node has a name that is reserved for the cluster or the orchestrator. Rename it.",
    "name-collision": "Two nodes would get the same name in the cluster. Rename one.",
    "too-many-shared-folders": "The pipeline has more shared folders than the operator allows. Use fewer.",
    "shared-folder-reserved": "A shared folder would hide a folder of the system in every node. Choose another path, such as /data/shared.",
    "shared-folder-invalid": "A shared folder's path is not absolute. Correct the folder's name in the editor.",
    "bundle-too-large": "The bundle exceeds the limit in the message. Make its files smaller.",
}

REJECTED_FOR_NOW: dict[str, str] = {
    # authenticate
    "too-many-requests": "The user has as many open requests as one user may have; parked requests count. Send it again, with the same id, when one of them has its final status; an operator resolves a parked request.",
}

UNAVAILABLE: dict[str, str] = {
    # authenticate
    "keys-unavailable": "The issuer's public keys cannot be fetched. Send the request again later. Operator: check DEPLOYER_AUTH__JWKS_URL.",
    # fetch
    "catalog-unauthorized": "Graphene's database rejects our credentials. Operator: check DEPLOYER_CATALOG__USERNAME and __PASSWORD.",
    "catalog-unavailable": "Graphene's database cannot be reached. Send the request again later.",
    "catalog-timeout": "Graphene's database did not answer in time. Send the request again later.",
    "catalog-error": "Graphene's database answered with an error or in an unknown format. Send the request again later.",
    "artifacts-unauthorized": "The repository rejects our credentials. Operator: check DEPLOYER_ARTIFACTS__USERNAME and __PASSWORD.",
    "artifacts-unavailable": "The repository cannot be reached. Send the request again later.",
    "artifacts-timeout": "The repository did not answer in time. Send the request again later.",
    "artifacts-error": "The repository answered with an error. Send the request again later.",
    # submit
    "playground-unauthorized": "The playground rejects this worker's address. Operator: add it to `allowed_ip_addresses` there.",
    "playground-unavailable": "The playground cannot be reached. Send the request again later.",
    "playground-busy": "The playground is busy. Send the request again later.",
    "attempt-late": "The worker was delayed until it was too late to send the bundle; nothing was sent. Send the request again later.",
}

FAILED: dict[str, str] = {
    # submit
    "playground-redirected": "The playground answered with a redirect: it could not read or deploy the bundle. Tell the operator.",
    "playground-refused": "The playground refused the bundle; the message says why. Correct it, or tell the operator.",
    "playground-name-taken": "The playground created no deployment: another user owns one with this name. Rename the pipeline.",
    "deployment-failed": "The bundle's script failed on the playground; the message says why. Correct it, or tell the operator.",
    "outcome-unknown": "The playground gave no answer, or a 5xx one that does not say what happened: it may or may not have deployed. Operator: run `playground-deployer resolve`.",
    "resolved-as-failed": "The outcome was resolved as failed; the message says by whom, and why if they said so. Send the request again when that is fixed.",
    "unresolved": "It is unknown whether the playground deployed, and nobody resolved it in time. Look at the dashboard, then send the request again.",
    "request-gone": "Kafka has deleted or lost the request's record, so it cannot be tried any more. Send it again.",
    # bundle
    "overrides-invalid": "The operator's overrides do not fit this solution; the message says where. Tell the operator.",
    # anywhere
    "worker-died": "Three workers died while building the bundle. Tell the operator; send the request again when that is fixed.",
    "internal": "A bug in the deployer; its log has the details under the request id. Tell the operator.",
}

CODES = REJECTED | REJECTED_FOR_NOW | UNAVAILABLE | FAILED


def one_line(text: str) -> str:
    """Replace control and direction characters: messages quote what users wrote."""
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)


class WorkerError(Exception):
    """Root of all errors that the worker raises itself."""


class DeploymentError(WorkerError):
    """Ends a request. `message` is one sentence for the user and holds no secret."""

    state: ClassVar[State]
    stage: Stage
    retryable: ClassVar[bool] = False
    codes: ClassVar[Mapping[str, str]]
    url = cause = ""  # for the log alone

    def __init__(self, code: str, message: str) -> None:
        message = one_line(message)
        super().__init__(message)
        if code not in self.codes:
            raise KeyError(f"{code} is not a code of {type(self).__name__} in worker.errors")
        self.code = code
        self.message = message

    def without_frames(self) -> Self:
        """Return it without its traceback, whose frames keep a whole bundle while its request waits."""
        self.__traceback__ = self.__context__ = self.__cause__ = None
        return self

    def because(self, url: str, cause: str) -> Self:
        """Note for the log whom we asked, without a path that follows from a request, and what came of it."""
        self.url, self.cause = url, cause
        return self

    def log_fields(self) -> dict[str, str]:
        """Return the error as a line of the log has it."""
        fields = {"code": self.code, "message": self.message, "url": self.url, "cause": self.cause}
        return {name: value for name, value in fields.items() if value}

    def info(self) -> ErrorInfo:
        """Return the error as a status carries it."""
        return ErrorInfo(code=self.code, message=self.message[:1000], stage=self.stage, retryable=self.retryable)


class Rejected(DeploymentError):
    """The request's own fault; the same request never succeeds."""

    state = State.REJECTED
    codes = REJECTED


class Unreadable(Rejected):
    """The record is not a deployment request."""

    stage = "receive"


class Conflict(Rejected):
    """Another request has its id."""

    stage = "receive"


class Unauthenticated(Rejected):
    """No token, or an invalid one."""

    stage = "authenticate"


class TooManyRequests(Rejected):
    """The user has as many open requests as one user may have; it may be sent again later."""

    stage = "authenticate"
    retryable = True
    codes = REJECTED_FOR_NOW

    def __init__(self) -> None:
        super().__init__("too-many-requests", CODES["too-many-requests"])


class NotAllowed(Rejected):
    """A valid user who may not read the solution."""

    stage = "authorise"


class NotFound(Rejected):
    """Something that the solution refers to does not exist, or cannot be read."""

    stage = "fetch"


class NotDeployable(Rejected):
    """The solution cannot run on a playground."""

    stage = "plan"


class Failed(DeploymentError):
    """Not the request's fault."""

    state = State.FAILED
    codes = FAILED


class Unavailable(Failed):
    """A dependency is down, slow or rejects our credentials."""

    retryable = True
    codes = UNAVAILABLE

    def __init__(
        self,
        code: str,
        message: str,
        stage: Stage = "fetch",
        *,
        retry_after: float | None = None,
        general: bool = False,
    ) -> None:
        """
        Args:
            retry_after: seconds after which the dependency asks to be tried again.
            general: it cannot come from what was asked for, or by whom: no connection could be opened, or our
                credentials are refused.
        """
        super().__init__(code, message)
        self.stage = stage
        self.retry_after = retry_after
        self.general = general

    @property
    def dependency(self) -> str:
        """The dependency as the code begins: keys (the issuer's), catalog, artifacts or playground."""
        return self.code.partition("-")[0]


class PlaygroundRefused(Failed):
    """The playground server refused the bundle."""

    stage = "submit"


class OutcomeUnknown(Failed):
    """The bundle was sent, at least in part, and got no answer, or a 5xx one that does not say what happened."""

    stage = "submit"

    def __init__(self, message: str) -> None:
        super().__init__("outcome-unknown", message)


class NotSettled(Failed):
    """The unknown outcome of a POST was resolved as failed, or not in time."""

    stage = "submit"


class WorkerDied(Failed):
    """Three workers in a row died while building its bundle."""

    stage = "internal"

    def __init__(self) -> None:
        super().__init__("worker-died", CODES["worker-died"])


class OverridesInvalid(Failed):
    """The operator's overrides make a manifest invalid. Not retryable: a worker keeps the overrides it started with."""

    stage = "bundle"

    def __init__(self, message: str) -> None:
        super().__init__("overrides-invalid", message)


class Internal(Failed):
    """A bug in the worker."""

    stage = "internal"

    def __init__(self) -> None:
        super().__init__(
            "internal", "A bug in the deployer ended the request; its log has the details. Tell the operator."
        )


class NeedsReservation(WorkerError):
    """A solution is larger than what needs no reservation: its attempt begins again once it has one."""


class StatusNotPublished(WorkerError):
    """A status was not committed. The record is read again after the next take-over of its partition."""


class PartitionLost(WorkerError):
    """The consumer group has assigned the partition to another worker, or is about to."""


class ConfigurationError(WorkerError):
    """The worker cannot start. The message names the setting and says what to do."""


class CommandError(WorkerError):
    """What a person asked a command, a client or the gateway for cannot be done; the message is for them."""


class WrongUsage(CommandError):
    """The command line contradicts itself or lacks something, which argparse cannot tell."""
