"""What must hold of an installation whatever was killed: read from its journal, its artifacts and the ledger.

Each invariant is a function of its own: its name says what holds, its docstring why, and it gives a sentence for each
place where it does not. `tests/chaos/test_invariants.py` plants for each something that it has to find.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from raypipe.config import Settings
from raypipe.journal import Journal
from tests.chaos.invariants.events import EVENTS
from tests.chaos.invariants.evidence import (
    Create,
    Evidence,
    Seen,
    creates,
    sent,
    under_way,
    vendor_creates,
)
from tests.chaos.invariants.installation import INSTALLATION
from tests.chaos.invariants.money import MONEY
from tests.chaos.invariants.steps import STEPS
from tests.chaos.invariants.videos import VIDEOS

__all__ = [
    "INSTALLATION",
    "OF_A_VIDEO",
    "Create",
    "Seen",
    "broken",
    "creates",
    "sent",
    "under_way",
    "vendor_creates",
    "violations",
]

EvidenceT = TypeVar("EvidenceT")

#: what must hold of each video; `INSTALLATION` is what must hold of all together
OF_A_VIDEO = (*VIDEOS, *STEPS, *MONEY, *EVENTS)


def broken(settings: Settings, video_ids: Iterable[str]) -> list[str]:
    """Return what does not hold of videos, by the simulated provider if by any: nothing, if all is well."""
    ids = set(video_ids)
    theirs = tuple(create for create in sent(settings) if create.token.video_id in ids)
    return violations(settings, Seen(ids, creates=theirs))


def violations(settings: Settings, seen: Seen) -> list[str]:
    """Return what does not hold of an installation at rest: nothing, if all is well."""
    journal = Journal(settings.journal_url)
    try:
        evidence = Evidence(settings, journal, seen, time.time())
        problems = list(_judged(INSTALLATION, evidence))
        for video in evidence.videos():
            problems += [video] if isinstance(video, str) else _judged(OF_A_VIDEO, video)
        return problems
    finally:
        journal.close()


def _judged(invariants: Iterable[Callable[[EvidenceT], Iterable[str]]], evidence: EvidenceT) -> Iterator[str]:
    """Give what each invariant finds; one that cannot judge says so, and hides nothing that the others find."""
    for invariant in invariants:
        try:
            yield from invariant(evidence)
        except Exception as error:  # noqa: BLE001 - what was left may be damaged in any way
            yield f"{invariant.__name__} cannot be judged: {error!r:.500}"
