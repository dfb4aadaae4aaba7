"""Secrets that must appear in no output, and the search for them: whole, in slices, and in other spellings."""

import base64
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from urllib.parse import quote

from tests.support.builders import blueprint, node, operation, protobuf
from tests.support.corpus import record
from worker.sandbox.users import User, sandbox_token

SLICE = 16  # characters in a row that count as a leak

USER = User(
    user_id="canaryuserid-7b1f4d0e93a2",
    login_name="canarylogin-Xq2vT8mWz4",
    email="canary.mailbox-Qw8rNc3Lp@canary-mail-Yk5.example",
    first_name="CanaryFirstname-Hd7sPj2",
    last_name="CanaryLastname-Bv9tGk6x",
)
JWT_SECRET = "canaryJwtSecretKm3nR7wQzE5uT9yVbL2pXs8dFhJ4gA6cM1kNvW0rYtUiOqPaSlDkFjGhZmXnCbVe" * 2
CCDS_USERNAME, CCDS_PASSWORD = "ccds_client", "canaryCcdsPassword-Zt4%q'R8 w\"9&Lk2mXv"
NEXUS_USERNAME, NEXUS_PASSWORD = "nexus_reader", "canaryNexusPassword+Hg6fDs2/aPo8Iu3="
SASL_USERNAME, SASL_PASSWORD = "kafka_worker", "canarySaslPassword_Jm5Nb7Vc1Xz9Lk3"
BROKER_PASSWORD = "canaryDatabrokerPassword-Ty6Gh4"  # data brokers have credentials in the blueprint
OVERRIDE_PASSWORD = "canaryOverridePassword-Nb3Vc8Xz"  # an operator may write one into a node's environment
IN_THE_ICON = "canaryIconBytesRf3Vg7Bh1Nj5Mk9"
IN_A_PROTO = "canaryProtoTextWs8Ed4Rf6Tg2Yh"
IN_THE_DESCRIPTION = "canaryDescriptionUj7Ik3Ol9Pz1"
ICON = b"\x89PNG\r\n\x1a\n" + IN_THE_ICON.encode()
PROTO = f"{protobuf(operation())}// {IN_A_PROTO}\n"
BLUEPRINT = blueprint(
    node("a", proto_uri="org/a.proto", data_broker_map={"user_id": "reader", "password": BROKER_PASSWORD}),
    node("b", proto_uri="org/b.proto"),
)


def basic(username: str, password: str) -> str:
    """Return the value of `Authorization` without its scheme."""
    return base64.b64encode(f"{username}:{password}".encode()).decode()


def token(**changes: object) -> str:
    """Return a token that a worker with JWT_SECRET accepts, with a canary in every claim about the user."""
    return sandbox_token(datetime.now(UTC), **{"user": USER, "secret": JWT_SECRET} | changes)  # type: ignore[arg-type]


def example_zip() -> bytes:
    """Return a sample archive, for tests without a real bundle."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("blueprint.json", BLUEPRINT)
        archive.writestr("microservice/a.proto", PROTO)
        archive.writestr("solution_icon.png", ICON)
    return buffer.getvalue()


TOKEN = token()
ZIP = example_zip()
ZIP_BASE64 = base64.b64encode(ZIP).decode()

VALUES: dict[str, str] = {
    "token": TOKEN,
    "token's payload": TOKEN.split(".")[1],
    "token's signature": TOKEN.split(".")[2],
    "claim email": USER.email,
    "claim userId": USER.user_id,
    "claim loginName": USER.login_name,
    "claim firstName": USER.first_name,
    "claim lastName": USER.last_name,
    "claim apiToken": f"the-api-token-of-{USER.login_name}",
    "JWT secret": JWT_SECRET,
    "CCDS password": CCDS_PASSWORD,
    "Nexus password": NEXUS_PASSWORD,
    "SASL password": SASL_PASSWORD,
    "Basic credentials of CCDS": basic(CCDS_USERNAME, CCDS_PASSWORD),
    "Basic credentials of Nexus": basic(NEXUS_USERNAME, NEXUS_PASSWORD),
    "password in the blueprint": BROKER_PASSWORD,
    "password in the overrides": OVERRIDE_PASSWORD,
    "zip in base64": ZIP_BASE64,
    "zip's icon": IN_THE_ICON,
    "zip's protobuf": IN_A_PROTO,
    "zip's description": IN_THE_DESCRIPTION,
}
# The first bytes of an archive, as bytes, as Python writes them and as JSON does: shorter than a slice.
ZIP_STARTS = ("PK\x03\x04", r"PK\x03\x04", r"PK\u0003\u0004", "UEsDB")


def spellings(value: str) -> Iterator[str]:
    """Yield the value and its encodings in other programs."""
    data = value.encode()
    yield value
    yield repr(value)[1:-1]
    yield json.dumps(value)[1:-1]
    yield quote(value, safe="")
    yield data.hex()
    for shift in range(3):  # at any offset in the encoded text; the edges depend on the neighbouring bytes
        yield base64.b64encode(bytes(shift) + data).decode()[4:-4]


def slices(text: str) -> Iterator[str]:
    """Return every run of SLICE characters; a shorter text is returned whole."""
    return (text[start : start + SLICE] for start in range(max(1, len(text) - SLICE + 1)))


@dataclass
class Watch:
    """A search for the canaries in the output of each path, which also counts the findings."""

    values: dict[str, str] = field(default_factory=lambda: dict(VALUES))
    paths: dict[str, set[str]] = field(default_factory=dict)  # path → the canaries found in its output

    def __post_init__(self) -> None:
        self._owners: dict[str, str] = {}
        for name, value in self.values.items():
            for spelling in spellings(value):
                self._learn(name, spelling)

    def _learn(self, name: str, text: str) -> None:
        for piece in slices(text):
            self._owners.setdefault(piece, name)

    def found(self, *texts: str | bytes) -> set[str]:
        """Return the names of the canaries that these texts contain, in any spelling."""
        names: set[str] = set()
        for text in texts:
            shown = text.decode(errors="replace") if isinstance(text, bytes) else text
            names |= {self._owners[piece] for piece in slices(shown) if piece in self._owners}
            names |= {"zip" for start in ZIP_STARTS if start in shown}
        return names

    def check(self, path: str, *texts: str | bytes) -> None:
        """Fail when one of these texts contains a canary. Every path has a unique name."""
        assert path not in self.paths, f"two paths are called {path}"
        self.paths[path] = self.found(*texts)
        record(f"secrets that leak, of {len(self.values)} in each path", len(self.values), len(self.paths[path]))
        assert set() == self.paths[path], path

    def learn_zip(self, archive: bytes) -> None:
        """Search for the base64 of one more archive from now on."""
        self._learn("zip in base64", base64.b64encode(archive).decode())
