"""What raypipe itself makes on this machine, in the data directory and wherever else settings say."""

from pathlib import Path

from raypipe.artifacts import ArtifactStore
from raypipe.config import Settings
from raypipe.journal import database_file

#: what SQLite keeps beside a database, by what it adds to its name
_BESIDE_A_DATABASE = ("", "-wal", "-shm")


def own_places(settings: Settings) -> list[Path]:
    """List folders and files that are raypipe's own; the data directory itself only where nobody has chosen another."""
    folder = settings.data_dir.absolute()
    default = [folder] if settings.data_dir == Settings.model_fields["data_dir"].default else []
    named = [folder / "previews", folder / "signing", settings.log_dir]
    return [*default, *named, *_store(settings), *_downloads(settings), *_journal(settings)]


def _store(settings: Settings) -> list[Path]:
    is_folder = settings.artifacts_url.startswith("file://")
    folder = ArtifactStore(settings.artifacts_url).folder if is_folder else None
    return [] if folder is None else [folder]


def _downloads(settings: Settings) -> list[Path]:
    return [settings.download_dir, *settings.download_dir.glob("*")]


def _journal(settings: Settings) -> list[Path]:
    file = database_file(settings.journal_url)
    return [] if file is None else [file.with_name(file.name + more) for more in _BESIDE_A_DATABASE]
