"""The journal, on a real database file."""

import asyncio
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, event, text

from raypipe.cli.lookup import open_for_writing
from raypipe.config import Settings
from raypipe.errors import (
    AnswerLost,
    JournalRowBroken,
    JournalTooNew,
    JournalUnavailable,
    LeaseLost,
    VideoNotFound,
)
from raypipe.journal import Event, Fence, Journal, Owner, StepRecord, VideoRecord, new_video_id
from raypipe.journal.tables import metadata
from raypipe.models import (
    Artifact,
    Beat,
    Chunk,
    Film,
    Kind,
    Phase,
    PhaseOutput,
    PhaseStatus,
    Result,
    Size,
    Spec,
    StepState,
    Track,
    VideoState,
)
from raypipe.snapshot import Snapshot
from tests.journals import claim, commit, commit_each, locked
from tests.patience import patience

SPEC = Spec(
    title="A title",
    prompt="a prompt",
    archetype="journey",
    duration=5,
    size=Size(width=64, height=36),
    style="cinematic",
    mood="calm",
    seed=1,
    models=dict.fromkeys(Kind, ("simulated",)),
    options={"simulated": {"clip": 0.1}},
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
    video, plan = new_video()
    commit(journal, *journal.accepted(video, plan))
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


def test_a_journal_that_is_opened_twice_in_a_process_is_not_split_by_another_process_that_closes_it(
    journal: Journal, url: str
) -> None:
    add_video(journal)
    Journal(url).close()
    look = f"from raypipe.journal import Journal as J; j = J({url!r}); print(*j.video_ids()); j.close()"

    def others_see() -> list[str]:
        ran = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
        return ran.stdout.split()

    assert len(others_see()) == 1
    add_video(journal)
    assert len(others_see()) == 2


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
        claims = list(pool.map(lambda number: claim(others[number], f"owner {number}"), range(4)))
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
    assert [video.id for video in claim(journal, "me", 2)] == ids[:2]


def test_a_step_says_what_was_written_last(journal: Journal) -> None:
    video_id = add_video(journal)
    artifact = Artifact(digest="a" * 64, size=1, media_type="video/mp4")
    running = step(video_id)
    made = Result(artifact=artifact, cost=0.5).model_dump(mode="json")
    done = running.evolve(state=StepState.DONE, result=made, cost=0.5)
    commit(journal, *map(journal.step, (running, done)))
    commit(journal, journal.step(step(video_id, "chunk/1")))
    assert [found.step for found in journal.steps(video_id)] == ["chunk/0", "chunk/1"]
    assert journal.steps(video_id)[0] == done
    assert journal.steps(video_id)[0].artifact == artifact


def test_events_are_numbered_without_gaps_by_many_writers(journal: Journal, url: str) -> None:
    video_id = add_video(journal)
    others = [journal, Journal(url), Journal(url)]

    def write(number: int) -> None:
        mine = others[number]
        events = [Event(video_id=video_id, kind=f"k{number}-{i}") for i in range(40)]
        assert commit_each(mine, [[mine.event(event)] for event in events]) == [None] * 40

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, range(3)))
    events = journal.events(video_id)
    assert [event.seq for event in events] == list(range(1, 122))
    assert len({event.kind for event in events}) == 121
    assert [event.seq for event in journal.events(video_id, after=100)] == list(range(101, 122))
    assert [event.id for event in events] == sorted({event.id for event in events})
    for other in others[1:]:
        other.close()


def test_one_row_that_cannot_be_written_fails_alone(journal: Journal) -> None:
    video_id = add_video(journal)

    events = [Event(video_id=each, kind="x") for each in (video_id, "vid_unknown", video_id)]
    good, bad, also_good = commit_each(journal, [[journal.event(event)] for event in events])
    assert (good, also_good) == (None, None)
    assert isinstance(bad, JournalUnavailable)
    assert len(journal.events(video_id)) == 3


