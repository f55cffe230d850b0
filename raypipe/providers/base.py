"""What a provider is: it declares what it can do, and raypipe decides when it does it.

A *hosted* provider is asked over a network: submit, poll, fetch, cancel; waiting for it costs a coroutine on the
gateway. A *compute* provider works on our own CPUs or GPUs: `generate` runs as a Ray task with the resources the
provider declares.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationError

from raypipe.config import Settings
from raypipe.errors import InvalidRequest, OutcomeUnknown
from raypipe.explain import place, reason
from raypipe.models import Beat, Job, Size, Spec, Value


class ImageWork(Value):
    """Make the storyboard image of a beat: a PNG or JPEG of the job's size."""

    kind: Literal["image"] = "image"
    job: Job
    beat: Beat

    @property
    def step(self) -> str:
        """Name of the step that this work is."""
        return f"image/{self.beat.beat_index}"


class ClipWork(Value):
    """Make a beat's clip: `frames` frames that begin with the picture in `start_image`."""

    kind: Literal["clip"] = "clip"
    job: Job
    beat: Beat
    #: False: `start_image` is the beat's reference image. True: it is the predecessor's last frame
    continues: bool
    #: exact length; one frame more than the beat's if a follower begins with the last of them
    frames: int
    #: encoded picture, PNG or JPEG; filled in where the work is done, since bytes do not travel with it
    start_image: bytes = Field(default=b"", repr=False)

    @property
    def step(self) -> str:
        """Name of the step that this work is."""
        return f"chunk/{self.beat.beat_index}"

    @property
    def followed(self) -> bool:
        """Whether a follower continues from the clip's last frame."""
        return self.frames > self.beat.frames


class MusicWork(Value):
    """Make a track in the job's mood, at least `seconds` long."""

    kind: Literal["music"] = "music"
    job: Job
    seconds: float

    @property
    def step(self) -> str:
        """Name of the step that this work is."""
        return "music"


Work = ImageWork | ClipWork | MusicWork


class Media(Value):
    """What a provider delivers."""

    data: bytes = Field(repr=False)
    media_type: str
    #: US dollars
    cost: float = Field(default=0.0, ge=0, allow_inf_nan=False)


class Pending(Value):
    """The provider is still at work; ask again after `poll_after` seconds."""

    poll_after: float = Field(ge=0, allow_inf_nan=False)


class Provider(ABC):
    """Base of both kinds of provider. Subclasses are registered under the entry point `raypipe.providers`."""

    name: ClassVar[str]
    #: size of what it makes, where the request asks for none
    default_size: ClassVar[Size] = Size(width=1280, height=720)
    #: what a request may say in `options`; unknown options are rejected before the video is accepted
    Options: ClassVar[type[Value]] = Value

    @classmethod
    def parse_options(cls, options: dict[str, Any]) -> Any:
        """Check the options of a request.

        Raises:
            InvalidRequest: An option is unknown or out of range.
        """
        try:
            return cls.Options.model_validate(options)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(["options", *map(str, place(first))])
            raise InvalidRequest(f"{where} of provider {cls.name!r}: {reason(first)}.") from error

    @classmethod
    def notes(cls, spec: Spec) -> tuple[str, ...]:
        """Return what a user should know of this plan before it is made."""
        return ()


class HostedProvider(Provider):
    """A provider that works elsewhere. All methods run on the gateway's event loop and must not block it.

    Any process may poll, find or cancel what another one submitted.
    """

    #: seconds that a create may take; one that is not answered by then may have been taken or not
    create_seconds: ClassVar[float] = 60.0
    #: seconds after a create for which its outcome, if it is unknown, is asked for
    unknown_seconds: ClassVar[float] = 3_600.0

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @abstractmethod
    async def submit(self, work: Work, token: str) -> str:
        """Hand the work in, once, and return the provider's id for it.

        Args:
            work: What to make.
            token: Names this create; it goes to the provider, if that can keep it, so that `find` finds it.

        Raises:
            ProviderRejected: The provider will not do this work.
            ProviderUnavailable: The provider could not be reached; nothing was accepted.
            OutcomeUnknown: The provider may have accepted it or not. So does any other error count.
        """

    @abstractmethod
    async def poll(self, job_id: str, work: Work) -> Media | Pending:
        """Return the finished media, or say when to ask again.

        Raises:
            ProviderRejected: The work failed for good.
            ProviderUnavailable: The provider could not be asked.
        """

    async def find(self, work: Work, token: str) -> str | None:
        """Return the id of the job that a create with that token made; None if there surely is none.

        Raises:
            OutcomeUnknown: The provider cannot say.
            ProviderUnavailable: The provider could not be asked.
        """
        raise OutcomeUnknown(f"the provider {self.name!r} cannot be asked what became of a create")

    @abstractmethod
    async def cancel(self, job_id: str) -> None:
        """Ask the provider to stop; a job that is already over is no error."""


class ComputeProvider(Provider):
    """A provider that runs on the cluster itself."""

    #: CPUs and GPUs that one piece of work takes while it runs
    num_cpus: ClassVar[float] = 1
    num_gpus: ClassVar[float] = 0

    @abstractmethod
    def generate(self, work: Work) -> Media:
        """Do the work in the calling process. The same work gives the same bytes.

        Raises:
            MediaError: An input picture cannot be read.
        """
