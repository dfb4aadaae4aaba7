"""The common part of all models: gRPC on 8061, a page on 8062, and a stop on SIGTERM."""

import json
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc

GRPC_PORT, PAGE_PORT = 8061, 8062


def serve(
    protobuf: str, model: Any, page: Callable[[str], tuple[str, str]], take: Callable[[Any], None] | None = None
) -> None:
    """Serve `model` as the one service of a .proto file, until SIGTERM.

    `page` gives content type and text for the path of a GET; `take` gets the JSON of a POST.
    """
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # a call that waits for a person must not delay the exit
    messages, services = grpc.protos_and_services(protobuf)
    model.messages = messages
    [service] = messages.DESCRIPTOR.services_by_name
    server = grpc.server(ThreadPoolExecutor(8))
    getattr(services, f"add_{service}Servicer_to_server")(model, server)
    server.add_insecure_port(f"0.0.0.0:{GRPC_PORT}")
    server.start()

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(*page(self.path))

        def do_POST(self) -> None:
            if take is None:
                self._answer("text/plain", "nothing to send here", 405)
                return
            take(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._answer("application/json", "{}")

        def _answer(self, kind: str, text: str, status: int = 200) -> None:
            data = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    ThreadingHTTPServer(("0.0.0.0", PAGE_PORT), Page).serve_forever()