def test_a_finished_video_keeps_its_outcome(journal: Journal) -> None:
    video_id = add_video(journal)
    end = {"cost": 1.5, "error_code": "x", "error_message": "beat 2 failed"}
    commit(journal, journal.finish(video_id, VideoState.PARTIAL, **end))
    video = journal.video(video_id)
    assert (video.state, video.cost, video.error_message) == (VideoState.PARTIAL, 1.5, "beat 2 failed")
    assert video.finished_at


def test_an_end_is_final(journal: Journal) -> None:
    video_id = add_video(journal)
    film = Artifact(digest="a" * 64, size=1, media_type="video/mp4")
    commit(journal, journal.finish(video_id, VideoState.COMPLETED, result=film.model_dump()))
    commit(journal, journal.finish(video_id, VideoState.CANCELLED))
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
    _change(url, "update alembic_version set version_num = '9999'")
    with pytest.raises(
        JournalTooNew, match=r"newer raypipe: its tables have version 9999.*Upgrade raypipe"
    ) as raised:
        Journal(url)
    assert not raised.value.retryable


@pytest.mark.parametrize("table", ["alembic_version", "schema_version", "users"])
def test_a_database_of_somebody_elses_is_left_alone(url: str, tmp_path: Path, table: str) -> None:
    (tmp_path / "deep").mkdir()
    _change(url, f"create table {table} (version_num text)")
    with pytest.raises(JournalUnavailable, match="not those of a raypipe journal"):
        Journal(url)


def test_a_journal_from_before_migrations_is_brought_up_to_date_with_all_that_was_made(url: str) -> None:
    path = Path(url.removeprefix("sqlite:///"))
    path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(path)) as old:
        old.executescript((Path(__file__).parent / "data" / "journal_before_migrations.sql").read_text())
    journal = Journal(url)
    snapshots = [Snapshot.read(journal, each) for each in journal.video_ids(newest_first=False)]
    states = [(each.video.state, each.video.runner) for each in snapshots]
    assert states == [
        (VideoState.COMPLETED, "local"),
        (VideoState.FAILED, "local"),
        (VideoState.WAITING, "local"),  # was running, and nobody runs it any more
        (VideoState.WAITING, "local"),
        (VideoState.COMPLETED, "local"),
        (VideoState.QUEUED, "service"),
    ]
    models = {name for each in snapshots for names in each.video.spec.models.values() for name in names}
    assert models == {"simulated"}
    assert snapshots[0].video.spec.options.keys() <= {"simulated"}
    steps = snapshots[0].steps
    assert {step.model for step in steps.values()} == {"simulated", None}
    assert Chunk.model_validate(steps["chunk/0"].result).frames == 121
    assert Chunk.model_validate(steps["chunk/1"].result).frames == 120
    assert Track.model_validate(steps["music_fit"].result).seconds == 10
    assert Film.model_validate(steps["stitch"].result).artifact == snapshots[0].video.result
    assert snapshots[2].steps["chunk/0"].state is StepState.ACCEPTED
    events = [event for each in snapshots for event in journal.events(each.video.id)]
    assert sorted(event.id for event in events) == list(range(1, len(events) + 1))
    commit(journal, journal.event(Event(video_id=snapshots[0].video.id, kind="new")))
    assert [video.id for video in claim(journal, "me")] == [snapshots[5].video.id]
    journal.close()


def test_migrations_make_the_tables_that_the_code_describes(journal: Journal) -> None:
    with journal._engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_tables_are_not_changed_under_a_coordinator_that_lives(journal: Journal, url: str) -> None:
    asyncio.run(journal.renew(Owner("alive", "service")))
    _change(url, "update alembic_version set version_num = '0002'")
    with pytest.raises(JournalUnavailable, match="in use by an older raypipe"):
        Journal(url)


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
    for attempt in range(3):
        url = f"sqlite:///{tmp_path}/{attempt}/journal.db"
        told, said = processes.Barrier(8), processes.Queue()
        started = [processes.Process(target=_open_when_told, args=(url, told, said)) for _ in range(8)]
        for process in started:
            process.start()
        assert [said.get(timeout=patience(30)) for _ in started] == ["opened"] * 8
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
    assert [video.id for video in claim(journal, "me")] == sorted([good, also_good])
    with create_engine(url).connect() as connection:
        state = connection.execute(text("select state from videos where id = :id"), {"id": bad}).scalar()
    assert state == "failed"
    assert claim(journal, "me") == []


