"""The HTTP API: it reads and writes the journal, and starts nothing itself."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse, JSONResponse
from fastapi_offline import FastAPIOffline
from starlette.types import Message, Receive, Scope, Send

from raypipe.api import failures, hooks
from raypipe.api.bodies import (
    CreateVideo,
    EditBeat,
    ErrorBody,
    VideoDetail,
    VideoPage,
    VideoSummary,
    accepted,
    broken,
    detail,
    summary,
)
from raypipe.api.limits import BodyLimit
from raypipe.artifacts import ArtifactStore
from raypipe.config import Settings
from raypipe.errors import BeatNotFound, JournalUnavailable, VideoNotReady
from raypipe.intake import accept, edit
from raypipe.journal import Journal, VideoRecord
from raypipe.models import Artifact, StepState
from raypipe.snapshot import Snapshot

#: seconds for which a new video waits for a journal that is locked; then its client is told to come again
PATIENCE = 5.0

VideoId = Annotated[str, PathParameter(max_length=64, description="The video's id.")]
BeatIndex = Annotated[int, PathParameter(ge=0, le=100_000, description="Which beat, from 0.")]
Take = Annotated[int | None, Query(ge=1, le=100_000, description="Which take; left out: the one in use.")]
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
    # FastAPI's own pages load their scripts from a CDN, which a machine may not reach
    app = FastAPIOffline(
        title="raypipe",
        description="One prompt in, one finished multi-scene video out. In the shape of OpenAI's videos API.",
        responses=_ERRORS,
    )
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes)
    failures.install(app)
    service = VideoService(settings, poke)
    _add_routes(app, service)
    hooks.add_route(app, hooks.Hooks(settings, service.journal, service.store))
    return app


class VideoService:
    """The journal and the artifacts, as the routes need them."""

    def __init__(self, settings: Settings, poke: Callable[[], None]) -> None:
        self.settings, self.poke = settings, poke
        self.journal = Journal(settings.journal_url)
        self.store = ArtifactStore(settings.artifacts_url)

    async def create(self, body: CreateVideo) -> VideoRecord:
        """Plan and commit a video. It may bring pictures to decode, which the event loop must not wait for."""
        video, rows = await asyncio.to_thread(accept, body.request(), self.settings, self.journal, self.store)
        await self.journal.accept(video, rows, self.settings.daily_budget, PATIENCE)
        self.poke()
        return video

    def detail(self, video_id: str) -> VideoDetail:
        """Read all of a video."""
        return detail(Snapshot.read(self.journal, video_id))

    async def go_on(self, change: Awaitable[Any], video_id: str) -> VideoDetail:
        """Commit a change of a video, tell the coordinator, and show the video."""
        await change
        self.poke()
        return await asyncio.to_thread(self.detail, video_id)

    def page(self, limit: int, after: str | None, newest_first: bool) -> VideoPage:
        """Read a page of videos."""
        ids = self.journal.video_ids(limit + 1, after, newest_first)
        found = Snapshot.read_many(self.journal, ids[:limit])
        shown = [
            summary(each) if isinstance(each, Snapshot) else broken(video_id, each)
            for video_id, each in found.items()
        ]
        first, last = (ids[0], ids[:limit][-1]) if ids else (None, None)
        return VideoPage(data=shown, first_id=first, last_id=last, has_more=len(ids) > limit)

    def film(self, video_id: str) -> Artifact:
        """Find a video's MP4."""
        video = self.journal.video(video_id)
        if video.result is None:
            never = "; there will be none" if video.state.terminal else " yet"
            raise VideoNotReady(f"Video {video_id} is {video.state}: there is no MP4 of it{never}.")
        return video.result

    def step_artifact(self, video_id: str, kind: str, beat_index: int, take: int | None) -> Artifact:
        """Find what a step of a beat made, at a take or the one in use."""
        video = self.journal.video(video_id)
        if beat_index >= len(video.spec.beats):
            raise BeatNotFound(video_id, beat_index, len(video.spec.beats))
        name = f"{kind}/{beat_index}"
        take = take or video.spec.takes.get(name, 1)
        step = next((s for s in self.journal.steps(video_id) if (s.step, s.take) == (name, take)), None)
        if step is None or step.state is not StepState.DONE or step.artifact is None:
            state = "not started" if step is None or step.state is StepState.INTENT else step.state
            never = f", and the video is {video.state}" if video.state.terminal else ""
            raise VideoNotReady(
                f"Step {name} of video {video_id} is {state}{never}: there is nothing to get."
            )
        return step.artifact

    def file(self, request: Request, artifact: Artifact, name: str) -> Response:
        """Answer with an artifact: ranges and HEAD as the client asks, named by its digest for caches."""
        headers = {"ETag": f'"{artifact.digest}"', "Cache-Control": "private, max-age=31536000, immutable"}
        if artifact.digest in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        path = self.store.path_of(artifact, self.settings.data_dir / "downloads")
        filename = f"{name}.{_SUFFIXES.get(artifact.media_type, 'bin')}"
        return ArtifactResponse(
            path,
            media_type=artifact.media_type,
            filename=filename,
            headers={**headers, "X-Content-Type-Options": "nosniff"},
        )


