"""Every error raypipe raises on purpose.

RaypipeError
├── InvalidRequest (ValueError)      the request cannot be made into a video
│   ├── InvalidSpec                  the beats of a spec do not fit together
│   │   └── OrphanFollower           a beat follows a predecessor it does not have
│   ├── InvalidReferenceImage        a supplied reference image is no usable picture
│   └── UnknownProvider              no provider is registered under that name
├── StoryboardMismatch (ValueError)  beats and storyboard images differ in number or index
├── ChunkGap (ValueError)            the chunks of a finished phase leave out or repeat a beat
├── ProviderError                    a provider did not deliver
│   ├── ProviderRejected             it refused the work; asking again will not help
│   └── ProviderUnavailable          it could not be reached or failed for the moment
├── WorkerLost                       the process doing CPU work died, more often than Ray retries
├── MediaError                       bytes are not the picture, clip or track they should be
├── ArtifactMissing                  the artifact store does not hold those bytes
├── JournalUnavailable               the journal cannot be opened, read or written
├── VideoNotFound                    the journal knows no video of that id
├── VideoNotReady                    the video or picture asked for is not made yet
├── RayUnavailable                   Ray cannot be started or reached
├── ProviderUnusable                 an installed provider cannot be loaded
└── FileNotWritten                   a file that was asked for cannot be written
"""


class RaypipeError(Exception):
    """Base of all errors raised on purpose.

    Attributes:
        code: Stable machine-readable name, also sent over HTTP.
        retryable: Whether the same call may succeed later without any change.
    """

    code = "raypipe_error"
    retryable = False


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


class ProviderUnavailable(ProviderError):
    """The provider could not be reached or failed for the moment."""

    code = "provider_unavailable"
    retryable = True


class WorkerLost(RaypipeError):
    """The process doing CPU work died, more often than Ray retries."""

    code = "worker_lost"
    retryable = True


class MediaError(RaypipeError):
    """Bytes are not the picture, clip or track they should be."""

    code = "media_error"


class ArtifactMissing(RaypipeError):
    """The artifact store does not hold the bytes a handle names."""

    code = "artifact_missing"


class JournalUnavailable(RaypipeError):
    """The journal cannot be opened, read or written."""

    code = "journal_unavailable"
    retryable = True


class VideoNotFound(RaypipeError):
    """The journal knows no video of that id."""

    code = "video_not_found"

    def __init__(self, video_id: str) -> None:
        super().__init__(f"There is no video {video_id!r}. `raypipe list` shows the videos there are.")


class VideoNotReady(RaypipeError):
    """The video or picture that was asked for is not made yet, or never will be."""

    code = "video_not_ready"


class RayUnavailable(RaypipeError):
    """Ray could not be started, or the cluster could not be reached."""

    code = "ray_unavailable"
    retryable = True


class ProviderUnusable(RaypipeError):
    """A provider is installed but cannot be loaded."""

    code = "provider_unusable"


class FileNotWritten(RaypipeError):
    """A file that was asked for cannot be written."""

    code = "file_not_written"
