"""The last touch of each scene: what its weather and hour put in front of everything."""

from dataclasses import replace

from PIL import Image

from raypipe.providers.local import effects, layers
from raypipe.providers.local.layers import Pulse
from raypipe.providers.local.palette import mix
from raypipe.providers.local.sky import veil
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


def storm_rhythm(stage: Stage) -> tuple[float, float]:
    """Seconds between flashes of lightning, and the phase at the start; the first comes after a second or so."""
    period = 4.4 if len(stage.shot.seed) % 2 else 5.2
    return period, 1 - 1.1 / period


def strike(stage: Stage, horizon: float) -> None:
    """Add a bolt that strikes with each flash; to be called while the sky is painted."""
    mask = effects.bolt(stage, horizon)
    picture = Image.new("RGB", mask.size, (226, 236, 255))
    made = layers.layer_of(picture, mask, stage.beside(-0.22) - mask.width / 2, 0, 0.14)
    period, phase = storm_rhythm(stage)
    stage.add(replace(made, pulse=Pulse(1.0, period, phase, flash=True), solid=None))


def _fog(stage: Stage) -> None:
    colour = mix(stage.palette.haze, stage.palette.horizon, 0.3)
    veil(stage, (stage.y(0.3), stage.height + stage.margin[1]), 1.15, colour, 0.62, 22)
