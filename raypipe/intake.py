"""From a request to an accepted video: planned, checked and committed, in milliseconds and without Ray."""

import base64
import binascii
import re
import time

from raypipe.artifacts import ArtifactStore
from raypipe.config import Settings
from raypipe.errors import ArtifactMissing, InvalidReferenceImage, MediaError
from raypipe.journal import Journal, VideoRecord, Write, new_video_id
from raypipe.media.video import check_picture
from raypipe.models import (
    Artifact,
    DraftBeat,
    Phase,
    PhaseOutput,
    PhaseStatus,
    Spec,
    VideoRequest,
    VideoState,
)
from raypipe.phases.plan import build_full_spec
from raypipe.phases.references import group_sequences
from raypipe.providers.registry import provider_class

_DATA_URI = re.compile(r"data:(image/(?:png|jpeg));base64,(.+)", re.DOTALL)


def plan(request: VideoRequest, video_id: str, settings: Settings, store: ArtifactStore) -> Spec:
    """Turn a request into a spec that can be made.

    Raises:
        InvalidRequest: The beats do not fit, a picture is unusable, or the provider is unknown or refuses its options.
    """
    request = _with_stored_pictures(request, store)
    spec = build_full_spec(request, video_id, settings.log_dir, settings.followers_per_reference)
    group_sequences(spec.beats, spec.followers_per_reference)
    provider_class(spec.provider).parse_options(spec.options)
    return spec


def accept(
    request: VideoRequest,
    settings: Settings,
    journal: Journal,
    store: ArtifactStore,
    claimed_by: str | None = None,
) -> tuple[VideoRecord, tuple[Write, ...]]:
    """Plan a video; it is accepted once the rows returned with it are committed.

    Its state is queued, or running where a coordinator makes it its own at once.

    Raises:
        InvalidRequest: As `plan`; there is nothing to commit.
    """
    now, video_id = time.time(), new_video_id()
    spec = plan(request, video_id, settings, store)
    video = VideoRecord(id=video_id, state=VideoState.QUEUED, spec=spec, created_at=now)
    if claimed_by is not None:
        claim = {"state": VideoState.RUNNING, "started_at": now, "lease_owner": claimed_by, "epoch": 1}
        video = video.model_copy(update=claim)
    output = PhaseOutput(
        video_id=video_id,
        phase=Phase.PLAN,
        status=PhaseStatus.SUCCESS,
        output={"title": spec.title, "archetype": spec.archetype, "beats": len(spec.beats)},
        duration=time.time() - now,
    )
    return video, journal.accepted(video, output)


def _with_stored_pictures(request: VideoRequest, store: ArtifactStore) -> VideoRequest:
    if request.spec is None or all(beat.reference_image is None for beat in request.spec.beats):
        return request
    beats = tuple(_with_stored_picture(index, beat, store) for index, beat in enumerate(request.spec.beats))
    return request.model_copy(update={"spec": request.spec.model_copy(update={"beats": beats})})


def _with_stored_picture(index: int, beat: DraftBeat, store: ArtifactStore) -> DraftBeat:
    if beat.reference_image is None:
        return beat
    try:
        if isinstance(beat.reference_image, Artifact):
            data, media_type = store.get(beat.reference_image), beat.reference_image.media_type
        else:
            data, media_type = _decode(beat.reference_image)
        check_picture(data)
    except (MediaError, ArtifactMissing) as error:
        raise InvalidReferenceImage(f"The reference_image of beat {index} cannot be used: {error}") from error
    return beat.model_copy(update={"reference_image": store.put(data, media_type)})


def _decode(uri: str) -> tuple[bytes, str]:
    match = _DATA_URI.fullmatch(uri)
    if match is None:
        raise MediaError("it must be a data: URI of a base64 PNG or JPEG")
    try:
        return base64.b64decode(match[2], validate=True), match[1]
    except binascii.Error as error:
        raise MediaError(f"its base64 is broken: {error}") from error
