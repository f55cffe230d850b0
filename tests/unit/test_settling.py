"""Videos that are over are asked for beside each other, until nothing of them is under way: on a real journal."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from raypipe.errors import ProviderUnavailable
from raypipe.journal import Journal
from raypipe.settling import Settling
from tests.patience import patience

from .test_left_jobs import left
from .test_steps import Rig, Test, journal, settings, with_rig

__all__ = ["journal", "settings", "with_rig"]


class Asked:
    """What gateways answer when they are asked for a video: each answer once, and nothing left after that."""

    def __init__(self, answers: dict[str, list[Any]]) -> None:
        self.answers, self.asked, self.settled = answers, list[str](), set[str]()

    async def gateways(self) -> Any:
        return self

    def of(self, video_id: str) -> Any:
        return self

    @property
    def settle(self) -> Any:
        return self

    async def remote(self, job: Any, works: Any, stop: bool) -> int:
        self.asked.append(job.video_id)
        answer = self.answers[job.video_id].pop(0) if self.answers.get(job.video_id) else 0
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, asyncio.Event):
            await answer.wait()
            return 1
        if answer == 0:
            self.settled.add(job.video_id)
        return int(answer)

    async def until_settled(self, *video_ids: str) -> None:
        async with asyncio.timeout(patience(30)):
            while not self.settled >= set(video_ids):
                await asyncio.sleep(0.01)


async def settled(journal: Journal, asked: Asked, *video_ids: str) -> None:
    """Run until videos are settled that the journal says have something left."""
    running = asyncio.create_task(Settling(journal, asked.gateways).run())
    try:
        await asked.until_settled(*video_ids)
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.wait([running])


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raypipe.settling.FIRST_PAUSE_SECONDS", 0.01)


def test_a_video_is_asked_for_until_nothing_is_left_whatever_goes_wrong_meanwhile(
    with_rig: Callable[[Test], None],
) -> None:
    async def test(rig: Rig) -> None:
        await left(rig)
        asked = Asked({rig.video.id: [2, ProviderUnavailable("down"), ValueError("nobody foresaw it"), 1]})
        await settled(rig.journal, asked, rig.video.id)
        assert asked.asked == [rig.video.id] * 5

    with_rig(test)


def test_a_provider_that_does_not_answer_for_one_video_delays_no_other(
    with_rig: Callable[[Test], None],
) -> None:
    async def test(rig: Rig) -> None:
        await left(rig)
        other = Rig(rig.settings, rig.journal)
        await other.accept()
        await left(other)
        asked = Asked({rig.video.id: [asyncio.Event()]})
        await settled(rig.journal, asked, other.video.id)
        assert set(asked.asked) == {rig.video.id, other.video.id}

    with_rig(test)
