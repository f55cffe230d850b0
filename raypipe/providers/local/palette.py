"""Colours of a world: what hour, weather and mood do to light, sky and air. Channels run from 0 to 1."""

from typing import NamedTuple

from raypipe.providers.local.words import World

Colour = tuple[float, float, float]


class Palette(NamedTuple):
    """The light of one world."""

    zenith: Colour
    sky: Colour
    horizon: Colour
    #: disc and glow of sun or moon
    sun: Colour
    #: what distance fades into
    haze: Colour
    #: what surfaces facing the light are multiplied by
    light: Colour
    #: what surfaces in the shade are multiplied by
    shade: Colour
    #: lamps and windows
    lamp: Colour
    #: how dark it is, from 0 by day to 1 at night
    dark: float
    #: how soon distance fades, from 0 to 1
    air: float


def hexes(text: str) -> list[Colour]:
    """Read colours such as 'ff8800 102030'."""
    return [_hex(part) for part in text.split()]


def _hex(text: str) -> Colour:
    return (int(text[:2], 16) / 255, int(text[2:4], 16) / 255, int(text[4:], 16) / 255)


def mix(a: Colour, b: Colour, t: float) -> Colour:
    """Blend two colours; t = 0 gives a, 1 gives b."""
    return (a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t)


def times(a: Colour, b: Colour | float) -> Colour:
    """Multiply a colour by another or by a number."""
    c = (b, b, b) if isinstance(b, float | int) else b
    return (a[0] * c[0], a[1] * c[1], a[2] * c[2])


def grey(a: Colour) -> float:
    """How bright a colour is, from 0 to 1."""
    return 0.2126 * a[0] + 0.7152 * a[1] + 0.0722 * a[2]


def bytes_of(a: Colour) -> tuple[int, int, int]:
    """The colour as 8-bit RGB."""
    red, green, blue = (max(0, min(255, round(channel * 255))) for channel in a)
    return (red, green, blue)


#: for each hour its darkness, its air, and variants of zenith, sky, horizon, sun, haze, light, shade, lamp
_TIMES: dict[str, tuple[float, float, tuple[str, ...]]] = {
    "dawn": (
        0.15,
        0.72,
        (
            "3f68a6 a9a4cc ffcb9c ffeec8 dcbcc0 ffe0be 757fae ffd48a",
            "5265b0 d2a3c6 ffd8bc fff2dc e2c2cf ffe2d2 827fb6 ffd48a",
        ),
    ),
    "day": (
        0.0,
        0.55,
        (
            "2f74c0 6fb1e4 d3ecf6 fffbe8 bcdcee fffaee 8aa2c4 ffe2a0",
            "2a7cc8 84c2ea f0eee0 fff8dc cddbe2 fff5de 8ca4be ffe2a0",
        ),
    ),
    "sunset": (
        0.3,
        0.68,
        (
            "2d3a72 b5638a ffab5e fff0c0 cf7f86 ffc892 62508c ffd07a",
            "2c5a86 c3a08c ffc05a fff2c6 d69f80 ffd298 57608a ffd07a",
            "3a1f50 b03c56 ff7c46 ffe4ac b2586c ffb088 5a3a68 ffd07a",
        ),
    ),
    "dusk": (
        0.62,
        0.62,
        (
            "141f4a 3f4f8c d98f90 ffd9b8 6f6c9c a49cc8 3c3f70 ffc46a",
            "0f2348 2f5c86 e6ae8a ffe2c0 5f7898 a0aacc 34446e ffc46a",
        ),
    ),
    "night": (
        1.0,
        0.5,
        (
            "050a1e 0f1f45 2b4a78 e8f0ff 23406a 6f8cc0 22305c ffc060",
            "04101e 0b2a48 2a587c f0f4ff 204462 7a9cc4 203458 ffc060",
        ),
    ),
}

#: tint of the shadows, tint of the lights, strength, saturation, brightness
_MOODS: dict[str, tuple[str, float, float, float]] = {
    "calm": ("3a5f78 ffe9cf", 0.10, 0.96, 1.0),
    "warm": ("5a3a4a ffce8c", 0.22, 1.04, 1.0),
    "epic": ("0d3a4c ffb066", 0.24, 1.14, 0.96),
    "dark": ("0a1626 9fb4b0", 0.34, 0.62, 0.82),
    "joyful": ("2d5aa0 fff0b0", 0.10, 1.22, 1.06),
    "dreamy": ("584a94 ffd0e4", 0.28, 1.0, 1.04),
    "neon": ("1c0f52 ff7ad0", 0.30, 1.25, 0.94),
    "sad": ("2f4456 c4cfd8", 0.30, 0.66, 0.92),
}


def palette_of(world: World) -> Palette:
    """Choose the light of a world."""
    dark, air, variants = _TIMES[world.time]
    colours = _weathered(hexes(variants[world.tone % len(variants)]), world.weather, dark)
    graded = [_styled(_moody(colour, world.mood), world.style) for colour in colours]
    thicker = {"fog": 0.38, "rain": 0.16, "storm": 0.12, "snow": 0.18}.get(world.weather, 0.0)
    zenith, sky, horizon, sun, haze, light, shade, lamp = graded
    return Palette(zenith, sky, horizon, sun, haze, light, shade, lamp, dark, min(1.0, air + thicker))


def _weathered(colours: list[Colour], weather: str, dark: float) -> list[Colour]:
    """Grey the light under a closed sky; lamps keep their colour."""
    veil = {"rain": 0.55, "storm": 0.7, "snow": 0.5, "fog": 0.5, "clouds": 0.18}.get(weather, 0.0)
    dim = {"rain": 0.8, "storm": 0.6, "snow": 1.0, "fog": 0.98, "clouds": 0.97}.get(weather, 1.0)
    cast = {"storm": (0.86, 0.96, 1.1), "snow": (0.98, 1.0, 1.06)}.get(weather, (0.96, 1.0, 1.05))
    dim += (1 - dim) * dark
    out = [mix(colour, times(cast, grey(colour)), veil) for colour in colours[:-1]]
    return [*(times(colour, dim) for colour in out), colours[-1]]


def _moody(colour: Colour, mood: str) -> Colour:
    tints, strength, saturation, brightness = _MOODS[mood]
    low, high = hexes(tints)
    level = min(1.0, grey(colour))
    tint = mix(low, high, level)
    tint = times(tint, (level + 0.04) / (grey(tint) + 0.04))
    return times(saturated(mix(colour, tint, strength), saturation), brightness)


def saturated(colour: Colour, amount: float) -> Colour:
    """Make a colour stronger (amount > 1) or greyer (< 1)."""
    level = grey(colour)
    return mix((level, level, level), colour, amount)


def _styled(colour: Colour, style: str) -> Colour:
    """Let a style change the grade a little."""
    if any(word in style for word in ("noir", "black and white", "monochrome", "b&w")):
        return saturated(colour, 0.06)
    if any(word in style for word in ("vintage", "retro", "film", "70s", "sepia")):
        return mix(saturated(colour, 0.82), times((1.04, 0.95, 0.8), grey(colour)), 0.25)
    if any(word in style for word in ("anime", "cartoon", "vibrant", "illustration", "pop")):
        return saturated(colour, 1.18)
    if any(word in style for word in ("minimal", "pastel", "watercolor", "watercolour")):
        return mix(saturated(colour, 0.85), (1.0, 1.0, 1.0), 0.08)
    return colour
