import json
import logging
import re
import subprocess
import sys
from datetime import datetime, timedelta
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from raypipe.costs import estimate
from raypipe.errors import InvalidReferenceImage, InvalidRequest, InvalidSpec
from raypipe.intake import check_models
from raypipe.models import (
    FPS,
    Artifact,
    DraftBeat,
    DraftSpec,
    Kind,
    Size,
    Spec,
    VideoRequest,
)
from raypipe.phases.archetypes import ARCHETYPES, LOOKS, choose_archetype, mood_of
from raypipe.phases.beat_library import BEATS
from raypipe.phases.plan import build_full_spec, spec_as_draft, validate_and_fix_beat_count
from raypipe.phases.prompt_text import clip_text, read_prompt
from raypipe.providers.local.music.moods import MOODS

CAMERA_MOVEMENTS = {
    "slow push in",
    "pull back",
    "pan left",
    "pan right",
    "tilt up",
    "tilt down",
    "crane up",
    "orbit",
    "tracking",
    "drone",
    "handheld",
    "static",
}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def plan(tmp: Path = Path("logs"), followers: int = 1, **request: Any) -> Spec:
    return build_full_spec(VideoRequest(**request), "vid_1", tmp, followers)


def plan_of_beats(*beats: dict[str, Any], tmp: Path = Path("logs"), **head: Any) -> Spec:
    return plan(tmp, spec={"beats": beats, **head})


def check_timing(spec: Spec) -> None:
    assert [beat.beat_index for beat in spec.beats] == list(range(len(spec.beats)))
    assert spec.beats[0].start == 0
    assert sum(beat.frames for beat in spec.beats) == round(spec.duration * FPS) == spec.frames
    assert sum(beat.duration for beat in spec.beats) == pytest.approx(spec.duration, abs=1e-6)
    assert all(beat.frames >= 1 for beat in spec.beats)
    for before, after in pairwise(spec.beats):
        assert after.start > before.start
        assert before.start + before.duration == pytest.approx(after.start, abs=1e-6)
    assert len(spec.beats) <= ceil(spec.duration / 5)


# --- what is left open ---


def test_a_prompt_alone_becomes_six_beats_of_five_seconds() -> None:
    spec = plan(prompt="A lighthouse keeper in a storm")
    assert [beat.duration for beat in spec.beats] == [5.0] * 6
    assert (spec.duration, spec.size, spec.fps, spec.style) == (
        30.0,
        Size(width=1280, height=720),
        24,
        "cinematic",
    )
    assert (spec.seed, spec.options, spec.followers_per_reference) == (0, {}, 1)
    assert spec.models == dict.fromkeys(Kind, ("local",))
    assert spec.title == "A lighthouse keeper in a storm"
    assert spec.mood == "dramatic"
    check_timing(spec)


def test_the_request_says_more_than_the_head_of_its_spec_and_that_more_than_defaults() -> None:
    head = {
        "prompt": "head", "style": "anime", "mood": "epic", "seed": 5, "model": "simulated",
        "options": {"simulated": {"clip": 1}}, "size": "9:16", "duration": 20,
    }  # fmt: skip
    beats = [{"prompt": "one"}, {"prompt": "two"}]
    spec = plan(spec={**head, "beats": beats})
    assert (spec.prompt, spec.style, spec.mood, spec.seed) == ("head", "anime", "epic", 5)
    assert (spec.models, spec.options, str(spec.size), spec.duration) == (
        dict.fromkeys(Kind, ("simulated",)),
        {"simulated": {"clip": 1}},
        "720x1280",
        20,
    )
    own = {"prompt": "own", "style": "noir", "seed": 0, "options": {}, "duration": 10}
    spec = plan(**own, spec={**head, "beats": beats})
    assert (spec.prompt, spec.style, spec.mood, spec.seed) == ("own", "noir", "epic", 0)
    assert (spec.options, spec.duration) == ({}, 10)


def test_blank_texts_say_nothing() -> None:
    spec = plan(
        prompt="  ", style=" ", spec={"prompt": "told", "style": "anime", "beats": [{"prompt": "one"}]}
    )
    assert (spec.prompt, spec.style) == ("told", "anime")


