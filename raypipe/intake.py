"""From a request to an accepted video: planned, checked and committed, in milliseconds and without Ray."""

import asyncio
import logging
import time
from contextlib import suppress
from typing import Any, TypeVar

from raypipe.artifacts import ArtifactStore
from raypipe.budgets import Customer, check_money
from raypipe.config import Settings
from raypipe.costs import Estimate, estimate, unpriced_inputs
from raypipe.data_uris import read_data_uri
from raypipe.errors import (
    ArtifactMissing,
    BeatNotFound,
    DiskFull,
    InvalidReferenceImage,
    InvalidRequest,
    MediaError,
    RaypipeError,
)
from raypipe.journal import (
    ApiKey,
    Event,
    Journal,
    Owner,
    StepRecord,
    VideoRecord,
    Write,
    new_video_id,
)
from raypipe.media.pictures import normalise
from raypipe.models import (
    Artifact,
    BeatEdit,
    Brief,
    DraftBeat,
    Job,
    Kind,
    Phase,
    PhaseOutput,
    PhaseStatus,
    Spec,
    VideoRequest,
    VideoState,
)
from raypipe.phases.plan import build_full_spec
from raypipe.phases.references import group_sequences
from raypipe.phases.takes import find_take, with_take
from raypipe.prices import NO_PRICES, Prices
from raypipe.providers.base import Model, provider_of
from raypipe.providers.registry import models_of, provider_class
from raypipe.steps import new_step

logger = logging.getLogger(__name__)

BriefT = TypeVar("BriefT", bound=Brief)


#: whoever runs raypipe, on the command line
OPERATOR = Customer()


def plan(
    request: VideoRequest,
    video_id: str,
    settings: Settings,
    store: ArtifactStore,
    customer: Customer = OPERATOR,
) -> Spec:
    """Turn a request into a spec that can be made.

    Raises:
        InvalidRequest: The beats do not fit, a picture is unusable, a model is unknown, does not take its options or
            cannot make what is asked, or it costs more than it may.
    """
    return _plan(_with_stored_pictures(request, store), video_id, settings, customer)


def _plan(request: VideoRequest, video_id: str, settings: Settings, customer: Customer) -> Spec:
    spec = build_full_spec(request, video_id, settings.log_dir, settings.followers_per_reference)
    spec = spec.model_copy(update={"until": spec.until or settings.until})
    group_sequences(spec.beats, spec.followers_per_reference)
    check_models(spec)
    check_money(spec, settings, customer)
    for note in notes_on(spec, settings.prices):
        logger.warning(note)
    return spec


def check_room(store: ArtifactStore, settings: Settings) -> None:
    """Check that there is room for another video.

    Raises:
        DiskFull: There is less than the settings want.
    """
    free = store.free_bytes
    if free is not None and free < settings.min_free_mib * 2**20:
        raise DiskFull(
            f"No new video is taken: {free // 2**20} MiB are free where the artifacts are, and "
            f"{settings.min_free_mib} MiB have to be (RAYPIPE_MIN_FREE_MIB). Make room with `raypipe delete` and "
            "`raypipe gc`."
        )


def check_models(spec: Spec) -> None:
    """Check that every model a spec names can do what the spec asks of it.

    Raises:
        InvalidRequest: A model is unknown, does not take its options or makes no clips as long as a beat, or options
            are for none of them.
    """
    names: set[str] = set()
    for kind in Kind:
        for model in models_of(spec, kind):
            names |= {kind, model.name, provider_of(model.name)}
            if kind is Kind.CLIP:
                _check_durations(model, spec)
    for name in spec.options:
        if name not in names:
            raise InvalidRequest(
                f"options.{name}: it names neither a kind of work (image, clip, music) nor a provider or model of this "
                f"video ({', '.join(sorted(names - set(Kind)))})."
            )


def _check_durations(model: Model, spec: Spec) -> None:
    for beat in spec.beats:
        try:
            model.seconds_for(beat.duration)
        except InvalidRequest as error:
            raise InvalidRequest(f"Beat {beat.beat_index} cannot be made: {error}") from error


