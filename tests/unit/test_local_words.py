"""What the embedded provider reads out of prompts."""

import pytest

from raypipe.models import Beat, Job, Size
from raypipe.providers.local.motifs import PAINTERS
from raypipe.providers.local.words import World, world_of


def world(video: str, beat: str = "", mood: str = "calm", style: str = "cinematic") -> World:
    job = Job(
        video_id="vid_1", size=Size(width=160, height=90), fps=24, duration=5, prompt=video, style=style,
        mood=mood, seed=1, provider="local", options={},
    )  # fmt: skip
    shot = Beat(
        beat_index=0, beat_id="custom", start=0, duration=5, prompt=beat or video, shot_type="wide",
        camera_movement="slow push in",
    )  # fmt: skip
    return world_of(job, shot)


@pytest.mark.parametrize(
    ("prompt", "motif"),
    [
        ("A lighthouse at dawn", "sea"),
        ("snow-capped mountains above the clouds", "mountain"),
        ("Tokyo from a rooftop", "skyline"),
        ("a busy city street in the rain", "street"),
        ("an enchanted forest", "forest"),
        ("camels cross the Sahara", "desert"),
        ("a rocket flies to Saturn", "space"),
        ("a long highway through the west", "road"),
        ("hot-air balloons over a field of flowers", "meadow"),
        ("a quiet lake", "lake"),
        ("an advert for a smartwatch", "product"),
        ("coffee, freshly brewed", "product"),
        ("a cozy bedroom", "interior"),
        ("a waterfall in the jungle", "waterfall"),
        ("a tropical island", "beach"),
        ("a volcano erupts", "volcano"),
        ("a village at Christmas", "village"),
        ("a coral reef and its fish", "underwater"),
        ("aurora above Iceland", "aurora"),
        ("zxqv", "abstract"),
    ],
)
def test_the_words_of_a_prompt_choose_the_motif(prompt: str, motif: str) -> None:
    assert world(prompt).motif == motif


def test_every_motif_that_words_can_choose_has_a_painter() -> None:
    assert {world(name).motif for name in PAINTERS} <= set(PAINTERS)
    assert len(PAINTERS) >= 15


@pytest.mark.parametrize(
    ("prompt", "time"),
    [
        ("the sea at sunrise", "dawn"),
        ("the sea at noon", "day"),
        ("the sea in the golden hour", "sunset"),
        ("the sea at twilight", "dusk"),
        ("the sea in the blue hour", "dusk"),
        ("the sea under the moon", "night"),
    ],
)
def test_words_choose_the_time_of_day(prompt: str, time: str) -> None:
    assert world(prompt).time == time


@pytest.mark.parametrize(
    ("prompt", "weather"),
    [
        ("the sea", "clear"),
        ("the sea under heavy clouds", "clouds"),
        ("the sea in the rain", "rain"),
        ("a thunderstorm at sea", "storm"),
        ("the sea while it is snowing", "snow"),
        ("the misty sea", "fog"),
    ],
)
def test_words_choose_the_weather(prompt: str, weather: str) -> None:
    assert world(prompt).weather == weather


def test_snowy_mountains_do_not_mean_that_it_snows() -> None:
    assert world("snowy mountains").weather == "clear"


def test_a_gold_watch_is_no_sunset() -> None:
    assert world("a golden watch").time != "sunset"


def test_things_named_in_the_prompt_are_noticed() -> None:
    assert set(world("a sailboat passes a lighthouse, seagulls above").subjects) >= {
        "boat",
        "lighthouse",
        "birds",
    }


@pytest.mark.parametrize(
    "talk",
    [
        "Establishing shot: {}, shallow depth of field",
        "{}. Aerial view, drone tracking shot, street-level perspective",
        "Close-up product shot, {}",
        "{}, over-the-shoulder, the camera cranes up",
    ],
)
def test_words_about_the_camera_do_not_choose_a_motif(talk: str) -> None:
    assert world("A lighthouse", talk.format("A lighthouse")).motif == "sea"
    assert world("zxqv", talk.format("zxqv")).motif == "abstract"


def test_beats_share_the_world_of_their_video() -> None:
    video = "A lighthouse at dusk in the fog"
    assert world(video, f"{video}. Wide shot of the scene") == world(video, f"{video}. A closer detail")


def test_a_beat_may_override_time_and_weather_and_motif() -> None:
    video = "A lighthouse by day"
    own = world(video, f"{video}. The same place at night, rain falling")
    assert (own.motif, own.time, own.weather) == ("sea", "night", "rain")
    assert world(video, "deep in the forest").motif == "forest"


@pytest.mark.parametrize(
    ("mood", "known"),
    [("Hopeful and warm", "warm"), ("DARK synth", "dark"), ("romantic", "dreamy"), ("???", "calm")],
)
def test_a_free_text_mood_maps_to_a_known_one(mood: str, known: str) -> None:
    assert world("a road", mood=mood).mood == known
