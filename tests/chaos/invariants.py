"""What must hold of an installation whatever was killed: read from its journal, its artifacts and the ledger."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from raypipe.artifacts import ArtifactStore
from raypipe.config import Settings
from raypipe.errors import (
    ArtifactMissing,
    Cancelled,
    ContentRefused,
    DeliveryExpired,
    MediaError,
    ProviderRejected,
    TookTooLong,
)
from raypipe.journal import Event, Journal, StepKey, StepRecord, Token, VideoRecord
from raypipe.models import Kind, StepState, VideoState

#: seconds that a create which was on its way when its video was cancelled may take to arrive
ON_ITS_WAY = 2.0
#: kinds of events after which nothing may be created, until one after which it may again
_STOPS = ("video.cancelling", "video.cancelled")
_GOES_ON = ("video.started", "video.resumed", "video.edited")
#: codes of failures after which a job that was paid brings nothing, so that the step may be created again
NOTHING_TO_FETCH = [
    each.code
    for each in (ProviderRejected, ContentRefused, MediaError, DeliveryExpired, TookTooLong, Cancelled)
]
#: US dollars by which sums may differ
ROUNDING = 1e-6


class Create(NamedTuple):
    """A create as the provider's ledger has it."""

    token: Token
    #: the provider's id of the job
    job_id: str
    #: when it arrived (Unix seconds), and what it cost, in US dollars, where the ledger says
    at: float | None = None
    price: float | None = None

    @property
    def key(self) -> StepKey:
        """Which take of which step it was for."""
        return self.token[:3]


class Seen(NamedTuple):
    """What was noted of an installation while it ran."""

    #: ids of videos that somebody was told were accepted, and of those that somebody deleted
    accepted: Collection[str]
    deleted: Collection[str] = ()
    #: what the provider's ledger says
    creates: tuple[Create, ...] = ()
    #: rows of steps that were done at some moment
    done: Mapping[StepKey, StepRecord] = {}

    @property
    def has_prices(self) -> bool:
        """Whether the ledger says what creates cost."""
        return any(create.price is not None for create in self.creates)


def sent(settings: Settings) -> tuple[Create, ...]:
    """Read the simulated provider's ledger."""
    file = settings.simulated_ledger
    if file is None or not file.exists():
        return ()
    lines = map(json.loads, file.read_text().splitlines())
    return tuple(Create(Token.parse(line["token"]), line["job"], line.get("at")) for line in lines)


def vendor_creates(ledger: Path, prices: Mapping[Kind, float]) -> tuple[Create, ...]:
    """Read the ledger of a fake vendor that is told of webhooks: their addresses name the steps."""
    lines = map(json.loads, ledger.read_text().splitlines()) if ledger.exists() else ()
    return tuple(
        Create(
            Token.parse(parse_qs(urlsplit(line["webhook"]).query)["step"][0]),
            line["job"]["id"],
            line["at"],
            prices[Kind(line["job"]["kind"])],
        )
        for line in lines
        if line["what"] == "create"
    )


def creates(settings: Settings) -> Counter[tuple[str, str]]:
    """Count the simulated provider's creates of each video and step."""
    return Counter(create.key[:2] for create in sent(settings))


def broken(settings: Settings, video_ids: Iterable[str]) -> list[str]:
    """Return what does not hold of videos, by the simulated provider if by any: nothing, if all is well."""
    ids = set(video_ids)
    theirs = tuple(create for create in sent(settings) if create.token.video_id in ids)
    return violations(settings, Seen(ids, creates=theirs))


def violations(settings: Settings, seen: Seen) -> list[str]:
    """Return what does not hold of an installation at rest: nothing, if all is well."""
    journal = Journal(settings.journal_url)
    try:
        return [*_lost(journal, seen), *_wrong(settings, journal, seen)]
    finally:
        journal.close()


def _lost(journal: Journal, seen: Seen) -> Iterator[str]:
    found = journal.videos(seen.accepted)
    for video_id in sorted(seen.accepted):
        if video_id not in found and video_id not in seen.deleted:
            yield f"{video_id} was accepted and is lost"
    for video_id in sorted(
        {create.token.video_id for create in seen.creates} - {*seen.accepted, *seen.deleted}
    ):
        yield f"{video_id} was never accepted, and something was created for it"


