"""Sound whose rate or channels change on the way, or that has gaps, becomes samples of one kind, each at its time."""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple, cast

import av
import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

#: seconds by which frames may come early or late before their times count and not their number: containers round
_SLACK = 0.05
#: seconds by which they may without anything being done, and by what part of its length sound is stretched else
_JITTER, _MOST_STRETCH = 0.01, 1 / 200
#: parts in a row that may be beyond the end, before it is one: a single one has a wrong time
_MOST_BEYOND = 50


class Part(NamedTuple):
    """Samples of shape (channels, samples), and the number of the first one, counted from the container's time 0."""

    first: int
    samples: Samples


class _Run:
    """Frames of one form that follow each other without a gap, and so share a resampler."""

    def __init__(self, form: tuple[object, ...], begin: float, layout: str, rate: int) -> None:
        #: what the frames are like, and the time at which the next one is due
        self.form, self.due = form, begin
        self._next, self._rate = round(begin * rate), rate
        # it is made for the form of its first frame: later ones of another are refused, or handed through as they are
        self._resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate)

    def continues_with(self, frame: av.AudioFrame | None) -> bool:
        """Tell whether a frame is of this run."""
        return frame is not None and _form_of(frame) == self.form and _begin_of(frame, self.due) == self.due

    def parts(self, frame: av.AudioFrame | None) -> Iterator[Part]:
        """Resample a frame, stretched if it comes late or early; what is still held back if there is none."""
        late = 0.0
        if frame is not None:
            late = 0.0 if frame.time is None else frame.time - self.due
            self.due += frame.samples / frame.sample_rate
        for part in self._resampler.resample(frame):
            samples = _stretched(cast(Samples, part.to_ndarray()), late * self._rate, self._rate)
            self.due += (samples.shape[1] - part.samples) / self._rate
            yield Part(self._next, samples)
            self._next += samples.shape[1]


def _stretched(samples: Samples, late: float, rate: int) -> Samples:
    """Stretch samples, or shorten them, so little that nobody hears it, so that a clock that is off makes no hole.

    Args:
        samples: Of shape (channels, samples).
        late: By how many samples they come late, or early if negative.
        rate: Samples a second.
    """
    count = samples.shape[1]
    beyond = max(abs(late) - _JITTER * rate, 0.0)
    length = count + int(math.copysign(min(beyond, count * _MOST_STRETCH), late))
    if length == count:
        return samples
    at = np.linspace(0, count - 1, length)
    return np.stack([np.interp(at, np.arange(count), channel) for channel in samples]).astype(np.float32)


def resampled(frames: Iterable[av.AudioFrame | None], layout: str, rate: int) -> Iterator[Part]:
    """Resample sound to one layout and rate, with gaps where it has some.

    Args:
        frames: The sound; None where something of it is lost, so that the next frame's time counts.
        layout: FFmpeg's name of the channels to make.
        rate: Samples a second to make.

    Raises:
        av.FFmpegError: A frame cannot be resampled.
        ValueError: A frame cannot be resampled.
    """
    run: _Run | None = None
    due: float | None = None
    for frame in frames:
        if run is not None and not run.continues_with(frame):
            yield from run.parts(None)
            due, run = None if frame is None else run.due, None
        if frame is not None:
            run = run or _Run(_form_of(frame), _begin_of(frame, due), layout, rate)
            yield from run.parts(frame)
    if run is not None:
        yield from run.parts(None)


def _form_of(frame: av.AudioFrame) -> tuple[object, ...]:
    """Return what a resampler has to know of a frame."""
    return frame.format.name, frame.layout.name, frame.sample_rate


def _begin_of(frame: av.AudioFrame, due: float | None) -> float:
    """Return when a frame is heard: when it is due, unless its own time clearly differs."""
    time = frame.time
    if due is None:
        return time or 0.0
    return due if time is None or abs(time - due) <= _SLACK else time


def put(part: Part, samples: Samples, begin: int) -> bool:
    """Put a part in its place among samples of which the first has the number `begin`; tells whether there is one."""
    first = max(part.first - begin, 0)
    last = int(min(part.first - begin + part.samples.shape[1], samples.shape[1]))
    if first < last:
        skipped = first - (part.first - begin)
        samples[:, first:last] = part.samples[:, skipped : skipped + last - first]
    return first < last


def up_to(parts: Iterable[Part], end: float) -> Iterator[Part]:
    """Leave out parts that begin at the sample of that number or behind it, and stop where there are but such."""
    beyond = 0
    for part in parts:
        beyond = beyond + 1 if part.first >= end else 0
        if not beyond:
            yield part
        elif beyond >= _MOST_BEYOND:
            return


def joined(parts: Iterator[Part], limit: float) -> Samples | None:
    """Put parts one behind the other, with silence where there is nothing between them, up to so many samples.

    Returns:
        All that is heard from the first part on; None if there is none.
    """
    first = next(parts, None)
    if first is None:
        return None
    kept = [first, *up_to(parts, first.first + limit)]
    length = max(part.first + part.samples.shape[1] for part in kept) - first.first
    samples = np.zeros((len(first.samples), round(min(limit, length))), np.float32)
    for part in kept:
        put(part, samples, first.first)
    return samples
