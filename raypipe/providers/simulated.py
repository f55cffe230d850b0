"""A hosted provider without a host: it waits as long as a real one would and delivers real media.

Latencies are fixed, listed per beat, or drawn from a long-tailed distribution; any step can be made to fail. It tells
its caller exactly when to poll again, so that measured times show raypipe's own overhead and not a polling interval.
"""

import asyncio
import hashlib
import math
import time
from collections.abc import Callable
from functools import lru_cache
from itertools import repeat
from random import Random
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator, Field

from raypipe.errors import ProviderRejected, ProviderUnavailable
from raypipe.media.audio import encode_flac
from raypipe.media.video import Planes, encode_clip, middle_colour, to_planes, with_png_text, write_png
from raypipe.models import FPS, Size, Value
from raypipe.providers.base import ClipWork, HostedProvider, ImageWork, Media, MusicWork, Pending, Work

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
    #: US dollars for each image, clip and track
    price: float = Field(default=0.0, ge=0, le=1_000)


class _Order(Value):
    ready_at: float
    work: Work
    options: SimulatedOptions


class SimulatedProvider(HostedProvider):
    """Behaves like a hosted provider, for tests, benchmarks and trying things out."""

    name: ClassVar[str] = "simulated"
    default_size: ClassVar[Size] = Size(width=64, height=36)
    Options = SimulatedOptions

    def __init__(self) -> None:
        self._orders: dict[str, _Order] = {}

    async def submit(self, work: Work) -> str:
        """Take the work in; its time starts now."""
        options = SimulatedOptions.model_validate(work.job.options)
        identity = f"{work.job.seed}/{work.step}/{work.job.prompt}"
        seconds = _latency(work, options).draw(_beat_index(work), Random(identity)) * options.scale
        job_id = f"sim_{hashlib.sha256(f'{work.job.video_id}/{work.step}'.encode()).hexdigest()[:24]}"
        self._orders[job_id] = _Order(ready_at=time.monotonic() + seconds, work=work, options=options)
        return job_id

    async def poll(self, job_id: str) -> Media | Pending:
        """Deliver when the time is up."""
        order = self._orders.get(job_id)
        if order is None:
            raise ProviderUnavailable(f"the simulated provider does not know the job {job_id}")
        remaining = order.ready_at - time.monotonic()
        if remaining > 0:
            return Pending(poll_after=remaining)
        del self._orders[job_id]
        if (message := order.options.fail.get(order.work.step)) is not None:
            raise ProviderRejected(message)
        media = await _make(order.work)
        return media.model_copy(update={"cost": order.options.price})

    async def cancel(self, job_id: str) -> None:
        """Forget the work."""
        self._orders.pop(job_id, None)


def _latency(work: Work, options: SimulatedOptions) -> Fixed | PerBeat | LongTail:
    return {"image": options.image, "clip": options.clip, "music": options.music}[work.kind]


def _beat_index(work: Work) -> int:
    return 0 if isinstance(work, MusicWork) else work.beat.beat_index


async def _make(work: Work) -> Media:
    if isinstance(work, ImageWork):
        return Media(data=_image(work), media_type="image/png")
    if isinstance(work, ClipWork):
        size = work.job.size
        clip = await _CLIPS.get(_hue_of(work.start_image), work.frames, size.width, size.height)
        return Media(data=_signed(clip, work), media_type="video/mp4")
    return Media(data=await _TRACKS.get(math.ceil(work.seconds) + 1), media_type="audio/flac")


class _Templates:
    """Media made once, away from the event loop, and then at hand."""

    def __init__(self, make: Callable[..., bytes]) -> None:
        self._make = make
        self._made: dict[tuple[int, ...], asyncio.Future[bytes]] = {}

    async def get(self, *key: int) -> bytes:
        if key not in self._made:
            self._made[key] = asyncio.ensure_future(asyncio.to_thread(self._make, *key))
        return await self._made[key]


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