class ArtifactResponse(FileResponse):
    """A file in ranges, whose refusals have the body that all errors have."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file, the range asked for, or why there is no such range."""
        refusal: JSONResponse | None = None
        # a unit that is not known is to be ignored (RFC 9110, 14.2)
        headers = [(k, v) for k, v in scope["headers"] if k != b"range" or v.lower().startswith(b"bytes")]
        scope = {**scope, "headers": headers}

        async def send_unless_refused(message: Message) -> None:
            nonlocal refusal
            if message["type"] == "http.response.start" and message["status"] in _RANGE_REFUSALS:
                refusal = _refused_range(message["status"], self.size)
            if refusal is None:
                await send(message)

        await super().__call__(scope, receive, send_unless_refused)
        if refusal is not None:
            await refusal(scope, receive, send)

    @property
    def size(self) -> int:
        """Number of bytes of the file."""
        return Path(self.path).stat().st_size


_RANGE_REFUSALS = (400, 416)


def _refused_range(status: int, size: int) -> JSONResponse:
    if status == 400:
        return failures.failure(400, "invalid_range", "The Range header is malformed; give it as bytes=0-99.")
    message = f"The range is not within the {size} bytes there are."
    headers = {"Content-Range": f"bytes */{size}"}
    return failures.failure(416, "range_not_satisfiable", message, headers=headers)


def _add_routes(app: FastAPI, service: VideoService) -> None:
    _add_video_routes(app, service)
    _add_steering_routes(app, service)
    _add_media_routes(app, service)

    @app.api_route("/healthz", methods=_GET, tags=["service"])
    def health() -> dict[str, str]:
        """Tell whether the API can read its journal and write to it."""
        service.journal.video_ids(limit=1)
        if service.journal.read_only:
            raise JournalUnavailable("The journal can only be read: no video can be accepted.")
        return {"status": "ok"}


def _add_video_routes(app: FastAPI, service: VideoService) -> None:
    @app.post("/v1/videos", status_code=202, tags=["videos"])
    async def create_video(body: CreateVideo, response: Response) -> VideoSummary:
        """Accept a video. It is committed when this answers, and made whether or not anybody waits for it."""
        video = await service.create(body)
        response.headers["Location"] = f"/v1/videos/{video.id}"
        return accepted(Snapshot(video, (), {}, time.time()))

    @app.api_route("/v1/videos", methods=_GET, tags=["videos"])
    def list_videos(
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        after: Annotated[str | None, Query(description="The last id already seen.")] = None,
        order: Annotated[Literal["asc", "desc"], Query(description="Oldest or newest first.")] = "desc",
    ) -> VideoPage:
        """List videos."""
        return service.page(limit, after, newest_first=order == "desc")

    @app.api_route("/v1/videos/{video_id}", methods=_GET, tags=["videos"])
    def get_video(video_id: VideoId) -> VideoDetail:
        """Show a video: status, progress, beats, chunks, phases, error."""
        return service.detail(video_id)


