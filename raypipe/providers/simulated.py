"""A hosted provider without a host: it waits as long as a real one would and delivers real media.

Latencies are fixed, listed per beat, or drawn from a long-tailed distribution; any step can be made to fail. It tells
its caller exactly when to poll again, so that measured times show raypipe's own overhead and not a polling interval.
"""

import asyncio
import hashlib
import json
import math
import os
import re
import time
from collections.abc import Callable
from functools import lru_cache
from itertools import repeat
from pathlib import Path
from random import Random
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator, Field

from raypipe.errors import OutcomeUnknown, ProviderRejected
from raypipe.media.audio import encode_flac
from raypipe.media.video import Planes, encode_clip, middle_colour, to_planes, with_png_text, write_png
from raypipe.models import FPS, Kind, Size, Value
from raypipe.private import FILE_MODE
from raypipe.providers.base import (
    ClipWork,
    Delivery,
    HostedProvider,
    ImageWork,
    Model,
    MusicWork,
    Pending,
    Price,
    Work,
)

SAMPLE_RATE = 8_000
HUES = 12
#: colours around the colour circle, one a row
_COLOURS = np.clip(
    128 + 100 * np.cos(2 * np.pi * (np.arange(HUES)[:, None] / HUES + np.array([0, 1 / 3, 2 / 3]))), 0, 255
).astype(np.uint8)

_Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]


class Fixed(Value):
    """The same time for each piece of work."""

    kind: Literal["fixed"] = "fixed"
    seconds: _Seconds

    def draw(self, _index: int, _random: Random) -> float:
        """Seconds that the work of a beat takes."""
        return self.seconds


class PerBeat(Value):
    """One time for each beat, in order; further beats start again at the first."""

    kind: Literal["per_beat"] = "per_beat"
    seconds: tuple[_Seconds, ...] = Field(min_length=1)

    def draw(self, index: int, _random: Random) -> float:
        """Seconds that the work of a beat takes."""
        return self.seconds[index % len(self.seconds)]


class LongTail(Value):
    """Most work takes about `median` seconds, some of it much longer; never outside `low` to `high`.

    A log-normal distribution cut at both ends. The defaults are what eight equal 5 s clips took at a real provider.
    """

    kind: Literal["long_tail"] = "long_tail"
    median: _Seconds = 105.0
    low: _Seconds = 83.0
    high: _Seconds = 253.0

    def draw(self, _index: int, random: Random) -> float:
        """Seconds that the work of a beat takes."""
        above, below = math.log(self.high / self.median), math.log(self.median / self.low)
        deviate = random.gauss(0.0, 0.5)
        spread = above if deviate > 0 else below
        return self.median * math.exp(max(-1.0, min(1.0, deviate)) * spread)


def _shorthand(value: object) -> object:
    if isinstance(value, int | float):
        return {"kind": "fixed", "seconds": value}
    if isinstance(value, list | tuple):
        return {"kind": "per_beat", "seconds": value}
    return {"kind": "long_tail"} if value == "long_tail" else value


Latency = Annotated[
    Annotated[Fixed | PerBeat | LongTail, Field(discriminator="kind")], BeforeValidator(_shorthand)
]


class SimulatedOptions(Value):
    """How the simulated provider behaves for one video. A latency may be a number, a list or "long_tail"."""

    image: Latency = Fixed(seconds=0.2)
    clip: Latency = Fixed(seconds=0.5)
    music: Latency = Fixed(seconds=0.2)
    #: all latencies are multiplied by it
    scale: float = Field(default=1.0, ge=0, le=1_000, allow_inf_nan=False)
    #: steps that fail when their time is up, such as "chunk/2", with the message they fail with
    fail: dict[str, str] = Field(default_factory=dict)
    #: steps whose first creates are taken, and not answered: how many of them
    lose: dict[str, int] = Field(default_factory=dict)
    #: whether the provider can be asked what became of a create
    finds: bool = True
    #: US dollars for each image, clip and track
    price: float = Field(default=0.0, ge=0, le=1_000)


#: seconds by which the clock of who polls may be behind that of who submitted
CLOCK_SKEW_SECONDS = 2.0


