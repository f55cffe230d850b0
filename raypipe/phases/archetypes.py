"""Archetypes: which beats a kind of film is made of, and the mood and light it has."""

import re
from typing import NamedTuple

from raypipe.phases.beat_library import Position, stable_number


class Archetype(NamedTuple):
    """One kind of film."""

    archetype_id: str
    #: words of a prompt that speak for it
    words: frozenset[str]
    #: mood of the film where the prompt does not tell
    mood: str
    #: beat ids in order of preference
    openings: tuple[str, ...]
    middles: tuple[str, ...]
    closings: tuple[str, ...]
    #: whether it suits a prompt for which no archetype's words speak
    general: bool = False


class Look(NamedTuple):
    """How a mood is recognised and lit."""

    words: frozenset[str]
    opening: str
    middle: str
    closing: str


def _archetype(
    archetype_id: str,
    mood: str,
    words: str,
    openings: str,
    middles: str,
    closings: str,
    general: bool = False,
) -> Archetype:
    return Archetype(
        archetype_id,
        frozenset(words.split()),
        mood,
        tuple(openings.split()),
        tuple(middles.split()),
        tuple(closings.split()),
        general,
    )


ARCHETYPES = (
    _archetype(
        "product_showcase",
        "cinematic",
        "product brand luxury watch perfume jewel jewellery bottle phone shoe sneaker bag car bike bicycle "
        "motorcycle lipstick cosmetic skincare coffee chocolate whisky wine beer furniture chair lamp "
        "headphones camera laptop ad advert commercial promo sale collection elegant premium designer "
        "packaging",
        "first_glimpse hero_entrance",
        "detail_study around_it in_motion human_scale rim_outline through_foreground low_view slow_pass "
        "wide_context revealing_retreat",
        "hero_hold last_detail final_reveal",
    ),
    _archetype(
        "feature_demo",
        "uplifting",
        "app software feature tutorial demo demonstrate explain explainer how guide device gadget tool "
        "dashboard platform website startup robot printer electric smart invention technology course recipe "
        "howto assemble install",
        "hero_entrance establishing_view",
        "human_scale detail_study step_closer in_motion around_it high_view parts_in_turn build_up "
        "through_foreground revealing_retreat",
        "hero_hold forward_look final_reveal",
    ),
    _archetype(
        "journey",
        "cinematic",
        "journey travel trip voyage road mountain landscape sea ocean forest island desert valley river "
        "canyon coast beach explore explorer adventure hike climb sail train ride walk wander pilgrim "
        "expedition countryside glacier jungle savanna spaceship astronaut mars planet nomad horizon drone",
        "aerial_approach establishing_view",
        "in_motion wide_context human_scale low_view slow_pass detail_study high_view turning_point "
        "travelling_line revealing_retreat",
        "rising_farewell final_reveal looking_back",
        general=True,
    ),
    _archetype(
        "city_energy",
        "energetic",
        "city urban street downtown skyline traffic subway metro neon skyscraper rooftop graffiti nightlife "
        "taxi tokyo york london paris berlin shanghai seoul mumbai lagos dubai istanbul singapore bangkok "
        "dance dancer skate skateboard parkour sport football basketball runner running workout gym fitness "
        "fashion dj techno",
        "bold_opening aerial_approach",
        "in_motion quick_impressions high_view detail_study wide_context low_view build_up "
        "through_foreground around_it travelling_line",
        "rising_farewell forward_look final_reveal",
    ),
    _archetype(
        "emotional_story",
        "calm",
        "my our grandmother grandfather grandma grandpa mother father mom dad family daughter son child "
        "children childhood boy girl friend friendship couple love lover heart memory memories remember "
        "letter home old widow farewell goodbye reunion soldier together hope dream lonely alone promise "
        "forgive life she he her his they",
        "quiet_arrival first_glimpse",
        "human_scale detail_study held_close wide_context turning_point through_foreground quiet_pause "
        "step_closer slow_pass revealing_retreat",
        "last_detail looking_back rising_farewell",
    ),
    _archetype(
        "mystery_atmosphere",
        "mysterious",
        "mystery mysterious secret hidden ghost haunted abandoned ruin ancient temple fog mist storm "
        "thunder midnight moonlight shadow darkness dark witch magic magical spell alien unknown strange "
        "eerie lighthouse castle cave labyrinth detective noir crime vampire monster whisper legend cosmic "
        "galaxy nebula surreal underwater",
        "first_glimpse quiet_arrival establishing_view",
        "wide_context detail_study slow_pass low_view held_close through_foreground turning_point "
        "rim_outline high_view travelling_line",
        "looking_back rising_farewell last_detail",
    ),
    _archetype(
        "celebration",
        "uplifting",
        "celebrate celebration birthday party festival carnival holiday holidays christmas easter diwali "
        "halloween wedding anniversary graduation firework fireworks parade concert launch congratulations "
        "cheers winner victory champion opening gala toast balloon confetti invitation",
        "bold_opening establishing_view",
        "human_scale quick_impressions detail_study in_motion high_view around_it build_up held_close "
        "wide_context revealing_retreat",
        "final_reveal rising_farewell forward_look",
    ),
    _archetype(
        "quiet_observation",
        "calm",
        "garden flower flowers meadow tree tea bird butterfly bee bees wildlife animal cat dog fox deer "
        "horse whale elephant lake pond spring autumn sunrise sunset morning evening snow leaf leaves "
        "breath breathe yoga meditation meditate silence quiet slow gentle craft potter pottery baker bread "
        "carpenter weaver painter cooking library reading rest",
        "quiet_arrival establishing_view",
        "detail_study wide_context held_close slow_pass human_scale low_view quiet_pause through_foreground "
        "high_view revealing_retreat",
        "last_detail looking_back rising_farewell",
        general=True,
    ),
    _archetype(
        "heroic_action",
        "epic",
        "hero heroine battle war warrior knight dragon samurai viking army sword fight fighter chase race "
        "racing rescue explosion escape pilot rocket firefighter superhero gladiator giant titan kingdom "
        "king queen quest epic destroy invasion avalanche volcano tornado hurricane dinosaur",
        "hero_entrance bold_opening aerial_approach",
        "in_motion low_view wide_context held_close build_up quick_impressions turning_point high_view "
        "around_it travelling_line",
        "final_reveal forward_look rising_farewell",
    ),
    _archetype(
        "cinematic_portrait",
        "cinematic",
        "portrait person woman man artist musician dancer doctor farmer fisherman teacher scientist worker "
        "chef nurse sailor monk writer singer keeper face eyes interview documentary biography story",
        "establishing_view hero_entrance quiet_arrival",
        "human_scale detail_study around_it in_motion held_close wide_context through_foreground low_view "
        "slow_pass revealing_retreat",
        "hero_hold looking_back final_reveal",
        general=True,
    ),
)


