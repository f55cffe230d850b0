"""Every error raypipe raises on purpose.

RaypipeError
├── InvalidRequest (ValueError)      the request cannot be made into a video
│   ├── InvalidSpec                  the beats of a spec do not fit together
│   │   └── OrphanFollower           a beat follows a predecessor it does not have
│   ├── InvalidReferenceImage        a supplied reference image is no usable picture
│   ├── UnknownProvider              no provider is registered under that name
│   ├── UnknownModel                 the provider has no such model for that kind of work
│   ├── KeyReused                    an Idempotency-Key was used for another request
│   ├── PriceRefused                 it says what a model costs, which is the operator's to say
│   └── OverBudget                   it would cost more than may be spent
├── StoryboardMismatch (ValueError)  beats and storyboard images differ in number or index
├── ChunkGap (ValueError)            the chunks of a finished phase leave out or repeat a beat
├── ProviderError                    a provider did not deliver
│   ├── ProviderRejected             it refused the work; asking again will not help
│   │   ├── ContentRefused           its content filter refused the work
│   │   └── NoSuchModel              it has no model of that name
│   ├── OutcomeUnknown               it may or may not have taken the work, and cannot say
│   ├── KeyMissing                   there is no key for it
│   ├── KeyRefused                   it does not take the key
│   ├── OutOfFunds                   the account there is empty
│   ├── TookTooLong                  it was given up, because its deadline had passed
│   └── ProviderUnavailable          it could not be reached or failed for the moment
│       └── RateLimited              it asks to wait
├── WebhookRefused                   a webhook is not surely the vendor's
├── SecretsExposed                   others may read the file of secrets
├── SecretsUnreadable                the file of secrets cannot be read or made
├── BudgetReached                    no more may be spent on it; what is made is kept
│   └── DailyBudgetReached           nor on any video today
│       └── KeyBudgetReached         nor on any video of its tenant's today
├── ProviderUnusable                 an installed provider cannot be loaded
├── MediaError                       bytes are not the picture, clip or track they should be
│   ├── DeliveryExpired              what was made is not at the provider any more
│   └── DeliveryNotFetched           what was made is not found, or leads nowhere; it can still be fetched
├── WorkerLost                       the process doing the work died
│   ├── StepKillsGateway             a step was under way each time that a gateway died
│   └── OutOfMemory                  the process doing the work took more memory than there is
├── DiskFull                         there is no room left to write to
├── TooManyFiles                     the process, or the machine, may open no more files for now
├── ArtifactStoreUnavailable         the artifact store cannot be opened, read or written
├── ArtifactMissing                  the artifact store does not hold those bytes
├── JournalUnavailable               the journal cannot be opened, read or written
│   └── JournalTooNew                it was written by a raypipe newer than this one
├── LeaseLost                        another coordinator has taken the video over
├── JournalRowBroken                 a row of the journal does not hold what it should
├── QueueFull                        as many videos wait as may
├── NotReady                         whoever makes the videos does not answer at the moment
│   └── GatewaySilent                a gateway does not answer in time
├── AnswerLost                       what was asked for may be done, and cannot be told
├── TenantLimit                      a key allows its tenant no more videos for now
├── NotAuthenticated                 a request needs a key, or one that is valid
├── VideoNotFound                    the journal knows no video of that id
│   └── VideoDeleted                 a request made one, which has been deleted since
├── WebhookNotFound                  the tenant has no webhook of that id
├── BeatNotFound                     the video has no such beat
├── VideoNotReady                    the video or picture asked for is not made yet
├── VideoBusy                        another process is making the video
├── VideoOver                        the video has ended, so it cannot be gone on with
├── Cancelled                        somebody has cancelled the video
├── RayUnavailable                   Ray cannot be started or reached
├── FileNotWritten                   a file that was asked for cannot be written
│   └── OutputExists                 there is a file of that name
└── InternalError                    a bug in raypipe or in a provider
"""

import errno
from typing import Any, Self

from raypipe.text import valid_text


