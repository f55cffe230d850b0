"""Plan phase: from a request to a validated spec whose beats fill the video exactly."""

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import accumulate
from math import ceil, inf
from pathlib import Path
from typing import Any, Final, TypeGuard

from raypipe.errors import InvalidReferenceImage, InvalidSpec
from raypipe.models import (
    MAX_VIDEO_SECONDS,
    MIN_BEAT_SECONDS,
    Artifact,
    Beat,
    Brief,
    DraftBeat,
    DraftSpec,
    Kind,
    Spec,
    VideoRequest,
)
from raypipe.phases.archetypes import choose_archetype, mood_of
from raypipe.phases.composer import compose_beats
from raypipe.phases.prompt_text import PromptText, clip_text, read_prompt
from raypipe.phases.timing import fill, snap
from raypipe.private import make_folder, opener
from raypipe.providers.registry import model_of
from raypipe.text import without_controls

logger = logging.getLogger(__name__)

#: longest plan that `validate_and_fix_beat_count` takes: any that its arithmetic can hold exactly
MAX_PLAN_SECONDS = 1e9
TRUNCATION_LOG = "beat_truncation.log"
#: `beat_id` of a beat that a person wrote
CUSTOM: Final = "custom"
DEFAULT_SECONDS = 30
DEFAULT_MODEL: Final = "local"
DEFAULT_STYLE: Final = "cinematic"
DEFAULT_MOOD: Final = "cinematic"
TITLE_LENGTH = 70
PROMPT_LENGTH = 4_000


def build_full_spec(
    request: VideoRequest, video_id: str, log_dir: Path, followers_per_reference: int = 1
) -> Spec:
    """Plan a video: take its beats from the request's spec or write them from its prompt.

    The same request gives the same spec.

    Args:
        request: What the user asked for; what it leaves open is taken from its spec, else from defaults.
        video_id: Named in the truncation log.
        log_dir: Folder of the truncation log.
        followers_per_reference: Recorded in the spec; see `group_sequences`.

    Raises:
        InvalidSpec: A beat has no prompt, or no duration was given and that of all beats is out of range.
        InvalidReferenceImage: A reference image or picture is not a stored artifact yet.
        InvalidRequest: The prompt holds no text.
        UnknownProvider: No such provider is installed.
        UnknownModel: A provider has no such model.
    """
    brief = _merged_brief(request)
    models, options = brief["models"], brief.get("options") or {}
    clips = [model_of(Kind.CLIP, name, options) for name in models[Kind.CLIP]]
    brief["longest"] = min((model.durations[-1] for model in clips if model.durations), default=inf)
    plan = _plan_of_draft(request.spec, brief) if request.spec is not None else _plan_of_prompt(brief)
    plan = validate_and_fix_beat_count({"video_id": video_id, **plan}, log_dir=log_dir)
    spec = Spec(
        **{name: plan[name] for name in ("title", "prompt", "archetype", "mood", "duration")},
        size=brief.get("size") or clips[0].size,
        style=brief.get("style") or DEFAULT_STYLE,
        seed=brief.get("seed") or 0,
        models=models,
        options=options,
        budget=brief.get("budget"),
        clip_sound=brief.get("clip_sound") or False,
        until=brief.get("until"),
        allow_missing=brief.get("allow_missing") or False,
        reference_pictures=_stored(brief.get("reference_pictures") or ()),
        followers_per_reference=followers_per_reference,
        beats=_with_first_picture(_timed(plan["beats"], plan["duration"]), request.reference_image),
    )
    facts = len(spec.beats), spec.duration, spec.archetype, spec.mood
    logger.info("Planned %s: %d beats in %g s, archetype %s, mood %s", video_id, *facts)
    return spec


def _with_first_picture(beats: tuple[Beat, ...], picture: Artifact | str | None) -> tuple[Beat, ...]:
    if picture is None:
        return beats
    (stored,) = _stored([picture])
    first = beats[0].model_copy(update={"reference_image": stored, "continues": None})
    return (first, *beats[1:])


def _stored(pictures: Sequence[Artifact | str]) -> tuple[Artifact, ...]:
    stored = tuple(each for each in pictures if isinstance(each, Artifact))
    if len(stored) < len(pictures):
        raise InvalidReferenceImage(
            "A reference picture is not stored yet; the command line and the API store them."
        )
    return stored