def test_the_prompt_may_ask_for_a_length() -> None:
    assert plan(prompt="15 second ad for an electric bicycle").duration == 15
    assert plan(prompt="Make me a 1 minute film about bread").duration == 60
    assert plan(prompt="15 s ad for a bicycle", duration=40).duration == 40
    assert plan(prompt="900 second video of paint").duration == 30
    assert plan(prompt="A man holds his breath for 90 seconds").duration == 30


# --- beats written from a prompt ---

PROMPTS = [
    "A lighthouse keeper in a storm",
    "luxury watch on marble",
    "tokyo at night in the rain",
    "my grandmother's garden",
    "x",
    "东京的雨夜,霓虹灯倒映在湿漉漉的街道上",
    "Ein alter Leuchtturmwärter im Sturm",
    'A "quoted" {curly} %s prompt 🚀',
]


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("duration", [5, 30, 300])
def test_every_beat_is_about_the_prompt_and_unlike_the_others(prompt: str, duration: int) -> None:
    spec = plan(prompt=prompt, duration=duration, style="watercolour", mood="tender")
    texts = [beat.prompt for beat in spec.beats]
    assert len(set(texts)) == len(texts)
    for beat in spec.beats:
        assert prompt in beat.prompt
        assert "watercolour" in beat.prompt
        assert "tender" in beat.prompt
        assert "light" in beat.prompt.lower() or "colour" in beat.prompt.lower()
        assert beat.continues is None
        assert beat.beat_id in BEATS


@pytest.mark.parametrize("archetype", ARCHETYPES, ids=lambda each: each.archetype_id)
@pytest.mark.parametrize("duration", [10, 15, 30, 45, 60, 65, 120, 300])
def test_neighbouring_beats_differ_in_shot_and_camera_and_no_two_beats_are_alike(
    archetype: Any, duration: int
) -> None:
    prompt = " ".join(sorted(archetype.words)[:12])
    for seed in range(8):
        spec = plan(prompt=prompt, duration=duration, seed=seed)
        assert spec.archetype == archetype.archetype_id
        for before, after in pairwise(spec.beats):
            assert before.shot_type != after.shot_type
            assert before.camera_movement != after.camera_movement
        assert len({beat.prompt for beat in spec.beats}) == len(spec.beats)
        positions = [BEATS[beat.beat_id].position for beat in spec.beats]
        assert positions == sorted(positions, key=["opening", "middle", "closing"].index)
        assert {positions[0], positions[-1]} == {"opening", "closing"}


def test_a_film_of_thirty_seconds_is_seen_from_near_and_from_far() -> None:
    for archetype in ARCHETYPES:
        for seed in range(8):
            spec = plan(prompt=" ".join(sorted(archetype.words)[:12]), seed=seed)
            distances = {BEATS[beat.beat_id].distance for beat in spec.beats}
            assert {"near", "far"} <= distances, (archetype.archetype_id, seed)


@pytest.mark.parametrize("duration", range(5, 305, 5))
def test_multiples_of_five_are_composed_of_beats_of_library_lengths(duration: int) -> None:
    for seed in range(4):
        spec = plan(prompt=f"prompt {seed}", duration=duration, seed=seed)
        check_timing(spec)
        assert all(beat.duration in BEATS[beat.beat_id].durations for beat in spec.beats)


@pytest.mark.parametrize(
    ("duration", "lengths"),
    [(7, [7]), (9, [9]), (12, [6, 6]), (32, [5, 5, 5, 5, 6, 6]), (33.5, [5, 5, 5, 5, 6.75, 6.75])],
)
def test_what_is_no_multiple_of_five_stretches_the_last_beats(duration: float, lengths: list[float]) -> None:
    spec = plan(prompt="x", duration=duration)
    assert [beat.duration for beat in spec.beats] == pytest.approx(lengths)
    check_timing(spec)


@settings(max_examples=60, deadline=None)
@given(st.floats(5, 300), st.integers(0, 2**32 - 1))
def test_planned_beats_fill_any_video_exactly(duration: float, seed: int) -> None:
    check_timing(plan(prompt="a small boat", duration=duration, seed=seed))


