"""The texts of the pages. The messages of requests come from the workers."""

from collections.abc import Mapping
from typing import Final

from schemas import Kind, State

STATES: Final[Mapping[State | None, tuple[str, str]]] = {
    None: ("Sent", "Your request has been sent and is waiting for a worker."),
    State.ACCEPTED: ("Accepted", "Your request has been accepted. It is next in your queue."),
    State.BUILDING: ("Building", "The bundle for the playground is being built."),
    State.SUBMITTING: ("Deploying", "The playground is deploying the solution. This may take a few minutes."),
    State.RETRYING: ("Trying again", "A temporary problem occurred. The deployment will be retried automatically."),
    State.PARKED: (
        "Waiting for an operator",
        "The playground gave no clear answer. An operator will check the outcome. You do not need to do anything.",
    ),
    State.DEPLOYED: ("Deployed", "The solution is on the playground. Its containers may take a few minutes to start."),
    State.REJECTED: ("Rejected", "The solution cannot be deployed as it is."),
    State.FAILED: ("Failed", "The solution was not deployed."),
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
    "now": ", in progress",
    "waits": ", waiting",
    "stopped": ", stopped here",
    "next": ", not yet",
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
    "you_are": "Logged in as",
    "log_out": "Log out here",
    "open": "Open in the playground",
    "log_in_there": "Log in there as",
    "only_its_owner": "Only its owner sees it there, logged in with their own e-mail address.",
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
    "version": "Version",
    "kind": "Kind",
    "attempt": "Attempt",
    "bundle": "Bundle",
    "code": "Error code",
    "deployment": "Deployment",
    "time": "Time",
    "state": "State",
    "every_step": "All steps",
    "next_attempt": "Earliest next attempt",
    "earlier_gone": "Earlier steps are no longer available.",
    "as_of": "The deployment service is not available at the moment. This page shows what was known at",
    "never_read": "The deployment service is not available at the moment, so your deployments cannot be shown yet.",
    "may_close": "You can close this page. The deployment continues, and the link below brings you back here.",
    "lost": "The connection was lost and is being retried. This page shows what was known at",
    "expired": "Your session has expired. Log in to Graphene and open the request from there.",
    "busy": "You have too many pages open. Close one, and this page will update again.",
    "reload": "Reload this page to see updates.",
    "no_session": "Log in first",
    "no_session_text": "You are not logged in here. Log in to Graphene and choose Deploy for Execution there.",
    "log_in_hint": "Log in to Graphene and choose Deploy for Execution there.",
    "to_portal": "Go to Graphene",
    "not_found": "Request not found",
    "not_found_text": "The request does not exist, or it belongs to another user.",
    "to_mine": "See your deployments",
    "error": "Something went wrong",
    "nothing_here": "Not found",
    "not_sent": "Not sent yet",
    "too_many": "Limit reached",
    "parked": "Waiting for an operator",
    "parked_hint": "Check on the playground whether the solution is deployed, then record the outcome here.",
    "parked_none": "No request is waiting for an operator.",
    "settle_hint": "Check the playground first. Your answer is published under your name.",
    "settle_deployed": "It is deployed",
    "settle_failed": "It is not deployed",
    "settle_retry": "It is not deployed; send it again",
    "failed": "Failed",
    "failed_hint": "Requests whose retries ran out have dead letters and can be replayed.",
    "replay": "Replay",
    "replay_hint": "Sends the dead letter's request again on behalf of its user.",
    "reason": "How you know",
    "reason_example": "e.g. the dashboard lists it",
    "skip": "Skip to the content",
}
