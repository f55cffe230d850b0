"""What each mood sounds like: tempo, scale, chords and who plays what.

A pattern is one bar of sixteen sixteenths. In rhythms 'X' is an accent, 'x' a stroke, 'o' a soft one; in
arpeggios and bass lines a digit counts tones upwards from the lowest one. A part plays while the level of the
music is between `enter` and `leave`; it goes from 1, where a piece begins, to 4, where it is fullest.
"""

import re
from typing import Literal, NamedTuple

Role = Literal["chords", "arpeggio", "bass", "melody", "drum", "lift", "accent"]

ONCE, ROOT = "X...............", "0..............."


class Part(NamedTuple):
    """One player."""

    role: Role
    voice: str
    pattern: str
    #: dB
    level: float
    enter: int = 1
    leave: int = 4
    #: octaves above where the role usually lies
    octave: int = 0
    #: sixteenths that a note sounds; 0: until the next one
    hold: int = 0
    #: share sent to the reverb
    room: float = 0.3
    #: repeated a dotted eighth later, softly, from the other side
    echo: bool = False


class Mood(NamedTuple):
    """How music in a mood is made."""

    #: quarter notes a minute
    tempo: float
    scale: str
    #: four-bar progressions of verse and chorus; a piece uses one pair
    themes: tuple[tuple[str, str], ...]
    parts: tuple[Part, ...]
    lively: bool = False
    #: how late every second eighth comes, as a share of the sixteenth
    swing: float = 0.0
    #: seconds in which the reverb falls by 60 dB
    reverb: float = 2.4
    #: dB by which a kick drum pushes the other parts down
    pump: float = 0.0


