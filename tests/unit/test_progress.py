from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.models import Beat, Phase
from raypipe.phases.references import group_sequences
from raypipe.progress import WEIGHTS, Outline, chunk_progress, outline_of, progress_of

ALTERNATING = Outline(references=frozenset({0, 2, 4}), followers=frozenset({1, 3, 5}))
REFERENCES_ONLY = Outline(references=frozenset({0, 1, 2}), followers=frozenset())


def steps_of(outline: Outline) -> list[str]:
    kinds = [
        f"{kind}/{index}" for index in sorted(outline.beats) for kind in ("image", "chunk", "last_frame")
    ]
    return [*kinds, "music", "music_fit", "stitch"]


def beats_of(decisions: Sequence[bool | None]) -> list[Beat]:
    return [
        Beat(
            beat_index=index,
            beat_id="custom",
            start=5.0 * index,
            duration=5.0,
            prompt="p",
            shot_type="wide",
            camera_movement="static",
            continues=continues,
        )
        for index, continues in enumerate(decisions)
    ]


@pytest.mark.parametrize(
    ("done", "expected"),
    [
        ([], 0),
        ([0], 50 / 3),
        ([0, 2], 100 / 3),
        ([0, 2, 4], 50),
        ([0, 2, 4, 1], 50 + 50 / 3),
        ([0, 1], 100 / 3),
        ([0, 1, 2, 3, 4, 5], 100),
    ],
)
def test_references_fill_the_first_half_and_followers_the_second(done: list[int], expected: float) -> None:
    assert chunk_progress(ALTERNATING, done) == pytest.approx(expected)


def test_a_follower_that_ends_before_other_references_takes_nothing_back() -> None:
    seen = [chunk_progress(ALTERNATING, done) for done in ([4], [4, 5], [4, 5, 2], [4, 5, 2, 0])]
    assert seen == sorted(seen)
    assert len(set(seen)) == 4


def test_references_without_followers_end_at_100() -> None:
    seen = [chunk_progress(REFERENCES_ONLY, range(done)) for done in range(4)]
    assert seen == pytest.approx([0, 50 / 3, 100 / 3, 100])


def test_a_planned_video_has_begun() -> None:
    progress = progress_of(ALTERNATING, [])
    assert progress.percent == WEIGHTS[Phase.PLAN]
    assert progress.phases[Phase.PLAN] == 100


def test_a_video_is_at_100_only_when_it_is_completed() -> None:
    everything = steps_of(ALTERNATING)
    assert progress_of(ALTERNATING, everything, set(Phase)).percent == 99
    assert progress_of(ALTERNATING, everything, set(Phase), completed=True).overall == 100


def test_a_completed_video_is_at_100_even_without_its_music() -> None:
    done = [step for step in steps_of(ALTERNATING) if not step.startswith("music")]
    assert progress_of(ALTERNATING, done, completed=True).percent == 100


def test_a_phase_that_has_ended_counts_in_full() -> None:
    progress = progress_of(REFERENCES_ONLY, [], [Phase.CHUNKS, Phase.REFERENCES])
    assert progress.chunks == 100
    assert progress.overall == pytest.approx(2 + 60 + 2)


def test_each_phase_shows_the_share_of_its_steps() -> None:
    phases = progress_of(ALTERNATING, ["image/0", "image/1", "image/5", "music"]).phases
    assert phases[Phase.STORYBOARD] == 50
    assert phases[Phase.MUSIC] == 50
    assert phases[Phase.STITCH] == 0


def test_unknown_and_repeated_steps_change_nothing() -> None:
    plain = progress_of(ALTERNATING, ["chunk/1", "image/2"])
    noisy = progress_of(ALTERNATING, ["chunk/1", "chunk/1", "image/2", "chunk/99", "chunk/x", "nap", "image"])
    assert noisy == plain


def test_an_outline_holds_the_roles_that_the_references_phase_gave() -> None:
    outline = outline_of(group_sequences(beats_of([None] * 6)))
    assert outline == ALTERNATING


def test_weights_add_up_to_100() -> None:
    assert sum(WEIGHTS.values()) == 100
    assert set(WEIGHTS) == set(Phase)


@given(st.lists(st.sampled_from([None, False]), min_size=1, max_size=60), st.integers(0, 3), st.data())
def test_progress_never_goes_backwards_in_whatever_order_steps_end(
    decisions: list[bool | None], limit: int, data: st.DataObject
) -> None:
    outline = outline_of(group_sequences(beats_of(decisions), limit))
    order = data.draw(st.permutations(steps_of(outline)))
    seen = [progress_of(outline, order[:count]) for count in range(len(order) + 1)]
    seen.append(progress_of(outline, order, set(Phase)))
    seen.append(progress_of(outline, order, set(Phase), completed=True))
    for before, after in pairwise(seen):
        assert before.overall <= after.overall
        assert all(before.phases[phase] <= after.phases[phase] for phase in Phase)
    assert all(0 <= each.overall <= 100 and 0 <= each.chunks <= 100 for each in seen)
    assert seen[-1].overall == 100
    assert all(each.overall < 100 for each in seen[:-1])
    assert seen[-3].chunks == 100
