"""How fast `POST /v1/videos` answers while many videos run, on the real service.

    python benchmarks/submit_latency.py [--videos N] [--json FILE]

Starts `serve run serve_app:app`, submits N six-beat simulated videos, then goes on submitting one after the other until
those N are finished. "burst" are the first N, all sent at once; "meanwhile" are the others.
"""

import argparse
import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from many_videos import OPTIONS

ROOT = Path(__file__).parents[1]
BODY = {
    "prompt": "A lighthouse keeper in a storm",
    "seconds": 30,
    "model": "simulated",
    "options": {"simulated": OPTIONS},
}


@contextmanager
def service(folder: Path) -> Iterator[str]:
    """Run the service and give its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "serve.yaml"
    config.write_text(
        f"http_options: {{host: 127.0.0.1, port: {port}}}\n"
        "applications: [{name: raypipe, import_path: 'serve_app:app'}]\n"
    )
    command = [str(Path(sys.executable).parent / "serve"), "run", "--app-dir", str(ROOT), str(config)]
    environment = {**os.environ, "RAYPIPE_DATA_DIR": str(folder / "data"), "RAY_ADDRESS": "local"}
    with (folder / "serve.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            wait_for(f"http://127.0.0.1:{port}", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Return when the service answers."""
    while process.poll() is None:
        try:
            if httpx.get(f"{url}/healthz", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise RuntimeError("the service did not come up")


async def post(client: httpx.AsyncClient, seed: int) -> tuple[str, float]:
    """Submit a video; gives its id and how long the answer took."""
    began = time.perf_counter()
    answer = await client.post("/v1/videos", json={**BODY, "seed": seed})
    took = time.perf_counter() - began
    answer.raise_for_status()
    return str(answer.json()["id"]), took


async def finished(client: httpx.AsyncClient, video_id: str) -> bool:
    """Whether a video is completed; an end of any other kind is an error."""
    video = (await client.get(f"/v1/videos/{video_id}")).json()
    if video["status"] == "failed":
        raise RuntimeError(video["error"])
    return bool(video["status"] == "completed")


async def measure(url: str, videos: int) -> dict[str, Any]:
    """Submit the burst, then go on until it is finished."""
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        await post(client, 1_000_000)
        began = time.perf_counter()
        burst = await asyncio.gather(*(post(client, seed) for seed in range(videos)))
        unfinished = [video_id for video_id, _ in burst]
        meanwhile: list[float] = []
        while unfinished:
            _, took = await post(client, videos + len(meanwhile))
            meanwhile.append(took)
            await asyncio.sleep(0.1)
            while unfinished and await finished(client, unfinished[-1]):
                unfinished.pop()
        wall = time.perf_counter() - began
    return {
        "videos": videos,
        "wall_seconds": wall,
        **figures("burst", [t for _, t in burst]),
        **figures("meanwhile", meanwhile),
    }


def figures(name: str, times: list[float]) -> dict[str, Any]:
    """Count, median and 95th percentile in milliseconds."""
    ordered = sorted(times)
    return {
        f"{name}_posts": len(times),
        f"{name}_median_ms": 1000 * statistics.median(times),
        f"{name}_p95_ms": 1000 * ordered[int(0.95 * (len(ordered) - 1))],
    }


def main() -> int:
    """Print the figures, and write them if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", type=int, default=100)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, service(Path(folder)) as url:
        result = asyncio.run(measure(url, args.videos))
    for name, value in result.items():
        print(f"{name:22} {value:10.1f}" if isinstance(value, float) else f"{name:22} {value:8}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
