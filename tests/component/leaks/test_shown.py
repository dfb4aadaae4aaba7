"""Secrets in the repr of objects, in refused settings and events, and in pages."""

import asyncio
import json
import pprint
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import pytest
from pydantic import BaseModel, SecretStr, ValidationError

from schemas import DeploymentInfo, DeploymentRequested, DeploymentStatus, SourceInfo, State
from tests.component.leaks import canaries
from tests.component.leaks.canaries import USER, Watch, token
from tests.component.leaks.world import PIPELINE, environment, open_world, request, shown
from tests.support.builders import solution
from worker import errors
from worker.adapters.http import Answer
from worker.adapters.kafka.clients import client_options
from worker.adapters.tokens import TokenVerifier
from worker.client.requests import OutgoingRequest
from worker.domain.request import read_request
from worker.domain.solution import Caller
from worker.domain.tokens import read_token
from worker.errors import ConfigurationError
from worker.observability.health import HealthServer
from worker.settings import BuilderSettings, ClientSettings, Settings, read_settings

ENVIRONMENT = environment("http://ccds", "http://nexus", "http://playground")
SECRETS = [name for name, value in ENVIRONMENT.items() if value in canaries.VALUES.values()]


def looks(thing: object) -> Iterator[str]:
    """Yield every text that an object is converted to without access to its parts."""
    yield from (repr(thing), str(thing), f"{thing}", f"{thing!r:>9}", pprint.pformat(thing), repr([thing]))
    if isinstance(thing, BaseModel):
        yield from (repr(thing.model_dump()), thing.model_dump_json(), repr(dict(thing)))
    if hasattr(thing, "__dict__"):
        yield repr(vars(thing))


async def test_objects(tmp_path: Path, watch: Watch) -> None:
    """No object that carries a secret through the worker shows it."""
    async with open_world(tmp_path, "json") as world:
        caller = await world.tokens.authenticate(token(), None)
        _, bundle = await world.builder.build(PIPELINE.solution_id, PIPELINE.revision_id, caller)
        found = await world.catalog.find(PIPELINE.solution_id, PIPELINE.revision_id, caller)
        record = request()
        things: dict[str, object] = {
            "Settings": world.settings,
            **{f"settings.{name}": group for name, group in world.settings},
            "CatalogSettings": read_settings(ENVIRONMENT, BuilderSettings),
            "KafkaSettings": read_settings(ENVIRONMENT, ClientSettings),
            "Caller": caller,
            "Record": record,
            "Request": read_request(record),
            "Token": read_token(token()),
            "Solution": found,
            "Solution of the builder": solution(icon=canaries.ICON, description=canaries.IN_THE_DESCRIPTION),
            "Bundle": bundle,
            "Answer": Answer(200, {}, canaries.TOKEN.encode()),
            "OutgoingRequest": OutgoingRequest("request-1", UUID(int=1), UUID(int=2), token()),
            "DeploymentRequested": DeploymentRequested(
                solution_id=UUID(int=1), revision_id=UUID(int=2), jwt_token=token()
            ),
            "TokenVerifier": world.tokens,
            "CatalogClient": world.catalog,
            "ArtifactsClient": world.artifacts,
            "PlaygroundClient": world.submitter,
            "Builder": world.builder,
            "Deployer": world.deployer,
        }
        assert caller == Caller(USER.user_id, USER.email)
        for name, thing in things.items():
            watch.check(f"shown: {name}", *looks(thing))


ERRORS = [
    it
    for it in vars(errors).values()
    if isinstance(it, type) and issubclass(it, Exception) and it.__module__ == errors.__name__
]


def test_errors(watch: Watch) -> None:
    """An error raised in place of another shows nothing of that error, unless it is the explicit cause."""
    for kind in ERRORS:
        made = _made(kind)
        try:
            try:
                raise aiohttp.InvalidURL(f"http://x/?{canaries.TOKEN}", canaries.CCDS_PASSWORD)
            except aiohttp.ClientError:
                raise made from None
        except kind as error:
            watch.check(f"shown: {kind.__name__}", shown(error), repr(made))


