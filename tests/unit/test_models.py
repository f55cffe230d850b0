import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from raypipe.models import FPS, Beat, DraftBeat, Size, VideoRequest, VideoState


@pytest.mark.parametrize(
    ("text", "width", "height"),
    [("1280x720", 1280, 720), ("16:9", 1280, 720), ("9:16", 720, 1280), ("1:1", 720, 720), ("64x36", 64, 36)],
)
def test_a_size_is_pixels_or_an_aspect(text: str, width: int, height: int) -> None:
    size = VideoRequest.model_validate({"prompt": "x", "size": text}).size
    assert size == Size(width=width, height=height)
    assert str(size) == f"{width}x{height}"


@pytest.mark.parametrize(
    "size", ["1281x720", "-1280x720", "0x0", "9999x720", "big", "1280*720", 7, {"width": 64}]
)
def test_a_size_that_no_video_can_have_is_refused(size: object) -> None:
    with pytest.raises(ValidationError):
        VideoRequest.model_validate({"prompt": "x", "size": size})


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"prompt": ""},
        {"prompt": "   "},
        {"prompt": "x" * 4_001},
        {"prompt": "x", "duration": 0},
        {"prompt": "x", "duration": 10_000},
        {"prompt": "x", "duration": float("nan")},
        {"prompt": "x", "seed": -1},
        {"prompt": "x", "colour": "red"},
        {"prompt": ["x"]},
        {"spec": {"beats": []}},
        {"spec": {"beats": [{"prompt": "x"}] * 1_001}},
        {"spec": {"beats": [{"prompt": "x", "duration": -5}]}},
    ],
)
def test_a_request_that_cannot_be_made_is_refused(request_: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        VideoRequest.model_validate(request_)


def test_a_beat_cannot_both_follow_and_have_a_reference_image() -> None:
    with pytest.raises(ValidationError, match="not both"):
        DraftBeat(prompt="x", continues=True, reference_image="data:image/png;base64,")


@given(st.lists(st.floats(min_value=1, max_value=30), min_size=1, max_size=30))
def test_the_frames_of_consecutive_beats_add_up_to_the_videos(durations: list[float]) -> None:
    start, frames = 0.0, 0
    for index, duration in enumerate(durations):
        beat = Beat(
            beat_index=index,
            beat_id="x",
            start=start,
            duration=duration,
            prompt="p",
            shot_type="wide",
            camera_movement="static",
        )
        start += duration
        frames += beat.frames
    assert abs(frames - start * FPS) <= 1


def test_values_do_not_change_and_survive_pickling() -> None:
    request = VideoRequest(prompt="x", options={"clip": {"seed": [1, 2]}})
    with pytest.raises(ValidationError):
        request.prompt = "y"  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(request)) == request  # noqa: S301


def test_some_states_are_final() -> None:
    assert {state for state in VideoState if state.terminal} == {
        VideoState.CANCELLED,
        VideoState.COMPLETED,
        VideoState.PARTIAL,
        VideoState.FAILED,
    }
