import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.errors import StoryboardMismatch
from raypipe.models import Artifact, Beat, Image
from raypipe.phases.storyboard import check_storyboard


def beats_of(count: int) -> list[Beat]:
    return [
        Beat(
            beat_index=index,
            beat_id="custom",
            start=5.0 * index,
            duration=5.0,
            prompt="p",
            shot_type="wide",
            camera_movement="static",
        )
        for index in range(count)
    ]


def image(index: int) -> Image:
    return Image(beat_index=index, artifact=Artifact(digest=f"{index:064x}", size=1, media_type="image/png"))


@pytest.mark.parametrize("count", [1, 3, 5, 7])
def test_as_many_images_as_beats_come_back_in_the_order_of_the_beats(count: int) -> None:
    checked = check_storyboard(beats_of(count), [image(index) for index in reversed(range(count))])
    assert [each.beat_index for each in checked] == list(range(count))
    assert [each.artifact.digest for each in checked] == [f"{index:064x}" for index in range(count)]


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([0, 1, 2, 3, 4], "3 beats and 5 storyboard images: an image for unplanned beats 3, 4"),
        ([0, 2], "3 beats and 2 storyboard images: no image for beat 1"),
        ([], "3 beats and 0 storyboard images: no image for beats 0, 1, 2"),
        ([0, 1, 1], "3 beats and 3 storyboard images: no image for beat 2; more than one image for beat 1"),
        ([0, 1, 2, 2], "3 beats and 4 storyboard images: more than one image for beat 2"),
        ([0, 1, 7], "3 beats and 3 storyboard images: no image for beat 2; an image for unplanned beat 7"),
    ],
)
def test_a_mismatch_names_both_counts_and_the_beats(indices: list[int], message: str) -> None:
    with pytest.raises(StoryboardMismatch) as caught:
        check_storyboard(beats_of(3), [image(index) for index in indices])
    assert str(caught.value) == message
    assert isinstance(caught.value, ValueError)


def test_counts_are_logged_when_they_match(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        check_storyboard(beats_of(2), map(image, range(2)))
    assert caplog.messages == ["Storyboard matches: beat count 2, image count 2"]


def test_counts_are_logged_as_an_error_when_they_differ(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), pytest.raises(StoryboardMismatch):
        check_storyboard(beats_of(1), [])
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("ERROR", "Storyboard does not match: 1 beat and 0 storyboard images: no image for beat 0")
    ]


@given(st.integers(0, 12), st.lists(st.integers(0, 14), max_size=15))
def test_a_storyboard_is_accepted_only_if_each_beat_has_one_image(count: int, indices: list[int]) -> None:
    images = [image(index) for index in indices]
    if sorted(indices) == list(range(count)):
        assert len(check_storyboard(beats_of(count), images)) == count
    else:
        with pytest.raises(StoryboardMismatch):
            check_storyboard(beats_of(count), images)
