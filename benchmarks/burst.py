"""What the service does with more submits than it can take: 300 a second offered for a minute.

    python benchmarks/burst.py [--rate N] [--seconds N] [--json FILE]

Starts `raypipe serve`, and sends a submit of a two-beat simulated video every 1/rate of a second, whether or
not those before are answered. Every answer is to be 202 or 429. At the end the videos of all 202s are looked for.

Exit code 0 if nothing else was answered, nothing is lost, and those that were taken are told so in time.
"""

import argparse
import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

from submit_latency import wait_for

from raypipe.config import Settings
from raypipe.journal import Journal

BODY = {
    "prompt": "A lighthouse keeper in a storm",
    "seconds": 10,
    "model": "simulated",
    "options": {"simulated": {"image": 1.0, "clip": 5.0, "music": 1.0}},
}
#: what is asked of the service: accepted a second, and milliseconds in which 99 of 100 are told so
LEAST_RATE, MOST_P99_MS = 50.0, 500.0


@contextmanager
def service(folder: Path) -> Iterator[str]:
    """Run the service and give its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "RAYPIPE_DATA_DIR": str(folder / "data"), "RAY_ADDRESS": "local"}
    with (folder / "serve.log").open("w") as log:
        command = [str(Path(sys.executable).parent / "raypipe"), "serve", "--port", str(port)]
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_for(f"http://127.0.0.1:{port}", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(90)


class Answer(NamedTuple):
    """What came back: a status, or what went wrong, in milliseconds; and the video."""

    status: str
    milliseconds: float
    video_id: str | None


class Connection(asyncio.Protocol):
    """A connection that sends one request at a time: an ordinary client would take more of the CPU than the service."""

    def __init__(self) -> None:
        self._received, self._answered = bytearray(), asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note where to write to."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Take a part of an answer, of which the head says how long it is."""
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head) if separator else None
        if length is not None and len(body) >= int(length[1]) and not self._answered.done():
            self._answered.set_result((head[9:12].decode(), bytes(body)))

    def connection_lost(self, error: Exception | None) -> None:
        """Say that there will be no answer."""
        if not self._answered.done():
            self._answered.set_exception(error or ConnectionResetError("closed"))

    @property
    def is_open(self) -> bool:
        """Whether another request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, request: bytes) -> tuple[str, bytes]:
        """Send a request and return status and body."""
        self._received.clear()
        self._answered = asyncio.get_running_loop().create_future()
        cast(asyncio.Transport, self._transport).write(request)
        answer: tuple[str, bytes] = await self._answered
        return answer


class Client:
    """Posts videos over connections that are kept."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), int(parts.port or 80)
        self._idle: list[Connection] = []

    async def post(self, seed: int) -> Answer:
        """Submit a video."""
        body = json.dumps({**BODY, "seed": seed})
        head = f"POST /v1/videos HTTP/1.1\r\nHost: {self._host}:{self._port}\r\nContent-Type: application/json\r\n"
        began = time.perf_counter()
        try:
            async with asyncio.timeout(60):
                connection = await self._connected()
                status, said = await connection.ask(
                    f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()
                )
        except OSError as error:  # a timeout too
            return Answer(type(error).__name__, 1_000 * (time.perf_counter() - began), None)
        took = 1_000 * (time.perf_counter() - began)
        self._idle.append(connection)
        return Answer(status, took, json.loads(said)["id"] if status == "202" else None)

    async def _connected(self) -> Connection:
        while self._idle:
            if (connection := self._idle.pop()).is_open:
                return connection
        loop = asyncio.get_running_loop()
        _, opened = await loop.create_connection(Connection, self._host, self._port)
        return opened


async def offer(url: str, rate: float, seconds: float) -> list[Answer]:
    """Send submits at a steady rate; gives their answers."""
    client, sent = Client(url), []
    began = time.perf_counter()
    for number in range(int(rate * seconds)):
        await asyncio.sleep(began + number / rate - time.perf_counter())
        sent.append(asyncio.create_task(client.post(number)))
    return await asyncio.gather(*sent)


def known(folder: Path) -> set[str]:
    """Read the ids of all videos that the service has."""
    journal = Journal(Settings(data_dir=folder / "data").journal_url)
    found = set(journal.video_ids(1_000_000))
    journal.close()
    return found


def figures(answers: list[Answer], seconds: float, lost: int) -> dict[str, Any]:
    """Count the answers, and say how long those that accepted took."""
    taken = sorted(each.milliseconds for each in answers if each.video_id is not None)
    refused = sorted(each.milliseconds for each in answers if each.status == "429")

    def at(times: list[float], part: float) -> float | None:
        return round(times[int(part * (len(times) - 1))], 1) if times else None

    return {
        "offered": len(answers),
        "answers": dict(Counter(each.status for each in answers)),
        "accepted_a_second": round(len(taken) / seconds, 1),
        "accepted_median_ms": at(taken, 0.5),
        "accepted_p99_ms": at(taken, 0.99),
        "refused_p99_ms": at(refused, 0.99),
        "lost": lost,
    }


def main() -> int:
    """Print the figures, and write them if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=float, default=300.0, help="submits a second")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, service(Path(folder)) as url:
        asyncio.run(offer(url, 10, 2))
        answers = asyncio.run(offer(url, args.rate, args.seconds))
        videos = known(Path(folder))
    accepted = {each.video_id for each in answers if each.video_id is not None}
    result = figures(answers, args.seconds, len(accepted - videos))
    for name, value in result.items():
        print(f"{name:22} {value}")
    if args.json:
        args.json.write_text(json.dumps({"rate": args.rate, "seconds": args.seconds, **result}, indent=2))
    well = set(result["answers"]) <= {"202", "429"} and not result["lost"]
    in_time = (result["accepted_p99_ms"] or MOST_P99_MS) < MOST_P99_MS
    return 0 if well and in_time and result["accepted_a_second"] >= LEAST_RATE else 1


if __name__ == "__main__":
    sys.exit(main())
