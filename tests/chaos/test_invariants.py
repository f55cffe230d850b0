"""The checker finds what it is there to find: each kind of damage, planted in what a real video has left."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from raypipe.artifacts import ArtifactStore
from raypipe.config import Settings
from raypipe.coordinator import Coordinator
from raypipe.journal import Journal
from raypipe.models import StepState, VideoState
from tests.chaos.account_limits import FAKE, MODELS
from tests.chaos.installation import PRICES
from tests.chaos.invariants import Seen, vendor_creates, violations
from tests.cluster.test_pipeline import Run, make
from tests.cluster.test_vendors import film
from tests.cluster.test_webhooks import hooked, served
from tests.vendors import fake

#: damages an installation, or what was noted of it, and returns the note
Damage = Callable[[Settings, Seen], Seen]


def sql(statement: str) -> Damage:
    def damage(settings: Settings, seen: Seen) -> Seen:
        with closing(sqlite3.connect(settings.data_dir / "journal.db", isolation_level=None)) as database:
            assert database.execute(statement).rowcount == 1
        return seen

    return damage


def without_file(settings: Settings, seen: Seen) -> Seen:
    a_file(settings, seen).unlink()
    return seen


def with_another_file(settings: Settings, seen: Seen) -> Seen:
    a_file(settings, seen).write_bytes(b"something else")
    return seen


def a_file(settings: Settings, seen: Seen) -> Path:
    artifact = next(step.artifact for step in seen.done.values() if step.artifact is not None)
    return ArtifactStore(settings.artifacts_url).path_of(artifact, Path())


def with_second_create(settings: Settings, seen: Seen) -> Seen:
    first = seen.creates[0]
    again = first._replace(token=first.token._replace(attempt=2), price=0.0)
    return seen._replace(creates=(*seen.creates, again))


def with_same_create(settings: Settings, seen: Seen) -> Seen:
    return seen._replace(creates=(*seen.creates, seen.creates[0]._replace(price=0.0)))


def with_strange_create(settings: Settings, seen: Seen) -> Seen:
    first = seen.creates[0]
    return seen._replace(creates=(*seen.creates, first._replace(token=first.token._replace(step="image/99"))))


def with_dearer_create(settings: Settings, seen: Seen) -> Seen:
    first, *others = seen.creates
    return seen._replace(creates=(first._replace(price=9.0), *others))


def without_create(settings: Settings, seen: Seen) -> Seen:
    return seen._replace(creates=seen.creates[1:])


def with_late_create(settings: Settings, seen: Seen) -> Seen:
    first, *others = seen.creates
    return sql("UPDATE events SET kind = 'video.cancelled' WHERE kind = 'video.completed'")(
        settings, seen._replace(creates=(first._replace(at=(first.at or 0.0) + 3_600), *others))
    )


DAMAGES: list[tuple[Damage, str]] = [
    (sql("UPDATE videos SET id = 'vid_other'"), "was accepted and is lost"),
    (sql("UPDATE videos SET state = 'running'"), "is running"),
    (sql("UPDATE steps SET attempt = 2 WHERE step = 'chunk/1'"), "was done and has changed: attempt"),
    (sql("DELETE FROM steps WHERE step = 'stitch'"), "was done, and has no row any more"),
    (sql("DELETE FROM events WHERE seq = 3"), "are numbered"),
    (sql("UPDATE events SET id = 1000000 WHERE seq = 3"), "do not increase"),
    (sql("UPDATE videos SET cost = cost + 1"), "and its steps"),
    (without_file, "its artifact is missing"),
    (with_another_file, "is not what its name says"),
    (with_second_create, "was created 2 times"),
    (with_same_create, "was sent 2 times"),
    (with_strange_create, "was created, and has no row"),
    (with_dearer_create, "and its creates 9.0"),
    (without_create, "and its creates 0"),
    (with_late_create, "was created after its video was cancelled"),
]


def test_the_checker_finds_each_kind_of_damage_and_nothing_where_all_is_well(
    tmp_path: Path, with_coordinator_of: Callable[..., Run]
) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    with fake("replicate", tmp_path, **FAKE) as vendor:
        settings = hooked(whole, vendor)

        async def test(coordinator: Coordinator) -> None:
            video_id, state = await make(coordinator, film(models=MODELS))
            assert state is VideoState.COMPLETED
            rows = coordinator.journal.steps(video_id)
            assert {step.state for step in rows} == {StepState.DONE}
            done = {(step.video_id, step.step, step.take): step for step in rows}
            seen = Seen({video_id}, (), vendor_creates(vendor.ledger, PRICES), done)
            notes.append(seen)

        notes: list[Seen] = []
        with_coordinator_of(settings)(served(settings, test))
    (seen,) = notes
    assert violations(settings, seen) == []
    for number, (damage, said) in enumerate(DAMAGES):
        copy = tmp_path / f"copy{number}"
        shutil.copytree(whole, copy)
        damaged = settings.model_copy(update={"data_dir": copy})
        found = violations(damaged, damage(damaged, seen))
        assert any(said in each for each in found), (said, found)


def test_a_video_that_a_user_deleted_is_not_lost(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    Journal(settings.journal_url).close()
    assert violations(settings, Seen({"vid_1"}, {"vid_1"})) == []
    assert violations(settings, Seen({"vid_1"})) == ["vid_1 was accepted and is lost"]
