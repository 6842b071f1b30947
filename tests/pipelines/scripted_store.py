"""An HTTP server that answers S3 requests by a script: how a store behaves on a bad day."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Answer:
    """One answer. `sent` bytes of the body go out before the connection is cut; None: all of it."""

    status: int = 200
    body: bytes = b""
    sent: int | None = None


def error(status: int, code: str) -> Answer:
    message = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>scripted {code}</Message></Error>"
    return Answer(status, message.encode())


@dataclass
class Script:
    """Answers in order, the last one repeated for ever; `requests` counts what was asked."""

    answers: list[Answer]
    requests: list[str] = field(default_factory=list)

    def next(self, request: str) -> Answer:
        self.requests.append(request)
        return self.answers[min(len(self.requests), len(self.answers)) - 1]


@contextmanager
def serve(script: Script) -> Iterator[str]:
    """Serves `script` on a free port; yields the address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer = script.next(f"{self.command} {self.path}")
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body[: answer.sent])
            if answer.sent is not None:
                self.close_connection = True

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
