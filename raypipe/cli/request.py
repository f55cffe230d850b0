"""From what stands on the command line to a checked request; errors name the option or field at fault."""

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import RootModel, TypeAdapter, ValidationError, model_validator
from pydantic_settings import SettingsError

from raypipe.config import Settings
from raypipe.data_uris import data_uri, is_data_uri
from raypipe.errors import InvalidReferenceImage, InvalidRequest
from raypipe.explain import others, place, reason
from raypipe.models import Artifact, BeatEdit, Dollars, DraftBeat, DraftSpec, Kind, Spec, VideoRequest

#: what stands on the command line for fields that have another name there
_OPTION_OF = {"prompt": "PROMPT", "reference_pictures": "--reference"}
MAX_SPEC_BYTES = 64 * 2**20
MAX_PICTURE_BYTES = 32 * 2**20
_MAGIC = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}


def _inner_spec(document: Any) -> Any:
    inner = document.get("spec") if isinstance(document, dict) else None
    return inner if isinstance(inner, dict) else document


class _Document(RootModel[DraftSpec]):
    """A spec, or all that `raypipe show --json` prints of a video, which holds one."""

    @model_validator(mode="before")
    @classmethod
    def _spec_within(cls, value: object) -> object:
        return _inner_spec(value)

    @property
    def spec(self) -> DraftSpec:
        return self.root


def read_settings() -> Settings:
    """Read the environment.

    Raises:
        InvalidRequest: A variable holds something that cannot be used.
    """
    try:
        return Settings()
    except SettingsError as error:
        raise InvalidRequest(f"{_variable_in(error)}: it must be JSON.") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["loc"][0] in ("provider_urls", "public_url"):  # the reason names the variable
            raise InvalidRequest(f"{reason(first)}.") from error
        name, *inner = map(str, first["loc"])
        name = name if name.isupper() else f"RAYPIPE_{name.upper()}"
        raise InvalidRequest(f"{': '.join([name, *inner])}: {reason(first)}.") from error


def _variable_in(error: SettingsError) -> str:
    """Name the variable that could not be parsed: the error names the field."""
    field = str(error).partition('"')[2].partition('"')[0]
    return f"RAYPIPE_{field.upper()}" if field else "A variable RAYPIPE_..."


def build_request(
    typed: Mapping[str, str],
    models: Sequence[str] = (),
    references: Sequence[Path] = (),
    spec: bytes | None = None,
) -> VideoRequest:
    """Make a request of the options that were typed, by their names, and of the spec that was read.

    Args:
        typed: Options by their names.
        models: What --model said, each time.
        references: What --reference said, each time.
        spec: What was read where the option `spec` says.

    Raises:
        InvalidRequest: Something cannot be used; the message names the option.
    """
    if "spec" not in typed and not typed.get("prompt", "").strip():
        raise InvalidRequest('PROMPT: say what the video is about, such as "A fox in the snow".')
    fields: dict[str, Any] = dict(typed)
    if "options" in typed:
        fields["options"] = _read_options(typed["options"])
    if spec is not None:
        fields["spec"] = parse_spec(typed["spec"], spec)
    fields |= _read_models(models)
    if references:
        fields["reference_pictures"] = [_picture_uri(each, f"--reference: {each}") for each in references]
    try:
        return VideoRequest.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = [str(part) for part in first["loc"]]
        option = _OPTION_OF.get(where[0], f"--{where[0]}") if where else "The request"
        raise InvalidRequest(f"{': '.join([option, *where[1:2]])}: {reason(first)}.") from error


def read_edit(prompt: str | None, image: Path | None, take: int | None) -> BeatEdit:
    """Make a change of a beat of the options that were typed.

    Raises:
        InvalidRequest: They do not go together, or the picture cannot be used.
    """
    picture = None if image is None else _picture_uri(image, f"--image: {image}")
    try:
        return BeatEdit(prompt=prompt, reference_image=picture, take=take)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        option = f"--{first['loc'][0]}" if first["loc"] else "--take"
        raise InvalidRequest(f"{option}: {reason(first)}.") from error


def read_budget(text: str | None) -> float | None:
    """Read a sum in US dollars that was typed.

    Raises:
        InvalidRequest: It is none.
    """
    try:
        return TypeAdapter(Dollars | None).validate_python(text)
    except ValidationError as error:
        raise InvalidRequest(f"--budget: {reason(error.errors(include_url=False)[0])}.") from error


def read_spec(source: str) -> bytes:
    """Read a spec from a file or, for "-", from standard input.

    Raises:
        InvalidRequest: It cannot be read, or is too large.
    """
    try:
        if source == "-":
            data = sys.stdin.buffer.read(MAX_SPEC_BYTES + 1)
        else:
            with Path(source).open("rb") as file:
                data = file.read(MAX_SPEC_BYTES + 1)
    except OSError as error:
        raise InvalidRequest(f"--spec: {source} cannot be read: {error.strerror}.") from error
    if len(data) > MAX_SPEC_BYTES:
        raise InvalidRequest(f"--spec: {source} is larger than {MAX_SPEC_BYTES // 2**20} MiB.")
    return data.removeprefix(b"\xef\xbb\xbf")


