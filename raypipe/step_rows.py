"""What the journal says of steps, kept at hand so that not every step reads it: within a bound of memory."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping

from raypipe.errors import RaypipeError
from raypipe.journal import StepKey, StepRecord

#: bytes of rows that a gateway keeps at hand: about 700 videos of six beats
ROWS_KEPT_BYTES = 64 * 2**20
#: bytes that a row takes in memory, besides what is said of a failure (measured, with Python 3.11)
_ROW_BYTES = 5_000
#: how often a row holds what was said of its failure: by itself, in its result, and there in a cause
_COPIES_OF_A_MESSAGE = 3


def key_of(step: StepRecord) -> StepKey:
    """Return what names a step in the journal."""
    return step.video_id, step.step, step.take


class _VideoRows:
    """The rows of one video: what was read at an epoch, and what was written since."""

    def __init__(self, epoch: int, rows: Awaitable[list[StepRecord]]) -> None:
        self.epoch = epoch
        self.by_key: dict[StepKey, StepRecord] = {}
        self.bytes = 0
        #: when it is done, all rows are there
        self.reading = asyncio.create_task(self._add_missing(rows))

    def put(self, row: StepRecord) -> None:
        """Replace a row."""
        before = self.by_key.get(key_of(row))
        self.bytes += _bytes_of(row) - (0 if before is None else _bytes_of(before))
        self.by_key[key_of(row)] = row

    async def _add_missing(self, rows: Awaitable[list[StepRecord]]) -> None:
        """Add rows that nothing was written of while they were read."""
        for row in await rows:
            if key_of(row) not in self.by_key:
                self.put(row)


class StepRows:
    """Rows of the videos that were asked for last.

    Args:
        read: Reads the rows of a video in the journal.
        most_bytes: How much memory they may take; those of one video are kept whatever they take.
    """

    def __init__(
        self,
        read: Callable[[str], Awaitable[list[StepRecord]]],
        most_bytes: int = ROWS_KEPT_BYTES,
    ) -> None:
        self._read, self._most_bytes = read, most_bytes
        self._videos: OrderedDict[str, _VideoRows] = OrderedDict()

    @property
    def bytes(self) -> int:
        """About how much memory the rows take."""
        return sum(video.bytes for video in self._videos.values())

    async def at(self, video_id: str, epoch: int) -> Mapping[StepKey, StepRecord]:
        """Return a video's rows as they are, where nobody else writes them since that epoch began.

        Raises:
            JournalUnavailable: They cannot be read.
        """
        video = self._videos.get(video_id)
        if video is None or video.epoch < epoch:
            video = self._videos[video_id] = _VideoRows(epoch, self._read(video_id))
        self._videos.move_to_end(video_id)
        if video.reading.done() and video.reading.exception() is None:
            return video.by_key
        try:
            await asyncio.shield(video.reading)
        except RaypipeError:
            self.forget(video_id)  # the next call reads again
            raise
        self._make_room()
        return video.by_key

    def put(self, row: StepRecord) -> None:
        """Note a row that was committed."""
        if (video := self._videos.get(row.video_id)) is not None:
            video.put(row)

    def forget(self, video_id: str) -> None:
        """Have a video's rows be read again when they are next asked for."""
        self._videos.pop(video_id, None)

    def _make_room(self) -> None:
        left = self.bytes
        for video_id, video in list(self._videos.items())[:-1]:
            if left <= self._most_bytes:
                return
            if video.reading.done():  # else somebody waits for it
                left -= video.bytes
                self.forget(video_id)


def _bytes_of(row: StepRecord) -> int:
    return _ROW_BYTES + _COPIES_OF_A_MESSAGE * len(row.error_message or "")
