"""The error family: everything that ends a request other than `deployed`.

    DeploymentError                  code, message, stage, retryable, final state
    ├── Rejected                     the request's own fault; the same request never succeeds
    │   ├── Unreadable               receive:       the record is no deployment request
    │   ├── Conflict                 receive:       its id is another request's
    │   ├── Unauthenticated          authenticate:  no token, or one that proves nothing
    │   ├── NotAllowed               authorise:     a valid user who may not do this
    │   ├── NotFound                 fetch:         something the solution names does not exist
    │   └── NotDeployable            plan:          the solution cannot run on a playground
    └── Failed                       not the request's fault
        ├── Unavailable              a dependency is down, slow or refuses our credentials; retryable
        ├── PlaygroundRefused        submit:        the playground server said no
        ├── OutcomeUnknown           submit:        bytes were sent and no answer came
        ├── NotSettled               submit:        an unknown outcome that was settled as failed, or by nobody
        ├── WorkerDied               internal:      it ended three workers in a row
        ├── OverridesInvalid         bundle:        the operator's overrides spoil a manifest
        └── Internal                 a defect of ours

    StatusNotPublished               not of a request: Kafka did not take a status; the lane dies, the record is read again
    PartitionLost                    not of a request: the group has assigned the partition to another worker
    ConfigurationError               not of a request: the worker cannot start; names the setting

Adapters turn foreign errors into these where they enter, and nowhere else. `CODES` holds every code;
docs/contract.md prints it and a test keeps the two alike.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

from schemas import ErrorInfo, State

Stage = Literal["receive", "authenticate", "authorise", "fetch", "plan", "bundle", "submit", "internal"]

# Three tables by how a request ends; each says of a code what it means and what to do about it.
REJECTED: dict[str, str] = {
    # receive
    "not-json": "The record's value is not strict JSON (UTF-8, no NaN, no duplicate keys). Send one JSON object.",
    "invalid-request": "A field is missing or has the wrong type; the message names it. Correct it and send again.",
    "unknown-event-type": "`ce_type` names an event this topic does not carry. Send the type of docs/contract.md.",
    "request-id-conflict": "Another request has this id already, for another user or solution. Send a new id.",
    # authenticate
    "token-missing": "Neither the header `authorization` nor `jwtToken` holds a token. Send exactly one.",
    "token-twice": "More than one token came, in headers `authorization` or in `jwtToken`. Send exactly one.",
    "token-malformed": "The token is not a JSON Web Token in its strict form. Send it as Graphene issued it.",
    "token-algorithm": "The token is signed with another algorithm than the configured one. Log in again.",
    "token-signature": "The token's signature is wrong: it was altered, or signed with another key. Log in again.",
    "token-claims": "A claim is missing or has the wrong type; the message names it. Log in again.",
    "token-not-yet-valid": "The token's `nbf` lies in the future. Check the issuer's clock.",
    "token-expired": "The token expired before the request reached Kafka, or waited too long there. Log in and send again.",
    "wrong-record-key": "The record key is not the token's user id (`mlpuser.userId`). Send it as the key.",
    # authorise
    "no-access": "The user may not read this solution. Ask its owner for access.",
    # fetch: what the solution names
    "solution-not-found": "Graphene knows no solution with this id. Check the id.",
    "revision-not-found": "Graphene knows no revision with this id. Check the id.",
    "revision-of-another-solution": "The revision belongs to another solution. Send ids that belong together.",
    "blueprint-missing": "The pipeline has no blueprint, or its file is gone. Save the pipeline again in the editor.",
    "image-missing": "The model has no Docker image artifact. On-board it again.",
    "proto-missing": "A node has no protobuf, or its file is gone. On-board the model again.",
    "artifact-uri-invalid": "An artifact's uri is not a plain path below the repository. On-board the model again.",
    "artifact-too-large": "A file of the solution is larger than the limit in the message. Make it smaller.",
    # plan
    "blueprint-invalid": "The blueprint is not what the editor writes; the message names the place. Save the pipeline again.",
    "no-nodes": "The pipeline has no node that can be deployed. Add one.",
    "too-many-nodes": "The pipeline has more nodes than the operator allows. Split it.",
    "node-not-runnable": "A node is of a type without a container (Splitter, Collator). Replace it.",
    "image-empty": "A node has no container image. On-board its model again.",
    "image-invalid": "A container image is not a valid reference; the message says why. Correct it.",
    "name-reserved": "A pipeline or node has a name that is kept for the cluster or the orchestrator. Rename it.",
    "name-collision": "Two nodes would get the same name in the cluster. Rename one.",
    "shared-folder-invalid": "A shared folder's path is not an absolute path. Correct the folder's name in the editor.",
    "bundle-too-large": "The bundle is larger than the limit in the message. Make its files smaller.",
}

UNAVAILABLE: dict[str, str] = {
    # authenticate
    "keys-unavailable": "The issuer's public keys cannot be read. Send again later. Operator: DEPLOYER_AUTH__JWKS_URL.",
    # fetch
    "catalog-unauthorized": "Graphene's database refuses our credentials. Operator: DEPLOYER_CATALOG__USERNAME, __PASSWORD.",
    "catalog-unavailable": "Graphene's database cannot be reached. Send again later.",
    "catalog-timeout": "Graphene's database did not answer in time. Send again later.",
    "catalog-error": "Graphene's database answered with an error or something unreadable. Send again later.",
    "artifacts-unauthorized": "The repository refuses our credentials. Operator: DEPLOYER_ARTIFACTS__USERNAME, __PASSWORD.",
    "artifacts-unavailable": "The repository cannot be reached. Send again later.",
    "artifacts-timeout": "The repository did not answer in time. Send again later.",
    "artifacts-error": "The repository answered with an error. Send again later.",
    # submit
    "playground-unauthorized": "The playground does not accept this worker's address. Operator: `allowed_ip_addresses` there.",
    "playground-unavailable": "The playground cannot be reached. Send again later.",
    "playground-busy": "The playground asked to come back later. Send again later.",
    "attempt-late": "The worker was held up and its time to send was over; nothing was sent. Send again later.",
}

FAILED: dict[str, str] = {
    # submit
    "playground-redirected": "The playground answered with a redirect: it could not read or deploy the bundle. Tell the operator.",
    "playground-refused": "The playground refused the bundle; the message gives its reason. Correct it, or tell the operator.",
    "playground-name-taken": "The playground made no deployment: another user owns one of this name. Rename the pipeline.",
    "deployment-failed": "The bundle's script failed on the playground; the message gives its reason. Correct it, or tell the operator.",
    "outcome-unknown": "The playground did not answer: it may or may not have deployed. Operator: `playground-deployer resolve`.",
    "resolved-as-failed": "It was settled as failed; the message says by whom and why. Send it again when that is mended.",
    "unresolved": "The playground did not answer, and nobody settled it in time. Look at the dashboard, then send again.",
    "request-gone": "It was to be tried again, but Kafka has deleted its record. Send it again.",
    # bundle
    "overrides-invalid": "The operator's overrides do not fit this solution; the message names the place. Tell the operator.",
    # anywhere
    "worker-died": "Three workers died while they built its bundle. Tell the operator; send it again when that is mended.",
    "internal": "A defect of the deployer; its log has the details under the request id. Tell the operator.",
}

CODES = REJECTED | UNAVAILABLE | FAILED


def one_line(text: str) -> str:
    """Sentences for people may quote what users wrote; no control or direction character of theirs gets through."""
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)


class DeploymentError(Exception):
    """Ends a request. `message` is one sentence for the user and holds no secret."""

    state: ClassVar[State]
    stage: Stage
    retryable: ClassVar[bool] = False
    codes: ClassVar[Mapping[str, str]]

    def __init__(self, code: str, message: str) -> None:
        message = one_line(message)
        super().__init__(message)
        if code not in self.codes:
            raise KeyError(f"{code} is no code of {type(self).__name__} in worker.errors")
        self.code = code
        self.message = message

    def info(self) -> ErrorInfo:
        """The error as a status carries it."""
        return ErrorInfo(code=self.code, message=self.message[:1000], stage=self.stage, retryable=self.retryable)


class Rejected(DeploymentError):
    """The request's own fault."""

    state = State.REJECTED
    codes = REJECTED