def test_the_same_request_gives_the_same_spec_in_another_process(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from raypipe.models import VideoRequest; "
        "from raypipe.phases.plan import build_full_spec; "
        "print(build_full_spec(VideoRequest(prompt='a fox', seed=7, duration=120), 'other', Path('.'))"
        ".model_dump_json())"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert Spec.model_validate_json(out.stdout) == plan(prompt="a fox", seed=7, duration=120)


def test_another_seed_gives_other_beats() -> None:
    films = {tuple(b.prompt for b in plan(prompt="a fox", seed=seed).beats) for seed in range(10)}
    assert len(films) > 5


@pytest.mark.parametrize(
    ("prompt", "archetype", "mood"),
    [
        ("luxury watch on marble", "product_showcase", "cinematic"),
        ("30 s ad for an electric bicycle", "product_showcase", "cinematic"),
        ("how our software dashboard works", "feature_demo", "uplifting"),
        ("a hike across a mountain valley", "journey", "cinematic"),
        ("tokyo streets at night in the rain", "city_energy", "melancholic"),
        ("a letter from my mother", "emotional_story", "calm"),
        ("a lighthouse keeper in a storm", "mystery_atmosphere", "dramatic"),
        ("a birthday party", "celebration", "energetic"),
        ("a bird by the pond", "quiet_observation", "calm"),
        ("the last battle of a dragon", "heroic_action", "epic"),
        ("portrait of a tense chess player, a woman", "cinematic_portrait", "tense"),
    ],
)
def test_the_words_of_a_prompt_choose_archetype_and_mood(prompt: str, archetype: str, mood: str) -> None:
    spec = plan(prompt=prompt)
    assert (spec.archetype, spec.mood) == (archetype, mood)


def test_words_are_not_found_inside_other_words() -> None:
    assert mood_of("my grandmother's garden") == "calm"
    assert mood_of("a raincoat") is None


def test_the_seed_decides_between_archetypes_for_which_equally_much_speaks() -> None:
    chosen = {choose_archetype("zzz", seed).archetype_id for seed in range(40)}
    assert chosen == {each.archetype_id for each in ARCHETYPES if each.general}
    assert len({choose_archetype("a robot on a journey", seed).archetype_id for seed in range(40)}) == 2


def test_the_sentences_of_a_story_are_shared_out_over_the_beats() -> None:
    story = (
        "A girl finds a seed. She plants it behind Dr. Weber's house.\n- it grows\n- it reaches the clouds! "
        "At last the girl, now old, plants another."
    )
    texts = [beat.prompt for beat in plan(prompt=story).beats]
    assert all("A girl finds a seed" in text for text in texts)
    assert "She plants it behind Dr. Weber's house. it grows" in texts[2]
    assert "it reaches the clouds" in texts[3]
    assert "At last the girl, now old, plants another" in texts[-1]
    assert "At last" not in texts[0]


def test_a_long_sentence_is_cut_between_clauses_and_none_of_its_end_is_lost() -> None:
    prompt = "a slow tour of a library, " + ", ".join(f"past shelf number {n} of oak" for n in range(20))
    spec = plan(prompt=f"{prompt}, to a blank book")
    assert spec.beats[-1].prompt.count("to a blank book") == 1
    assert len(spec.title) <= 70
    assert all(len(beat.prompt) < 800 for beat in spec.beats)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.text(min_size=1, max_size=4000))
def test_any_text_becomes_a_spec_that_can_be_edited_or_is_refused_as_empty(prompt: str) -> None:
    try:
        request = VideoRequest(prompt=prompt)
        spec = build_full_spec(request, "v", Path("logs"))
    except (ValidationError, InvalidRequest):
        assert not re.sub(r"[\s.,;:!?…。，、；：！？–—-]|[\x00-\x1f\x7f-\x9f]", "", prompt)  # noqa: RUF001
        return
    assert spec.title.strip()
    assert all(len(beat.prompt) < 1_500 for beat in spec.beats)
    assert plan(spec=spec_as_draft(spec).model_dump()) == spec


def test_a_prompt_without_any_text_is_refused() -> None:
    for prompt in ("\x00", "...", "—", "\u0007 !", "\u200d", " \u200b ", "\u202e"):
        with pytest.raises(InvalidRequest, match="holds no text"):
            plan(prompt=prompt)


