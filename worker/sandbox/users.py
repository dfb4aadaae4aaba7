"""Users of the sandbox Graphene, and the tokens that its portal would issue to them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import jwt

from worker.domain.tokens import jjwt_key

# The portal's `jwt.auth.secret.key`. JJWT reads it as base64, skips the hyphens and drops an incomplete last group.
JWT_SECRET = (
    "this-text-signs-the-tokens-of-the-sandbox-and-of-nothing-else-because-"  # noqa: S105 - for the sandbox only
    "everybody-can-read-it-here-use-uuidgen-or-better-for-your-own"
)


@dataclass(frozen=True, slots=True)
class User:
    """A user, as in the portal's token."""

    user_id: str
    login_name: str
    email: str
    first_name: str = "Sandbox"
    last_name: str = "User"


SANDBOX_USER = User("6d0c3f6e-95f1-4f0b-8a9c-2f0e5b8f7a31", "sandbox", "sandbox.user@graphene.example")
# The sandbox playground answers this user's POSTs with a 502, so that the requests are parked.
UNANSWERED_USER = User("unanswered", "unanswered", "unanswered@graphene.example", "Often", "Unanswered")
STRANGER = User("stranger", "stranger", "stranger@graphene.example", "Complete", "Stranger")  # may read nothing


def sandbox_token(
    now: datetime,
    lifetime: timedelta = timedelta(minutes=30),
    user: User = SANDBOX_USER,
    secret: str = JWT_SECRET,
    algorithm: str = "HS512",
) -> str:
    """Create a token as the portal issues it at `now`; a negative lifetime gives an expired token."""
    claims = {
        "sub": user.login_name,
        "exp": int((now + lifetime).timestamp()),  # seconds
        "created": int(now.timestamp() * 1000),  # milliseconds
        "role": [_role(now)],
        "mlpuser": _mlp_user(user, now),
    }
    return jwt.encode(claims, jjwt_key(secret), algorithm=algorithm)


def _role(now: datetime) -> dict[str, Any]:
    return {
        "roleId": "8c850f07-4352-4afd-98b1-00cbceca569f",
        "name": "MLP System User",
        "active": True,
        "created": _instant(now - timedelta(days=400)),
        "modified": _instant(now - timedelta(days=400)),
        "permissionList": None,
        "roleCount": 0,
        "catalogIds": [],
    }


def _mlp_user(user: User, now: datetime) -> dict[str, Any]:
    """Return the portal's user object. It holds the API token in clear text, so no part of it may be logged."""
    return {
        "userId": user.user_id,
        "firstName": user.first_name,
        "middleName": None,
        "lastName": user.last_name,
        "orgName": None,
        "email": user.email,
        "loginName": user.login_name,
        "active": True,
        "apiToken": f"the-api-token-of-{user.login_name}",
        "loginHash": None,
        "verifyTokenHash": None,
        "authToken": None,
        "picture": None,
        "loginPassExpire": None,
        "lastLogin": _instant(now),
        "loginFailCount": None,
        "loginFailDate": None,
        "verifyExpiration": None,
        "tags": [],
        "created": _instant(now - timedelta(days=400)),
        "modified": _instant(now),
    }


def _instant(time: datetime) -> dict[str, int]:
    """Return an instant in Jackson's default format."""
    return {"epochSecond": int(time.timestamp()), "nano": time.microsecond * 1000}
