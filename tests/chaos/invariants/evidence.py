"""What an installation has left: its journal's rows, its artifacts, its vendor's ledger, and what was noted of it."""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from sqlalchemy import Table, select

from raypipe.artifacts import ArtifactStore
from raypipe.config import Settings
from raypipe.errors import JournalRowBroken
from raypipe.journal import (
    INTERRUPTED,
    UNDER_WAY,
    Event,
    Journal,
    StepKey,
    StepRecord,
    Token,
    VideoRecord,
    tables,
)
from raypipe.journal.webhooks import KINDS
from raypipe.models import Kind, Phase, PhaseOutput, VideoState


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
    #: ids of messages that webhooks have taken; None where nobody listens
    told: Collection[str] | None = None

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


def key_of(step: StepRecord) -> StepKey:
    """Return which take of which step a row is of."""
    return step.video_id, step.step, step.take


class VideoEvidence(NamedTuple):
    """All that there is of one video."""

    video: VideoRecord
    steps: Mapping[StepKey, StepRecord]
    phases: Mapping[Phase, PhaseOutput]
    events: list[Event]
    #: what the provider's ledger says of it, and whether with prices
    creates: list[Create]
    has_prices: bool
    #: its steps as they were when they were first seen to be done
    done: Mapping[StepKey, StepRecord]
    store: ArtifactStore

    @property
    def rests(self) -> bool:
        """Whether nothing is to happen to it by itself; one that was interrupted stands where it stood."""
        video = self.video
        return video.state.terminal or (video.state is VideoState.WAITING and video.error_code != INTERRUPTED)

    @property
    def in_use(self) -> dict[str, StepRecord]:
        """Its steps at the takes that its spec has, by their names."""
        takes = self.video.spec.takes
        return {step.step: step for step in self.steps.values() if step.take == takes.get(step.step, 1)}

    @property
    def committed(self) -> float:
        """US dollars that its steps have cost, may have cost and have reserved."""
        return sum(
            step.cost + step.doubtful_cost + (step.reserved_cost or 0.0) for step in self.steps.values()
        )

    def events_of(self, key: StepKey) -> list[Event]:
        """Return what happened to a take of a step; that a webhook came says nothing of its state."""
        _, step, take = key
        happened = [event for event in self.events if (event.step, event.take) == (step, take)]
        return [event for event in happened if event.kind != "step.hinted"]


class Evidence(NamedTuple):
    """All that there is of an installation at rest."""

    settings: Settings
    journal: Journal
    seen: Seen
    #: when it was read, in Unix seconds
    at: float

    def rows(self, table: Table) -> list[Any]:
        """Read all rows of a table, in the order of its key."""
        query = select(table).order_by(*table.primary_key.columns)
        return list(self.journal._read(query, table.name))

    def ids(self, table: Table) -> set[str]:
        """Read which videos a table's rows name."""
        column = table.c.id if table.name == "videos" else table.c.video_id
        return {row[0] for row in self.journal._read(select(column).distinct(), table.name)}

    def videos(self) -> Iterator[VideoEvidence | str]:
        """Read all that there is of each accepted video; of one whose rows cannot be read, what is wrong with them."""
        created: dict[str, list[Create]] = defaultdict(list)
        for create in self.seen.creates:
            created[create.token.video_id].append(create)
        store = ArtifactStore(self.settings.artifacts_url)
        for video_id in sorted(self.seen.accepted):
            try:
                video = self.journal.videos([video_id]).get(video_id)
                if video is not None:
                    yield self._of(video, created[video_id], store)
            except JournalRowBroken as error:
                yield str(error)

    def _of(self, video: VideoRecord, creates: list[Create], store: ArtifactStore) -> VideoEvidence:
        steps = {key_of(step): step for step in self.journal.steps(video.id)}
        done = {key: step for key, step in self.seen.done.items() if key[0] == video.id}
        phases, events = self.journal.phases(video.id), self.journal.events(video.id)
        return VideoEvidence(video, steps, phases, events, creates, self.seen.has_prices, done, store)


class UnderWay(NamedTuple):
    """What is still to happen by itself, each as a sentence."""

    videos: list[str]
    #: of videos that have ended
    steps: list[str]
    messages: list[str]


def under_way(journal: Journal, video_ids: Collection[str]) -> UnderWay:
    """Name which videos are not at rest, and which steps are under way though their videos have ended."""
    videos = journal.videos(video_ids)
    made = [video for video in videos.values() if not video.state.terminal]
    moving = [f"{video.id} is {video.state}" for video in made if video.state is not VideoState.WAITING]
    ended = videos.keys() - {video.id for video in made}
    steps = [step for rows in journal.steps_of(ended).values() for step in rows if step.state in UNDER_WAY]
    left = [f"{step.step} of {step.video_id} is {step.state}" for step in steps]
    return UnderWay(moving, left, untold(journal))


def untold(journal: Journal) -> list[str]:
    """Name what webhooks have still to be told, as far as it is written down, and events that nobody has looked at."""
    hooks, messages, events = tables.webhooks.c, tables.webhook_messages.c, tables.events.c
    enabled = select(hooks.id).where(hooks.disabled_at.is_(None))
    if not journal._read(enabled, "webhooks"):
        return []
    pending = select(messages.id).where(messages.ended_at.is_(None), messages.webhook_id.in_(enabled))
    upto = select(tables.installation.c.told_upto).scalar_subquery()
    unseen = select(events.id).where(events.id > upto, events.kind.in_(KINDS))
    return [
        *(f"the message {row.id} is not told yet" for row in journal._read(pending, "messages")),
        *(f"nobody has begun to tell of the event {row.id}" for row in journal._read(unseen, "events")),
    ]
