import asyncio
import sys
from pathlib import Path

from tests.component.chart.environment import FOLDER
from tests.component.chart.rendering import find, mounted_files, render
from tests.component.chart.values import CHART, Json
from worker.sandbox.graphene import CCDS_LOGIN, CCDS_PATH, NEXUS_LOGIN, NEXUS_PATH, graphene_app
from worker.sandbox.http_server import served
from worker.sandbox.playground import playground_app
from worker.sandbox.users import JWT_SECRET


def _values(kafka: str, graphene: str, playground: str, prefix: str) -> Json:
    topics = ("requests", "status", "settlements", "deadLetter")
    return {
        "settings": {
            "kafka": {
                "bootstrapServers": kafka,
                "groupId": prefix,
                "replicationFactor": 1,
                **{f"{topic}Topic": f"{prefix}.{topic}" for topic in topics},
            },
            "catalog": {"url": graphene + CCDS_PATH, "username": CCDS_LOGIN[0]},
            "artifacts": {"url": graphene + NEXUS_PATH, "username": NEXUS_LOGIN[0]},
            "playground": {"deployUrl": f"{playground}/deploy_solution"},
        },
        "secrets": {group: {"existingSecret": ""} for group in ("auth", "catalog", "artifacts")},
        "demo": {
            "enabled": True,
            "secrets": {"auth": JWT_SECRET, "catalog": CCDS_LOGIN[1], "artifacts": NEXUS_LOGIN[1]},
        },
        "topics": {"mode": "worker"},
        "overrides": {"entries": [{"match": {"node": "*"}, "patch": {"spec": {"replicas": 2}}}]},
    }


def _mount(found: list[Json], folder: Path) -> None:
    """Mount files as the kubelet does, from the objects of the chart."""
    for name, source in mounted_files(found).items():
        kind, of, key = source.split("/")
        holder = find(found, {"secret": "Secret", "configMap": "ConfigMap"}[kind], of)
        (folder / name).write_text((holder.get("stringData") or holder["data"])[key], encoding="utf-8")


async def test_helm_test_is_content(kafka: str, unique: str, tmp_path: Path) -> None:
    """The `helm test` pod's command, variables and files reach every dependency, and its overrides are valid."""
    async with served(graphene_app()) as graphene, served(playground_app(tmp_path / "playground")) as playground:
        found = render(_values(kafka, graphene, playground, unique))
        _mount(found, tmp_path)
        (container,) = find(found, "Pod", "-check")["spec"]["containers"]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "worker", *container["args"]),
            cwd=CHART.parent,
            env={it["name"]: it["value"].replace(FOLDER, str(tmp_path)) for it in container["env"]},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = (text.decode() for text in await process.communicate())
    assert (0, "") == (process.returncode, errors), output
    assert [] == [line for line in output.splitlines() if not line.startswith("ok ")]
    assert "overrides: 1, all valid" in output