class SimulatedProvider(HostedProvider):
    """Behaves like a hosted provider, for tests, benchmarks and trying things out.

    It remembers nothing: a job's id says when the job is ready, so any process can poll it. With the setting
    `simulated_ledger` it notes every create in that file, as a provider does in its books.
    """

    name: ClassVar[str] = "simulated"
    create_seconds: ClassVar[float] = 1.0
    unknown_seconds: ClassVar[float] = 3.0
    Options = SimulatedOptions

    @classmethod
    def models(cls) -> tuple[Model, ...]:
        """One model for each kind of work."""
        size = Size(width=64, height=36)
        return tuple(Model(name=cls.name, kind=kind, size=size, exact=True) for kind in Kind)

    @classmethod
    def model(cls, kind: Kind, name: str, options: dict[str, Any]) -> Model:
        """Return a model that costs what the options say."""
        price = Price(usd=cls.parse_options(options).price)
        return super().model(kind, name, options).model_copy(update={"price": price})

    async def submit(self, work: Work, token: str) -> str:
        """Take the work in; its time starts now."""
        options = _options_of(work)
        ready_at = time.time() + _seconds_of(work, options)
        job_id = f"sim_{round(ready_at * 1e6):x}_{hashlib.sha256(token.encode()).hexdigest()[:16]}"
        if (ledger := self.context.settings.simulated_ledger) is not None:
            _note(ledger, token, job_id)
        if options.lose.get(work.step, 0) >= int(token.rpartition("/")[2]):
            raise OutcomeUnknown("the connection was cut before the answer came")
        return job_id

    async def poll(self, job_id: str, work: Work) -> Delivery | Pending:
        """Deliver when the time is up."""
        match = _JOB_ID.fullmatch(job_id)
        if match is None:
            raise ProviderRejected(f"the simulated provider does not know the job {job_id}")
        remaining = int(match[1], 16) / 1e6 - time.time()
        options = _options_of(work)
        if 0 < remaining <= _seconds_of(work, options) + CLOCK_SKEW_SECONDS:  # else the clock was set back
            return Pending(poll_after=remaining)
        if (message := options.fail.get(work.step)) is not None:
            raise ProviderRejected(message)
        data, media_type = await self._make(work)
        artifact = await self.context.store.put_async(data, media_type)
        return Delivery(artifact=artifact, cost=options.price)

    async def _make(self, work: Work) -> tuple[bytes, str]:
        if isinstance(work, ImageWork):
            return _image(work), "image/png"
        if isinstance(work, MusicWork):
            return await _TRACKS.get(math.ceil(work.seconds) + 1), "audio/flac"
        assert work.start is not None  # noqa: S101 - the gateway has filled it in
        hue, size = _hue_of(await self.context.store.get_async(work.start)), work.job.size
        clip = await _CLIPS.get(hue, work.frames, size.width, size.height)
        return _signed(clip, work), "video/mp4"

    async def find(self, work: Work, token: str) -> str | None:
        """Look into the ledger; without one nothing that was not answered was made."""
        if not _options_of(work).finds:
            return await super().find(work, token)
        return (
            None
            if self.context.settings.simulated_ledger is None
            else _noted(self.context.settings.simulated_ledger, token)
        )

    async def cancel(self, job_id: str, work: Work) -> None:
        """Nothing is under way that could be stopped."""


def _seconds_of(work: Work, options: SimulatedOptions) -> float:
    """Return how long a job takes: for the same work of any video the same."""
    identity = f"{work.seed}/{work.step}/{work.job.prompt}"
    return _latency(work, options).draw(_beat_index(work), Random(identity)) * options.scale


_JOB_ID = re.compile(r"sim_([0-9a-f]{1,16})_[0-9a-f]{16}")


def _note(ledger: Path, token: str, job_id: str) -> None:
    """Add a line in one write, so that those of several processes do not mix."""
    line = json.dumps({"token": token, "job": job_id, "at": time.time()}) + "\n"
    file = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def _noted(ledger: Path, token: str) -> str | None:
    try:
        text = ledger.read_text()
    except FileNotFoundError:
        return None
    found = text.find(f'{{"token": {json.dumps(token)},')
    return None if found < 0 else str(json.loads(text[found : text.index("\n", found)])["job"])


def _options_of(work: Work) -> SimulatedOptions:
    return SimulatedOptions.model_validate(work.options)


def _latency(work: Work, options: SimulatedOptions) -> Fixed | PerBeat | LongTail:
    latencies: dict[Kind, Fixed | PerBeat | LongTail]
    latencies = {Kind.IMAGE: options.image, Kind.CLIP: options.clip, Kind.MUSIC: options.music}
    return latencies[work.kind]


def _beat_index(work: Work) -> int:
    return 0 if isinstance(work, MusicWork) else work.beat.beat_index


class _Templates:
    """Media made once, away from the event loop, and then at hand."""

    def __init__(self, make: Callable[..., bytes]) -> None:
        self._make = make
        self._made: dict[tuple[int, ...], asyncio.Future[bytes]] = {}

    async def get(self, *key: int) -> bytes:
        if key not in self._made:
            self._made[key] = asyncio.ensure_future(asyncio.to_thread(self._make, *key))
        # a step that is cancelled must not cancel what others wait for
        return await asyncio.shield(self._made[key])


def _image(work: ImageWork) -> bytes:
    """Give the plain picture of the beat's colour, told from others' by a text chunk."""
    picture = _picture(work.beat.beat_index % HUES, work.job.size)
    return with_png_text(picture, "work", f"{work.job.video_id}/{work.step}")


@lru_cache(maxsize=4 * HUES)
def _picture(hue: int, size: Size) -> bytes:
    return write_png(_colour_field(hue, size))


def _colour_field(hue: int, size: Size) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.broadcast_to(_COLOURS[hue], (size.height, size.width, 3)).copy()


def _hue_of(picture: bytes) -> int:
    """Tell which of the colours a picture is nearest to; the clip continues in it."""
    return _nearest(middle_colour(picture))


@lru_cache(maxsize=256)
def _nearest(colour: tuple[int, int, int]) -> int:
    return int(np.abs(_COLOURS - np.array(colour)).sum(axis=1).argmin())


def _clip_template(hue: int, frames: int, width: int, height: int) -> bytes:
    size = Size(width=width, height=height)
    picture: Planes = to_planes(_colour_field(hue, size))
    return encode_clip(repeat(picture, frames), size, FPS)


def _signed(clip: bytes, work: ClipWork) -> bytes:
    """Append a `free` box, which players skip, so that each work's clip has bytes of its own."""
    mark = f"{work.job.video_id}/{work.step}".encode()
    return clip + (8 + len(mark)).to_bytes(4, "big") + b"free" + mark


def _track(seconds: int) -> bytes:
    """Play a slow chord, quiet enough to need fitting."""
    t = np.arange(seconds * SAMPLE_RATE) / SAMPLE_RATE
    chord = sum(np.sin(2 * np.pi * pitch * t) for pitch in (110.0, 220.0, 277.2, 329.6))
    return encode_flac((0.05 * chord * (0.6 + 0.4 * np.sin(np.pi * t)))[None].astype(np.float32), SAMPLE_RATE)


_CLIPS = _Templates(_clip_template)
_TRACKS = _Templates(_track)
