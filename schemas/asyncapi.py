"""The AsyncAPI 3.0 document: topics, their events, keys and headers.

Payload schemas use only the keywords of draft-07, which AsyncAPI's default dialect supports.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from schemas.events import DeploymentRequested, DeploymentSettled, DeploymentStatus, Message, ReplayPermitted

CONTRACT_VERSION = "1.0.0"  # of the events; schemas/CHANGELOG.md explains each version

_DAY_MS = 24 * 60 * 60 * 1000
_KAFKA = "0.5.0"  # version of AsyncAPI's Kafka bindings
_SOURCE = "/playground-deployer/playground-deployer"  # the deployer, then its consumer group
_ATTRIBUTES = ("ce_specversion", "ce_id", "ce_source", "ce_type")
_Json = dict[str, Any]


def document(schemas: Mapping[str, Any], examples: Mapping[str, Any]) -> _Json:
    """Return the whole document.

    `schemas` has the components by name, including the event classes. `examples` has the value of one
    record for each of `request`, `status`, `settlement`, `replay-permit`.
    """
    return {
        "asyncapi": "3.0.0",
        "id": "urn:graphene:playground-deployer",
        "info": {
            "title": "Playground deployer",
            "version": CONTRACT_VERSION,
            "description": "Reads deployment requests from Graphene's services and publishes the progress of each "
            "request on the status topic. Events are CloudEvents 1.0 in the Kafka binding; operations are those of the "
            "deployer.",
        },
        "defaultContentType": "application/json",
        "channels": _channels(),
        "operations": _operations(),
        "components": {"messages": _messages(examples), "schemas": dict(schemas)},
    }


_EVERY_TOPIC: _Json = {
    "max.message.bytes": Message.MAX_BYTES,
    "message.timestamp.type": "LogAppendTime",
}


def _channels() -> _Json:
    return {
        "requests": _channel(
            DeploymentRequested.TOPIC,
            "Deployment requests.",
            "Any number of partitions. Timestamps are the broker's own (LogAppendTime), because they decide whether a "
            "token was valid on arrival. Never compacted: a user's requests share one key. Retention stays below that "
            "of the status topic.",
            {"cleanup.policy": ["delete"]},
            "request",
        ),
        "status": _channel(
            DeploymentStatus.TOPIC,
            "The state of every request.",
            "At least as many partitions as the requests topic; a status has the same partition number as its request. "
            "Compaction leaves only the last status of an old request.",
            {
                "cleanup.policy": ["compact", "delete"],
                "retention.ms": 7 * _DAY_MS,
                "min.compaction.lag.ms": _DAY_MS,
            },
            "status",
        ),
        "settlements": _channel(
            DeploymentSettled.TOPIC,
            "Outcomes of POSTs that were unknown, from operators and from workers that lost the partition; and permits "
            "for replays.",
            "At least as many partitions as the requests topic; a record has the partition number of its request. Only "
            "workers and operators may write.",
            {"cleanup.policy": ["delete"], "retention.ms": 7 * _DAY_MS},
            "settlement",
            "replay-permit",
        ),
    }


def _channel(topic: str, summary: str, description: str, configuration: _Json, *messages: str) -> _Json:
    return {
        "address": topic,
        "summary": summary,
        "description": f"{description} The topic's name is the default one; an installation may choose another.",
        "messages": {message: {"$ref": f"#/components/messages/{message}"} for message in messages},
        "bindings": {"kafka": {"topicConfiguration": configuration | _EVERY_TOPIC, "bindingVersion": _KAFKA}},
    }


def _operations() -> _Json:
    return {
        "receiveRequest": _operation("receive", "requests", "request", "Deploy the requested revision."),
        "sendStatus": _operation("send", "status", "status", "Publish the state of a request."),
        "receiveSettlement": _operation(
            "receive", "settlements", "settlement", "Continue a request whose outcome was unknown."
        ),
        "receiveReplayPermit": _operation(
            "receive", "settlements", "replay-permit", "Skip the expiry check of a replayed request's token."
        ),
    }


def _operation(action: str, channel: str, message: str, summary: str) -> _Json:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": summary,
        "messages": [{"$ref": f"#/channels/{channel}/messages/{message}"}],
    }


def _messages(examples: Mapping[str, Any]) -> _Json:
    request, status, settlement, permit = (
        examples[name] for name in ("request", "status", "settlement", "replay-permit")
    )
    return {
        "request": _message(
            DeploymentRequested,
            "A request to deploy one revision of one solution for the user that the token names.",
            "The requesting user's id, `mlpuser.userId` of the token.",
            _request_headers(),
            {
                "headers": _ce_headers(DeploymentRequested.TYPE, request["requestId"], "/portal")
                | {"authorization": "Bearer not-a-real-token"},
                "payload": request,
            },
            description="CloudEvents in binary mode (these headers); or bare JSON without any `ce_` header; or "
            "structured mode, where the value is the whole event with this payload in `data`, and only "
            "`content-type` and `authorization` are headers.",
        ),
        "status": _message(
            DeploymentStatus,
            "One step of one request.",
            "The request id.",
            _status_headers(),
            {
                "headers": _ce_headers(DeploymentStatus.TYPE, f"{status['requestId']}:{status['sequence']}", _SOURCE)
                | {"ce_subject": status["requestId"], "ce_time": status["time"]},
                "payload": status,
            },
        ),
        "settlement": _message(
            DeploymentSettled,
            "The outcome of an attempt, reported by an operator or by the worker that learned it late.",
            "The request id.",
            _headers(DeploymentSettled.TYPE, required=_ATTRIBUTES),
            {
                "headers": _ce_headers(
                    DeploymentSettled.TYPE,
                    f"{settlement['requestId']}:{settlement['attempt']}:{settlement['by']}",
                    "/operator",
                ),
                "payload": settlement,
            },
        ),
        "replay-permit": _message(
            ReplayPermitted,
            "An operator's permit to replay an earlier request. Written before the replay.",
            "The request id.",
            _headers(ReplayPermitted.TYPE, required=_ATTRIBUTES),
            {"headers": _ce_headers(ReplayPermitted.TYPE, permit["requestId"], "/operator"), "payload": permit},
        ),
    }


def _message(
    event: type[BaseModel], summary: str, key: str, headers: _Json, example: _Json, description: str | None = None
) -> _Json:
    message = {
        "name": event.__name__,
        "summary": summary,
        "headers": headers,
        "payload": {"$ref": f"#/components/schemas/{event.__name__}"},
        "bindings": {"kafka": {"key": {"type": "string", "description": key}, "bindingVersion": _KAFKA}},
        "examples": [example],
    }
    return message | ({"description": description} if description else {})


def _request_headers() -> _Json:
    headers = _headers(DeploymentRequested.TYPE, required=())
    headers["properties"]["ce_id"]["description"] = "The request id if the payload has no `requestId`."
    headers["properties"]["authorization"] = {
        "type": "string",
        "description": "The user's Graphene token, `Bearer …` or bare: either here or in `jwtToken`, not both.",
    }
    return headers


def _status_headers() -> _Json:
    headers = _headers(DeploymentStatus.TYPE, required=(*_ATTRIBUTES, "ce_subject", "ce_time", "content-type"))
    headers["properties"]["ce_id"]["description"] = "`<requestId>:<sequence>`; use it to drop duplicates."
    headers["properties"]["ce_subject"]["description"] = "The request id."
    return headers


def _headers(event_type: str, required: tuple[str, ...]) -> _Json:
    schema: _Json = {
        "type": "object",
        "properties": {
            "ce_specversion": {"type": "string", "const": "1.0"},
            "ce_id": {"type": "string", "minLength": 1, "description": "Unique together with `ce_source`."},
            "ce_source": {"type": "string", "format": "uri-reference", "description": "The sender of the event."},
            "ce_type": {"type": "string", "const": event_type},
            "ce_time": {"type": "string", "format": "date-time", "description": "The time of the event."},
            "ce_subject": {"type": "string", "description": "The subject of the event."},
            "content-type": {"type": "string", "description": "`application/json`."},
            "traceparent": {
                "type": "string",
                "description": "W3C trace context; a status has that of its request.",
            },
        },
    }
    return schema | ({"required": list(required)} if required else {})


def _ce_headers(event_type: str, event_id: str, source: str) -> _Json:
    return {
        "ce_specversion": "1.0",
        "ce_id": event_id,
        "ce_source": source,
        "ce_type": event_type,
        "content-type": "application/json",
    }