def validate_and_fix_beat_count(spec: dict[str, Any], *, log_dir: Path = Path("logs")) -> dict[str, Any]:
    """Hold a plan to at most one beat for each five seconds begun, and number and time its beats.

    Surplus beats are cut off the end and the others stretched or shortened in proportion, so that they fill
    the video. This is logged as a warning and as a line of `beat_truncation.log`.

    Args:
        spec: Plan with `video_id`, `duration` (s) and `beats`, dicts with a `duration` (s); left as it is.
        log_dir: Folder of the truncation log; made if needed.

    Raises:
        InvalidSpec: A duration is no positive, finite number of seconds, or `beats` is no list of dicts.
    """
    duration, beats, lengths = _checked_plan(spec)
    max_beats = ceil(duration / MIN_BEAT_SECONDS)
    if len(beats) <= max_beats:
        return {**spec, "beats": _renumbered(beats, list(accumulate(lengths, initial=0)), lengths)}
    _report_truncation(spec, len(beats), max_beats, log_dir)
    times = fill(lengths[:max_beats], duration)
    starts, lengths = [start for start, _ in times], [length for _, length in times]
    return {**spec, "beats": _renumbered(beats[:max_beats], starts, lengths)}


def _checked_plan(spec: Mapping[str, Any]) -> tuple[float, list[dict[str, Any]], list[float]]:
    """Return a plan's duration, its beats and their durations."""
    if not isinstance(spec, Mapping):
        raise InvalidSpec(f"A plan must be an object, not {spec!r:.80}.")
    beats = spec.get("beats", [])
    if not isinstance(beats, list | tuple) or not all(isinstance(beat, dict) for beat in beats):
        raise InvalidSpec(f"The beats of a plan must be a list of objects, not {beats!r:.80}.")
    duration = spec.get("duration")
    if not (_is_seconds(duration) and duration > 0):
        raise InvalidSpec(f"The duration of a plan must be more than 0 s and finite, not {duration!r:.80}.")
    lengths = [beat.get("duration", MIN_BEAT_SECONDS) for beat in beats]
    for index, length in enumerate(lengths):
        if not _is_seconds(length):
            raise InvalidSpec(
                f"The duration of beat {index} must be a number of seconds, not {length!r:.80}."
            )
    return duration, list(beats), lengths


