"""What the embedded provider reads out of prompts."""

import pytest

from raypipe.models import Artifact, Beat, Job, Kind, Size, Spec
from raypipe.providers.local import LocalProvider
from raypipe.providers.local.motifs import PAINTERS
from raypipe.providers.local.words import World, world_of

#: prose that any planner may put around the words of a prompt
PROSE = (
    "Wide shot of the city: {}. Mountains beyond the forest, birds over the castle, rain and a volcano. "
    "Moonlight of a winter night on the sea, golden sunset in the window. Style: neon. Mood: stormy."
)


def world(
    video: str, beat: str = "", mood: str = "calm", style: str = "cinematic", kind: str = "custom"
) -> World:
    job = Job(
        video_id="vid_1", size=Size(width=160, height=90), fps=24, duration=5, prompt=video, style=style,
        mood=mood, seed=1, models=dict.fromkeys(Kind, ("local",)), options={},
    )  # fmt: skip
    shot = Beat(
        beat_index=0, beat_id=kind, start=0, duration=5, prompt=beat or video, shot_type="wide",
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
        ("a small café", "interior"),
        ("zxqv", "abstract"),
    ],
)
def test_the_words_of_a_prompt_choose_the_motif(prompt: str, motif: str) -> None:
    assert world(prompt).motif == motif


@pytest.mark.parametrize("prompt", ["catálogo", "carácter", "busão", "sea\u0303", "лsea"])
def test_a_part_of_a_word_is_no_word(prompt: str) -> None:
    assert world(prompt).motif == "abstract"


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
    "video",
    [
        "A lighthouse at dawn",
        "a cat, a book and a piano at home by the lake",
        "Video of a fox in the snow.",
        '"Tokyo"',
        "zxqv",
        "雪の中の狐",
        "🚀",
    ],
)
def test_words_around_the_prompt_change_the_picture_if_a_person_and_not_the_planner_wrote_them(
    video: str,
) -> None:
    assert world(video, PROSE.format(video), kind="wide_context") == world(video)
    assert world(video, PROSE.format(video), kind="custom") != world(video)


@pytest.mark.parametrize(
    ("told", "motif", "time"),
    [
        ("A ship lies in the harbour at noon", "sea", "day"),
        ("In the evening a caravan crosses the desert", "desert", "dusk"),
        ("The hero sleeps at midnight in the forest", "forest", "night"),
    ],
)
def test_a_beat_from_the_library_shows_the_part_of_the_story_that_it_tells(
    told: str, motif: str, time: str
) -> None:
    video = """A ship lies in the harbour at noon.
    - In the evening a caravan crosses the desert
    - The hero sleeps at midnight in the forest!"""
    own = world(video, f"Medium shot: {told}. Lava in the snow. Style: noir.", kind="human_scale")
    assert (own.motif, own.time, own.weather) == (motif, time, "clear")


def test_style_and_mood_may_name_hour_and_weather_but_the_prompt_knows_better_and_chooses_the_motif() -> None:
    assert world("A lighthouse", style="neon noir").time == "night"
    assert world("A lighthouse", mood="stormy").weather == "storm"
    assert world("A lighthouse at dawn", style="neon noir").time == "dawn"
    assert world("zxqv", style="neon noir").motif == "abstract"


@pytest.mark.parametrize(
    ("mood", "known"),
    [("Hopeful and warm", "warm"), ("DARK synth", "dark"), ("romantic", "dreamy"), ("???", "calm")],
)
def test_a_free_text_mood_maps_to_a_known_one(mood: str, known: str) -> None:
    assert world("a road", mood=mood).mood == known


# --- what there is no picture for ---


def notes(video: str, *beats: str, kind: str = "custom", pictured: tuple[int, ...] = ()) -> tuple[str, ...]:
    photo = Artifact(digest="c" * 64, size=3, media_type="image/png")
    shots = tuple(
        Beat(
            beat_index=index, beat_id=kind, start=index * 5, duration=5, prompt=prompt, shot_type="wide",
            camera_movement="static", reference_image=photo if index in pictured else None,
        )
        for index, prompt in enumerate(beats)
    )  # fmt: skip
    spec = Spec(
        title="T", prompt=video, archetype="custom", duration=5 * len(beats), size=Size(width=160, height=90),
        style="cinematic", mood="calm", seed=0, models=dict.fromkeys(Kind, ("local",)), options={},
        followers_per_reference=1, beats=shots,
    )  # fmt: skip
    return LocalProvider.notes(spec)


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        ("A football match in the rain", "football, match"),
        ("Please make me a 30 second video about football, epic and moody", "football"),
        ("a steam train crossing a viaduct", "steam, train, crossing, viaduct"),
        ("Wide shot: a ballet dancer on stage, shallow depth of field", "ballet, dancer, stage"),
        ("Bread. My bread, her bread", "bread"),
        ("my mother's rock'n'roll band", "mother's, rock'n'roll, band"),
        ("Un zorro en la nieve", "zorro, nieve"),
        ("Ein alter Leuchtturmwärter im Sturm", "alter, Leuchtturmwärter, Sturm"),
        ("nin\u0303o", "ni\u00f1o"),
        ("雪の中の狐", "雪の中の狐"),
        ("Лиса в\n снегу", "Лиса в снегу"),
        ("🚀 🚀", "🚀 🚀"),
        ("A storm at night", "A storm at night"),
        ("x", "x"),
        ("雪" * 61, "雪" * 59 + "…"),
        ("aa bb cc dd ff gg hh ii", "aa, bb, cc, dd, ff, gg, hh, ii"),
        ("aa bb cc dd ff gg hh ii jj kk", "aa, bb, cc, dd, ff, gg, hh, ii and more"),
    ],
)
def test_a_prompt_for_which_there_is_no_picture_is_noted_in_its_own_words(prompt: str, named: str) -> None:
    note = f"no picture for: {named}; drawing an abstract landscape"
    assert notes(prompt, *[PROSE.format(prompt)] * 2, kind="wide_context") == (note,)
    assert notes(prompt, prompt) == (note,)


@pytest.mark.parametrize(
    "prompt",
    [
        "A lighthouse keeper in a storm",
        "A fox in the snow",
        "product ad for a perfume",
        "Football in the city",
    ],
)
def test_there_is_no_note_where_something_can_be_drawn(prompt: str) -> None:
    assert notes(prompt, PROSE.format(prompt), kind="wide_context") == ()
    assert notes("untitled", prompt) == ()


def test_beats_for_which_there_is_no_picture_are_named() -> None:
    beats = ("the sea", "a football match", "a forest", "a steam train, and football")
    assert notes("untitled", *beats) == (
        "beats 1, 3: no picture for: football, match, steam, train; drawing an abstract landscape",
    )
    assert notes("untitled", *beats[:2]) == (
        "beat 1: no picture for: football, match; drawing an abstract landscape",
    )


def test_a_beat_that_brings_its_own_picture_needs_none() -> None:
    assert notes("untitled", "a football match", pictured=(0,)) == ()
    assert notes("untitled", "football", "bread", pictured=(1,)) == (
        "beat 0: no picture for: football; drawing an abstract landscape",
    )
