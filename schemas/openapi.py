"""The OpenAPI 3.1 document: the gateway's HTTP interface for programs and for the portal, without its pages.

The payload of a response is a status as on the topic, or problem details (RFC 9457).
"""

from collections.abc import Mapping
from typing import Any

from schemas.asyncapi import CONTRACT_VERSION

_Json = dict[str, Any]

SERVER = "http://localhost:8081"  # each gateway replaces it with its own address

_STATUS = {"$ref": "#/components/schemas/DeploymentStatus"}
_BEARER: list[_Json] = [{"bearer": []}]
_BEARER_OR_SESSION = [*_BEARER, {"session": []}]
_PORTAL: list[_Json] = [{"bearer": []}, {"token": []}, {"bareToken": []}, {"tokenInAddress": []}]

# Problem code → meaning. Responses also have codes of the contract: for tokens, and for solutions built here.
PROBLEMS: Mapping[str, str] = {
    "not-json": "The body is not strict JSON.",
    "invalid-request": "A field is missing or has the wrong type, or the Idempotency-Key is too long or not printable.",
    "not-a-form": "The form is neither urlencoded nor multipart, is not UTF-8, or is incomplete.",
    "token-…": "There is no valid token; docs/contract.md lists the codes with this prefix.",
    "session-missing": "There is neither a token nor a session, or the session has expired.",
    "not-a-click": "The address was prefetched, embedded or called by a page's script, and it deploys or came with "
    "the portal's cookie alone.",
    "other-origin": "The form was sent from another site's page.",
    "not-an-id": "An id in the address or the form is not a UUID.",
    "not-found": "There is nothing at this address.",
    "request-unknown": "The request does not exist, or belongs to another user.",
    "not-ended": "The request has no final status yet, so it cannot be deployed again.",
    "not-possible": "The action is not possible for this request; the sentence has the reason.",
    "too-slow": "The request took more than 10 s to arrive.",
    "too-large": "The body has more than 64 KiB.",
    "idempotency-key-reused": "The Idempotency-Key was already used with another solution or revision.",
    "too-many-requests": "The user has too many open deployments, HTTP requests in a minute, downloads, or event "
    "streams and long polls.",
    "http-…": "An HTTP error with this status code.",
    "internal": "A bug in the gateway; its log has the details under the number in the sentence.",
    "kafka-unavailable": "The request could not be published; sending it again with the same key is safe.",
    "keys-unavailable": "The issuer's public keys cannot be fetched.",
}


