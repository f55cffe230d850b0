"""The checker finds what it is there to find: each kind of damage, planted in what real videos have left."""

import asyncio
import json
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ray.cluster_utils import Cluster

from raypipe.artifacts import ArtifactStore
from raypipe.config import Settings
from raypipe.coordinator import Coordinator
from raypipe.journal import Idempotency, Journal, StepRecord, Token, WebhookRecord
from raypipe.journal.idempotency import remember
from raypipe.models import StepState, VideoState
from tests.chaos.account_limits import FAKE, MODELS
from tests.chaos.installation import PRICES
from tests.chaos.invariants import (
    INSTALLATION,
    OF_A_VIDEO,
    Create,
    Seen,
    events,
    installation,
    money,
    steps,
    under_way,
    vendor_creates,
    videos,
    violations,
)
from tests.cluster.test_pipeline import make
from tests.cluster.test_vendors import film
from tests.cluster.test_webhooks import hooked, served
from tests.vendors import FakeVendor, fake

#: the second video's first clip is refused, and the third's finds the account empty; each spares the two of the first
FAULTS = [
    {"at": "create", "do": "refuse", "kind": "clip", "after": 2},
    {"at": "create", "do": "funds", "kind": "clip", "after": 2},
]


class Whole(NamedTuple):
    """An installation at rest, and the ids of its videos by what became of them."""

    settings: Settings
    seen: Seen
    ids: dict[str, str]

    @property
    def problems(self) -> list[str]:
        """What the checker finds."""
        return violations(self.settings, self.seen)

    def copied_to(self, folder: Path) -> "Whole":
        """Copy what there is on the disk."""
        shutil.copytree(self.settings.data_dir, folder)
        return self._replace(settings=self.settings.model_copy(update={"data_dir": folder}))

    def noting(self, **changes: Any) -> "Whole":
        """Return it with other notes of what was seen."""
        return self._replace(seen=self.seen._replace(**changes))


async def videos_of_all_kinds(coordinator: Coordinator, vendor: FakeVendor) -> tuple[Seen, dict[str, str]]:
    """Make a video for each way in which one can end or wait; two webhooks are to be told, one of them has been."""
    journal = coordinator.journal
    await journal.webhooks.add(WebhookRecord(id="wh_1", tenant="local", url="https://example.com/1"))
    ids: dict[str, str] = {}
    states = {
        "completed": (VideoState.COMPLETED, film(models=MODELS, budget=1.0)),
        "failed": (VideoState.FAILED, film(models=MODELS)),
        "poor": (VideoState.WAITING, film(models=MODELS)),
        "approval": (VideoState.WAITING, film(models=MODELS, until="storyboard")),
        "cancelled": (VideoState.WAITING, film(models=MODELS, until="storyboard")),
        "deleted": (VideoState.COMPLETED, film(1, models=MODELS)),
    }
    for name, (state, request) in states.items():
        ids[name], ended = await make(coordinator, request)
        assert ended is state, (name, journal.video(ids[name]))
    assert await journal.cancel(ids["cancelled"]) is VideoState.CANCELLED
    await journal.delete(ids["deleted"])
    asked = Idempotency("film 1", "digest", "local")
    await journal.writer.transact(lambda connection: remember(connection, asked, ids["completed"]))
    messages = await journal.webhooks.due(100)
    for message in messages[1:]:
        await journal.webhooks.told(message)
    return _seen(journal, vendor, ids), ids


def _seen(journal: Journal, vendor: FakeVendor, ids: dict[str, str]) -> Seen:
    rows = [step for steps in journal.steps_of(ids.values()).values() for step in steps]
    done = {(step.video_id, step.step, step.take): step for step in rows if step.state is StepState.DONE}
    creates = vendor_creates(vendor.ledger, PRICES)
    return Seen(set(ids.values()), {ids["deleted"]}, creates, done)