def _add_steering_routes(app: FastAPI, service: VideoService) -> None:
    @app.post("/v1/videos/{video_id}/cancel", status_code=202, tags=["videos"])
    async def cancel_video(video_id: VideoId) -> VideoDetail:
        """Cancel a video that is not over. Nothing more is sent for it; what is finished, and what it cost, is kept."""
        return await service.go_on(service.journal.cancel(video_id, by_service=True), video_id)

    @app.delete("/v1/videos/{video_id}", tags=["videos"])
    async def delete_video(video_id: VideoId) -> dict[str, Any]:
        """Delete a video that is over, with its history; 409 while it is not."""
        await service.journal.delete(video_id)
        return {"id": video_id, "object": "video.deleted", "deleted": True}

    @app.post("/v1/videos/{video_id}/continue", status_code=202, tags=["videos"])
    async def continue_video(video_id: VideoId) -> VideoDetail:
        """Approve the storyboard of a video that waits for that, and have music and clips made."""
        return await service.go_on(service.journal.approve(None, video_id), video_id)

    @app.post("/v1/videos/{video_id}/beats/{beat_index}", status_code=202, tags=["videos"])
    async def edit_beat(video_id: VideoId, beat_index: BeatIndex, body: EditBeat) -> VideoDetail:
        """Make one beat anew, changed or once more, or go back to an earlier take; and so all that depends on it.

        What was made before is kept. 409 while the video is being made.
        """
        change = edit(None, video_id, beat_index, body.change(), service.journal, service.store)
        return await service.go_on(change, video_id)

    @app.post("/v1/videos/{video_id}/retry", status_code=202, tags=["videos"])
    async def retry_video(
        video_id: VideoId,
        resubmit: Annotated[
            bool, Query(description="Send again also what a provider did not answer.")
        ] = False,
        allow_missing: Annotated[
            bool, Query(description="Try nothing again: make a film without the beats that failed.")
        ] = False,
    ) -> VideoDetail:
        """Try what failed again, and make nothing else anew."""
        journal = service.journal
        again = (
            journal.allow_missing(None, video_id)
            if allow_missing
            else journal.retry(None, video_id, resubmit)
        )
        return await service.go_on(again, video_id)


def _add_media_routes(app: FastAPI, service: VideoService) -> None:
    media: dict[str, Any] = {"methods": _GET, "response_class": FileResponse, "tags": ["media"]}

    @app.api_route("/v1/videos/{video_id}/content", **media)
    def get_content(video_id: VideoId, request: Request) -> Response:
        """Get the finished MP4; `Range` is honoured. 409 while there is none."""
        return service.file(request, service.film(video_id), video_id)

    @app.api_route("/v1/videos/{video_id}/storyboard/{beat_index}", **media)
    def get_storyboard_image(
        video_id: VideoId, beat_index: BeatIndex, request: Request, take: Take = None
    ) -> Response:
        """Get the storyboard image of a beat; 409 while there is none, 404 if there is no such beat."""
        artifact = service.step_artifact(video_id, "image", beat_index, take)
        return service.file(request, artifact, f"{video_id}-beat-{beat_index}")

    @app.api_route("/v1/videos/{video_id}/chunks/{beat_index}", **media)
    def get_chunk(video_id: VideoId, beat_index: BeatIndex, request: Request, take: Take = None) -> Response:
        """Get the clip of a beat, also of a video that is not finished or never will be."""
        artifact = service.step_artifact(video_id, "chunk", beat_index, take)
        return service.file(request, artifact, f"{video_id}-beat-{beat_index}")
