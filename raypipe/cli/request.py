"""From what stands on the command line to a checked request; errors name the option or field at fault."""

import base64
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from raypipe.config import Settings
from raypipe.errors import InvalidReferenceImage, InvalidRequest
from raypipe.models import Artifact, DraftBeat, DraftSpec, Spec, VideoRequest

MAX_SPEC_BYTES = 64 * 2**20
MAX_PICTURE_BYTES = 32 * 2**20
_MAGIC = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}


class Given(NamedTuple):
    """The options of `generate` and `plan` as they were typed; None where one was left out."""

    prompt: str | None = None
    duration: str | None = None
    size: str | None = None
    style: str | None = None
    mood: str | None = None
    seed: str | None = None
    provider: str | None = None
    options: str | None = None
    spec: str | None = None


def read_settings() -> Settings:
    """Read the environment.

    Raises:
        InvalidRequest: A variable holds something that cannot be used.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0])
        name = name if name.isupper() else f"RAYPIPE_{name.upper()}"
        raise InvalidRequest(f"{name}: {_said(first)}.") from error


def build_request(given: Given) -> VideoRequest:
    """Make a request of what was typed.

    Raises:
        InvalidRequest: Something cannot be used; the message names the option.
    """
    if given.spec is None and not (given.prompt or "").strip():
        raise InvalidRequest('PROMPT: say what the video is about, such as "A fox in the snow".')
    fields: dict[str, Any] = {name: value for name, value in given._asdict().items() if value is not None}
    if given.options is not None:
        fields["options"] = _read_options(given.options)
    if given.spec is not None:
        fields["spec"] = read_spec(given.spec)
    try:
        return VideoRequest.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = [str(part) for part in first["loc"]]
        option = {"prompt": "PROMPT"}.get(where[0], f"--{where[0]}") if where else "The request"
        raise InvalidRequest(f"{': '.join([option, *where[1:2]])}: {_said(first)}.") from error


def read_spec(source: str) -> DraftSpec:
    """Read a spec from a file or, for "-", from standard input; pictures it names are read too.

    Raises:
        InvalidRequest: It cannot be read or is no spec.
    """
    name = "standard input" if source == "-" else source
    data = _read(source)
    try:
        draft = DraftSpec.model_validate_json(data)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        where = "".join(f"{part}." for part in errors[0]["loc"])[:-1] + ": "
        more = f" ({len(errors) - 1} more like it)" if len(errors) > 1 else ""
        raise InvalidRequest(f"--spec {name}: {where.removeprefix(': ')}{_said(errors[0])}{more}.") from error
    folder = Path() if source == "-" else Path(source).parent
    beats = tuple(_with_picture(index, beat, folder) for index, beat in enumerate(draft.beats))
    return draft.model_copy(update={"beats": beats})


def dry_plan(request: VideoRequest, settings: Settings) -> Spec:
    """Plan a request as `generate` will, leaving nothing behind.

    Raises:
        InvalidRequest: As `intake.plan`.
    """
    from raypipe.artifacts import ArtifactStore
    from raypipe.intake import plan

    stored = request.spec and any(isinstance(beat.reference_image, Artifact) for beat in request.spec.beats)
    store = ArtifactStore(settings.artifacts_url if stored else "memory:///")
    with tempfile.TemporaryDirectory() as scratch:
        return plan(request, "vid_dry_run", settings.model_copy(update={"data_dir": Path(scratch)}), store)


def editable(spec: Spec, given: Given) -> dict[str, Any]:
    """Turn a plan back into what a person edits, with pictures named as they were given."""
    from raypipe.phases.plan import spec_as_draft

    draft = spec_as_draft(spec)
    named = _named_pictures(given.spec) if given.spec not in (None, "-") else []
    fields: dict[str, Any] = draft.model_dump(mode="json", exclude_none=True)
    if draft.size is not None:
        fields["size"] = str(draft.size)
    for beat, name in zip(fields["beats"], named, strict=False):
        if name is not None:
            beat["reference_image"] = name
    return fields


def _named_pictures(source: str | None) -> list[Any]:
    folder = Path(source or "").parent
    beats = json.loads(_read(source or ""))["beats"]
    return [_absolute(beat.get("reference_image"), folder) for beat in beats]


def _absolute(name: Any, folder: Path) -> Any:
    if isinstance(name, str) and not name.startswith("data:"):
        return str((folder / name).resolve())
    return name


def _read(source: str) -> bytes:
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


def _read_options(text: str) -> dict[str, Any]:
    try:
        options = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"--options: this is not JSON: {error}.") from error
    if not isinstance(options, dict):
        raise InvalidRequest("--options: a JSON object is needed, such as '{\"scale\": 0.1}'.")
    return options


def _with_picture(index: int, beat: DraftBeat, folder: Path) -> DraftBeat:
    """Turn a path, which is relative to the spec's folder, into a data: URI."""
    named = beat.reference_image
    if not isinstance(named, str) or named.startswith("data:"):
        return beat
    where = f"--spec: beats.{index}.reference_image: {named}"
    try:
        with (folder / named).open("rb") as file:
            data = file.read(MAX_PICTURE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", error)
        raise InvalidReferenceImage(f"{where} cannot be read: {reason}.") from error
    media_type = next((kind for magic, kind in _MAGIC.items() if data.startswith(magic)), None)
    if media_type is None or len(data) > MAX_PICTURE_BYTES:
        limit = MAX_PICTURE_BYTES // 2**20
        raise InvalidReferenceImage(f"{where} is no PNG or JPEG picture of at most {limit} MiB.")
    uri = f"data:{media_type};base64,{base64.b64encode(data).decode()}"
    return beat.model_copy(update={"reference_image": uri})


def _said(error: Any) -> str:
    """What is wrong, in words for people, with the value if it is short."""
    words = _WORDS.get(error["type"])
    message = words.format(**error.get("ctx", {})) if words else _unprefixed(str(error["msg"]))
    value = error.get("input")
    if words and words.startswith("is "):
        return message
    if isinstance(value, int | float) or (isinstance(value, str) and 0 < len(value) <= 40):
        return f"{message}, not {value}"
    return message


def _unprefixed(message: str) -> str:
    message = message.removeprefix("Value error, ").rstrip(".")
    return message[:1].lower() + message[1:] if message.startswith("Input") else message


_WORDS = {
    "bool_type": "must be true or false",
    "dict_type": "must be a JSON object",
    "extra_forbidden": "is no known field",
    "finite_number": "must be a finite number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "greater_than_equal": "must be at least {ge:g}",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "missing": "is missing",
    "multiple_of": "must be a multiple of {multiple_of:g}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must not be empty",
    "string_type": "must be text",
    "string_unicode": "must be text in UTF-8",
    "too_long": "must have at most {max_length} entries",
    "too_short": "must not be empty",
    "tuple_type": "must be a list",
}
