"""The reason why a connection failed, by the kind of the error only: an error's own text may contain a password."""

import os
import re
import socket
import ssl

_NO_SUCH_NAME = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}


def network_reason(error: OSError) -> str:
    """Return the kind of the error, as the system names it.

    asyncio combines the errors of several addresses into one text, from which only the error numbers are read.
    """
    match error:
        case ssl.SSLError():
            return "the TLS handshake failed"
        case socket.gaierror():
            return "name not known" if error.errno in _NO_SUCH_NAME else "the name cannot be looked up"
        case TimeoutError() if not error.errno:
            return "no answer in time"
    numbers = [error.errno] if error.errno else [int(it) for it in re.findall(r"\[Errno ([0-9]{1,4})\]", str(error))]
    words = dict.fromkeys(os.strerror(number).lower() for number in numbers)
    return " and ".join(words) or "no connection"