_P = Part
MOODS: dict[str, Mood] = {
    "calm": Mood(
        72, "major",
        (("Iadd9 IVmaj7 vi7 IVmaj7", "IVmaj7 V vi7 Isus2"),
         ("Imaj7 iii7 IVmaj7 Iadd9", "vi7 IVadd9 Iadd9 Vsus4")),
        (
            _P("chords", "warm", ONCE, -14.5),
            _P("arpeggio", "felt", "0...2...4...3.2.", -7, hold=10, room=0.4),
            _P("bass", "sub", ROOT, -8, enter=2),
            _P("melody", "felt", "", -2, enter=2, hold=8, room=0.45),
            _P("arpeggio", "harp", "..3...5...6...5.", -13, enter=3, hold=6, room=0.5, echo=True),
            _P("chords", "strings", ONCE, -20.5, enter=3, octave=1, room=0.5),
            _P("drum", "thud", "X.........x.....", -12, enter=4),
            _P("drum", "shaker", "..x...x...x...xo", -16, enter=3),
            _P("lift", "swell", "", -22),
        ),
    ),
    "uplifting": Mood(
        112, "major",
        (("Iadd9 V vi7 IVadd9", "IVadd9 V vi7 I"), ("vi7 IVadd9 Iadd9 V", "IVadd9 Iadd9 V vi7")),
        (
            _P("chords", "warm", ONCE, -17.5),
            _P("chords", "felt", "X..x..x.X..x..x.", -15.5, hold=4, enter=2, room=0.25),
            _P("arpeggio", "harp", "0.2.3.4.2.3.4.5.", -10, hold=4, room=0.35, echo=True),
            _P("bass", "synth_bass", "0..0..0.0..0..1.", -9, enter=2, room=0.05),
            _P("melody", "bell", "", -9, enter=2, octave=1, hold=6, room=0.45, echo=True),
            _P("chords", "strings", ONCE, -17.5, enter=3, octave=1, room=0.4),
            _P("melody", "solo", "", -12, enter=4, room=0.4),
            _P("drum", "kick", "X.......X.......", -7, enter=2, leave=2, room=0.05),
            _P("drum", "kick", "X...X...X...X...", -6, enter=3, room=0.05),
            _P("drum", "clap", "....X.......X...", -9.5, enter=3, room=0.3),
            _P("drum", "shaker", "xoXoxoXoxoXoxoXo", -15, enter=3),
            _P("drum", "hat", "..x...x...x...x.", -13, enter=2),
            _P("lift", "swell", "", -16),
            _P("accent", "crash", "", -17),
        ),
        lively=True, reverb=1.9, pump=2.5,
    ),
    "epic": Mood(
        96, "minor",
        (("i bVI bIII bVII", "bVI bVII i bIII"),
         ("i bIII bVII iv", "i bVI iv V"), ("i v bVI iv", "bVI bIII bVII i")),
        (
            _P("chords", "strings", ONCE, -15.5),
            _P("arpeggio", "spiccato", "0.0.1.0.2.0.1.0.", -5.5, leave=2, octave=-1, room=0.3),
            _P("arpeggio", "spiccato", "0010200100102001", -4.5, enter=3, octave=-1, room=0.3),
            _P("bass", "sub", "0.......0.......", -8, enter=2),
            _P("chords", "brass", "X.......x.......", -17.5, enter=3, octave=-1, room=0.4),
            _P("melody", "solo", "", -8, enter=2, leave=3, octave=-1, room=0.45),
            _P("melody", "strings", "", -7, enter=4, room=0.45),
            _P("chords", "choir", ONCE, -18.5, enter=4, octave=1, room=0.55),
            _P("drum", "taiko", "X.........x.....", -7, enter=2, leave=2, room=0.35),
            _P("drum", "taiko", "X..x..x.X..x.xxx", -6, enter=3, room=0.35),
            _P("drum", "tom", "....x..o....x.oo", -12, enter=4, room=0.35),
            _P("drum", "snare", "....x.......x...", -15.5, enter=4, room=0.5),
            _P("lift", "swell", "", -13),
            _P("accent", "crash", "", -14, room=0.5),
        ),
        reverb=3.0,
    ),
    "tense": Mood(
        104, "phrygian",
        (("i i bII i", "bVI bII i v"), ("i bVI i bII", "iv bVI bII i"), ("i bII bVI bII", "i iv bII V")),
        (
            _P("chords", "tremolo", ONCE, -17.5, room=0.4),
            _P("arpeggio", "spiccato", "0.00.0.00.0.0.1.", -4.5, octave=-1, room=0.25),
            _P("bass", "synth_bass", "0...0...0...0...", -11, leave=2, room=0.05),
            _P("bass", "synth_bass", "0.0.0.0.0.0.0.1.", -10, enter=3, room=0.05),
            _P("melody", "felt", "", -7, enter=2, leave=3, hold=8, room=0.6, echo=True),
            _P("melody", "strings", "", -9, enter=4, room=0.5),
            _P("chords", "brass", "X.....x.........", -17.5, enter=4, octave=-1, room=0.4),
            _P("drum", "tick", "x...o...x...o...", -14, leave=2),
            _P("drum", "tick", "x.o.x.o.x.o.x.ox", -13, enter=3),
            _P("drum", "thud", "X..X............", -5, enter=2, room=0.2),
            _P("drum", "taiko", "X.....x...x.....", -8, enter=3, room=0.4),
            _P("drum", "tom", "..........x.x.xx", -13, enter=4, room=0.4),
            _P("lift", "swell", "", -14),
            _P("accent", "crash", "", -17, room=0.6),
        ),
        lively=False, reverb=2.8,
    ),
    "melancholic": Mood(
        66, "minor",
        (("iadd9 bVImaj7 bIII bVII", "bVImaj7 bVII iv7 i"), ("i7 iv7 bVII bIIImaj7", "bVImaj7 iv7 i Vsus4")),
        (
            _P("arpeggio", "felt", "0.2.3.4.3.2.3.2.", -7, hold=8, room=0.4),
            _P("chords", "warm", ONCE, -17.5),
            _P("bass", "sub", ROOT, -9, enter=2),
            _P("melody", "solo", "", -7, enter=2, leave=3, octave=-1, room=0.5),
            _P("melody", "solo", "", -7, enter=4, room=0.5),
            _P("melody", "felt", "", -6, enter=4, octave=1, hold=8, room=0.5),
            _P("chords", "strings", ONCE, -16.5, enter=3, room=0.5),
            _P("drum", "thud", "X...............", -12, enter=4),
            _P("lift", "swell", "", -24),
        ),
        reverb=3.0,
    ),
    "playful": Mood(
        120, "major",
        (("I vi7 ii7 V7", "IV I ii7 V7"), ("I IV I V7", "vi7 ii7 V7 I"), ("I iii7 IV V7", "IV V7 iii7 vi7")),
        (
            _P("bass", "upright", "0...1...0...1...", -6, room=0.1),
            _P("chords", "pizzicato", "....x.......x.x.", -12, hold=2, room=0.25),
            _P("arpeggio", "marimba", "0..2.3..4.3.2...", -8, enter=2, hold=3, octave=1, room=0.25),
            _P("melody", "pizzicato", "", -4, enter=2, leave=3, hold=2, room=0.3),
            _P("melody", "bell", "", -6, enter=3, octave=1, hold=3, room=0.35),
            _P("melody", "flute", "", -7, enter=4, octave=1, room=0.35),
            _P("chords", "electric_piano", "..x...x...x...x.", -18.5, enter=3, hold=2, room=0.2),
            _P("chords", "strings", "x...............", -15, enter=3, octave=1, room=0.35),
            _P("drum", "kick", "X.......X.......", -8, enter=2, room=0.05),
            _P("drum", "brush", "....X.......X..o", -10, enter=2),
            _P("drum", "shaker", "x.oxx.oxx.oxx.ox", -16, enter=3),
            _P("drum", "rim", "...x..x.....x...", -14, enter=4),
            _P("drum", "clap", "....x.......x...", -13.5, enter=4),
            _P("lift", "swell", "", -24),
        ),
        lively=True, swing=0.3, reverb=1.2,
    ),
    "dramatic": Mood(
        90, "minor",
        (("i bVII bVI V", "iv i bVI V"), ("i V bVI iv", "bVI bVII i V7"), ("i iv bVI V7", "bIII bVII iv V")),
        (
            _P("arpeggio", "felt", "0.2.3.2.4.2.3.2.", -8, hold=6, octave=-1, room=0.35),
            _P("chords", "strings", ONCE, -16.5, room=0.4),
            _P("bass", "sub", "0.......0.......", -9, enter=2),
            _P("melody", "solo", "", -7, enter=2, leave=3, room=0.45),
            _P("melody", "strings", "", -7, enter=4, room=0.45),
            _P("chords", "brass", ONCE, -17.5, enter=4, octave=-1, room=0.45),
            _P("arpeggio", "spiccato", "0.2.3.2.4.3.2.3.", -6.5, enter=3, room=0.3),
            _P("drum", "thud", "X.........x.....", -6, enter=2, room=0.2),
            _P("drum", "taiko", "X.......x.....xx", -8, enter=3, room=0.4),
            _P("drum", "snare", "............o.oo", -16.5, enter=4, room=0.4),
            _P("lift", "swell", "", -14),
            _P("accent", "crash", "", -16, room=0.5),
        ),
        reverb=2.8,
    ),
    "mysterious": Mood(
        76, "dorian",
        (("iadd9 IV iadd9 bVImaj7", "bVImaj7 bVII i IV"), ("i7 bIImaj7 i7 iv7", "iv7 bVImaj7 bII i")),
        (
            _P("chords", "air", ONCE, -17.5, octave=1, room=0.6),
            _P("chords", "choir", ONCE, -18.5, enter=2, room=0.6),
            _P("arpeggio", "bell", "0..3..5...4..2..", -11, hold=6, octave=1, room=0.6, echo=True),
            _P("bass", "sub", ROOT, -8, enter=1),
            _P("arpeggio", "harp", "0...2...3...2...", -10, enter=2, hold=6, room=0.5),
            _P("melody", "flute", "", -10, enter=2, leave=3, room=0.6, echo=True),
            _P("melody", "solo", "", -8, enter=4, room=0.6),
            _P("chords", "tremolo", ONCE, -21.5, enter=4, room=0.5),
            _P("drum", "thud", "X......x........", -8, enter=3, room=0.3),
            _P("drum", "tick", "..o...x...o...x.", -18, enter=3, room=0.5),
            _P("lift", "swell", "", -18),
        ),
        reverb=3.6,
    ),
    "romantic": Mood(
        70, "major",
        (("Imaj7 iii7 IVmaj7 V", "IVmaj7 iii7 ii7 V7"), ("Iadd9 vi7 ii7 V7", "IVmaj7 V iii7 vi7")),
        (
            _P("arpeggio", "felt", "0.2.3.4.5.4.3.2.", -8, hold=8, room=0.4),
            _P("chords", "warm", ONCE, -18.5),
            _P("bass", "upright", "0.......1.......", -9, enter=2, room=0.15),
            _P("melody", "felt", "", -2, enter=2, leave=3, hold=8, room=0.45),
            _P("melody", "solo", "", -7, enter=4, room=0.45),
            _P("chords", "strings", ONCE, -16.5, enter=3, room=0.45),
            _P("arpeggio", "harp", "....5.6.....6.7.", -15, enter=4, hold=6, room=0.5),
            _P("drum", "brush", "....o.......o...", -17, enter=4),
            _P("lift", "swell", "", -24),
        ),
        reverb=2.6,
    ),
    "energetic": Mood(
        126, "minor",
        (("i bVI bIII bVII", "bVI bVII i v7"), ("i bVII bVI bVII", "iv bVI bIII bVII")),
        (
            _P("arpeggio", "saw_pluck", "0.23.42.0.23.45.", -9, hold=2, room=0.25, echo=True),
            _P("chords", "warm", ONCE, -17.5),
            _P("bass", "synth_bass", "..0...0...0...0.", -8, enter=2, room=0.05),
            _P("chords", "saw_pluck", "X..x..x...x.x...", -18.5, enter=3, hold=3, room=0.25),
            _P("melody", "saw_pluck", "", -8, enter=3, octave=1, hold=4, room=0.35, echo=True),
            _P("chords", "strings", ONCE, -20.5, enter=4, octave=1, room=0.4),
            _P("drum", "kick", "X...X...X...X...", -5, enter=2, room=0.03),
            _P("drum", "clap", "....X.......X...", -7.5, enter=3, room=0.25),
            _P("drum", "hat", "x.o.x.o.x.o.x.ox", -14, enter=2, leave=2),
            _P("drum", "hat", "xoxoxoxoxoxoxoxo", -13, enter=3),
            _P("drum", "open_hat", "..x...x...x...x.", -14, enter=3),
            _P("lift", "swell", "", -14),
            _P("accent", "crash", "", -15),
        ),
        lively=True, reverb=1.6, pump=5.0,
    ),
    "dark": Mood(
        68, "phrygian",
        (("i i bVI bII", "iv bII i i"), ("i bII i v", "bVI iv bII i")),
        (
            _P("chords", "choir", ONCE, -17.5, octave=-1, room=0.6),
            _P("bass", "sub", ROOT, -6),
            _P("arpeggio", "felt", "0.......1...2...", -10, hold=10, octave=-1, room=0.6, echo=True),
            _P("chords", "tremolo", ONCE, -19.5, enter=2, room=0.5),
            _P("melody", "solo", "", -8, enter=2, octave=-1, room=0.55),
            _P("chords", "brass", ONCE, -19.5, enter=3, octave=-1, room=0.5),
            _P("drum", "taiko", "X.........o.....", -8, enter=2, room=0.5),
            _P("drum", "thud", "X..x....X..x....", -7, enter=3, room=0.2),
            _P("lift", "swell", "", -15),
            _P("accent", "crash", "", -20, room=0.7),
        ),
        reverb=3.8,
    ),
    "cinematic": Mood(
        92, "major",
        (("vi7 IVadd9 Iadd9 V", "IVadd9 V vi7 Iadd9"), ("Iadd9 iii7 vi7 IVadd9", "IVadd9 Iadd9 V vi7")),
        (
            _P("chords", "warm", ONCE, -16.5),
            _P("arpeggio", "felt", "0.2.3.2.4.2.3.2.", -8, hold=6, room=0.4),
            _P("bass", "sub", "0.......0.......", -8, enter=2),
            _P("melody", "bell", "", -10, enter=2, octave=1, hold=8, room=0.5, echo=True),
            _P("chords", "strings", ONCE, -16.5, enter=3, octave=1, room=0.4),
            _P("arpeggio", "spiccato", "0.2.0.3.0.2.0.3.", -8.5, enter=3, room=0.3),
            _P("melody", "solo", "", -8, enter=4, room=0.45),
            _P("drum", "thud", "X.........x.....", -7, enter=2, room=0.15),
            _P("drum", "taiko", "X.....x.X.....x.", -12, enter=4, room=0.4),
            _P("drum", "shaker", "xoxoxoxoxoxoxoxo", -18, enter=3),
            _P("drum", "clap", "....x.......x...", -14.5, enter=4, room=0.5),
            _P("lift", "swell", "", -17),
            _P("accent", "crash", "", -19, room=0.5),
        ),
        reverb=2.6,
    ),
}  # fmt: skip

