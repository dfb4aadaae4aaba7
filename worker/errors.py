"""Every error of the worker, and the error codes of requests.

    WorkerError                          root of all errors that the worker raises itself
    ├── DeploymentError                  the final error of a request: code, message, stage, final state
    │   ├── Rejected                     the request's own fault; the same request never succeeds
    │   │   ├── TooManyRequests          authenticate:  the user has reached the limit of open requests; retryable
    │   │   ├── Unreadable               receive:       the record is not a deployment request
    │   │   ├── Conflict                 receive:       another request has this id
    │   │   ├── Unauthenticated          authenticate:  an invalid token, a wrong record key or a wrong partition
    │   │   ├── NotAllowed               authorise:     a valid user who may not read the solution
    │   │   ├── NotFound                 fetch:         part of the solution does not exist or is unreadable
    │   │   └── NotDeployable            plan:          the solution cannot run on a playground
    │   └── Failed                       not the request's fault
    │       ├── Unavailable              a dependency is down, slow or rejects the worker's credentials; retryable
    │       ├── PlaygroundRefused        submit:        the playground server refused the bundle
    │       ├── OutcomeUnknown           submit:        the bundle was sent, and its outcome is unknown
    │       ├── NotSettled               submit:        an unknown outcome, resolved as failed or not in time; or the record is gone
    │       ├── WorkerDied               internal:      three workers in a row died while building the bundle
    │       ├── OverridesInvalid         bundle:        the operator's overrides make a manifest invalid
    │       └── Internal                 internal:      a bug in the worker
    ├── NeedsReservation                 the solution is large; its attempt restarts with a reservation of memory
    ├── StatusNotPublished               a status was not committed; the record is read again after the next take-over
    ├── PartitionLost                    the consumer group has assigned the partition to another worker
    ├── ConfigurationError               the worker cannot start; the message names the setting
    └── CommandError                     a person's request cannot be carried out; the message gives the remedy
        └── WrongUsage                   the command line is contradictory or incomplete; exit code 2

Adapters translate the errors of their libraries into these classes; no other layer does. `CODES` holds every code.
docs/contract.md lists the codes, and a test keeps that list identical to `CODES`.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from schemas import ErrorInfo, State

Stage = Literal["receive", "authenticate", "authorise", "fetch", "plan", "bundle", "submit", "internal"]

# Four tables, by final state and retryability. Each text gives the meaning of the code, then what to do.
REJECTED: dict[str, str] = {
    # receive
    "not-json": "The record's value is not strict JSON (UTF-8, no NaN, no duplicate keys). Send one JSON object.",
    "invalid-request": "A field is missing or has the wrong type; the message names it. Correct it and send the request again.",
    "unknown-event-type": "`ce_type` names an event that this topic does not carry. Send the type given in docs/contract.md.",
    "request-id-conflict": "Another request, for another user or solution, already has this id. Send a new id.",
    "token-missing": "Neither the header `authorization` nor `jwtToken` holds a token. Send exactly one.",
    "token-twice": "More than one token was sent, in `authorization` headers or `jwtToken`. Send exactly one.",
    # authenticate
    "token-malformed": "The token is not a well-formed JSON Web Token. Send it as Graphene issued it.",
    "token-algorithm": "The token is not signed with the configured algorithm. Log in again.",
    "token-signature": "The token's signature is invalid: it was altered, or signed with another key. Log in again.",
    "token-claims": "A claim is missing or has the wrong type; the message names it. Log in again.",
    "token-not-yet-valid": "The token's `nbf` is in the future. Check the issuer's clock.",
    "token-expired": "The token expired before the request reached Kafka, or while it waited there for too long. Log in and send the request again.",
    "wrong-record-key": "The record key is not the token's user id (`mlpuser.userId`). Send that as the key.",
    "wrong-partition": "The record is not in the partition of its key. Send it with the partitioner of Kafka's own clients (murmur2 of the key).",
    # authorise
    "no-access": "The user may not read this solution. Ask its owner for access.",
    "no-access-to-proto": "The protobuf of a node belongs to a solution that neither the pipeline's owner nor the user may read. Ask that solution's owner for access, or replace the node.",
    "proto-of-unknown": "The path of a node's protobuf does not name the solution that owns it. On-board the model again. Operator: see DEPLOYER_CATALOG__PROTOBUFS_OF_UNKNOWN.",
    # fetch: what the solution refers to
    "solution-not-found": "Graphene has no solution with this id. Check the id.",
    "revision-not-found": "Graphene has no revision with this id. Check the id.",
    "revision-of-another-solution": "The revision belongs to another solution. Send ids that match.",
    "blueprint-missing": "The pipeline has no blueprint, or the blueprint's file is gone. Save the pipeline again in the editor.",
    "image-missing": "The model has no Docker image artifact. On-board it again.",
    "proto-missing": "A node has no protobuf, or the protobuf's file is gone. On-board the model again.",
    "solution-unreadable": "Graphene's database has no usable JSON for the solution; the message gives the position and the reason. Correct the solution in Graphene and send the request again.",
    "artifact-uri-invalid": "An artifact's URI is not a plain path in the repository. On-board the model again.",
    "artifact-not-a-file": "A file of the solution is empty or a web page in the repository. On-board the model again, or save the pipeline again.",
    "artifact-too-large": "A file of the solution exceeds the limit in the message. Make it smaller.",
    # plan
    "blueprint-invalid": "The blueprint is not in the editor's format; the message gives the position. Save the pipeline again.",
    "no-nodes": "The pipeline has no deployable node. Add one.",
    "too-many-nodes": "The pipeline has more nodes than the operator allows. Split it.",
    "proto-invalid": "The protobuf of a node cannot be loaded; the message names the file, the line and the problem. Correct it and on-board the model again.",
    "proto-without-service": "The protobuf of a node has no service that the orchestrator would find: no line begins with `service`. Correct it and on-board the model again.",
    "proto-mismatch": "An operation of the pipeline is not in its node's protobuf, or has other messages there. Save the pipeline again with the current model.",
    "proto-conflict": "Two protobufs declare the same name with different content, and the orchestrator loads all protobufs together. Make the declarations identical, or rename one of them.",
    "node-not-runnable": "A node has a type without a container (Splitter, Collator). Replace it.",
    "image-empty": "A node has no container image. On-board its model again.",
    "image-invalid": "A container image reference is invalid; the message gives the reason. Correct it.",
    "name-reserved": "A pipeline or node has a name that is reserved for the cluster or the orchestrator. Rename it.",
    "name-collision": "Two nodes would get the same name in the cluster. Rename one of them.",
    "too-many-shared-folders": "The pipeline has more shared folders than the operator allows. Use fewer.",
    "shared-folder-reserved": "A shared folder would hide a system folder or an interpreter's in every node. Choose another path, such as /data/shared.",
    "shared-folder-invalid": "A shared folder's path is not absolute. Correct the folder's name in the editor.",
    "bundle-too-large": "The bundle exceeds the limit in the message. Make its files smaller.",
}

REJECTED_FOR_NOW: dict[str, str] = {
    # authenticate
    "too-many-requests": "The user has reached the limit of open requests, parked requests included. Send the request again, with the same id, when one of them has a final status; an operator resolves parked requests.",
}

UNAVAILABLE: dict[str, str] = {
    # authenticate
    "keys-unavailable": "The issuer's public keys cannot be fetched. Send the request again later. Operator: check DEPLOYER_AUTH__JWKS_URL.",
    # fetch
    "catalog-unauthorized": "Graphene's database rejects the worker's credentials. Operator: check DEPLOYER_CATALOG__USERNAME and __PASSWORD.",
    "catalog-unavailable": "Graphene's database cannot be reached. Send the request again later.",
    "catalog-timeout": "Graphene's database did not answer in time. Send the request again later.",
    "catalog-error": "Graphene's database answered with an error or in an unknown format. Send the request again later.",
    "artifacts-unauthorized": "The repository rejects the worker's credentials. Operator: check DEPLOYER_ARTIFACTS__USERNAME and __PASSWORD.",
    "artifacts-unavailable": "The repository cannot be reached. Send the request again later.",
    "artifacts-timeout": "The repository did not answer in time. Send the request again later.",
    "artifacts-error": "The repository answered with an error, or with something that is not the file; the message says what. Send the request again later.",
    # submit
    "playground-unauthorized": "The playground rejects this worker's address. Operator: add the address to `allowed_ip_addresses` of the playground.",
    "playground-unavailable": "The playground cannot be reached. Send the request again later.",
    "playground-busy": "The playground is busy. Send the request again later.",
    "attempt-late": "The worker was delayed until it was too late to send the bundle. Nothing was sent. Send the request again later.",
}

FAILED: dict[str, str] = {
    # submit
    "playground-redirected": "The playground answered with a redirect: it could not read or deploy the bundle. Tell the operator.",
    "playground-refused": "The playground refused the bundle; the message gives the reason. Correct the solution, or tell the operator.",
    "playground-name-taken": "The playground created no deployment, because another user owns a deployment with this name. Rename the pipeline.",
    "deployment-failed": "The bundle's script failed on the playground; the message gives the reason. Correct the solution, or tell the operator.",
    "outcome-unknown": "The playground did not answer, or sent a 5xx response that does not show what happened. The bundle may or may not be deployed. Operator: run `playground-deployer resolve`.",
    "resolved-as-failed": "The outcome was resolved as failed; the message names the operator, and the reason if there is one. Send the request again when the cause is fixed.",
    "unresolved": "It is unknown whether the bundle was deployed, and the outcome was not resolved in time. Check the dashboard, then send the request again.",
    "request-gone": "Kafka has deleted or lost the request's record, so the request cannot be retried. Send it again.",
    # bundle
    "overrides-invalid": "The operator's overrides do not fit this solution; the message gives the position. Tell the operator.",
    # anywhere
    "worker-died": "Three workers in a row died while building the bundle. Tell the operator, and send the request again when the cause is fixed.",
    "internal": "A bug in the deployer; its log has the details under the request id. Tell the operator.",
}

CODES = REJECTED | REJECTED_FOR_NOW | UNAVAILABLE | FAILED


def one_line(text: str) -> str:
    """Return `text` with a space for each control or direction character, because messages quote users' texts."""
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)


