"""The embedded planner: a prompt becomes beats, by an archetype's order and the library's pictures."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from raypipe.phases.archetypes import Archetype, light_of
from raypipe.phases.beat_library import BEATS, LibraryBeat, stable_number
from raypipe.phases.prompt_text import PromptText, clip_text

UNIT = 5
#: up to this length all beats are one unit long; from there on they also grow longer
SHORT_VIDEO = 60
#: seconds that a longer video needs for each further beat
SECONDS_PER_BEAT = 12
#: from this number of beats on there are two beats to open and two to close
TWO_ENDS = 8
#: longest part of a beat's text that comes from the prompt, in characters, besides its subject
SCENE_TEXT = 300


def compose_beats(
    read: PromptText,
    archetype: Archetype,
    duration: float,
    style: str,
    mood: str,
    seed: int,
    longest: float = math.inf,
) -> list[dict[str, Any]]:
    """Write the beats of a video of `duration` seconds, none over `longest` if the video has room for so many.

    The same arguments give the same beats.
    """
    key = f"{seed}/{read.text}"
    chosen = _choose(archetype, _beat_count(duration, longest), key)
    lengths = _lengths(chosen, duration, longest)
    cameras, scenes = _cameras(chosen), _spread(read.scenes, len(chosen))
    used: Counter[str] = Counter()
    beats = []
    for index, beat in enumerate(chosen):
        text = beat.prompt_template.format(
            subject=_about(read.subject, scenes[index]), picture=_picture(beat, used[beat.beat_id], key)
        )
        used[beat.beat_id] += 1
        beats.append(
            {
                "beat_id": beat.beat_id,
                "duration": lengths[index],
                "prompt": f"{text} {light_of(mood, beat.position)}. {_manner(style, mood)}",
                "shot_type": beat.shot_type,
                "camera_movement": cameras[index],
            }
        )
    return beats


def _beat_count(duration: float, longest: float) -> int:
    most = max(1, int(duration // UNIT))
    needed = math.ceil(duration / longest)
    if duration <= SHORT_VIDEO or needed >= most:
        return most
    return max(needed, SHORT_VIDEO // UNIT + int((duration - SHORT_VIDEO) // SECONDS_PER_BEAT))


def _choose(archetype: Archetype, count: int, key: str) -> list[LibraryBeat]:
    """Choose the beats: openings, middles and closings, neighbours with different shots."""
    ends = 2 if count >= TWO_ENDS else 1
    closings = min(ends, count - 1)
    openings = min(ends, count - closings)
    order = (
        *[_rotated(archetype.openings, stable_number("opening", key))] * openings,
        *[_rotated(archetype.middles, stable_number("middle", key) % 3)] * (count - openings - closings),
        *[_rotated(archetype.closings, stable_number("closing", key))] * closings,
    )
    chosen: list[LibraryBeat] = []
    used: Counter[str] = Counter()
    for position, names in enumerate(order):
        following = order[position + 1] if position + 1 < count else names
        beat = _next(names, chosen, used, None if following == names else BEATS[following[0]])
        used[beat.beat_id] += 1
        chosen.append(beat)
    return chosen


def _rotated(names: tuple[str, ...], by: int) -> tuple[str, ...]:
    by %= len(names)
    return names[by:] + names[:by]


def _next(
    names: Iterable[str], chosen: Sequence[LibraryBeat], used: Counter[str], following: LibraryBeat | None
) -> LibraryBeat:
    """Return the preferred of the beats that cut best with those around them and were used least."""
    around = [*chosen[-1:], *([following] if following else [])]
    seen = Counter(beat.distance for beat in chosen)

    def drawbacks(beat: LibraryBeat) -> tuple[int, ...]:
        same_shot = sum(beat.shot_type == other.shot_type for other in around)
        same_distance = sum(beat.distance == other.distance for other in around)
        return same_shot, used[beat.beat_id], same_distance, seen[beat.distance]

    return min((BEATS[name] for name in names), key=drawbacks)


def _cameras(chosen: Sequence[LibraryBeat]) -> list[str]:
    """Return one of each beat's camera movements, different from the beat's before."""
    cameras: list[str] = []
    used: Counter[str] = Counter()
    for beat in chosen:
        options = [move for move in beat.camera_movements if not cameras or move != cameras[-1]]
        move = min(options or beat.camera_movements, key=lambda option: used[option])
        used[move] += 1
        cameras.append(move)
    return cameras


def _lengths(chosen: Sequence[LibraryBeat], duration: float, longest: float) -> list[float]:
    """Lengths in units that fill the video, what is less going to the last beats; equal ones if one were too long."""
    lengths: list[float] = [UNIT] * len(chosen)
    spare = int((duration - sum(lengths)) // UNIT)
    for _ in range(spare):
        lengths[_most_patient(chosen, lengths)] += UNIT
    rest = duration - sum(lengths)
    last = lengths[-2:]
    lengths = [*lengths[:-2], *(length + rest / len(last) for length in last)]
    return lengths if max(lengths) <= longest else [duration / len(chosen)] * len(chosen)


def _most_patient(chosen: Sequence[LibraryBeat], lengths: Sequence[float]) -> int:
    """Return the beat furthest below the length it can have; of equals a quiet one, spread over the video."""
    places = range(len(chosen))
    return max(
        places,
        key=lambda i: (max(chosen[i].durations) - lengths[i], -chosen[i].energy, i * 7 % len(chosen)),
    )


def _spread(scenes: tuple[str, ...], count: int) -> list[str]:
    """Give each beat its part of the story; with more beats than scenes, scenes are held."""
    edges = [index * len(scenes) // count for index in range(count + 1)]
    return [
        clip_text(_joined(scenes[start : max(end, start + 1)]), SCENE_TEXT) for start, end in pairwise(edges)
    ]


def _about(subject: str, scene: str) -> str:
    return scene if scene.startswith(subject) else _joined((subject, scene))


def _joined(parts: Sequence[str]) -> str:
    """Join parts of a prompt: clauses of one sentence by commas, sentences by full stops."""
    text = parts[0]
    for part in parts[1:]:
        text += f"{',' if part[:1].islower() else '.'} {part}"
    return text


def _manner(style: str, mood: str) -> str:
    return f"Style and mood: {style}." if style == mood else f"Style: {style}. Mood: {mood}."


def _picture(beat: LibraryBeat, times_used: int, key: str) -> str:
    """Return what the beat shows; another thing each time it is used."""
    first = stable_number(beat.beat_id, key)
    return beat.pictures[(first + times_used) % len(beat.pictures)]
