"""What must hold of an installation whatever was killed: read from its journal, its artifacts and the ledger."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator

from raypipe.artifacts import ArtifactStore
from raypipe.config import Settings
from raypipe.errors import ArtifactMissing
from raypipe.journal import Journal, StepRecord, Token
from raypipe.models import StepState, VideoState


def broken(settings: Settings, video_ids: Iterable[str]) -> list[str]:
    """Return what does not hold: nothing, if all is well."""
    journal = Journal(settings.journal_url)
    try:
        return list(_broken(settings, journal, sorted(video_ids)))
    finally:
        journal.close()


def creates(settings: Settings) -> Counter[tuple[str, str]]:
    """Count the ledger's creates of each video and step."""
    return Counter((create.video_id, create.step) for create in sent(settings))


def sent(settings: Settings) -> list[Token]:
    """Read the ledger's creates."""
    assert settings.simulated_ledger is not None
    if not settings.simulated_ledger.exists():
        return []
    return [
        Token.parse(json.loads(line)["token"]) for line in settings.simulated_ledger.read_text().splitlines()
    ]


def _broken(settings: Settings, journal: Journal, video_ids: list[str]) -> Iterator[str]:
    videos, steps = journal.videos(video_ids), journal.steps_of(video_ids)
    for video_id in video_ids:
        state = videos[video_id].state
        if not (state.terminal or state is VideoState.WAITING):
            yield f"{video_id} is {state}"
        yield from _broken_events(journal, video_id)
    rows = {(step.video_id, step.step, step.take): step for each in steps.values() for step in each}
    if settings.simulated_ledger is not None:
        for key, number in Counter(each[:3] for each in sent(settings)).items():
            if key in rows and number > 1 and not rows[key].possible_duplicate:
                yield f"{key} was created {number} times, and its row does not say so"
    store = ArtifactStore(settings.artifacts_url)
    for step in rows.values():
        yield from _broken_artifact(store, step)


def _broken_events(journal: Journal, video_id: str) -> Iterator[str]:
    events = journal.events(video_id)
    seqs, ids = [event.seq for event in events], [event.id for event in events]
    if ids != sorted(set(ids)):
        yield f"the ids of the events of {video_id} do not increase: {ids}"
    if seqs != list(range(1, len(seqs) + 1)):
        yield f"the events of {video_id} are numbered {seqs}"


def _broken_artifact(store: ArtifactStore, step: StepRecord) -> Iterator[str]:
    if step.state is not StepState.DONE:
        return
    if step.artifact is None:
        yield f"{step.video_id} {step.step} is done and has no artifact"
        return
    try:
        data = store.get(step.artifact)
    except ArtifactMissing:
        yield f"{step.video_id} {step.step}: its artifact is missing"
        return
    if hashlib.sha256(data).hexdigest() != step.artifact.digest:
        yield f"{step.video_id} {step.step}: its artifact is not what its name says"