class Unreadable(Rejected):
    """The record is no deployment request."""

    stage = "receive"


class Conflict(Rejected):
    """Its id is another request's."""

    stage = "receive"


class Unauthenticated(Rejected):
    """No token, or one that proves nothing."""

    stage = "authenticate"


class NotAllowed(Rejected):
    """A valid user who may not do this."""

    stage = "authorise"


class NotFound(Rejected):
    """Something the solution names does not exist."""

    stage = "fetch"


class NotDeployable(Rejected):
    """The solution cannot run on a playground."""

    stage = "plan"


class Failed(DeploymentError):
    """Not the request's fault."""

    state = State.FAILED
    codes = FAILED


class Unavailable(Failed):
    """A dependency is down, slow or refuses our credentials."""

    retryable = True
    codes = UNAVAILABLE

    def __init__(self, code: str, message: str, stage: Stage = "fetch", *, retry_after: float | None = None) -> None:
        """`retry_after`: seconds the dependency wants to be left alone."""
        super().__init__(code, message)
        self.stage = stage
        self.retry_after = retry_after

    @property
    def dependency(self) -> str:
        """Who it was: keys, catalog, artifacts or playground."""
        return self.code.partition("-")[0]

    @property
    def needs_operator(self) -> bool:
        """Our credentials or our address are refused: no other request will fare better."""
        return self.code.endswith("-unauthorized")


class PlaygroundRefused(Failed):
    """The playground server said no."""

    stage = "submit"


class OutcomeUnknown(Failed):
    """Bytes of the bundle were sent and no answer came."""

    stage = "submit"

    def __init__(self, message: str) -> None:
        super().__init__("outcome-unknown", message)


class NotSettled(Failed):
    """The outcome of its POST stayed unknown, or was settled as failed."""

    stage = "submit"


class WorkerDied(Failed):
    """Three workers in a row ended while they built its bundle."""

    stage = "internal"

    def __init__(self) -> None:
        super().__init__("worker-died", CODES["worker-died"])


class OverridesInvalid(Failed):
    """The operator's overrides spoil a manifest. Not retryable: this worker keeps the overrides it started with."""

    stage = "bundle"

    def __init__(self, message: str) -> None:
        super().__init__("overrides-invalid", message)


class Internal(Failed):
    """A defect of ours."""

    stage = "internal"

    def __init__(self) -> None:
        super().__init__(
            "internal", "The deployer met a defect of its own; its log has the details. Tell the operator."
        )


class StatusNotPublished(Exception):
    """Kafka did not take a status. The record stays uncommitted and is read again."""


class PartitionLost(Exception):
    """The group has given the partition to another worker, or is about to."""


class ConfigurationError(Exception):
    """The worker cannot start. The message names the setting and the way out."""
