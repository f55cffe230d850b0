from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.errors import InvalidRequest
from raypipe.models import Artifact, BeatEdit, DraftSpec, Spec, VideoRequest
from raypipe.phases.plan import build_full_spec
from raypipe.phases.references import group_sequences
from raypipe.phases.takes import takes_of, with_take

PICTURE = Artifact(digest="a" * 64, size=1, media_type="image/png")


def spec_of(*continues: bool | None, limit: int = 1) -> Spec:
    beats = [{"prompt": f"beat {index}", "continues": each} for index, each in enumerate(continues)]
    request = VideoRequest(spec=DraftSpec.model_validate({"beats": beats}))
    return build_full_spec(request, "vid_x", None, limit)


SIX = spec_of(*[None] * 6)


def edited(spec: Spec, beat: int, **change: Any) -> Spec:
    return with_take(spec, beat, BeatEdit(**change))


def chains(spec: Spec) -> list[list[int]]:
    found = group_sequences(spec.beats, spec.followers_per_reference)
    return [[beat.beat_index for beat in sequence.beats] for sequence in found]


def test_a_changed_reference_beat_is_made_anew_with_its_follower_and_the_film_and_nothing_else() -> None:
    after = edited(SIX, 2, prompt="another")
    assert after.takes == {
        "image/2": 2,
        "chunk/2": 2,
        "last_frame/2": 2,
        "chunk/3": 2,
        "last_frame/3": 2,
        "stitch": 2,
    }
    assert [beat.prompt for beat in after.beats] == [
        "beat 0",
        "beat 1",
        "another",
        "beat 3",
        "beat 4",
        "beat 5",
    ]
    assert [(beat.take, beat.prompt) for beat in takes_of(after, 2)] == [(1, "beat 2"), (2, "another")]


def test_a_changed_follower_leaves_what_it_follows() -> None:
    after = edited(SIX, 3, prompt="another")
    assert after.takes == {"image/3": 2, "chunk/3": 2, "last_frame/3": 2, "stitch": 2}


def test_whoever_goes_back_finds_the_steps_as_they_were() -> None:
    second = edited(SIX, 2, prompt="another")
    third = edited(second, 3, prompt="and another")
    assert third.takes["chunk/3"] == 3
    back = edited(third, 2, take=1)
    # beat 3 keeps its change, and has not been made from the first take of beat 2 yet
    assert back.takes == {"image/3": 2, "chunk/3": 4, "last_frame/3": 4, "stitch": 4}
    assert edited(back, 2, take=2).takes == third.takes
    assert edited(back, 3, take=1).takes == {}


def test_a_follower_that_gets_a_picture_becomes_a_reference_and_no_other_beat_changes_its_role() -> None:
    after = edited(SIX, 3, reference_image=PICTURE)
    assert chains(after) == [[0, 1], [2], [3], [4, 5]]
    assert after.takes == {"image/3": 2, "chunk/3": 2, "last_frame/3": 2, "stitch": 2}
    back = edited(after, 3, take=1)
    assert chains(back) == chains(SIX)
    assert back.takes == {}
    longer = spec_of(*[None] * 5, limit=2)
    assert chains(edited(longer, 1, reference_image=PICTURE)) == [[0], [1, 2], [3, 4]]


def test_the_picture_of_a_beat_stays_when_its_prompt_changes() -> None:
    after = edited(edited(SIX, 2, reference_image=PICTURE), 2, prompt="another")
    assert (after.beats[2].reference_image, after.beats[2].take) == (PICTURE, 3)


def test_a_take_that_is_not_there_is_named() -> None:
    with pytest.raises(InvalidRequest, match="Beat 2 has no take 2: its only take is 1"):
        edited(SIX, 2, take=2)
    with pytest.raises(InvalidRequest, match="Beat 2 has no take 3: its takes are 1, 2"):
        edited(edited(SIX, 2), 2, take=3)


def test_going_back_excludes_a_change() -> None:
    with pytest.raises(ValueError, match="excludes a new prompt"):
        BeatEdit(take=1, prompt="x")


def test_a_spec_with_takes_is_taken_as_a_draft_of_a_new_video() -> None:
    after = edited(SIX, 2, prompt="another")
    draft = DraftSpec.model_validate(after.model_dump(mode="json"))
    assert build_full_spec(VideoRequest(spec=draft), "vid_y", None, 1).takes == {}


_edit = st.tuples(
    st.integers(0, 4), st.sampled_from(["prompt", "picture", "again", "back"]), st.integers(1, 4)
)


@given(st.lists(_edit, max_size=12), st.integers(0, 3))
def test_equal_beats_have_equal_takes_and_different_ones_different_takes(
    edits: list[tuple[int, str, int]], limit: int
) -> None:
    spec = spec_of(*[None] * 5, limit=limit)
    seen: dict[tuple[str, int], Any] = {}
    for beat, what, take in edits:
        if what == "back":
            if take > len(takes_of(spec, beat)):
                continue
            spec = edited(spec, beat, take=take)
        else:
            changes = {"prompt": {"prompt": "p"}, "picture": {"reference_image": PICTURE}, "again": {}}[what]
            spec = edited(spec, beat, **changes)
        for step, made_from in _made_from(spec).items():
            assert seen.setdefault((step, spec.takes.get(step, 1)), made_from) == made_from
    by_content = {(step, str(made_from)) for (step, _), made_from in seen.items()}
    assert len(by_content) == len(seen)
    assert Spec.model_validate_json(spec.model_dump_json()) == spec


def _made_from(spec: Spec) -> dict[str, Any]:
    """What each chunk and the film are made from: the takes of all beats on the way."""
    made: dict[str, Any] = {}
    for sequence in group_sequences(spec.beats, spec.followers_per_reference):
        before: list[tuple[int, int]] = []
        for beat in sequence.beats:
            before = [*before, (beat.beat_index, beat.take)]
            made[f"chunk/{beat.beat_index}"] = before
    made["stitch"] = [made[f"chunk/{beat.beat_index}"] for beat in spec.beats]
    return made