def notes_on(spec: Spec, prices: Prices = NO_PRICES) -> tuple[str, ...]:
    """Return what there is to say of a plan: of its pictures, sound and prices, and what its providers say.

    Args:
        spec: The plan.
        prices: The operator's.
    """
    names = dict.fromkeys(provider_of(spec.models[kind][0]) for kind in Kind)
    return (
        *_unused_pictures(spec),
        *_no_sound(spec),
        *_unpriced_inputs(spec, prices),
        *(note for name in names for note in _notes_of(name, spec)),
    )


def _unused_pictures(spec: Spec) -> tuple[str, ...]:
    """Say which image models do without reference pictures that were given."""
    given = len(spec.reference_pictures)
    takes = {model.name: model.references for model in models_of(spec, Kind.IMAGE)} if given else {}
    return tuple(
        f"The image model {name!r} takes {most or 'none'} of the {given} reference pictures."
        for name, most in takes.items()
        if most < given
    )


def _no_sound(spec: Spec) -> tuple[str, ...]:
    """Say that no clip will have the sound that was asked for."""
    if not spec.clip_sound or any(model.sound for model in models_of(spec, Kind.CLIP)):
        return ()
    return (f"Clips of {', '.join(spec.models[Kind.CLIP])} have no sound that could be heard.",)


def _unpriced_inputs(spec: Spec, prices: Prices) -> tuple[str, ...]:
    """Say where settings may change what a model costs; nothing of models that are not there any more."""
    with suppress(RaypipeError):
        return tuple(
            f"The {'operator' if model.name in prices else 'vendor'}'s price of {model.name} does not say what its "
            f"input {field!r} does to it."
            for kind in Kind
            for model in models_of(spec, kind)
            if model.requested_price is None
            for field in unpriced_inputs(spec, kind, model, prices)
        )
    return ()


def _notes_of(provider: str, spec: Spec) -> tuple[str, ...]:
    """Return what a provider says of a plan; one that fails at that says nothing."""
    try:
        return provider_class(provider).notes(spec)
    except Exception:
        logger.exception("The provider %r could not comment on a plan", provider)
        return ()


def accept(
    request: VideoRequest,
    settings: Settings,
    journal: Journal,
    store: ArtifactStore,
    owner: Owner | None = None,
    running: bool = False,
    customer: Customer = OPERATOR,
) -> tuple[VideoRecord, tuple[Write, ...]]:
    """Plan a video; it is accepted once the rows returned with it, its steps' among them, are committed.

    Its state is queued, for any service or for its owner alone, or running where its owner makes it at once.

    Raises:
        InvalidRequest: As `plan`; there is nothing to commit.
        DiskFull: There is too little room.
    """
    check_room(store, settings)
    now, video_id = time.time(), new_video_id()
    request = _with_stored_pictures(request, store)
    spec = _plan(request, video_id, settings, customer)
    planned, expected = time.time(), estimate(spec, settings.prices)
    video = VideoRecord(
        id=video_id,
        state=VideoState.QUEUED,
        tenant=customer.tenant,
        api_key=None if customer.key is None else customer.key.name,
        runner="service" if owner is None else owner.runner,
        request=request,
        spec=spec,
        created_at=now,
        lease_owner=None if owner is None else owner.id,
        estimated_cost=expected.total,
    )
    if running:
        video = video.model_copy(update={"state": VideoState.RUNNING, "started_at": now, "epoch": 1})
    output = PhaseOutput(
        video_id=video_id,
        phase=Phase.PLAN,
        status=PhaseStatus.SUCCESS,
        output={"title": spec.title, "archetype": spec.archetype, "beats": len(spec.beats)},
        started_at=now,
        finished_at=planned,
        duration=planned - now,
    )
    return video, journal.accepted(video, output, planned_steps(video_id, spec, expected))


