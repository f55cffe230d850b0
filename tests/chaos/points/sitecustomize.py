"""Points at which a process of raypipe kills itself once, if that is armed; put this folder first on PYTHONPATH.

Python imports a module of this name when it starts. Each point is the beginning or the end of one function. Somebody
who wants a process to die there makes a file of the point's name in `$RAYPIPE_CHAOS_POINTS/armed`; whoever comes there
first moves it to `fired`, with its process id behind the name, and is gone.
"""

import functools
import inspect
import os
import signal
import sys
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER = os.environ.get("RAYPIPE_CHAOS_POINTS")
#: what the points around a function are called, by its module and name
AROUND = {
    ("raypipe.journal.journal", "Journal.accept"): "intent",
    ("raypipe.step_log", "StepLog.sent"): "sent",
    ("raypipe.hosted", "HostedWork._send"): "create",
    ("raypipe.step_log", "StepLog.accepted"): "accepted",
    ("raypipe.providers.deliveries", "Deliveries.fetch"): "download",
    ("raypipe.artifacts", "ArtifactStore.put_parts"): "artifact",
    ("raypipe.step_log", "StepLog.done"): "done",
    ("raypipe.cpu_work", "last_frame"): "last_frame",
    ("raypipe.cpu_work", "stitch"): "stitch",
    ("raypipe.video_run", "VideoRun._write_end"): "finish",
}
POINTS = [f"{when}-{name}" for name in AROUND.values() for when in ("before", "after")]
#: at the beginning of a stitch: take memory until the process is killed for it
MEMORY = "memory"
MODULES = {"raypipe.providers.http", *(module for module, _ in AROUND)}


#: seconds after which a create is given up that was not answered, in place of two minutes
CREATE_SECONDS = 20.0


def reach(point: str) -> None:
    """Come to a point: die, if that is armed."""
    if _is_armed(point):
        os.kill(os.getpid(), signal.SIGKILL)


def _is_armed(point: str) -> bool:
    folder = Path(FOLDER or "")
    try:
        (folder / "armed" / point).rename(folder / "fired" / f"{point}.{os.getpid()}")
    except FileNotFoundError:
        return False
    return True


def _take_memory() -> None:
    if _is_armed(MEMORY):
        held = []
        while True:
            held.append(b"x" * 2**26)


def _around(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def waits(*args: Any, **more: Any) -> Any:
            reach(f"before-{name}")
            result = await function(*args, **more)
            reach(f"after-{name}")
            return result

        return waits

    @functools.wraps(function)
    def runs(*args: Any, **more: Any) -> Any:
        if name == "stitch":
            _take_memory()
        reach(f"before-{name}")
        result = function(*args, **more)
        reach(f"after-{name}")
        return result

    return runs


def _put_points(module: ModuleType) -> None:
    if module.__name__ == "raypipe.providers.http":
        module.HttpProvider.create_seconds = CREATE_SECONDS  # type: ignore[attr-defined]
    for (name, path), point in AROUND.items():
        if name == module.__name__:
            *outer, last = path.split(".")
            holder = functools.reduce(getattr, outer, module)
            setattr(holder, last, _around(getattr(holder, last), point))


class _Loader(Loader):
    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        _put_points(module)


class _Finder(MetaPathFinder):
    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname not in MODULES:
            return None
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(fullname, path, target)) is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


if FOLDER:
    sys.meta_path.insert(0, _Finder())
