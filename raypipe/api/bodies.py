"""Bodies of requests and answers, in the shape of OpenAI's videos API with our fields added."""

from typing import Annotated, Any, Literal, Self

from fastapi.exceptions import RequestValidationError
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from raypipe.errors import JournalRowBroken
from raypipe.intake import notes_on
from raypipe.journal import StepRecord, accepted_at
from raypipe.models import (
    Beat,
    BeatEdit,
    DraftSpec,
    Kind,
    Models,
    Phase,
    PhaseOutput,
    Spec,
    StepState,
    Until,
    VideoRequest,
    VideoState,
    models_text,
)
from raypipe.phases.takes import chunk_take_of, takes_of
from raypipe.prices import Prices
from raypipe.snapshot import Snapshot

_EXAMPLE: Any = {
    "prompt": "A lighthouse keeper in a storm",
    "seconds": 30,
    "size": "1280x720",
    "mood": "dramatic",
}

OpenAIStatus = Literal["queued", "in_progress", "completed", "failed"]
_STATUS: dict[VideoState, OpenAIStatus] = {
    VideoState.QUEUED: "queued",
    VideoState.RUNNING: "in_progress",
    VideoState.WAITING: "queued",
    VideoState.CANCELLING: "in_progress",
    VideoState.COMPLETED: "completed",
    VideoState.CANCELLED: "failed",
    VideoState.PARTIAL: "failed",
    VideoState.FAILED: "failed",
}


def states_of(status: OpenAIStatus | None) -> list[VideoState]:
    """Return the states that one of OpenAI's words stands for; none for no word."""
    return [state for state, word in _STATUS.items() if word == status]


def _number(value: object) -> object:
    """OpenAI's clients send seconds as text."""
    return float(value) if isinstance(value, str) and value.replace(".", "", 1).isdecimal() else value


class PictureUrl(BaseModel):
    """A picture by its address, which must hold it."""

    model_config = ConfigDict(extra="forbid")

    image_url: str = Field(description="A data: URI of a PNG or JPEG, or an https:// address of one.")


#: fields of other video services that are taken and have no effect, with why
IGNORED = {
    "fps": "films have 24 frames a second",
    "num_frames": "the length is `seconds`",
    "n": "a request makes one video",
    "negative_prompt": "say it in the prompt",
    "guidance_scale": "it is the model's: set it in `options`",
    "num_inference_steps": "it is the model's: set it in `options`",
    "quality": "choose a model",
    "response_format": "the film is at /v1/videos/ID/content",
    "user": "keys tell users apart",
    "metadata": "it is not kept",
}


#: what they may say without being ignored
_AS_IT_IS = {"n": "1", "fps": "24"}


class CreateVideo(BaseModel):
    """What to make: a prompt, or a spec with beats; what is left out is decided by planning."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    prompt: str | None = Field(default=None, description="What the video is about, up to 4,000 characters.")
    seconds: Annotated[
        Annotated[float, Field(description="Length of the video, 5 to 300.")] | None, BeforeValidator(_number)
    ] = None
    size: str | None = Field(default=None, description="WIDTHxHEIGHT in even pixels, or 16:9, 9:16, 1:1.")
    model: Models | None = Field(
        default=None, description="Who makes images, clips and music; of several the first that can."
    )
    models: dict[Kind, Models] | None = Field(
        default=None, description="Who makes them by kind of work: image, clip, music."
    )
    style: str | None = None
    mood: str | None = Field(default=None, description="Chooses colours and music, such as calm or dramatic.")
    seed: int | None = Field(default=None, description="The same request and seed give the same plan.")
    reference_pictures: list[str] | None = Field(
        default=None,
        description="Pictures of characters and products, as data: URIs or addresses, that all images are made from.",
    )
    until: Until | None = Field(default=None, description="Stop for approval when the storyboard is made.")
    allow_missing: bool | None = Field(
        default=None,
        description="Whether to make a film without the beats that fail; the video is then partial.",
    )
    clip_sound: bool | None = Field(
        default=None, description="Whether sound that clips have is heard under the music."
    )
    budget: float | None = Field(default=None, description="US dollars that the video may cost.")
    options: dict[str, dict[str, Any]] | None = Field(
        default=None, description="Settings by kind of work, provider or model."
    )
    spec: DraftSpec | None = Field(default=None, description="Beats, as `raypipe plan` prints them.")
    input_reference: str | PictureUrl | None = Field(
        default=None,
        description="Picture that the first beat starts from: a file of a form, data: URI or address.",
    )

    @model_validator(mode="wrap")
    @classmethod
    def _without_ignored(cls, value: Any, check: ModelWrapValidatorHandler[Self]) -> Self:
        """Take fields of other services, and remember to say that they have no effect."""
        given = [name for name in IGNORED if isinstance(value, dict) and name in value]
        known = {each: value[each] for each in value if each not in IGNORED} if given else value
        found = check(known)
        found._ignored = [name for name in given if str(value[name]) != _AS_IT_IS.get(name)]
        return found

    _ignored: list[str] = PrivateAttr(default_factory=list)

    @property
    def notes(self) -> list[str]:
        """What was given and has no effect."""
        return [f"`{name}` is ignored: {IGNORED[name]}." for name in self._ignored]

    def request(self) -> VideoRequest:
        """Return the request in raypipe's own words.

        Raises:
            RequestValidationError: A value is out of range.
        """
        values = self.model_dump(exclude_none=True, exclude={"seconds", "spec", "input_reference"})
        picture = self.input_reference.image_url if isinstance(self.input_reference, PictureUrl) else None
        renamed = {
            "duration": self.seconds,
            "spec": self.spec,
            "reference_image": picture or self.input_reference,
        }
        try:
            return VideoRequest.model_validate(values | {k: v for k, v in renamed.items() if v is not None})
        except ValidationError as error:
            raise RequestValidationError(error.errors()) from error


class EditBeat(BaseModel):
    """What to change of a beat; an empty object has it made once more."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"prompt": "The lamp goes out"}]}
    )

    prompt: str | None = Field(default=None, description="What it is to show now.")
    reference_image: str | None = Field(
        default=None, description="Picture that its clip starts from now, as a data: URI or an address."
    )
    take: int | None = Field(default=None, description="An earlier take to go back to; excludes the others.")

    def change(self) -> BeatEdit:
        """Return it in raypipe's own words.

        Raises:
            RequestValidationError: A value is out of range.
        """
        try:
            return BeatEdit.model_validate(self.model_dump())
        except ValidationError as error:
            raise RequestValidationError(error.errors()) from error


