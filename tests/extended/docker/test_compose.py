"""docker-compose.yml as Docker runs it: up, a request by each method that `make up` prints, down."""

import json

from tests.extended.docker.engine import engine_log
from tests.extended.docker.shell import said
from tests.support.compose import lines_to_try, open_link, read_compose

CONTAINERS = "docker compose ps --all --format json"


def containers() -> dict[str, dict[str, str | int]]:
    """Return Compose's description of each service's container."""
    return {it["Service"]: it for it in map(json.loads, said(CONTAINERS).splitlines())}


async def test_every_service_becomes_healthy_and_a_request_ends_deployed(services: str) -> None:
    """Every service becomes healthy, and the printed lines check, submit, watch and open a request that is deployed."""
    assert dict.fromkeys(read_compose()["services"], "healthy") == {
        name: it["Health"] for name, it in containers().items()
    }
    lines = lines_to_try()
    assert "deprecated" not in engine_log()
    assert "playground-deployer submit" in services
    said(lines["check"])
    assert "deployed" in said(lines["submit"])
    assert "deployed" in said(f"grep --max-count 1 deployed <({lines['watch']} 2>&-)")  # it would continue to watch
    assert "Sudoku" in await open_link(said(lines["sandbox"]).strip())


def test_stopped_services_end_with_0_and_down_leaves_no_container(services: str) -> None:
    """Services stop with 0 on SIGTERM, Java with 143; `make down` leaves no container, and keeps Kafka's volume."""
    said("docker compose stop")
    ours = dict.fromkeys(read_compose()["services"], 0)
    assert ours | {"kafka": 143} == {name: it["ExitCode"] for name, it in containers().items()}
    said("make down")
    assert "" == said("docker ps --all --quiet")
    assert "bridge\nhost\nnone\n" == said("docker network ls --format '{{.Name}}' | sort")
    assert "playground-deployer_kafka-data\n" == said("docker volume ls --quiet")
