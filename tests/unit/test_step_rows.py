"""Rows of steps at hand: what was written last, read once a video, within a bound of memory."""

import asyncio

import pytest

from raypipe.errors import JournalUnavailable
from raypipe.journal import StepRecord
from raypipe.models import Phase, StepState
from raypipe.step_rows import StepRows, key_of


def row(video_id: str, number: int = 0, **more: object) -> StepRecord:
    return StepRecord(
        video_id=video_id, step=f"image/{number}", phase=Phase.STORYBOARD, beat_index=number, **more
    )


class Reader:
    """Reads rows, each time those of `stored`, once it may."""

    def __init__(self) -> None:
        self.stored = [0, 1]
        self.reads: list[str] = []
        self.may = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, video_id: str) -> list[StepRecord]:
        self.reads.append(video_id)
        rows = [row(video_id, number) for number in self.stored]
        await self.may.wait()
        if self.error is not None:
            raise self.error
        return rows


def test_who_asks_while_rows_are_read_gets_all_of_them_and_what_was_written_meanwhile() -> None:
    async def test() -> None:
        reader = Reader()
        rows = StepRows(reader)
        asking = [asyncio.create_task(rows.at("v", 1)) for _ in range(3)]
        await asyncio.sleep(0)
        written = row("v", 1, state=StepState.SENT)
        rows.put(written)
        reader.may.set()
        for video in await asyncio.gather(*asking):
            assert video == {key_of(row("v", 0)): video[key_of(row("v", 0))], key_of(written): written}
        assert (await rows.at("v", 1))[key_of(written)] == written
        assert reader.reads == ["v"]

    asyncio.run(test())


def test_rows_are_read_anew_for_a_newer_epoch_and_after_an_error() -> None:
    async def test() -> None:
        reader = Reader()
        reader.may.set()
        rows = StepRows(reader)
        await rows.at("v", 1)
        await rows.at("v", 1)
        await rows.at("v", 2)
        assert reader.reads == ["v", "v"]
        reader.error = JournalUnavailable("locked")
        with pytest.raises(JournalUnavailable):
            await rows.at("w", 1)
        reader.error = None
        assert len(await rows.at("w", 1)) == 2

    asyncio.run(test())


def test_rows_take_no_more_memory_than_they_may_and_those_in_use_stay() -> None:
    async def test() -> None:
        reader = Reader()
        reader.may.set()
        rows = StepRows(reader, most_bytes=100_000)
        for number in range(1_000):
            await rows.at(f"v{number}", 1)
            await rows.at("in use", 1)
            assert rows.bytes <= 100_000 + 2 * 5_000
        assert reader.reads.count("in use") == 1
        assert len(reader.reads) == 1_001
        rows.put(row("in use", 0, state=StepState.FAILED, error_message="x" * 60_000))
        await rows.at("another", 1)
        assert rows.bytes <= 100_000, "what was said of failures counts"

    asyncio.run(test())
