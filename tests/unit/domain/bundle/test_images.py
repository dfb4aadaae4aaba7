import pytest

from worker.domain.bundle.blueprint import check_image
from worker.errors import NotDeployable

GOOD = [
    "ubuntu",
    "ubuntu:22.04",
    "library/ubuntu",
    "registry.example:7444/group/model_x:1.0.0",
    "localhost/model",
    "Foo/bar",
    "a" * 64 + ":1",
    "host.example/" + "a" * 255,
    "a/b__c/d--e:TAG_1.x-y",
    "[2001:db8::1]:5000/model",
    "model@sha256:" + "a" * 64,
    "host.example/model:1@sha512:" + "0" * 128,
]
BAD = [
    "https://host.example/model:1",
    "docker://model",
    "Model",
    "host.example/Model",
    "model:",
    "model:-x",
    "model:" + "a" * 129,
    "a//b",
    "/model",
    "model/",
    "-host/model",
    "model latest",
    "model\n",
    "model@sha256:abc",
    "model@md5:" + "a" * 32,
    "a" * 64,
    "f" * 64,
    "host.example/" + "a" * 256,
    "[1]/model",
    "модель",
    "$(reboot)",
    "model:1;ls",
]


@pytest.mark.parametrize("image", GOOD)
def test_a_valid_reference_is_accepted(image: str) -> None:
    """The distribution grammar is accepted, including Docker's short names."""
    check_image(image, "Node 'x'")


@pytest.mark.parametrize("image", BAD)
def test_an_invalid_reference_is_refused(image: str) -> None:
    """An image that no runtime could pull is rejected before anything is deployed."""
    with pytest.raises(NotDeployable) as refusal:
        check_image(image, "Node 'x'")
    assert ("image-invalid", "Node 'x'") == (refusal.value.code, refusal.value.message[:8])


@pytest.mark.parametrize("image", ["", " "])
def test_an_empty_image_has_its_own_code(image: str) -> None:
    """A missing image, as of splitters and unfinished models, has its own error code."""
    with pytest.raises(NotDeployable) as refusal:
        check_image(image, "Node 'x'")
    assert "image-empty" == refusal.value.code


def test_a_scheme_is_named_as_the_reason() -> None:
    """A scheme is named as the reason, because Graphene's users paste addresses from their browser."""
    with pytest.raises(NotDeployable, match="leave the scheme out"):
        check_image("https://host.example/model:1", "Node 'x'")