def parse_spec(source: str, data: bytes) -> DraftSpec:
    """Make a draft of a spec read from a file or, for "-", from standard input; pictures it names are read.

    Raises:
        InvalidRequest: It cannot be read or is no spec.
    """
    name = "standard input" if source == "-" else source
    try:
        draft = _Document.model_validate_json(data).spec
    except ValidationError as error:
        errors = error.errors(include_url=False)
        where = ".".join(map(str, place(errors[0])))
        said = f"{where}: {reason(errors[0])}" if where else reason(errors[0])
        raise InvalidRequest(f"--spec {name}: {said}{others(errors)}.") from error
    folder = _folder_of(source)
    beats = tuple(_with_picture(index, beat, folder) for index, beat in enumerate(draft.beats))
    pictures = draft.reference_pictures and tuple(
        _picture(each, folder, f"reference_pictures.{index}")
        for index, each in enumerate(draft.reference_pictures)
    )
    return draft.model_copy(update={"beats": beats, "reference_pictures": pictures})


def dry_plan(request: VideoRequest, settings: Settings) -> Spec:
    """Plan a request as `generate` will, leaving nothing behind.

    Raises:
        InvalidRequest: As `intake.plan`.
    """
    from raypipe.artifacts import ArtifactStore
    from raypipe.intake import plan

    stored = any(isinstance(each, Artifact) for each in _pictures_in(request))
    store = ArtifactStore(settings.artifacts_url if stored else "memory:///")
    with tempfile.TemporaryDirectory() as scratch:
        return plan(request, "", settings.model_copy(update={"data_dir": Path(scratch)}), store)


def cost_notes(spec: Spec, settings: Settings) -> list[str]:
    """Say what a plan is estimated to cost, unless it is free."""
    from raypipe.costs import estimate

    found = estimate(spec, settings.prices)
    said = [f"It is estimated to cost {found}."] if found.total else []
    return [*said, f"What {', '.join(found.unknown)} cost is not known."] if found.unknown else said


def _pictures_in(request: VideoRequest) -> list[Artifact | str | None]:
    briefs = (request,) if request.spec is None else (request, request.spec)
    beats = () if request.spec is None else request.spec.beats
    return [
        *(each for brief in briefs for each in brief.reference_pictures or ()),
        *(beat.reference_image for beat in beats),
    ]


def editable(
    spec: Spec, source: str | None, data: bytes | None, references: Sequence[Path] = ()
) -> dict[str, Any]:
    """Turn a plan back into what a person edits, with pictures named as on the command line or in the spec it read."""
    from raypipe.phases.plan import spec_as_draft

    draft = spec_as_draft(spec)
    fields: dict[str, Any] = draft.model_dump(mode="json", exclude_none=True)
    if draft.size is not None:
        fields["size"] = str(draft.size)
    document = {} if data is None else _inner_spec(json.loads(data))
    folder = _folder_of(source or "-")
    for beat, given in zip(fields["beats"], document.get("beats", ()), strict=False):
        if given.get("reference_image") is not None:
            beat["reference_image"] = _absolute(given["reference_image"], folder)
    pictures = [str(each.resolve()) for each in references]
    pictures = pictures or [_absolute(each, folder) for each in document.get("reference_pictures") or ()]
    return fields | ({"reference_pictures": pictures} if pictures else {})


def _folder_of(source: str) -> Path:
    """Return the folder to which the pictures that a spec names are relative."""
    return Path() if source == "-" else Path(source).parent


def _absolute(name: Any, folder: Path) -> Any:
    if isinstance(name, str) and not is_data_uri(name):
        return str((folder / name).resolve())
    return name


def _read_models(typed: Sequence[str]) -> dict[str, Any]:
    """Sort what --model said into the models of each kind of work, and those that stand for all."""
    of_all: list[str] = []
    by_kind: dict[str, list[str]] = {}
    for text in typed:
        kind, given, name = text.partition("=")
        if not (name if given else kind):
            raise InvalidRequest(f"--model: {text!r} names no model; `raypipe models` lists them.")
        if not given:
            of_all.append(text)
        elif kind in list(Kind):
            by_kind.setdefault(kind, []).append(name)
        else:
            raise InvalidRequest(f"--model: {kind!r} is no kind of work; there are {', '.join(Kind)}.")
    return {name: value for name, value in (("model", of_all), ("models", by_kind)) if value}


def _read_options(text: str) -> dict[str, Any]:
    try:
        options = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"--options: this is not JSON: {error}.") from error
    if not isinstance(options, dict):
        raise InvalidRequest('--options: a JSON object is needed, such as \'{"clip": {"seed": 1}}\'.')
    return options


def _with_picture(index: int, beat: DraftBeat, folder: Path) -> DraftBeat:
    if beat.reference_image is None:
        return beat
    picture = _picture(beat.reference_image, folder, f"beats.{index}.reference_image")
    return beat.model_copy(update={"reference_image": picture})


def _picture(given: Artifact | str, folder: Path, where: str) -> Artifact | str:
    """Turn a path, which is relative to the spec's folder, into a data: URI."""
    if not isinstance(given, str) or is_data_uri(given):
        return given
    return _picture_uri(folder / given, f"--spec: {where}: {given}")


def _picture_uri(path: Path, where: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_PICTURE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", error)
        raise InvalidReferenceImage(f"{where} cannot be read: {reason}.") from error
    media_type = next((kind for magic, kind in _MAGIC.items() if data.startswith(magic)), None)
    if media_type is None or len(data) > MAX_PICTURE_BYTES:
        limit = MAX_PICTURE_BYTES // 2**20
        raise InvalidReferenceImage(f"{where} is no PNG or JPEG picture of at most {limit} MiB.")
    return data_uri(data, media_type)