def document(schemas: Mapping[str, Any], examples: Mapping[str, Any]) -> _Json:
    """Return the whole document.

    `schemas` has DeploymentStatus and its parts by name; `examples` has the value of one `status`.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Playground deployer: gateway",
            "version": CONTRACT_VERSION,
            "description": "The HTTP front door: deployments for programs, and the addresses that Graphene's portal "
            "opens. Every error response to a program is problem details with a stable `code`.",
        },
        "servers": [{"url": SERVER}],
        "tags": [
            {"name": "deployments", "description": "For programs."},
            {"name": "portal", "description": "Addresses that Graphene's portal opens in a browser."},
            {"name": "operation", "description": "Probes and metrics; none of them is secret."},
        ],
        "paths": _deployments(examples["status"]) | _portal() | _operation(),
        "components": {
            "securitySchemes": _security_schemes(),
            "parameters": _parameters(),
            "headers": _headers(),
            "responses": _problems(),
            "schemas": dict(schemas) | _schemas(),
        },
    }


# --------------------------------------------------------------------------------------------------------------- paths


def _deployments(status: _Json) -> _Json:
    request_id = status["requestId"]
    first = {
        name: status[name] for name in ("requestId", "time", "attempt", "solutionId", "revisionId", "fingerprint")
    } | {"sequence": 0, "state": "accepted", "message": "The request is accepted.", "source": status["source"]}
    published = {"summary": "There is no status yet", "value": {"requestId": request_id}}
    events = f"id: {request_id}:0\nevent: status\ndata: {{…}}\n\nid: {request_id}:3\nevent: over\ndata: \n\n"
    return {
        "/v1/deployments": {
            "post": {
                "operationId": "createDeployment",
                "tags": ["deployments"],
                "summary": "Deploy one revision of one solution for the token's user.",
                "description": "Publishes the request, and waits at most 3 s, or as `Prefer` says, for its first "
                "status. Repeated requests with the same `Idempotency-Key` are one deployment.",
                "security": _BEARER,
                "parameters": [_parameter("IdempotencyKey"), _parameter("Prefer")],
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": {"$ref": "#/components/schemas/DeploymentWanted"},
                            "example": {name: status[name] for name in ("solutionId", "revisionId")},
                        }
                    },
                },
                "responses": {
                    "202": _answer(
                        "The request is published: its last status, or only its id if there is no status yet.",
                        _last_status({"accepted": {"value": first}, "published": published}),
                        "Location",
                        "Retry-After",
                        "ETag",
                    ),
                    **_refusals("400", "401", "408", "413", "422", "429", "500", "503"),
                },
            }
        },
        "/v1/deployments/{id}": {
            "get": {
                "operationId": "readDeployment",
                "tags": ["deployments"],
                "summary": "Read the last status of a request, or wait for the next one.",
                "description": "With `Prefer: wait` and `If-None-Match`, the response is sent as soon as there is "
                "another status. With `Prefer: wait` alone, it is sent as soon as the request is final or parked. "
                "In both cases it is sent at the latest when the time is up.",
                "security": _BEARER_OR_SESSION,
                "parameters": [_parameter("RequestId"), _parameter("IfNoneMatch"), _parameter("Prefer")],
                "responses": {
                    "200": _answer(
                        "The last status, as on the topic.",
                        _last_status({"status": {"value": status}, "published": published}),
                        "ETag",
                    ),
                    "304": _answer("The last status still matches `If-None-Match`.", None, "ETag"),
                    **_refusals("401", "404", "429", "500", "503"),
                },
            }
        },
        "/v1/deployments/{id}/events": {
            "get": {
                "operationId": "followDeployment",
                "tags": ["deployments"],
                "summary": "Follow a request as server-sent events.",
                "description": "The first event is the last status, regardless of what was read before; each further "
                "status is another event. The event `over` follows the final status, and the stream "
                "is closed. A comment every 15 s keeps the connection open.",
                "security": _BEARER_OR_SESSION,
                "parameters": [_parameter("RequestId"), _parameter("LastEventId")],
                "responses": {
                    "200": _answer(
                        "Events `status`, with a status as on the topic as data, and `over`, without data.",
                        {"text/event-stream": {"schema": {"type": "string"}, "example": events}},
                    ),
                    "204": _answer("`Last-Event-ID` is the id of the final status: do not reconnect.", None),
                    **_refusals("401", "404", "429", "500", "503"),
                },
            }
        },
    }


def _portal() -> _Json:
    ids = [_parameter("SolutionId"), _parameter("RevisionId")]
    clicked = {
        "302": _answer(
            "The solution is deployed: redirect to its page on the dashboard.",
            None,
            "Location",
            "Set-Cookie",
        ),
        "303": _answer(
            "The deployment takes longer or has failed: redirect to the request's page on the gateway.",
            None,
            "Location",
            "Set-Cookie",
        ),
        **_refusals("401", "404", "429", "500", "503", media=_FOR_PEOPLE),
    }
    return {
        "/deploy/{solution}/{revision}": {
            "get": {
                "operationId": "click",
                "tags": ["portal"],
                "summary": "Deploy as the portal does, with a link that is opened in a tab.",
                "description": "Joins the request for the same user, solution and revision that is open or that "
                "finished less than a minute ago. Waits 3 s, or as `Prefer` says. A program whose "
                "request was rejected or has failed also gets 404, with the sentence and its code.",
                "security": _PORTAL,
                "parameters": [*ids, _parameter("Prefer")],
                "responses": clicked | _refusals("403", media=_FOR_PEOPLE),
            }
        },
        "/deploy": {
            "post": {
                "operationId": "postedClick",
                "tags": ["portal"],
                "summary": "Deploy with a form, which keeps the token out of the address.",
                "security": [],
                "parameters": [_parameter("Prefer")],
                "requestBody": {
                    "required": True,
                    "content": {
                        media: {"schema": {"$ref": "#/components/schemas/Click"}}
                        for media in ("application/x-www-form-urlencoded", "multipart/form-data")
                    },
                },
                "responses": clicked | _refusals("400", "408", "413", "415", media=_FOR_PEOPLE),
            }
        },
        "/getSolutionZip/{solution}/{revision}": {
            "get": {
                "operationId": "solutionZip",
                "tags": ["portal"],
                "summary": "Build the bundle and download it; nothing is deployed.",
                "description": "Needs neither Kafka nor the playground.",
                "security": [*_PORTAL, {"portalCookie": []}],
                "parameters": ids,
                "responses": {
                    "200": _answer(
                        "solution.zip.",
                        {"application/zip": {"schema": {"type": "string", "contentMediaType": "application/zip"}}},
                        "Content-Disposition",
                    ),
                    **_refusals("401", "403", "404", "429", "500", "503", media=_FOR_PEOPLE),
                },
            }
        },
    }


def _operation() -> _Json:
    health = {"application/json": {"schema": {"$ref": "#/components/schemas/Health"}}}
    return {
        "/live": _probe("live", "Whether the process is running.", {"200": _answer("It is running.", health)}),
        "/ready": _probe(
            "ready",
            "Whether the gateway knows all requests and can publish requests.",
            {
                "200": _answer("It is ready.", health),
                "503": _answer("It is not ready; `reason` has the cause.", health),
            },
        ),
        "/metrics": _probe(
            "metrics",
            "Metrics in Prometheus' formats.",
            {"200": _answer("The metrics.", {"text/plain": {"schema": {"type": "string"}}})},
        ),
        "/openapi.json": _probe(
            "openapi",
            "This document, with the gateway's address.",
            {"200": _answer("The document.", {"application/json": {"schema": {"type": "object"}}})},
        ),
    }


def _probe(name: str, summary: str, responses: _Json) -> _Json:
    return {
        "get": {
            "operationId": name,
            "tags": ["operation"],
            "summary": summary,
            "security": [],
            "responses": responses,
        }
    }


# ---------------------------------------------------------------------------------------------------------- components

_FOR_PEOPLE = "text"


def _answer(description: str, content: _Json | None, *headers: str) -> _Json:
    answer: _Json = {"description": description}
    if headers:
        answer["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in headers}
    return answer | ({"content": content} if content else {})


def _last_status(examples: _Json) -> _Json:
    schema = {"anyOf": [_STATUS, {"$ref": "#/components/schemas/Published"}]}
    return {"application/json": {"schema": schema, "examples": examples}}


def _parameter(name: str) -> _Json:
    return {"$ref": f"#/components/parameters/{name}"}


def _refusals(*numbers: str, media: str = "") -> _Json:
    return {it: {"$ref": f"#/components/responses/{media}{it}"} for it in numbers}


def _security_schemes() -> _Json:
    return {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "The user's Graphene token.",
        },
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": "playground-session",
            "description": "Set by /deploy; read-only. Its name is `__Host-playground` if the gateway has a "
            "host of its own.",
        },
        "token": {"type": "apiKey", "in": "header", "name": "jwtToken", "description": "The user's Graphene token."},
        "bareToken": {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "The user's Graphene token without the prefix `Bearer`.",
        },
        "tokenInAddress": {
            "type": "apiKey",
            "in": "query",
            "name": "jwtToken",
            "description": "The user's Graphene token, as the portal puts it into the address.",
        },
        "portalCookie": {
            "type": "apiKey",
            "in": "cookie",
            "name": "authToken",
            "description": "The portal's own cookie; it does not permit deployments.",
        },
    }


def _parameters() -> _Json:
    uuid = {"type": "string", "format": "uuid"}
    return {
        "RequestId": {
            "name": "id",
            "in": "path",
            "required": True,
            "description": "The request's id, as in `requestId` and `Location`.",
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"},
        },
        "SolutionId": {
            "name": "solution",
            "in": "path",
            "required": True,
            "description": "Graphene's solution id.",
            "schema": uuid,
        },
        "RevisionId": {
            "name": "revision",
            "in": "path",
            "required": True,
            "description": "Graphene's revision id.",
            "schema": uuid,
        },
        "IdempotencyKey": {
            "name": "Idempotency-Key",
            "in": "header",
            "description": "An identifier of this deployment, unique for the user: at most 255 characters, quoted or "
            "not. Without a key, each call is another deployment.",
            "schema": {"type": "string", "maxLength": 255},
            "example": '"order-4711"',
        },
        "Prefer": {
            "name": "Prefer",
            "in": "header",
            "description": "`wait=<seconds>` (RFC 7240): how long the response may wait for news, at most 300.",
            "schema": {"type": "string"},
            "example": "wait=30",
        },
        "IfNoneMatch": {
            "name": "If-None-Match",
            "in": "header",
            "description": "The `ETag` of the last known status.",
            "schema": {"type": "string"},
            "example": '"sudoku-2027-03-01-0007:2"',
        },
        "LastEventId": {
            "name": "Last-Event-ID",
            "in": "header",
            "description": "The id of the last received event; browsers send it when they reconnect.",
            "schema": {"type": "string"},
            "example": "sudoku-2027-03-01-0007:3",
        },
    }


def _headers() -> _Json:
    return {
        "Location": {"description": "The address to follow.", "schema": {"type": "string", "format": "uri-reference"}},
        "Retry-After": {"description": "Seconds before the next request.", "schema": {"type": "integer"}},
        "ETag": {
            "description": '`"<requestId>:<sequence>"`; absent before the first status.',
            "schema": {"type": "string"},
        },
        "WWW-Authenticate": {"description": "The required scheme: Bearer.", "schema": {"type": "string"}},
        "Set-Cookie": {"description": "The session.", "schema": {"type": "string"}},
        "Content-Disposition": {"description": "The file's name.", "schema": {"type": "string"}},
    }


# Status → meaning, codes, and headers.
_REFUSED: Mapping[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "400": ("The request is wrong.", ("not-json", "invalid-request", "not-a-form"), ()),
    "401": ("There is neither a valid token nor a session.", ("token-…", "session-missing"), ("WWW-Authenticate",)),
    "403": ("The request is not a click.", ("not-a-click",), ()),
    "404": ("It was not found, or belongs to another user.", ("request-unknown", "not-an-id", "not-found"), ()),
    "408": ("The body took too long to arrive.", ("too-slow",), ()),
    "413": ("The body is too large.", ("too-large",), ()),
    "415": ("The body has an unsupported type.", ("not-a-form",), ()),
    "422": ("The key belongs to another deployment.", ("idempotency-key-reused",), ()),
    "429": ("The user has reached a limit.", ("too-many-requests",), ("Retry-After",)),
    "500": ("A bug.", ("internal",), ()),
    "503": (
        "Kafka or the issuer's keys cannot be reached.",
        ("kafka-unavailable", "keys-unavailable"),
        ("Retry-After",),
    ),
}


_FOR_PROGRAMS = ("400", "401", "404", "408", "413", "422", "429", "500", "503")
_FOR_BROWSERS = ("400", "401", "403", "404", "408", "413", "415", "429", "500", "503")


def _problems() -> _Json:
    people = {"text/plain": {"schema": {"type": "string"}}, "text/html": {"schema": {"type": "string"}}}
    programs = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    responses: _Json = {}
    for number in _FOR_PROGRAMS:
        responses[number] = _answer(_meaning(number), programs, *_REFUSED[number][2])
    for number in _FOR_BROWSERS:
        # For a failed request, and for a user who is known and has to wait.
        cookie = ("Set-Cookie",) if number in ("404", "429", "503") else ()
        text = f"{_meaning(number)} The body is a sentence with its code, or a page for a browser."
        responses[_FOR_PEOPLE + number] = _answer(text, people, *_REFUSED[number][2], *cookie)
    return responses


def _meaning(number: str) -> str:
    description, codes, _ = _REFUSED[number]
    return " ".join([description, *(f"`{code}`: {PROBLEMS[code]}" for code in codes)])


def _schemas() -> _Json:
    uuid = {"type": "string", "format": "uuid"}
    request_id = {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$", "description": "The request's id."}
    return {
        "DeploymentWanted": {
            "type": "object",
            "description": "The revision to deploy. Unknown fields are ignored.",
            "required": ["solutionId", "revisionId"],
            "properties": {
                "solutionId": uuid | {"description": "Graphene's solution id."},
                "revisionId": uuid | {"description": "Graphene's revision id; it must belong to the solution."},
            },
        },
        "Published": {
            "type": "object",
            "description": "A request without a status so far.",
            "required": ["requestId"],
            "properties": {"requestId": request_id},
        },
        "Click": {
            "type": "object",
            "description": "The portal's form.",
            "required": ["solutionId", "revisionId", "jwtToken"],
            "properties": {
                "solutionId": uuid | {"description": "Graphene's solution id."},
                "revisionId": uuid | {"description": "Graphene's revision id."},
                "jwtToken": {"type": "string", "description": "The user's Graphene token."},
            },
        },
        "Problem": {
            "type": "object",
            "description": "Problem details (RFC 9457).",
            "required": ["type", "status", "title", "detail", "code"],
            "properties": {
                "type": {"type": "string", "description": "Always about:blank: `code` identifies the problem."},
                "status": {"type": "integer", "description": "The status of the response."},
                "title": {"type": "string", "description": "The problem."},
                "detail": {"type": "string", "description": "The problem and its remedy, for people; may change."},
                "code": {
                    "type": "string",
                    "pattern": "^[a-z][a-z0-9-]*$",
                    "description": "Stable. " + " ".join(f"`{code}`: {meaning}" for code, meaning in PROBLEMS.items()),
                },
            },
        },
        "Health": {
            "type": "object",
            "description": "The result of a probe.",
            "required": ["status"],
            "properties": {
                "status": {"enum": ["ok", "failing"], "description": "Whether the probe succeeds."},
                "reason": {"type": "string", "description": "The cause of a failure."},
            },
        },
    }
