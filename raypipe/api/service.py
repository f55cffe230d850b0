"""What the routes do: the journal and the artifacts, as HTTP needs them. Nothing is started here."""

import asyncio
import hashlib
import shutil
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from fastapi import Request, Response
from fastapi.responses import FileResponse, JSONResponse
from starlette.types import Message, Receive, Scope, Send

from raypipe.api import failures
from raypipe.api.bodies import (
    CreateVideo,
    OpenAIStatus,
    VideoDetail,
    VideoPage,
    broken,
    detail,
    states_of,
    summary,
)
from raypipe.api.callers import Caller
from raypipe.api.events import Tail
from raypipe.api.pictures import Pictures
from raypipe.api.views import ModelView, Plan, model_view, plan_view
from raypipe.artifacts import ArtifactStore
from raypipe.budgets import Customer
from raypipe.config import Settings
from raypipe.errors import (
    AnswerLost,
    ArtifactMissing,
    BeatNotFound,
    InvalidReferenceImage,
    JournalUnavailable,
    QueueFull,
    VideoDeleted,
    VideoNotFound,
    VideoNotReady,
)
from raypipe.intake import accept, check_room, edit, plan
from raypipe.journal import ApiKey, Idempotency, Journal, VideoRecord, Write
from raypipe.media.preview import sprite_sheet, thumbnail
from raypipe.models import Artifact, BeatEdit, Spec, StepState, VideoRequest, VideoState
from raypipe.private import make_folder
from raypipe.providers.registry import known_models
from raypipe.snapshot import Snapshot
from raypipe.timeline import Chart, chart_of

#: seconds for which a new video waits for a journal that is locked; then its client is told to come again
PATIENCE = 5.0
#: videos that are planned and committed at once; more would only wait for each other, and all of them longer
AT_ONCE = 16
#: threads in which strangers' pictures are decoded: however long they take, nothing else waits for them
DECODING = 4
#: small pictures that are kept; others are made again
PREVIEWS = 1_000
#: seconds between looks at a video whose end a client waits for
LOOK = 0.3
ResultT = TypeVar("ResultT")
Variant = Literal["video", "thumbnail", "spritesheet"]
_SUFFIXES = {"video/mp4": "mp4", "image/png": "png", "image/jpeg": "jpg"}


