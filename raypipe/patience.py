"""How long a gateway may be silent before it is started again."""

import time
from collections.abc import Callable

#: seconds within which a gateway that has answered before answers again
SILENT_SECONDS = 15.0
#: seconds that a gateway gets to start, before its first answer; on an idle machine it takes one to three
START_SECONDS = 300.0
#: how much longer each further one gets that is started again without lasting, and the longest that any gets
FACTOR, LONGEST_SECONDS = 2.0, 3_600.0
#: seconds after its start at which a gateway that answers has lasted
LASTING_SECONDS = 60.0


class Patience:
    """Knows of one gateway when it was started, when it answered last, and how often it was started again in vain."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self._answered: float | None = None
        self._ends = 0

    def note_answer(self) -> None:
        """Note that it has just answered."""
        self._answered = self._clock()
        if self._answered - self._started > LASTING_SECONDS:
            self._ends = 0

    def note_death(self) -> None:
        """Note that it has died, and is being started again."""
        if not self.starts:
            self._started, self._answered = self._clock(), None

    def note_end(self) -> None:
        """Note that it has been ended, to be started again."""
        self._started, self._answered = self._clock(), None
        self._ends += 1

    @property
    def starts(self) -> bool:
        """Whether it has not answered since it was started."""
        return self._answered is None

    @property
    def seconds(self) -> float:
        """For how long it may be silent now."""
        return float(
            min(LONGEST_SECONDS, (START_SECONDS if self.starts else SILENT_SECONDS) * FACTOR**self._ends)
        )

    @property
    def silent_seconds(self) -> float:
        """For how long it has been silent."""
        return self._clock() - (self._started if self._answered is None else self._answered)

    @property
    def is_over(self) -> bool:
        """Whether it is to be started again."""
        return self.silent_seconds >= self.seconds