def _is_seconds(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_PLAN_SECONDS


def spec_as_draft(spec: Spec) -> DraftSpec:
    """Turn a spec into the form that a person edits; planning it again gives an equal spec."""
    shared = {name: getattr(spec, name) for name in DraftSpec.model_fields if name not in ("beats", "model")}
    beats = [{name: getattr(beat, name) for name in DraftBeat.model_fields} for beat in spec.beats]
    return DraftSpec(**shared, beats=beats)


_PLAIN_FIELDS = Brief.model_fields.keys() - {"model", "models"}


def _merged_brief(request: VideoRequest) -> dict[str, Any]:
    """Return what the request says, else what the head of its spec says; blank texts say nothing."""
    merged: dict[str, Any] = {"models": dict.fromkeys(Kind, (DEFAULT_MODEL,))}
    for brief in (request.spec, request):
        for name in _PLAIN_FIELDS if brief is not None else ():
            value = getattr(brief, name)
            value = without_controls(value) if isinstance(value, str) else value
            if value not in (None, ""):
                merged[name] = value
        if brief is not None:
            merged["models"] |= dict.fromkeys(Kind, brief.model) if brief.model else {}
            merged["models"] |= brief.models or {}
    return merged


def _plan_of_prompt(brief: Mapping[str, Any]) -> dict[str, Any]:
    read = read_prompt(brief.get("prompt", ""))
    seed = brief.get("seed") or 0
    archetype = choose_archetype(read.text, seed)
    mood = brief.get("mood") or mood_of(read.text) or archetype.mood
    duration = snap(brief.get("duration") or read.seconds or DEFAULT_SECONDS)
    style = brief.get("style") or DEFAULT_STYLE
    return {
        "title": _title(read),
        "prompt": brief["prompt"],
        "archetype": archetype.archetype_id,
        "mood": mood,
        "duration": duration,
        "beats": compose_beats(read, archetype, duration, style, mood, seed, brief["longest"]),
    }


def _plan_of_draft(draft: DraftSpec, brief: Mapping[str, Any]) -> dict[str, Any]:
    beats = _as_custom([_checked(index, beat) for index, beat in enumerate(draft.beats)], brief)
    title = without_controls(draft.title or "")
    told = clip_text(" ".join(beat["prompt"] for beat in beats), PROMPT_LENGTH)
    prompt = brief.get("prompt") or title or told
    return {
        "title": title or _title(read_prompt(prompt)),
        "prompt": prompt,
        "archetype": draft.archetype or "custom",
        "mood": brief.get("mood") or mood_of(prompt) or DEFAULT_MOOD,
        "duration": snap(brief["duration"]) if "duration" in brief else _total(draft.beats),
        "beats": beats,
    }


def _as_custom(beats: list[dict[str, Any]], brief: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Name beats custom unless they read as planning writes them of this brief: a person wrote or rewrote them."""
    if all(beat["beat_id"] == CUSTOM for beat in beats) or "prompt" not in brief:
        return [{**beat, "beat_id": CUSTOM} for beat in beats]
    planned = {beat["prompt"] for beat in _plan_of_prompt(brief)["beats"]}
    return [beat if beat["prompt"] in planned else {**beat, "beat_id": CUSTOM} for beat in beats]


def _title(read: PromptText) -> str:
    title = clip_text(read.subject, TITLE_LENGTH)
    return title[:1].upper() + title[1:]


def _checked(index: int, beat: DraftBeat) -> dict[str, Any]:
    prompt = without_controls(beat.prompt)
    if not prompt:
        raise InvalidSpec(f"Beat {index} has an empty prompt.")
    if beat.reference_image is not None and not isinstance(beat.reference_image, Artifact):
        raise InvalidReferenceImage(
            f"The reference_image of beat {index} is not stored yet. Give it as a PNG or JPEG file to the "
            "command line, or as a data: URI to the API; both store it before planning."
        )
    return {**{name: getattr(beat, name) for name in DraftBeat.model_fields}, "prompt": prompt}


def _total(beats: Sequence[DraftBeat]) -> float:
    total = snap(sum(beat.duration for beat in beats))
    if not MIN_BEAT_SECONDS <= total <= MAX_VIDEO_SECONDS:
        raise InvalidSpec(
            f"The beats last {total:g} s together, a video {MIN_BEAT_SECONDS} to {MAX_VIDEO_SECONDS} s. "
            "Change the beats' durations, or give the video a duration to which they are fitted."
        )
    return total


def _timed(beats: Sequence[Mapping[str, Any]], duration: float) -> tuple[Beat, ...]:
    times = fill([beat["duration"] for beat in beats], duration)
    return tuple(
        Beat.model_validate({**beat, "start": start, "duration": length})
        for beat, (start, length) in zip(beats, times, strict=True)
    )


def _renumbered(
    beats: Sequence[dict[str, Any]], starts: Sequence[float], lengths: Sequence[float]
) -> list[dict[str, Any]]:
    return [
        {**beat, "beat_index": index, "start": starts[index], "duration": lengths[index]}
        for index, beat in enumerate(beats)
    ]


def _report_truncation(spec: Mapping[str, Any], found: int, kept: int, log_dir: Path) -> None:
    video_id = "_".join(str(spec.get("video_id") or "unknown").split()) or "unknown"
    logger.warning(
        "%s has %d beats in %g s, more than one for each %d s: only the first %d are kept",
        *(f"Video {spec['video_id']}" if spec.get("video_id") else "The plan", found, spec["duration"]),
        *(MIN_BEAT_SECONDS, kept),
    )
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = f"timestamp={now} video_id={video_id} original_count={found} truncated_count={kept}\n"
    path = log_dir / TRUNCATION_LOG
    try:
        make_folder(log_dir)
        with open(path, "ab", buffering=0, opener=opener) as log:
            log.write(line.encode(errors="replace"))
    except OSError as error:
        logger.warning("The truncation of %s could not be written to %s: %s", video_id, path, error.strerror)