def test_a_video_queued_by_its_owner_is_claimed_by_its_owner_alone(journal: Journal) -> None:
    video = VideoRecord(
        id=new_video_id(),
        state=VideoState.QUEUED,
        runner="service",
        spec=SPEC,
        created_at=1,
        lease_owner="me",
    )
    plan = PhaseOutput(video_id=video.id, phase=Phase.PLAN, status=PhaseStatus.SUCCESS)
    commit(journal, *journal.accepted(video, plan))
    anybodys = add_video(journal)
    asyncio.run(journal.renew(Owner("me", "service")))
    assert [each.id for each in claim(journal, "you")] == [anybodys]
    assert [each.id for each in claim(journal, "me", own_only=True)] == [video.id]


def test_a_write_that_fails_whatever_the_exception_fails_alone_and_the_next_is_written(
    journal: Journal,
) -> None:
    video_id = add_video(journal)
    lone = Event(video_id=video_id, kind="k", step="\ud83d")
    unserialisable = Event(video_id=video_id, kind="k").model_copy(update={"data": {"x": 1}})
    bad = [journal.event(lone), journal.event(unserialisable)._replace(row={"e_data": object()})]
    good = journal.event(Event(video_id=video_id, kind="good"))
    problems = commit_each(journal, [[write] for write in (bad[0], good, bad[1], good)])
    assert [problem is None for problem in problems] == [False, True, False, True]
    assert [event.kind for event in journal.events(video_id)] == ["video.accepted", "good", "good"]


@contextmanager
def losing_answers(journal: Journal, number: int) -> Iterator[list[str]]:
    """Have the answers of so many commits be lost that were carried out; gives what was committed, as SQL."""
    committed: list[str] = []

    def lose(*arguments: Any) -> None:
        statement = arguments[2]
        if statement == "COMMIT":
            committed.append(statement)
            if len(committed) <= number:
                raise sqlite3.OperationalError("disk I/O error")

    engine = journal.writer._engine
    event.listen(engine, "after_cursor_execute", lose)
    try:
        yield committed
    finally:
        event.remove(engine, "after_cursor_execute", lose)


def new_video() -> tuple[VideoRecord, PhaseOutput]:
    video = VideoRecord(
        id=new_video_id(), state=VideoState.QUEUED, runner="service", spec=SPEC, created_at=time.time()
    )
    return video, PhaseOutput(video_id=video.id, phase=Phase.PLAN, status=PhaseStatus.SUCCESS)


@pytest.mark.parametrize("daily_budget", [None, 100.0], ids=["rows", "a function"])
def test_a_video_whose_commit_was_carried_out_and_not_answered_is_accepted_once(
    journal: Journal, daily_budget: float | None
) -> None:
    video, plan = new_video()
    rows = journal.accepted(video, plan)
    with losing_answers(journal, 2) as commits:
        assert asyncio.run(journal.accept(video, rows, daily_budget)) == video.id
    assert len(commits) == 3
    assert journal.video_ids() == [video.id]


def test_who_asked_for_what_may_be_committed_is_told_that_it_may_be(journal: Journal) -> None:
    video, plan = new_video()
    with losing_answers(journal, 1_000), pytest.raises(AnswerLost, match="disk I/O error"):
        asyncio.run(journal.accept(video, journal.accepted(video, plan), None, patience=0.1))
    assert journal.video_ids() == [video.id]


def test_a_request_nobody_waits_for_any_more_stops_no_other(journal: Journal) -> None:
    video_id = add_video(journal)

    async def write() -> None:
        given_up = journal.writer.put(journal.event(Event(video_id=video_id, kind="given up")))
        given_up.cancel()
        await journal.writer.put(journal.event(Event(video_id=video_id, kind="next")))

    asyncio.run(write())
    assert [event.kind for event in journal.events(video_id)] == ["video.accepted", "next"]


