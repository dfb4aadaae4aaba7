"""docker-compose.yml as Docker runs it: up, one request by each of the ways that `make up` prints, down."""

import json

from tests.extended.docker.engine import engine_log
from tests.extended.docker.shell import said
from tests.support.compose import lines_to_try, open_link, read_compose

CONTAINERS = "docker compose ps --all --format json"


def containers() -> dict[str, dict[str, str | int]]:
    """Service → what Compose says of its container."""
    return {it["Service"]: it for it in map(json.loads, said(CONTAINERS).splitlines())}


async def test_every_service_becomes_healthy_and_a_request_ends_deployed(services: str) -> None:
    """By the very lines that are printed: checked, submitted, clicked, and seen on the gateway's page."""
    assert dict.fromkeys(read_compose()["services"], "healthy") == {
        name: it["Health"] for name, it in containers().items()
    }
    lines = lines_to_try()
    assert "deprecated" not in engine_log()
    assert "playground-deployer submit" in services
    said(lines["check"])
    assert "deployed" in said(lines["submit"])
    assert "deployed" in said(f"grep --max-count 1 deployed <({lines['watch']} 2>&-)")  # it would go on watching
    assert "Sudoku" in await open_link(said(lines["sandbox"]).strip())


def test_stopped_services_end_with_0_and_down_leaves_no_container(services: str) -> None:
    """Process 1 of each hears SIGTERM; Java says 143. What is in Kafka stays, as `make up` says."""
    said("docker compose stop")
    ours = dict.fromkeys(read_compose()["services"], 0)
    assert ours | {"kafka": 143} == {name: it["ExitCode"] for name, it in containers().items()}
    said("make down")
    assert "" == said("docker ps --all --quiet")
    assert "bridge\nhost\nnone\n" == said("docker network ls --format '{{.Name}}' | sort")
    assert "playground-deployer_kafka-data\n" == said("docker volume ls --quiet")