class RaypipeError(Exception):
    """Base of all errors raised on purpose.

    Its message may quote a vendor or a library; it is made valid, bounded text here, wherever the error goes.

    Attributes:
        code: Stable machine-readable name, also sent over HTTP.
        retryable: Whether the same call may succeed later without any change.
    """

    code = "raypipe_error"
    retryable = False

    def __init__(self, message: object = "") -> None:
        super().__init__(valid_text(message))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without calling `__init__`, whose arguments subclasses choose: errors cross processes."""
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[RaypipeError], args: tuple[Any, ...], attributes: dict[str, Any]) -> RaypipeError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(attributes)
    return error


class InvalidRequest(RaypipeError, ValueError):
    """The request cannot be made into a video as it stands."""

    code = "invalid_request"


class InvalidSpec(InvalidRequest):
    """The beats of a spec do not fit together."""

    code = "invalid_spec"


class OrphanFollower(InvalidSpec):
    """A beat is to continue from a predecessor's last frame, but has no predecessor it may follow."""

    code = "orphan_follower"

    def __init__(self, beat_index: int, reason: str) -> None:
        super().__init__(
            f"Beat {beat_index} has no reference image and cannot be a follower: {reason}. "
            f"Give beat {beat_index} a reference image or set its `continues` to false."
        )
        self.beat_index = beat_index


class InvalidReferenceImage(InvalidRequest):
    """A supplied reference image is missing, too large or no PNG or JPEG picture."""

    code = "invalid_reference_image"


class UnknownProvider(InvalidRequest):
    """No provider is registered under the requested name."""

    code = "unknown_provider"


class UnknownModel(InvalidRequest):
    """The provider has no such model for that kind of work."""

    code = "unknown_model"


class OverBudget(InvalidRequest):
    """The video is estimated to cost more than may be spent."""

    code = "over_budget"


class PriceRefused(InvalidRequest):
    """The request says what a model costs, which is the operator's to say."""

    code = "price_refused"


class KeyReused(InvalidRequest):
    """A request came under the Idempotency-Key of another request."""

    code = "idempotency_key_reused"


class StoryboardMismatch(RaypipeError, ValueError):
    """The storyboard does not hold exactly one image for each beat."""

    code = "storyboard_mismatch"


class ChunkGap(RaypipeError, ValueError):
    """The gathered chunks leave out or repeat a beat."""

    code = "chunk_gap"


class ProviderError(RaypipeError):
    """A provider did not deliver what it was asked for."""

    code = "provider_error"


class ProviderRejected(ProviderError):
    """The provider refused the work or failed at it for good."""

    code = "provider_rejected"


class ContentRefused(ProviderRejected):
    """The provider's content filter refused the work: only another prompt or another model can help."""

    code = "content_refused"


class NoSuchModel(ProviderRejected):
    """The provider has no model of that name: it was renamed or taken away, or never was."""

    code = "no_such_model"


class OutcomeUnknown(ProviderError):
    """The provider may have taken the work, and be paid for it, or not; it cannot say.

    Raised by a provider whose create was not answered, or that cannot be asked what became of it.
    """

    code = "outcome_unknown"


class ProviderUnavailable(ProviderError):
    """The provider could not be reached or failed for the moment."""

    code = "provider_unavailable"
    retryable = True