def _made(kind: type[Exception]) -> Exception:
    if issubclass(
        kind, errors.OutcomeUnknown | errors.OverridesInvalid | errors.ConfigurationError | errors.StatusNotPublished
    ):
        return kind("a sentence")
    if issubclass(kind, errors.Internal | errors.WorkerDied | errors.TooManyRequests):
        return kind()
    if issubclass(kind, errors.DeploymentError):
        codes = getattr(kind, "codes", errors.CODES)
        return kind(next(iter(codes)), "a sentence") if hasattr(kind, "codes") else errors.Internal()
    return kind("a sentence")


def refusal(make: Callable[[], object]) -> str:
    """Return the full text of the refusal."""
    with pytest.raises((ConfigurationError, ValidationError)) as refused:
        make()
    return shown(refused.value)


def settings_with(**changes: str) -> Callable[[], object]:
    """Return a function that reads the environment of the canaries with these changes."""
    return lambda: read_settings(ENVIRONMENT | changes, Settings)


def test_settings_that_are_refused(watch: Watch, tmp_path: Path) -> None:
    """A secret in any wrong position of the settings is refused with the variable's name and without a value."""
    secret = canaries.CCDS_PASSWORD
    binary = tmp_path / "binary"
    binary.write_bytes(secret.encode() + b"\xff")
    refused: dict[str, Callable[[], object]] = {
        **{f"{name} missing": settings_with(**{name: ""}) for name in SECRETS if "SASL" not in name},
        "something else missing": settings_with(DEPLOYER_KAFKA__BOOTSTRAP_SERVERS=""),
        "secret as a number": settings_with(DEPLOYER_KAFKA__PARTITIONS=secret),
        "secret as a choice": settings_with(DEPLOYER_RUNTIME__LOG_LEVEL=secret),
        "secret as a switch": settings_with(DEPLOYER_CATALOG__CHECK_ACCESS=secret),
        "secret as a quantity": settings_with(DEPLOYER_BUNDLE__STORAGE_SIZE=secret),
        "secret as a URL": settings_with(DEPLOYER_CATALOG__URL=secret),
        "secret in a URL": settings_with(DEPLOYER_CATALOG__URL=f"http://user:{canaries.NEXUS_PASSWORD}@ccds"),
        "secret as a user in a URL": settings_with(DEPLOYER_ARTIFACTS__URL=f"http://{canaries.NEXUS_PASSWORD}@nexus"),
        "secret as a port": settings_with(DEPLOYER_CATALOG__URL=f"http://ccds:{canaries.SASL_PASSWORD}/ccds"),
        "secret in the query of a URL": settings_with(DEPLOYER_ARTIFACTS__URL=f"http://nexus?password={secret}"),
        "secret in the playground's URL": settings_with(DEPLOYER_PLAYGROUND__DEPLOY_URL=f"http://x:{secret}@y"),
        "secret of an unknown name": settings_with(DEPLOYER_CATALOG__PASSWD=secret),
        "secret as a file's name": settings_with(DEPLOYER_KAFKA__SASL_PASSWORD_FILE=canaries.SASL_PASSWORD),
        "secret too long for a file's name": settings_with(DEPLOYER_KAFKA__SASL_PASSWORD_FILE=canaries.JWT_SECRET * 3),
        "file that is no text": settings_with(DEPLOYER_KAFKA__SASL_PASSWORD_FILE=str(binary)),
        "value and file": settings_with(DEPLOYER_AUTH__SECRET_FILE=str(binary)),
        "groups that do not fit": settings_with(DEPLOYER_RUNTIME__DRAIN_SECONDS="1"),
        "everything at once": settings_with(**dict.fromkeys(set(ENVIRONMENT) - set(SECRETS), canaries.TOKEN)),
        "a changed secret": lambda: setattr(read_settings(ENVIRONMENT, Settings).auth, "secret", SecretStr(secret)),
        "a secret that is a list": lambda: Settings.model_validate({"auth": {"secret": [secret]}}),
        "a group that is a text": lambda: Settings.model_validate({"auth": canaries.JWT_SECRET}),
    }
    assert 4 == len(SECRETS)
    for name, make in refused.items():
        watch.check(f"settings: {name}", refusal(make))


