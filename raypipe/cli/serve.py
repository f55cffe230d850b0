"""`raypipe serve`: Ray, Ray Serve and the application, in the foreground until a signal asks to stop."""

import socket
import threading

from rich.console import Console

from raypipe.cli.generate import StopRequest, start_ray, stop_ray
from raypipe.cli.watch import say
from raypipe.config import Settings
from raypipe.errors import InvalidRequest
from raypipe.journal import Journal


def run_service(host: str, port: int, settings: Settings, console: Console) -> int:
    """Serve the HTTP API until SIGINT, SIGTERM or SIGHUP, and give the exit code.

    Raises:
        InvalidRequest: Nothing can listen on that address.
        JournalUnavailable: The journal cannot be opened.
        RayUnavailable: Ray cannot be started or reached.
    """
    _check_free(host, port)
    Journal(settings.journal_url).close()  # what is wrong with it is told here, not in a replica's log
    stop, asked = StopRequest(), threading.Event()
    stop.call(asked.set)
    say(console, "Starting Ray and Ray Serve, which takes some seconds ...")
    try:
        start_ray(settings, log_to_driver=True)
        stop.listen()
        if not asked.is_set():
            _deploy(host, port)
            stop.listen()
            say(console, f"Serving on http://{host}:{port} (every route: /docs). Ctrl-C stops.")
        while not asked.wait(0.5):
            pass  # signals are heeded between waits
        say(console, "Stopping ...")
        _shut_down()
    finally:
        stop_ray()
    return 0 if stop.signal is None else 128 + stop.signal


def _deploy(host: str, port: int) -> None:
    from ray import serve

    from raypipe.serving import app

    serve.start(http_options={"host": host, "port": port})
    serve.run(app, name="raypipe", route_prefix="/")


def _shut_down() -> None:
    from ray import serve

    serve.shutdown()


def _check_free(host: str, port: int) -> None:
    try:
        with socket.create_server((host, port)):
            pass
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidRequest(f"--host, --port: nothing can listen on {host}:{port}: {reason}.") from error
