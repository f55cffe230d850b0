"""The HTTP part of a service alone: what is accepted waits in the journal."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.patience import patience

from .conftest import _free_port

_PROGRAM = """
import sys, uvicorn
from raypipe.api import create_app
from raypipe.config import Settings
uvicorn.run(create_app(Settings()), port=int(sys.argv[1]), log_level="warning")
"""


@contextmanager
def api(folder: Path, **settings: str) -> Iterator[str]:
    """Serve an installation in a folder over HTTP, in a process of its own that logs beside it; gives its address."""
    url = f"http://127.0.0.1:{(port := _free_port())}"
    environment = {**os.environ, "RAYPIPE_DATA_DIR": str(folder / "data"), **settings}
    with (folder / "api.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(port)], env=environment, stdout=log, stderr=log
        )
        try:
            deadline = time.monotonic() + patience(30)
            while not _answers(url):
                assert process.poll() is None, (folder / "api.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield url
        finally:
            process.terminate()
            process.wait(patience(20))


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=patience(2)).is_success
    except httpx.TransportError:
        return False