class ErrorDetail(BaseModel):
    """What went wrong: a stable code for programs, a sentence for people."""

    code: str
    message: str
    param: str | None = None


class ErrorBody(BaseModel):
    """The body of every 4xx and 5xx answer."""

    error: ErrorDetail


class StepView(BaseModel):
    """How far the image or chunk of a beat is."""

    state: str
    url: str | None = Field(default=None, description="Where to get it, once it is done.")
    node: str | None = None
    started_at: float | None = None
    finished_at: float | None = None
    error: ErrorDetail | None = None


class TakeView(BaseModel):
    """A take of a beat."""

    take: int
    prompt: str
    image_url: str | None = Field(description="Its image, once it is made.")
    chunk_url: str | None = Field(description="The newest clip made of it, once there is one.")


class BeatView(BaseModel):
    """A beat of the plan with its image and its chunk."""

    beat_index: int
    role: Literal["reference", "follower"]
    prompt: str
    start: float
    duration: float
    shot_type: str
    camera_movement: str
    take: int = Field(description="Which take is in use.")
    takes: list[TakeView] = Field(description="All takes.")
    image: StepView
    chunk: StepView


class VideoSummary(BaseModel):
    """A video as lists show it."""

    id: str
    object: Literal["video"] = "video"
    status: OpenAIStatus = Field(description="One of OpenAI's four words.")
    state: VideoState = Field(description="The same, finer.")
    progress: int = Field(description="0 to 100; goes back only when a beat is made anew.")
    created_at: int
    completed_at: int | None = None
    model: str
    seconds: str = Field(
        description="Length of the film; of one made without some of its beats, what there is."
    )
    size: str
    title: str
    prompt: str
    thumbnail_url: str | None = Field(default=None, description="A small JPEG of it, once there is one.")
    cost: float = Field(description="US dollars spent so far.")
    reserved_cost: float = Field(default=0.0, description="US dollars that what is under way may cost.")
    doubtful_cost: float = Field(
        default=0.0, description="US dollars that may have been paid on top, for what brought nothing."
    )
    estimated_cost: float | None = Field(default=None, description="US dollars, before anything is paid.")
    error: ErrorDetail | None = None
    notes: list[str] = Field(
        default=[],
        description="What the provider says of the plan; said once, when it is accepted.",
        examples=[[]],
    )


class VideoDetail(VideoSummary):
    """A video with all that is known of it."""

    content_url: str | None = Field(description="Its film, once there is one; also of some of its beats.")
    chunks_progress: float = Field(description="References fill 0 to 50, followers 50 to 100.")
    beats: list[BeatView]
    phases: dict[Phase, PhaseOutput]
    spec: Spec


class VideoPage(BaseModel):
    """A page of videos."""

    object: Literal["list"] = "list"
    data: list[VideoSummary]
    first_id: str | None
    last_id: str | None
    has_more: bool


