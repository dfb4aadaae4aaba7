"""The texts of the pages. The messages of requests come from the workers."""

from collections.abc import Mapping
from typing import Final

from schemas import Kind, State

STATES: Final[Mapping[State | None, tuple[str, str]]] = {
    None: ("Sent", "Your request is sent and waits for a worker."),
    State.ACCEPTED: ("Accepted", "Your request is accepted. It is the next of yours to be deployed."),
    State.BUILDING: ("Building", "The bundle for the playground is being built."),
    State.SUBMITTING: ("Deploying", "The playground is deploying it. That may take some minutes."),
    State.RETRYING: ("Trying again", "Something did not answer. The deployment is retried automatically."),
    State.PARKED: (
        "Waiting for an operator",
        "The playground gave no clear answer. An operator checks whether it is deployed. You need not do anything.",
    ),
    State.DEPLOYED: ("Deployed", "It is on the playground. Its containers may take some minutes to start."),
    State.REJECTED: ("Rejected", "It cannot be deployed as it is."),
    State.FAILED: ("Failed", "It was not deployed."),
}
"""State → its name, and its meaning for the user. None: published, without a status so far."""

STEPS: Final = (State.ACCEPTED, State.BUILDING, State.SUBMITTING, State.DEPLOYED)
"""The steps of a request that is deployed without a failure."""

STEP_NAMES: Final[Mapping[State, tuple[str, str]]] = {
    State.ACCEPTED: ("Waiting for its turn", "Accepted"),
    State.BUILDING: ("Building the bundle", "Bundle built"),
    State.SUBMITTING: ("Deploying on the playground", "Sent to the playground"),
    State.DEPLOYED: ("Deployed", "Deployed"),
}
"""Step → its name while it runs, waits or has stopped, and its name when it is done or has not begun."""

NOT_ACCEPTED: Final = ("Waiting for a worker", "Not accepted")
"""The name of the first step until a worker accepts the request, and its name if the request is not accepted."""

MARKS: Final[Mapping[str, str]] = {
    "done": ", done",
    "now": ", under way",
    "waits": ", waiting",
    "stopped": ", ended here",
    "next": ", to come",
}
"""Mark of a step → what a screen reader reads after its name. Other users see an icon."""

KINDS: Final[Mapping[Kind, str]] = {Kind.SINGLE_MODEL: "Single model", Kind.PIPELINE: "Pipeline"}

TEXTS: Final[Mapping[str, str]] = {
    "title": "Playground deployments",
    "operators": "For operators",
    "pages": "Pages",
    "yours": "Yours",
    "everybodys": "All",
    "to_resolve": "To resolve",
    "mine": "Your deployments",
    "all": "All deployments",
    "none": "You have no deployments yet.",
    "none_hint": "Choose a solution in Graphene's Design Studio, then Deploy for Execution.",
    "you_are": "You are",
    "log_out": "Log out here",
    "open": "Open in the playground",
    "log_in_there": "Log in there as",
    "only_its_owner": "Only its owner sees it there, under their own e-mail.",
    "copy_link": "Copy",
    "again": "Deploy again",
    "again_hint": "Sends the same solution and revision as a new request.",
    "link": "Link to this page",
    "steps": "Steps",
    "nodes": "Containers",
    "warnings": "Notes",
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
    "as_of": "The deployment service is not available at the moment. This page shows what was known at",
    "never_read": "The deployment service is not available at the moment, so your deployments are not shown yet.",
    "may_close": "You may close this page. The deployment continues, and the link below leads back here.",
    "lost": "The connection was lost and is being retried. This page shows what was known at",
    "expired": "Your log-in here has expired. Log in to Graphene and open the request from there.",
    "busy": "Too many pages of yours are open. Close one, and this page updates again.",
    "reload": "Reload this page to see what is new.",
    "no_session": "Log in first",
    "no_session_text": "This page needs to know who you are. Log in to Graphene and choose Deploy for Execution there.",
    "log_in_hint": "Log in to Graphene and choose Deploy for Execution there.",
    "to_portal": "Go to Graphene",
    "not_found": "There is no such request",
    "not_found_text": "The request does not exist, or it belongs to another user.",
    "to_mine": "See your deployments",
    "error": "That did not work",
    "nothing_here": "Nothing here",
    "not_sent": "Not sent yet",
    "too_many": "Too many at once",
    "parked": "Waiting for an operator",
    "parked_hint": "Check on the playground whether it is deployed, then record it here.",
    "parked_none": "No request is waiting for an operator.",
    "settle_hint": "Check the playground first. Your answer is published under your name.",
    "settle_deployed": "It is deployed",
    "settle_failed": "It is not deployed",
    "settle_retry": "It is not deployed; send it again",
    "failed": "Failed",
    "failed_hint": "Requests whose retries ran out have dead letters and can be replayed.",
    "replay": "Replay",
    "replay_hint": "Sends the request of the dead letter again, as its user.",
    "reason": "How you know",
    "reason_example": "e.g. the dashboard lists it",
    "skip": "Skip to the content",
}
