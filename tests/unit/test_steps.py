"""Steps answer from their rows: on a real journal, with a gateway's restart as a new `Steps` on the same file."""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from raypipe.artifacts import ArtifactStore
from raypipe.config import Settings
from raypipe.errors import (
    DeliveryNotFetched,
    DiskFull,
    KeyMissing,
    LeaseLost,
    MediaError,
    OutcomeUnknown,
    ProviderRejected,
    ProviderUnavailable,
    RateLimited,
    VideoOver,
)
from raypipe.hosted import HostedWork
from raypipe.intake import accept
from raypipe.journal import Journal, Owner, StepRecord, Token, tables
from raypipe.models import (
    Artifact,
    Image,
    Job,
    Kind,
    Phase,
    StepFailure,
    StepState,
    VideoRequest,
    VideoState,
)
from raypipe.providers.base import Context, Delivery, HostedProvider, ImageWork, Model, Pending, Work
from raypipe.step_log import StepLog
from raypipe.steps import Steps, new_step
from tests.patience import patience

MADE = Image(artifact=Artifact(digest="a" * 64, size=1, media_type="image/png"), beat_index=0, cost=0.5)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


@pytest.fixture
def journal(settings: Settings) -> Iterator[Journal]:
    opened = Journal(settings.journal_url)
    yield opened
    opened.close()


class Rig:
    """A video whose first image is to be made, and a gateway's steps, which a restart replaces."""

    def __init__(self, settings: Settings, journal: Journal) -> None:
        self.settings, self.journal, self.steps = settings, journal, Steps(journal, self.holds)
        request = VideoRequest(
            prompt="a boat",
            duration=10,
            model="simulated",
            options={"simulated": {"image": 0.0, "price": PRICE}},
        )
        self.video, self.rows = accept(
            request, settings, journal, ArtifactStore(settings.artifacts_url), running=True
        )
        self.job = Job.of(self.video.id, self.video.spec, self.video.epoch)
        self.begun = 0
        self.gone: set[str] = set()

    async def holds(self, artifact: Artifact) -> bool:
        return artifact.digest not in self.gone

    async def accept(self) -> None:
        await self.journal.writer.put(*self.rows)

    def restart(self) -> None:
        self.steps = Steps(self.journal, self.holds)

    def row(self, step: str = "image/0") -> StepRecord:
        return next(each for each in self.journal.steps(self.video.id) if each.step == step)

    async def leave(self, step: str = "image/0", **changes: Any) -> None:
        """Write a row as a gateway that died has left it."""
        await self.journal.writer.put(self.journal.step(self.row(step).evolve(**changes)))

    async def run(
        self,
        work: Callable[[StepLog], Awaitable[Image]] | None = None,
        epoch: int | None = None,
        step: str = "image/0",
    ) -> Image | StepFailure:
        planned = new_step(self.job, step, Phase.STORYBOARD, 0, Kind.IMAGE)
        return await self.steps.run(
            planned, self.job.epoch if epoch is None else epoch, Image, work or self.make
        )

    async def make(self, log: StepLog) -> Image:
        self.begun += 1
        await log.started("node")
        await asyncio.sleep(0.02)
        log.note_cost(0.5)
        return MADE


Test = Callable[[Rig], Awaitable[None]]


@pytest.fixture
def with_rig(settings: Settings, journal: Journal) -> Callable[[Test], None]:
    def run(test: Test) -> None:
        async def main() -> None:
            rig = Rig(settings, journal)
            await rig.accept()
            await test(rig)

        asyncio.run(main())

    return run


def test_a_step_that_is_called_by_several_at_once_is_done_once(with_rig: Callable[[Test], None]) -> None:
    async def test(rig: Rig) -> None:
        results = await asyncio.gather(*(rig.run() for _ in range(10)))
        assert rig.begun == 1
        assert all(result == results[0] for result in results)
        assert rig.row().attempt == 1

    with_rig(test)


def test_a_step_that_is_done_answers_with_what_it_made_after_a_restart(
    with_rig: Callable[[Test], None],
) -> None:
    async def test(rig: Rig) -> None:
        made = await rig.run()
        rig.restart()
        assert await rig.run() == made
        assert rig.begun == 1
        assert rig.row().cost == 0.5

    with_rig(test)


def test_a_step_whose_artifact_is_gone_is_done_again_and_if_it_was_paid_it_is_fetched(
    with_rig: Callable[[Test], None],
) -> None:
    async def test(rig: Rig) -> None:
        await rig.run()
        paid = Vendor(None)
        await rig.run(hosted(rig, paid), step="music")
        rig.restart()
        rig.gone = {MADE.artifact.digest}
        await rig.run()
        assert rig.begun == 2
        await rig.run(hosted(rig, paid), step="music")
        assert paid.told == ["submit 1", "poll job 2"]
        assert rig.row("music").attempt == 1

    with_rig(test)