async def edit(
    owner: Owner | None,
    video_id: str,
    beat_index: int,
    change: BeatEdit,
    settings: Settings,
    journal: Journal,
    store: ArtifactStore,
    key: ApiKey | None = None,
) -> VideoRecord:
    """Have another take of a beat of a video made, or an earlier one used, and what depends on it.

    Args:
        owner: Who makes it; None has it queued for a service.
        video_id: Which video; nobody may be making it.
        beat_index: Which beat.
        change: What to change of it.
        settings: Say what models cost whose vendors do not.
        journal: Holds the video.
        store: Gets a picture that the change brings.
        key: Whose limits have to have room for it.

    Raises:
        VideoNotFound: There is no such video.
        BeatNotFound: It has no such beat.
        InvalidRequest: The beat has no such take, or the picture is unusable.
        VideoBusy: The video is being made.
        VideoOver: It is being cancelled.
        OverBudget: The video's budget has no room for what the change adds.
    """
    if change.reference_image is not None:
        which = f"The reference_image of beat {beat_index}"
        picture = await asyncio.to_thread(_store_picture, which, change.reference_image, store)
        change = change.model_copy(update={"reference_image": picture})

    def changed(spec: Spec) -> tuple[Spec, list[StepRecord]]:
        check_take(video_id, spec, beat_index, change.take)
        spec = with_take(spec, beat_index, change)
        return spec, planned_steps(video_id, spec, estimate(spec, settings.prices))

    happened = Event(video_id=video_id, kind="video.edited", beat_index=beat_index, data=_told(change))
    return await journal.edit(owner, video_id, changed, happened, key)


def check_take(video_id: str, spec: Spec, beat_index: int, take: int | None = None) -> None:
    """Check that a video has a beat, and the beat a take.

    Raises:
        BeatNotFound: There is no such beat.
        InvalidRequest: It has no such take.
    """
    if beat_index >= len(spec.beats):
        raise BeatNotFound(video_id, beat_index, len(spec.beats))
    if take is not None:
        find_take(spec, beat_index, take)


def _told(change: BeatEdit) -> dict[str, Any]:
    """Return what an event says of a change."""
    return change.model_dump(mode="json", exclude_none=True)


def planned_steps(video_id: str, spec: Spec, expected: Estimate) -> list[StepRecord]:
    """Return the rows of all steps of a plan, with what they are expected to cost."""
    job, steps = Job.of(video_id, spec), []
    for sequence in group_sequences(spec.beats, spec.followers_per_reference):
        for beat in sequence.beats:
            at = beat.beat_index
            steps.append(new_step(job, f"image/{at}", Phase.STORYBOARD, at, Kind.IMAGE))
            steps.append(new_step(job, f"chunk/{at}", Phase.CHUNKS, at, Kind.CLIP))
            if beat is not sequence.beats[-1]:
                steps.append(new_step(job, f"last_frame/{at}", Phase.CHUNKS, at))
    steps.append(new_step(job, "music", Phase.MUSIC, kind=Kind.MUSIC))
    steps += [new_step(job, "music_fit", Phase.MUSIC), new_step(job, "stitch", Phase.STITCH)]
    return [step.evolve(estimated_cost=expected.steps.get(step.step)) for step in steps]


def _with_stored_pictures(request: VideoRequest, store: ArtifactStore) -> VideoRequest:
    request = _with_stored_references(request, store)
    if request.reference_image is not None:
        picture = _store_picture("The picture of the first beat", request.reference_image, store)
        request = request.model_copy(update={"reference_image": picture})
    if request.spec is None:
        return request
    beats = tuple(_with_stored_picture(index, beat, store) for index, beat in enumerate(request.spec.beats))
    spec = _with_stored_references(request.spec, store).model_copy(update={"beats": beats})
    return request.model_copy(update={"spec": spec})


def _with_stored_references(brief: BriefT, store: ArtifactStore) -> BriefT:
    if not brief.reference_pictures:
        return brief
    pictures = tuple(
        _store_picture(f"Reference picture {number}", given, store)
        for number, given in enumerate(brief.reference_pictures, start=1)
    )
    return brief.model_copy(update={"reference_pictures": pictures})


def _with_stored_picture(index: int, beat: DraftBeat, store: ArtifactStore) -> DraftBeat:
    if beat.reference_image is None:
        return beat
    stored = _store_picture(f"The reference_image of beat {index}", beat.reference_image, store)
    return beat.model_copy(update={"reference_image": stored})


def _store_picture(which: str, given: Artifact | str, store: ArtifactStore) -> Artifact:
    try:
        given_bytes = store.get(given) if isinstance(given, Artifact) else read_data_uri(given).data
        picture = normalise(given_bytes)
    except (MediaError, ArtifactMissing) as error:
        raise InvalidReferenceImage(f"{which} cannot be used: {error}") from error
    return store.put(picture.data, picture.media_type)