class RateLimited(ProviderUnavailable):
    """The provider asks to wait.

    Attributes:
        retry_after: Seconds, if it says for how long.
    """

    code = "rate_limited"

    def __init__(self, message: object, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class KeyMissing(ProviderError):
    """There is no key for the provider."""

    code = "key_missing"


class KeyRefused(ProviderError):
    """The provider does not take the key."""

    code = "key_refused"


class OutOfFunds(ProviderError):
    """The account at the provider is empty: the video waits until somebody says that it is not any more."""

    code = "out_of_funds"


class TookTooLong(ProviderError):
    """The provider had not delivered when the step's deadline had passed."""

    code = "took_too_long"


class WebhookRefused(RaypipeError):
    """A webhook is not surely the vendor's, or not about a create of ours."""

    code = "webhook_refused"


class SecretsExposed(RaypipeError):
    """Others than its owner may read the file of secrets."""

    code = "secrets_exposed"


class SecretsUnreadable(RaypipeError):
    """The file of secrets cannot be read or made.

    Args:
        message: Which, and why.
        retryable: Whether that may pass by itself, as a disk that fails or a network that is gone.
    """

    code = "secrets_unreadable"

    def __init__(self, message: object, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class BudgetReached(RaypipeError):
    """No more may be spent: the video waits, and what is made is kept."""

    code = "budget_reached"


class DailyBudgetReached(BudgetReached):
    """No more may be spent today."""

    code = "daily_budget_reached"


class KeyBudgetReached(DailyBudgetReached):
    """No more may be spent today under the key that the video is made under."""

    code = "key_budget_reached"


class ProviderUnusable(RaypipeError):
    """A provider is installed but cannot be loaded."""

    code = "provider_unusable"


class MediaError(RaypipeError):
    """Bytes are not the picture, clip or track they should be."""

    code = "media_error"


class DeliveryExpired(MediaError):
    """What a provider has made, and was paid for, is not there any more: it keeps it for a while only."""

    code = "delivery_expired"


class DeliveryNotFetched(MediaError):
    """A provider has made something, and was paid, but what it says of it names no file that can be fetched.

    Its job stays in the step's row: a retry, perhaps by a newer raypipe, asks for that job and creates no other.
    """

    code = "delivery_not_fetched"


class WorkerLost(RaypipeError):
    """The process doing the work died, more often than Ray starts it again."""

    code = "worker_lost"
    retryable = True


class OutOfMemory(WorkerLost):
    """The process doing the work was ended because memory ran out, each time it was tried."""

    code = "out_of_memory"


class StepKillsGateway(WorkerLost):
    """A step was under way each time that a gateway died, and is not tried again."""

    code = "step_kills_gateway"
    retryable = False


class DiskFull(RaypipeError):
    """There is no room left to write to; what was finished before is kept."""

    code = "disk_full"
    retryable = True

    @classmethod
    def because(cls, problem: str, error: BaseException) -> Self:
        """Say what could not be done for want of room, and where."""
        where = getattr(error, "filename", None)
        return cls(f"the disk is full: {problem}{f' ({where})' if where else ''}; make room and try again")


class TooManyFiles(RaypipeError):
    """The process, or the machine, may open no more files and connections for now."""

    code = "too_many_open_files"
    retryable = True


class ArtifactStoreUnavailable(RaypipeError):
    """The artifact store cannot be opened, read or written."""

    code = "artifact_store_unavailable"
    retryable = True


class ArtifactMissing(RaypipeError):
    """The artifact store does not hold the bytes a handle names."""

    code = "artifact_missing"


class JournalUnavailable(RaypipeError):
    """The journal cannot be opened, read or written."""

    code = "journal_unavailable"
    retryable = True


class JournalTooNew(JournalUnavailable):
    """The journal was written by a newer raypipe, whose rows this one does not know."""

    code = "journal_too_new"
    retryable = False


class LeaseLost(RaypipeError):
    """Another coordinator has taken the video over: what this one still wants to write of it is refused."""

    code = "lease_lost"

    def __init__(self, video_id: str) -> None:
        super().__init__(f"Video {video_id} is made by another coordinator now.")


class JournalRowBroken(RaypipeError):
    """A row of the journal does not hold what it should."""

    code = "journal_row_broken"


class QueueFull(RaypipeError):
    """As many videos wait for a place as may; come again later."""

    code = "queue_full"
    retryable = True

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotReady(RaypipeError):
    """Whoever makes the videos does not answer at the moment."""

    code = "not_ready"
    retryable = True


class AnswerLost(RaypipeError):
    """What was asked for is done, or may be, and what came of it cannot be told."""

    code = "answer_lost"


class GatewaySilent(NotReady):
    """A gateway does not answer in time."""

    code = "gateway_silent"


class TenantLimit(RaypipeError):
    """A key allows its tenant no more videos for now.

    Args:
        limit: What it allows.
        retry_after: Seconds until there is room again, if that is known.
    """

    code = "tenant_limit"
    retryable = True

    def __init__(self, limit: str, retry_after: float | None = None) -> None:
        super().__init__(f"This key allows {limit}; come again later.")
        self.retry_after = retry_after


class NotAuthenticated(RaypipeError):
    """A request needs a key, or one that is valid."""

    code = "not_authenticated"


class VideoNotFound(RaypipeError):
    """The journal knows no video of that id."""

    code = "video_not_found"

    def __init__(self, video_id: str) -> None:
        super().__init__(f"There is no video {video_id!r}.")


class VideoDeleted(VideoNotFound):
    """The video that a request made has been deleted since, so the same request makes no second one."""

    code = "video_deleted"

    def __init__(self, video_id: str) -> None:
        RaypipeError.__init__(
            self,
            f"Video {video_id}, which this request made, is deleted; to have another one made and paid, "
            "send the request under a new Idempotency-Key.",
        )


class WebhookNotFound(RaypipeError):
    """The tenant has no webhook of that id."""

    code = "webhook_not_found"

    def __init__(self, webhook_id: str) -> None:
        super().__init__(f"There is no webhook {webhook_id!r}.")


class BeatNotFound(RaypipeError):
    """The video has no beat of that index."""

    code = "beat_not_found"

    def __init__(self, video_id: str, beat_index: int, beats: int) -> None:
        has = f"its beats are 0 to {beats - 1}" if beats > 1 else "its only beat is 0"
        super().__init__(f"Video {video_id} has no beat {beat_index}: {has}.")


class VideoNotReady(RaypipeError):
    """The video or picture that was asked for is not made yet, or never will be."""

    code = "video_not_ready"


class VideoBusy(RaypipeError):
    """Another process is making the video."""

    code = "video_busy"
    retryable = True


class VideoOver(RaypipeError):
    """The video has ended, so that there is nothing to go on with."""

    code = "video_over"


class Cancelled(RaypipeError):
    """Somebody has cancelled the video: nothing more is sent for it, and what was finished is kept."""

    code = "cancelled"


class RayUnavailable(RaypipeError):
    """Ray could not be started, or the cluster could not be reached."""

    code = "ray_unavailable"
    retryable = True


class FileNotWritten(RaypipeError):
    """A file that was asked for cannot be written."""

    code = "file_not_written"


class OutputExists(FileNotWritten):
    """A file that was asked for is there already, and may not be replaced."""

    code = "file_exists"


class InternalError(RaypipeError):
    """Something went wrong that nobody foresaw: a bug in raypipe or in a provider."""

    code = "internal_error"


#: code of a video that waits for somebody to approve its storyboard
APPROVAL = "approval"
#: code of a step that was not attempted, because what it needs failed
UPSTREAM_FAILED = "upstream_failed"
#: codes of errors for whose sake a video waits, and does not fail
PAUSING = (OutOfFunds.code, BudgetReached.code, DailyBudgetReached.code, KeyBudgetReached.code)


def is_disk_full(error: BaseException) -> bool:
    """Tell whether an error of the operating system says that there is no room to write."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)


#: why a file cannot be read until somebody changes something
_LASTING = (errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


def resource_error(error: BaseException, what: str) -> RaypipeError | None:
    """Name an error of the operating system that says that there is too little of something; None for any other."""
    if is_disk_full(error):
        return DiskFull.because(what, error)
    if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):
        whose = "this process" if error.errno == errno.EMFILE else "the machine"  # type: ignore[attr-defined]
        return TooManyFiles(
            f"{what}: {whose} has as many files and connections open as it may; a higher limit (`ulimit -n`) helps"
        )
    return None


def unreadable_secrets(error: OSError, what: str) -> RaypipeError:
    """Name why a file of secrets cannot be read or made."""
    lasting = error.errno in _LASTING
    return resource_error(error, what) or SecretsUnreadable(f"{what}: {error.strerror}", not lasting)


def as_raypipe_error(error: Exception, what: str) -> RaypipeError:
    """Name any error: as itself if it is raypipe's own, want of room or descriptors as such, anything else as a bug.

    Args:
        error: What was raised.
        what: What was at work, for the message: a step, a video or a function.
    """
    if isinstance(error, RaypipeError):
        return error
    return resource_error(error, what) or InternalError(
        f"{what}: {type(error).__name__}: {valid_text(error)}"
    )
