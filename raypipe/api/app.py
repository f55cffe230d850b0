"""The HTTP API: it reads and writes the journal, and starts nothing itself."""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Annotated, Any, Literal, TypeVar

from fastapi import Depends, FastAPI, Header, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse
from fastapi_offline import FastAPIOffline
from sse_starlette import EventSourceResponse

from raypipe.api import callers, events, failures, hooks
from raypipe.api.access import AccessLog
from raypipe.api.bodies import (
    CreateVideo,
    EditBeat,
    ErrorBody,
    OpenAIStatus,
    VideoDetail,
    VideoPage,
    VideoSummary,
    accepted,
)
from raypipe.api.callers import Calling, FollowedId, KnownCallers, VideoId
from raypipe.api.commits import SaysCommitted, say_committed
from raypipe.api.forms import FORMS, FormAsJson
from raypipe.api.limits import BodyLimit
from raypipe.api.origins import OwnPagesOnly
from raypipe.api.page import NotFramed, add_page
from raypipe.api.places import Places
from raypipe.api.queries import known_query
from raypipe.api.service import ArtifactResponse, Variant, VideoService
from raypipe.api.shares import Shares
from raypipe.api.views import ModelList, Plan, TimelineView, timeline_view
from raypipe.api.webhooks import add_webhook_routes
from raypipe.config import Settings
from raypipe.errors import JournalUnavailable, NotReady
from raypipe.journal.records import VIDEO_ID
from raypipe.models import Dollars
from raypipe.snapshot import Snapshot

#: seconds after which to ask again for a video that is not over
POLL_SECONDS = 1
#: longest time, in seconds, that a request waits for its video
LONGEST_WAIT = 60.0

logger = logging.getLogger(__name__)

RouteT = TypeVar("RouteT", bound=Callable[..., Any])

IdempotencyKey = Annotated[
    str | None, Header(min_length=1, max_length=255, description="Names this request, if it is sent again.")
]
BeatIndex = Annotated[int, PathParameter(ge=0, le=100_000, description="Which beat, from 0.")]
LastEventId = Annotated[str | None, Header(description="Id of the last event already seen.")]
After = Annotated[
    int | None, Query(ge=0, lt=2**63, description="The same, for clients that cannot set headers.")
]
Take = Annotated[
    int | None,
    Query(
        ge=1,
        le=100_000,
        description="Which take of it, as `takes` says; left out: the one in use.",
    ),
]
_ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorBody, "description": "The request cannot be fulfilled; the body says why."}
}


def _get(app: FastAPI, path: str, **options: Any) -> Callable[[RouteT], RouteT]:
    """Route GET, which the API's description shows, and HEAD."""

    def add(route: RouteT) -> RouteT:
        app.head(path, **{**options, "include_in_schema": False})(route)
        return app.get(path, **options)(route)

    return add


async def _nobody_knows() -> str | None:
    """Say nothing against being ready: this process is told of no coordinator."""
    return None


def create_app(
    settings: Settings,
    poke: Callable[[], None] = lambda: None,
    ready: Callable[[], Awaitable[str | None]] = _nobody_knows,
) -> FastAPI:
    """Make the API of an installation.

    Args:
        settings: Where the journal and the artifacts are.
        poke: Called after a video was committed, to tell a coordinator that it need not wait for its next look.
        ready: Says why no videos are made at the moment; None if they are.

    Raises:
        JournalUnavailable: The journal cannot be opened.
    """
    # FastAPI's own pages load their scripts from a CDN, which a machine may not reach
    app = FastAPIOffline(
        title="raypipe",
        description="One prompt in, one finished multi-scene video out. In the shape of OpenAI's videos API.",
        responses=_ERRORS,
        dependencies=[Depends(known_query)],
    )
    service = VideoService(settings, poke)
    app.state.journal = service.journal
    app.add_middleware(SaysCommitted)
    app.add_middleware(FormAsJson)
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes)
    app.add_middleware(KnownCallers, settings=settings, journal=service.journal)
    app.add_middleware(OwnPagesOnly, settings=settings)
    app.add_middleware(Shares, settings=settings)
    app.add_middleware(NotFramed)
    app.add_middleware(AccessLog)
    failures.install(app)
    _add_routes(app, service)
    _add_health_routes(app, service, ready)
    add_page(app)
    callers.add_sessions(app, settings, service.journal)
    add_webhook_routes(app, settings, service.journal)
    hooks.add_route(app, hooks.Hooks(settings, service.journal, service.store))
    return app


def _add_routes(app: FastAPI, service: VideoService) -> None:
    _add_video_routes(app, service)
    _add_reading_routes(app, service)
    _add_planning_routes(app, service)
    _add_steering_routes(app, service)
    _add_media_routes(app, service)
    _add_event_routes(app, service)


