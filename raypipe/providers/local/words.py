"""What a prompt asks to see: a motif, a time of day, a weather, a mood and the things named in it."""

import re
import unicodedata
from typing import NamedTuple

from raypipe.models import Beat, Job, Spec


class World(NamedTuple):
    """What is shown; the beats of one video share it unless their own words say otherwise."""

    motif: str
    time: str
    weather: str
    mood: str
    style: str
    subjects: tuple[str, ...]
    #: tells videos with the same words but another seed apart
    tone: int = 0


FALLBACK = "abstract"
#: kind of the beats that a person wrote; all others come from the planner's library
CUSTOM = "custom"

#: words of each motif; those before the bar name it by themselves, those after it only hint
_MOTIFS = {
    "space": "space planet planets galaxy galaxies cosmos cosmic nebula asteroid mars saturn jupiter"
    " orbiting astronaut spaceship spacecraft rocket satellite universe interstellar starship"
    " | stars star alien",
    "underwater": "underwater undersea reef coral jellyfish aquarium seabed scuba diver diving shark"
    " mermaid submarine | fish whale dolphin turtle deep",
    "aurora": "aurora polar arctic antarctic antarctica iceberg icebergs glacier glaciers tundra igloo"
    " penguin penguins iceland lapland | ice northern frozen",
    "volcano": "volcano volcanoes volcanic lava eruption magma erupting | ash crater",
    "waterfall": "waterfall waterfalls cascade river rivers stream creek rapids canyon gorge | brook",
    "beach": "beach beaches tropical island islands palm palms lagoon caribbean maldives hawaii"
    " coconut surf surfer surfing atoll | paradise sand summer vacation holiday",
    "sea": "sea ocean lighthouse sailboat sailing ship ships harbor harbour coast coastline shore"
    " cliff cliffs waves seaside pier fishing yacht marina pirate | boat boats sailor maritime"
    " nautical whale seagulls",
    "lake": "lake lakes lakeside pond loch fjord reservoir | canoe kayak jetty swan",
    "mountain": "mountain mountains peak peaks alps alpine himalaya himalayas summit everest ridge"
    " highlands hiking hiker climber climbing mountaineer andes rockies | valley snowy castle"
    " wilderness eagle hike",
    "street": "street streets alley alleys sidewalk crosswalk boulevard avenue taxi cyberpunk neon"
    " traffic pedestrians bazaar | market shops lane walking noir detective",
    "skyline": "skyline skyscraper skyscrapers metropolis downtown urban tokyo manhattan york london"
    " paris shanghai chicago rooftop rooftops megacity | city cities town towers building"
    " buildings architecture startup business",
    "forest": "forest forests woods woodland jungle rainforest redwood pines grove | trees tree deer"
    " fox wolf bear mushroom fairy fairies elf enchanted moss owl",
    "desert": "desert deserts dune dunes sahara camel camels oasis mesa cactus gobi egypt pyramid"
    " pyramids bedouin savanna savannah | sand arid caravan canyon western cowboy",
    "road": "road roads highway motorway driving roadtrip motorcycle freeway route | car cars drive"
    " truck journey bus race racing bike",
    "village": "village villages cottage cottages hamlet farmhouse chalet cabin windmill church"
    " fairytale | house houses home farm barn christmas bakery rural",
    "meadow": "meadow meadows field fields grassland prairie wildflowers wildflower farmland vineyard"
    " pasture lavender sunflowers sunflower poppies hills hill countryside orchard | flowers"
    " flower grass garden spring blossom horse horses butterfly butterflies bees balloon"
    " balloons kite picnic park tree",
    "interior": "room interior bedroom kitchen library window windowsill studio apartment fireplace"
    " office cafe café attic livingroom bookshop classroom desk | piano cat sofa chair reading book"
    " books writer artist home",
    "product": "product bottle perfume fragrance watch smartwatch wristwatch cup mug coffee espresso tea"
    " smartphone phone headphones gadget cosmetics skincare serum lipstick sneaker sneakers"
    " shoe wine whisky whiskey beer candle lamp vase jewelry jewellery ring laptop"
    " chocolate cake packaging unboxing ceramic | brand launch commercial advert advertisement"
    " ad box device glass luxury bowl",
}