#: beginnings of words that stand for each mood; those of three letters are whole words
_WORDS = {
    "calm": """calm peace seren relax gentl soft tranquil quiet meditat sooth ambient zen cozy
        cosy lullab lofi contemplat""",
    "uplifting": """uplift inspir hope optimis positiv bright joy joyful joyous triumph success
        corporate motivat proud sunny celebrat""",
    "epic": """epic heroic majest power adventur battle victor awe awesome colossal legend bold""",
    "tense": """tense tension suspens thrill anxi urgent nervous danger chase edgy""",
    "melancholic": """melanchol sad sadness somber sombre lonel grief wistful sorrow bittersweet nostalg
        moody pensive""",
    "playful": """playful fun funny whims quirk comic comedy cute happy cheer silly bounc humor
        humour fairy""",
    "dramatic": """drama intens emotion passion tragic stormy""",
    "mysterious": """myster mystic enigma magic dream ethereal surreal wonder cosmic otherworld fantas
        noir""",
    "romantic": """romant love tender intima sentiment elegan wedding warm heartwarm golden acoustic
        folk homely""",
    "energetic": """energ upbeat excit dynamic party dance techno synthwave retrowave electronic neon
        cyber action vibrant lively futur sporty""",
    "dark": """dark gloom omin sinister horror eerie spook haunt grim menac dystop""",
    "cinematic": """cinema neutral documentar inform modern thoughtful reflect""",
}
_BY_WORD = {word: mood for mood, words in _WORDS.items() for word in words.split()}


def mood_named(*texts: str) -> tuple[str, Mood]:
    """Find the mood that free text asks for: the first word that stands for one; else 'cinematic'."""
    for word in re.findall(r"[a-z]+", " ".join(texts).lower()):
        for beginning, name in _BY_WORD.items():
            if word == beginning or (len(beginning) > 3 and word.startswith(beginning)):
                return name, MOODS[name]
    return "cinematic", MOODS["cinematic"]
