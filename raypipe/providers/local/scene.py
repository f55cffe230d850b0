"""From a beat to its scene: world, shot and size decide everything."""

from functools import lru_cache

from raypipe.models import Beat, Job, Size
from raypipe.providers.local.camera import Move, move_of
from raypipe.providers.local.layers import Scene
from raypipe.providers.local.motifs import PAINTERS
from raypipe.providers.local.stage import Shot, Stage, kind_of
from raypipe.providers.local.weather import finish
from raypipe.providers.local.words import FALLBACK, World, world_of


def scene_of(job: Job, beat: Beat) -> Scene:
    """The painted scene of a beat. The latest few are kept: a beat's image and clip show the same one."""
    return _built(world_of(job, beat), shot_of(job, beat), job.size)


def shot_of(job: Job, beat: Beat) -> Shot:
    """How a beat looks at its world."""
    take = (str(beat.take),) if beat.take > 1 else ()
    seed = "/".join((str(job.seed), str(beat.beat_index), job.prompt, beat.prompt, *take))
    return Shot(kind_of(beat.shot_type), seed)


def camera_of(job: Job, beat: Beat) -> Move:
    """The camera move of a beat."""
    return move_of(beat.camera_movement, 1 if (job.seed + beat.beat_index) % 2 else -1)


@lru_cache(maxsize=3)
def _built(world: World, shot: Shot, size: Size) -> Scene:
    stage = Stage(world, shot, size)
    PAINTERS.get(world.motif, PAINTERS[FALLBACK])(stage)
    finish(stage)
    return stage.scene()