_TIMES = {
    "night": "night midnight nighttime nocturnal moonlit moonlight moon starry stars aurora neon"
    " fireflies nightfall",
    "dusk": "dusk twilight evening gloaming",
    "sunset": "sunset sundown golden sunsets",
    "dawn": "dawn sunrise daybreak morning sunup",
    "day": "day daytime noon midday afternoon sunny daylight bright",
}
_WEATHERS = {
    "storm": "storm stormy thunderstorm lightning thunder tempest hurricane",
    "snow": "snow snowy snowfall snowing blizzard winter wintry christmas",
    "rain": "rain rainy raining drizzle downpour monsoon rainstorm wet",
    "fog": "fog foggy mist misty haze hazy smoky",
    "clouds": "cloud clouds cloudy overcast",
    "clear": "clear sunny cloudless",
}
_MOODS = {
    "warm": "warm nostalgic nostalgia cozy cosy golden hopeful hope heartwarming tender acoustic folk homely",
    "epic": "epic dramatic heroic intense powerful cinematic adventure adventurous action bold"
    " triumphant grand",
    "dark": "dark mysterious mystery tense suspense ominous noir eerie horror scary gloomy haunting thriller",
    "joyful": "joyful happy playful upbeat fun cheerful bright energetic lively funny optimistic"
    " uplifting sunny",
    "dreamy": "dreamy romantic romance love magical whimsical ethereal fantasy soft fairy lofi pastel"
    " surreal",
    "neon": "neon futuristic tech electronic cyberpunk synthwave modern retrowave scifi technology",
    "sad": "sad melancholic melancholy lonely somber sombre nostalgic bittersweet moody reflective pensive",
    "calm": "calm peaceful serene relaxing relaxed tranquil gentle quiet ambient meditative contemplative",
}
_SUBJECTS = {
    "lighthouse": "lighthouse",
    "boat": "boat boats sailboat sailing yacht sailor canoe fishing regatta",
    "ship": "ship ships pirate galleon",
    "birds": "bird birds seagull seagulls gulls eagle geese swallows crows",
    "moon": "moon moonlit moonlight lunar",
    "balloon": "balloon balloons airship",
    "train": "train trains railway locomotive tram",
    "tree": "tree oak",
    "castle": "castle fortress palace kingdom",
    "car": "car cars taxi driving drive truck vehicle traffic roadtrip",
    "house": "house cottage cabin hut farmhouse home chalet barn",
    "deer": "deer stag fawn elk reindeer",
    "whale": "whale whales",
    "rocket": "rocket spaceship spacecraft starship",
    "windmill": "windmill windmills",
    "bridge": "bridge bridges",
    "tent": "tent camp camping campfire campsite",
    "lantern": "lantern lanterns",
    "figure": "figure man woman girl boy child hiker traveler traveller wanderer person astronaut"
    " knight monk climber couple surfer explorer she he her his hero detective samurai"
    " photographer",
    "cat": "cat kitten",
    "flowers": "flower flowers wildflowers poppies lavender sunflowers tulips blossom roses",
    "pyramid": "pyramid pyramids egypt",
    "camel": "camel camels caravan",
    "cactus": "cactus cacti saguaro",
    "bottle": "bottle perfume fragrance wine whisky whiskey beer serum skincare cosmetics juice",
    "watch": "watch smartwatch wristwatch",
    "cup": "cup mug coffee espresso tea bowl ceramic",
    "phone": "phone smartphone tablet",
    "candle": "candle candles",
    "box": "box package packaging unboxing gift chocolate",
    "fireflies": "fireflies firefly fairies fairy magical enchanted",
    "neon": "neon cyberpunk",
}

