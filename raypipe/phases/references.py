"""References phase: which beats start from a reference image, and which continue from their predecessor."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from raypipe.errors import InvalidSpec, OrphanFollower
from raypipe.models import Beat, BeatSequence


def group_sequences(beats: Sequence[Beat], followers_per_reference: int = 1) -> tuple[BeatSequence, ...]:
    """Group beats into sequences: a reference beat, then the followers that continue from it.

    A beat with a reference image, or with `continues` false, is a reference; one with `continues` true is a
    follower. One that leaves it open follows if the sequence before it still may take a follower, so that by
    default references and followers alternate.

    Args:
        beats: All beats of a video, in order.
        followers_per_reference: How many followers a sequence may take; 0 makes undecided beats references.

    Raises:
        InvalidSpec: The beats are not numbered 0, 1, 2, ... in order.
        OrphanFollower: A beat is to continue, but has no predecessor that still may take a follower.
    """
    _check_numbering(beats)
    chains: list[list[Beat]] = []
    for beat in beats:
        if _follows(beat, chains[-1] if chains else [], followers_per_reference):
            chains[-1].append(beat)
        else:
            chains.append([beat])
    return tuple(BeatSequence(reference=chain[0], followers=tuple(chain[1:])) for chain in chains)


def roles_of(sequences: Iterable[BeatSequence]) -> list[dict[str, Any]]:
    """Return for each beat, in JSON's types, its role and what its chunk starts from."""
    return [role for each in sequences for role in _roles(each)]


def _check_numbering(beats: Sequence[Beat]) -> None:
    found = [beat.beat_index for beat in beats]
    for expected, index in enumerate(found):
        if index != expected:
            raise InvalidSpec(
                f"Beats must be numbered 0 to {len(found) - 1} in order, but beat_index {index} stands at "
                f"position {expected}."
            )


def _follows(beat: Beat, chain: Sequence[Beat], limit: int) -> bool:
    if beat.reference_image is not None or beat.continues is False:
        return False
    room = 0 < len(chain) <= limit
    if beat.continues and not room:
        raise OrphanFollower(beat.beat_index, _why_orphan(chain, limit))
    return room


def _why_orphan(chain: Sequence[Beat], limit: int) -> str:
    if not chain:
        return "no beat comes before it"
    if limit == 0:
        return "this installation allows no followers"
    already = "the one follower" if limit == 1 else f"the {limit} followers"
    return f"reference beat {chain[0].beat_index} already has {already} that a reference may have"


def _roles(sequence: BeatSequence) -> list[dict[str, Any]]:
    reference = sequence.reference
    image = "storyboard" if reference.reference_image is None else "supplied"
    followers = [
        {"beat_index": beat.beat_index, "role": "follower", "of": before.beat_index}
        for before, beat in pairwise(sequence.beats)
    ]
    return [{"beat_index": reference.beat_index, "role": "reference", "image": image}, *followers]
