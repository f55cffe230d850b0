"""Mountains and what rises from them."""

from raypipe.providers.local.ground import PINE, ROCK, Range, hills, peaks, pine_line, rolling
from raypipe.providers.local.sky import Heaven, clouds, paint_sky, twinkle, veil
from raypipe.providers.local.stage import Stage


def paint_mountain(stage: Stage) -> None:
    """Snowy peaks behind wooded ridges with mist between them."""
    u = stage.u
    horizon = stage.y({"wide": 0.66, "medium": 0.68, "close": 0.7, "aerial": 0.5, "low": 0.78}[stage.shot.kind])
    heaven = Heaven(stage, horizon)
    backdrop = paint_sky(stage, heaven)
    stage.add(backdrop)
    clouds(stage, heaven)
    shape = Range(stage, horizon + 40 * u, 400 * u, 4.5 / stage.shot.scale, heaven)
    stage.add(peaks(stage, 0.5, shape, ROCK, heaven, 0.5))
    veil(stage, (horizon - 150 * u, horizon + 60 * u), 0.3, stage.palette.haze, 0.6)
    for index, depth in enumerate((0.42, 0.62, 1.0)):
        base = horizon + (30 + 75 * index + 30 * index**2) * u
        ridge = rolling(stage, base, (120 - 20 * index) * u, 2.6, 0.3, 5)
        stage.add(hills(stage, depth, pine_line(stage, ridge, (14 + 22 * index + 14 * index**2) * u), PINE, heaven))
