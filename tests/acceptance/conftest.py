"""A real raypipe service: `serve run serve_app:app` in a process group of its own."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.patience import patience

ROOT = Path(__file__).parents[2]


class Service(NamedTuple):
    """Where the service answers and where it keeps its data."""

    url: str
    data_dir: Path


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service, started once for all tests."""
    folder = tmp_path_factory.mktemp("service")
    port = _free_port()
    config = folder / "serve.yaml"
    config.write_text(
        f"http_options: {{host: 127.0.0.1, port: {port}}}\n"
        "applications: [{name: raypipe, import_path: 'serve_app:app'}]\n"
    )
    environment = {**os.environ, "RAYPIPE_DATA_DIR": str(folder / "data"), "RAY_ADDRESS": "local"}
    command = [str(Path(sys.executable).parent / "serve"), "run", "--app-dir", str(ROOT), str(config)]
    log = (folder / "serve.log").open("w")
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        yield _when_ready(Service(f"http://127.0.0.1:{port}", folder / "data"), process, folder / "serve.log")
    finally:
        _stop(process)
        log.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _when_ready(service: Service, process: subprocess.Popen[bytes], log: Path) -> Service:
    deadline = time.monotonic() + patience(90)
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{service.url}/healthz", timeout=patience(2)).status_code == 200:
                return service
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    pytest.fail(f"the service did not come up:\n{log.read_text()[-4_000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(patience(30))
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