def _look(words: str, opening: str, middle: str, closing: str) -> Look:
    return Look(frozenset(words.split()), opening, middle, closing)


LOOKS = {
    "cinematic": _look(
        "cinematic documentary",
        "Shaped light with a clear direction and strong contrast",
        "Light from one side that models every form",
        "Light from behind that draws the outlines",
    ),
    "calm": _look(
        "calm peaceful serene quiet gentle tranquil relaxing soothing soft cozy cosy meditation garden slow "
        "tender",
        "Soft, even light",
        "Gentle light without hard edges",
        "Light that softens and slowly fades",
    ),
    "uplifting": _look(
        "uplifting inspiring hope hopeful optimistic proud success triumph celebrate celebration together "
        "dream",
        "Clear, open light that grows",
        "Warm light with lively colours",
        "Full, generous light",
    ),
    "epic": _look(
        "epic heroic majestic grand legend legendary battle warrior dragon colossal",
        "Broad, low-angled light and huge contrasts of scale",
        "Hard beams of light across the picture",
        "Light that breaks open behind the main shape",
    ),
    "tense": _look(
        "tense suspense thriller danger dangerous chase escape urgent nervous countdown threat",
        "Hard, narrow light that hides more than it shows",
        "Sharp light with quick changes",
        "One harsh light, everything else withheld",
    ),
    "melancholic": _look(
        "melancholic melancholy sad lonely alone grief farewell goodbye nostalgic nostalgia rain rainy "
        "widow lost forgotten memory memories",
        "Low, muted light and quiet colours",
        "Thin light that barely reaches the corners",
        "Light that withdraws, colour by colour",
    ),
    "playful": _look(
        "playful fun funny happy cheerful silly cute puppy kitten toy cartoon kids joyful joy laugh comic",
        "Clear, cheerful light and fresh colours",
        "Lively light with bold spots of colour",
        "Light as clear as a good joke",
    ),
    "dramatic": _look(
        "drama dramatic storm stormy intense passion tragedy tragic conflict thunder",
        "Strong light from one side, the other side lost",
        "Restless light with strong contrast",
        "A last strong light on what matters",
    ),
    "mysterious": _look(
        "mysterious mystery secret hidden magic magical dreamlike surreal enigma strange cosmic fog mist "
        "unknown",
        "Faint light that leaves much unseen",
        "A single soft light in the depth of the picture",
        "Light that thins out until only an outline is left",
    ),
    "romantic": _look(
        "romantic romance love lovers kiss wedding bride intimate valentine anniversary",
        "Warm light, low and gentle",
        "Soft light with a tender bloom",
        "Warm light that lingers",
    ),
    "energetic": _look(
        "energetic energy fast upbeat dynamic dance dancing party sport racing techno vibrant neon exciting "
        "action",
        "Crisp light and saturated colours",
        "Quick accents of coloured light",
        "Full, saturated light on everything",
    ),
    "dark": _look(
        "dark horror sinister scary creepy haunted menacing dystopia dystopian evil nightmare gothic "
        "vampire zombie",
        "Sparse light, most of the picture black",
        "A weak light that does not reach the edges",
        "The last light goes out slowly",
    ),
}
DEFAULT_LOOK = LOOKS["cinematic"]
#: endings that a listed word may have
_ENDINGS = ("", "s", "es", "d", "ed", "ing", "ly", "ful")


