"""Every record ends with the right error code and exactly one final status, and none is lost."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from schemas import FINAL_STATES, State
from tests.support.builders import blueprint_document, edge, node, operation, protobuf, protobufs, shared_folder
from tests.support.stage import Stage, open_stage
from worker.sandbox.graphene import CCDS_PATH, NEXUS_PATH
from worker.sandbox.graphene_data import Stored, make_model, make_pipeline
from worker.sandbox.http_server import GARBAGE, HANG, RESET, Fault
from worker.sandbox.playground import ANY_USER, PLAYGROUND_FAULTS
from worker.sandbox.users import SANDBOX_USER, STRANGER, User, sandbox_token

PROTO = 'syntax = "proto3";\nservice Model {}\n'
UNLOADABLE = (
    ("proto-invalid", "not a protobuf"),
    ("proto-without-service", 'syntax = "proto3";\n'),
    ("proto-mismatch", protobuf(operation("walk"))),
    ("proto-conflict", protobuf(operation()).replace("In {}", "In { string text = 1; }")),
)


def pipeline(name: str, *nodes: Any, protos: bool = True) -> Stored:
    document = blueprint_document(*(nodes or (node("a"), node("b"))))
    return make_pipeline(name, document, protobufs(document) if protos else {})


def token(**changes: Any) -> str:
    return sandbox_token(datetime.now(UTC), **changes)


class Cases:
    """The published requests, each with the error code that it must end with (None: deployed)."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.expected: dict[str, str | None] = {}

    async def ask(self, code: str | None, stored: Stored, **changes: Any) -> None:
        request_id = f"{len(self.expected)}-{code or 'deployed'}"
        self.expected[request_id] = code
        self.stage.graphene.add(stored)
        await self.stage.ask(stored, request_id, **changes)

    async def publish(self, code: str, value: bytes, *headers: tuple[str, bytes]) -> None:
        request_id = f"{len(self.expected)}-{code}"
        self.expected[request_id] = code
        place = await self.stage.publish(value, b"somebody", [("ce_id", request_id.encode()), *headers])
        self.stage.statuses.places[request_id] = place

    async def ask_with_fault(self, code: str, path: str, fault: Fault) -> None:
        stored = pipeline(f"Fault {len(self.expected)}")
        self.stage.graphene.faults[path.format(id=stored.solution_id, revision=stored.revision_id)] = fault
        number = len(self.expected)  # one user each: a request that waits for its retry delays its user's others
        await self.ask(code, stored, user=User(f"user-{number}", f"user{number}", f"{number}@graphene.example"))

    async def ask_playground(self, code: str, fault: str) -> None:
        user = User(f"user-{fault}", f"user{fault}", f"{fault}@graphene.example")
        self.stage.playground.faults[user.email] = PLAYGROUND_FAULTS[fault]
        await self.ask(code, pipeline(f"Playground {fault}"), user=user)


async def publish_unreadable(cases: Cases) -> None:
    ids = {"solutionId": str(uuid4()), "revisionId": str(uuid4())}
    await cases.publish("not-json", b"deploy it, please")
    await cases.publish("not-json", b"")
    await cases.publish("invalid-request", json.dumps({"jwtToken": token()}).encode())
    await cases.publish("invalid-request", json.dumps(ids | {"solutionId": "5"}).encode())
    await cases.publish("unknown-event-type", json.dumps(ids).encode(), ("ce_type", b"org.example.other.v1"))
    await cases.publish("token-missing", json.dumps(ids).encode())
    await cases.publish("token-twice", json.dumps(ids | {"jwtToken": "a"}).encode(), ("authorization", b"b"))


async def ask_with_bad_tokens(cases: Cases) -> None:
    good = pipeline("Good")
    await cases.ask(None, good)
    await cases.ask("token-malformed", good, token="a.b")
    await cases.ask("token-expired", good, token=token(lifetime=timedelta(minutes=-5)))
    await cases.ask("token-signature", good, token=token(secret="another secret, quite as long " * 4))
    await cases.ask("token-algorithm", good, token=token(algorithm="HS256"))
    await cases.ask("wrong-record-key", good, key=b"somebody-else")
    await cases.ask("wrong-record-key", good, key=None)
    await cases.ask("no-access", good, user=STRANGER)
    theirs = make_model("Private", "registry.example/private:1", PROTO)
    theirs.solution["userId"] = STRANGER.user_id
    cases.stage.graphene.add(theirs)
    cases.stage.graphene.private.add(str(theirs.solution_id))
    for code, uri in (("no-access-to-proto", *theirs.files), ("proto-of-unknown", "org/somebody/s.proto")):
        await cases.ask(code, pipeline(f"Of others: {code}", node("a", proto_uri=uri), protos=False))


