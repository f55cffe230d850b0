import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.errors import InvalidSpec, OrphanFollower
from raypipe.models import Artifact, Beat
from raypipe.phases.references import group_sequences, roles_of

PICTURE = Artifact(digest="a" * 64, size=1, media_type="image/png")


def beat(index: int, continues: bool | None = None, image: Artifact | None = None) -> Beat:
    return Beat(
        beat_index=index,
        beat_id="custom",
        start=5.0 * index,
        duration=5.0,
        prompt=f"beat {index}",
        shot_type="wide",
        camera_movement="static",
        continues=continues,
        reference_image=image,
    )


def beats_of(*continues: bool | None) -> list[Beat]:
    return [beat(index, each) for index, each in enumerate(continues)]


def chains(beats: list[Beat], limit: int = 1) -> list[list[int]]:
    return [[each.beat_index for each in sequence.beats] for sequence in group_sequences(beats, limit)]


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, [[0]]),
        (2, [[0, 1]]),
        (3, [[0, 1], [2]]),
        (4, [[0, 1], [2, 3]]),
        (6, [[0, 1], [2, 3], [4, 5]]),
        (7, [[0, 1], [2, 3], [4, 5], [6]]),
    ],
)
def test_undecided_beats_alternate_between_reference_and_follower(
    count: int, expected: list[list[int]]
) -> None:
    assert chains(beats_of(*[None] * count)) == expected


def test_all_references_make_as_many_sequences_of_one_beat() -> None:
    assert chains(beats_of(False, False, False)) == [[0], [1], [2]]


def test_a_reference_image_makes_a_reference_where_a_follower_was_due() -> None:
    assert chains([beat(0), beat(1, image=PICTURE), beat(2)]) == [[0], [1, 2]]


def test_a_beat_that_says_so_follows() -> None:
    assert chains(beats_of(False, True, False, True)) == [[0, 1], [2, 3]]


def test_a_first_beat_that_is_to_continue_is_an_orphan_and_named() -> None:
    with pytest.raises(OrphanFollower, match=r"Beat 0 .* no beat comes before it") as caught:
        group_sequences(beats_of(True, None))
    assert caught.value.beat_index == 0
    assert isinstance(caught.value, ValueError)


def test_a_second_follower_of_one_reference_is_an_orphan_and_named() -> None:
    with pytest.raises(OrphanFollower, match=r"Beat 4 .* reference beat 2 already has the one follower"):
        group_sequences(beats_of(None, None, False, True, True))


def test_longer_chains_are_possible_when_configured() -> None:
    assert chains(beats_of(None, True, True, None, None), limit=2) == [[0, 1, 2], [3, 4]]
    with pytest.raises(OrphanFollower, match="already has the 2 followers"):
        group_sequences(beats_of(None, True, True, True), 2)


def test_without_followers_every_undecided_beat_is_a_reference_and_a_follower_an_orphan() -> None:
    assert chains(beats_of(None, None, None), limit=0) == [[0], [1], [2]]
    with pytest.raises(OrphanFollower, match=r"Beat 1 .* allows no followers"):
        group_sequences(beats_of(None, True), 0)


@pytest.mark.parametrize("indices", [[1, 2], [0, 2], [1, 0], [0, 0]])
def test_beats_that_are_not_numbered_in_order_are_refused(indices: list[int]) -> None:
    with pytest.raises(InvalidSpec, match="numbered 0 to 1 in order"):
        group_sequences([beat(index) for index in indices])


def test_no_beats_make_no_sequences() -> None:
    assert group_sequences([]) == ()


def test_the_description_says_each_beats_role_and_what_it_starts_from() -> None:
    sequences = group_sequences([beat(0), beat(1), beat(2), beat(3, image=PICTURE)])
    assert roles_of(sequences) == [
        {"beat_index": 0, "role": "reference", "image": "storyboard"},
        {"beat_index": 1, "role": "follower", "of": 0},
        {"beat_index": 2, "role": "reference", "image": "storyboard"},
        {"beat_index": 3, "role": "reference", "image": "supplied"},
    ]


def test_in_a_long_chain_each_follower_is_of_the_beat_before_it() -> None:
    described = roles_of(group_sequences(beats_of(None, None, None), 2))
    assert [each.get("of") for each in described] == [None, 0, 1]


@given(st.lists(st.sampled_from([None, False]), max_size=70), st.integers(0, 5))
def test_grouping_keeps_all_beats_in_order_in_chains_that_are_short_enough(
    decisions: list[bool | None], limit: int
) -> None:
    beats = beats_of(*decisions)
    sequences = group_sequences(beats, limit)
    assert [each for sequence in sequences for each in sequence.beats] == beats
    assert all(len(sequence.followers) <= limit for sequence in sequences)
    assert all(each.continues is not False for sequence in sequences for each in sequence.followers)


@given(st.lists(st.sampled_from([None, False, True]), max_size=40), st.integers(0, 3))
def test_beats_that_are_to_continue_follow_or_are_refused(decisions: list[bool | None], limit: int) -> None:
    beats = beats_of(*decisions)
    orphan = first_orphan(decisions, limit)
    if orphan is not None:
        with pytest.raises(OrphanFollower, match=rf"Beat {orphan} "):
            group_sequences(beats, limit)
        return
    sequences = group_sequences(beats, limit)
    assert not any(sequence.reference.continues for sequence in sequences)
    assert [each for sequence in sequences for each in sequence.beats] == beats


def first_orphan(decisions: list[bool | None], limit: int) -> int | None:
    length = 0
    for index, continues in enumerate(decisions):
        room = 0 < length <= limit
        if continues and not room:
            return index
        length = length + 1 if room and continues is not False else 1
    return None