@pytest.fixture(scope="module")
def whole(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    """One real installation for all tests here, each of which damages a copy."""
    folder = tmp_path_factory.mktemp("whole")
    data = folder / "data"
    data.mkdir()
    with fake("replicate", folder, **FAKE, faults=FAULTS) as vendor:
        settings = hooked(data, vendor).model_copy(update={"daily_budget": 100.0})
        notes: list[tuple[Seen, dict[str, str]]] = []

        async def make_videos(coordinator: Coordinator) -> None:
            notes.append(await videos_of_all_kinds(coordinator, vendor))

        async def main() -> None:
            coordinator = Coordinator(settings, helpers=1)
            try:
                await coordinator.ready(renders=False)
                await served(settings, make_videos)(coordinator)
            finally:
                await coordinator.close()

        asyncio.run(main())
        yield Whole(settings, *notes[0])


#: damages an installation, or what was noted of it, and returns it
Damage = Callable[[Whole], Whole]


def sql(*statements: str) -> Damage:
    """Return a damage that changes rows; `:completed` and the like stand for ids of videos."""

    def damage(whole: Whole) -> Whole:
        journal = whole.settings.data_dir / "journal.db"
        values = {**whole.ids, "now": time.time()}
        with closing(sqlite3.connect(journal, isolation_level=None)) as database:
            for statement in statements:
                assert database.execute(statement, values).rowcount > 0, statement
        return whole

    return damage


def video(name: str, changes: str) -> Damage:
    return sql(f"UPDATE videos SET {changes} WHERE id = :{name}")  # noqa: S608


def step(video: str, step: str, changes: str) -> Damage:
    return sql(f"UPDATE steps SET {changes} WHERE video_id = :{video} AND step = '{step}'")  # noqa: S608


def without_file(whole: Whole) -> Whole:
    file_of(whole, "image/0").unlink()
    return whole


def without_film(whole: Whole) -> Whole:
    file_of(whole, "stitch").unlink()
    return whole


def with_another_file(whole: Whole) -> Whole:
    file_of(whole, "image/0").write_bytes(b"something else")
    return whole


def with_a_clip_for_a_film(whole: Whole) -> Whole:
    row = done_step(whole, "chunk/0")
    assert row.artifact is not None
    return sql(
        f"UPDATE videos SET result = '{row.artifact.model_dump_json()}' WHERE id = :completed",  # noqa: S608
        f"UPDATE steps SET result = json_set(result, '$.artifact', json('{row.artifact.model_dump_json()}'))"  # noqa: S608
        " WHERE video_id = :completed AND step = 'stitch'",
    )(whole)


def file_of(whole: Whole, name: str) -> Path:
    artifact = done_step(whole, name).artifact
    assert artifact is not None
    return ArtifactStore(whole.settings.artifacts_url).path_of(artifact, Path())


def done_step(whole: Whole, name: str) -> StepRecord:
    return whole.seen.done[whole.ids["completed"], name, 1]


def clip(whole: Whole) -> Create:
    """Return the create of the completed video's first clip."""
    return next(
        create for create in whole.seen.creates if create.key == (whole.ids["completed"], "chunk/0", 1)
    )


def with_create(change: Callable[[Create], Create]) -> Damage:
    """Return a damage of a ledger that has one more create, like one of its own."""
    return lambda whole: whole.noting(creates=(*whole.seen.creates, change(clip(whole))))


def with_another_create(change: Callable[[Create], Create]) -> Damage:
    """Return a damage of a ledger that has another create in place of one of its own."""

    def damage(whole: Whole) -> Whole:
        first = clip(whole)
        creates = (change(create) if create == first else create for create in whole.seen.creates)
        return whole.noting(creates=tuple(creates))

    return damage


def of_token(**changes: Any) -> Callable[[Create], Create]:
    def change(create: Create) -> Create:
        return create._replace(token=create.token._replace(**changes), price=0.0)

    return change


def without_create(whole: Whole) -> Whole:
    first = clip(whole)
    return whole.noting(creates=tuple(create for create in whole.seen.creates if create != first))


def with_late_create(whole: Whole) -> Whole:
    late = Create(Token(whole.ids["cancelled"], "chunk/0", 1, 1), "job", time.time() + 3_600, 0.0)
    return whole.noting(creates=(*whole.seen.creates, late))


def with_strange_video(whole: Whole) -> Whole:
    strange = clip(whole)._replace(token=Token("vid_strange", "chunk/0", 1, 1))
    return whole.noting(creates=(*whole.seen.creates, strange))


without_chunk = sql("DELETE FROM steps WHERE video_id = :completed AND step = 'chunk/1'")
#: by invariant: damages, and what is to be found of each
PLANTED: dict[Callable[..., Any], list[tuple[Damage, str]]] = {
    videos.comes_to_an_end: [(video("completed", "state = 'running'"), "is running")],
    videos.completed_has_its_film: [
        (video("completed", "result = NULL"), "is completed and has no film"),
        (step("completed", "stitch", "result = NULL"), "is not what its stitch step has made"),
    ],
    videos.film_is_as_long_as_its_plan: [
        (with_a_clip_for_a_film, "and a plan of 240"),
        (without_film, "its film is missing"),
    ],
    videos.only_what_was_stitched_has_a_film: [
        (video("completed", "state = 'failed', error_code = 'x', error_message = 'x'"), "is failed and has a film")
    ],
    videos.completed_has_all_of_its_beats: [
        (step("completed", "chunk/1", "state = 'intent'"), "its step chunk/1 is intent"),
        (without_chunk, "its step chunk/1 is not there"),
        (sql("DELETE FROM phases WHERE video_id = :completed AND phase = 'stitch'"), "its phase stitch is not there"),
    ],
    videos.says_why_it_ended: [
        (video("failed", "error_code = NULL"), "is failed and has no code"),
        (video("failed", "error_message = NULL"), "is failed and has no message"),
        (video("cancelled", "error_code = NULL"), "is cancelled and has no code"),
        (video("completed", "error_code = 'internal_error'"), "is completed and has the code"),
    ],
    videos.says_when_it_ended: [
        (video("completed", "finished_at = NULL"), "does not say since when"),
        (video("poor", "finished_at = :now"), "says that it has ended"),
        (video("completed", "finished_at = created_at - 60"), "has ended before it began"),
    ],
    videos.waits_for_something: [
        (video("poor", "error_code = NULL"), "its code is None"),
        (video("poor", "error_code = 'internal_error'"), "its code is internal_error"),
        (video("poor", "error_code = 'budget_reached'"), "waits because of budget_reached, and no step"),
        (video("approval", "spec = json_remove(spec, '$.until')"), "there is no storyboard to approve"),
        (step("approval", "image/0", "state = 'intent'"), "there is no storyboard to approve"),
    ],
    steps.nothing_is_under_way_in_what_rests: [
        (step("completed", "chunk/1", f"state = '{state}'"), f"is under way ({state}), and the video is completed")
        for state in ("queued", "sent", "accepted", "running", "unknown")
    ]
    + [
        (step("cancelled", "chunk/1", "state = 'accepted'"), "is under way (accepted), and the video is cancelled"),
        (step("poor", "chunk/1", "state = 'sent'"), "is under way (sent), and the video is waiting"),
    ],
    steps.done_has_its_artifact: [
        (without_file, "its artifact is missing"),
        (with_another_file, "is not what its name says"),
        (step("completed", "chunk/1", "result = NULL"), "is done and has no artifact"),
    ],
    steps.says_how_it_ended: [
        (step("failed", "chunk/0", "error_code = NULL"), "has failed and has no code"),
        (step("failed", "chunk/0", "error_message = NULL"), "has failed and has no message"),
        (step("failed", "chunk/0", "result = NULL"), "is another failure"),
        (step("failed", "chunk/0", "finished_at = NULL"), "is failed and does not say since when"),
        (step("completed", "chunk/1", "error_code = 'media_error'"), "is done and has the code media_error"),
    ],
    steps.done_stays_as_it_is: [
        (step("completed", "chunk/1", "attempt = 2"), "was done and has changed: attempt"),
        (sql("DELETE FROM steps WHERE video_id = :completed AND step = 'stitch'"), "has no row any more"),
    ],
    money.created_once: [
        (with_create(of_token(attempt=2)), "was created 2 times"),
        (with_create(lambda create: create._replace(price=0.0)), "was sent 2 times"),
        (with_create(of_token(step="image/99")), "was created, and has no row"),
        (without_chunk, "was created, and has no row"),
    ],
    money.created_no_further_than_its_row: [
        (with_create(of_token(attempt=3)), "has come to attempt 1 only"),
    ],
    money.job_is_one_that_was_created: [
        (step("completed", "chunk/0", "provider_job_id = 'another'"), "has the job another"),
    ],
    money.not_created_once_cancelled: [(with_late_create, "was created after its video was cancelled")],
    money.costs_what_its_steps_cost: [
        (video("completed", "cost = cost + 1"), "and its steps"),
        (sql("UPDATE phases SET cost = cost + 1 WHERE video_id = :completed AND phase = 'chunks'"), "and its phases"),
    ],
    money.rows_are_what_was_paid: [
        (with_another_create(lambda create: create._replace(price=9.0)), "and its creates 9.0"),
        (without_create, "and its creates 0"),
    ],
    money.money_is_reserved_only_for_what_may_be_paid: [
        (step("completed", "chunk/1", "reserved_cost = 0.27"), "is done, and has 0.27 dollars reserved"),
        (step("cancelled", "chunk/1", "reserved_cost = 0.27"), "is intent, and has 0.27 dollars reserved"),
        (step("failed", "chunk/1", "reserved_cost = 0.27"), "is failed, and has 0.27 dollars reserved"),
    ],
    money.stays_within_its_budget: [
        (step("completed", "chunk/1", "cost = cost + 1"), "of a budget of 1"),
        (step("completed", "chunk/1", "doubtful_cost = 1"), "of a budget of 1"),
        (with_another_create(lambda create: create._replace(price=9.0)), "was paid with 9"),
    ],
    money.no_sum_is_negative: [
        (step("completed", "chunk/1", "doubtful_cost = -1"), "has a negative sum of money"),
        (step("completed", "chunk/1", "earlier_cost = 9"), "and 9.0 before that"),
    ],
    events.numbered_without_gaps: [
        (sql("DELETE FROM events WHERE video_id = :completed AND seq = 3"), "are numbered"),
        (sql("UPDATE events SET id = 1000000 WHERE video_id = :completed AND seq = 3"), "do not increase"),
    ],
    events.video_is_what_its_last_event_says: [
        (
            sql("UPDATE events SET kind = 'video.failed' WHERE video_id = :completed AND kind = 'video.completed'"),
            "is completed, and its last event is video.failed",
        ),
        (video("completed", "state = 'partial'"), "is partial, and its last event is video.completed"),
    ],
    events.steps_are_what_their_last_events_say: [
        (
            sql(
                "UPDATE events SET kind = 'step.failed' WHERE video_id = :completed AND step = 'chunk/1' "
                "AND kind = 'step.done'"
            ),
            "is done, and its last event is step.failed",
        ),
        (step("completed", "chunk/1", "state = 'failed'"), "is failed, and its last event is step.done"),
    ],
    events.what_is_told_to_be_done_has_a_row: [
        (without_chunk, "is told to be done, and has no row"),
    ],
    installation.no_accepted_video_is_lost: [
        (video("completed", "id = 'vid_other'"), "was accepted and is lost"),
        (lambda whole: whole.noting(deleted=()), "was accepted and is lost"),
    ],
    installation.nothing_is_created_for_strangers: [(with_strange_video, "and something was created for it")],
    installation.every_row_is_of_a_video: [
        (sql("DELETE FROM videos WHERE id = :failed"), f"{table} are left of")
        for table in ("steps", "phases", "events")
    ],
    installation.an_idempotency_key_names_its_video: [
        (sql("UPDATE idempotency_keys SET video_id = 'vid_other'"), "names vid_other, which never was")
    ],
    installation.deletions_are_told: [
        (sql("DELETE FROM deleted_events"), "whoever follows its events is not told"),
        (sql("DELETE FROM deleted_events WHERE seq = 3"), "are numbered"),
        (sql("DELETE FROM deleted_events WHERE kind = 'video.deleted'"), "the last event of the deleted video"),
        (sql("UPDATE deleted_events SET video_id = :failed"), "which is there"),
    ],
    installation.ids_of_events_are_given_once: [
        (
            sql("UPDATE deleted_events SET id = (SELECT min(id) FROM events) WHERE seq = 1"),
            "is the event of another video too",
        )
    ],
    installation.what_deleted_videos_cost_is_remembered: [
        (sql("DELETE FROM deleted_costs"), "and 0 of it is remembered")
    ],
    installation.no_day_costs_more_than_its_budget: [
        (sql("UPDATE deleted_costs SET cost = 100"), "of a budget of 100"),
        (step("completed", "chunk/1", "reserved_cost = 100"), "of a budget of 100"),
    ],
    installation.no_lease_outlasts_its_length: [
        (
            sql("INSERT INTO coordinators VALUES ('c1', 'service', :now + 3600)"),
            "the coordinator c1 is taken to live for",
        )
    ],
    installation.every_webhook_is_told: [
        (sql("DELETE FROM webhook_messages WHERE ended_at IS NULL"), "is never told that")
    ],
    installation.no_message_is_pending_for_ever: [
        (sql("UPDATE webhook_messages SET next_at = :now - 3600 WHERE ended_at IS NULL"), "and nobody sends it"),
        (sql("UPDATE webhook_messages SET next_at = :now + 99999 WHERE ended_at IS NULL"), "for longer than any may"),
        (sql("UPDATE webhook_messages SET attempt = 12 WHERE ended_at IS NULL"), "is pending after 12 tries"),
        (sql("UPDATE webhooks SET disabled_at = :now"), "its webhook is told nothing any more"),
    ],
    installation.what_was_told_has_arrived: [
        (lambda whole: whole.noting(told=()), "has ended, and has not arrived: None"),
        (lambda whole: whole.noting(told=()), "is not told yet"),
        (
            lambda whole: sql("UPDATE installation SET told_upto = 0")(whole.noting(told=())),
            "nobody has begun to tell of the event",
        ),
    ],
}  # fmt: skip


def test_where_all_is_well_the_checker_finds_nothing(whole: Whole) -> None:
    assert whole.problems == []


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        pytest.param(damage, sentence, id=f"{invariant.__name__}-{number}")
        for invariant, damages in PLANTED.items()
        for number, (damage, sentence) in enumerate(damages)
    ],
)
def test_what_is_planted_is_found(whole: Whole, tmp_path: Path, damage: Damage, sentence: str) -> None:
    found = damage(whole.copied_to(tmp_path / "damaged")).problems
    assert any(sentence in problem for problem in found), found
    assert not any("cannot be judged" in problem for problem in found), found


