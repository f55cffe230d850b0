"""Camera moves: where the camera stands at each moment of a shot."""

import math
import re
from typing import NamedTuple

PUSH = 0.13
TRAVEL = 0.062


class Pose(NamedTuple):
    """Offset in fractions of the frame's width and height for things at depth 1, and magnification."""

    x: float = 0.0
    y: float = 0.0
    zoom: float = 1.0


class Move(NamedTuple):
    """From where to where the camera goes, and how much it sways like a hand or a boat."""

    start: Pose
    end: Pose
    sway: float = 0.0
    #: sideways arc in the middle of the move
    arc: float = 0.0

    def at(self, progress: float, t: float) -> Pose:
        """The pose after a part of the move, 0 to 1, at a time in seconds since its start."""
        s = eased(progress)
        bow = math.sin(math.pi * s) * self.arc
        x, y, zoom = (a + (b - a) * s for a, b in zip(self.start, self.end, strict=True))
        fade = min(1.0, t / 0.8)
        sway_x = self.sway * fade * (math.sin(t * 1.7) + 0.6 * math.sin(t * 2.9 + 1.0) - 0.5)
        sway_y = self.sway * fade * (math.sin(t * 2.1 + 2.0) + 0.5 * math.sin(t * 3.7) - 0.9)
        return Pose(x + sway_x, y + bow + sway_y, zoom)


#: patterns in the words of a movement, first match wins, and the move each stands for
_MOVES: tuple[tuple[str, Move], ...] = (
    (r"static|still|locked|fixed", Move(Pose(0, 0, 1.02), Pose(0.006, 0, 1.035))),
    (r"hand ?-?held|shaky", Move(Pose(0, 0, 1.05), Pose(0.01, 0, 1.09), sway=0.0034)),
    (r"(pull|dolly|zoom|track)\w*[- ](back|out)|pull|reveal", Move(Pose(0, 0, 1 + PUSH), Pose(0, 0, 1.0))),
    (r"orbit|arc|around|circl", Move(Pose(-TRAVEL, 0, 1.03), Pose(TRAVEL, 0, 1.08), arc=-0.012)),
    (r"left", Move(Pose(TRAVEL, 0, 1.03), Pose(-TRAVEL, 0, 1.05))),
    (r"right|pan", Move(Pose(-TRAVEL, 0, 1.03), Pose(TRAVEL, 0, 1.05))),
    (r"track|follow|truck|slide|lateral|whip", Move(Pose(-TRAVEL, 0, 1.06), Pose(TRAVEL, 0.004, 1.08))),
    (r"(crane|boom|pedestal|jib)\w*[- ]down|descend", Move(Pose(0, -TRAVEL, 1.0), Pose(0, TRAVEL, 1.05))),
    (r"crane|boom|jib|pedestal|rise|rising|ascend", Move(Pose(0, TRAVEL, 1.06), Pose(0, -TRAVEL, 1.0))),
    (r"(tilt|look)\w*[- ]down|down", Move(Pose(0, -TRAVEL, 1.02), Pose(0, TRAVEL, 1.04))),
    (r"tilt|look\w*[- ]up|up\b", Move(Pose(0, TRAVEL, 1.02), Pose(0, -TRAVEL, 1.04))),
    (
        r"aerial|drone|fly|flight|glid|soar|float|drift",
        Move(Pose(-0.03, 0.035, 1.0), Pose(0.03, -0.03, 1.1), sway=0.0008),
    ),
    (r"fast|quick|rapid|crash|snap", Move(Pose(0, 0, 1.0), Pose(0, 0, 1 + PUSH * 1.3))),
    (r"dolly|zoom|push|in\b|forward", Move(Pose(0, 0.004, 1.0), Pose(0, -0.006, 1 + PUSH))),
)
_DEFAULT = _MOVES[-1][1]


def eased(progress: float) -> float:
    """Ease in and out, yet never stand quite still; 0 to 0 and 1 to 1."""
    p = min(1.0, max(0.0, progress))
    return 0.72 * p * p * (3 - 2 * p) + 0.28 * p


def move_of(words: str, side: int = 1) -> Move:
    """Find the move a free text asks for; `side` (1 or -1) mirrors moves that name no direction."""
    text = words.lower().replace("_", " ")
    move = next((move for pattern, move in _MOVES if re.search(pattern, text)), _DEFAULT)
    if side > 0 or re.search(r"left|right", text):
        return move
    start, end = (Pose(-pose.x, pose.y, pose.zoom) for pose in (move.start, move.end))
    return move._replace(start=start, end=end)


def departing(move: Move) -> Move:
    """The same move for a picture with nothing beyond its edges: it starts with all of it and closes in."""
    dx, dy = move.end.x - move.start.x, move.end.y - move.start.y
    zoom = 1.0 + max(0.08, abs(move.end.zoom - move.start.zoom))
    reach = (zoom - 1.0) / zoom / 2
    x, y = (max(-reach, min(reach, delta)) for delta in (dx, dy))
    return Move(Pose(), Pose(x, y, zoom))


def ease_in(progress: float) -> float:
    """Start from rest and end in steady motion; 0 to 0 and 1 to 1."""
    p = min(1.0, max(0.0, progress))
    return p * p * (1.5 - 0.5 * p)