def test_secrets_that_clients_refuse(watch: Watch) -> None:
    """An unusable secret is refused without showing it."""
    cases: dict[str, tuple[str, str]] = {
        "not ASCII": ("DEPLOYER_AUTH__SECRET", canaries.JWT_SECRET + "é"),
        "badly padded": ("DEPLOYER_AUTH__SECRET", f"{canaries.JWT_SECRET[:156]}="),
        "decodes to nothing": ("DEPLOYER_AUTH__SECRET", "-.-"),
        "too short": ("DEPLOYER_AUTH__SECRET", "canaryShort"),
    }
    for name, (variable, value) in cases.items():
        settings = read_settings(ENVIRONMENT | {variable: value}, Settings)
        watch.check(f"settings: JWT secret {name}", refusal(partial(TokenVerifier, settings.auth, lambda: 0)))
    no_user = read_settings(ENVIRONMENT | {"DEPLOYER_KAFKA__SASL_USERNAME": ""}, Settings)
    watch.check("settings: SASL password without a user", refusal(lambda: client_options(no_user.kafka)))


def test_events_that_are_refused(watch: Watch) -> None:
    """The errors of an invalid event do not contain its input."""
    ids = {"solutionId": str(UUID(int=1)), "revisionId": str(UUID(int=2))}
    given = token()
    source = SourceInfo(topic="t", partition=0, offset=0)
    status: dict[str, Any] = {"request_id": "r", "sequence": 0, "state": State.FAILED, "attempt": 1, "source": source}
    refused: dict[str, Callable[[], object]] = {
        "token as an id": lambda: DeploymentRequested.model_validate(ids | {"solutionId": given}),
        "token as an object": lambda: DeploymentRequested.model_validate(ids | {"jwtToken": {"x": given}}),
        "token as bytes": lambda: DeploymentRequested.model_validate(ids | {"jwtToken": given.encode() + b"\xff"}),
        "token as request id": lambda: DeploymentRequested.model_validate(ids | {"requestId": given}),
        "token for everything": lambda: DeploymentRequested.model_validate(given),
        "JSON with a token": lambda: DeploymentRequested.model_validate_json(json.dumps({"jwtToken": given})),
        "JSON that breaks off": lambda: DeploymentRequested.model_validate_json(json.dumps({"jwtToken": given})[:-3]),
        "status with a token for a time": lambda: DeploymentStatus(**status, message="m", time=given),
        "status with a token for a message": lambda: DeploymentStatus(**status, message=[given], time=None),
        "status with an unknown field": lambda: DeploymentStatus.model_validate({"token": given, "email": USER.email}),
        "deployment with a token for an id": lambda: DeploymentInfo(id=given, url=given * 9),
    }
    for name, make in refused.items():
        watch.check(f"event: {name}", refusal(make))


PROBES = {
    "ready": f"GET /ready?token={canaries.TOKEN} HTTP/1.1",
    "no such page": f"GET /{canaries.TOKEN} HTTP/1.1",
    "another method": f"POST /ready?token={canaries.TOKEN} HTTP/1.1",
}
BROKEN_PROBES = {
    "no HTTP": canaries.TOKEN,
    "bad version": f"GET /{canaries.TOKEN} HTTP/9.9.9",
    "bad header": f"GET /live HTTP/1.1\r\nno-colon {canaries.JWT_SECRET}",
    "bad length": f"GET /live HTTP/1.1\r\nContent-Length: {canaries.TOKEN}",
    "header too long": f"GET /live HTTP/1.1\r\nX-Long: {canaries.TOKEN * 20}",
}


async def test_health_pages(tmp_path: Path, watch: Watch, capfd: pytest.CaptureFixture[str]) -> None:
    """However wrong a request to the health pages is, the log shows nothing of it, and the pages nothing of the worker.

    The answer to a broken request may repeat it: only its sender reads the answer.
    """

    def reason() -> str:
        return "Kafka has not been reached yet"

    async with open_world(tmp_path, "json") as world, HealthServer(0, reason, reason) as health:
        for name, line in (PROBES | BROKEN_PROBES).items():
            reader, writer = await asyncio.open_connection("127.0.0.1", health.port)
            login = f"Authorization: Basic {canaries.basic('probe', canaries.NEXUS_PASSWORD)}"
            writer.write(f"{line}\r\nHost: x\r\n{login}\r\nConnection: close\r\n\r\n".encode())
            page = (await reader.read()).decode(errors="replace")
            writer.close()
            await writer.wait_closed()
            assert page.startswith("HTTP/1.")
            printed = capfd.readouterr()
            pages = [page] if name in PROBES else []
            watch.check(f"health: {name}", *world.written, printed.out, printed.err, *pages)