def choose_archetype(text: str, seed: int) -> Archetype:
    """Choose the archetype for which most words of a prompt speak; the seed decides between equals."""
    words = _words(text)
    scores = [_score(words, each.words) for each in ARCHETYPES]
    best = max(scores)
    equals = [
        each
        for each, score in zip(ARCHETYPES, scores, strict=True)
        if score == best and (best > 0 or each.general)
    ]
    return equals[stable_number("archetype", seed, text) % len(equals)]


def mood_of(text: str) -> str | None:
    """Return the mood for which most words of a prompt speak, of equals the first; None if no word does."""
    words = _words(text)
    scores = {mood: _score(words, look.words) for mood, look in LOOKS.items()}
    best = max(scores.values())
    equals = [mood for mood, score in scores.items() if score == best > 0]
    return min(equals, key=lambda mood: _first(words, LOOKS[mood].words), default=None)


def light_of(mood: str, position: Position) -> str:
    """Return the light of a mood in one part of the film; the mood may be free text."""
    look = LOOKS.get(mood.lower()) or LOOKS.get(mood_of(mood) or "") or DEFAULT_LOOK
    return {"opening": look.opening, "middle": look.middle, "closing": look.closing}[position]


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", text.lower())


def _speaks(word: str, listed: frozenset[str]) -> bool:
    return any(word.removesuffix(ending) in listed for ending in _ENDINGS)


def _score(words: list[str], listed: frozenset[str]) -> int:
    return sum(_speaks(word, listed) for word in dict.fromkeys(words))


def _first(words: list[str], listed: frozenset[str]) -> int:
    return next(place for place, word in enumerate(words) if _speaks(word, listed))
