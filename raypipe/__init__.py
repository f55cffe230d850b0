"""raypipe: one prompt in, one finished multi-scene video out, on Ray, from a laptop to a cluster."""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from raypipe.config import Settings
from raypipe.errors import RaypipeError
from raypipe.models import Beat, BeatEdit, DraftBeat, DraftSpec, Spec, VideoRequest, VideoState

if TYPE_CHECKING:
    from raypipe.coordinator import Coordinator

__version__ = version("raypipe")

__all__ = [
    "Beat",
    "BeatEdit",
    "Coordinator",
    "DraftBeat",
    "DraftSpec",
    "RaypipeError",
    "Settings",
    "Spec",
    "VideoRequest",
    "VideoState",
]


def __getattr__(name: str) -> Any:
    """Import the coordinator, and with it Ray, when it is asked for."""
    if name == "Coordinator":
        from raypipe.coordinator import Coordinator

        return Coordinator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
