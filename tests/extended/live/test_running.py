"""What only running pods show: pulls, Pod Security, ports, pages, and what people do to a deployment."""

import asyncio
import base64
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.extended.cluster import pythons
from tests.extended.cluster.api import Api, Json, until
from tests.extended.cluster.server import BARE, Configuration, Deployment, Server
from tests.extended.live.conftest import Seconds, World
from tests.extended.live.node import Node
from tests.extended.live.people import PUZZLE, SOLUTION, answers, get_text, page, solution, solve, start, until_ready
from worker.sandbox.graphene_data import stored_case

pytestmark = pytest.mark.asyncio(loop_scope="session")

LOGIN = "ada:correct"
PULLING = Configuration(hostname=False, pull_secret=True)  # images are then pulled each time, as the server does


def auths(login: str) -> Json:
    """Return a Docker config.json for the hosts of the bundle's images."""
    auth = {"auth": base64.b64encode(login.encode()).decode()}
    return {"auths": dict.fromkeys(("images.graphene.example:7444", "cicd.ai4eu-dev.eu:7444"), auth)}


@pytest.fixture
def server(node: Node, tmp_path: Path) -> Server:
    """Return a playground server without a pull secret."""
    return Server(tmp_path / "server", node.cluster.kubeconfig, pythons.running(), BARE)


async def unpacked(world: World, api: Api, server: Server, labels: Json | None = None, **options: str) -> Deployment:
    """Return an unpacked Sudoku in an existing namespace."""
    bundle = await world.stage.bundle_alone(stored_case("sudoku"), **options)
    deployment = server.unpack(bundle.data)
    api.make_namespace(deployment.namespace, labels)
    return deployment


async def running(world: World, api: Api, server: Server, labels: Json | None = None, **options: str) -> Deployment:
    """Return a Sudoku that has been started."""
    deployment = await unpacked(world, api, server, labels, **options)
    done = server.run(deployment)
    assert (0, "") == (done.code, done.err)
    start(api, deployment)
    return deployment


@pytest.fixture
def password(node: Node) -> Iterator[None]:
    """Make the registry require a password."""
    node.registry.login = LOGIN
    yield
    node.registry.login = None


@pytest.mark.usefixtures("password")
async def test_images_are_pulled_with_the_playgrounds_password(
    world: World, node: Node, api: Api, tmp_path: Path
) -> None:
    """With the right password the pods run; with a wrong one none runs, and `--wait` names the images."""
    right = Server(tmp_path / "right", node.cluster.kubeconfig, pythons.running(), PULLING, auths(LOGIN))
    wrong = Server(tmp_path / "wrong", node.cluster.kubeconfig, pythons.running(), PULLING, auths("ada:wrong"))
    deployment = await unpacked(world, api, wrong)
    done = wrong.run(deployment, "--wait", "10")
    assert 1 == done.code
    assert 4 == done.err.count("(ErrImagePull)") + done.err.count("(ImagePullBackOff)")
    assert not any(is_running(pod) for pod in api.find("Pod", deployment.namespace))

    deployment = await running(world, api, right)
    assert [SOLUTION] == [solution(it) for it in solve(api, deployment.namespace)]


def is_running(pod: Json) -> bool:
    """Return whether its container has been started."""
    return any("running" in it["state"] for it in pod["status"].get("containerStatuses", []))


@pytest.mark.parametrize(("level", "profile"), [("baseline", "default"), ("restricted", "restricted")])
async def test_pod_security_lets_it_run(level: str, profile: str, world: World, api: Api, server: Server) -> None:
    """A namespace that enforces a level runs the pods of the profile for that level."""
    labels = {"pod-security.kubernetes.io/enforce": level}
    deployment = await running(world, api, server, labels, SECURITY_PROFILE=profile)
    assert [SOLUTION] == [solution(it) for it in solve(api, deployment.namespace)]


async def test_what_the_script_leaves_leads_to_the_pods(world: World, api: Api, server: Server) -> None:
    """Every port of dockerinfo.json is the NodePort of the Service with that name, and answers; so does the page."""
    deployment = await running(world, api, server)
    services = {it["metadata"]["name"]: it["spec"]["ports"][0] for it in api.find("Service", deployment.namespace)}
    listed = {it["container_name"]: it["port"] for it in deployment.docker_info}
    assert {"orchestrator", "sudoku-gui", "sudoku-design-evaluator", "sudoku-asp-solver"} == listed.keys()
    for name, port in listed.items():
        assert (port, port) == (services[name]["port"], services[name]["nodePort"])
        assert until(partial(answers, port)), name
    assert "<h1>Sudoku</h1>" in get_text(page(api, deployment.namespace, "sudoku-gui"))


async def test_a_pod_that_is_killed_comes_back(world: World, api: Api, server: Server) -> None:
    """When the solver's pod is killed, a new pod replaces it, and all twenty puzzles on their way are solved."""
    deployment = await running(world, api, server)
    solve(api, deployment.namespace)
    [pod] = [
        it for it in api.find("Pod", deployment.namespace) if it["metadata"]["labels"]["app"] == "sudoku-asp-solver"
    ]
    solving = asyncio.create_task(asyncio.to_thread(solve, api, deployment.namespace, [PUZZLE] * 20, 60))
    api.call(
        "DELETE", f"api/v1/namespaces/{deployment.namespace}/pods/{pod['metadata']['name']}", gracePeriodSeconds="0"
    )

    assert [SOLUTION] * 20 == [solution(it) for it in await solving]
    until_ready(api, deployment.namespace)


async def test_two_of_one_user_at_once(world: World, api: Api, server: Server) -> None:
    """Two deployments of the same solution do not affect each other: each has its own verdicts."""
    both = [await running(world, api, server) for _ in range(2)]
    first, second = (it.namespace for it in both)
    assert first != second
    verdicts = await asyncio.gather(
        asyncio.to_thread(solve, api, first, [PUZZLE]), asyncio.to_thread(solve, api, second, ["11" + "0" * 79])
    )
    assert [[True], [False]] == [[it["solvable"] for it in found] for found in verdicts]


async def test_a_script_that_was_killed_is_run_again(world: World, api: Api, server: Server) -> None:
    """After a script is killed at its first Deployment, a second run deploys a Sudoku that solves."""
    deployment = await unpacked(world, api, server)
    with server.start(deployment) as process:
        assert until(lambda: api.find("Deployment", deployment.namespace))
        process.kill()
    assert 0 == server.run(deployment).code
    start(api, deployment)
    assert [SOLUTION] == [solution(it) for it in solve(api, deployment.namespace)]


async def test_delete_leaves_nothing_and_does_not_take_long(
    world: World, api: Api, server: Server, seconds: Seconds
) -> None:
    """--delete leaves nothing: pods that handle SIGTERM end at once, the orchestrator after its five seconds."""
    deployment = await running(world, api, server)
    begun = time.monotonic()
    assert 0 == server.run(deployment, "--delete").code
    assert until(lambda: not api.find("Pod", deployment.namespace), 60)
    took = time.monotonic() - begun
    seconds.note("sudoku", "pods gone", took)
    assert took < 20
    assert [] == api.everything(deployment.namespace)
