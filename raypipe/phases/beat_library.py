"""The beat library: shots that any subject can be shown in."""

import hashlib
from typing import Literal, NamedTuple

Position = Literal["opening", "middle", "closing"]
Distance = Literal["far", "middle", "near"]

SHORT, MEDIUM, LONG = (5,), (5, 10), (5, 10, 15)


class LibraryBeat(NamedTuple):
    """One kind of shot."""

    beat_id: str
    position: Position
    #: lengths that suit it, in seconds
    durations: tuple[int, ...]
    shot_type: str
    #: movements that suit it, the best first
    camera_movements: tuple[str, ...]
    #: 1 quiet to 3 lively
    energy: int
    #: takes `subject`, from the prompt, and `picture`
    prompt_template: str
    #: what there is to see; one for each time that the longest video may use the beat
    pictures: tuple[str, ...]

    @property
    def distance(self) -> Distance:
        """From how far away the shot is taken."""
        return _DISTANCES.get(self.shot_type, "middle")


_DISTANCES: dict[str, Distance] = {
    "wide": "far",
    "aerial": "far",
    "long shot": "far",
    "high angle": "far",
    "close-up": "near",
    "extreme close-up": "near",
    "medium close-up": "near",
    "insert": "near",
}


def stable_number(*parts: object) -> int:
    """Draw a number from texts and numbers, the same in every process."""
    digest = hashlib.sha256("\n".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8])


def _beat(
    beat_id: str,
    position: Position,
    durations: tuple[int, ...],
    shot_type: str,
    moves: str,
    energy: int,
    framing: str,
    *pictures: str,
) -> LibraryBeat:
    movements = tuple(moves.split(", "))
    template = f"{framing}: {{subject}}. {{picture}}."
    return LibraryBeat(beat_id, position, durations, shot_type, movements, energy, template, pictures)


_OPENINGS = (
    _beat(
        "establishing_view", "opening", LONG, "wide", "crane up, pan right, slow push in", 1,
        "Wide establishing shot",
        "The whole setting is taken in before anything happens in it",
        "Everything lies open to view, from the near edge to the far distance",
        "The scene is laid out from end to end and held until it is understood",
    ),
    _beat(
        "hero_entrance", "opening", SHORT, "low angle", "tilt up, slow push in", 2,
        "Low-angle hero shot",
        "The view begins at the base and rises until the main subject fills the picture",
        "Seen from below, the main subject takes its place as the one that matters",
        "The main subject comes into the picture and owns it",
    ),
    _beat(
        "first_glimpse", "opening", MEDIUM, "close-up", "slow push in, pan right, static", 1,
        "Close-up, a first glimpse",
        "Only one part shows, enough to make one want to see the rest",
        "A single telling edge comes into focus, the whole is kept back",
        "Blurred shapes sharpen into the first thing one recognises",
    ),
    _beat(
        "aerial_approach", "opening", LONG, "aerial", "drone, pull back", 2,
        "Aerial shot",
        "The view comes in from far above and settles on the centre of the scene",
        "From high up the layout of everything can be read at once",
        "A long glide across the whole scene, closer with every moment",
    ),
    _beat(
        "quiet_arrival", "opening", MEDIUM, "medium", "static, slow push in", 1,
        "Quiet medium shot",
        "Nothing hurries; small movements say that this is a living place",
        "The picture waits at eye level, as if it had always been there",
        "A composed, patient first look in which little moves",
    ),
    _beat(
        "bold_opening", "opening", SHORT, "medium close-up", "handheld, tracking", 3,
        "Bold medium close-up",
        "Movement fills the picture from the first instant",
        "Already in the middle of it, with no time for an introduction",
        "The liveliest moment comes first and asks for attention",
    ),
)  # fmt: skip

