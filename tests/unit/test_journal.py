"""The journal, on a real database file."""

import asyncio
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event, text

from raypipe.cli.lookup import open_for_writing
from raypipe.config import Settings
from raypipe.errors import JournalRowBroken, JournalTooNew, JournalUnavailable, VideoNotFound
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
from raypipe.snapshot import Snapshot

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


def test_an_end_is_final(journal: Journal) -> None:
    video_id = add_video(journal)
    film = Artifact(digest="a" * 64, size=1, media_type="video/mp4")
    journal.record(journal.finish(video_id, VideoState.COMPLETED, result=film.model_dump())).result()
    journal.record(journal.finish(video_id, VideoState.CANCELLED)).result()
    video = journal.video(video_id)
    assert (video.state, video.result) == (VideoState.COMPLETED, film)


def test_lists_go_by_cursor_in_both_directions(journal: Journal) -> None:
    ids = sorted(add_video(journal) for _ in range(5))
    newest = journal.video_ids(limit=2)
    assert newest == ids[:2:-1]
    assert journal.video_ids(limit=10, after=newest[-1]) == ids[2::-1]
    assert journal.video_ids(newest_first=False, after=ids[2]) == ids[3:]


def test_an_unknown_video_is_said_to_be_unknown(journal: Journal) -> None:
    with pytest.raises(VideoNotFound, match="vid_nothing"):
        journal.video("vid_nothing")