def summary(snapshot: Snapshot) -> VideoSummary:
    """Show a video in a list."""
    return VideoSummary(**_summary(snapshot))


def accepted(snapshot: Snapshot, prices: Prices, notes: list[str]) -> VideoSummary:
    """Show a video that was just accepted, with what there is to say of the request."""
    return VideoSummary(**_summary(snapshot), notes=[*notes, *notes_on(snapshot.video.spec, prices)])


def broken(video_id: str, error: JournalRowBroken) -> VideoSummary:
    """Show in a list that a video's rows cannot be read."""
    return VideoSummary(
        id=video_id,
        status="failed",
        state=VideoState.FAILED,
        progress=0,
        created_at=int(accepted_at(video_id)),
        model="",
        seconds="",
        size="",
        title="",
        prompt="",
        cost=0,
        error=ErrorDetail(code=error.code, message=str(error)),
    )


def detail(snapshot: Snapshot) -> VideoDetail:
    """Show all of a video."""
    return VideoDetail(
        **_summary(snapshot),
        content_url=None if snapshot.video.result is None else f"/v1/videos/{snapshot.video.id}/content",
        chunks_progress=round(snapshot.progress.chunks, 1),
        beats=_beats(snapshot),
        phases=dict(snapshot.phases),
        spec=snapshot.video.spec,
    )


def _summary(snapshot: Snapshot) -> dict[str, Any]:
    video, spec, error = snapshot.video, snapshot.video.spec, None
    if video.error_code is not None:
        error = ErrorDetail(code=video.error_code, message=video.error_message or "")
    return {
        "id": video.id,
        "status": _STATUS[video.state],
        "state": video.state,
        "progress": snapshot.progress.percent,
        "created_at": int(video.created_at),
        "completed_at": None if video.finished_at is None else int(video.finished_at),
        "model": models_text(spec),
        "seconds": f"{snapshot.length:g}",
        "size": str(spec.size),
        "title": spec.title,
        "prompt": spec.prompt,
        "thumbnail_url": _thumbnail(snapshot),
        **{name: getattr(snapshot, name) for name in ("cost", "reserved_cost", "doubtful_cost")},
        "estimated_cost": video.estimated_cost,
        "error": error,
    }


def _thumbnail(snapshot: Snapshot) -> str | None:
    first = snapshot.steps.get("image/0")
    if first is None or first.artifact is None:
        return None
    return f"/v1/videos/{snapshot.video.id}/content?variant=thumbnail"


def _beats(snapshot: Snapshot) -> list[BeatView]:
    video, steps = snapshot.video, snapshot.steps
    return [
        BeatView(
            beat_index=beat.beat_index,
            role="follower" if beat.beat_index in snapshot.follows else "reference",
            prompt=beat.prompt,
            start=beat.start,
            duration=beat.duration,
            shot_type=beat.shot_type,
            camera_movement=beat.camera_movement,
            take=beat.take,
            takes=[_take(snapshot, each) for each in takes_of(video.spec, beat.beat_index)],
            image=_step(steps.get(f"image/{beat.beat_index}"), video.id, "storyboard", beat.beat_index),
            chunk=_step(steps.get(f"chunk/{beat.beat_index}"), video.id, "chunks", beat.beat_index),
        )
        for beat in video.spec.beats
    ]


def _take(snapshot: Snapshot, beat: Beat) -> TakeView:
    video, at = snapshot.video, beat.beat_index
    done = {(each.step, each.take) for each in snapshot.all_steps if each.state is StepState.DONE}
    chunk = chunk_take_of(video.spec, beat)
    return TakeView(
        take=beat.take,
        prompt=beat.prompt,
        image_url=_url(video.id, "storyboard", at, beat.take) if (f"image/{at}", beat.take) in done else None,
        chunk_url=_url(video.id, "chunks", at, chunk or 1) if (f"chunk/{at}", chunk) in done else None,
    )


def _url(video_id: str, kind: str, beat_index: int, take: int) -> str:
    return f"/v1/videos/{video_id}/{kind}/{beat_index}?take={take}"


def _step(step: StepRecord | None, video_id: str, kind: str, beat_index: int) -> StepView:
    if step is None or step.state is StepState.INTENT:
        return StepView(state="waiting")
    error = None
    if step.error_code is not None:
        error = ErrorDetail(code=step.error_code, message=step.error_message or "")
    done = step.state is StepState.DONE
    return StepView(
        state=step.state,
        url=_url(video_id, kind, beat_index, step.take) if done else None,
        node=step.node,
        started_at=step.started_at,
        finished_at=step.finished_at,
        error=error,
    )
