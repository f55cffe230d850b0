"""Pictures and clips of beats: live scenes, photographs, and continuations from one to the other."""

import hashlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from raypipe.media.video import Planes, encode_clip, png_text, read_picture, to_planes, to_rgb, write_png
from raypipe.models import Beat, Job
from raypipe.providers.base import ClipWork, ImageWork
from raypipe.providers.local.camera import Pose, departing, ease_in
from raypipe.providers.local.layers import Frame, Layer, Scene
from raypipe.providers.local.render import frame_at, planes_of, render
from raypipe.providers.local.scene import camera_of, scene_of, shot_of
from raypipe.providers.local.stage import Stage
from raypipe.providers.local.weather import atmosphere
from raypipe.providers.local.words import world_of

#: keyword of the PNG text chunk that tells which scene a picture shows; its version changes with the painters
RECIPE = "raypipe-scene"
VERSION = 1

Shown = Callable[[int], Frame]


def storyboard_image(work: ImageWork) -> bytes:
    """Paint the storyboard image of a beat: the first frame of its scene, as PNG with the scene's recipe."""
    first = frame_at(scene_of(work.job, work.beat), camera_of(work.job, work.beat), 0, 1, work.job.fps)
    return write_png(to_rgb(planes_of(first)), **{RECIPE: recipe_of(work.job, work.beat)})


def clip(work: ClipWork, start: bytes) -> bytes:
    """Film a beat, beginning with a picture.

    Raises:
        MediaError: The start image cannot be read.
    """
    return encode_clip(_planes(work, start), work.job.size, work.job.fps)


def recipe_of(job: Job, beat: Beat) -> str:
    """A digest of everything that a beat's scene and first frame depend on."""
    said = (job.prompt, job.style, job.mood, job.seed, job.size)
    own = (beat.beat_index, beat.prompt, beat.shot_type, beat.camera_movement)
    take = (beat.take,) if beat.take > 1 else ()  # another take is another scene
    return hashlib.sha256(repr((VERSION, said, (*own, *take))).encode()).hexdigest()


def _planes(work: ClipWork, start: bytes) -> Iterator[Planes]:
    shown = _shown(work, start)
    return (planes_of(shown(index)) for index in range(work.frames))


def _shown(work: ClipWork, start: bytes) -> Shown:
    """Choose what a clip shows: its live scene, its start image turning into it, or the image alone."""
    if work.continues:
        return _continued(_photo(work, start), _live(work), work.frames, work.job.fps)
    if png_text(start).get(RECIPE) == recipe_of(work.job, work.beat):
        return _live(work)
    return _filmed(work, start)


def _live(work: ClipWork) -> Shown:
    scene, move = scene_of(work.job, work.beat), camera_of(work.job, work.beat)
    return lambda index: frame_at(scene, move, index, work.frames, work.job.fps)


def _filmed(work: ClipWork, start: bytes) -> Shown:
    """The start image alone under a camera move, while specks of light or the weather drift in before it."""
    stage = Stage(world_of(work.job, work.beat), shot_of(work.job, work.beat), work.job.size)
    atmosphere(stage)
    photo = _photo(work, start)

    def shown(index: int) -> Frame:
        frame, t = photo(index), index / work.job.fps
        bare = frame[0].copy()
        for overlay in stage.overlays:
            overlay.draw(frame, t)
        frame[0].paste(Image.blend(bare, frame[0], ease_in(t / 1.5)))
        return frame

    return shown


def _photo(work: ClipWork, start: bytes) -> Shown:
    """A camera move over the start image alone, which the first frame equals."""
    size = work.job.size
    planes = to_planes(read_picture(start, size))
    y, u, v = (Image.fromarray(np.ascontiguousarray(plane)) for plane in planes)
    scene = Scene(size.width, size.height, (0, 0), (Layer(y, u, v, None, None, 0, 0, 1.0),))
    move = departing(camera_of(work.job, work.beat))
    return lambda index: render(scene, _leaving(move.end, index, work), index / work.job.fps)


def _leaving(end: Pose, index: int, work: ClipWork) -> Pose:
    s = ease_in(index / max(1, work.frames - 1))
    return Pose(end.x * s, end.y * s, 1 + (end.zoom - 1) * s)


def _continued(before: Shown, after: Shown, frames: int, fps: int) -> Shown:
    """Let the picture before move off and dissolve into the scene after, in the first half of the shot."""
    start, end = dissolve_span(frames, fps)

    def shown(index: int) -> Frame:
        s = (index - start) / max(1, end - start)
        if s <= 0:
            return before(index)
        if s >= 1:
            return after(index)
        blend = s * s * (3 - 2 * s)
        y, u, v = (Image.blend(a, b, blend) for a, b in zip(before(index), after(index), strict=True))
        return y, u, v

    return shown


def dissolve_span(frames: int, fps: int) -> tuple[int, int]:
    """First and last frame of a continuation's dissolve."""
    start = min(0.35 * fps, frames * 0.12)
    return int(start), int(min(start + 1.5 * fps, frames * 0.6))
