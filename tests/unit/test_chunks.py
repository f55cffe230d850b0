import logging
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.errors import ChunkGap
from raypipe.models import Artifact, Beat, Chunk, Phase, StepFailure
from raypipe.phases.chunks import merge_chunks, split_failures


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


def chunk(index: int, content: int = 0, cost: float = 0.0) -> Chunk:
    artifact = Artifact(digest=f"{content:032x}{index:032x}", size=1, media_type="video/mp4")
    return Chunk(beat_index=index, artifact=artifact, frames=120, cost=cost)


def failure(index: int | None) -> StepFailure:
    return StepFailure(
        step=f"chunk/{index}", phase=Phase.CHUNKS, beat_index=index, provider="p", code="c", message="m"
    )


def test_single_chunks_and_lists_are_flattened_and_sorted_by_beat() -> None:
    merged = merge_chunks(beats_of(5), [[chunk(3), chunk(4)], chunk(2), [chunk(0), chunk(1)]])
    assert [each.beat_index for each in merged] == [0, 1, 2, 3, 4]


def test_a_missing_beat_is_named() -> None:
    with pytest.raises(ChunkGap, match=r"4 beats, 2 chunks: no chunk for beats 1, 3"):
        merge_chunks(beats_of(4), [chunk(0), chunk(2)])


def test_the_same_chunk_twice_is_kept_once() -> None:
    once, again = chunk(1, cost=0.5), chunk(1, cost=0.0)
    merged = merge_chunks(beats_of(2), [[chunk(0), once], [again]])
    assert merged == (chunk(0), once)


def test_two_different_chunks_of_a_beat_are_a_gap() -> None:
    with pytest.raises(ChunkGap, match="different chunks for beat 1"):
        merge_chunks(beats_of(2), [chunk(0), chunk(1), chunk(1, content=7)])


def test_a_chunk_that_belongs_to_no_beat_is_a_gap() -> None:
    with pytest.raises(ChunkGap, match="a chunk for unplanned beat 2") as caught:
        merge_chunks(beats_of(2), [chunk(0), chunk(1), chunk(2)])
    assert isinstance(caught.value, ValueError)


def test_a_subset_of_the_beats_can_be_merged() -> None:
    beats = beats_of(4)
    assert [c.beat_index for c in merge_chunks([beats[0], beats[3]], [chunk(3), chunk(0)])] == [0, 3]


def test_the_total_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        merge_chunks(beats_of(2), [[chunk(0), chunk(1)]])
    assert caplog.messages == ["Gathered 2 chunks of 2 beats"]


def test_chunks_and_failures_are_told_apart_each_in_order() -> None:
    chunks, failures = split_failures([[chunk(4), failure(5)], failure(2), [chunk(0), failure(1)]])
    assert [each.beat_index for each in chunks] == [0, 4]
    assert [each.beat_index for each in failures] == [1, 2, 5]


def test_a_failure_of_no_beat_comes_first() -> None:
    assert split_failures([failure(0), failure(None)])[1] == (failure(None), failure(0))


@given(st.data(), st.integers(1, 30))
def test_merging_does_not_depend_on_how_chains_came_back(data: st.DataObject, count: int) -> None:
    order = data.draw(st.permutations(range(count)))
    cuts = sorted(data.draw(st.sets(st.integers(0, count), max_size=6)) | {0, count})
    results = [[chunk(index) for index in order[a:b]] for a, b in pairwise(cuts)]
    assert merge_chunks(beats_of(count), results) == tuple(chunk(index) for index in range(count))