class WorkerError(Exception):
    """Root of all errors that the worker raises itself."""


class DeploymentError(WorkerError):
    """The final error of a request, or the reason of a retry. `message` is one line for the user and holds no secret.

    Raises KeyError for a code that is not in the class's table.
    """

    state: ClassVar[State]
    stage: Stage
    retryable: ClassVar[bool] = False
    codes: ClassVar[Mapping[str, str]]
    url = cause = ""  # for the log only

    def __init__(self, code: str, message: str) -> None:
        message = one_line(message)
        super().__init__(message)
        if code not in self.codes:
            raise KeyError(f"{code} is not a code of {type(self).__name__} in worker.errors")
        self.code = code
        self.message = message

    def without_frames(self) -> Self:
        """Return the error without its traceback, whose frames would keep a whole bundle while the request waits."""
        self.__traceback__ = self.__context__ = self.__cause__ = None
        return self

    def because(self, url: str, cause: str) -> Self:
        """Add the URL that was called and the cause, both for the log only, and return the error.

        `url` has no path that depends on a request.
        """
        self.url, self.cause = url, cause
        return self

    def log_fields(self) -> dict[str, str]:
        """Return the error's fields for a line of the log, without empty fields."""
        fields = {"code": self.code, "message": self.message, "url": self.url, "cause": self.cause}
        return {name: value for name, value in fields.items() if value}

    def info(self) -> ErrorInfo:
        """Return the error for a status, its message cut to 1,000 characters."""
        return ErrorInfo(code=self.code, message=self.message[:1000], stage=self.stage, retryable=self.retryable)


