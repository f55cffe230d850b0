"""Where what was made is written: checked before any work, and written whole or not at all at its end."""

import os
import re
import stat
import sys
from pathlib import Path

from raypipe.artifacts import ArtifactStore
from raypipe.errors import FileNotWritten, InvalidRequest, OutputExists
from raypipe.models import Artifact

#: names a file may end in, by what it holds; the first is raypipe's own choice
SUFFIXES = {
    "video/mp4": (".mp4",),
    "image/png": (".png",),
    "image/jpeg": (".jpg", ".jpeg"),
    "image/svg+xml": (".svg",),
    "audio/mp4": (".m4a", ".mp4"),
    "audio/flac": (".flac",),
}
#: the name that stands for standard output
STDOUT = Path("-")


def check_output(
    output: Path | None, force: bool = False, media_type: str = "video/mp4", option: str = "--output"
) -> None:
    """Check that a file can be written to; without one named, that a new one can be in the current folder.

    Raises:
        InvalidRequest: It cannot, or there is one that may not be replaced; the message names the option.
    """
    try:
        problem = _stdout_problem() if output == STDOUT else _problem(output or Path(), force, media_type)
    except (OSError, RuntimeError) as error:  # a loop of symbolic links is a RuntimeError
        problem = f"{output} cannot be used: {getattr(error, 'strerror', None) or error}"
    if problem is not None:
        raise InvalidRequest(f"{option}: {problem}.")


def deliver(artifact: Artifact, output: Path | None, title: str, store: ArtifactStore, force: bool) -> str:
    """Write an artifact to standard output, a file, or a free name in a folder, and say where it is.

    Raises:
        ArtifactMissing: The store does not hold it.
        FileNotWritten: There is no room, no permission, or meanwhile a file of that name.
    """
    if output == STDOUT:
        store.send(artifact, sys.stdout.buffer)
        return "standard output"
    folder = output or Path()
    if not folder.is_dir():
        store.export(artifact, folder, replace=force)
        return str(folder)
    suffix = SUFFIXES.get(artifact.media_type, (".bin",))[0]
    while True:
        target = free_name(folder, slug(title), suffix)
        try:
            store.export(artifact, target)
        except OutputExists:
            continue  # another run took the name at this moment
        return str(target)


def slug(title: str) -> str:
    """Make a file name, without its ending, of a title."""
    return re.sub(r"\W+", "-", title.lower()).strip("-_")[:60].strip("-_") or "video"


def free_name(folder: Path, name: str, suffix: str = ".mp4") -> Path:
    """Find a name in a folder that no file has yet."""
    target, number = folder / f"{name}{suffix}", 2
    while os.path.lexists(target):
        target, number = folder / f"{name}-{number}{suffix}", number + 1
    return target


def write_text(text: str, target: Path) -> None:
    """Write a text file.

    Raises:
        FileNotWritten: There is no such folder, no room, or no permission.
    """
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise FileNotWritten(f"{target} cannot be written: {error.strerror}.") from error


def _problem(output: Path, force: bool, media_type: str) -> str | None:
    target = output.resolve()
    if target.is_dir():
        return None if os.access(target, os.W_OK) else f"the folder {output} cannot be written to"
    if not target.parent.is_dir():
        return f"the folder {output.parent if not output.is_symlink() else target.parent} does not exist"
    if os.path.lexists(target) and not target.is_file():
        return f"{output} is no ordinary file"
    suffixes = SUFFIXES.get(media_type, ())
    if suffixes and output.suffix.lower() not in suffixes:
        return f"what is written is {media_type}: the name must end in {' or '.join(suffixes)}, not {output.name}"
    if os.path.lexists(target):
        return _replacing_problem(output, target, force)
    return None if os.access(target.parent, os.W_OK) else f"the folder {target.parent} cannot be written to"


def _replacing_problem(output: Path, target: Path, force: bool) -> str | None:
    if not force:
        return f"{output} is there already; --force replaces it"
    read_only = not target.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
    if read_only or not os.access(target, os.W_OK) or not os.access(target.parent, os.W_OK):
        return f"{output} is read-only"
    return None


def _stdout_problem() -> str | None:
    if sys.stdout is None:
        return "standard output is closed"
    return "standard output is a terminal; send it to a file or a program" if sys.stdout.isatty() else None
