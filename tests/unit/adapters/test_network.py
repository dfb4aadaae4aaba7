"""Reasons for a failed connection: kinds of errors, never their text."""

import socket
import ssl

import pytest

from worker.adapters.network import network_reason


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionRefusedError(111, "canary"), "connection refused"),
        (OSError(113, "canary"), "no route to host"),
        (OSError("Multiple exceptions: [Errno 111] canary, [Errno 111] canary"), "connection refused"),
        (
            OSError("Multiple exceptions: [Errno 111] canary, [Errno 101] canary"),
            "connection refused and network is unreachable",
        ),
        (OSError("canary"), "no connection"),
        (socket.gaierror(socket.EAI_NONAME, "canary"), "name not known"),
        (socket.gaierror(socket.EAI_AGAIN, "canary"), "the name cannot be looked up"),
        (ssl.SSLError(1, "canary"), "the TLS handshake failed"),
        (TimeoutError(), "no answer in time"),
        (TimeoutError(110, "canary"), "connection timed out"),
    ],
)
def test_a_reason_is_the_kind_of_the_error(error: OSError, reason: str) -> None:
    """The reason is the kind of the error; its text is left out, since a library may put anything into it."""
    assert reason == network_reason(error)