class Rejected(DeploymentError):
    """The request's own fault; the same request never succeeds."""

    state = State.REJECTED
    codes = REJECTED


class Unreadable(Rejected):
    """The record is not a deployment request."""

    stage = "receive"


class Conflict(Rejected):
    """Another request has this request id."""

    stage = "receive"


class Unauthenticated(Rejected):
    """An invalid token, or a record with a wrong key or in a wrong partition."""

    stage = "authenticate"


class TooManyRequests(Rejected):
    """The user has reached the limit of open requests; the same request may succeed later."""

    stage = "authenticate"
    retryable = True
    codes = REJECTED_FOR_NOW

    def __init__(self) -> None:
        super().__init__("too-many-requests", CODES["too-many-requests"])


class NotAllowed(Rejected):
    """A valid user who may not read the solution."""

    stage = "authorise"


class NotFound(Rejected):
    """Part of the solution does not exist or cannot be read."""

    stage = "fetch"


class NotDeployable(Rejected):
    """The solution cannot run on a playground."""

    stage = "plan"


class Failed(DeploymentError):
    """Not the request's fault."""

    state = State.FAILED
    codes = FAILED


class Unavailable(Failed):
    """A dependency is down, slow or rejects the worker's credentials."""

    retryable = True
    codes = UNAVAILABLE

    def __init__(
        self,
        code: str,
        message: str,
        stage: Stage = "fetch",
        *,
        retry_after: float | None = None,
        dependency_wide: bool = False,
    ) -> None:
        """
        Args:
            retry_after: the dependency's `Retry-After`, in seconds.
            dependency_wide: whether the failure is dependency-wide: no connection could be opened, or the worker's credentials
                are rejected. Neither the user nor the solution can cause such a failure.
        """
        super().__init__(code, message)
        self.stage = stage
        self.retry_after = retry_after
        self.dependency_wide = dependency_wide

    @property
    def dependency(self) -> str:
        """The dependency, from the start of the code: `keys` (the issuer's), `catalog`, `artifacts` or `playground`."""
        return self.code.partition("-")[0]


