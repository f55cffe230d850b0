"""Takes: a beat that is changed is made anew, and with it what depends on it; what was made before is kept.

A step's take is numbered by what it is made from: an image by its beat's take, a chunk by that and the take of the
chunk it continues from, the film by its chunks' takes. So going back to an earlier take finds what was made of it.
"""

from collections.abc import Iterator

from raypipe.errors import InvalidRequest
from raypipe.models import Artifact, Beat, BeatEdit, BeatSequence, Spec
from raypipe.phases.references import group_sequences


def takes_of(spec: Spec, beat_index: int) -> tuple[Beat, ...]:
    """Return all takes of a beat, in order."""
    found = [each for each in (*spec.beats, *spec.other_takes) if each.beat_index == beat_index]
    return tuple(sorted(found, key=lambda beat: beat.take))


def chunk_take_of(spec: Spec, beat: Beat) -> int | None:
    """Return the newest take of a beat's chunk that was made from a take of the beat; None if none was."""
    step = f"chunk/{beat.beat_index}"
    made_from = spec.made_from.get(step, ((1,),))
    found = [number for number, made in enumerate(made_from, start=1) if made[-1] == beat.take]
    in_use = spec.takes.get(step, 1)
    return in_use if in_use in found else max(found, default=None)


def with_take(spec: Spec, beat_index: int, edit: BeatEdit) -> Spec:
    """Return a spec with another take of a beat, a new one or an earlier one.

    Args:
        spec: The spec as it is.
        beat_index: Which beat; there must be one.
        edit: What to change; a picture in it is stored.

    Raises:
        InvalidRequest: The beat has no such take.
    """
    spec = _with_fixed_roles(spec)
    chosen = (
        _new_take(spec, beat_index, edit) if edit.take is None else find_take(spec, beat_index, edit.take)
    )
    there = {beat.take: beat for beat in (*takes_of(spec, beat_index), chosen)}
    unused = [beat for take, beat in there.items() if take != chosen.take]
    others = [beat for beat in spec.other_takes if beat.beat_index != beat_index]
    beats = [chosen if beat.beat_index == beat_index else beat for beat in spec.beats]
    return _with_numbers(
        spec, spec.model_copy(update={"beats": tuple(beats), "other_takes": (*others, *unused)})
    )


def _new_take(spec: Spec, beat_index: int, edit: BeatEdit) -> Beat:
    changes: dict[str, object] = {"take": takes_of(spec, beat_index)[-1].take + 1}
    if edit.prompt is not None:
        changes["prompt"] = edit.prompt
    if edit.reference_image is not None:
        changes |= {"reference_image": Artifact.model_validate(edit.reference_image), "continues": False}
    return spec.beats[beat_index].model_copy(update=changes)


def find_take(spec: Spec, beat_index: int, take: int) -> Beat:
    """Return a take of a beat.

    Raises:
        InvalidRequest: There is none of that number.
    """
    there = {beat.take: beat for beat in takes_of(spec, beat_index)}
    if take not in there:
        has = f"its takes are {', '.join(map(str, there))}" if len(there) > 1 else "its only take is 1"
        raise InvalidRequest(f"Beat {beat_index} has no take {take}: {has}.")
    return there[take]


def _with_fixed_roles(spec: Spec) -> Spec:
    """Say of each beat whether it continues, so that changing one changes the role of no other."""
    follows = {beat.beat_index for sequence in _sequences(spec) for beat in sequence.followers}
    beats = [beat.model_copy(update={"continues": beat.beat_index in follows}) for beat in spec.beats]
    return spec.model_copy(update={"beats": tuple(beats)})


def _with_numbers(before: Spec, after: Spec) -> Spec:
    """Number the steps of a changed spec: what is made from the same as before has the number it had."""
    known = {step: list(made) for step, made in before.made_from.items()}
    for _ in _numbered(before, known):
        pass
    takes = {step: take for step, take in _numbered(after, known) if take != 1}
    made_from = {step: tuple(made) for step, made in known.items() if len(made) > 1}
    return after.model_copy(update={"takes": takes, "made_from": made_from})


def _numbered(spec: Spec, known: dict[str, list[tuple[int, ...]]]) -> Iterator[tuple[str, int]]:
    """Give the take of each step, and note in `known` what those are made from that were not there."""

    def number(step: str, made_from: tuple[int, ...]) -> int:
        there = known.setdefault(step, [])
        if made_from not in there:
            there.append(made_from)
        return there.index(made_from) + 1

    chunks: list[int] = []
    for sequence in _sequences(spec):
        before: tuple[int, ...] = ()
        for beat in sequence.beats:
            at = beat.beat_index
            chunk = number(f"chunk/{at}", (*before, beat.take))
            yield from ((f"image/{at}", beat.take), (f"chunk/{at}", chunk), (f"last_frame/{at}", chunk))
            chunks.append(chunk)
            before = (chunk,)
    yield "stitch", number("stitch", tuple(chunks))


def _sequences(spec: Spec) -> tuple[BeatSequence, ...]:
    return group_sequences(spec.beats, spec.followers_per_reference)