def _add_health_routes(
    app: FastAPI, service: VideoService, ready: Callable[[], Awaitable[str | None]]
) -> None:
    places = Places(service.settings, service.store)

    @_get(app, "/healthz", tags=["service"])
    def health() -> dict[str, str]:
        """Tell whether new videos can be accepted and kept: the journal and the artifacts can be read and written.

        507 where a disk is full, or less is free than RAYPIPE_MIN_FREE_MIB; 503 where something else is wrong.
        """
        service.journal.video_ids(limit=1)
        if service.journal.read_only:
            raise JournalUnavailable("The journal can only be read: no video can be accepted.")
        places.check()
        return {"status": "ok"}

    @_get(app, "/readyz", tags=["service"])
    async def readiness() -> dict[str, str]:
        """Tell whether videos can be accepted and are made: the journal, the coordinator and its gateways answer."""
        await asyncio.to_thread(health)
        reason = await ready()
        if reason is not None:
            logger.warning("Not ready: %s", reason)
            raise NotReady(f"Videos are accepted and wait: {reason}.")
        return {"status": "ok"}


def _waits(prefer: str | None) -> float | None:
    """Return for how long a request is to wait (RFC 7240); None if it does not say."""
    match = re.search(r"(?:^|[\s,;])wait=(\d{1,6})(?:$|[\s,;])", prefer or "")
    return None if match is None else min(float(match[1]), LONGEST_WAIT)


#: says that the body may be a form with the same fields
_OR_FORM: dict[str, Any] = {
    "requestBody": {
        "content": {FORMS[0]: {"schema": {"$ref": "#/components/schemas/CreateVideo"}}},
        "required": True,
    }
}


def _add_video_routes(app: FastAPI, service: VideoService) -> None:
    @app.post("/v1/videos", status_code=202, tags=["videos"], openapi_extra=_OR_FORM)
    async def create_video(
        body: CreateVideo,
        caller: Calling,
        request: Request,
        response: Response,
        idempotency_key: IdempotencyKey = None,
        prefer: Annotated[
            str | None, Header(description="wait=N: answer at its end, or after N seconds.")
        ] = None,
    ) -> VideoSummary:
        """Accept a video. It is committed when this answers, and made whether or not anybody waits for it.

        A request that is sent again within a day under the same Idempotency-Key makes no second video; 410 if the one
        that it made has been deleted.
        """
        video, replayed = await service.create(body, caller, idempotency_key)
        response.headers["Location"] = f"/v1/videos/{video.id}"
        if replayed:
            response.headers["Idempotency-Replayed"] = "true"
        seconds = _waits(prefer)
        if seconds is not None:
            await say_committed(request)  # what only waits takes no place from others
            response.headers["Preference-Applied"] = f"wait={seconds:g}"
        shown = Snapshot(video, (), {}, time.time())
        if replayed or seconds is not None:
            # it is accepted: where it cannot be read now, a refusal would have it sent again
            with suppress(JournalUnavailable):
                shown = await service.ended(video.id, seconds or 0.0)
        return accepted(shown, service.settings.prices, body.notes)

    @_get(app, "/v1/videos", tags=["videos"])
    def list_videos(
        caller: Calling,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        after: Annotated[str | None, Query(pattern=VIDEO_ID, description="The last id already seen.")] = None,
        order: Annotated[Literal["asc", "desc"], Query(description="Oldest or newest first.")] = "desc",
        status: Annotated[OpenAIStatus | None, Query(description="Only these.")] = None,
    ) -> VideoPage:
        """List videos."""
        return service.page(caller.tenant, limit, after, order == "desc", status)


def _add_reading_routes(app: FastAPI, service: VideoService) -> None:
    @_get(app, "/v1/videos/{video_id}", tags=["videos"])
    def get_video(video_id: VideoId, response: Response) -> VideoDetail:
        """Show a video: status, progress, beats, chunks, phases, error. Headers say when to ask again."""
        found = service.detail(video_id)
        if found.status in ("queued", "in_progress"):
            response.headers["Retry-After"] = str(POLL_SECONDS)
            response.headers["openai-poll-after-ms"] = str(1_000 * POLL_SECONDS)
        return found

    @_get(app, "/v1/videos/{video_id}/timeline", tags=["videos"])
    def get_timeline(video_id: VideoId) -> TimelineView:
        """Show what ran when, as bars."""
        return timeline_view(service.chart(video_id))


