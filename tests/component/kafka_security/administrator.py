"""The acts of a Kafka administrator: set passwords, add and remove ACLs."""

import hashlib
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, CompactBytes, CompactString, Int8, Int16, Int32, Schema, TaggedFields

from worker.adapters.kafka.acls import AclBinding

ALLOW, ANY, MATCH_LITERAL, MATCH_PREFIXED = 3, 1, 3, 4


class AlterUserScramCredentialsResponse(Response):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 51
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "results",
            CompactArray(
                ("user", CompactString("utf-8")),
                ("error_code", Int16),
                ("error_message", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class AlterUserScramCredentialsRequestV0(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 51
    API_VERSION = 0
    RESPONSE_TYPE = AlterUserScramCredentialsResponse
    SCHEMA = Schema(
        ("deletions", CompactArray(("name", CompactString("utf-8")), ("mechanism", Int8), ("tags", TaggedFields))),
        (
            "upsertions",
            CompactArray(
                ("name", CompactString("utf-8")),
                ("mechanism", Int8),
                ("iterations", Int32),
                ("salt", CompactBytes),
                ("salted_password", CompactBytes),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class AlterUserScramCredentials(Request[AlterUserScramCredentialsRequestV0]):  # type: ignore[misc]
    """The request that sets a user's password, which aiokafka lacks."""

    API_KEY = 51
    SHA_512, ITERATIONS = 2, 4096

    def __init__(self, user: str, password: str) -> None:
        salt = os.urandom(16)
        salted = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, self.ITERATIONS)
        self._upsertion: tuple[Any, ...] = (user, self.SHA_512, self.ITERATIONS, salt, salted, {})

    def build(
        self, request_struct_class: type[AlterUserScramCredentialsRequestV0]
    ) -> AlterUserScramCredentialsRequestV0:
        return request_struct_class([], [self._upsertion], {})


class Administrator:
    """A client with all permissions. Its changes are in force when the call returns."""

    def __init__(self, connection: AIOKafkaConnection) -> None:
        self._connection = connection

    async def set_password(self, user: str, password: str) -> None:
        """Set the password of a user, who need not exist yet."""
        answer = await self._connection.send(AlterUserScramCredentials(user, password))
        assert [0] == [code for _, code, *_ in answer.results]

    async def grant(self, principal: str, acls: Iterable[AclBinding]) -> None:
        """Add ACLs that the principal does not have yet."""
        acls = [*acls]
        for acl in acls:
            answer = await self._connection.send(CreateAclsRequest(*_acl_fields(acl, principal)))
            assert [0] == [code for code, _ in answer.creation_responses]
        while not {_acl_fields(acl, principal) for acl in acls} <= await self._acls():
            pass  # one round trip each: the authorizer learns of the ACLs a moment later

    async def revoke(self, principal: str, acl: AclBinding) -> None:
        """Remove an ACL that the principal has."""
        answer = await self._connection.send(DeleteAclsRequest(*_acl_fields(acl, principal)))
        assert [1] == [len(matching) for _, _, matching in answer.filter_responses]
        while _acl_fields(acl, principal) in await self._acls():
            pass

    async def _acls(self) -> set[tuple[object, ...]]:
        answer = await self._connection.send(DescribeAclsRequest(ANY, None, ANY, None, None, ANY, ANY))
        return {(resource, name, pattern, *acl) for resource, name, pattern, acls in answer.resources for acl in acls}


def _acl_fields(acl: AclBinding, principal: str) -> tuple[int, str, int, str, str, int, int]:
    pattern = MATCH_PREFIXED if acl.prefixed else MATCH_LITERAL
    return acl.resource_type.value, acl.name, pattern, principal, "*", acl.operation.value, ALLOW


@asynccontextmanager
async def administrator(bootstrap_servers: str) -> AsyncIterator[Administrator]:
    """Connect over the listener where every client is an administrator."""
    host, _, port = bootstrap_servers.rpartition(":")
    connection = await create_conn(host, int(port))
    try:
        yield Administrator(connection)
    finally:
        await connection.close()