#: turns of phrase that speak of the camera and not of what it sees
_CAMERA_TALK = re.compile(
    r"\b(?:(?:shallow )?depth of field|field of view|golden ratio|time[- ]?lapse|day to day|in the distance|scene opens"
    r"|(?:street|eye|ground|sea)[- ]level|bird'?s[- ]eye|fish[- ]?eye|tracking|track|dolly|crane|drone|pan"
    r"|tilt|orbit|(?:establishing|wide|aerial|medium|close[- ]?up|detail|macro|hero|final|opening|closing"
    r"|insert|product|beauty) (?:shot|view|angle|frame|image|detail)s?|close[- ]up|over[- ]the[- ]shoulder"
    r"|bright(?:er|ly)?|clear(?:er|ly)?)\b",
    re.IGNORECASE,
)


#: words that also describe shots, and so choose no motif from within a beat
_LOOSE = (
    "product studio room interior window field fields stream peak peaks route ring watch planet universe waves"
    " orbiting ridge rapids home office"
)


def world_of(job: Job, beat: Beat) -> World:
    """Read what a beat shows from the words of the beat itself, of its video and of the video's style and mood.

    Style and mood choose no motif: they say how a thing is shown, not which.
    """
    video, own, manner = _clean(job.prompt), _own_words(job.prompt, beat), _clean(f"{job.style} {job.mood}")
    mood = _first(_MOODS, _words(job.mood)) or _first(_MOODS, _words(video)) or "calm"
    said = (own, video, manner)
    motif = _motif_of(video, own)
    weather = next(filter(None, (_first(_WEATHERS, _words(text)) for text in said)), "clear")
    time = next(filter(None, (_time(text, motif) for text in said)), None) or _usual_time(motif, mood, video)
    subjects = tuple(_all(_SUBJECTS, _words(f"{video} {own} {manner}")))
    return World(motif, time, weather, mood, job.style.lower(), subjects, tone=job.seed)


def _motif_of(video: str, own: str) -> str:
    """Choose the motif by what a beat says plainly, else by its video's words, else by what the beat hints at."""
    plain = " ".join(word for word in _words(own) if word not in _LOOSE.split())
    return _motif(plain, hints=False) or _motif(video) or _motif(own) or FALLBACK


def _clean(text: str) -> str:
    plain = re.sub(
        r"snow(?:y|[- ]?capped|[- ]?covered)[- ]+(?=mountain|peak|alp|summit|volcano)", "", text.casefold()
    )
    return _CAMERA_TALK.sub(" ", plain)


def _own_words(video: str, beat: Beat) -> str:
    """Return what a beat says of its own; nothing if it tells just what the video's prompt tells.

    A beat from the library also holds words of the planner, which are no part of the story: only those that
    stand in the video's prompt count, in the order they have there.
    """
    if beat.beat_id == CUSTOM:
        return _clean(beat.prompt.casefold().replace(video.casefold().strip(" .!"), " "))
    story, said = _words(_clean(video)), set(_words(beat.prompt))
    told = [word for word in story if word in said]
    return "" if told == story else " ".join(told)


def _words(text: str) -> list[str]:
    """Split a text into whole words of any script, in small letters."""
    return re.findall(r"[^\W\d_]+", unicodedata.normalize("NFC", text).casefold())


def _first(table: dict[str, str], words: list[str]) -> str | None:
    """The entry that comes first in the table among those any word of which occurs."""
    present = set(words)
    return next((name for name, listed in table.items() if present & set(listed.split())), None)


def _all(table: dict[str, str], words: list[str]) -> list[str]:
    present = set(words)
    return [name for name, listed in table.items() if present & set(listed.split())]


def _time(text: str, motif: str) -> str | None:
    if "blue hour" in text:
        return "dusk"
    if "golden hour" in text:
        return "sunset"
    words = [word for word in _words(text) if word not in _not_about_time(motif)]
    return _first(_TIMES, words)


def _not_about_time(motif: str) -> set[str]:
    """Words that name a thing in this motif and not an hour: gold on a table is no sunset."""
    return {"golden", "bright", "stars", "moon"} if motif in {"product", "interior", "space"} else {"bright"}