class PlaygroundRefused(Failed):
    """The playground server refused the bundle."""

    stage = "submit"


class OutcomeUnknown(Failed):
    """At least part of the bundle was sent, and no answer came, or a 5xx response that does not show what happened."""

    stage = "submit"

    def __init__(self, message: str) -> None:
        super().__init__("outcome-unknown", message)


class NotSettled(Failed):
    """The unknown outcome of a POST was resolved as failed or not in time, or the request's record is gone."""

    stage = "submit"


class WorkerDied(Failed):
    """Three workers in a row died while building the request's bundle."""

    stage = "internal"

    def __init__(self) -> None:
        super().__init__("worker-died", CODES["worker-died"])


class OverridesInvalid(Failed):
    """The operator's overrides make a manifest invalid.

    Not retryable, because a worker keeps the overrides that it read at startup.
    """

    stage = "bundle"

    def __init__(self, message: str) -> None:
        super().__init__("overrides-invalid", message)


class Internal(Failed):
    """A bug in the worker."""

    stage = "internal"

    def __init__(self) -> None:
        super().__init__(
            "internal", "A bug in the deployer stopped the request; its log has the details. Tell the operator."
        )


class NeedsReservation(WorkerError):
    """A solution exceeds the allowance without a reservation; the attempt restarts once it has a reservation."""


class StatusNotPublished(WorkerError):
    """A status was not committed. The record is read again after the next take-over of its partition."""


class PartitionLost(WorkerError):
    """The consumer group has assigned the partition to another worker, or is about to."""


class ConfigurationError(WorkerError):
    """The worker cannot start. The message names the setting and the remedy."""


class CommandError(WorkerError):
    """A command, a client or the gateway cannot carry out a person's request; the message is for that person."""


class WrongUsage(CommandError):
    """The command line is contradictory or incomplete in a way that argparse does not detect."""