def test_a_write_to_a_closed_journal_fails_and_does_not_hang(url: str) -> None:
    journal = Journal(url)
    video_id = add_video(journal)
    journal.close()
    with pytest.raises(JournalUnavailable, match="closed"):
        commit(journal, journal.event(Event(video_id=video_id, kind="late")))


def test_while_the_journal_is_locked_the_loop_goes_on_and_then_all_is_written_in_order(
    journal: Journal, url: str
) -> None:
    video_id = add_video(journal)

    async def test() -> float:
        with locked(url.removeprefix("sqlite:///")):
            writing = [
                journal.writer.put(journal.event(Event(video_id=video_id, kind=f"k{i}"))) for i in range(50)
            ]
            longest, last = 0.0, time.monotonic()
            for _ in range(100):
                await asyncio.sleep(0.01)
                longest, last = max(longest, time.monotonic() - last), time.monotonic()
            assert not any(future.done() for future in writing)
        await asyncio.gather(*writing)
        return longest

    assert asyncio.run(test()) < patience(0.3), "nothing blocks the loop while it waits"
    kinds = [event.kind for event in journal.events(video_id)]
    assert kinds == ["video.accepted", *(f"k{i}" for i in range(50))]


def test_a_lock_that_outlasts_ones_patience_fails_ones_write_alone(journal: Journal, url: str) -> None:
    video_id = add_video(journal)

    async def test() -> None:
        with locked(url.removeprefix("sqlite:///")):
            hasty = journal.writer.put(journal.event(Event(video_id=video_id, kind="hasty")), patience=0.1)
            patient = journal.writer.put(journal.event(Event(video_id=video_id, kind="patient")))
            with pytest.raises(JournalUnavailable, match="locked"):
                await hasty
        await patient

    asyncio.run(test())
    assert [event.kind for event in journal.events(video_id)] == ["video.accepted", "patient"]


def test_who_has_lost_a_video_writes_nothing_more_of_it(journal: Journal) -> None:
    lost, kept = add_video(journal), add_video(journal)
    claim(journal, "first")
    with journal._engine.begin() as connection:  # its lease has run out
        connection.execute(text("update coordinators set lease_until = 1"))
    (mine,) = claim(journal, "second", 1)
    assert (mine.id, mine.epoch) == (lost, 2)

    async def write() -> list[BaseException | None]:
        fences = [Fence(lost, 1), Fence(kept, 1), Fence(lost, 2)]
        asked = [
            journal.writer.put(
                journal.event(Event(video_id=each.video_id, kind=f"by {each.epoch}")), fence=each
            )
            for each in fences
        ]
        return await asyncio.gather(*asked, return_exceptions=True)

    stale, other, new = asyncio.run(write())
    assert isinstance(stale, LeaseLost)
    assert (other, new) == (None, None)
    assert [event.kind for event in journal.events(lost)] == ["video.accepted", "by 2"]


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


def test_after_a_power_cut_all_that_was_acknowledged_is_there(
    journal: Journal, url: str, tmp_path: Path
) -> None:
    """What a power cut may take is what was not synced: everything behind the end that the log had at an answer."""
    path = Path(url.removeprefix("sqlite:///"))
    log = path.with_name("journal.db-wal")
    video_id = add_video(journal)
    answered = []
    for number in range(12):
        commit(journal, journal.event(Event(video_id=video_id, kind=f"k{number}")))
        answered.append((path.read_bytes(), log.read_bytes()))
    for number, (database, frames) in enumerate(answered):
        unanswered = answered[-1][1][len(frames) : len(frames) + 700]  # the next commit, cut off
        for kind, torn in enumerate((b"", bytes(500), unanswered)):
            copy = tmp_path / f"copy {number} {kind}" / "journal.db"
            copy.parent.mkdir()
            copy.write_bytes(database)
            copy.with_name("journal.db-wal").write_bytes(frames + torn)
            again = Journal(f"sqlite:///{copy}")
            kinds = [event.kind for event in again.events(video_id)]
            assert kinds == ["video.accepted", *(f"k{i}" for i in range(number + 1))]
            again.close()