def _motif(text: str, hints: bool = True) -> str | None:
    """The motif with most words, of which the first weighs a little more; None without any."""
    scores: dict[str, float] = {}
    words = _words(text)
    for name, listed in _MOTIFS.items():
        strong, _, weak = (set(part.split()) for part in listed.partition("|"))
        places = [(place, 2.0) for place, word in enumerate(words) if word in strong]
        places += [(place, 1.0) for place, word in enumerate(words) if hints and word in weak]
        scores[name] = sum(weight for _, weight in places) + sum(0.5 / (1 + place) for place, _ in places[:1])
    best = max(scores, key=lambda name: scores[name])
    return best if scores[best] > 0 else None


def _usual_time(motif: str, mood: str, text: str) -> str:
    """The hour at which a motif looks best when nobody asks for another."""
    if motif in {"aurora", "space"} or "cyberpunk" in text:
        return "night"
    if mood in {"dark", "neon"}:
        return "night" if motif in {"street", "skyline"} else "dusk"
    by_motif = {
        "beach": "day", "underwater": "day", "meadow": "sunset", "street": "dusk", "skyline": "dusk",
        "volcano": "dusk", "village": "dusk", "waterfall": "day", "forest": "dawn",
        "interior": "sunset", "product": "day",
    }  # fmt: skip
    fallback = {"warm": "sunset", "joyful": "day", "dreamy": "dawn", "sad": "dusk", "calm": "dawn"}
    return by_motif.get(motif) or fallback.get(mood, "sunset")


#: words that name nothing to see: of grammar, also where a prompt is not in English, and of ordering a film
_GRAMMAR = (
    "an the and or but nor of in on at by for from to into onto with without over under above below behind"
    " between through across along around near beside before after during until while as than then if how when"
    " where who whose whom which what that this these those there here it its he him his she her hers they them"
    " their we us our you your me my is are was were be been being am has have had having do does did not no very"
    " so such some any each every all both one two three up down out off again only just also too"
    " el la los las un una unos unas en de del con por le les une des du et dans au aux der die das den dem ein"
    " eine einen einem und im mit auf von zu il lo gli di os um uma na da em"
    " please make create generate produce render show showing featuring about video clip film movie trailer"
    " teaser reel animation footage scene shot short long second seconds sec minute minutes min"
)
_NAMELESS = frozenset(" ".join((_GRAMMAR, *_TIMES.values(), *_WEATHERS.values(), *_MOODS.values())).split())
#: most words that a note names, and longest beginning of a prompt that it quotes, in characters
_NAMED, _QUOTED = 8, 60


def notes_on(spec: Spec) -> tuple[str, ...]:
    """Return a note that names what there is no picture for; none if something can be drawn in every beat.

    The fallback shows nothing that is named, so things which other motifs can show are named as well.
    """
    lost = [beat for beat in spec.beats if beat.reference_image is None and _is_lost(spec.prompt, beat)]
    if not lost:
        return ()
    texts = dict.fromkeys(beat.prompt if beat.beat_id == CUSTOM else spec.prompt for beat in lost)
    names = {name.casefold(): name for text in texts for name in _names(text)}
    listed = ", ".join(list(names.values())[:_NAMED]) + (" and more" if len(names) > _NAMED else "")
    return (f"{_whose(lost, spec)}no picture for: {listed}; drawing an abstract landscape",)


def _is_lost(video: str, beat: Beat) -> bool:
    return _motif_of(_clean(video), _own_words(video, beat)) == FALLBACK


def _whose(lost: list[Beat], spec: Spec) -> str:
    if len(lost) == len(spec.beats):
        return ""
    return f"beat{'s' if len(lost) > 1 else ''} {', '.join(str(beat.beat_index) for beat in lost)}: "


def _names(text: str) -> list[str]:
    """Return the words of a text that name something to see, as they are written, or else how it begins."""
    text = unicodedata.normalize("NFC", " ".join(text.split()))
    if all("LATIN" in unicodedata.name(char, "") for char in text if char.isalpha()):
        words = re.findall(r"[^\W\d_]+(?:['’-][^\W\d_]+)*", _CAMERA_TALK.sub(" ", text))  # noqa: RUF001
        names = [
            word for word in words if any(len(part) > 1 and part not in _NAMELESS for part in _words(word))
        ]
        if names:
            return names
    return [text if len(text) <= _QUOTED else f"{text[: _QUOTED - 1].rstrip()}…"]
