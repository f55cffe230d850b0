"""A command's connection to Ray, which a signal may end while it is being made."""

import atexit
import logging
import os
import socket
import sys
import threading
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING

from raypipe.config import Settings
from raypipe.errors import RaypipeError, RayUnavailable
from raypipe.local_ray import LocalRay, keep_standard_output

if TYPE_CHECKING:
    from raypipe.cli.generate import StopRequest

#: seconds within which a cluster of an address has to take a connection
_CONNECT_SECONDS = 5.0
#: seconds between two looks for a signal
_LOOK_SECONDS = 0.02


class RayConnection:
    """Connects this process to the cluster of the settings, or to a Ray that it starts on this machine.

    Args:
        settings: Say which.
        stop: Says when to give up.
        loopback: Whether a Ray of our own is reached from this machine only.
        shows_logs: Whether this process shows what workers write.
    """

    def __init__(
        self, settings: Settings, stop: "StopRequest", loopback: bool = True, shows_logs: bool = False
    ) -> None:
        self._settings, self._stop, self._shows_logs = settings, stop, shows_logs
        local = settings.ray_address == "local"
        self._local = LocalRay(loopback, settings.metrics_port, shows_logs) if local else None
        self._ended = threading.Event()
        self._error: BaseException | None = None

    def start(self) -> None:
        """Return when this process is connected, or is asked to stop.

        It is done in a thread: what starts Ray cannot be interrupted. Since Ray takes SIGTERM away somewhere in its
        start, the signals are taken again all the while.

        Raises:
            RayUnavailable: It does not work.
        """
        with nullcontext() if self._local is None else self._local.ended_by_signals():
            threading.Thread(target=self._start, name="raypipe-ray", daemon=True).start()
            while not self._ended.wait(_LOOK_SECONDS) and self._stop.signal is None:
                self._stop.listen()
        self._stop.listen()
        if self._error is not None and self._stop.signal is None:
            raise self._error if isinstance(self._error, RaypipeError) else self._unreachable(self._error)

    def _start(self) -> None:
        try:
            if self._local is not None:
                self._local.start()
            else:
                _connect(self._settings.ray_address, self._shows_logs)
        except BaseException as error:  # noqa: BLE001 - Ray may even exit; it is raised in the thread that waits
            self._error = error
        self._ended.set()
        threading.Event().wait()  # Linux ends Ray's processes when the thread that started them ends

    def _unreachable(self, error: BaseException) -> RayUnavailable:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        return RayUnavailable(f"The Ray cluster {self._settings.ray_address} cannot be reached: {reason}")

    def stop(self) -> None:
        """End the Ray that was started, also in the middle of its start, or leave the cluster."""
        if not self._ended.is_set():
            self._give_up()
        elif self._local is not None:
            self._local.stop()
        else:
            import ray

            ray.shutdown()

    def _give_up(self) -> None:
        """End a start that is under way; the thread that is in it has to end with this process, in Ray's own code."""
        threading.excepthook = lambda _: None  # what Ray's threads say of a Ray that is gone
        if self._local is not None:
            self._local.abandon()
        if self._stop.signal is not None:
            atexit.register(_leave, 128 + self._stop.signal)


def _leave(code: int) -> None:
    """End this process before Ray tidies up what it is still starting."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


def _connect(address: str, shows_logs: bool) -> None:
    _check_address(address)
    import ray

    if not shows_logs:
        keep_standard_output()
    ray.init(address=address, log_to_driver=shows_logs, logging_level=logging.CRITICAL)


def _check_address(address: str) -> None:
    """Fail at once where nobody listens: Ray itself would go on trying for many minutes.

    Raises:
        RayUnavailable: It is no address of Ray's.
        OSError: Nobody listens there.
    """
    scheme, separator, _ = address.partition("://")
    if separator and scheme != "ray":
        raise RayUnavailable(
            f"RAY_ADDRESS={address:.80} is no address of a Ray cluster: give HOST:PORT, ray://HOST:PORT, auto or local."
        )
    host, separator, port = address.rpartition(":")
    if separator and host and "/" not in host and port.isdecimal():
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