def test_for_each_invariant_something_is_planted() -> None:
    assert list(PLANTED) == [*OF_A_VIDEO, *INSTALLATION]


def test_a_row_that_cannot_be_read_hides_nothing_of_other_videos(whole: Whole, tmp_path: Path) -> None:
    damaged = whole.copied_to(tmp_path / "damaged")
    video("completed", "spec = '{}'")(damaged)
    found = video("failed", "error_code = NULL")(damaged).problems
    assert any("cannot be read" in problem for problem in found), found
    assert any("is failed and has no code" in problem for problem in found), found


def test_an_invariant_that_cannot_judge_says_so_and_hides_nothing(whole: Whole, tmp_path: Path) -> None:
    damaged = whole.copied_to(tmp_path / "damaged")
    folder = damaged.settings.data_dir / "artifacts"
    file_of(damaged, "stitch").write_bytes(json.dumps("no film").encode())
    assert folder.is_dir()
    found = video("failed", "error_code = NULL")(damaged).problems
    assert any("film_is_as_long_as_its_plan cannot be judged" in problem for problem in found), found
    assert any("is failed and has no code" in problem for problem in found), found


def test_videos_and_steps_that_are_not_at_rest_are_named_so_that_they_can_be_waited_for(
    whole: Whole, tmp_path: Path
) -> None:
    damaged = step("cancelled", "chunk/1", "state = 'accepted'")(whole.copied_to(tmp_path / "damaged"))
    video("completed", "state = 'running'")(damaged)
    journal = Journal(damaged.settings.journal_url)
    try:
        videos, steps, messages = under_way(journal, damaged.ids.values())
    finally:
        journal.close()
    assert videos == [f"{damaged.ids['completed']} is running"]
    assert steps == [f"chunk/1 of {damaged.ids['cancelled']} is accepted"]
    assert len(messages) == 1
    assert "is not told yet" in messages[0]


def test_a_video_that_a_user_deleted_is_not_lost(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    Journal(settings.journal_url).close()
    assert violations(settings, Seen({"vid_1"}, {"vid_1"})) == []
    assert violations(settings, Seen({"vid_1"})) == ["vid_1 was accepted and is lost"]
