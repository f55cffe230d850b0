"""`raypipe serve`: Ray, Ray Serve and the application, in the foreground until a signal asks to stop."""

import logging
import socket
import threading
from ipaddress import ip_address

from rich.console import Console

from raypipe.artifacts import ArtifactStore
from raypipe.cli.connection import RayConnection
from raypipe.cli.generate import StopRequest
from raypipe.cli.lookup import open_for_writing
from raypipe.cli.watch import say
from raypipe.config import Settings, guard_serve, put_answers_first
from raypipe.errors import InvalidRequest, RayUnavailable

_APPLICATION = "raypipe"
#: seconds that the application gets to give back its videos, before its processes are ended
_STOP_SECONDS = 15.0


def run_service(host: str, port: int, settings: Settings, console: Console) -> int:
    """Serve the HTTP API until SIGINT, SIGTERM or SIGHUP, and give the exit code.

    Raises:
        InvalidRequest: Nothing can listen on that address.
        JournalUnavailable: The journal cannot be opened.
        RayUnavailable: Ray cannot be started or reached.
    """
    local = settings.ray_address == "local"
    if local:
        _check_free(host, port)
    # what is wrong with these is told here, and not in a replica's log
    open_for_writing(settings).close()
    ArtifactStore(settings.artifacts_url)
    asked = threading.Event()
    with StopRequest() as stop:
        stop.call(asked.set)
        connection = RayConnection(settings, stop, loopback=_is_loopback(host), shows_logs=True)
        say(console, "Starting Ray and Ray Serve, which takes some seconds ...")
        try:
            guard_serve()
            put_answers_first()
            connection.start()
            if not asked.is_set():
                _deploy(host, port, local)
                stop.listen()
                for address in _metrics():
                    say(console, f"Metrics on {address}")
                say(console, f"Serving on http://{host}:{port} (every route: /docs). Ctrl-C stops.")
                while not asked.wait(0.5):
                    pass  # signals are heeded between waits
                say(console, "Stopping ...")
                _shut_down()
        finally:
            connection.stop()
    return 0 if stop.signal is None else 128 + stop.signal


def _deploy(host: str, port: int, local: bool) -> None:
    from ray import serve
    from ray.exceptions import RayError

    from raypipe.serving import app

    # on a Ray of our own Serve says what goes wrong alone: it would tell of every look at a film
    level = "WARNING" if local else "INFO"
    logging.getLogger("ray.serve").setLevel(level)
    logs = {"log_level": level}
    try:
        serve.start(http_options={"host": host, "port": port}, logging_config=logs)
        serve.run(app, name=_APPLICATION, route_prefix="/", logging_config=logs)
    except (RuntimeError, RayError) as error:
        raise RayUnavailable(f"Ray Serve cannot serve raypipe: {str(error).partition(chr(10))[0]}") from error


def _metrics() -> list[str]:
    """Return where Ray gives metrics, of all nodes."""
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    return [f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics" for node in alive]


def _shut_down() -> None:
    """Take the application away, so that its videos are given back; a Ray of our own ends with all else of Serve's."""
    from ray import serve

    taking = threading.Thread(target=serve.delete, args=(_APPLICATION,), name="raypipe-stop", daemon=True)
    taking.start()
    taking.join(_STOP_SECONDS)


def _is_loopback(host: str) -> bool:
    """Tell whether a host is reached from this machine only."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_free(host: str, port: int) -> None:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, port), family=family):
            pass
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidRequest(f"--host, --port: nothing can listen on {host}:{port}: {reason}.") from error
