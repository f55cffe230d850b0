"""The last touch of each scene: what its weather and hour put in front of everything."""

from raypipe.providers.local import effects
from raypipe.providers.local.palette import mix
from raypipe.providers.local.sky import storm_rhythm, veil
from raypipe.providers.local.stage import Stage

#: motifs that have no weather of their own in front of the camera
SHELTERED = {"space", "underwater", "interior", "product", "abstract"}


def finish(stage: Stage) -> None:
    """Add fog, rain, snow or lightning, and the vignette."""
    weather = stage.world.weather
    if stage.world.motif not in SHELTERED:
        if weather == "fog":
            _fog(stage)
        elif weather in {"rain", "storm"}:
            effects.rain(stage, 1.4 if weather == "storm" else 1.0)
        elif weather == "snow":
            effects.snow(stage)
        if weather == "storm":
            stage.overlays.append(effects.Flash(*storm_rhythm(stage), 0.8))
    effects.vignette(stage)


def _fog(stage: Stage) -> None:
    colour = mix(stage.palette.haze, stage.palette.horizon, 0.3)
    veil(stage, (stage.y(0.3), stage.height + stage.margin[1]), 1.15, colour, 0.62, 22)


def atmosphere(stage: Stage) -> None:
    """Add what may drift before a photograph: its weather, or specks of light. It leaves colours alone."""
    if stage.world.weather in {"rain", "storm"}:
        effects.rain(stage, 0.7)
    elif stage.world.weather == "snow":
        effects.snow(stage, 0.7)
    else:
        effects.motes(stage, 26, None, (1.2, 4.5), (7, -4), blink=0.8, strength=0.45)
