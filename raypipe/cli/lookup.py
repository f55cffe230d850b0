"""Finding what is there: the journal, a video by what a person types, what a step made, the models."""

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from raypipe.config import Settings, read_secret
from raypipe.errors import InvalidRequest, JournalUnavailable, RaypipeError, VideoNotFound, VideoNotReady
from raypipe.journal import Journal, database_file
from raypipe.models import Artifact, Kind, StepState
from raypipe.own_places import own_places
from raypipe.private import close_to_others
from raypipe.providers.base import Provider
from raypipe.snapshot import Snapshot


def open_journal(settings: Settings) -> Journal | None:
    """Open the journal for reading; None if there is none yet, for looking must not create one."""
    file = database_file(settings.journal_url)
    try:
        missing = file is not None and not file.exists()
    except OSError as error:
        raise JournalUnavailable(f"The journal at {file} cannot be opened: {error.strerror}.") from error
    return None if missing else Journal(settings.journal_url)


def open_for_writing(settings: Settings) -> Journal:
    """Open the journal, or say before any work that nothing can be written to it.

    Raises:
        JournalUnavailable: It cannot be opened, or only be read.
    """
    close_to_others(own_places(settings))
    journal = Journal(settings.journal_url)
    if journal.read_only:
        journal.close()
        raise JournalUnavailable(f"The journal in {settings.data_dir} can only be read: nothing can be made.")
    return journal


def find(text: str, settings: Settings) -> Snapshot:
    """Find a video by its id, the beginning of its id, or "last".

    Raises:
        VideoNotFound: There is none.
        InvalidRequest: More than one id begins like that.
    """
    journal = open_journal(settings)
    if journal is None:
        raise VideoNotFound(text)
    try:
        return Snapshot.read(journal, _full_id(text, journal))
    finally:
        journal.close()


def _full_id(text: str, journal: Journal) -> str:
    if text == "last":
        newest = journal.video_ids(limit=1)
        if not newest:
            raise VideoNotFound(text)
        return newest[0]
    start = text if text.startswith("vid_") else f"vid_{text}"
    if start == "vid_":
        raise InvalidRequest("An empty id names no video; `raypipe list` shows them.")
    # ids sort, so all that begin with `start` follow the largest text that is smaller
    after = start[:-1] + chr(ord(start[-1]) - 1) + "\x7f"
    found = [each for each in journal.video_ids(2, after, newest_first=False) if each.startswith(start)]
    if not found:
        raise VideoNotFound(text)
    if len(found) > 1:
        raise InvalidRequest(f"More than one video's id begins with {text}; `raypipe list` shows them.")
    return found[0]


def artifact_of(snapshot: Snapshot, step: str | None, take: int | None = None) -> Artifact:
    """Return what a step made, at a take or the one in use, or without a step the finished video.

    Raises:
        InvalidRequest: There is no such step or take.
        VideoNotReady: It has not made anything.
    """
    video = snapshot.video
    if step is None:
        if take is not None:
            raise InvalidRequest("--take: say with --step of which step.")
        if video.result is None:
            raise VideoNotReady(f"{video.id} is {video.state}: there is no finished video to write.")
        return video.result
    record = snapshot.steps.get(step)
    if record is None:
        raise InvalidRequest(
            f"--step: {video.id} has no step {step!r}; `raypipe show {video.id}` shows them."
        )
    if take is not None:
        takes = {each.take: each for each in snapshot.all_steps if each.step == step}
        if take not in takes:
            raise InvalidRequest(
                f"--take: step {step} has no take {take}, only {', '.join(map(str, takes))}."
            )
        record = takes[take]
    if record.artifact is None:
        state = "not begun" if record.state is StepState.INTENT else record.state
        raise VideoNotReady(f"Step {step} of {video.id} is {state}: it has not made a file.")
    return record.artifact


def model_table(settings: Settings) -> Table:
    """Return the models of all installed providers, what they cost and whether their key is there."""
    from raypipe.providers.registry import provider_names

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("kind", "model", "cost", "clips", "key"):
        table.add_column(name, no_wrap=name == "model", overflow="fold")
    for row in sorted(row for name in provider_names() for row in _models_of(name, settings)):
        table.add_row(*map(Text, row[1:]))
    return table


def _models_of(provider: str, settings: Settings) -> Iterator[tuple[int, str, str, str, str, str]]:
    """Return the rows of a provider's models, with the place of their kind before each."""
    from raypipe.providers.registry import provider_class

    try:
        found = provider_class(provider)
    except (ImportError, AttributeError, RaypipeError) as error:
        yield len(Kind), "", provider, "", "", f"broken: cannot be loaded: {error}"
        return
    key = _key_of(found, settings)
    for model in found.models():
        listed = settings.prices.get(model.name, model.price)
        price = "not known" if listed is None else str(listed)
        lengths = ", ".join(f"{each:g}" for each in model.durations)
        clips = f"{lengths} s" if lengths else "any length" if model.kind is Kind.CLIP else ""
        clips += ", with sound" if model.sound else ""
        yield list(Kind).index(model.kind), model.kind, model.name, price, clips, key


def _key_of(provider: type[Provider], settings: Settings) -> str:
    name = getattr(provider, "key_name", None)
    return "" if name is None else "set" if read_secret(name, settings) else "missing"


def missing_keys(settings: Settings) -> list[str]:
    """Return the names of the keys that installed providers need and that are not there."""
    from raypipe.providers.registry import provider_class, provider_names

    names = {getattr(provider_class(each), "key_name", None) for each in provider_names()}
    return sorted(name for name in names if name is not None and read_secret(name, settings) is None)
