"""Text from elsewhere, and the errors that quote it."""

import pickle
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.errors import (
    BeatNotFound,
    DiskFull,
    InternalError,
    OrphanFollower,
    ProviderRejected,
    RaypipeError,
    VideoNotFound,
    as_raypipe_error,
)
from raypipe.text import MAX_FOREIGN, valid_json, valid_text

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=200)


@given(ANY_TEXT)
def test_any_text_becomes_one_that_can_be_stored_sent_and_printed(text: str) -> None:
    valid = valid_text(text)
    valid.encode()
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", valid)
    assert valid_text(valid) == valid


def test_foreign_text_is_repaired_and_bounded_and_not_refused() -> None:
    assert valid_text("out of credit \ud83d") == "out of credit \ufffd"
    assert valid_text("\ud83e\udd8a") == "🦊"
    assert valid_text("\x1b[36mray::_run\x1b[0m failed\x00") == "ray::_run failed"
    assert len(valid_text("x" * 10**6)) == MAX_FOREIGN


def test_the_texts_of_a_json_value_are_repaired_wherever_they_are_and_numbers_must_be_finite() -> None:
    assert valid_json({"fail": {"a\ud83d": ["\ud83d", 1, None]}}) == {
        "fail": {"a\ufffd": ["\ufffd", 1, None]}
    }
    with pytest.raises(ValueError, match="finite"):
        valid_json({"a": [float("nan")]})


@pytest.mark.parametrize(
    "error",
    [
        ProviderRejected("no \ud83d"),
        OrphanFollower(3, "why"),
        VideoNotFound("vid_1"),
        BeatNotFound("vid_1", 9, 2),
    ],
)
def test_an_error_crosses_processes_as_it_is(error: RaypipeError) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert type(again) is type(error)
    assert str(again) == str(error)
    str(again).encode()
    assert vars(again) == vars(error)


def test_what_is_nested_too_deeply_is_refused() -> None:
    value: Any = 1
    for _ in range(600):
        value = {"a": value}
    with pytest.raises(ValueError, match="nested"):
        valid_json(value)


def test_an_exception_that_cannot_even_tell_its_message_has_a_name() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise ZeroDivisionError

    assert "Mute without a message" in str(as_raypipe_error(Mute(), "chunk/3"))


def test_any_error_gets_a_name_a_full_disk_its_own_and_a_bug_is_no_lost_worker() -> None:
    full = as_raypipe_error(OSError(28, "No space left on device", "/data/x"), "making chunk/3")
    assert isinstance(full, DiskFull)
    assert "disk is full" in str(full)
    assert "/data/x" in str(full)
    bug = as_raypipe_error(ZeroDivisionError("division by zero"), "chunk/3")
    assert isinstance(bug, InternalError)
    assert str(bug) == "chunk/3: ZeroDivisionError: division by zero"
    assert not bug.retryable
