"""Frozen values that cross a phase. Times are seconds; wall-clock times are Unix seconds."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from raypipe.text import valid_json, without_controls

FPS = 24
MIN_BEAT_SECONDS = 5
MAX_VIDEO_SECONDS = 300
MAX_DRAFT_BEATS = 1_000
MAX_REFERENCE_PICTURES = 8
ASPECT_SIZES = {"16:9": "1280x720", "9:16": "720x1280", "1:1": "720x720"}


class Value(BaseModel):
    """An immutable value that rejects unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Phase(StrEnum):
    """The six phases a user sees."""

    PLAN = "plan"
    STORYBOARD = "storyboard"
    REFERENCES = "references"
    CHUNKS = "chunks"
    STITCH = "stitch"
    MUSIC = "music"


class Kind(StrEnum):
    """The kinds of work that models do."""

    IMAGE = "image"
    CLIP = "clip"
    MUSIC = "music"


class VideoState(StrEnum):
    """Where a video stands."""

    QUEUED = "queued"
    RUNNING = "running"
    #: stopped where it stands until somebody goes on with it
    WAITING = "waiting"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    COMPLETED = "completed"
    PARTIAL = "partial"
    FAILED = "failed"

    @property
    def terminal(self) -> bool:
        """Whether nothing more will happen to the video by itself."""
        return self in _TERMINAL_STATES


_TERMINAL_STATES = {VideoState.CANCELLED, VideoState.COMPLETED, VideoState.PARTIAL, VideoState.FAILED}


class StepState(StrEnum):
    """Where a step stands. `sent`, `accepted` and `unknown` belong to hosted providers."""

    #: planned
    INTENT = "intent"
    #: ready, and waiting for a CPU
    QUEUED = "queued"
    #: about to be given to the provider, which may have it by now
    SENT = "sent"
    ACCEPTED = "accepted"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    #: sent and not answered: the provider may have taken it or not
    UNKNOWN = "unknown"


def _parse_size(text: object) -> object:
    """Turn '16:9' or '1280x720' into a dict of width and height; leave anything else to pydantic."""
    if not isinstance(text, str):
        return text
    match = re.fullmatch(r"(-?\d{1,6})x(-?\d{1,6})", ASPECT_SIZES.get(text, text))
    if match is None:
        raise ValueError("must be WIDTHxHEIGHT in pixels, such as 1280x720, or one of 16:9, 9:16, 1:1")
    return {"width": int(match[1]), "height": int(match[2])}


_Pixels = Annotated[int, Field(ge=32, le=1920, multiple_of=2)]


class Size(Value):
    """Width and height of a picture in pixels; both even, as yuv420p needs."""

    width: _Pixels
    height: _Pixels

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


class Artifact(Value):
    """Handle of stored bytes: small enough to travel in a ref, named by what it holds."""

    #: sha256 of the bytes, lower-case hex
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    #: number of bytes
    size: int = Field(ge=0)
    media_type: str


#: a sum of money, in US dollars
Dollars = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Seconds = Annotated[float, Field(ge=1, le=MAX_VIDEO_SECONDS, allow_inf_nan=False)]
_Label = Annotated[str, Field(min_length=1, max_length=80)]
_Name = Annotated[str, Field(min_length=1, max_length=200)]
_Prompt = Annotated[str, Field(min_length=1, max_length=4_000)]


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


#: models to try in this order, such as "local" or "replicate/owner/name"; one may be given as text
Models = Annotated[
    tuple[_Name, ...],
    Field(min_length=1, max_length=8),
    BeforeValidator(_as_list, json_schema_input_type=str | list[str]),
]


def _kind_of_picture(value: object) -> str:
    return "stored artifact" if isinstance(value, dict | Artifact) else "text"


_Picture = Annotated[
    Annotated[Artifact, Tag("stored artifact")] | Annotated[str, Tag("text")], Discriminator(_kind_of_picture)
]


#: where a video may stop for approval: when its storyboard images are made, before music and clips are bought
Until = Literal["storyboard"]


