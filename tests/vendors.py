"""Fakes of vendors as processes of their own, and what their ledgers say."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from raypipe.config import Settings
from tests.patience import patience

KEYS = {"replicate": "r8_fake", "fal": "fal_fake:secret"}
KEY_NAMES = {"replicate": "REPLICATE_API_TOKEN", "fal": "FAL_KEY"}
#: where their APIs begin
PATHS = {"replicate": "/v1", "fal": ""}


class FakeVendor(NamedTuple):
    """A fake that listens."""

    name: str
    url: str
    ledger: Path

    def lines(self, what: str = "create") -> list[dict[str, Any]]:
        """Return what its ledger says."""
        lines = map(json.loads, self.ledger.read_text().splitlines()) if self.ledger.exists() else ()
        return [line for line in lines if line["what"] == what]

    def creates(self, kind: str) -> list[dict[str, Any]]:
        """Return its creates of a kind."""
        return [line for line in self.lines() if line["job"]["kind"] == kind]


def free_port() -> int:
    """Find a port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def fake(name: str, folder: Path, tls: Path | None = None, **faults: Any) -> Iterator[FakeVendor]:
    """Run a fake until the end of the block; over TLS if there is a file of key and certificate."""
    port = free_port()
    vendor = FakeVendor(
        name, f"http{'s' if tls else ''}://127.0.0.1:{port}{PATHS[name]}", folder / f"{name}-ledger.jsonl"
    )
    command = [sys.executable, "-m", f"raypipe.testing.fake_{name}", "--port", str(port)]
    command += ["--ledger", str(vendor.ledger), "--faults", json.dumps(faults)]
    command += ["--tls", str(tls)] if tls else []
    log = (folder / f"{name}.log").open("w")
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait_for(port, process)
        yield vendor
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        log.close()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + patience(30)
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=patience(1)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("the fake did not come up")


def settings_for(data_dir: Path, *vendors: FakeVendor, key: str | None = "right", **more: Any) -> Settings:
    """Return settings that send everything to the fakes, with keys in a file of secrets."""
    if key is not None:
        keys = {KEY_NAMES[each.name]: KEYS[each.name] if key == "right" else key for each in vendors}
        file = os.open(data_dir / "secrets", os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(file, "".join(f"{name}={value}\n" for name, value in keys.items()).encode())
        os.close(file)
    urls = {each.name: each.url for each in vendors}
    return Settings(data_dir=data_dir, gateways=1, provider_urls=urls, **more)