@pytest.mark.parametrize(
    "prompt", ["scene 1:", "1. -", "- 1. 2.", '"\u201d"', "a.", "\U0001f469\u200d\U0001f4bb", "video about ."]
)
def test_a_prompt_of_hardly_any_text_is_still_a_video(prompt: str) -> None:
    assert len(plan(prompt=prompt).beats) == 6


def test_control_characters_are_dropped_from_prompts() -> None:
    assert plan(prompt="a\x00fox\n\nruns").prompt == "a fox\n\nruns"
    assert plan_of_beats({"prompt": " a\x07fox "}).beats[0].prompt == "a fox"


def test_quotes_and_orders_around_the_subject_are_left_out() -> None:
    assert read_prompt('"A red door"').subject == "A red door"
    assert read_prompt('"Yes" she said "no"').subject == '"Yes" she said "no"'
    assert read_prompt("Please create a short cinematic video about two swans").subject == "two swans"
    assert read_prompt("A commercial fishing boat").subject == "A commercial fishing boat"
    assert read_prompt("video of").subject == "video of"


def test_texts_are_cut_at_clauses_then_phrases_then_words_then_whole_characters() -> None:
    assert clip_text("a long walk, then a rest by the river", 25) == "a long walk"
    assert clip_text("an old keeper waits beside the lamp", 30) == "an old keeper waits"
    assert clip_text("one two three four five", 15) == "one two three"
    assert clip_text("abcdefghij", 4) == "abcd"
    family = "👨‍👩‍👧"
    assert clip_text(f"abc{family}", 5) == "abc"
    assert clip_text("e\u0301e\u0301e\u0301", 3) == "e\u0301"


# --- the library ---


def test_the_library_and_the_archetypes_are_complete() -> None:
    assert len(BEATS) >= 18
    assert len(ARCHETYPES) >= 6
    assert {beat.position for beat in BEATS.values()} == {"opening", "middle", "closing"}
    for beat in BEATS.values():
        assert set(beat.durations) <= {5, 10, 15}
        assert set(beat.camera_movements) <= CAMERA_MOVEMENTS
        assert 1 <= beat.energy <= 3
        assert len(set(beat.pictures)) == len(beat.pictures) >= 3
    for archetype in ARCHETYPES:
        assert archetype.mood in LOOKS
        for position in ("opening", "middle", "closing"):
            names = getattr(archetype, f"{position}s")
            assert {BEATS[name].position for name in names} == {position}
            assert len(set(names)) == len(names) >= 2
    used = {name for each in ARCHETYPES for name in (*each.openings, *each.middles, *each.closings)}
    assert used == set(BEATS)


def test_every_mood_the_planner_knows_has_its_music() -> None:
    assert set(LOOKS) == set(MOODS)


# --- beats written by a person ---


def test_a_draft_without_a_duration_lasts_as_long_as_its_beats() -> None:
    spec = plan_of_beats({"prompt": "one", "duration": 6}, {"prompt": "two", "duration": 4.5})
    assert spec.duration == 10.5
    assert [(beat.start, beat.duration, beat.prompt) for beat in spec.beats] == [
        (0, 6, "one"),
        (6, 4.5, "two"),
    ]
    assert (spec.title, spec.prompt, spec.archetype, spec.mood) == (
        "One two",
        "one two",
        "custom",
        "cinematic",
    )


@pytest.mark.parametrize("lengths", [[4], [200, 200]])
def test_beats_that_last_too_short_or_too_long_together_are_refused(lengths: list[float]) -> None:
    with pytest.raises(InvalidSpec, match="together, a video 5 to 300 s"):
        plan_of_beats(*({"prompt": "p", "duration": length} for length in lengths))


def test_beats_are_scaled_to_the_duration_that_was_asked_for() -> None:
    spec = plan_of_beats(
        {"prompt": "a", "duration": 5},
        {"prompt": "b", "duration": 10},
        {"prompt": "c", "duration": 5},
        duration=10,
    )
    assert len(spec.beats) == 2
    assert [beat.duration for beat in spec.beats] == [3.333, 6.667]
    check_timing(spec)


