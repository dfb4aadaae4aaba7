"""Parsing forms from the bytes of a body."""

from typing import Any

import aiohttp
import pytest

from tests.support.builders import REVISION_ID, SOLUTION_ID
from tests.unit.gateway.door import BROWSER, open_door, token
from worker.gateway.forms import MAX_FIELDS, FormError, read_form

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=----x"
PART = b'------x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
END = b"------x--\r\n"


def click() -> dict[str, str]:
    return {"solutionId": str(SOLUTION_ID), "revisionId": str(REVISION_ID), "jwtToken": token()}


async def test_a_portal_that_uses_form_data_deploys() -> None:
    """A multipart form deploys, as a portal that uses FormData or `curl -F` sends it."""
    form = aiohttp.FormData(default_to_multipart=True)
    for name, value in click().items():
        form.add_field(name, value)
    async with open_door() as door:
        response = await door.post("/deploy", data=form, headers=BROWSER)
        assert 303 == response.status
        assert [SOLUTION_ID] == [it.solution_id for it in door.publisher.published]


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        (f"{URLENCODED}; charset=bogus", b"a=b", 415),
        (f"{URLENCODED}; charset=utf-16", b"a=b", 415),
        ("application/json", b"{}", 415),
        ("nonsense", b"a=b", 415),
        ("multipart/mixed; boundary=x", b"--x--", 415),
        (URLENCODED, b"solutionId=\xff", 400),
        (URLENCODED, b"solutionId=%ff", 400),
        (URLENCODED, b"&".join(b"a=%d" % it for it in range(MAX_FIELDS + 1)), 400),
        ("multipart/form-data", b"a=b", 400),
        ("multipart/form-data; boundary=\xe4", b"a=b", 400),
        (MULTIPART, b"", 400),
        (MULTIPART, PART % (b"a", b"b"), 400),
        (MULTIPART, PART % (b"a", b"\xff") + END, 400),
        (MULTIPART, PART % (b"a", b"b") * (MAX_FIELDS + 1) + END, 400),
        (MULTIPART, b"------x\r\n\r\nno name\r\n" + END, 400),
        (MULTIPART, b"------x\r\nno blank line" + END, 400),
    ],
)
async def test_what_is_no_form_is_refused(content_type: str, body: bytes, status: int) -> None:
    """Every form route answers 415 to another content type and 400 to an unreadable body, never an internal error."""
    async with open_door() as door:
        await door.log_in()
        for path in ("/deploy", "/requests/r-1/again", "/requests/r-1/settle"):
            door.say(0)
            response = await door.post(path, data=body, headers={"Content-Type": content_type})
            expected = 404 if path.endswith("settle") else status  # the route is for administrators
            assert (expected, True) == (response.status, "[internal]" not in await response.text())


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (URLENCODED, b"a=%C3%A4+b&c=&a=second"),
        ("", b"a=%C3%A4+b&c="),
        ('application/x-www-form-urlencoded;charset="UTF-8"', b"a=%c3%a4%20b&c="),
        (MULTIPART, PART % (b"a", "ä b".encode()) + PART % (b"c", b"") + END),
        (MULTIPART, b"preamble\r\n" + PART % (b"a", "ä b".encode()) + PART % (b"c", b"") + END + b"epilogue"),
        (
            'multipart/form-data; charset=utf-8; boundary="----x"',
            PART % (b"a", "ä b".encode()) + PART % (b"c", b"") + END,
        ),
    ],
)
def test_a_form_is_read(content_type: str, body: bytes) -> None:
    """Both content types are read; the first value of a repeated field counts."""
    assert {"a": "ä b", "c": ""} == read_form(content_type, body)


def test_a_value_is_what_stands_between_the_boundaries() -> None:
    """A multipart value keeps its line ends and any text that only resembles a boundary."""
    value = b"one\r\ntwo\r\n--x"
    assert {"a": value.decode()} == read_form(MULTIPART, PART % (b"a", value) + END)


def test_parts_within_parts_are_text() -> None:
    """Nested parts are not parsed, so no depth has to be bounded."""
    with pytest.raises(FormError):
        read_form(MULTIPART, (b"------x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n" * 1500)[: 64 * 1024])


async def test_bytes_that_are_no_text_are_no_bug() -> None:
    """Undecodable bytes in headers and addresses never cause a 500 answer."""
    async with open_door() as door:
        wrong: list[Any] = []
        for name in (
            "jwtToken",
            "Authorization",
            "Cookie",
            "Prefer",
            "If-None-Match",
            "Accept",
            "Idempotency-Key",
            "Origin",
        ):
            for path in ("/deploy/%ff/%00", f"/deploy/{SOLUTION_ID}/{REVISION_ID}?jwtToken=%ff", "/v1/deployments/%ff"):
                response = await door.get(path, headers={name: "Bearer \udcff.\udcff.\udcff"})
                wrong += [(name, path)] if response.status == 500 else []
        assert [] == wrong


@pytest.mark.parametrize(
    ("nonce", "status"), [("", 404), ("x" * 7, 404), ("x" * 8, 303), ("x" * 64, 303), ("x" * 65, 404)]
)
async def test_a_nonce_is_as_long_as_the_gateways_own(nonce: str, status: int) -> None:
    """A nonce must have 8 to 64 characters.

    An empty nonce would make every repetition the same request, and a longer one is not from the gateway's page.
    """
    async with open_door() as door:
        await door.log_in()
        door.say(0)
        door.say(1, "failed")
        assert status == (await door.post("/requests/r-1/again", data={"nonce": nonce})).status
        assert (status == 303) == bool(door.operations.done)