async def ask_for_what_is_not_there(cases: Cases) -> None:
    good, other = pipeline("Good"), pipeline("Other")
    cases.stage.graphene.add(other)
    await cases.ask("solution-not-found", good, value={"solutionId": str(uuid4())})
    await cases.ask("revision-not-found", good, value={"revisionId": str(uuid4())})
    await cases.ask("revision-of-another-solution", good, value={"revisionId": str(other.revision_id)})
    await cases.ask("blueprint-missing", make_pipeline("No blueprint", None))
    await cases.ask("image-missing", make_model("No image", None, PROTO))
    await cases.ask("proto-missing", make_model("No proto", "registry.example/m:1", None))
    gone = f"org/acumos/{pipeline('Proto is gone').solution_id}/gone.proto"
    await cases.ask("proto-missing", pipeline("Proto is gone", node("a", proto_uri=gone), protos=False))
    await cases.ask("artifact-uri-invalid", pipeline("Elsewhere", node("a", proto_uri="../../x"), protos=False))


async def ask_for_what_cannot_run(cases: Cases) -> None:
    await cases.ask("artifact-not-a-file", make_pipeline("A page", b"<!doctype html><title>Log in</title>"))
    await cases.ask("blueprint-invalid", make_pipeline("Not JSON", b"a blueprint"))
    await cases.ask("blueprint-invalid", pipeline("Nowhere", node("a", operation("run", edge("nowhere")))))
    await cases.ask("no-nodes", make_pipeline("Empty", blueprint_document()))
    await cases.ask("node-not-runnable", pipeline("Splitter", node("a"), node("s", node_type="Splitter", image="")))
    await cases.ask("image-empty", pipeline("Empty image", node("a", image="")))
    await cases.ask("image-invalid", pipeline("Scheme", node("a", image="https://registry.example/a:1")))
    for number, (code, text) in enumerate(UNLOADABLE):
        document = blueprint_document(node("a"), node("b"))
        texts = {"a": protobuf(operation()), "b": text}
        await cases.ask(code, make_pipeline(f"Unloadable {number}", document, texts))
    await cases.ask("shared-folder-reserved", pipeline("System", node("a"), shared_folder("/etc")))
    folders = (shared_folder(f"/data/{number}") for number in range(11))
    await cases.ask("too-many-shared-folders", pipeline("Folders", node("a"), *folders))
    await cases.ask("name-collision", pipeline("Collision", node("a"), node("A")))
    await cases.ask("name-reserved", pipeline("Reserved", node("orchestrator")))


async def ask_with_broken_dependencies(cases: Cases) -> None:
    await cases.ask_with_fault("blueprint-missing", BLUEPRINT, Fault(404))
    await cases.ask_playground("deployment-failed", "500")
    await cases.ask_playground("playground-redirected", "302")
    await cases.ask_playground("playground-name-taken", "none")


SOLUTION, BLUEPRINT = CCDS_PATH + "/solution/{id}", NEXUS_PATH + "/org/acumos/{id}"
OUTAGES: dict[str, tuple[tuple[str, Fault], ...]] = {
    "catalog-error": ((SOLUTION, Fault(500, "database gone")), (SOLUTION, GARBAGE)),
    "catalog-unavailable": ((SOLUTION, RESET),),
    "catalog-timeout": ((SOLUTION, HANG),),
    "artifacts-error": ((BLUEPRINT, Fault(500)),),
    "artifacts-timeout": ((BLUEPRINT, HANG),),
    "artifacts-unauthorized": ((BLUEPRINT, Fault(401)),),
}


@pytest.mark.timeout(300)  # on a busy machine a breaker may be open, and its trials take up to a minute each
async def test_an_outage_is_waited_out(kafka: str, unique: str, tmp_path: Path) -> None:
    """During an outage a request's status names the dependency, and the request is deployed once it is back."""
    async with open_stage(kafka, unique, tmp_path) as stage:
        stage.env |= {"DEPLOYER_CATALOG__TIMEOUT_SECONDS": "1", "DEPLOYER_ARTIFACTS__TIMEOUT_SECONDS": "1"}
        cases = Cases(stage)
        async with stage.worker(tmp_path / "worker.log"):
            for code, kinds in OUTAGES.items():
                for path, fault in kinds:
                    await cases.ask_with_fault(code, path, fault)
            said = await stage.until(list(cases.expected), lambda of: any(it.state is State.RETRYING for it in of))
            codes = {name: {it.error.code for it in of if it.error} for name, of in said.items()}
            stage.graphene.faults.clear()
            statuses = await stage.until_final(list(cases.expected))
        assert {name: {code} for name, code in cases.expected.items()} == codes
        assert {State.DEPLOYED} == {of[-1].state for of in statuses.values()}