def test_a_draft_takes_its_prompt_from_its_title_and_keeps_its_beats_words() -> None:
    draft = {"title": "The Door", "beats": [{"prompt": "A door, closed.", "duration": 5, "continues": False}]}
    spec = plan(spec=draft)
    assert (spec.title, spec.prompt) == ("The Door", "The Door")
    assert spec.beats[0].prompt == "A door, closed."
    assert spec.beats[0].continues is False


def test_a_beat_without_a_prompt_is_refused_and_named() -> None:
    with pytest.raises(InvalidSpec, match="Beat 1 has an empty prompt"):
        plan_of_beats({"prompt": "one"}, {"prompt": " \n "})


def test_a_reference_image_must_be_stored_before_planning() -> None:
    picture = Artifact(digest="b" * 64, size=3, media_type="image/png")
    assert plan_of_beats({"prompt": "p", "reference_image": picture}).beats[0].reference_image == picture
    with pytest.raises(InvalidReferenceImage, match=r"beat 0 is not stored yet\. Give it as .* data: URI"):
        plan_of_beats({"prompt": "p", "reference_image": "cat.png"})


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.floats(1, 300), min_size=1, max_size=80),
    st.floats(5, 300),
    st.sampled_from([None, True, False]),
)
def test_draft_beats_of_any_length_fill_the_video_and_survive_editing(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[float], duration: float, continues: bool | None
) -> None:
    beats = [DraftBeat(prompt=f"b{i}", duration=each, continues=continues) for i, each in enumerate(lengths)]
    request = VideoRequest(spec=DraftSpec(beats=tuple(beats)), duration=duration)
    spec = build_full_spec(request, "v", tmp_path_factory.getbasetemp())
    check_timing(spec)
    assert [beat.prompt for beat in spec.beats] == [f"b{i}" for i in range(len(spec.beats))]
    assert len(spec.beats) == min(len(beats), ceil(spec.duration / 5))
    assert plan(spec=spec_as_draft(spec).model_dump()) == spec


@pytest.mark.parametrize("duration", [5, 7.33, 30, 61.7, 300])
def test_planning_the_editable_form_as_json_gives_an_equal_spec(duration: float) -> None:
    picture = Artifact(digest="c" * 64, size=3, media_type="image/png")
    spec = plan(
        prompt="A fox. It runs.", duration=duration, seed=3, size="9:16", options={"clip": {}}, followers=2
    )
    pictured = spec.beats[0].model_copy(update={"reference_image": picture})
    spec = spec.model_copy(update={"beats": (pictured, *spec.beats[1:])})
    text = json.dumps(spec_as_draft(spec).model_dump(mode="json"))
    again = build_full_spec(
        VideoRequest(spec=DraftSpec.model_validate_json(text)),
        "vid_2",
        Path("logs"),
        followers_per_reference=2,
    )
    assert again == spec


# --- truncation ---


def raw_spec(count: int, length: float, duration: float) -> dict[str, Any]:
    beats = [{"beat_id": f"b{index}", "duration": length} for index in range(count)]
    return {"video_id": "vid_7", "duration": duration, "beats": beats, "extra": "kept"}


def test_ten_beats_in_fifteen_seconds_become_three_of_five_seconds(tmp_path: Path) -> None:
    spec = raw_spec(10, 1.5, 15)
    fixed = validate_and_fix_beat_count(spec, log_dir=tmp_path)
    assert fixed["beats"] == [
        {"beat_id": "b0", "beat_index": 0, "start": 0, "duration": 5},
        {"beat_id": "b1", "beat_index": 1, "start": 5, "duration": 5},
        {"beat_id": "b2", "beat_index": 2, "start": 10, "duration": 5},
    ]
    assert fixed["extra"] == "kept"
    assert spec == raw_spec(10, 1.5, 15)


def test_a_truncation_is_logged_as_a_warning_and_appended_to_the_truncation_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "not" / "there"
    validate_and_fix_beat_count(raw_spec(10, 1.5, 15), log_dir=folder)
    validate_and_fix_beat_count({**raw_spec(7, 5, 30), "video_id": "a b\nc"}, log_dir=folder)
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert "vid_7 has 10 beats in 15 s" in caplog.messages[0]
    assert "only the first 3 are kept" in caplog.messages[0]
    first, second = (folder / "beat_truncation.log").read_text().splitlines()
    fields = dict(field.split("=") for field in first.split())
    at = datetime.fromisoformat(fields.pop("timestamp"))
    assert at.utcoffset() == timedelta(0)
    assert fields == {"video_id": "vid_7", "original_count": "10", "truncated_count": "3"}
    assert second.endswith("video_id=a_b_c original_count=7 truncated_count=6")


