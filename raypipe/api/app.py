"""The HTTP API: it reads and writes the journal, and starts nothing itself."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.responses import FileResponse

from raypipe.api import failures
from raypipe.api.bodies import CreateVideo, ErrorBody, VideoDetail, VideoPage, VideoSummary, detail, summary
from raypipe.api.limits import BodyLimit
from raypipe.artifacts import ArtifactStore
from raypipe.config import Settings
from raypipe.errors import VideoNotReady
from raypipe.intake import accept
from raypipe.journal import Journal, Recorder, VideoRecord
from raypipe.models import Artifact, StepState

VideoId = Annotated[str, Path(max_length=64, description="The video's id.")]
BeatIndex = Annotated[int, Path(ge=0, le=100_000, description="Which beat, from 0.")]
_ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorBody, "description": "The request cannot be fulfilled; the body says why."}
}
_GET = ["GET", "HEAD"]
_SUFFIXES = {"video/mp4": "mp4", "image/png": "png", "image/jpeg": "jpg"}


def create_app(settings: Settings, poke: Callable[[], None] = lambda: None) -> FastAPI:
    """Make the API of an installation.

    Args:
        settings: Where the journal and the artifacts are.
        poke: Called after a video was committed, to tell a coordinator that it need not wait for its next look.

    Raises:
        JournalUnavailable: The journal cannot be opened.
    """
    app = FastAPI(
        title="raypipe",
        description="One prompt in, one finished multi-scene video out. In the shape of OpenAI's videos API.",
        responses=_ERRORS,
    )
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes)
    failures.install(app)
    _add_routes(app, Desk(settings, poke))
    return app


class Desk:
    """What the routes work with."""

    def __init__(self, settings: Settings, poke: Callable[[], None]) -> None:
        self.settings, self.poke = settings, poke
        self.journal = Journal(settings.journal_url)
        self.recorder = Recorder(self.journal)
        self.store = ArtifactStore(settings.artifacts_url)

    async def create(self, body: CreateVideo) -> VideoRecord:
        """Plan and commit a video."""
        video, rows = accept(body.request(), self.settings, self.journal, self.store)
        await self.recorder.record(*rows)
        self.poke()
        return video

    def detail(self, video_id: str) -> VideoDetail:
        """Read all of a video."""
        video = self.journal.video(video_id)
        return detail(video, self.journal.steps(video_id), self.journal.phases(video_id))

    def page(self, limit: int, after: str | None, newest_first: bool) -> VideoPage:
        """Read a page of videos."""
        found = self.journal.videos(limit + 1, after, newest_first)
        shown = [self._summary(video) for video in found[:limit]]
        ids = [video.id for video in shown]
        first, last = (ids[0], ids[-1]) if ids else (None, None)
        return VideoPage(data=shown, first_id=first, last_id=last, has_more=len(found) > limit)

    def result(self, video_id: str) -> tuple[VideoRecord, Artifact]:
        """Find a finished video's MP4."""
        video = self.journal.video(video_id)
        if video.result is None:
            raise VideoNotReady(f"Video {video_id} is {video.state}; there is no finished MP4 of it.")
        return video, video.result

    def made(self, video_id: str, step_name: str) -> Artifact:
        """Find what a step of a video made."""
        self.journal.video(video_id)
        step = next((s for s in self.journal.steps(video_id) if s.step == step_name), None)
        if step is None or step.state is not StepState.DONE or step.artifact is None:
            state = "not started" if step is None else step.state
            raise VideoNotReady(f"Step {step_name} of video {video_id} is {state}; there is nothing to get.")
        return step.artifact

    def file(self, request: Request, artifact: Artifact, name: str) -> Response:
        """Answer with an artifact: ranges and HEAD as the client asks, named by its digest for caches."""
        headers = {"ETag": f'"{artifact.digest}"', "Cache-Control": "private, max-age=31536000, immutable"}
        if artifact.digest in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        path = self.store.path_of(artifact, self.settings.data_dir / "downloads")
        filename = f"{name}.{_SUFFIXES.get(artifact.media_type, 'bin')}"
        return FileResponse(
            path,
            media_type=artifact.media_type,
            filename=filename,
            headers={**headers, "X-Content-Type-Options": "nosniff"},
        )

    def _summary(self, video: VideoRecord) -> VideoSummary:
        return summary(video, self.journal.steps(video.id), self.journal.phases(video.id))


def _add_routes(app: FastAPI, desk: Desk) -> None:
    _add_video_routes(app, desk)
    _add_media_routes(app, desk)

    @app.get("/healthz", tags=["service"])
    def health() -> dict[str, str]:
        """Whether the API can read its journal."""
        desk.journal.videos(limit=1)
        return {"status": "ok"}


def _add_video_routes(app: FastAPI, desk: Desk) -> None:
    @app.post("/v1/videos", status_code=202, tags=["videos"])
    async def create_video(body: CreateVideo, response: Response) -> VideoSummary:
        """Accept a video. It is committed when this answers, and made whether or not anybody waits for it."""
        video = await desk.create(body)
        response.headers["Location"] = f"/v1/videos/{video.id}"
        return summary(video, [], [])

    @app.get("/v1/videos", tags=["videos"])
    def list_videos(
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        after: Annotated[str | None, Query(description="The last id already seen.")] = None,
        order: Annotated[Literal["asc", "desc"], Query(description="Oldest or newest first.")] = "desc",
    ) -> VideoPage:
        """List videos."""
        return desk.page(limit, after, newest_first=order == "desc")

    @app.get("/v1/videos/{video_id}", tags=["videos"])
    def get_video(video_id: VideoId) -> VideoDetail:
        """Show a video: status, progress, beats, chunks, phases, error."""
        return desk.detail(video_id)


def _add_media_routes(app: FastAPI, desk: Desk) -> None:
    @app.api_route("/v1/videos/{video_id}/content", methods=_GET, response_class=FileResponse, tags=["media"])
    def get_content(video_id: VideoId, request: Request) -> Response:
        """Get the finished MP4; `Range` is honoured. 409 while there is none."""
        video, artifact = desk.result(video_id)
        return desk.file(request, artifact, video.id)

    @app.api_route(
        "/v1/videos/{video_id}/storyboard/{beat_index}",
        methods=_GET,
        response_class=FileResponse,
        tags=["media"],
    )
    def get_storyboard_image(video_id: VideoId, beat_index: BeatIndex, request: Request) -> Response:
        """Get the storyboard image of a beat."""
        artifact = desk.made(video_id, f"image/{beat_index}")
        return desk.file(request, artifact, f"{video_id}-beat-{beat_index}")

    @app.api_route(
        "/v1/videos/{video_id}/chunks/{beat_index}", methods=_GET, response_class=FileResponse, tags=["media"]
    )
    def get_chunk(video_id: VideoId, beat_index: BeatIndex, request: Request) -> Response:
        """Get the clip of a beat, also of a video that is not finished or never will be."""
        artifact = desk.made(video_id, f"chunk/{beat_index}")
        return desk.file(request, artifact, f"{video_id}-beat-{beat_index}")
