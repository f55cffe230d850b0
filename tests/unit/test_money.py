"""What counts as spent, at each moment of a step's life."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from raypipe.artifacts import ArtifactStore
from raypipe.config import Settings
from raypipe.errors import BudgetReached, DailyBudgetReached, InvalidRequest, OverBudget
from raypipe.intake import accept
from raypipe.journal import Journal, StepRecord, VideoRecord, Write
from raypipe.models import StepState, VideoRequest, VideoState

PRICED = {"simulated": {"price": 0.1}}
REQUEST = VideoRequest(prompt="a boat", duration=5, model="simulated", options=PRICED)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(Settings(data_dir=tmp_path).journal_url)
    yield opened
    opened.close()


def planned(
    journal: Journal, tmp_path: Path, budget: float | None = None
) -> tuple[VideoRecord, tuple[Write, ...]]:
    """A video of three works, estimated at $0.30."""
    settings = Settings(data_dir=tmp_path)
    request = REQUEST.model_copy(update={"budget": budget})
    return accept(request, settings, journal, ArtifactStore(settings.artifacts_url))


def test_an_accepted_video_counts_with_its_estimate_from_its_acceptance_to_its_last_step(
    journal: Journal, tmp_path: Path
) -> None:
    async def has_room(budget: float) -> bool:
        video, _ = planned(journal, tmp_path)
        try:
            await journal.accept(video, (), budget)
        except OverBudget:
            return False
        return True

    async def test() -> None:
        video, rows = planned(journal, tmp_path)
        await journal.accept(video, rows, 0.3)
        step = next(each for each in journal.steps(video.id) if each.step == "image/0")
        moments = [
            step,
            step.evolve(reserved_cost=0.1),
            step.evolve(reserved_cost=0.1, state=StepState.SENT, sent_at=video.created_at),
            step.evolve(cost=0.1, state=StepState.DONE, sent_at=video.created_at),
        ]
        for row in moments:
            await journal.writer.put(journal.step(row))
            assert (await has_room(0.6), await has_room(0.59)) == (True, False), row

    asyncio.run(test())


def steps_of(journal: Journal, video_id: str) -> tuple[StepRecord, StepRecord]:
    """The rows of its image and its clip."""
    rows = {each.step: each for each in journal.steps(video_id)}
    return rows["image/0"], rows["chunk/0"]


def test_a_step_is_reserved_only_up_to_the_budgets(journal: Journal, tmp_path: Path) -> None:
    async def test() -> None:
        video, rows = planned(journal, tmp_path, budget=0.3)
        await journal.accept(video, rows, None)
        image, chunk = steps_of(journal, video.id)
        await journal.reserve(image, 0.1, None, epoch=9)
        await journal.reserve(image, 0.3, None, epoch=9)  # again, for a dearer model: it counts once
        with pytest.raises(BudgetReached, match=r"\$0\.31, and the video's budget is \$0\.30"):
            await journal.reserve(chunk, 0.01, None, epoch=9)
        other, rows = planned(journal, tmp_path)
        await journal.accept(other, rows, None)
        with pytest.raises(DailyBudgetReached, match=r"\$0\.35 that may be spent a day"):
            await journal.reserve(steps_of(journal, other.id)[0], 0.06, 0.35, epoch=9)
        assert [each.reserved_cost for each in (chunk, *steps_of(journal, other.id))] == [None] * 3

    asyncio.run(test())


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (0.5, 0.29, r"\$0.10 is spent and the rest is estimated at \$0.20: a budget of \$0.29 has no room"),
        (0.5, float("nan"), "not nan"),
        (0.5, float("inf"), "not inf"),
        (0.5, -1.0, "not -1"),
        (None, 5.0, "begun without a budget"),
    ],
)
def test_a_budget_that_cannot_be_is_refused_and_changes_nothing(
    journal: Journal, tmp_path: Path, before: float | None, after: float, said: str
) -> None:
    async def test() -> None:
        video_id = await waiting(journal, tmp_path, before)
        found = journal.video(video_id), journal.steps(video_id), journal.events(video_id)
        with pytest.raises(InvalidRequest, match=said):
            await journal.continue_(None, video_id, budget=after)
        assert (journal.video(video_id), journal.steps(video_id), journal.events(video_id)) == found

    asyncio.run(test())


async def waiting(journal: Journal, tmp_path: Path, budget: float | None) -> str:
    """A video whose image is paid, and that waits."""
    video, rows = planned(journal, tmp_path, budget)
    await journal.accept(video, rows, None)
    image, _ = steps_of(journal, video.id)
    paid = image.evolve(cost=0.1, state=StepState.DONE, sent_at=video.created_at)
    await journal.writer.put(journal.step(paid), journal.put_back(video.id, VideoState.WAITING))
    return video.id


def test_a_step_is_reserved_within_the_budget_that_the_video_has_by_then(
    journal: Journal, tmp_path: Path
) -> None:
    async def test() -> None:
        video_id = await waiting(journal, tmp_path, 0.3)
        _, chunk = steps_of(journal, video_id)
        with pytest.raises(BudgetReached):
            await journal.reserve(chunk, 0.4, None, epoch=9)
        await journal.continue_(None, video_id, budget=0.5)
        await journal.reserve(chunk, 0.4, None, epoch=9)
        assert steps_of(journal, video_id)[1].reserved_cost == 0.4
        told = journal.events(video_id)[-1]
        assert (told.kind, told.data) == ("video.edited", {"budget": 0.5})

    asyncio.run(test())
