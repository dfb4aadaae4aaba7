"""The administrator role."""

from typing import Any

import jwt
import pytest

from tests.unit.gateway.door import KEY, FakeReader
from worker.domain.solution import Caller
from worker.gateway.service import Gateway
from worker.gateway.sessions import Sessions
from worker.gateway.view import View
from worker.settings import GatewaySettings

ADMIN = {"name": "Admin", "active": True}


class AnyToken:
    """A verifier that accepts every token; signatures do not matter here."""

    async def authenticate(self, token: str, appended_at: float | None, *, times: bool = True) -> Caller:
        return Caller("u", "u@example.org")


@pytest.mark.parametrize(
    ("role", "roles", "is_admin"),
    [
        ("Admin", [ADMIN], True),
        ("Admin", [{"name": "User", "active": True}, ADMIN], True),
        ("Admin", [ADMIN | {"active": False}], False),
        ("Admin", [{"name": "Admin"}], False),
        ("Admin", [{"name": "admin", "active": True}], False),
        ("Admin", "Admin", False),
        ("Admin", ["Admin"], False),
        ("Admin", None, False),
        (None, [ADMIN], False),
        (None, [{"name": None, "active": True}], False),
    ],
)
async def test_an_administrator_has_the_active_role(role: str | None, roles: Any, is_admin: bool) -> None:
    """Only an active role of exactly the configured name makes an administrator; without that setting, no one is."""
    own = GatewaySettings.model_validate({"session_key": KEY, "admin_role": role})
    gateway = Gateway(own, AnyToken(), Sessions(own, lambda: 0), View(1, 1), FakeReader(), lambda: None)  # type: ignore[arg-type]
    session = await gateway.authenticate(jwt.encode({"exp": 10, "role": roles}, KEY))
    assert (is_admin, 10) == (session.is_admin, session.expires)
