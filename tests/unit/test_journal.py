"""The journal, on a real database file."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from raypipe.errors import JournalUnavailable, VideoNotFound
from raypipe.journal import Event, Journal, Recorder, StepRecord, VideoRecord, new_video_id
from raypipe.models import (
    Artifact,
    Beat,
    Phase,
    PhaseOutput,
    PhaseStatus,
    Size,
    Spec,
    StepState,
    VideoState,
)

SPEC = Spec(
    title="A title",
    prompt="a prompt",
    archetype="journey",
    duration=5,
    size=Size(width=64, height=36),
    style="cinematic",
    mood="calm",
    seed=1,
    provider="simulated",
    options={"clip": 0.1},
    followers_per_reference=1,
    beats=(
        Beat(
            beat_index=0,
            beat_id="x",
            start=0,
            duration=5,
            prompt="p",
            shot_type="wide",
            camera_movement="static",
        ),
    ),
)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'deep' / 'journal.db'}"


@pytest.fixture
def journal(url: str) -> Iterator[Journal]:
    opened = Journal(url)
    yield opened
    opened.close()


def add_video(journal: Journal) -> str:
    video = VideoRecord(id=new_video_id(), state=VideoState.QUEUED, spec=SPEC, created_at=time.time())
    plan = PhaseOutput(video_id=video.id, phase=Phase.PLAN, status=PhaseStatus.SUCCESS)
    journal.record(*journal.accepted(video, plan)).result()
    return video.id


def step(video_id: str, name: str = "chunk/0", **changes: object) -> StepRecord:
    record = StepRecord(
        video_id=video_id,
        step=name,
        phase=Phase.CHUNKS,
        beat_index=0,
        state=StepState.RUNNING,
        provider="simulated",
        intent_at=time.time(),
    )
    return record.evolve(**changes)


def test_an_accepted_video_is_there_with_its_plan_and_first_event_when_opened_again(url: str) -> None:
    journal = Journal(url)
    video_id = add_video(journal)
    journal.close()
    again = Journal(url)
    assert again.video(video_id).spec == SPEC
    assert again.phases(video_id)[Phase.PLAN].status is PhaseStatus.SUCCESS
    assert [event.kind for event in again.events(video_id)] == ["video.accepted"]
    again.close()


def test_ids_sort_by_the_time_they_were_made() -> None:
    ids = []
    for _ in range(20):
        ids.append(new_video_id())
        time.sleep(0.002)
    assert ids == sorted(ids)
    assert len(set(ids)) == 20


def test_a_queued_video_is_claimed_once_however_many_claim(journal: Journal, url: str) -> None:
    ids = {add_video(journal) for _ in range(20)}
    others = [Journal(url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        claims = list(pool.map(lambda number: others[number].claim(f"owner {number}", 10).result(), range(4)))
    claimed = [video.id for claim in claims for video in claim]
    assert sorted(claimed) == sorted(ids)
    first = next(video for claim in claims for video in claim)
    assert (first.state, first.epoch) == (VideoState.RUNNING, 1)
    assert first.lease_owner
    for other in others:
        other.close()


def test_claiming_takes_the_oldest_first(journal: Journal) -> None:
    ids = []
    for _ in range(3):
        ids.append(add_video(journal))
        time.sleep(0.002)
    assert [video.id for video in journal.claim("me", 2).result()] == ids[:2]


def test_a_step_says_what_was_written_last(journal: Journal) -> None:
    video_id = add_video(journal)
    artifact = Artifact(digest="a" * 64, size=1, media_type="video/mp4")
    running = step(video_id)
    done = running.evolve(state=StepState.DONE, artifact=artifact, cost=0.5)
    for record in (running, done):
        journal.record(journal.step(record))
    journal.record(journal.step(step(video_id, "chunk/1"))).result()
    assert [found.step for found in journal.steps(video_id)] == ["chunk/0", "chunk/1"]
    assert journal.steps(video_id)[0] == done


def test_events_are_numbered_without_gaps_by_many_writers(journal: Journal, url: str) -> None:
    video_id = add_video(journal)
    others = [journal, Journal(url), Journal(url)]

    def write(number: int) -> None:
        mine = others[number % 3]
        mine.record(mine.event(Event(video_id=video_id, kind=f"k{number}"))).result()

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(write, range(120)))
    events = journal.events(video_id)
    assert [event.seq for event in events] == list(range(1, 122))
    assert len({event.kind for event in events}) == 121
    assert [event.seq for event in journal.events(video_id, after=100)] == list(range(101, 122))
    for other in others[1:]:
        other.close()


def test_one_row_that_cannot_be_written_fails_alone(journal: Journal) -> None:
    video_id = add_video(journal)

    async def write() -> list[BaseException | None]:
        recorder = Recorder(journal)
        events = [Event(video_id=each, kind="x") for each in (video_id, "vid_unknown", video_id)]
        return await asyncio.gather(
            *(recorder.record(journal.event(event)) for event in events), return_exceptions=True
        )

    good, bad, also_good = asyncio.run(write())
    assert (good, also_good) == (None, None)
    assert isinstance(bad, JournalUnavailable)
    assert len(journal.events(video_id)) == 3


def test_a_finished_video_keeps_its_outcome(journal: Journal) -> None:
    video_id = add_video(journal)
    journal.record(
        journal.finish(video_id, VideoState.PARTIAL, cost=1.5, error_code="x", error_message="beat 2 failed")
    ).result()
    video = journal.video(video_id)
    assert (video.state, video.cost, video.error_message) == (VideoState.PARTIAL, 1.5, "beat 2 failed")
    assert video.finished_at


def test_lists_go_by_cursor_in_both_directions(journal: Journal) -> None:
    ids = sorted(add_video(journal) for _ in range(5))
    newest = journal.videos(limit=2)
    assert [video.id for video in newest] == ids[:2:-1]
    rest = journal.videos(limit=10, after=newest[-1].id)
    assert [video.id for video in rest] == ids[2::-1]
    assert [video.id for video in journal.videos(newest_first=False, after=ids[2])] == ids[3:]


def test_an_unknown_video_is_said_to_be_unknown(journal: Journal) -> None:
    with pytest.raises(VideoNotFound, match="vid_nothing"):
        journal.video("vid_nothing")


def test_a_journal_that_cannot_be_opened_says_where(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(JournalUnavailable, match="file"):
        Journal(f"sqlite:///{tmp_path}/file/journal.db")


def test_a_journal_of_another_version_is_refused(url: str) -> None:
    Journal(url).close()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("update schema_version set version = 99"))
    engine.dispose()
    with pytest.raises(JournalUnavailable, match="99"):
        Journal(url)


def test_every_commit_is_synced_to_disk(journal: Journal) -> None:
    with journal._engine.connect() as connection:
        assert connection.execute(text("pragma synchronous")).scalar() == 2
        assert connection.execute(text("pragma journal_mode")).scalar() == "wal"
