"""What all fakes of vendors share: jobs that take their time, a ledger of every create, and faults on command."""

import asyncio
import base64
import hashlib
import json
import os
import sys
import time
from argparse import ArgumentParser
from collections.abc import AsyncIterator, Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import httpx
import uvicorn
from fastapi import FastAPI, HTTPException, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import Field

from raypipe.models import Kind, Value
from raypipe.testing import media

At = Literal["create", "poll", "cancel", "download", "webhook"]
#: on a create: refuse (4xx), funds (402), busy (429), error (500), lose (take it and close the connection), hang (take
#: it, answer never); when polled: fail, busy, error, expired (made, and removed; replicate only), elsewhere (made, and
#: to be fetched from inside the network); when cancelled: error (500, and it goes on); when downloaded: error, gone
#: (404), html, zip, empty, truncated, huge (39 million pixels), endless, audio (sound without pictures); when a webhook
#: is due: never, duplicate (twice), late, forged (early, signed with another key)
Do = Literal[
    "refuse", "funds", "busy", "error", "lose", "hang",
    "fail", "expired", "elsewhere",
    "never", "duplicate", "late", "forged",
    "gone", "html", "zip", "empty", "truncated", "huge", "endless", "audio",
]  # fmt: skip
#: an address that no delivery may be fetched from: where clouds keep a machine's own secrets
ELSEWHERE = "http://169.254.169.254/latest/meta-data"
_COLOURS = (
    (200, 60, 60),
    (60, 200, 60),
    (60, 60, 200),
    (200, 200, 60),
    (60, 200, 200),
    (200, 60, 200),
    (120, 120, 120),
)


class Fault(Value):
    """Something that goes wrong, so many times."""

    at: At
    do: Do
    #: None: any
    kind: Kind | None = None
    times: int = 1
    #: how many it spares first
    after: int = 0


class Faults(Value):
    """How a fake behaves."""

    #: seconds that a job takes
    image: float = 0.1
    clip: float = 0.2
    music: float = 0.1
    #: what its clips are like
    form: media.ClipFormat = media.ClipFormat()
    #: size of its images
    width: int = 1344
    height: int = 768
    #: US dollars for each job, in its ledger
    price: float = 0.0
    #: seconds by which a late webhook is late
    late: float = 3.0
    #: seconds that a busy fake asks to wait
    retry_after: int = 1
    faults: tuple[Fault, ...] = Field(default=())

    def seconds(self, kind: Kind) -> float:
        """Return how long a job takes."""
        return {Kind.IMAGE: self.image, Kind.CLIP: self.clip, Kind.MUSIC: self.music}[kind]


class Job(Value):
    """A job that was taken."""

    id: str
    kind: Kind
    model: str
    inputs: dict[str, Any]
    ready_at: float
    failed: bool = False
    #: whether it was stopped before it was made
    cancelled: bool = False
    #: whether it says that what it made is inside the network
    elsewhere: bool = False

    @property
    def seconds(self) -> float:
        """Length that was asked for."""
        return float(self.inputs.get("duration", self.inputs.get("seconds_total", 8)))


#: gives the body and the headers of a webhook about a job, signed with the vendor's key or, if forged, with another
Signed = Callable[[Job, bool], tuple[bytes, dict[str, str]]]


