"""From layers and a camera to frames, straight in yuv planes."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

from raypipe.media.video import Planes
from raypipe.providers.local.camera import Move, Pose
from raypipe.providers.local.layers import Frame, Layer, Scene

BILINEAR = Image.Resampling.BILINEAR


class _Placed(NamedTuple):
    """A layer as the camera sees it: frame column = (canvas column - origin) / step; rows likewise."""

    layer: Layer
    corner: tuple[float, float]
    origin: tuple[float, float]
    step: float
    #: even columns and rows of the frame that the layer reaches: left, top, right, bottom
    reach: tuple[int, int, int, int]
    #: first even row of the frame from which on it hides everything behind it
    solid: int


def frames(scene: Scene, move: Move, count: int, fps: int) -> Iterator[Planes]:
    """Render a shot: `count` frames at `fps` frames a second."""
    for index in range(count):
        yield planes_of(frame_at(scene, move, index, count, fps))


def frame_at(scene: Scene, move: Move, index: int, count: int, fps: int) -> Frame:
    """Render frame `index` of a shot of `count` frames as pictures of Y, U and V."""
    return render(scene, move.at(index / max(1, count - 1), index / fps), index / fps)


def planes_of(frame: Frame) -> Planes:
    """Turn pictures of Y, U and V into arrays."""
    y, u, v = (np.asarray(picture) for picture in frame)
    return Planes(y, u, v)


def render(scene: Scene, pose: Pose, t: float) -> Frame:
    """Render a scene as seen from a pose at a time in seconds."""
    width, height = scene.width, scene.height
    y = Image.new("L", (width, height), 16)
    u = Image.new("L", (width // 2, height // 2), 128)
    v = u.copy()
    for placed, limit in _visible([_place(layer, scene, pose, t) for layer in scene.layers], height):
        _add(placed, (y, u, v), limit, t)
    for overlay in scene.overlays:
        overlay.draw((y, u, v), t)
    return y, u, v


def _place(layer: Layer, scene: Scene, pose: Pose, t: float) -> _Placed:
    step = 1.0 / (1.0 + (pose.zoom - 1.0) * (0.35 + 0.65 * layer.depth))
    move_x, move_y = layer.motion.at(t)
    corner = (layer.left + move_x, layer.top + move_y)
    origin = (
        scene.margin[0] + scene.width * (0.5 + pose.x * layer.depth - step / 2),
        scene.margin[1] + scene.height * (0.5 + pose.y * layer.depth - step / 2),
    )
    left, right = _span(corner[0] - origin[0], layer.y.width * layer.grain, step, scene.width)
    top, bottom = _span(corner[1] - origin[1], layer.y.height * layer.grain, step, scene.height)
    solid = scene.height
    if layer.solid is not None and bottom == scene.height:
        solid = max(0, 2 * math.ceil((layer.solid - origin[1]) / step / 2))
    return _Placed(layer, corner, origin, step, (left, top, right, bottom), solid)


def _span(start: float, length: float, step: float, size: int) -> tuple[int, int]:
    """The even pixels of the frame that lie wholly within a stretch of the canvas."""
    first = max(0, 2 * math.ceil(start / step / 2 - 1e-6))
    last = min(size, 2 * math.floor((start + length) / step / 2 + 1e-6))
    return first, last


def _visible(placed: list[_Placed], height: int) -> list[tuple[_Placed, int]]:
    """Each layer, back to front, with the row from which on those before it hide it."""
    out, limit = [], height
    for one in reversed(placed):
        out.append((one, limit))
        limit = min(limit, one.solid)
    return out[::-1]


def _add(placed: _Placed, frame: Frame, limit: int, t: float) -> None:
    left, top, right, bottom = placed.reach
    bottom = min(bottom, limit)
    if right - left < 2 or bottom - top < 2:
        return
    planes, masks = placed.layer.planes(t), placed.layer.opacity(t)
    clear = bottom if masks is None else max(top, min(bottom, placed.solid))
    if masks is None:
        _paste(placed, frame, planes, None, (left, top, right, bottom))
        return
    _paste(placed, frame, planes, masks, (left, top, right, clear))
    _paste(placed, frame, planes, None, (left, clear, right, bottom))


def _paste(
    placed: _Placed,
    frame: Frame,
    planes: Frame,
    masks: tuple[Image.Image, Image.Image] | None,
    area: tuple[int, int, int, int],
) -> None:
    left, top, right, bottom = area
    if bottom - top < 2 or right - left < 2:
        return
    grain = placed.layer.grain
    box = tuple(
        (placed.origin[axis % 2] + edge * placed.step - placed.corner[axis % 2]) / grain
        for axis, edge in enumerate(area)
    )
    mask = mask_half = None
    if masks is not None:
        mask, mask_half = _scaled(masks[0], box, area, 1), _scaled(masks[1], box, area, 2)
    if placed.layer.flat is not None:
        frame[0].paste(placed.layer.flat[0], (left, top, right, bottom), mask)
        for target, level in zip(frame[1:], placed.layer.flat[1:], strict=True):
            target.paste(level, (left // 2, top // 2, right // 2, bottom // 2), mask_half)
        return
    frame[0].paste(_scaled(planes[0], box, area, 1), (left, top), mask)
    for target, plane in zip(frame[1:], planes[1:], strict=True):
        target.paste(_scaled(plane, box, area, 2), (left // 2, top // 2), mask_half)


def _scaled(
    picture: Image.Image, box: tuple[float, ...], area: tuple[int, int, int, int], shrink: int
) -> Image.Image:
    """The part of a stored plane within a box in luma pixels, at its size in the frame."""
    size = ((area[2] - area[0]) // shrink, (area[3] - area[1]) // shrink)
    x1, y1 = min(box[2] / shrink, picture.width), min(box[3] / shrink, picture.height)
    x0, y0 = min(max(0.0, box[0] / shrink), x1 - 0.5), min(max(0.0, box[1] / shrink), y1 - 0.5)
    return picture.resize(size, BILINEAR, (x0, y0, x1, y1))
