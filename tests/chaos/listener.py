"""Somebody whom a webhook tells what becomes of videos, and who refuses some messages at first: they come again."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

#: share of messages that are refused when they come first
REFUSED = 0.2


class Listener:
    """Takes messages, in threads of its own; `url` is where.

    Args:
        chosen: Chooses which messages are refused at first.
    """

    def __init__(self, chosen: random.Random) -> None:
        self._chosen, self._refused = chosen, set[str]()
        #: ids of the messages that were taken
        self.told: set[str] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def take(self, message_id: str) -> int:
        """Take a message, or refuse it; returns the status to answer with."""
        if message_id not in self._refused and self._chosen.random() < REFUSED:
            self._refused.add(message_id)
            return 503
        self._refused.add(message_id)
        self.told.add(message_id)
        return 204

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen until the end of the block."""
        thread = threading.Thread(target=self._server.serve_forever, name="the listener", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                self.send_response(listener.take(self.headers["webhook-id"]))
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing of each request."""

        return Handler