def test_a_step_that_failed_stays_failed_after_a_restart(with_rig: Callable[[Test], None]) -> None:
    async def refuse(log: StepLog) -> Image:
        log.note_cost(0.25)
        raise ProviderRejected("no")

    async def test(rig: Rig) -> None:
        failure = await rig.run(refuse)
        rig.restart()
        assert await rig.run() == failure
        assert isinstance(failure, StepFailure)
        assert (failure.code, failure.cost, rig.begun) == ("provider_rejected", 0.25, 0)

    with_rig(test)


def test_who_gives_up_waiting_for_a_step_does_not_end_it(with_rig: Callable[[Test], None]) -> None:
    async def test(rig: Rig) -> None:
        waiting = asyncio.create_task(rig.run())
        while not rig.begun:
            await asyncio.sleep(0)
        waiting.cancel()
        assert isinstance(await rig.run(), Image)
        assert rig.begun == 1

    with_rig(test)


def _hand_over(rig: Rig) -> None:
    with rig.journal._engine.begin() as connection:
        connection.exec_driver_sql("update videos set epoch = epoch + 1")


def test_a_step_under_way_goes_on_for_the_coordinator_that_takes_its_video_over(
    with_rig: Callable[[Test], None],
) -> None:
    async def test(rig: Rig) -> None:
        old = asyncio.create_task(rig.run())
        while not rig.begun:
            await asyncio.sleep(0)
        _hand_over(rig)
        await asyncio.sleep(0.1)
        assert not old.done(), "it waits to be called by the new one"
        made = await rig.run(epoch=2)
        assert await old == made
        assert rig.begun == 1
        assert rig.row().state is StepState.DONE

    with_rig(test)


def test_a_step_that_another_gateway_has_done_meanwhile_is_not_gone_on_with(
    with_rig: Callable[[Test], None],
) -> None:
    """A video goes to a coordinator with other gateways, newer ones, and comes back."""

    async def test(rig: Rig) -> None:
        async def refused(log: StepLog) -> Image:
            rig.begun += 1
            await log.sent("node", possible_duplicate=False)
            await log.not_taken("busy")
            await again.wait()
            await log.sent("node", possible_duplicate=False)
            raise AssertionError

        again = asyncio.Event()
        old_steps, old = rig.steps, asyncio.create_task(rig.run(refused))
        while rig.row().attempt != 1 or rig.row().state is not StepState.INTENT:
            await asyncio.sleep(0.01)
        rig.restart()  # the others
        _hand_over(rig)
        made = await rig.run(epoch=2)
        done = rig.row()
        _hand_over(rig)
        rig.steps = old_steps
        back = asyncio.create_task(rig.run(epoch=3))
        await asyncio.sleep(0.05)
        again.set()
        assert await back == made
        assert rig.row() == done
        assert rig.begun == 2
        with pytest.raises(LeaseLost):
            await old

    with_rig(test)


def test_a_step_that_ends_in_the_moment_in_which_a_newer_coordinator_calls_it_answers_both(
    with_rig: Callable[[Test], None],
) -> None:
    async def test(rig: Rig) -> None:
        ending = asyncio.Event()

        async def make(log: StepLog) -> Image:
            await ending.wait()
            raise LeaseLost(rig.video.id)  # ends without writing anything

        old = asyncio.create_task(rig.run(make))
        await asyncio.sleep(0.05)
        _hand_over(rig)
        await rig.steps._rows.at(rig.video.id, 2)
        (flight,) = rig.steps._flights.values()
        # called in the turn of the loop in which the step's task has ended, before that is noted
        called: list[asyncio.Task[Image | StepFailure]] = []
        ending.set()
        while not flight.task.done():
            called.append(asyncio.create_task(rig.run(epoch=2)))
            await asyncio.sleep(0)
        for each in called:
            assert isinstance(await asyncio.wait_for(each, patience(5)), Image)
        with pytest.raises(LeaseLost):
            await old

    with_rig(test)


