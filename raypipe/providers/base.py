"""What a provider is: it declares what it can do, and raypipe decides when it does it.

A *hosted* provider is asked over a network: submit, poll, fetch, cancel; waiting for it costs a coroutine on the
gateway. A *compute* provider works on our own CPUs or GPUs: `generate` runs as a Ray task with the resources the
provider declares.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field, ValidationError

from raypipe.artifacts import ArtifactStore
from raypipe.config import Settings
from raypipe.errors import InvalidRequest, OutcomeUnknown, UnknownModel
from raypipe.explain import place, reason
from raypipe.models import Artifact, Beat, Dollars, Job, Kind, Size, Spec, Value
from raypipe.prices import Price as Price


class _WorkBase(Value):
    """What any work needs to know."""

    job: Job
    #: who does it; the first of the job's models for its kind unless that has failed
    model: str = ""

    @property
    def options(self) -> dict[str, Any]:
        """Settings of the model that does it."""
        return options_of(self.job.options, Kind(self.kind), self.model)  # type: ignore[attr-defined]

    @property
    def seed(self) -> int:
        """The video's seed, and another for each take of a beat."""
        beat: Beat | None = getattr(self, "beat", None)
        return self.job.seed if beat is None else (self.job.seed + beat.take - 1) % 2**32


class ImageWork(_WorkBase):
    """Make the storyboard image of a beat: a PNG or JPEG of the job's size."""

    kind: Literal[Kind.IMAGE] = Kind.IMAGE
    beat: Beat
    #: whether all that may make it make it in the job's size
    exact: bool = True

    @property
    def step(self) -> str:
        """Name of the step that this work is."""
        return f"image/{self.beat.beat_index}"


class ClipWork(_WorkBase):
    """Make a beat's clip, which begins with the picture `start`.

    At a seam the same picture ends one clip and begins the next. Clips that are exactly as long as asked for are made a
    frame longer where they are followed, which is left out by cutting; of others the follower's first picture is.
    """

    kind: Literal[Kind.CLIP] = Kind.CLIP
    beat: Beat
    #: False: `start` is the beat's reference image. True: it is the predecessor's last frame
    continues: bool
    #: whether a follower continues from its last frame
    followed: bool = False
    #: whether all that may make it are exact
    exact: bool = True
    #: PNG or JPEG; filled in when it is there
    start: Artifact | None = None

    @property
    def step(self) -> str:
        """Name of the step that this work is."""
        return f"chunk/{self.beat.beat_index}"

    @property
    def frames(self) -> int:
        """How many frames to make: those of the beat, and one that the film does not show where there is a seam."""
        return self.beat.frames + (self.followed if self.exact else self.continues)


class MusicWork(_WorkBase):
    """Make a track in the job's mood, at least `seconds` long."""

    kind: Literal[Kind.MUSIC] = Kind.MUSIC
    seconds: float

    @property
    def step(self) -> str:
        """Name of the step that this work is."""
        return "music"


Work = ImageWork | ClipWork | MusicWork


class Media(Value):
    """What a compute provider makes."""

    data: bytes = Field(repr=False)
    media_type: str
    #: US dollars
    cost: float = Field(default=0.0, ge=0, allow_inf_nan=False)


class Delivery(Value):
    """What a hosted provider delivers: stored bytes."""

    artifact: Artifact
    #: US dollars, if the provider says; None leaves the model's price
    cost: float | None = Field(default=None, ge=0, allow_inf_nan=False)


class Pending(Value):
    """The provider is still at work; ask again after `poll_after` seconds."""

    poll_after: float = Field(ge=0, allow_inf_nan=False)


class Model(Value):
    """What a model can do, as data."""

    #: full name, such as "replicate/owner/name"
    name: str
    kind: Kind
    #: size of what it makes, where the request asks for none
    size: Size = Size(width=1280, height=720)
    #: lengths of clips that can be asked for, in seconds, ascending; empty: any
    durations: tuple[float, ...] = ()
    #: whether it makes clips of exactly the frames asked for, in the video's own format
    exact: bool = False
    #: how many reference pictures its images are made from
    references: int = 0
    #: whether its clips have sound
    sound: bool = False
    #: what it costs by its vendor's list; None: not known
    price: Price | None = None
    #: inputs of it that the request sets, which may change what it costs
    inputs: dict[str, Any] = Field(default_factory=dict)
    #: inputs that the request has filled with what the video has, such as its seed, which may change it too; those
    #: that a table of its vendor fills are none of them
    filled: dict[str, str] = Field(default_factory=dict)
    #: whether the request describes it, so that it is asked for a length or a size only where the request says so
    is_described: bool = False
    #: US dollars that a run costs, as the request says; see `raypipe.costs` for what that counts
    requested_price: Dollars | None = None

    def seconds_for(self, seconds: float) -> float:
        """Return the shortest length it makes that covers so many seconds.

        Raises:
            InvalidRequest: It makes none that long.
        """
        found = next((each for each in self.durations if each >= seconds - 1e-6), None)
        if found is not None or not self.durations:
            return seconds if found is None else found
        longest = self.durations[-1]
        raise InvalidRequest(
            f"The model {self.name!r} makes clips of at most {longest:g} s, not {seconds:g} s."
        )


