"""Checks of the gateway's answers against its OpenAPI document."""

import json
from functools import cache
from typing import Any

from aiohttp import web
from jsonschema import Draft202012Validator

from schemas.export import GENERATED

Json = dict[str, Any]

# Pages for people, which the document does not describe: GET and POST.
PAGES = {
    "/", "/requests", "/requests/events", "/requests/{id}", "/requests/{id}/events", "/requests/{id}/again",
    "/requests/{id}/settle", "/requests/{id}/replay", "/parked", "/log-out", "/static/{hash}/{name}",
}  # fmt: skip
# Headers of every answer, or of HTTP itself.
ORDINARY = {
    "Cache-Control", "Content-Length", "Content-Security-Policy", "Content-Type", "Cross-Origin-Opener-Policy",
    "Cross-Origin-Resource-Policy", "Date", "Referrer-Policy", "Server", "Strict-Transport-Security",
    "X-Content-Type-Options", "X-Robots-Tag", "Connection", "Transfer-Encoding", "X-Accel-Buffering",
}  # fmt: skip


@cache
def document() -> Json:
    """Return the committed document."""
    value: Json = json.loads((GENERATED / "openapi.json").read_text(encoding="utf-8"))
    return value


def resolved(node: Json) -> Json:
    """Return the node, or the target of its `$ref`. Raises KeyError."""
    while "$ref" in node:
        found: Any = document()
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        node = found
    return node


@cache
def validator(schema: str) -> Draft202012Validator:
    """Return the validator of a schema in the document, given as JSON."""
    return Draft202012Validator(json.loads(schema) | {"components": document()["components"]})


def wrong_with(request: web.Request, response: web.StreamResponse, prefix: str = "") -> str | None:
    """Return what the document does not allow in an answer; None for a conforming answer or a page."""
    resource = request.match_info.route.resource
    if resource is None or (path := resource.canonical.removeprefix(prefix) or "/") in PAGES:
        return None
    where = f"{request.method} {path}: {response.status}"
    answers = document()["paths"].get(path, {}).get(request.method.lower(), {}).get("responses", {})
    if str(response.status) not in answers:
        return where
    answer = resolved(answers[str(response.status)])
    if undeclared := {*response.headers} - ORDINARY - {*answer.get("headers", {})}:
        return f"{where} has the headers {undeclared}"
    content = answer.get("content", {})
    if not content:
        return f"{where} has a body" if isinstance(response, web.Response) and response.body else None
    if response.content_type not in content:
        return f"{where} is {response.content_type}"
    body = getattr(response, "body", None)
    if "json" not in response.content_type or not isinstance(body, bytes):
        return None
    errors = validator(json.dumps(content[response.content_type]["schema"])).iter_errors(json.loads(body))
    return next((f"{where}: {it.message[:200]}" for it in errors), None)