def test_the_truncation_log_lies_in_logs_unless_told_otherwise(tmp_path: Path) -> None:
    validate_and_fix_beat_count(raw_spec(2, 5, 5))
    assert (tmp_path / "logs" / "beat_truncation.log").read_text().count("\n") == 1


@pytest.mark.parametrize("count", [1, 3, 5, 7])
def test_beats_that_fit_are_only_numbered_and_timed(count: int, tmp_path: Path) -> None:
    spec = raw_spec(count, 5, count * 5)
    fixed = validate_and_fix_beat_count(spec, log_dir=tmp_path)
    expected = [{**beat, "beat_index": i, "start": 5 * i} for i, beat in enumerate(spec["beats"])]
    assert fixed == {**spec, "beats": expected}
    assert not list(tmp_path.iterdir())


def test_an_unwritable_log_stops_no_plan(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    assert len(validate_and_fix_beat_count(raw_spec(10, 1.5, 15), log_dir=blocked)["beats"]) == 3
    assert "could not be written" in caplog.messages[-1]


@pytest.mark.parametrize("duration", [0, -5, float("nan")])
def test_a_plan_without_a_duration_is_refused(duration: float) -> None:
    with pytest.raises(InvalidSpec, match="must be more than 0 s"):
        validate_and_fix_beat_count(raw_spec(1, 5, duration))


def test_building_a_spec_truncates_and_logs(tmp_path: Path) -> None:
    beats = [{"prompt": f"beat {index}", "duration": 1.5} for index in range(10)]
    spec = plan_of_beats(*beats, tmp=tmp_path)
    assert [(beat.start, beat.duration) for beat in spec.beats] == [(0, 5), (5, 5), (10, 5)]
    assert (
        "video_id=vid_1 original_count=10 truncated_count=3" in (tmp_path / "beat_truncation.log").read_text()
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(st.floats(0, 400), max_size=90), st.floats(0.5, 400))
def test_truncation_keeps_the_first_beats_and_fills_the_video(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[float], duration: float
) -> None:
    spec = {
        "video_id": "v",
        "duration": duration,
        "beats": [{"name": index, "duration": length} for index, length in enumerate(lengths)],
    }
    fixed = validate_and_fix_beat_count(spec, log_dir=tmp_path_factory.getbasetemp())
    kept, most = fixed["beats"], ceil(duration / 5)
    assert len(kept) == min(len(lengths), most)
    assert [beat["name"] for beat in kept] == [beat["beat_index"] for beat in kept] == list(range(len(kept)))
    for before, after in pairwise(kept):
        assert before["start"] + before["duration"] == pytest.approx(after["start"], abs=1e-6)
    if len(lengths) > most:
        assert sum(beat["duration"] for beat in kept) == pytest.approx(duration, abs=1e-6)
        assert all(beat["duration"] > 0 for beat in kept)
    else:
        assert [beat["duration"] for beat in kept] == lengths


@pytest.mark.parametrize(
    "changes",
    [
        {"duration": float("inf")},
        {"duration": float("nan")},
        {"duration": None},
        {"duration": "30"},
        {"duration": True},
        {"beats": None},
        {"beats": 3},
        {"beats": [None]},
        {"beats": [{"duration": float("inf")}]},
        {"beats": [{"duration": -1}]},
        {"beats": [{"duration": "5"}]},
    ],
)
def test_a_plan_that_is_none_is_an_invalid_spec_and_no_other_error(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(InvalidSpec):
        validate_and_fix_beat_count(
            {"video_id": "v", "duration": 30, "beats": [], **changes}, log_dir=tmp_path
        )


@pytest.mark.parametrize("spec", [None, [], {"duration": 10**400, "beats": []}])
def test_what_is_no_plan_at_all_is_an_invalid_spec_too(tmp_path: Path, spec: Any) -> None:
    with pytest.raises(InvalidSpec):
        validate_and_fix_beat_count(spec, log_dir=tmp_path)


def test_a_whole_spec_as_raypipe_prints_it_is_taken_and_gives_the_same_plan(tmp_path: Path) -> None:
    spec = build_full_spec(VideoRequest(prompt="A fox in the snow", seed=3), "v", tmp_path)
    printed = json.loads(spec.model_dump_json())
    assert {"fps", "followers_per_reference"} <= printed.keys()
    again = build_full_spec(VideoRequest(spec=DraftSpec.model_validate(printed)), "v", tmp_path)
    assert again == spec


def test_a_beat_that_a_person_rewrote_is_custom_and_its_neighbours_stay_as_planned(tmp_path: Path) -> None:
    spec = build_full_spec(VideoRequest(prompt="A lighthouse keeper in a storm"), "v", tmp_path)
    printed = json.loads(spec.model_dump_json())
    printed["beats"][2]["prompt"] = "A forest at night"
    again = build_full_spec(VideoRequest(spec=DraftSpec.model_validate(printed)), "v", tmp_path)
    assert [beat.beat_id == "custom" for beat in again.beats] == [index == 2 for index in range(6)]


def test_the_size_of_a_video_that_asks_for_none_is_what_its_provider_makes(tmp_path: Path) -> None:
    sizes = {
        name: str(build_full_spec(VideoRequest(prompt="x y z", model=name), "v", tmp_path).size)
        for name in ("local", "simulated")
    }
    assert sizes == {"local": "1280x720", "simulated": "64x36"}


HAILUO = {Kind.CLIP: ("replicate/minimax/hailuo-02",)}


@pytest.mark.parametrize("duration", [5, 6.5, 11, 30, 33, 59, 61, 100, 187.3, 300])
def test_a_plan_has_no_beat_that_its_clip_model_cannot_make(tmp_path: Path, duration: float) -> None:
    seedance = {Kind.CLIP: ("replicate/bytedance/seedance-1-lite", *HAILUO[Kind.CLIP])}
    for models in (HAILUO, seedance):
        spec = build_full_spec(VideoRequest(prompt="A fox", duration=duration, models=models), "v", tmp_path)
        assert max(beat.duration for beat in spec.beats) <= 10
        assert sum(beat.frames for beat in spec.beats) == round(duration * FPS)
        check_models(spec)


def test_a_beat_that_is_longer_than_any_clip_of_its_model_is_refused(tmp_path: Path) -> None:
    beats = (DraftBeat(prompt="one", duration=5), DraftBeat(prompt="two", duration=12))
    spec = build_full_spec(VideoRequest(spec=DraftSpec(beats=beats), models=HAILUO), "v", tmp_path)
    with pytest.raises(InvalidRequest, match=r"Beat 1 cannot be made: .*hailuo-02.* at most 10 s, not 12 s"):
        check_models(spec)


def test_the_shortest_clip_that_covers_a_beat_is_paid(tmp_path: Path) -> None:
    beats = tuple(DraftBeat(prompt=f"beat {seconds}", duration=seconds) for seconds in (5, 6, 6.5, 10))
    models = HAILUO | {Kind.IMAGE: ("replicate/black-forest-labs/flux-dev",), Kind.MUSIC: ("local",)}
    spec = build_full_spec(VideoRequest(spec=DraftSpec(beats=beats), models=models), "v", tmp_path)
    found = estimate(spec, {})
    assert [found.steps[f"chunk/{index}"] for index in range(4)] == pytest.approx([0.27, 0.27, 0.45, 0.45])
    assert found.total == pytest.approx(1.44 + 4 * 0.025)
    assert str(found) == "$1.54 (images $0.10, clips $1.44)"


def test_a_truncation_log_that_cannot_be_written_is_said_in_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    plan = {"video_id": "v", "duration": 5, "beats": [{"duration": 5}] * 3}
    with caplog.at_level("WARNING", logger="raypipe"):
        assert len(validate_and_fix_beat_count(plan, log_dir=tmp_path / "file" / "logs")["beats"]) == 1
    assert "could not be written" in caplog.text
    assert "Traceback" not in caplog.text