class VideoService:
    """The journal and the artifacts, as the routes need them."""

    def __init__(self, settings: Settings, poke: Callable[[], None]) -> None:
        self.settings, self.poke = settings, poke
        self.journal = Journal(settings.journal_url)
        self.store = ArtifactStore(settings.artifacts_url)
        self.tail = Tail(self.journal)
        self._pictures = Pictures(settings)
        self._creating = 0
        self._decoding = ThreadPoolExecutor(DECODING, thread_name_prefix="decoding")

    async def create(self, body: CreateVideo, caller: Caller, key: str | None) -> tuple[VideoRecord, bool]:
        """Plan and commit a video, or find the one that a request under the same key has made; tells whether it was so.

        Raises:
            QueueFull: As many are being planned and committed as can be in time.
            TenantLimit: The caller's key allows no more for now.
            VideoDeleted: The video that a request under the same key has made has been deleted since.
        """
        asked = None if key is None else Idempotency(key, _digest(body), caller.tenant)
        if asked is not None and (known := await self.journal.known(asked)) is not None:
            return await _read_made(self.journal.video, known), True
        if caller.key is not None:
            await self.journal.keys.check_room(caller.key)
        request = await self._with_pictures(body, caller)
        if self._creating >= AT_ONCE:
            raise QueueFull(
                f"{AT_ONCE} videos are being accepted at this moment; come again in a second.", 1.0
            )
        self._creating += 1
        try:
            video, rows = await self._aside(request, self._accepted, request, self._customer(caller))
            await self._note_uploads(video.spec, caller)  # before it is accepted: nothing may fail after that
            made = await self.journal.accept(
                video, rows, self.settings.daily_budget, PATIENCE, asked, caller.key
            )
        finally:
            self._creating -= 1
        if made != video.id:
            return await _read_made(self.journal.video, made), True
        self.poke()
        return video, False

    async def _with_pictures(self, body: CreateVideo, caller: Caller) -> VideoRequest:
        """Return a request that may be planned, with the pictures that it gives by their addresses fetched.

        Raises:
            InvalidReferenceImage: A picture is another's, or cannot be fetched.
        """
        request = body.request()
        if caller.key is not None:
            await asyncio.to_thread(self._check_named, request, caller.tenant)
        found = await self._pictures.fetch(request.pictures)
        return request.with_pictures(found) if found else request

    def _check_named(self, request: VideoRequest, tenant: str) -> None:
        """Check that a request names no pictures of others: to know a digest is no permission.

        Raises:
            InvalidReferenceImage: It does; it is said in the words that are said where there is no such picture.
        """
        for artifact in request.named_artifacts:
            if not self.journal.keys.may_name(tenant, artifact):
                raise InvalidReferenceImage(f"A picture cannot be used: {ArtifactMissing(artifact.digest)}")

    async def _note_uploads(self, spec: Spec, caller: Caller) -> None:
        """Let the caller name again the pictures that it has brought."""
        await self.journal.keys.note_uploads(caller.tenant, [each.digest for each in spec.named_artifacts])

    async def _aside(self, request: VideoRequest, function: Callable[..., ResultT], *args: Any) -> ResultT:
        """Call a function in a thread; where pictures are to be decoded, in one of a few that wait for that alone."""
        if not request.pictures:
            return await asyncio.to_thread(function, *args)
        return await asyncio.get_running_loop().run_in_executor(self._decoding, function, *args)

    def _customer(self, caller: Caller) -> Customer:
        return Customer(caller.tenant, caller.key, self.settings.trust_prices)

    def _accepted(self, request: VideoRequest, customer: Customer) -> tuple[VideoRecord, tuple[Write, ...]]:
        if self.journal.has_queued(self.settings.max_queued):
            raise QueueFull(
                f"{self.settings.max_queued} videos wait already (RAYPIPE_MAX_QUEUED); come again later."
            )
        return accept(request, self.settings, self.journal, self.store, customer=customer)

    async def ended(self, video_id: str, seconds: float) -> Snapshot:
        """Return a video that a request has made when it has ended or waits, or after so many seconds.

        Raises:
            VideoDeleted: It is deleted meanwhile.
        """
        deadline = time.monotonic() + seconds
        while True:
            state = (await _read_made(self.journal.video, video_id)).state
            if state.terminal or state is VideoState.WAITING or time.monotonic() > deadline:
                return await _read_made(partial(Snapshot.read, self.journal), video_id)
            await asyncio.sleep(LOOK)

    async def changed(
        self, video_id: str, beat_index: int, change: BeatEdit, key: ApiKey | None
    ) -> VideoDetail:
        """Have a beat made anew; a picture that the change gives by its address is fetched first."""
        found = await self._pictures.fetch([change.reference_image])
        if found:
            (picture,) = found.values()
            change = change.model_copy(update={"reference_image": picture})
        settings, journal, store = self.settings, self.journal, self.store
        edited = edit(None, video_id, beat_index, change, settings, journal, store, key)
        return await self.go_on(edited, video_id)

    def check_news(self, video_id: str, seen: int) -> None:
        """Check that there can be news of a video: of one that is deleted there is none after that it is.

        Raises:
            VideoNotFound: It is deleted, and who asks has been told so.
        """
        if not self.journal.events_after(seen, 1, video_id=video_id):
            self.journal.tenant_of(video_id)

    def detail(self, video_id: str) -> VideoDetail:
        """Read all of a video."""
        return detail(Snapshot.read(self.journal, video_id))

    async def go_on(self, change: Awaitable[Any], video_id: str) -> VideoDetail:
        """Commit a change of a video, tell the coordinator, and show the video.

        Raises:
            AnswerLost: The change is made, and the video cannot be read.
        """
        await change
        self.poke()
        try:
            return await asyncio.to_thread(self.detail, video_id)
        except JournalUnavailable as error:
            raise AnswerLost(f"Video {video_id} is changed, and cannot be shown now: {error}") from error

    def page(
        self, tenant: str, limit: int, after: str | None, newest_first: bool, status: OpenAIStatus | None
    ) -> VideoPage:
        """Read a page of videos."""
        ids = self.journal.video_ids(limit + 1, after, newest_first, states_of(status), tenant)
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
            if video.spec.other_takes:
                never += " of these takes: going back to an earlier take brings its film back"
            raise VideoNotReady(f"Video {video_id} is {video.state}: there is no MP4 of it{never}.")
        return video.result

    async def plan(self, body: CreateVideo, caller: Caller) -> Plan:
        """Plan a video; pictures it brings are stored, so that the plan can name them."""
        request = await self._with_pictures(body, caller)
        spec = await self._aside(request, self._planned, request, self._customer(caller))
        await self._note_uploads(spec, caller)
        return plan_view(spec, self.settings.prices, body.notes)

    def _planned(self, request: VideoRequest, customer: Customer) -> Spec:
        check_room(self.store, self.settings)
        return plan(request, "", self.settings, self.store, customer)

    def chart(self, video_id: str) -> Chart:
        """Draw what ran when."""
        snapshot = Snapshot.read(self.journal, video_id)
        ended = snapshot.video.finished_at or snapshot.now
        return chart_of(snapshot.title, snapshot.steps.values(), ended, snapshot.follows)

    def models(self) -> list[ModelView]:
        """Read the models of all providers that can be loaded, with whether their keys are there."""
        return [model_view(model, key) for model, key in known_models(self.settings)]

    def preview(self, video_id: str, variant: Variant) -> Path:
        """Find or make a small picture of a video: of its first image, or of its whole film."""
        thumb = variant == "thumbnail"
        shown = self.step_artifact(video_id, "image", 0, None) if thumb else self.film(video_id)
        path = self.settings.data_dir / "previews" / f"{shown.digest}-{variant}.jpg"
        if not path.exists():
            make_folder(path.parent)
            with self.store.scratch() as scratch:
                source, made = self.store.path_of(shown, scratch), scratch / "made"
                made.write_bytes(thumbnail(source.read_bytes()) if thumb else sprite_sheet(source))
                shutil.move(made, path)
            _keep_newest(path.parent, PREVIEWS)
        return path

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

    def file(self, request: Request, artifact: Artifact, name: str, lasting: bool = False) -> Response:
        """Answer with an artifact: ranges and HEAD as the client asks, named by its digest for caches.

        Only an address that is `lasting` gives the same for ever: what a beat shows changes with its takes.
        """
        keeps = "private, max-age=31536000, immutable" if lasting else "private, no-cache"
        headers = {"ETag": f'"{artifact.digest}"', "Cache-Control": keeps}
        known = request.headers.get("if-none-match", "")
        if artifact.digest in known or known.strip() == "*":
            return Response(status_code=304, headers=headers)
        path = self.store.path_of(artifact, self.settings.download_dir)
        filename = f"{name}.{_SUFFIXES.get(artifact.media_type, 'bin')}"
        return ArtifactResponse(
            path,
            media_type=artifact.media_type,
            filename=filename,
            headers={**headers, "X-Content-Type-Options": "nosniff"},
        )


async def _read_made(read: Callable[[str], ResultT], video_id: str) -> ResultT:
    """Read a video that a request has made.

    Raises:
        VideoDeleted: It has been deleted since.
    """
    try:
        return await asyncio.to_thread(read, video_id)
    except VideoNotFound as error:
        raise VideoDeleted(video_id) from error


def _keep_newest(folder: Path, number: int) -> None:
    """Remove the oldest files of a folder beyond so many."""
    files = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime)
    for file in files[: max(0, len(files) - number)]:
        file.unlink(missing_ok=True)


def _digest(body: CreateVideo) -> str:
    return hashlib.sha256(body.model_dump_json().encode()).hexdigest()


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