class Brief(Value):
    """What may be said of a video as a whole, in a request or at the head of a spec; None leaves it open."""

    prompt: _Prompt | None = None
    #: length of the video
    duration: float | None = Field(
        default=None, ge=MIN_BEAT_SECONDS, le=MAX_VIDEO_SECONDS, allow_inf_nan=False
    )
    size: Annotated[Size, BeforeValidator(_parse_size)] | None = None
    style: _Label | None = None
    #: colours and music
    mood: _Label | None = None
    seed: int | None = Field(default=None, ge=0, lt=2**32)
    #: stands for every kind of work that `models` leaves out
    model: Models | None = None
    #: US dollars that the video may cost
    budget: Dollars | None = None
    models: dict[Kind, Models] | None = None
    #: settings by kind of work, provider or model, the closer before the wider; checked by the provider
    options: Annotated[dict[_Name, dict[str, Any]], AfterValidator(valid_json)] | None = None
    #: pictures of characters and products that all storyboard images are made from: file paths, data: URIs or stored
    #: artifacts
    reference_pictures: tuple[_Picture, ...] | None = Field(default=None, max_length=MAX_REFERENCE_PICTURES)
    #: whether sound that clips have is heard under the music
    clip_sound: bool | None = None
    #: where to stop for somebody's approval
    until: Until | None = None
    #: whether to make a film without the beats that failed
    allow_missing: bool | None = None


def _without(value: object, *names: str) -> object:
    if isinstance(value, dict):
        return {name: each for name, each in value.items() if name not in names}
    return value


class DraftBeat(Value):
    """A beat as a person writes it; what is left out, planning fills in.

    A planned beat is taken as well; what planning works out again, its index and start, is left out.
    """

    @model_validator(mode="before")
    @classmethod
    def _without_derived(cls, value: object) -> object:
        return _without(value, "beat_index", "start", "take")

    prompt: _Prompt
    duration: _Seconds = MIN_BEAT_SECONDS
    beat_id: _Label = "custom"
    shot_type: _Label = "wide"
    camera_movement: _Label = "slow push in"
    #: True: start from the predecessor's last frame. False: from a reference image. None: raypipe decides
    continues: bool | None = None
    #: picture to start from in place of the storyboard image: a file path, a data: URI or a stored artifact
    reference_image: _Picture | None = None

    @model_validator(mode="after")
    def _reference_excludes_following(self) -> Self:
        if self.continues and self.reference_image is not None:
            raise ValueError("a beat either continues its predecessor or has a reference_image, not both")
        return self


class BeatEdit(Value):
    """What to change of a beat: its prompt, its picture, both, or nothing, to have it made once more; or go back."""

    prompt: _Prompt | None = None
    #: picture to start from: a data: URI or a stored artifact
    reference_image: _Picture | None = None
    #: an earlier take to go back to
    take: int | None = Field(default=None, ge=1)

    @field_validator("prompt", mode="after")
    @classmethod
    def _says_something(cls, prompt: str | None) -> str | None:
        cleaned = None if prompt is None else without_controls(prompt).strip()
        if cleaned == "":
            raise ValueError("must not be empty")
        return cleaned

    @model_validator(mode="after")
    def _going_back_changes_nothing(self) -> Self:
        if self.take is not None and (self.prompt is not None or self.reference_image is not None):
            raise ValueError("going back to a take excludes a new prompt or picture")
        return self


class DraftSpec(Brief):
    """A plan as a person writes or edits it; what `raypipe plan` prints.

    A whole spec is taken as well; what the installation decides, frame rate and length of chains, is left out.
    """

    @model_validator(mode="before")
    @classmethod
    def _without_derived(cls, value: object) -> object:
        return _without(value, "fps", "followers_per_reference", "takes", "other_takes", "made_from")

    title: str | None = Field(default=None, max_length=200)
    archetype: _Label | None = None
    beats: tuple[DraftBeat, ...] = Field(min_length=1, max_length=MAX_DRAFT_BEATS)