def _wrong(settings: Settings, journal: Journal, seen: Seen) -> Iterator[str]:
    videos = journal.videos(seen.accepted)
    steps = journal.steps_of(videos)
    created: dict[str, list[Create]] = defaultdict(list)
    for create in seen.creates:
        created[create.token.video_id].append(create)
    store = ArtifactStore(settings.artifacts_url)
    for video_id, video in videos.items():
        if not (video.state.terminal or video.state is VideoState.WAITING):
            yield f"{video_id} is {video.state}"
        events, rows = journal.events(video_id), {_key(step): step for step in steps[video_id]}
        yield from _wrong_events(video_id, events)
        yield from _wrong_creates(rows, created[video_id], events)
        yield from _wrong_money(video, rows, created[video_id], seen.has_prices)
        for step in rows.values():
            yield from _wrong_artifact(store, step)
            yield from _changed(step, seen.done.get(_key(step)))
        for key in seen.done.keys() - rows.keys():
            if key[0] == video_id:
                yield f"{key} was done, and has no row any more"


def _key(step: StepRecord) -> StepKey:
    return step.video_id, step.step, step.take


def _wrong_events(video_id: str, events: list[Event]) -> Iterator[str]:
    seqs, ids = [event.seq for event in events], [event.id for event in events]
    if ids != sorted(set(ids)):
        yield f"the ids of the events of {video_id} do not increase: {ids}"
    if seqs != list(range(1, len(seqs) + 1)):
        yield f"the events of {video_id} are numbered {seqs}"


def _wrong_creates(
    rows: Mapping[StepKey, StepRecord], creates: list[Create], events: list[Event]
) -> Iterator[str]:
    """Find creates beyond the first that are not told to be doubtful and that no failed job explains."""
    failed = Counter(
        (event.video_id, event.step, event.take)
        for event in events
        if event.kind == "step.failed" and event.data.get("code") in NOTHING_TO_FETCH
    )
    for key, number in Counter(create.key for create in creates).items():
        row = rows.get(key)
        if row is None:
            yield f"{key} was created, and has no row"
        elif number > 1 + failed[key] and not row.possible_duplicate:
            yield f"{key} was created {number} times, and its row does not say so"
    for token, number in Counter(create.token for create in creates).items():
        if number > 1:
            yield f"the same create, {token}, was sent {number} times"
    for create in creates:
        if create.at is not None and _is_stopped(events, create.at - ON_ITS_WAY):
            yield f"{create.key} was created after its video was cancelled"


def _is_stopped(events: list[Event], at: float) -> bool:
    """Tell whether a video was cancelled by then, and not gone on with within what a create may take to arrive."""
    told = [event for event in events if event.kind in (*_STOPS, *_GOES_ON) and event.at < at]
    soon = any(event.kind in _GOES_ON and at <= event.at <= at + ON_ITS_WAY for event in events)
    return bool(told) and told[-1].kind in _STOPS and not soon


def _wrong_money(
    video: VideoRecord, rows: Mapping[StepKey, StepRecord], creates: list[Create], has_prices: bool
) -> Iterator[str]:
    """Compare what rows say was paid, or may have been, with what the ledger says."""
    spent = sum(row.cost for row in rows.values())
    if video.state.terminal and abs(video.cost - spent) > ROUNDING:
        yield f"{video.id} has cost {video.cost}, and its steps {spent}"
    paid: dict[StepKey, float] = defaultdict(float)
    for create in creates:
        paid[create.key] += create.price or 0.0
    for key, row in rows.items() if has_prices else ():
        at_most = row.cost + row.doubtful_cost + (row.reserved_cost or 0.0)
        if not row.cost - ROUNDING <= paid[key] <= at_most + ROUNDING:
            yield f"{key} has cost {row.cost}, at most {at_most}, and its creates {paid[key]}"


def _wrong_artifact(store: ArtifactStore, step: StepRecord) -> Iterator[str]:
    if step.state is not StepState.DONE:
        return
    if step.artifact is None:
        yield f"{step.video_id} {step.step} is done and has no artifact"
        return
    try:
        data = store.get(step.artifact)
    except ArtifactMissing:
        yield f"{step.video_id} {step.step}: its artifact is missing"
        return
    if hashlib.sha256(data).hexdigest() != step.artifact.digest:
        yield f"{step.video_id} {step.step}: its artifact is not what its name says"


def _changed(now: StepRecord, before: StepRecord | None) -> Iterator[str]:
    if before is not None and now != before:
        names = [name for name in type(now).model_fields if getattr(now, name) != getattr(before, name)]
        yield f"{_key(now)} was done and has changed: {', '.join(names)}"