def test_a_journal_that_cannot_be_opened_says_where(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(JournalUnavailable, match="file"):
        Journal(f"sqlite:///{tmp_path}/file/journal.db")


def test_a_journal_newer_than_the_code_is_refused_with_a_sentence(url: str) -> None:
    Journal(url).close()
    _change(url, "update schema_version set version = 99")
    with pytest.raises(
        JournalTooNew, match=r"newer raypipe: its tables have version 99.*Upgrade raypipe"
    ) as raised:
        Journal(url)
    assert not raised.value.retryable


def test_a_database_of_somebody_elses_is_left_alone(url: str, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    _change(url, "create table alembic_version (version_num text)")
    with pytest.raises(JournalUnavailable, match="not those of a raypipe journal"):
        Journal(url)


def test_an_older_journal_is_brought_up_to_date_and_keeps_its_rows(url: str) -> None:
    journal = Journal(url)
    video_id = add_video(journal)
    journal.close()
    _change(url, "alter table phases drop column started_at", "update schema_version set version = 1")
    again = Journal(url)
    assert again.phases(video_id)[Phase.PLAN].started_at is None
    again.close()


def test_a_password_in_the_journals_url_is_not_told() -> None:
    with pytest.raises(JournalUnavailable) as raised:
        Journal("postgresql://user:very-secret@127.0.0.1:1/x")
    assert "very-secret" not in str(raised.value)
    with pytest.raises(JournalUnavailable) as raised:
        Journal("no url, but very-secret")
    assert "very-secret" not in str(raised.value)


def _open_when_told(url: str, told: Any, said: Any) -> None:
    told.wait()
    try:
        Journal(url).close()
    except Exception as error:  # noqa: BLE001 - said in the other process
        said.put(f"{type(error).__name__}: {error}")
    else:
        said.put("opened")


def test_processes_that_open_a_new_journal_together_all_succeed(tmp_path: Path) -> None:
    processes = multiprocessing.get_context("fork")
    for attempt in range(5):
        url = f"sqlite:///{tmp_path}/{attempt}/journal.db"
        told, said = processes.Barrier(4), processes.Queue()
        started = [processes.Process(target=_open_when_told, args=(url, told, said)) for _ in range(4)]
        for process in started:
            process.start()
        assert [said.get(timeout=30) for _ in started] == ["opened"] * 4
        for process in started:
            process.join()


@contextmanager
def unprivileged() -> Iterator[None]:
    """As nobody, where tests run as root, whom no permission stops."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize("log_too", [False, True])
@pytest.mark.parametrize("folder_too", [False, True])
def test_a_read_only_journal_can_still_be_read(folder_too: bool, log_too: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to nobody
        path = Path(folder) / "journal.db"
        journal = Journal(f"sqlite:///{path}")
        video_id = add_video(journal)
        if log_too:  # as a process that was killed leaves it: rows that stand in the write-ahead log alone
            left = {each: each.read_bytes() for each in (path, path.with_name("journal.db-wal"))}
            journal.close()
            path.with_name("journal.db-shm").unlink(missing_ok=True)
            for each, data in left.items():
                each.write_bytes(data)
                each.chmod(0o444)
        else:
            journal.close()
        path.chmod(0o444)
        Path(folder).chmod(0o555 if folder_too else 0o777)
        with unprivileged():
            again = Journal(f"sqlite:///{path}")
            assert again.video_ids() == [video_id]
            assert again.video(video_id).spec == SPEC
            assert again.read_only
            again.close()
            with pytest.raises(JournalUnavailable, match="can only be read"):
                open_for_writing(Settings(data_dir=Path(folder)))


@pytest.mark.parametrize(
    "damage",
    ["update videos set spec = '{}'", "update videos set spec = 'no json'", "update videos set state = 'x'"],
)
def test_a_broken_row_spoils_its_own_video_alone(journal: Journal, url: str, damage: str) -> None:
    good, bad, also_good = (add_video(journal) for _ in range(3))
    _change(url, f"{damage} where id = '{bad}'")
    with pytest.raises(JournalRowBroken, match="cannot be read"):
        journal.video(bad)
    found = Snapshot.read_many(journal, journal.video_ids())
    assert isinstance(found[bad], JournalRowBroken)
    assert isinstance(found[good], Snapshot)
    assert isinstance(found[also_good], Snapshot)


def test_a_spec_that_does_not_hold_together_is_a_broken_row(journal: Journal, url: str) -> None:
    good, bad = add_video(journal), add_video(journal)
    damage = "update videos set spec = json_set(spec, '$.beats[0].continues', json('true'))"
    _change(url, f"{damage} where id = '{bad}'")
    with pytest.raises(JournalRowBroken, match="does not hold together"):
        Snapshot.read(journal, bad)
    found = Snapshot.read_many(journal, [good, bad])
    assert isinstance(found[good], Snapshot)
    assert isinstance(found[bad], JournalRowBroken)


def test_a_broken_row_stops_no_claim(journal: Journal, url: str) -> None:
    good, bad, also_good = (add_video(journal) for _ in range(3))
    _change(url, f"update videos set spec = 'no json' where id = '{bad}'")  # noqa: S608 - our own
    assert [video.id for video in journal.claim("me", 10).result()] == sorted([good, also_good])
    with create_engine(url).connect() as connection:
        state = connection.execute(text("select state from videos where id = :id"), {"id": bad}).scalar()
    assert state == "failed"
    assert journal.claim("me", 10).result() == []


def test_a_video_queued_by_its_owner_is_claimed_by_its_owner_alone(journal: Journal) -> None:
    video = VideoRecord(id=new_video_id(), state=VideoState.QUEUED, spec=SPEC, created_at=1, lease_owner="me")
    plan = PhaseOutput(video_id=video.id, phase=Phase.PLAN, status=PhaseStatus.SUCCESS)
    journal.record(*journal.accepted(video, plan)).result()
    anybodys = add_video(journal)
    assert [each.id for each in journal.claim("you", 10).result()] == [anybodys]
    assert [each.id for each in journal.claim("me", 10, own_only=True).result()] == [video.id]


def test_a_write_that_fails_whatever_the_exception_fails_alone_and_the_next_is_written(
    journal: Journal,
) -> None:
    video_id = add_video(journal)
    lone = Event(video_id=video_id, kind="k", step="\ud83d")
    unserialisable = Event(video_id=video_id, kind="k").model_copy(update={"data": {"x": 1}})
    bad = [journal.event(lone), journal.event(unserialisable)._replace(row={"e_data": object()})]
    good = journal.event(Event(video_id=video_id, kind="good"))
    answers = [journal.record(write) for write in (bad[0], good, bad[1], good)]
    problems = [answer.exception(timeout=10) for answer in answers]
    assert [problem is None for problem in problems] == [False, True, False, True]
    assert [event.kind for event in journal.events(video_id)] == ["video.accepted", "good", "good"]


def test_a_request_nobody_waits_for_any_more_stops_no_other(journal: Journal) -> None:
    video_id = add_video(journal)
    held, go_on = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        held.set()
        go_on.wait(10)

    holding = journal._writer.transact(hold)
    held.wait(10)
    claim = journal.claim("me", 1)
    assert claim.cancel()
    go_on.set()
    holding.result(timeout=10)
    journal.record(journal.event(Event(video_id=video_id, kind="next"))).result(timeout=10)
    assert journal.video(video_id).state is VideoState.QUEUED


def test_a_write_to_a_closed_journal_fails_and_does_not_hang(url: str) -> None:
    journal = Journal(url)
    video_id = add_video(journal)
    journal.close()
    with pytest.raises(JournalUnavailable, match="closed"):
        journal.record(journal.event(Event(video_id=video_id, kind="late"))).result(timeout=5)


def test_a_page_of_videos_takes_three_queries_however_long_it_is(journal: Journal) -> None:
    ids = [add_video(journal) for _ in range(30)]
    asked: list[str] = []
    event.listen(journal._engine, "before_cursor_execute", lambda _c, _cur, sql, *_: asked.append(sql))
    assert len(Snapshot.read_many(journal, ids)) == 30
    assert len(asked) == 3


def _change(url: str, *statements: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def test_every_commit_is_synced_to_disk(journal: Journal) -> None:
    with journal._engine.connect() as connection:
        assert connection.execute(text("pragma synchronous")).scalar() == 2
        assert connection.execute(text("pragma journal_mode")).scalar() == "wal"