async def test_a_bad_solution_of_many_users_keeps_nobody_out(kafka: str, unique: str, tmp_path: Path) -> None:
    """A bad solution that 20 users request repeatedly does not delay another user's request.

    Its protobuf is a redirect.
    """
    async with open_stage(kafka, unique, tmp_path) as stage:
        bad, good = pipeline("Bad"), pipeline("Good")
        stage.graphene.add(bad)
        stage.graphene.add(good)
        proto = next(uri for uri in bad.files if uri.endswith(".proto"))
        stage.graphene.faults[f"{NEXUS_PATH}/{proto}"] = Fault(302, headers={"Location": "/elsewhere"})
        users = [User(f"user-{number}", f"user{number}", f"{number}@graphene.example") for number in range(20)]
        async with stage.worker(tmp_path / "worker.log") as worker:
            for user in users:
                await stage.ask(bad, user.user_id, user)
            said = await stage.until(
                [it.user_id for it in users], lambda of: sum(it.state is State.RETRYING for it in of) >= 2
            )
            async with asyncio.timeout(5):
                await stage.ask(good, "good")
                ended = (await stage.until_final(["good"]))["good"]
            async with aiohttp.ClientSession() as session, session.get(f"{worker.url}/metrics") as page:
                shown = await page.text()
            stage.graphene.faults.clear()
            await stage.until_final([it.user_id for it in users])
    states = ["accepted", "building", "submitting", "deployed"]
    assert states == [it.state for it in ended]
    assert {"artifacts-error"} == {it.error.code for of in said.values() for it in of if it.error}
    assert 'playground_deployer_breaker_state{dependency="artifacts"} 0.0' in shown


@pytest.mark.parametrize("fault", ["hang", "reset"])
async def test_an_unknown_outcome_is_parked(fault: str, kafka: str, unique: str, tmp_path: Path) -> None:
    """A request with an unknown outcome is parked as `outcome-unknown`, and its user's next request continues."""
    async with open_stage(kafka, unique, tmp_path) as stage:
        stage.env |= {"DEPLOYER_PLAYGROUND__TIMEOUT_SECONDS": "1"}
        stored = pipeline("Parked")
        stage.graphene.add(stored)
        async with stage.worker(tmp_path / "worker.log"):
            stage.playground.faults[ANY_USER] = PLAYGROUND_FAULTS[fault]
            await stage.ask(stored, "unknown")
            said = await stage.until(["unknown"], lambda of: any(it.state is State.PARKED for it in of))
            stage.playground.faults.clear()
            await stage.ask(stored, "next")
            await stage.until_final(["next"])
            assert 2 == await stage.committed()
        error = said["unknown"][-1].error
        assert error
        assert "outcome-unknown" == error.code


async def test_each_mistake_has_its_own_code_and_one_final_status(kafka: str, unique: str, tmp_path: Path) -> None:
    """Each mistake ends with its own code and one final status, and the requests in between are deployed.

    The mistakes range from unreadable bytes to a playground that hangs.
    """
    async with open_stage(kafka, unique, tmp_path) as stage:
        stage.env |= {
            "DEPLOYER_CATALOG__TIMEOUT_SECONDS": "1",
            "DEPLOYER_ARTIFACTS__TIMEOUT_SECONDS": "1",
            "DEPLOYER_PLAYGROUND__TIMEOUT_SECONDS": "1",
        }
        cases = Cases(stage)
        log = tmp_path / "worker.log"
        async with stage.worker(log):
            for publish in (
                publish_unreadable,
                ask_with_bad_tokens,
                ask_for_what_is_not_there,
                ask_for_what_cannot_run,
                ask_with_broken_dependencies,
            ):
                await publish(cases)
            await cases.ask(None, pipeline("Last"))
            statuses = await stage.until_final(list(cases.expected))

        ends = {name: [it for it in of if it.state in FINAL_STATES] for name, of in statuses.items()}
        assert dict.fromkeys(cases.expected, 1) == {name: len(of) for name, of in ends.items()}
        codes = {name: of[0].error.code if of[0].error else None for name, of in ends.items()}
        assert cases.expected == codes
        assert [] == [name for name, of in statuses.items() if [it.sequence for it in of] != list(range(len(of)))]
        assert len(cases.expected) == await stage.committed()
        written = log.read_text()
        assert "Traceback" not in written
        assert SANDBOX_USER.email not in written
        assert "eyJ" not in written
