"""What the service does with more submits than it can take: 300 a second offered for a minute.

    python benchmarks/burst.py [--rate N] [--seconds N] [--json FILE]

Starts `serve run serve_app:app`, and sends a submit of a two-beat simulated video every 1/rate of a second, whether or
not those before are answered. Every answer is to be 202 or 429. At the end the videos of all 202s are looked for.

Exit code 0 if nothing else was answered, nothing is lost, and those that were taken are told so in time.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from submit_latency import service

BODY = {
    "prompt": "A lighthouse keeper in a storm",
    "seconds": 10,
    "model": "simulated",
    "options": {"simulated": {"image": 1.0, "clip": 5.0, "music": 1.0}},
}
#: what is asked of the service: accepted a second, and milliseconds in which 99 of 100 are told so
LEAST_RATE, MOST_P99_MS = 50.0, 500.0


class Answer(NamedTuple):
    """What came back: a status, or what went wrong, in milliseconds; and the video."""

    status: str
    milliseconds: float
    video_id: str | None


async def post(client: httpx.AsyncClient, seed: int) -> Answer:
    """Submit a video."""
    began = time.perf_counter()
    try:
        answer = await client.post("/v1/videos", json={**BODY, "seed": seed})
    except httpx.HTTPError as error:
        return Answer(type(error).__name__, 1_000 * (time.perf_counter() - began), None)
    took = 1_000 * (time.perf_counter() - began)
    accepted = answer.status_code == httpx.codes.ACCEPTED
    return Answer(str(answer.status_code), took, answer.json()["id"] if accepted else None)


async def offer(url: str, rate: float, seconds: float) -> list[Answer]:
    """Send submits at a steady rate; gives their answers."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=1_000)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
        began, sent = time.perf_counter(), []
        for number in range(int(rate * seconds)):
            await asyncio.sleep(began + number / rate - time.perf_counter())
            sent.append(asyncio.create_task(post(client, number)))
        return await asyncio.gather(*sent)


async def known(url: str) -> set[str]:
    """Read the ids of all videos that the service has."""
    found: set[str] = set()
    after = ""
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        while True:
            page = (await client.get(f"/v1/videos?limit=100{after and f'&after={after}'}")).json()
            found |= {each["id"] for each in page["data"]}
            if not page["has_more"]:
                return found
            after = page["last_id"]


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
        videos = asyncio.run(known(url))
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