_MIDDLES = (
    _beat(
        "detail_study", "middle", MEDIUM, "extreme close-up", "slow push in, pan right, pan left", 1,
        "Extreme close-up",
        "Texture fills the picture, sharp in front and soft behind",
        "One small part is looked at so closely that it becomes a world of its own",
        "The finest lines and edges become visible",
    ),
    _beat(
        "in_motion", "middle", MEDIUM, "medium full", "tracking, handheld", 3,
        "Medium full shot in motion",
        "The view keeps pace with whatever moves most and lets the background slip past",
        "Movement runs through the picture from side to side and is followed all the way",
        "Seen on the move, complete from end to end, without a pause",
    ),
    _beat(
        "human_scale", "middle", MEDIUM, "medium", "pan left, static, slow push in", 2,
        "Medium shot at eye level",
        "The main subject is met at its own height, near enough to read what is going on",
        "Close enough to feel present, far enough to see what is being done",
        "An honest, direct look at the main subject and what surrounds it",
    ),
    _beat(
        "around_it", "middle", LONG, "medium wide", "orbit, pan right", 2,
        "Medium wide shot from changing sides",
        "The view circles, and each new side tells a little more",
        "The main subject stays in the middle while everything behind it turns",
        "Half a turn around the centre shows its depth",
    ),
    _beat(
        "wide_context", "middle", LONG, "wide", "pan right, pan left, pull back", 1,
        "Wide shot",
        "The main subject is small inside its surroundings, so that its place in them is clear",
        "Much is left free around the centre, and the eye may wander",
        "Near, middle and far lie in three clear layers",
    ),
    _beat(
        "high_view", "middle", MEDIUM, "high angle", "tilt down, crane up, drone", 2,
        "High-angle shot",
        "Seen from above, shapes and movements form a pattern",
        "The view looks down, and what seemed tangled becomes orderly",
        "From overhead, the main subject is the centre of a wide circle",
    ),
    _beat(
        "low_view", "middle", MEDIUM, "low angle", "tilt up, slow push in, tracking", 2,
        "Low-angle shot",
        "Seen from close to the ground, everything looks larger and nearer",
        "The view looks up, and the main subject rises high over the lower edge",
        "Near things loom at the bottom of the picture, the main subject rises behind them",
    ),
    _beat(
        "held_close", "middle", LONG, "close-up", "static, slow push in", 1,
        "Close-up",
        "The picture holds on the most telling part and waits",
        "What is felt shows here before it shows anywhere else",
        "Everything unimportant is left outside the picture",
    ),
    _beat(
        "turning_point", "middle", MEDIUM, "medium close-up", "slow push in, handheld", 2,
        "Medium close-up",
        "Something changes here: one movement ends, and another begins",
        "The moment in which it might go either way",
        "What was hinted at before becomes plain",
    ),
    _beat(
        "quick_impressions", "middle", SHORT, "close-up", "handheld, tracking, pan left", 3,
        "Close-up full of movement",
        "A quick, rhythmic look at one lively part after another",
        "Colour and movement pass close by and leave an impression",
        "Caught in passing, a little off centre, full of life",
    ),
    _beat(
        "through_foreground", "middle", MEDIUM, "medium foreground", "pan left, slow push in, pan right", 1,
        "Medium shot past a near foreground",
        "Seen past something near and blurred, as if discovered by chance",
        "The view leans in from behind a near edge to see what is going on",
        "A soft shape in front frames what lies beyond it",
    ),
    _beat(
        "slow_pass", "middle", LONG, "medium wide", "tracking, pan right", 1,
        "Medium wide shot in passing",
        "The view drifts by at an even pace, and near things pass before far ones",
        "Seen sideways, unhurried, one part after the other",
        "A steady glide alongside that shows how everything hangs together",
    ),
    _beat(
        "build_up", "middle", SHORT, "medium wide", "crane up, handheld, tracking", 3,
        "Medium wide shot at full pace",
        "Everything gathers speed; movement comes from all sides and meets in the middle",
        "More and more enters the picture until it is full",
        "The action reaches its height",
    ),
    _beat(
        "quiet_pause", "middle", MEDIUM, "wide", "static, slow push in", 1,
        "Wide shot at rest",
        "A pause in which only the smallest things move",
        "The picture breathes, and nothing asks for attention",
        "Stillness around the centre, held a little longer than expected",
    ),
    _beat(
        "step_closer", "middle", MEDIUM, "medium close-up", "slow push in, pan right", 2,
        "Medium close-up from a step nearer",
        "What the hands or the moving parts are doing can be followed exactly",
        "The view comes nearer, and the purpose of it all becomes clear",
        "Cause and effect within one picture",
    ),
    _beat(
        "parts_in_turn", "middle", MEDIUM, "insert", "pan right, tilt down", 2,
        "Insert shot",
        "One part after the other is pointed out, simply and in good order",
        "A single part does its work in the middle of the picture",
        "What is usually overlooked is shown plainly",
    ),
    _beat(
        "rim_outline", "middle", MEDIUM, "medium profile", "orbit, pan left, static", 1,
        "Shot in profile",
        "The outline alone tells what it is",
        "A thin line of light runs along the edge from top to bottom",
        "Seen from the side, form matters more than detail",
    ),
    _beat(
        "travelling_line", "middle", LONG, "point of view", "drone, tracking, slow push in", 3,
        "Point-of-view shot",
        "The view travels straight ahead and does not stop",
        "Forward through the scene, everything parts to the left and right",
        "As if seen by someone who is on the way there",
    ),
    _beat(
        "revealing_retreat", "middle", MEDIUM, "medium wide", "pull back, crane up", 2,
        "Medium wide shot that opens up",
        "It begins near and widens until the surroundings explain what was seen",
        "The view gives way and lets more and more into the picture",
        "What seemed to be all of it turns out to be a part",
    ),
)  # fmt: skip

_CLOSINGS = (
    _beat(
        "final_reveal", "closing", MEDIUM, "wide", "pull back, crane up", 2,
        "Wide closing shot",
        "All that was shown in parts comes together in one picture",
        "The whole is seen at last, complete and at its best",
        "The view opens to its widest and the end is clear",
    ),
    _beat(
        "hero_hold", "closing", MEDIUM, "medium", "static, orbit", 1,
        "Centred medium closing shot",
        "The main subject stands alone in the middle and is held for the last word",
        "A clean, balanced picture with wide margins",
        "Nothing else is left in the picture, and nothing else is needed",
    ),
    _beat(
        "rising_farewell", "closing", LONG, "aerial", "crane up, drone", 2,
        "Aerial closing shot",
        "The view lifts away slowly and leaves the scene to itself",
        "Higher and higher, until the whole scene is one quiet shape",
        "A last look down at all of it",
    ),
    _beat(
        "last_detail", "closing", MEDIUM, "close-up", "slow push in, static", 1,
        "Closing close-up",
        "One small thing remains and is looked at until the picture comes to rest",
        "The story ends on the detail that says it all",
        "Everything around it softens and only this stays sharp",
    ),
    _beat(
        "looking_back", "closing", MEDIUM, "long shot", "pan left, pull back, static", 1,
        "Closing long shot",
        "A last look across the scene, from as far away as it can still be recognised",
        "Distance grows between the view and the main subject",
        "The scene goes on, and the view stays behind",
    ),
    _beat(
        "forward_look", "closing", SHORT, "low angle", "tilt up, tracking", 3,
        "Low-angle closing shot",
        "The view rises past the main subject, as if more were to come",
        "The main subject moves on, out over the upper edge of the picture",
        "An ending that points ahead",
    ),
)  # fmt: skip

BEATS = {beat.beat_id: beat for beat in (*_OPENINGS, *_MIDDLES, *_CLOSINGS)}
