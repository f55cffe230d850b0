"""A Ray of raypipe's own on this machine: started with patience, reached from where it is told to be, ended whole."""

import logging
import os
import re
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raypipe.config import gcs_seconds, in_environment, prepare_local_ray
from raypipe.errors import RayUnavailable
from raypipe.leftovers import MARK, Guard, end_marked
from raypipe.private import own_folder_in

if TYPE_CHECKING:
    from ray._private.node import Node

#: how often Ray is started before it counts as something that cannot be
START_TRIES = 3
#: seconds between two starts
PAUSE_SECONDS = 1.0
#: seconds for which an end waits for a process that is being started
STARTING_SECONDS = 2.0
#: seconds between two looks whether a process of Ray's listens, and for which one waits for a connection
LOOK_SECONDS, LISTEN_SECONDS = 0.05, 1.0
#: ports of its agents that a raylet waits for, 15 s and no longer, before it does anything
_AGENT_PORTS = (
    "metrics_agent_port",
    "dashboard_agent_listen_port",
    "runtime_env_agent_port",
    "metrics_export_port",
)

logger = logging.getLogger(__name__)


class LocalRay:
    """Starts a Ray on this machine and connects this process to it.

    Args:
        loopback: Whether it listens on the loopback address alone; else on all addresses, as Ray knows nothing between.
        metrics_port: Where it gives metrics; None for a free port.
        shows_logs: Whether this process shows what workers write.
    """

    def __init__(self, loopback: bool, metrics_port: int | None, shows_logs: bool) -> None:
        self._loopback, self._metrics_port, self._shows_logs = loopback, metrics_port, shows_logs
        self._mark = ""
        self._guard: Guard | None = None
        self._node: Node | None = None
        self._session: Path | None = None
        self._abandoned = False
        #: whether this process is connected to it, or has begun to be
        self._is_joined = False
        #: what the guard reads, and what Python writes each signal to as it comes, for as long as there is this process
        self._signals, self._signalled = os.pipe()
        os.set_blocking(self._signalled, False)
        #: held while a process is being started: it carries no mark until it is
        self._starting = threading.Lock()

    def start(self) -> None:
        """Start Ray; where it does not start, as on a machine that is too busy, again.

        It has to be called in a thread that lives as long as Ray is to: Linux ends what a thread has started with it.

        Raises:
            RayUnavailable: It cannot be started.
        """
        _check_folder()
        prepare_local_ray(self._loopback)
        for number in range(1, START_TRIES + 1):
            try:
                self._start_once()
                return
            except Exception as error:
                problem = self._problem(error)
                self.stop()
                if self._abandoned or number == START_TRIES:
                    raise RayUnavailable(f"Ray cannot be started, tried {number} times: {problem}") from error
            logger.warning("Ray did not start and is started again: %s", problem)
            time.sleep(PAUSE_SECONDS)

    def _start_once(self) -> None:
        import ray

        self._mark = secrets.token_hex(16)
        self._guard = Guard(self._mark, self._signals)
        with _private_files(), in_environment(MARK, self._mark):
            self._node = _start_node(self._metrics_port, self._shows_logs, self._note_session, self._wanted)
        if not self._shows_logs:
            keep_standard_output()
        address, self._is_joined = self._node.gcs_address, True
        ray.init(
            address=address,
            log_to_driver=self._shows_logs,
            logging_level=logging.CRITICAL,
        )

    @contextmanager
    def ended_by_signals(self) -> Iterator[None]:
        """Have the guard end this process if it does not end by itself after a signal, for whatever reason.

        Ray's code keeps Python's global lock while it connects, and with it Python's handlers from running. It has to
        be called in the main thread.
        """
        before = signal.set_wakeup_fd(self._signalled, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)

    def _note_session(self, folder: Path) -> None:
        self._session = folder

    @contextmanager
    def _wanted(self) -> Iterator[None]:
        """Start a process within, unless nobody wants this Ray any more."""
        with self._starting:
            if self._abandoned:
                raise RayUnavailable("nobody waits for Ray any more")
            yield

    def abandon(self) -> None:
        """End what there is of Ray while it starts in another thread; what that may start yet, the guard ends."""
        self._abandoned = True
        if self._starting.acquire(timeout=STARTING_SECONDS):
            self._starting.release()
        if self._mark:
            end_marked(self._mark)

    def stop(self) -> None:
        """End Ray; what does not end by itself is killed. A second time it does nothing."""
        mark, self._mark = self._mark, ""
        guard, self._guard = self._guard, None
        node, self._node = self._node, None
        is_joined, self._is_joined = self._is_joined, False
        if not mark:
            return  # there was no start
        try:
            _end_in_order(node, is_joined)
        finally:
            end_marked(mark)
            if guard is not None and not self._abandoned:
                guard.dismiss()

    def _problem(self, error: Exception) -> str:
        """Say why Ray did not start, by its own log where there is a reason in it."""
        first_line = str(error).strip().partition("\n")[0] or type(error).__name__
        if self._session is None:
            return first_line
        logs = self._session / "logs"
        waiting, cpus = os.getloadavg()[0], os.cpu_count() or 1
        busy = f"; {waiting:.0f} processes want to run on {cpus} CPUs" if waiting > 2 * cpus else ""
        return f"{_reason_in(logs) or first_line}{busy} (Ray's logs: {logs})"


def keep_standard_output() -> None:
    """Have what Ray says of its errors be logged: it prints that among what a command gives, as a film in a pipe."""
    from ray._private import worker

    def log(data: dict[str, Any], ignore_prefix: bool) -> None:
        logger.info("Ray says: %s", " ".join(data["lines"]))

    worker.print_to_stdstream = log


