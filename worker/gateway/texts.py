"""Every sentence that the pages say of their own, in one table; messages of requests come from the workers."""

from collections.abc import Mapping
from typing import Final

from schemas import Kind, State

STATES: Final[Mapping[State | None, tuple[str, str]]] = {
    None: ("Sent", "Your request is sent and waits for a worker."),
    State.ACCEPTED: ("Accepted", "Your request is accepted. It is next."),
    State.BUILDING: ("Building", "The bundle for the playground is being built."),
    State.SUBMITTING: ("Deploying", "The playground is deploying it. That may take some minutes."),
    State.RETRYING: ("Trying again", "Something did not answer. The deployment is tried again by itself."),
    State.PARKED: (
        "Waiting for an operator",
        "The playground gave no clear answer. An operator looks whether it is deployed; there is nothing you must do.",
    ),
    State.DEPLOYED: ("Deployed", "The playground has deployed it."),
    State.REJECTED: ("Rejected", "It cannot be deployed as it is."),
    State.FAILED: ("Failed", "It was not deployed."),
}
"""State → its name, and what it means for the one who waits. None: published, and no worker has said anything yet."""

STEPS: Final = (State.ACCEPTED, State.BUILDING, State.SUBMITTING, State.DEPLOYED)
"""The way of a request where nothing goes wrong."""

STEP_NAMES: Final[Mapping[State, tuple[str, str]]] = {
    State.ACCEPTED: ("Waiting for its turn", "Accepted"),
    State.BUILDING: ("Building the bundle", "Bundle built"),
    State.SUBMITTING: ("Deploying on the playground", "Sent to the playground"),
    State.DEPLOYED: ("Deployed", "Deployed"),
}
"""Step → its name while it is at work, or where it ended badly; and when it is done, or to come."""

NOT_ACCEPTED: Final = ("Waiting for a worker", "Not accepted")
"""The first step before a worker has accepted the request, and where none did."""

MARKS: Final[Mapping[str, str]] = {
    "done": ", done",
    "now": ", under way",
    "waits": ", waiting",
    "stopped": ", ended here",
    "next": ", to come",
}
"""Mark of a step → what a screen reader says after its name; others see a sign."""

KINDS: Final[Mapping[Kind, str]] = {Kind.SINGLE_MODEL: "Single model", Kind.PIPELINE: "Pipeline"}

TEXTS: Final[Mapping[str, str]] = {
    "title": "Playground deployments",
    "operators": "For operators",
    "mine": "Your deployments",
    "all": "All deployments",
    "none": "You have no deployments yet.",
    "none_hint": "Choose a solution in Graphene's Design Studio, then Deploy for Execution.",
    "you_are": "You are",
    "log_out": "Forget me here",
    "open": "Open in the playground",
    "log_in_there": "Log in there as",
    "again": "Deploy again",
    "again_hint": "Sends the same solution and revision once more, as a new request.",
    "link": "Link to this page",
    "steps": "Steps",
    "nodes": "Containers",
    "warnings": "What was changed on the way",
    "details": "Details",
    "request": "Request",
    "solution": "Solution",
    "revision": "Revision",
    "kind": "Kind",
    "attempt": "Attempt",
    "bundle": "Bundle",
    "code": "Error code",
    "deployment": "Deployment",
    "time": "Time",
    "state": "State",
    "every_step": "Every step",
    "next_attempt": "Next attempt, not before",
    "earlier_gone": "Earlier steps are no longer kept.",
    "as_of": "Kafka does not answer. This is what was known at",
    "may_close": "You may close this page. The deployment goes on, and the link below leads back here.",
    "lost": "The connection is lost, and tried again by itself. What you see is as of",
    "reload": "Reload this page to see what is new.",
    "no_session": "Log in first",
    "no_session_text": "This page needs to know who you are. Log in to Graphene and choose Deploy for Execution there.",
    "log_in_hint": "Log in to Graphene and choose Deploy for Execution there.",
    "to_portal": "Go to Graphene",
    "not_found": "There is no such request",
    "not_found_text": "Nothing of this address is known, or it is somebody else's.",
    "to_mine": "See your deployments",
    "error": "That did not work",
    "parked": "Waiting for an operator",
    "parked_hint": "Look at the playground whether it is deployed, then say so here.",
    "parked_none": "No request waits for you.",
    "settle_hint": "Look at the playground first. What you say is published under your name.",
    "settle_deployed": "It is deployed",
    "settle_failed": "It is not deployed",
    "settle_retry": "It is not deployed; send it again",
    "failed": "Failed",
    "failed_hint": "Those whose retries ran out are dead letters, and can be sent again.",
    "replay": "Replay",
    "replay_hint": "Sends the dead letter's request again, as its user.",
    "reason": "How you know",
    "skip": "Skip to the content",
}