class VideoRequest(Brief):
    """What a user asks for: a prompt, or a spec with beats. What the request says overrides its spec."""

    spec: DraftSpec | None = None
    #: picture that the first beat starts from: a data: URI or a stored artifact
    reference_image: _Picture | None = None

    @model_validator(mode="after")
    def _needs_prompt_or_spec(self) -> Self:
        if self.spec is None and not (self.prompt or "").strip():
            raise ValueError("a prompt, or a spec with beats, is needed")
        return self

    @property
    def pictures(self) -> tuple[Artifact | str, ...]:
        """All pictures that are given with it."""
        briefs: tuple[Brief, ...] = (self,) if self.spec is None else (self, self.spec)
        given = [self.reference_image, *(each for brief in briefs for each in brief.reference_pictures or ())]
        given += [] if self.spec is None else [beat.reference_image for beat in self.spec.beats]
        return tuple(each for each in given if each is not None)

    @property
    def named_artifacts(self) -> tuple[Artifact, ...]:
        """Stored pictures that it names, which somebody has brought before."""
        return tuple(each for each in self.pictures if isinstance(each, Artifact))

    def with_pictures(self, found: Mapping[str, str]) -> Self:
        """Return the request with other texts for some of its pictures."""

        def of(picture: Artifact | str | None) -> Artifact | str | None:
            return found.get(picture, picture) if isinstance(picture, str) else picture

        def of_brief(brief: Brief) -> dict[str, Any]:
            given = brief.reference_pictures
            return {"reference_pictures": None if given is None else tuple(map(of, given))}

        spec = self.spec
        if spec is not None:
            beats = (
                each.model_copy(update={"reference_image": of(each.reference_image)}) for each in spec.beats
            )
            spec = spec.model_copy(update={"beats": tuple(beats), **of_brief(spec)})
        own = {"spec": spec, "reference_image": of(self.reference_image), **of_brief(self)}
        return self.model_copy(update=own)


class Beat(Value):
    """One shot of the planned video."""

    beat_index: int = Field(ge=0)
    #: name in the beat library, or 'custom'
    beat_id: str
    start: float = Field(ge=0)
    duration: float = Field(gt=0)
    prompt: str
    shot_type: str
    camera_movement: str
    continues: bool | None = None
    reference_image: Artifact | None = None
    #: grows with each time the beat is changed, or made once more
    take: int = 1

    @property
    def frames(self) -> int:
        """Number of frames the beat has in the finished video; sums exactly over beats."""
        return round((self.start + self.duration) * FPS) - round(self.start * FPS)


class Spec(Value):
    """The validated plan of a video."""

    title: str
    prompt: str
    archetype: str
    duration: float
    size: Size
    fps: int = FPS
    style: str
    mood: str
    seed: int
    #: for each kind of work, models to try in this order
    models: dict[Kind, tuple[str, ...]]
    options: dict[str, dict[str, Any]]
    #: US dollars that it may cost
    budget: Dollars | None = None
    #: pictures of characters and products that all storyboard images are made from
    reference_pictures: tuple[Artifact, ...] = ()
    #: whether sound that clips have is heard under the music
    clip_sound: bool = False
    #: where to stop for somebody's approval
    until: Until | None = None
    #: whether to make a film without the beats that failed
    allow_missing: bool = False
    #: longest run of followers behind one reference beat
    followers_per_reference: int
    beats: tuple[Beat, ...]
    #: earlier takes of beats, and later ones that were gone back from
    other_takes: tuple[Beat, ...] = ()
    #: take of each step that is not at its first
    takes: dict[str, int] = Field(default_factory=dict)
    #: of steps with more than one take, which takes of beats and chunks each of theirs is made from
    made_from: dict[str, tuple[tuple[int, ...], ...]] = Field(default_factory=dict)

    @property
    def frames(self) -> int:
        """Number of frames of the finished video."""
        return sum(beat.frames for beat in self.beats)

    @property
    def named_artifacts(self) -> tuple[Artifact, ...]:
        """Pictures that were brought for it."""
        given = (*self.reference_pictures, *(beat.reference_image for beat in self.beats))
        return tuple(each for each in given if each is not None)


def models_text(spec: Spec) -> str:
    """Name the models of a video in a line: one name if one does everything."""
    named = {kind: ", ".join(names) for kind, names in spec.models.items()}
    different = set(named.values())
    return (
        different.pop()
        if len(different) == 1
        else ", ".join(f"{kind} {name}" for kind, name in named.items())
    )