def _add_planning_routes(app: FastAPI, service: VideoService) -> None:
    @app.post("/v1/plans", tags=["videos"], openapi_extra=_OR_FORM)
    async def plan_video(body: CreateVideo, caller: Calling) -> Plan:
        """Plan a video without making it: its beats, to be edited, and what it would cost."""
        return await service.plan(body, caller)

    @_get(app, "/v1/models", tags=["service"])
    def list_models() -> ModelList:
        """List the models that requests can name."""
        return ModelList(data=service.models())


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
    async def continue_video(
        video_id: VideoId,
        caller: Calling,
        budget: Annotated[
            Dollars | None, Query(description="US dollars that the video may cost from now on.")
        ] = None,
    ) -> VideoDetail:
        """Go on with a video that waits: its storyboard is approved by that, or there is money for it again."""
        return await service.go_on(service.journal.continue_(None, video_id, caller.key, budget), video_id)

    @app.post("/v1/videos/{video_id}/beats/{beat_index}", status_code=202, tags=["videos"])
    async def edit_beat(
        video_id: VideoId, beat_index: BeatIndex, body: EditBeat, caller: Calling
    ) -> VideoDetail:
        """Make one beat anew, changed or once more, or go back to an earlier take; and so all that depends on it.

        What was made before is kept. 409 while the video is being made.
        """
        return await service.changed(video_id, beat_index, body.change(), caller.key)

    @app.post("/v1/videos/{video_id}/retry", status_code=202, tags=["videos"])
    async def retry_video(
        video_id: VideoId,
        caller: Calling,
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
            journal.allow_missing(None, video_id, caller.key)
            if allow_missing
            else journal.retry(None, video_id, resubmit, caller.key)
        )
        return await service.go_on(again, video_id)


def _add_event_routes(app: FastAPI, service: VideoService) -> None:
    streams: dict[str, Any] = {"tags": ["events"], "response_class": EventSourceResponse}

    @app.get("/v1/events", **streams)
    async def follow_all(caller: Calling, last_event_id: LastEventId = None, after: After = None) -> Response:
        """Follow what happens to all the caller's videos, from now on, as server-sent events.

        Each has an id; who comes back with it as Last-Event-ID misses nothing and gets nothing twice.
        """
        seen = _seen(last_event_id, after)
        if seen is None:
            return events.stream(service.tail.follow(None, tenant=caller.tenant))
        start = await service.tail.start(seen)
        return events.stream(service.tail.follow(start.seen, tenant=caller.tenant), start.notice)

    @app.get("/v1/videos/{video_id}/events", **streams)
    async def follow_video(
        video_id: FollowedId, last_event_id: LastEventId = None, after: After = None
    ) -> Response:
        """Follow what happens to one video, from its beginning until it is deleted, as server-sent events.

        Each has an id; who comes back with it as Last-Event-ID misses nothing and gets nothing twice.
        """
        start = await service.tail.start(_seen(last_event_id, after) or 0, anew=0)
        await asyncio.to_thread(service.check_news, video_id, start.seen)
        return events.stream(service.tail.follow(start.seen, video_id), start.notice)


def _seen(header: str | None, after: int | None) -> int | None:
    """Return the id of the last event that a client has seen: what is no id of ours counts for nothing."""
    return int(header) if header is not None and header.isdecimal() and len(header) < 19 else after


def _add_media_routes(app: FastAPI, service: VideoService) -> None:
    media: dict[str, Any] = {"response_class": FileResponse, "tags": ["media"]}

    @_get(app, "/v1/videos/{video_id}/content", **media)
    def get_content(
        video_id: VideoId,
        request: Request,
        variant: Annotated[Variant, Query(description="The film, or a JPEG of it.")] = "video",
    ) -> Response:
        """Get the finished MP4; `Range` is honoured. 409 while there is none.

        Or a thumbnail, which is there with the first image, or a sheet of 25 frames in equal steps, five in a row.
        """
        if variant != "video":
            return ArtifactResponse(service.preview(video_id, variant), media_type="image/jpeg")
        return service.file(request, service.film(video_id), video_id)

    @_get(app, "/v1/videos/{video_id}/storyboard/{beat_index}", **media)
    def get_storyboard_image(
        video_id: VideoId, beat_index: BeatIndex, request: Request, take: Take = None
    ) -> Response:
        """Get the storyboard image of a beat; 409 while there is none, 404 if there is no such beat."""
        artifact = service.step_artifact(video_id, "image", beat_index, take)
        return service.file(request, artifact, f"{video_id}-beat-{beat_index}", take is not None)

    @_get(app, "/v1/videos/{video_id}/chunks/{beat_index}", **media)
    def get_chunk(video_id: VideoId, beat_index: BeatIndex, request: Request, take: Take = None) -> Response:
        """Get the clip of a beat, also of a video that is not finished or never will be."""
        artifact = service.step_artifact(video_id, "chunk", beat_index, take)
        return service.file(request, artifact, f"{video_id}-beat-{beat_index}", take is not None)
