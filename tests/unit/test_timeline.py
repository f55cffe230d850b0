"""Charts from steps, as SVG and as lines."""

from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.journal import StepRecord
from raypipe.models import Phase, StepState
from raypipe.timeline import Bar, Chart, chart_of, render_svg, render_text, short_node, ticks

SVG = "{http://www.w3.org/2000/svg}"


def step(name: str, start: float | None, end: float | None, **changes: Any) -> StepRecord:
    phases = {"image": Phase.STORYBOARD, "music": Phase.MUSIC, "stitch": Phase.STITCH}
    record = StepRecord(
        video_id="vid_1",
        step=name,
        phase=phases.get(name.partition("/")[0], Phase.CHUNKS),
        beat_index=None,
        state=StepState.DONE if end else StepState.RUNNING,
        provider="simulated",
        intent_at=start or end or 0.0,
        started_at=start,
        finished_at=end,
    )
    return record.evolve(**changes)


def two_beats() -> list[StepRecord]:
    return [
        step("image/0", 100, 102),
        step("image/1", 100, 102),
        step("music", 100, 103),
        step("chunk/0", 102, 107),
        step("last_frame/0", 107, 107.1),
        step("chunk/1", 107.1, 110),
        step("stitch", 110, 110.5),
    ]


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)  # noqa: S314 - our own


def lines_of(chart: Chart, width: int = 80) -> list[str]:
    return [line for text in render_text(chart, width) for line in text.plain.split("\n")]


def test_the_axis_begins_with_the_first_step_and_beats_come_first_in_their_order() -> None:
    steps = [*two_beats(), step("chunk/10", 103, 104)]
    chart = chart_of("t", reversed(steps))
    assert min(bar.start for bar in chart.bars) == 0
    assert chart.end == pytest.approx(10.5)
    assert list(chart.rows) == ["beat 0", "beat 1", "beat 10", "music", "stitch"]
    assert [bar.label for bar in chart.rows["beat 0"]] == ["image/0", "chunk/0", "last_frame/0"]


def test_followers_are_told_from_references_by_the_plan_and_so_also_when_the_reference_failed() -> None:
    groups = {bar.label: bar.group for bar in chart_of("t", two_beats(), followers={1}).bars}
    assert groups["chunk/0"] == "reference chunk"
    assert groups["chunk/1"] == "follower chunk"
    broken = [
        step("chunk/0", 102, 103, state=StepState.FAILED),
        step("chunk/1", None, 103, state=StepState.FAILED),
    ]
    groups = {bar.label: bar.group for bar in chart_of("t", broken, followers={1}).bars}
    assert groups == {"chunk/0": "reference chunk", "chunk/1": "follower chunk"}


def test_a_step_under_way_ends_now_and_one_not_begun_is_left_out() -> None:
    chart = chart_of("t", [step("image/0", 10, None), step("image/1", None, None)], now=14)
    assert [(bar.label, bar.seconds, bar.state) for bar in chart.bars] == [("image/0", 4, "running")]


def test_failed_and_skipped_steps_are_told_apart() -> None:
    failed = step("chunk/0", 1, 2, state=StepState.FAILED, error_code="provider_rejected")
    skipped = step("chunk/1", None, 2, state=StepState.FAILED, error_code="upstream_failed")
    assert [bar.state for bar in chart_of("t", [failed, skipped]).bars] == ["failed", "skipped"]
    assert any("✗" in line for line in lines_of(chart_of("t", [failed, skipped])))


def test_each_row_is_one_line_with_bars_in_proportion() -> None:
    lines = lines_of(chart_of("t", two_beats(), followers={1}))
    row = next(line for line in lines if line.startswith("beat 0"))
    assert row.count("█") == pytest.approx(2.5 * row.count("▒"), abs=2)
    assert row.count("┃") == 1, "short work must not vanish"
    assert sum(line.startswith("beat") for line in lines) == 2


@given(
    st.lists(st.tuples(st.floats(0, 1e5), st.floats(0, 1e5), st.integers(0, 99)), max_size=70),
    st.integers(40, 200),
)
def test_lines_never_exceed_the_width(spans: list[tuple[float, float, int]], width: int) -> None:
    bars = tuple(Bar(f"chunk/{i}", "reference chunk", a, a + b, node=f"n{i % 3}") for a, b, i in spans)
    assert all(len(line.rstrip()) <= width for line in lines_of(Chart("t", bars), width))
    parsed(render_svg([Chart("t", bars)]))


@given(st.floats(1e-3, 1e6))
def test_ticks_are_few_ascending_and_within_the_axis(end: float) -> None:
    found = ticks(end)
    assert 2 <= len(found) <= 12
    assert found[0] == 0
    assert found == sorted(set(found))
    assert found[-1] <= end * 1.001


def test_nothing_to_draw_is_drawn_without_error() -> None:
    assert lines_of(Chart("empty", ()))
    parsed(render_svg([]))
    parsed(render_svg([Chart("empty", ())]))


def test_nodes_stand_behind_the_rows_only_if_there_are_several() -> None:
    one = [step("image/0", 0.5, 1, node="gpu-1"), step("image/1", 0.5, 1, node="gpu-1")]
    lines = lines_of(chart_of("t", one))
    assert lines[-1] == "All on node gpu-1."
    two = [one[0], one[1].evolve(node="gpu-2")]
    rows = [line for line in lines_of(chart_of("t", two)) if line.startswith("beat")]
    assert [line.split()[-1] for line in rows] == ["gpu-1", "gpu-2"]
    assert "gpu-2" in render_svg([chart_of("t", two)])


def test_ray_ids_are_shortened_and_names_are_not() -> None:
    assert short_node("0123456789abcdef" * 3 + "01234567") == "01234567"
    assert short_node("render-host-17.example") == "render-host-17.example"


def test_stacked_charts_share_one_scale() -> None:
    long, short = Chart("long", (Bar("a", "x", 0, 10),)), Chart("short", (Bar("a", "x", 0, 5),))
    root = parsed(render_svg([long, short]))
    widths = [
        float(rect.attrib["width"]) for group in root.iter(f"{SVG}g") for rect in group.iter(f"{SVG}rect")
    ]
    assert widths[0] == pytest.approx(2 * widths[1], abs=0.2)
    titles = [text.text for text in root.iter(f"{SVG}text") if text.get("class") == "title"]
    assert titles == ["long", "short"]


def test_the_picture_stands_by_itself_suits_dark_pages_and_survives_any_title() -> None:
    hostile = 'A <b>&"\x1b[2J\x00 \ud800 title'
    svg = render_svg([chart_of(hostile, two_beats(), followers={1})])
    root = parsed(svg)
    assert "http" not in svg.replace("http://www.w3.org/2000/svg", "")
    assert "prefers-color-scheme: dark" in svg
    assert "<b>" not in svg
    legend = [text.text for text in root.iter(f"{SVG}text")]
    for name in ("storyboard image", "reference chunk", "follower chunk", "last frame", "music", "stitch"):
        assert name in legend


def test_bars_say_what_they_are_when_pointed_at() -> None:
    said = [
        t.text or ""
        for t in parsed(render_svg([chart_of("t", two_beats(), followers={1})])).iter(f"{SVG}title")
    ]
    assert "chunk/0, done: 2.00 to 7.00 s (5.0 s)" in said
