"""What the service does for others while strangers hold all the connections that they can.

    python -m tests.chaos.strangers [--connections N] [--seconds N]

Starts `raypipe serve`. A process of its own keeps so many connections open that never send the body of a request that
needs no key, as many that never send the whole head of one, and as many event streams of one key. Who is refused or cut
off is back a second later. Meanwhile health is asked for, and the requests of another key are sent.

Exit code 0 if health answered within a second throughout, and the other key's requests were carried out within two.
"""

import argparse
import asyncio
import json
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from itertools import cycle
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx

from raypipe.config import Settings
from raypipe.journal import ApiKey, Journal
from tests.chaos.test_restart import serving

#: longest time in seconds that health and the requests of others may take
MOST_HEALTH, MOST_OTHERS = 1.0, 2.0
_NO_BODY = (
    b"POST /v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90\r\n\r\n",
    b"POST /v1/hooks/replicate?step=a&seal=b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90\r\n\r\n",
)
_HALF_A_HEAD = b"GET /v1/videos HTTP/1.1\r\nHost: local"
_FILM = {"prompt": "A storm", "seconds": 5, "model": "simulated", "options": {"simulated": {"clip": 1.0}}}


async def _hold(address: tuple[str, int], request: bytes, seen: Counter[str]) -> None:
    """Send a request or a part of one, read whatever comes until the connection ends, and begin again."""
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection(*address)
            try:
                writer.write(request)
                if line := await reader.readline():
                    seen[line.split()[1].decode()] += 1
                while await reader.read(65_536):
                    pass
            finally:
                writer.close()
        await asyncio.sleep(1)


async def _hold_all(address: tuple[str, int], key: str, number: int, seconds: float) -> Counter[str]:
    stream = f"GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n".encode()
    bodies, seen = cycle(_NO_BODY), Counter[str]()
    requests = [request for _ in range(number) for request in (next(bodies), _HALF_A_HEAD, stream)]
    holding = [asyncio.create_task(_hold(address, request, seen)) for request in requests]
    await asyncio.sleep(seconds)
    for task in holding:
        task.cancel()
    await asyncio.gather(*holding, return_exceptions=True)
    return seen


def attack(url: str, key: str, number: int, seconds: float, out: Path) -> None:
    """Hold connections for so many seconds, and write down how the answers to them began."""
    parts = urlsplit(url)
    seen = asyncio.run(_hold_all((parts.hostname or "", parts.port or 0), key, number, seconds))
    out.write_text(json.dumps(seen))


class Ask(NamedTuple):
    """A request and what came of it."""

    what: str
    status: int
    seconds: float


def ask(url: str, method: str, path: str, key: str | None = None, body: object = None) -> Ask:
    """Send a request on a connection of its own."""
    began, parts = time.monotonic(), urlsplit(url)
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        answer.read()
        status = answer.status
    except (OSError, HTTPException):
        status = 0
    finally:
        connection.close()
    return Ask(f"{method} {path}", status, time.monotonic() - began)


def asked_meanwhile(url: str, key: str, seconds: float) -> list[Ask]:
    """Ask for health, and send another key's requests, again and again."""
    answers, ends = list[Ask](), time.monotonic() + seconds
    while time.monotonic() < ends:
        answers.append(ask(url, "GET", "/healthz"))
        answers.append(ask(url, "GET", "/v1/videos", key))
        answers.append(ask(url, "POST", "/v1/videos", key, _FILM))
        answers.append(ask(url, "POST", "/v1/plans", key, _FILM))
        time.sleep(0.25)
    return answers


def keys(data: Path, *names: str) -> list[str]:
    """Make keys of tenants of their own."""
    journal = Journal(Settings(data_dir=data).journal_url)

    async def create() -> list[str]:
        return [await journal.keys.create(ApiKey(name=name, tenant=name)) for name in names]

    try:
        return asyncio.run(create())
    finally:
        journal.close()


def under_attack(url: str, data: Path, number: int, seconds: float) -> tuple[list[Ask], Counter[str]]:
    """Have strangers hold connections; gives what others got meanwhile, and how the strangers' answers began."""
    greedy, other = keys(data, "greedy", "other")
    out = data / "attack.json"
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=attack, args=(url, greedy, number, seconds, out))
    process.start()
    answers = asked_meanwhile(url, other, seconds)
    process.join()
    return answers, Counter(json.loads(out.read_text()))


def _told(answers: list[Ask]) -> bool:
    well = True
    for what in dict.fromkeys(answer.what for answer in answers):
        some = [answer for answer in answers if answer.what == what]
        times = sorted(answer.seconds for answer in some)
        statuses = dict(Counter(answer.status for answer in some))
        print(
            f"{what}: {len(some)} asked, {statuses}, median {times[len(times) // 2]:.3f} s, longest {times[-1]:.3f} s"
        )
        most = MOST_HEALTH if what == "GET /healthz" else MOST_OTHERS
        well &= set(statuses) <= {200, 202} and times[-1] <= most
    return well


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--connections", type=int, default=1_000, help="of each of the three kinds")
    parser.add_argument("--seconds", type=float, default=60.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as (_, client):
        _wait_until_ready(client)
        answers, strangers = under_attack(str(client.base_url), Path(folder), args.connections, args.seconds)
        print(f"strangers were answered {dict(strangers)}")
        after = client.get("/healthz").status_code
    well = _told(answers) and after == 200
    print("all is well" if well else "something is broken")
    return 0 if well else 1


def _wait_until_ready(client: httpx.Client) -> None:
    deadline = time.monotonic() + 120
    while client.get("/readyz").status_code != 200:
        if time.monotonic() > deadline:
            raise SystemExit("the service was never ready")
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
