"""A step's models in turn, on a real journal, with a gateway's death between."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from raypipe.config import Settings
from raypipe.errors import OutOfFunds, ProviderError, ProviderRejected, ProviderUnavailable
from raypipe.fallback import in_turn
from raypipe.journal import Journal, Owner
from raypipe.models import Artifact, Image, Kind, StepFailure, StepState, VideoState
from raypipe.providers.base import ImageWork
from raypipe.step_log import StepLog

from .test_steps import MADE, Rig

#: image models, and what an image costs there, in US dollars
CHEAP, DEAR, OTHER = (f"replicate/{name}" for name in (
    "black-forest-labs/flux-schnell", "black-forest-labs/flux-dev", "google/nano-banana",
))  # fmt: skip
PRICES = {CHEAP: 0.003, DEAR: 0.025, OTHER: 0.039}
REFUSES, NO_FUNDS, DOWN = ProviderRejected("no"), OutOfFunds("none left"), ProviderUnavailable("down")

#: what a model says: an error, also once it has a job; or nothing, and delivers
Says = ProviderError | tuple[str, ProviderError] | None


class Turns:
    """A step and its models, whose answers are scripted."""

    def __init__(self, rig: Rig) -> None:
        self._rig, self.asked = rig, list[str]()
        self.says: dict[str, Says] = {}

    @classmethod
    async def of(cls, rig: Rig, *models: str) -> "Turns":
        rig.job = rig.job.model_copy(update={"models": {**rig.job.models, Kind.IMAGE: models}})
        await rig.leave(model=models[0], provider="replicate", estimated_cost=PRICES[models[0]])
        return cls(rig)

    async def run(self) -> Image | StepFailure:
        self.asked.clear()
        epoch = self._rig.journal.video(self._rig.video.id).epoch
        return await self._rig.run(self._make, epoch)

    async def _make(self, log: StepLog) -> Image:
        work = ImageWork(job=self._rig.job, model="simulated", beat=self._rig.video.spec.beats[0])

        async def provide(model: str) -> Artifact:
            self.asked.append(model)
            await log.reserve(log.record.estimated_cost or 0.0, bounded=False, daily=None)
            await log.sent("node", possible_duplicate=False)
            said = self.says.get(model)
            if isinstance(said, tuple):
                await log.accepted(said[0])
                raise said[1]
            if said is not None:
                log.note_not_taken()
                raise said
            return MADE.artifact

        return Image(artifact=await in_turn(log, work, provide, {}), beat_index=0)

    async def paused(self, code: str) -> None:
        """Have the video wait, and somebody go on with it."""
        journal, video_id = self._rig.journal, self._rig.video.id
        await journal.writer.put(journal.put_back(video_id, VideoState.WAITING, code, "for money"))
        await journal.continue_(Owner("me", "local"), video_id)


Test = Callable[[Rig], Awaitable[None]]


@pytest.fixture
def with_rig(tmp_path: Path) -> Callable[[Test], None]:
    def run(test: Test) -> None:
        async def main() -> None:
            settings = Settings(data_dir=tmp_path)
            journal = Journal(settings.journal_url)
            rig = Rig(settings, journal)
            await rig.accept()
            await test(rig)
            journal.close()

        asyncio.run(main())

    return run


def test_who_waits_for_funds_asks_no_model_again_that_failed_at_a_job(
    with_rig: Callable[[Test], None],
) -> None:
    async def test(rig: Rig) -> None:
        turns = await Turns.of(rig, CHEAP, DEAR, OTHER)
        turns.says = {CHEAP: NO_FUNDS, DEAR: ("job 1", REFUSES), OTHER: DOWN}
        failure = await turns.run()
        assert isinstance(failure, StepFailure)
        assert (failure.code, failure.message, turns.asked) == (
            "out_of_funds",
            "none left",
            [CHEAP, DEAR, OTHER],
        )
        row = rig.row()
        assert (row.model, row.provider_job_id, row.reserved_cost) == (CHEAP, None, None)
        assert row.doubtful_cost == pytest.approx(PRICES[DEAR]), "what had a job may be paid"
        await turns.paused("out_of_funds")
        assert isinstance(await turns.run(), StepFailure)
        assert turns.asked == [CHEAP, OTHER], "who was down is asked again"
        await turns.paused("out_of_funds")
        turns.says[CHEAP] = None
        assert isinstance(await turns.run(), Image)
        assert (turns.asked, rig.row().doubtful_cost) == ([CHEAP], pytest.approx(PRICES[DEAR]))

    with_rig(test)


def test_that_a_model_had_no_funds_is_known_after_a_gateways_death(with_rig: Callable[[Test], None]) -> None:
    async def test(rig: Rig) -> None:
        turns = await Turns.of(rig, CHEAP, DEAR)
        turns.says = {CHEAP: NO_FUNDS, DEAR: ("job 1", REFUSES)}
        await turns.run()
        row = rig.row()
        # as it was while the second one was at work
        await rig.leave(state=StepState.SENT, model=DEAR, error_code=None, error_message=None, result=None)
        rig.restart()
        failure = await turns.run()
        assert isinstance(failure, StepFailure)
        assert (failure.code, turns.asked, rig.row().model) == ("out_of_funds", [DEAR], row.model)

    with_rig(test)


def test_a_step_that_is_tried_anew_asks_all_its_models_at_their_own_prices(
    with_rig: Callable[[Test], None],
) -> None:
    async def test(rig: Rig) -> None:
        turns = await Turns.of(rig, DEAR, CHEAP)
        turns.says = {DEAR: ("job 1", REFUSES), CHEAP: ("job 2", REFUSES)}
        assert isinstance(await turns.run(), StepFailure)
        assert (rig.row().model, rig.row().estimated_cost) == (CHEAP, PRICES[CHEAP])
        journal, video_id = rig.journal, rig.video.id
        await journal.writer.put(journal.finish(video_id, VideoState.FAILED))
        await journal.retry(Owner("me", "local"), video_id, resubmit=False)
        turns.says[DEAR] = None
        assert isinstance(await turns.run(), Image)
        row = rig.row()
        assert (turns.asked, row.model, row.reserved_cost) == ([DEAR], DEAR, PRICES[DEAR])
        assert row.doubtful_cost == pytest.approx(PRICES[DEAR] + PRICES[CHEAP])

    with_rig(test)


def test_a_job_that_is_there_is_not_given_up_for_another_model(with_rig: Callable[[Test], None]) -> None:
    async def test(rig: Rig) -> None:
        turns = await Turns.of(rig, CHEAP, DEAR)
        turns.says = {CHEAP: NO_FUNDS, DEAR: ("job 1", DOWN)}
        failure = await turns.run()
        assert isinstance(failure, StepFailure)
        assert (failure.code, rig.row().model, rig.row().provider_job_id) == (
            "provider_unavailable",
            DEAR,
            "job 1",
        )

    with_rig(test)


def test_a_video_without_a_budget_of_its_own_is_gone_on_with_whatever_it_waited_for(
    with_rig: Callable[[Test], None],
) -> None:
    async def test(rig: Rig) -> None:
        turns = await Turns.of(rig, CHEAP)
        turns.says = {CHEAP: NO_FUNDS}
        await turns.run()
        await turns.paused("budget_reached")  # a day's, where a price is not known
        assert rig.journal.video(rig.video.id).state is VideoState.RUNNING

    with_rig(test)
