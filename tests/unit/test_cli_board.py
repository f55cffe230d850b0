"""What the live board, the lines and the reports say of a video at one moment."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from raypipe.cli.board import FIXED_LINES, board, most_telling
from raypipe.cli.report import (
    brief_json,
    completed,
    everything,
    full_json,
    incomplete,
    ranges,
    shortened,
    video_list,
)
from raypipe.cli.target import check_output, free_name, slug
from raypipe.cli.watch import line_of
from raypipe.config import Settings
from raypipe.errors import InvalidRequest
from raypipe.journal import Event, StepRecord, VideoRecord
from raypipe.models import (
    Artifact,
    Beat,
    Kind,
    Phase,
    PhaseOutput,
    PhaseStatus,
    Size,
    Spec,
    StepState,
    VideoState,
)
from raypipe.snapshot import Snapshot
from raypipe.text import clock, printable, seconds, size_of

VIDEO = "vid_019ab3c4d5e60123456789abcdef"


def video(beats: int, state: VideoState = VideoState.RUNNING, **changes: Any) -> VideoRecord:
    spec = Spec(
        title="The Lighthouse Keeper",
        prompt="A lighthouse keeper in a storm",
        archetype="journey",
        duration=5 * beats,
        size=Size(width=1280, height=720),
        style="cinematic",
        mood="calm",
        seed=1,
        models=dict.fromkeys(Kind, ("simulated",)),
        options={},
        followers_per_reference=1,
        beats=tuple(beat(index) for index in range(beats)),
    )
    record = VideoRecord(
        id=VIDEO, state=state, runner="local", spec=spec, created_at=100, started_at=100, lease_until=1e10
    )
    return record.model_copy(update=changes)


def beat(index: int) -> Beat:
    return Beat(
        beat_index=index,
        beat_id="x",
        start=5 * index,
        duration=5,
        prompt="p",
        shot_type="close-up",
        camera_movement="slow push in",
    )


def step(
    name: str, state: StepState, start: float | None = None, end: float | None = None, **more: Any
) -> StepRecord:
    kind, _, index = name.partition("/")
    phases = {"image": Phase.STORYBOARD, "music": Phase.MUSIC, "stitch": Phase.STITCH}
    return StepRecord(
        video_id=VIDEO,
        step=name,
        phase=phases.get(kind, Phase.CHUNKS),
        beat_index=int(index) if index else None,
        state=state,
        provider="simulated",
        intent_at=100,
        started_at=start,
        finished_at=end,
        **more,
    )


def failed(name: str, message: str = "out of credit", code: str = "provider_rejected") -> StepRecord:
    return step(name, StepState.FAILED, 102, 104, error_code=code, error_message=message)


def snapshot(beats: int, *steps: StepRecord, now: float = 120, **changes: Any) -> Snapshot:
    plan = PhaseOutput(video_id=VIDEO, phase=Phase.PLAN, status=PhaseStatus.SUCCESS)
    return Snapshot(video(beats, **changes), steps, {Phase.PLAN: plan}, now)


def midway() -> Snapshot:
    return snapshot(
        6,
        *(step(f"image/{index}", StepState.DONE, 100, 102) for index in range(5)),
        step("image/5", StepState.RUNNING, 100),
        step("chunk/0", StepState.DONE, 102, 107),
        step("last_frame/0", StepState.DONE, 107, 107.1),
        step("chunk/1", StepState.RUNNING, 107.5, node="other-host"),
        failed("chunk/2"),
        failed("chunk/3", "not attempted", "upstream_failed"),
        step("chunk/4", StepState.QUEUED),
        step("music", StepState.DONE, 100, 103),
    )


def drawn(what: RenderableType, width: int = 80, height: int = 24) -> list[str]:
    console = Console(record=True, width=width, height=height, force_terminal=True, file=io.StringIO())
    console.print(what)
    return console.export_text().splitlines()


def row_of(lines: list[str], beat_index: int) -> str:
    return next(line for line in lines if line.strip().startswith(f"{beat_index} "))


def test_each_beat_has_a_line_with_where_it_starts_from_and_how_its_image_and_chunk_stand() -> None:
    lines = drawn(board(midway(), 80, 24))
    assert "The Lighthouse Keeper" in lines[0]
    assert VIDEO in lines[0]
    assert "image" in row_of(lines, 0)
    assert "✔ 5.0 s" in row_of(lines, 0)
    assert "└ beat 0" in row_of(lines, 1)
    assert "● 12 s" in row_of(lines, 1), "seconds since it began"
    assert "✗ out of credit" in row_of(lines, 2)
    assert "⊘ beat 2 failed" in row_of(lines, 3)
    assert "queued" in row_of(lines, 4)
    assert "● 20 s" in row_of(lines, 5)
    assert "waits for beat 4" in row_of(lines, 5)
    assert any("✔ plan" in line and "● chunks 1/6" in line for line in lines)
    assert any("music ✔ 3.0 s" in line for line in lines)
    assert "%" in lines[-1]
    assert "0:20" in lines[-1]


def test_nodes_are_named_only_if_there_are_several() -> None:
    assert not any("other-host" in line for line in drawn(board(midway(), 100, 24)))
    steps = midway().steps | {"image/0": step("image/0", StepState.DONE, 1, 2, node="this-host")}
    lines = drawn(board(snapshot(6, *steps.values()), 100, 24))
    assert "other-host" in row_of(lines, 1)


@pytest.mark.parametrize("beats", [1, 6, 13, 14, 60])
@pytest.mark.parametrize(("width", "height"), [(80, 24), (140, 40), (50, 15), (30, 10)])
def test_the_board_fits_the_terminal_however_many_beats_there_are(
    beats: int, width: int, height: int
) -> None:
    running = (step(f"chunk/{index}", StepState.RUNNING, 100) for index in range(0, beats, 2))
    lines = drawn(board(snapshot(beats, *running), width, height), width, height)
    assert len(lines) <= max(height, FIXED_LINES + 8)
    assert all(len(line) <= width for line in lines)


def test_sixty_beats_are_summed_up_and_what_failed_or_runs_stays_in_sight() -> None:
    steps = [step(f"chunk/{index}", StepState.DONE, 100, 101) for index in range(0, 30, 2)]
    lines = drawn(
        board(snapshot(60, *steps, failed("chunk/50"), step("chunk/40", StepState.RUNNING, 101)), 80, 24)
    )
    assert len(lines) <= 24
    strip = next(line for line in lines if line.startswith("chunks"))
    assert (len(strip), strip.count("█"), strip.count("✗"), strip.count("▓")) == (68, 15, 1, 1)
    assert "out of credit" in row_of(lines, 50)
    assert "●" in row_of(lines, 40)
    assert any(line.startswith("… and ") for line in lines)


def test_the_most_telling_beats_are_shown_in_their_order() -> None:
    rows = snapshot(20, failed("chunk/18"), step("chunk/6", StepState.RUNNING, 100)).rows
    assert [row.beat.beat_index for row in most_telling(rows, 4)] == [0, 1, 6, 18]


def test_a_video_that_was_stopped_shows_nothing_as_running() -> None:
    over = snapshot(2, step("chunk/0", StepState.RUNNING, 101), state=VideoState.CANCELLED, finished_at=110.0)
    lines = drawn(board(over, 80, 24))
    assert not any("●" in line for line in lines)
    assert "not made" in row_of(lines, 0)
    assert "0:10" in lines[-1]


def test_progress_is_the_projects_own() -> None:
    assert 2 <= snapshot(6).progress.overall < midway().progress.overall < 99
    assert snapshot(6, state=VideoState.COMPLETED).progress.overall == 100


def test_nothing_a_title_or_an_error_holds_can_reach_the_terminal_as_a_command() -> None:
    hostile = "\x1b[2J[bold]evil[/bold]\r\n\x07\u202e \x9b31m"
    spec = video(2).spec.model_copy(update={"title": hostile, "style": hostile})
    shown = snapshot(2, failed("chunk/0", hostile), spec=spec)
    for what in (
        board(shown, 200, 40),
        incomplete(shown),
        video_list({VIDEO: shown}),
        everything(shown, Settings(), 200),
    ):
        text = "\n".join(drawn(what, 200, 40))
        assert not {"\x1b", "\r", "\x07", "\u202e", "\x9b"} & set(text)
        assert "[bold]evil[/bold]" in text, "markup is shown and not obeyed"


def test_what_failed_is_said_with_beat_phase_provider_and_reason_and_what_was_kept() -> None:
    text = "\n".join(drawn(incomplete(midway()), 120))
    assert "beat 2, phase chunks: failed at provider 'simulated': out of credit" in text
    assert "beat 3: not attempted" in text
    assert "1 of 6 chunks" in text
    assert "Chunks kept: 0" in text


def test_a_finished_video_without_music_says_why_it_is_silent() -> None:
    film = Artifact(digest="a" * 64, size=12_345, media_type="video/mp4")
    silent = snapshot(
        2, failed("music", "no musicians"), state=VideoState.COMPLETED, finished_at=130.0, result=film
    )
    text = "\n".join(drawn(completed(silent, "out.mp4", 4.2, 17), 200))
    assert "out.mp4" in text
    assert "12 kB, 1280x720, 10 s long, ready after 0:17, of which Ray took 4.2 s to start" in text
    assert "! phase music (music): failed at provider 'simulated': no musicians" in text


def event(kind: str, **more: Any) -> Event:
    return Event(video_id=VIDEO, seq=1, kind=kind, **more)


def test_events_worth_reading_become_lines_and_the_others_do_not() -> None:
    shown = midway()
    assert line_of(event("step.done", step="chunk/0", take=1, beat_index=0), shown) == "chunk 0 done in 5.0 s"
    assert line_of(event("step.done", step="chunk/0", take=2), shown) == "chunk 0 done"
    begun = line_of(event("step.started", step="chunk/1", beat_index=1), shown)
    assert begun == "chunk 1 started from the last frame of chunk 0"
    told = line_of(event("step.failed", step="chunk/2", data={"message": "out of\ncredit"}), shown)
    assert told == "chunk 2 failed: out of credit"
    assert (
        line_of(event("phase.done", data={"phase": "music", "status": "success"}), shown) == "music: success"
    )
    assert line_of(event("video.partial"), shown) == "video partial"
    for dull in ("step.done", "step.started"):
        assert line_of(event(dull, step="last_frame/0"), shown) is None
    assert line_of(event("something.new"), shown) is None


def test_a_video_as_json_has_its_steps_and_where_their_files_are(tmp_path: Path) -> None:
    full = full_json(midway(), Settings(data_dir=tmp_path))
    assert full["id"] == VIDEO
    assert {each["step"] for each in full["steps"]} >= {"image/0", "chunk/0", "music"}
    assert brief_json(VIDEO, midway())["beats"] == 6


def test_the_list_names_videos_by_beginnings_that_tell_them_apart() -> None:
    assert shortened(["vid_0123456789abAA", "vid_0123456789abBB"]) == {
        "vid_0123456789abAA": "vid_0123456789abA",
        "vid_0123456789abBB": "vid_0123456789abB",
    }
    assert any(
        "The Lighthouse" in line and VIDEO[:16] in line for line in drawn(video_list({VIDEO: midway()}))
    )


@pytest.mark.parametrize(
    ("numbers", "said"), [([], ""), ([3], "3"), ([0, 1, 2], "0-2"), ([0, 2, 3, 9], "0, 2-3, 9")]
)
def test_runs_of_numbers_are_drawn_together(numbers: list[int], said: str) -> None:
    assert ranges(numbers) == said


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("The Lighthouse Keeper!", "the-lighthouse-keeper"),
        ("../../etc/passwd", "etc-passwd"),
        ("灯台守", "灯台守"),
        ("?!", "video"),
        ("x" * 500, "x" * 60),
        ("a\0b\nc", "a-b-c"),
    ],
)
def test_a_title_becomes_a_file_name(title: str, name: str) -> None:
    assert slug(title) == name


def test_a_name_nobody_gave_never_overwrites_a_file(tmp_path: Path) -> None:
    (tmp_path / "fox.mp4").touch()
    assert free_name(tmp_path, "fox") == tmp_path / "fox-2.mp4"
    check_output(tmp_path)
    check_output(tmp_path / "new.mp4")
    with pytest.raises(InvalidRequest, match="--output"):
        check_output(tmp_path / "no" / "fox.mp4")


def test_times_and_sizes_are_said_as_people_say_them() -> None:
    assert [seconds(value) for value in (-1, 0.25, 3.14, 61.2, 700, 40_000)] == [
        "0.00 s", "0.25 s", "3.1 s", "61 s", "12 min", "11 h",
    ]  # fmt: skip
    assert [clock(value) for value in (0, 65, 7265)] == ["0:00", "1:05", "2:01:05"]
    assert [size_of(count) for count in (12, 51_000, 2_500_000)] == ["12 bytes", "51 kB", "2.5 MB"]
    assert printable(" a\tb\x00 ") == "a b"