def options_of(options: dict[str, dict[str, Any]], kind: Kind, model: str) -> dict[str, Any]:
    """Return a model's settings: what is said of it comes before its kind of work, that before its provider."""
    return options.get(provider_of(model), {}) | options.get(kind, {}) | options.get(model, {})


def provider_of(model: str) -> str:
    """Return the name of a model's provider: what stands before its first slash."""
    return model.partition("/")[0]


class Context(NamedTuple):
    """What a hosted provider works with; it reads no environment."""

    settings: Settings
    store: ArtifactStore


class Provider(ABC):
    """Base of both kinds of provider. Subclasses are registered under the entry point `raypipe.providers`."""

    name: ClassVar[str]
    #: what a request may say in `options`; unknown options are rejected before the video is accepted
    Options: ClassVar[type[Value]] = Value

    @classmethod
    @abstractmethod
    def models(cls) -> tuple[Model, ...]:
        """Return the models it knows of."""

    @classmethod
    def model(cls, kind: Kind, name: str, options: dict[str, Any]) -> Model:
        """Say what a model can do.

        Args:
            kind: The kind of work it is to do.
            name: Its full name.
            options: Settings of it, which may describe a model that the provider does not know of.

        Raises:
            UnknownModel: There is no such model for that kind of work.
        """
        for model in cls.models():
            if (model.name, model.kind) == (name, kind):
                return model
        known = sorted({model.name for model in cls.models() if model.kind is kind})
        have = f"it has {', '.join(known)}" if known else "it has none"
        raise UnknownModel(f"The provider {cls.name!r} has no {kind} model {name!r}: {have}.")

    @classmethod
    def parse_options(cls, options: dict[str, Any]) -> Any:
        """Check the settings of one of its models.

        Raises:
            InvalidRequest: An option is unknown or out of range.
        """
        try:
            return cls.Options.model_validate(options)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(["options", cls.name, *map(str, place(first))])
            raise InvalidRequest(f"{where}: {reason(first)}.") from error

    @classmethod
    def notes(cls, spec: Spec) -> tuple[str, ...]:
        """Return what a user should know of this plan before it is made."""
        return ()


#: sends a create, once, under the token that names it, and returns the provider's id of the job
Create = Callable[[str], Awaitable[str]]


class HostedProvider(Provider):
    """A provider that works elsewhere. All methods run on the gateway's event loop and must not block it.

    Any process may poll, find or cancel what another one submitted.
    """

    #: seconds that a create may take; one that is not answered by then may have been taken or not
    create_seconds: ClassVar[float] = 60.0
    #: seconds that a poll may take, with the delivery of what was made
    poll_seconds: ClassVar[float] = 60.0
    #: seconds after a create at which a job that is still under way is given up
    deadline_seconds: ClassVar[float] = 7_200.0
    #: seconds after a create for which its outcome, if it is unknown, is asked for
    unknown_seconds: ClassVar[float] = 3_600.0

    def __init__(self, context: Context) -> None:
        self.context = context

    async def prepare(self, work: Work) -> Create:
        """Do what has to come before a create, questions and uploads, and return what sends it.

        The step's row says "sent" only after this, so that nothing but the create lies between row and provider:
        a video that is cancelled meanwhile has nothing sent.

        Raises:
            ProviderUnavailable: The provider could not be reached: it is prepared again later.
            RaypipeError: Any other of raypipe's errors: the provider will not do this work.
        """
        return partial(self.submit, work)

    @abstractmethod
    async def submit(self, work: Work, token: str) -> str:
        """Hand the work in, once, and return the provider's id for it.

        Args:
            work: What to make.
            token: Names this create; it goes to the provider, if that can keep it, so that `find` finds it.

        Raises:
            ProviderUnavailable: The provider could not be reached or does not take it for now: it is sent again later.
            RaypipeError: Any other of raypipe's errors: it will not do this work, and nothing was accepted.
            OutcomeUnknown: The provider may have accepted it or not. So does any error count that is not raypipe's.
        """

    @abstractmethod
    async def poll(self, job_id: str, work: Work) -> Delivery | Pending:
        """Store what was made and return its handle, or say when to ask again.

        Raises:
            ProviderRejected: The work failed for good.
            MediaError: What was made, and paid, is of no use.
            ProviderUnavailable: The provider could not be asked.
        """

    def check_key(self) -> None:
        """Check that there is a key, if it takes one.

        Raises:
            KeyMissing: There is none.
            KeyRefused: What there is cannot be one.
        """

    async def find(self, work: Work, token: str) -> str | None:
        """Return the id of the job that a create with that token made; None if there surely is none.

        Raises:
            OutcomeUnknown: The provider cannot say.
            ProviderUnavailable: The provider could not be asked.
        """
        raise OutcomeUnknown(f"the provider {self.name!r} cannot be asked what became of a create")

    @abstractmethod
    async def cancel(self, job_id: str, work: Work) -> None:
        """Ask the provider to stop; a job that is already over is no error."""


class ComputeProvider(Provider):
    """A provider that runs on the cluster itself."""

    #: CPUs and GPUs that one piece of work takes while it runs
    num_cpus: ClassVar[float] = 1
    num_gpus: ClassVar[float] = 0

    @abstractmethod
    def generate(self, work: Work, store: ArtifactStore) -> Media:
        """Do the work in the calling process, with pictures from the store. The same work gives the same bytes.

        Raises:
            MediaError: An input picture cannot be read.
        """
