"""What counts as spent, at each moment of a step's life."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from raypipe.artifacts import ArtifactStore
from raypipe.config import Settings
from raypipe.errors import BudgetReached, OverBudget
from raypipe.intake import accept
from raypipe.journal import Journal, VideoRecord, Write
from raypipe.models import StepState, VideoRequest

PRICED = {"simulated": {"price": 0.1}}
REQUEST = VideoRequest(prompt="a boat", duration=5, model="simulated", options=PRICED)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(Settings(data_dir=tmp_path).journal_url)
    yield opened
    opened.close()


def planned(journal: Journal, tmp_path: Path) -> tuple[VideoRecord, tuple[Write, ...]]:
    """A video of three works, estimated at $0.30."""
    settings = Settings(data_dir=tmp_path)
    return accept(REQUEST, settings, journal, ArtifactStore(settings.artifacts_url))


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


def test_a_step_is_reserved_only_up_to_the_budgets(journal: Journal, tmp_path: Path) -> None:
    async def test() -> None:
        video, rows = planned(journal, tmp_path)
        await journal.accept(video, rows, None)
        image, chunk = (
            next(each for each in journal.steps(video.id) if each.step == name)
            for name in ("image/0", "chunk/0")
        )
        await journal.reserve(image, 0.1, 0.15, None, epoch=9)
        await journal.reserve(image, 0.15, 0.15, None, epoch=9)  # again, for a dearer model: it counts once
        with pytest.raises(BudgetReached, match=r"\$0\.16, and the video's budget is \$0\.15"):
            await journal.reserve(chunk, 0.01, 0.15, None, epoch=9)
        with pytest.raises(BudgetReached, match=r"\$0\.20 that may be spent a day"):
            await journal.reserve(chunk, 0.06, None, 0.2, epoch=9)
        assert journal.steps(video.id)[1].reserved_cost is None

    asyncio.run(test())
