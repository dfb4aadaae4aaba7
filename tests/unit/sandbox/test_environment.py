import pytest

from schemas import DeploymentInfo
from worker.adapters.playground import judge
from worker.sandbox.environment import worker_environment
from worker.settings import Settings, read_settings


@pytest.mark.parametrize("prefix", ["", "mine"])
def test_the_playgrounds_secret_is_in_no_link(prefix: str) -> None:
    """Links in statuses, which any user may open, lead to the public pages and not to the secret path for bundles."""
    environment = worker_environment("k:1", "http://g:1", "http://p:1", "/secret/deploy_solution", prefix)
    settings = read_settings(environment, Settings).playground
    assert "http://p:1/secret/deploy_solution" == settings.deploy_url
    body = b"/dashboard?selected_deployment_id=demo"
    verdict = judge(200, {}, body, deploy_url=settings.deploy_url, public_url=settings.public_url, username="ada")
    assert DeploymentInfo(id="demo", url=f"http://p:1{body.decode()}") == verdict
