"""Pod Security in force: the API server's decisions on the pods of each bundle."""

from collections.abc import Callable

import pytest

from tests.extended.cluster import pythons
from tests.extended.cluster.api import Api, until
from tests.extended.cluster.pythons import Python
from tests.extended.cluster.server import BARE, Configuration, Server
from tests.support.golden import DEPLOYABLE

Playground = Callable[[Python, Configuration], Server]

ENFORCE = "pod-security.kubernetes.io/enforce"


@pytest.mark.parametrize("case", DEPLOYABLE)
@pytest.mark.parametrize(("level", "profile"), [("baseline", "default"), ("restricted", "restricted")])
def test_pods_are_made(
    level: str, profile: str, case: str, api: Api, build_zip: Callable[..., bytes], server: Playground
) -> None:
    """`baseline` admits the pods of every bundle, `restricted` the pods of bundles that are built for it."""
    playground = server(pythons.running(), BARE)
    deployment = playground.unpack(build_zip(case, SECURITY_PROFILE=profile))
    api.make_namespace(deployment.namespace, {ENFORCE: level})

    assert 0 == playground.run(deployment).code

    names = {it["metadata"]["name"] for it in api.find("Deployment", deployment.namespace)}
    assert names
    assert until(lambda: names == {it["metadata"]["labels"]["app"] for it in api.find("Pod", deployment.namespace)}), [
        it["status"].get("conditions") for it in api.find("Deployment", deployment.namespace)
    ]


def test_pods_are_refused(api: Api, build_zip: Callable[..., bytes], server: Playground) -> None:
    """`restricted` rejects the pods of other bundles; --wait reports the reason on a line and in the final error."""
    playground = server(pythons.running(), BARE)
    deployment = playground.unpack(build_zip("entity-recogniser"))
    api.make_namespace(deployment.namespace, {ENFORCE: "restricted"})

    done = playground.run(deployment, "--wait", "2")

    assert 1 == done.code
    why = 'entity-recogniser (violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false'
    assert f"After 2 s not ready: {why}" in done.err
    assert 1 == done.out.count(f"0 of 1 ready, waiting for {why}")
    assert [] == api.find("Pod", deployment.namespace)