class Vendor:
    """Takes jobs, writes each into its ledger, and makes real media."""

    def __init__(self, ledger: Path, faults: Faults) -> None:
        self.ledger, self.faults = ledger, faults
        self.jobs: dict[str, Job] = {}
        self.uploads: dict[str, bytes] = {}
        self._seen = [0] * len(faults.faults)
        self._calls: set[asyncio.Task[None]] = set()
        if ledger.exists():  # it was started again: what was taken goes on
            lines = map(json.loads, ledger.read_text().splitlines())
            taken = [Job.model_validate(line["job"]) for line in lines if line["what"] == "create"]
            self.jobs = {job.id: job for job in taken}

    def fault(self, at: At, kind: Kind) -> Do | None:
        """Return what goes wrong here, if anything does."""
        for number, fault in enumerate(self.faults.faults):
            if fault.at == at and fault.kind in (None, kind):
                self._seen[number] += 1
                if fault.after < self._seen[number] <= fault.after + fault.times:
                    return fault.do
        return None

    def take(self, kind: Kind, model: str, inputs: dict[str, Any], webhook: str | None = None) -> Job:
        """Take a job and write it into the ledger, with the address that is to be told of its end."""
        number = len(self.jobs)
        job = Job(
            id=f"job{number:06d}{os.urandom(6).hex()}", kind=kind, model=model, inputs=inputs,
            ready_at=time.time() + self.faults.seconds(kind),
        )  # fmt: skip
        self.jobs[job.id] = job
        given = {name: value if isinstance(value, list) else [value] for name, value in inputs.items()}
        pictures = {
            name: [self.digest(each) for each in values if _is_picture(each)]
            for name, values in given.items()
        }
        pictures = {name: digests for name, digests in pictures.items() if digests}
        self.note(
            "create",
            job=job.model_dump(mode="json", exclude={"inputs"}) | {"inputs": _brief(inputs)},
            pictures=pictures,
            webhook=webhook,
        )
        return job

    def call_when_over(self, job: Job, address: str, signed: Signed) -> None:
        """Send a webhook when a job is over, or do what goes wrong with that."""
        call = asyncio.create_task(self._call(job, address, signed))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _call(self, job: Job, address: str, signed: Signed) -> None:
        fault = self.fault("webhook", job.kind)
        if fault == "never":
            return
        late = self.faults.late if fault == "late" else 0.0
        await asyncio.sleep(0.0 if fault == "forged" else max(0.0, job.ready_at - time.time()) + late)
        async with httpx.AsyncClient(timeout=10) as client:
            for _ in range(2 if fault == "duplicate" else 1):
                body, headers = signed(self.jobs[job.id], fault == "forged")
                answer = await client.post(address, content=body, headers=headers)
                self.note("webhook", job_id=job.id, status=answer.status_code, forged=fault == "forged")

    def cancel(self, job_id: str) -> None:
        """Stop a job that is not made yet.

        Raises:
            HTTPException: What goes wrong here.
        """
        job = self.jobs[job_id]
        if self.fault("cancel", job.kind) == "error":
            self.note("cancel", job_id=job_id, stopped=False)
            raise HTTPException(500, "try again later")
        if time.time() < job.ready_at:
            self.jobs[job_id] = job.model_copy(update={"cancelled": True})
        self.note("cancel", job_id=job_id, stopped=self.jobs[job_id].cancelled)

    def busy(self) -> Response:
        """Answer that it is busy, and for how long."""
        seconds = self.faults.retry_after
        self.note("busy")
        said = f"Request was throttled. Expected available in {seconds} s."
        body = {"detail": said, "status": 429, "retry_after": seconds}
        return JSONResponse(body, 429, {"retry-after": str(seconds)})

    def note(self, what: str, **data: Any) -> None:
        """Add a line to the ledger in one write."""
        line = json.dumps({"what": what, "at": time.time(), "cost": self.faults.price, **data}) + "\n"
        file = os.open(self.ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)

    def bytes_of(self, value: str) -> bytes:
        """Read a picture that was given as a data: URI or uploaded before."""
        if value.startswith("data:"):
            return base64.b64decode(value.partition(",")[2])
        return self.uploads[value.rpartition("/")[2]]

    def digest(self, value: str) -> str:
        """Name a picture by its bytes."""
        return hashlib.sha256(self.bytes_of(value)).hexdigest()

    def media(self, job: Job) -> tuple[bytes, str]:
        """Make what a job was for."""
        if job.kind is Kind.IMAGE:
            red, green, blue = _COLOURS[int(job.id[3:9]) % len(_COLOURS)]
            return media.picture(self.faults.width, self.faults.height, red, green, blue), "image/png"
        if job.kind is Kind.MUSIC:
            return media.track(job.seconds), "audio/flac"
        start = next((self.bytes_of(value) for value in job.inputs.values() if _is_picture(value)), None)
        colour = _COLOURS[0] if start is None else media.colour_of(start)
        form = self.faults.form
        return _clip(job.seconds, form, colour), "video/webm" if form.container == "webm" else "video/mp4"


@lru_cache(maxsize=64)
def _clip(seconds: float, form: media.ClipFormat, colour: tuple[int, int, int]) -> bytes:
    return media.clip(seconds, form, colour)


def _is_picture(value: object) -> bool:
    return isinstance(value, str) and (value.startswith("data:image") or "/files/" in value)


def _brief(inputs: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in inputs.items()
        if not any(map(_is_picture, value if isinstance(value, list) else [value]))
    }


def deliver(vendor: Vendor, job: Job) -> Response:
    """Answer a download, or do what goes wrong with it."""
    data, media_type = vendor.media(job)
    instead: dict[Do | None, Callable[[], Response]] = {
        "error": lambda: Response("oops", 503),
        "gone": lambda: Response("gone", 404),
        "html": lambda: Response("<html><body>Not here</body></html>", media_type="text/html"),
        "zip": lambda: Response(b"PK\x05\x06" + bytes(18), media_type="application/zip"),
        "empty": lambda: Response(b"", media_type=media_type),
        "truncated": lambda: Response(data[: len(data) // 2], media_type=media_type),
        "huge": lambda: Response(media.huge(job.kind), media_type=media_type),
        "endless": lambda: StreamingResponse(_endless(data), media_type=media_type),
        "audio": lambda: Response(media.sound_only(), media_type=media_type),
    }
    fault = vendor.fault("download", job.kind)
    return instead[fault]() if fault in instead else Response(data, media_type=media_type)


async def _endless(data: bytes) -> AsyncIterator[bytes]:
    yield data
    for _ in range(10_000):
        yield bytes(2**20)
        await asyncio.sleep(0)


def cut_off() -> Response:
    """Answer with a connection that is lost in the middle."""

    async def parts() -> AsyncIterator[bytes]:
        yield b"{"
        raise ConnectionResetError

    return StreamingResponse(parts(), headers={"content-length": "1000"})


def run(make: Callable[[Vendor], FastAPI], about: str) -> None:
    """Run a fake as a program."""
    parser = ArgumentParser(description=about)
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1")
    parser.add_argument("--ledger", type=Path, required=True, help="file that gets a line for each create")
    parser.add_argument("--faults", default="{}", help="how it behaves, as JSON")
    parser.add_argument("--tls", type=Path, help="file with a private key and its certificate: speak https")
    options = parser.parse_args()
    vendor = Vendor(options.ledger, Faults.model_validate_json(options.faults))
    print(f"listening on 127.0.0.1:{options.port}", file=sys.stderr)
    listening = {"host": "127.0.0.1", "port": options.port, "log_level": "warning"}
    uvicorn.run(make(vendor), **listening, ssl_certfile=options.tls, ssl_keyfile=options.tls)