def test_a_step_nobody_calls_any_more_writes_nothing(
    with_rig: Callable[[Test], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raypipe.step_log.JOIN_SECONDS", 0.1)

    async def test(rig: Rig) -> None:
        before = rig.row()
        _hand_over(rig)
        with pytest.raises(LeaseLost):
            await rig.run()
        assert rig.row() == before

    with_rig(test)


def test_a_step_found_under_way_at_three_starts_is_failed_before_anything_runs(
    with_rig: Callable[[Test], None],
) -> None:
    async def die(log: StepLog) -> Image:
        rig_begun.append(1)
        await asyncio.Event().wait()
        raise AssertionError

    rig_begun: list[int] = []

    async def test(rig: Rig) -> None:
        await rig.leave(state=StepState.ACCEPTED, provider_job_id="x")
        for start in (1, 2):
            rig.restart()
            dying = asyncio.create_task(rig.run(die))
            while len(rig_begun) < start:
                await asyncio.sleep(0.01)
            assert rig.row().starts == start
            dying.cancel()
        rig.restart()
        failure = await rig.run(die)
        assert isinstance(failure, StepFailure)
        assert failure.code == "step_kills_gateway"
        assert len(rig_begun) == 2

    with_rig(test)


def test_steps_found_under_way_twice_are_begun_one_at_a_time_and_cleared_when_they_are_survived(
    with_rig: Callable[[Test], None],
) -> None:
    running: list[str] = []
    most: list[int] = []

    async def work(log: StepLog) -> Image:
        running.append(log.record.step)
        most.append(len(running))
        await asyncio.sleep(0.05)
        running.remove(log.record.step)
        log.survived.set()
        await asyncio.sleep(0.3)
        return MADE

    async def test(rig: Rig) -> None:
        for step in ("image/0", "image/1", "music"):
            await rig.leave(step, state=StepState.ACCEPTED, provider_job_id="x", starts=1)
        ends = asyncio.gather(*(rig.run(work, step=step) for step in ("image/0", "image/1", "music")))
        await asyncio.sleep(0.25)
        assert rig.row("image/0").starts == 0, "cleared while it goes on"
        await ends
        assert max(most) == 1

    with_rig(test)


def test_a_step_that_a_gateway_lives_with_for_a_while_is_no_longer_suspected_whatever_it_does(
    with_rig: Callable[[Test], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raypipe.steps.TRIAL_SECONDS", 0.05)
    began: list[int] = []

    async def slow(log: StepLog) -> Image:
        began.append(1)
        await asyncio.Event().wait()
        raise AssertionError

    async def test(rig: Rig) -> None:
        await rig.leave(state=StepState.RUNNING)
        for start in range(1, 5):
            rig.restart()
            running = asyncio.create_task(rig.run(slow))
            while len(began) < start or rig.row().starts:
                await asyncio.sleep(0.01)
            running.cancel()

    with_rig(test)


def test_ending_a_gateway_counts_against_no_step_and_sends_nothing_more(
    with_rig: Callable[[Test], None],
) -> None:
    async def test(rig: Rig) -> None:
        await rig.leave(state=StepState.ACCEPTED, attempt=1, provider_job_id="job 1", starts=1)
        vendor = Vendor(None, submitted=0.2)
        held = asyncio.create_task(rig.run(lambda log: asyncio.Event().wait()))  # type: ignore[arg-type, return-value]
        sending = asyncio.create_task(rig.run(hosted(rig, vendor), step="image/1"))
        while "submit 1" not in vendor.calls or rig.row().starts < 2:
            await asyncio.sleep(0.01)
        await rig.steps.stop()
        late = Vendor(None)
        with pytest.raises(LeaseLost):
            await rig.run(hosted(rig, late), step="music")
        await asyncio.gather(held, sending, return_exceptions=True)
        assert not late.calls
        assert rig.row("image/1").state is StepState.ACCEPTED, "a create under way is answered first"
        assert rig.row().starts == 0

    with_rig(test)


def test_the_id_of_a_paid_job_reaches_the_next_coordinator_even_from_a_gateway_it_does_not_use(
    with_rig: Callable[[Test], None], settings: Settings
) -> None:
    async def test(rig: Rig) -> None:
        vendor = Vendor(UNKNOWN, submitted=0.2)
        old = asyncio.create_task(rig.run(hosted(rig, vendor)))
        while not vendor.calls:
            await asyncio.sleep(0.01)
        _hand_over(rig)
        rig.restart()  # another gateway
        other = Vendor(UNKNOWN)
        assert isinstance(await rig.run(hosted(rig, other), epoch=2), Image)
        assert other.told == ["find", "poll 0.2"]
        old.cancel()

    with_rig(test)


@pytest.mark.parametrize("hiccup", [ConnectionResetError("cut"), KeyError("status"), TimeoutError()])
def test_whatever_goes_wrong_with_asking_for_a_paid_job_is_asked_again(
    with_rig: Callable[[Test], None], hiccup: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    poll, problems = Vendor.poll, [hiccup]

    async def hiccuping(self: Vendor, job_id: str, work: Work) -> Delivery | Pending:
        if problems:
            raise problems.pop()
        return await poll(self, job_id, work)

    monkeypatch.setattr(Vendor, "poll", hiccuping)

    async def test(rig: Rig) -> None:
        await rig.leave(state=StepState.ACCEPTED, attempt=1, provider_job_id="job 1")
        assert isinstance(await rig.run(hosted(rig, Vendor(None))), Image)

    with_rig(test)


def test_retry_fetches_what_is_paid_and_could_not_be_stored(with_rig: Callable[[Test], None]) -> None:
    async def full(log: StepLog) -> Image:
        await log.accepted("job 1")
        raise DiskFull("no room")

    async def test(rig: Rig) -> None:
        await rig.run(full)
        await rig.run(hosted(rig, Vendor(None, submitted=ProviderRejected("no"))), step="music")
        await rig.journal.writer.put(rig.journal.finish(rig.video.id, VideoState.FAILED))
        await rig.journal.retry(Owner("me", "local"), rig.video.id, resubmit=False)
        assert (rig.row().state, rig.row().provider_job_id) == (StepState.ACCEPTED, "job 1")
        assert rig.row("music").state is StepState.INTENT

    with_rig(test)


def _retried(rig: Rig, resubmit: bool = False) -> Any:
    async def run() -> None:
        await rig.journal.writer.put(rig.journal.finish(rig.video.id, VideoState.FAILED))
        await rig.journal.retry(Owner("me", "local"), rig.video.id, resubmit)
        rig.job = rig.job.model_copy(update={"epoch": rig.journal.video(rig.video.id).epoch})
        rig.restart()

    return run()


def test_what_earlier_creates_cost_stays_on_the_row_and_what_they_may_have_cost_beside_it(
    with_rig: Callable[[Test], None],
) -> None:
    async def useless(log: StepLog) -> Image:
        await hosted(rig_of[0], Vendor(None, delivers=MediaError("html")))(log)
        raise AssertionError

    rig_of: list[Rig] = []

    async def test(rig: Rig) -> None:
        rig_of.append(rig)
        failure = await rig.run(useless)
        assert isinstance(failure, StepFailure)
        assert (failure.code, failure.cost) == ("media_error", PRICE)
        await _retried(rig)
        await rig.run(hosted(rig, Vendor(None, delivers=ProviderRejected("failed"))))
        assert (rig.row().cost, rig.row().doubtful) == (PRICE, PRICE)
        await _retried(rig)
        await rig.run(hosted(rig, Vendor(UNKNOWN, submitted=UNKNOWN)))
        assert (rig.row().cost, rig.row().doubtful) == (PRICE, 2 * PRICE)
        await _retried(rig, resubmit=True)
        made = await rig.run(hosted(rig, Vendor(None)))
        row = rig.row()
        assert (row.cost, row.doubtful, row.reserved_cost, made.cost) == (
            2 * PRICE,
            2 * PRICE,
            None,
            2 * PRICE,
        )
        assert row.attempt == 4

    with_rig(test)


def test_what_was_made_and_not_found_is_paid_and_a_retry_asks_for_the_same_job_and_pays_nothing(
    with_rig: Callable[[Test], None],
) -> None:
    async def test(rig: Rig) -> None:
        for _ in range(2):  # the first time it is sent, the second it is asked for again
            lost = Vendor(None, delivers=DeliveryNotFetched("no address in {'frames': 3}"))
            failure = await rig.run(hosted(rig, lost))
            assert isinstance(failure, StepFailure)
            assert (failure.code, failure.cost) == ("delivery_not_fetched", PRICE)
            assert (rig.row().provider_job_id, rig.row().doubtful) == ("job 2", 0.0)
            await _retried(rig)
            assert (rig.row().state, rig.row().provider_job_id) == (StepState.ACCEPTED, "job 2")
        vendor = Vendor(None)
        made = await rig.run(hosted(rig, vendor))
        assert isinstance(made, Image)
        assert (lost.told, vendor.told) == (["poll job 2"], ["poll job 2"])
        assert (rig.row().attempt, rig.row().cost, rig.row().doubtful) == (1, PRICE, 0.0)

    with_rig(test)


def test_what_is_fetched_again_costs_nothing_again(with_rig: Callable[[Test], None]) -> None:
    async def full(log: StepLog) -> Image:
        await hosted(rig_of[0], Vendor(None))(log)
        raise DiskFull("no room")

    rig_of: list[Rig] = []

    async def test(rig: Rig) -> None:
        rig_of.append(rig)
        await rig.run(full)
        assert (rig.row().cost, rig.row().doubtful) == (PRICE, 0)
        await _retried(rig)
        vendor = Vendor(None)
        made = await rig.run(hosted(rig, vendor))
        assert vendor.told == ["poll job 2"]
        assert (rig.row().cost, rig.row().doubtful, made.cost) == (PRICE, 0, PRICE)

    with_rig(test)


def test_news_of_a_job_that_comes_while_its_create_is_not_answered_is_kept(
    with_rig: Callable[[Test], None],
) -> None:
    async def test(rig: Rig) -> None:
        vendor = Vendor(UNKNOWN, submitted=5.0)
        running = asyncio.create_task(rig.run(hosted(rig, vendor, "resubmit_once")))
        while rig.row().state is not StepState.SENT:
            await asyncio.sleep(0.01)
        assert await rig.journal.hint(Token(rig.video.id, "image/0", 1, 1), "simulated", "job 7")
        assert isinstance(await running, Image)
        assert vendor.told == ["submit 1", "poll job 7"]
        assert not rig.row().possible_duplicate

    with_rig(test)


def test_a_create_that_may_have_been_taken_is_sent_again_only_when_told_whatever_its_step_failed_of(
    with_rig: Callable[[Test], None],
) -> None:
    async def test(rig: Rig) -> None:
        sent = {"state": StepState.SENT, "attempt": 1, "sent_at": time.time(), "reserved_cost": PRICE}
        await rig.leave(**sent, starts=2)
        failure = await rig.run(hosted(rig, Vendor(UNKNOWN)))
        assert isinstance(failure, StepFailure)
        assert (failure.code, rig.row().doubtful) == ("step_kills_gateway", PRICE)
        await rig.journal.writer.put(rig.journal.finish(rig.video.id, VideoState.FAILED))
        with pytest.raises(VideoOver, match="--resubmit"):
            await rig.journal.retry(Owner("me", "local"), rig.video.id, resubmit=False)
        await rig.journal.retry(Owner("me", "local"), rig.video.id, resubmit=True)
        assert (rig.row().possible_duplicate, rig.row().doubtful) == (True, PRICE)

    with_rig(test)


def test_what_is_to_be_sent_again_is_so_by_a_gateway_that_lives_and_asks_for_it(
    with_rig: Callable[[Test], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Vendor, "unknown_seconds", 60.0)

    async def test(rig: Rig) -> None:
        vendor = Vendor(UNKNOWN, submitted=UNKNOWN)
        asking = asyncio.create_task(rig.run(hosted(rig, vendor)))
        while rig.row().state is not StepState.UNKNOWN:
            await asyncio.sleep(0.01)
        await rig.journal.writer.put(rig.journal.put_back(rig.video.id, VideoState.WAITING))
        await rig.journal.retry(Owner("me", "local"), rig.video.id, resubmit=True)
        again = await rig.run(hosted(rig, vendor), epoch=rig.journal.video(rig.video.id).epoch)
        assert isinstance(again, Image)
        assert vendor.told == ["submit 1", "find", "submit 2", "poll job 2"]
        assert (rig.row().possible_duplicate, rig.row().doubtful) == (True, PRICE)
        # who asked before learns that it is not its work any more, or finds it made
        (before,) = await asyncio.gather(asking, return_exceptions=True)
        assert isinstance(before, LeaseLost) or before == again

    with_rig(test)


def test_money_that_may_have_been_spent_counts_in_a_budget(with_rig: Callable[[Test], None]) -> None:
    async def test(rig: Rig) -> None:
        spec = rig.video.spec.model_copy(update={"budget": 2.5 * PRICE})
        rig.job = Job.of(rig.video.id, spec, rig.video.epoch)
        bounded = update(tables.videos).values(spec=spec.model_dump(mode="json"))
        await rig.journal.writer.transact(lambda connection: connection.execute(bounded))
        for _ in range(2):
            await rig.run(hosted(rig, Vendor(None, delivers=ProviderRejected("failed"))))
            await _retried(rig)
        vendor = Vendor(None)
        failure = await rig.run(hosted(rig, vendor))
        assert isinstance(failure, StepFailure)
        assert (failure.code, vendor.told) == ("budget_reached", [])

    with_rig(test)


#: US dollars that each work of the rig's model costs
PRICE = 0.25


class Vendor(HostedProvider):
    """A provider whose answers are scripted."""

    name = "vendor"
    create_seconds = 0.3
    unknown_seconds = 0.8

    def __init__(
        self, *found: str | Exception | None, submitted: Any = "job 2", delivers: Exception | None = None
    ) -> None:
        super().__init__(Context(Settings(), ArtifactStore("memory:///vendor")))
        self.found, self.submitted, self.delivers = list(found), submitted, delivers
        self.calls: list[str] = []

    @classmethod
    def models(cls) -> tuple[Model, ...]:
        return ()

    async def submit(self, work: Work, token: str) -> str:
        self.calls.append(f"submit {token.rpartition('/')[2]}")
        if isinstance(self.submitted, float):
            await asyncio.sleep(self.submitted)
        if isinstance(self.submitted, list):
            if self.submitted:
                raise self.submitted.pop()
            return "job 2"
        if isinstance(self.submitted, Exception):
            error, self.submitted = self.submitted, "job 2"
            raise error
        return str(self.submitted)

    async def poll(self, job_id: str, work: Work) -> Delivery | Pending:
        self.calls.append(f"poll {job_id}")
        if self.calls.count(f"poll {job_id}") == 1:
            raise ProviderUnavailable("for the moment")
        if self.delivers is not None:
            raise self.delivers
        return Delivery(artifact=MADE.artifact)

    async def find(self, work: Work, token: str) -> str | None:
        self.calls.append("find")
        answer = self.found.pop(0) if len(self.found) > 1 else self.found[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def cancel(self, job_id: str, work: Work) -> None: ...

    @property
    def told(self) -> list[str]:
        """The calls, each run of equal ones once."""
        return [call for i, call in enumerate(self.calls) if i == 0 or self.calls[i - 1] != call]


def hosted(rig: Rig, vendor: Vendor, on_unknown: Any = "hold") -> Callable[[StepLog], Awaitable[Image]]:
    async def work(log: StepLog) -> Image:
        image = ImageWork(job=rig.job, model="simulated", beat=rig.video.spec.beats[0])
        await HostedWork(vendor, image, log, "node", Settings(on_unknown=on_unknown)).delivery()
        return MADE

    return work


UNKNOWN = OutcomeUnknown("cannot say")


@pytest.mark.parametrize(
    ("state", "found", "told"),
    [
        (StepState.INTENT, [None], ["submit 1", "poll job 2"]),
        (StepState.ACCEPTED, [None], ["poll job 1"]),
        (StepState.SENT, ["job 1"], ["find", "poll job 1"]),
        (StepState.SENT, [None, None, None, None, "job 1"], ["find", "submit 2", "poll job 2"]),
        (StepState.SENT, [ProviderUnavailable("down"), "job 1"], ["find", "poll job 1"]),
        (StepState.UNKNOWN, [UNKNOWN, UNKNOWN, "job 1"], ["find", "poll job 1"]),
    ],
    ids=[
        "nothing yet",
        "accepted",
        "sent, found",
        "sent, surely not taken",
        "sent, unreachable",
        "unknown, found",
    ],
)
def test_what_a_hosted_step_does_follows_from_its_row(
    with_rig: Callable[[Test], None],
    monkeypatch: pytest.MonkeyPatch,
    state: StepState,
    found: list[Any],
    told: list[str],
) -> None:
    async def test(rig: Rig) -> None:
        job_id = "job 1" if state is StepState.ACCEPTED else None
        if state is not StepState.INTENT:
            await rig.leave(state=state, attempt=1, sent_at=time.time(), provider_job_id=job_id)
        vendor = Vendor(*found)
        if "submit 2" not in told:  # what is asked for is found before the create counts as over
            monkeypatch.setattr(Vendor, "create_seconds", patience(30))
            monkeypatch.setattr(Vendor, "unknown_seconds", patience(60))
        assert isinstance(await rig.run(hosted(rig, vendor)), Image)
        assert vendor.told == told
        assert not rig.row().possible_duplicate

    with_rig(test)


def test_a_create_is_not_taken_for_lost_before_its_own_time_is_over(with_rig: Callable[[Test], None]) -> None:
    async def test(rig: Rig) -> None:
        await rig.leave(state=StepState.SENT, attempt=1, sent_at=time.time())
        vendor, began = Vendor(None), time.monotonic()
        await rig.run(hosted(rig, vendor))
        assert time.monotonic() - began > Vendor.create_seconds

    with_rig(test)


@pytest.mark.parametrize("submitted", [UNKNOWN, ConnectionResetError("cut"), KeyError("id"), 5.0])
def test_a_create_that_is_not_answered_is_unknown_and_looked_for(
    with_rig: Callable[[Test], None], submitted: Any
) -> None:
    async def test(rig: Rig) -> None:
        vendor = Vendor("job 1", submitted=submitted)
        assert isinstance(await rig.run(hosted(rig, vendor)), Image)
        assert vendor.told == ["submit 1", "find", "poll job 1"]
        kinds = [event.kind for event in rig.journal.events(rig.video.id)]
        assert kinds == ["video.accepted", "step.started", "step.unknown", "step.done"]

    with_rig(test)


def test_held_until_the_providers_deadline_and_then_failed(with_rig: Callable[[Test], None]) -> None:
    async def test(rig: Rig) -> None:
        vendor = Vendor(UNKNOWN, submitted=UNKNOWN)
        failure = await rig.run(hosted(rig, vendor))
        assert isinstance(failure, StepFailure)
        assert failure.code == "outcome_unknown"
        assert vendor.told == ["submit 1", "find"]

    with_rig(test)


def test_resubmitted_once_and_marked_and_not_a_third_time(with_rig: Callable[[Test], None]) -> None:
    async def test(rig: Rig) -> None:
        vendor = Vendor(UNKNOWN, submitted=UNKNOWN)
        assert isinstance(await rig.run(hosted(rig, vendor, "resubmit_once")), Image)
        assert vendor.told == ["submit 1", "find", "submit 2", "poll job 2"]
        assert (rig.row().possible_duplicate, rig.row().attempt) == (True, 2)
        await rig.leave("music", state=StepState.UNKNOWN, attempt=2, sent_at=1.0, possible_duplicate=True)
        rig.restart()
        vendor = Vendor(UNKNOWN)
        failure = await rig.run(hosted(rig, vendor, "resubmit_once"), step="music")
        assert isinstance(failure, StepFailure)
        assert vendor.told == ["find"]

    with_rig(test)


def test_what_the_provider_refuses_or_never_got_is_known(with_rig: Callable[[Test], None]) -> None:
    async def test(rig: Rig) -> None:
        for step, error in (("image/0", ProviderRejected("no")), ("image/1", KeyMissing("none"))):
            vendor = Vendor(None, submitted=error)
            failure = await rig.run(hosted(rig, vendor), step=step)
            assert isinstance(failure, StepFailure)
            assert (failure.code, vendor.told) == (error.code, ["submit 1"])

    with_rig(test)


def test_what_a_provider_did_not_take_is_sent_again_a_bounded_number_of_times(
    with_rig: Callable[[Test], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raypipe.hosted.TRY_AGAIN", 0.001)

    async def test(rig: Rig) -> None:
        vendor = Vendor(None, submitted=[ProviderUnavailable("down")] * 2)
        assert isinstance(await rig.run(hosted(rig, vendor)), Image)
        assert vendor.told == ["submit 1", "submit 2", "submit 3", "poll job 2"]
        assert (rig.row().attempt, rig.row().possible_duplicate) == (3, False)
        events = [each.kind for each in rig.journal.events(rig.video.id) if each.step == "image/0"]
        assert events.count("step.not_taken") == 2
        vendor = Vendor(None, submitted=[ProviderUnavailable("down")] * 99)
        failure = await rig.run(hosted(rig, vendor), step="music")
        assert isinstance(failure, StepFailure)
        assert (failure.code, len(vendor.told)) == ("provider_unavailable", 5)

    with_rig(test)


def test_a_step_that_failed_for_want_of_money_goes_on_where_it_was_when_its_video_is_resumed(
    with_rig: Callable[[Test], None],
) -> None:
    async def test(rig: Rig) -> None:
        broke = {"state": StepState.FAILED, "error_code": "out_of_funds", "attempt": 1, "sent_at": 1.0}
        await rig.leave("image/0", **broke, provider_job_id="job 1")
        await rig.leave("image/1", **broke)
        await rig.journal.writer.put(
            rig.journal.put_back(rig.video.id, VideoState.WAITING, "out_of_funds", "none left")
        )
        await rig.journal.resume(Owner("me", "local"), rig.video.id)
        assert (rig.row("image/0").state, rig.row("image/0").provider_job_id) == (StepState.ACCEPTED, "job 1")
        assert (rig.row("image/1").state, rig.row("image/1").started_at) == (StepState.INTENT, None)

    with_rig(test)


def test_a_provider_that_asks_to_wait_is_waited_for(
    with_rig: Callable[[Test], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raypipe.hosted.TRY_AGAIN", 0.001)

    async def test(rig: Rig) -> None:
        vendor = Vendor(None, submitted=[RateLimited("busy", 0.02)] * 9)
        began = time.monotonic()
        assert isinstance(await rig.run(hosted(rig, vendor)), Image)
        assert time.monotonic() - began > 9 * 0.02
        assert vendor.told == [*(f"submit {number}" for number in range(1, 11)), "poll job 2"]

    with_rig(test)


def test_a_job_that_takes_too_long_is_cancelled_and_fails(with_rig: Callable[[Test], None]) -> None:
    class Slow(Vendor):
        deadline_seconds = 0.2

        async def poll(self, job_id: str, work: Work) -> Delivery | Pending:
            return Pending(poll_after=0.05)

        async def cancel(self, job_id: str, work: Work) -> None:
            self.calls.append(f"cancel {job_id}")

    async def test(rig: Rig) -> None:
        vendor = Slow(None)
        failure = await rig.run(hosted(rig, vendor))
        assert isinstance(failure, StepFailure)
        assert (failure.code, vendor.told) == ("took_too_long", ["submit 1", "cancel job 2"])

    with_rig(test)


def test_a_late_job_that_cannot_be_stopped_may_still_deliver(with_rig: Callable[[Test], None]) -> None:
    class Late(Vendor):
        deadline_seconds = 0.0

        async def poll(self, job_id: str, work: Work) -> Delivery | Pending:
            self.calls.append(f"poll {job_id}")
            return (
                Delivery(artifact=MADE.artifact)
                if self.calls.count("cancel") == 2
                else Pending(poll_after=0.01)
            )

        async def cancel(self, job_id: str, work: Work) -> None:
            self.calls.append("cancel")
            raise ProviderUnavailable("500")

    async def test(rig: Rig) -> None:
        vendor = Late(None)
        assert isinstance(await rig.run(hosted(rig, vendor)), Image)
        assert vendor.told == ["submit 1", "poll job 2", "cancel", "poll job 2", "cancel", "poll job 2"]

    with_rig(test)


def test_a_late_job_that_nobody_could_stop_for_an_hour_is_given_up_and_said_to_be_maybe_paid(
    with_rig: Callable[[Test], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raypipe.hosted.UNREACHABLE_SECONDS", 0.0)

    class Late(Vendor):
        deadline_seconds = 0.0

        async def poll(self, job_id: str, work: Work) -> Delivery | Pending:
            return Pending(poll_after=0.01)

        async def cancel(self, job_id: str, work: Work) -> None:
            raise ProviderUnavailable("500")

    async def test(rig: Rig) -> None:
        failure = await rig.run(hosted(rig, Late(None)))
        assert isinstance(failure, StepFailure)
        assert failure.code == "took_too_long"
        assert "job 2 could not be stopped, and may be paid" in failure.message
        assert rig.row().doubtful == PRICE

    with_rig(test)


def test_a_create_that_took_long_to_journal_is_sent_once_and_has_time_to_be_answered(
    with_rig: Callable[[Test], None], settings: Settings
) -> None:
    async def test(rig: Rig) -> None:
        class Timed(Vendor):
            create_seconds = patience(0.6)

            async def submit(self, work: Work, token: str) -> str:
                left = (rig.row().sent_at or 0.0) + self.create_seconds - time.time()
                self.calls.append("in time" if left > self.create_seconds / 4 else "late")
                return await super().submit(work, token)

        vendor = Timed(None)
        with closing(sqlite3.connect(settings.data_dir / "journal.db", isolation_level=None)) as other:
            other.execute("begin immediate")
            step = asyncio.create_task(rig.run(hosted(rig, vendor)))
            await asyncio.sleep(vendor.create_seconds)
            assert vendor.told == []
            other.execute("rollback")
        assert isinstance(await step, Image)
        assert vendor.told == ["in time", "submit 1", "poll job 2"]
        assert rig.row().attempt == 1
        told = [event.kind for event in rig.journal.events(rig.video.id) if event.step == "image/0"]
        assert told == ["step.started", "step.not_taken", "step.started", "step.done"]

    with_rig(test)


@pytest.mark.parametrize("meanwhile", ["nothing", "sent again", "stopping"])
def test_a_process_that_was_stopped_before_its_create_sends_it_only_if_nobody_else_has_gone_on_with_it(
    with_rig: Callable[[Test], None], monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    async def test(rig: Rig) -> None:
        vendor, sent = Vendor("job of another process"), StepLog.sent

        async def stopped(self: StepLog, *args: Any) -> None:
            await sent(self, *args)
            monkeypatch.setattr(StepLog, "sent", sent)  # it is stopped once
            time.sleep(Vendor.create_seconds + 0.1)
            if meanwhile == "sent again":
                await rig.leave(state=StepState.SENT, attempt=2, sent_at=time.time())
            rig.steps.stopping = meanwhile == "stopping"

        monkeypatch.setattr(StepLog, "sent", stopped)
        if meanwhile != "nothing":
            with pytest.raises(LeaseLost):
                await rig.run(hosted(rig, vendor))
            assert vendor.told == []
        if meanwhile == "sent again":
            assert (rig.row().state, rig.row().attempt) == (StepState.SENT, 2)
            return
        rig.restart()
        assert isinstance(await rig.run(hosted(rig, vendor)), Image)
        assert vendor.told == ["submit 1", "poll job 2"]

    with_rig(test)