class Job(Value):
    """What every step of one video needs to know about it."""

    video_id: str
    #: who asks: the coordinator that has the video
    epoch: int = 0
    #: name of the key that it is made under, if any, which may allow so much a day
    api_key: str | None = None
    size: Size
    fps: int
    duration: float
    prompt: str
    style: str
    mood: str
    seed: int
    models: dict[Kind, tuple[str, ...]]
    options: dict[str, dict[str, Any]]
    #: as it was when this was made; the video's row says what it is now
    budget: Dollars | None = None
    reference_pictures: tuple[Artifact, ...] = ()
    clip_sound: bool = False
    #: take of each step that is not at its first
    takes: dict[str, int] = Field(default_factory=dict)

    @classmethod
    def of(cls, video_id: str, spec: Spec, epoch: int = 0, api_key: str | None = None) -> Self:
        """Return the part of a spec that is not about single beats."""
        own = {"video_id": video_id, "epoch": epoch, "api_key": api_key}
        shared = {name: getattr(spec, name) for name in cls.model_fields if name not in own}
        return cls(**own, **shared)


class BeatSequence(Value):
    """A reference beat and the followers that continue from it, in order."""

    reference: Beat
    followers: tuple[Beat, ...] = ()

    @property
    def beats(self) -> tuple[Beat, ...]:
        """All beats of the sequence, in order."""
        return (self.reference, *self.followers)


class Result(Value):
    """Base of what a step makes: the stored bytes, and when and at what cost they were made."""

    artifact: Artifact
    #: US dollars
    cost: float = 0.0
    started_at: float = 0.0
    finished_at: float = 0.0


class Image(Result):
    """The storyboard image of a beat."""

    beat_index: int


class Frame(Result):
    """The last frame of a chunk, saved as a picture."""

    beat_index: int


class StepFailure(Value):
    """A step that did not deliver, as a value: what failed, where, why, and what it cost none the less."""

    step: str
    phase: Phase
    beat_index: int | None = None
    provider: str
    code: str
    message: str
    retryable: bool = False
    #: the failure for whose sake this step was not even tried
    cause: "StepFailure | None" = None
    #: US dollars that were spent before it failed
    cost: float = 0.0
    #: what its provider had delivered all the same, when nobody waited for it any more: a retry takes that
    delivered: Artifact | None = None
    started_at: float = 0.0
    finished_at: float = 0.0

    @property
    def root(self) -> "StepFailure":
        """The failure at the beginning of the chain of causes: this one, if it failed by itself."""
        return self if self.cause is None else self.cause.root

    def __str__(self) -> str:
        beat = "" if self.beat_index is None else f" of beat {self.beat_index}"
        return f"{self.phase} step {self.step}{beat} failed at provider {self.provider!r}: {self.message}"


class Chunk(Result):
    """The clip made for a beat."""

    beat_index: int
    #: frames it has; one more than the beat's where a follower replaces the last one
    frames: int
    #: of these, how many show its last picture because what was delivered was too short
    held: int = 0
    #: pictures of what was delivered that were damaged, in whose place the one before is shown
    lost: int = 0
    #: where a follower continues from it
    last_frame: Frame | StepFailure | None = None


class Track(Result):
    """A piece of music, `seconds` long."""

    seconds: float


class Film(Result):
    """The finished video."""

    frames: int
    #: chunks that had to be encoded anew to fit the others
    normalised: int = 0


class PhaseStatus(StrEnum):
    """How a phase ended."""

    SUCCESS = "success"
    PARTIAL = "partial"
    FAILED = "failed"


class PhaseOutput(Value):
    """What a phase leaves behind, good or bad; every phase of an ended video has one."""

    video_id: str
    phase: Phase
    status: PhaseStatus
    output: dict[str, Any] = Field(default_factory=dict)
    #: US dollars
    cost: float = 0.0
    #: when its first step began; None if none did
    started_at: float | None = None
    #: when its last step ended, or when it was given up
    finished_at: float | None = None
    #: seconds between the two
    duration: float = 0.0
    error: str | None = None


class Gathered(Value):
    """All chunks of a video in the order of their beats, and what failed in place of the others."""

    chunks: tuple[Chunk, ...]
    failures: tuple[StepFailure, ...] = ()