def _end_in_order(node: "Node | None", is_joined: bool) -> None:
    """Have Ray end by itself, as far as it can: what is left of it is killed, and is not why Ray did not start."""
    import ray

    try:
        if is_joined:
            ray.shutdown()
        if node is not None:
            node.kill_all_processes(check_alive=False, allow_graceful=True)
    except Exception as error:  # noqa: BLE001 - Ray's errors have no common class
        logger.info("Ray did not end by itself: %s", error)


def _check_folder() -> None:
    """Check that the folder in which this process is exists: Ray's processes could not start in it.

    Raises:
        RayUnavailable: It was deleted.
    """
    try:
        Path.cwd()
    except OSError as error:
        raise RayUnavailable(
            "Ray cannot be started: the current folder was deleted; go to one that exists, as with `cd`."
        ) from error


def _start_node(
    metrics_port: int | None,
    shows_logs: bool,
    note_session: Callable[[Path], None],
    wanted: Callable[[], AbstractContextManager[None]],
) -> "Node":
    """Start Ray's processes, without those that only its dashboard needs.

    A raylet waits 15 s for its agents to say their ports, and ends itself where they need longer, which no setting
    changes (https://github.com/ray-project/ray/issues/65983). So the ports are chosen here, and said before it starts.
    So is that of the GCS: Ray waits for it with Python's global lock held, and nothing here would hear a signal.
    """
    from ray._private.node import Node
    from ray._private.parameter import RayParams
    from ray._private.ray_constants import PROCESS_TYPE_GCS_SERVER
    from ray._raylet import persist_port  # type: ignore[attr-defined]

    gcs_port, *free = _free_ports(1 + len(_AGENT_PORTS))
    ports = dict(zip(_AGENT_PORTS, free, strict=True))
    if metrics_port is not None:
        ports["metrics_export_port"] = metrics_port

    class PatientNode(Node):  # type: ignore[misc]
        def _init_temp(self, *args: Any) -> None:
            super()._init_temp(*args)
            note_session(Path(self._session_dir))

        def start_api_server(self, **_: Any) -> None:
            """Start no dashboard, nor the process that is left of it where there is none."""
            self._webui_url = ""

        def start_gcs_server(self) -> None:
            with wanted():
                super().start_gcs_server()
            process = self.all_processes[PROCESS_TYPE_GCS_SERVER][0].process
            _await_listening(self.gcs_address, process.poll, wanted)

        def start_log_monitor(self) -> None:
            with wanted():
                super().start_log_monitor()

        def start_raylet(self, *args: Any, **more: Any) -> None:
            for name, port in ports.items():
                persist_port(self._session_dir, self._node_id, name, port)
            with wanted():
                super().start_raylet(*args, **more)

    parameters = RayParams(
        temp_dir=str(_folder_of_sessions()),
        num_cpus=os.cpu_count(),
        include_dashboard=False,
        include_log_monitor=shows_logs,
        no_monitor=True,
        gcs_server_port=gcs_port,
        **ports,
    )
    return PatientNode(parameters, head=True, shutdown_at_exit=False, spawn_reaper=True)


def _folder_of_sessions() -> Path:
    """Return the folder for Ray's sessions: Ray opens it to all users, so it is in one that this user alone enters."""
    from ray._common.utils import get_default_ray_temp_dir

    shared = Path(get_default_ray_temp_dir()).parent
    shared.mkdir(parents=True, exist_ok=True)
    return own_folder_in(shared, "ray-") / "ray"


def _await_listening(
    address: str, ended: Callable[[], int | None], wanted: Callable[[], AbstractContextManager[None]]
) -> None:
    """Wait until somebody listens at an address.

    Raises:
        RayUnavailable: Nobody wants it any more, the process that was to listen ended, or it takes too long.
    """
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + gcs_seconds()
    while True:
        with wanted(), suppress(OSError):
            socket.create_connection((host.strip("[]"), int(port)), LISTEN_SECONDS).close()
            return
        if (code := ended()) is not None:
            raise RayUnavailable(f"its GCS ended with exit code {code}")
        if time.monotonic() > deadline:
            raise RayUnavailable(f"its GCS did not listen within {gcs_seconds():.0f} s")
        time.sleep(LOOK_SECONDS)


def _free_ports(number: int) -> list[int]:
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(number)]
        for probe in probes:
            probe.bind(("", 0))
        return [probe.getsockname()[1] for probe in probes]


@contextmanager
def _private_files() -> Iterator[None]:
    """Have files of the processes that are started meanwhile, and theirs, be readable by this user alone."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


#: a line of a log of Ray's that says what went wrong: how bad it is, in which program, and what
_PROBLEM = re.compile(r"\[[^\]]* ([CE]) \d+ \d+\] \((\w+)\) [\w.]+:\d+:\s+(.*)")


def _reason_in(logs: Path) -> str | None:
    """Find what ended a process of Ray's, in the words of its log."""
    found: list[tuple[str, str, str]] = []
    for name in ("raylet.err", "gcs_server.err", "raylet.out", "gcs_server.out"):
        with suppress(OSError):
            found += _PROBLEM.findall((logs / name).read_text(errors="replace"))
    found.sort(key=lambda problem: problem[0])  # what a process died of comes before what it complained about
    return f"{found[0][1]}: {re.sub('^.*Check failed: [^ ]+ +', '', found[0][2]):.300}" if found else None
