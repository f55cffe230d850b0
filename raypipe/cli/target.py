"""Where a finished video is written, and writing it so that the file is whole or not there."""

import os
import re
import shutil
import tempfile
from pathlib import Path

from raypipe.artifacts import ArtifactStore
from raypipe.errors import FileNotWritten, InvalidRequest
from raypipe.models import Artifact


def choose_target(output: Path | None, title: str) -> Path:
    """Choose the file to write; without one named, a free name made of the title, in the current folder.

    Raises:
        InvalidRequest: Nothing can be written there.
    """
    name = slug(title)
    target = output or free_name(Path(), name)
    if target.is_dir():
        target = free_name(target, name)
    if not target.parent.is_dir():
        raise InvalidRequest(f"--output: the folder {target.parent} does not exist.")
    if not os.access(target.parent, os.W_OK):
        raise InvalidRequest(f"--output: the folder {target.parent} cannot be written to.")
    if target.exists() and not target.is_file():
        raise InvalidRequest(f"--output: {target} is no ordinary file.")
    return target


def slug(title: str) -> str:
    """Make a file name, without its ending, of a title."""
    return re.sub(r"\W+", "-", title.lower()).strip("-_")[:60].strip("-_") or "video"


def free_name(folder: Path, name: str) -> Path:
    """Find a name in a folder that no file has yet."""
    target, number = folder / f"{name}.mp4", 2
    while target.exists():
        target, number = folder / f"{name}-{number}.mp4", number + 1
    return target


def write_artifact(artifact: Artifact, target: Path, store: ArtifactStore) -> None:
    """Copy an artifact to a file, by way of a temporary one next to it.

    Raises:
        ArtifactMissing: The store does not hold it.
        FileNotWritten: There is no room, or no permission.
    """
    part = target.with_name(f".raypipe-{os.getpid()}.part")
    try:
        with tempfile.TemporaryDirectory() as scratch:
            shutil.copyfile(store.path_of(artifact, Path(scratch)), part)
        part.replace(target)
    except OSError as error:
        raise FileNotWritten(f"{target} cannot be written: {error.strerror}.") from error
    finally:
        part.unlink(missing_ok=True)


def write_text(text: str, target: Path) -> None:
    """Write a text file.

    Raises:
        FileNotWritten: There is no such folder, no room, or no permission.
    """
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise FileNotWritten(f"{target} cannot be written: {error.strerror}.") from error
