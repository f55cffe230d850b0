"""What goes wrong, as HTTP: one table of statuses, one shape of body."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from raypipe.errors import (
    ArtifactMissing,
    InvalidRequest,
    JournalUnavailable,
    RaypipeError,
    VideoNotFound,
    VideoNotReady,
)

#: the first class that an error belongs to decides
STATUSES: dict[type[RaypipeError], int] = {
    InvalidRequest: 422,
    VideoNotFound: 404,
    VideoNotReady: 409,
    ArtifactMissing: 410,
    JournalUnavailable: 503,
    RaypipeError: 500,
}
_HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}


def failure(status: int, code: str, message: str, param: str | None = None) -> JSONResponse:
    """An error answer."""
    return JSONResponse({"error": {"code": code, "message": message, "param": param}}, status)


def install(app: FastAPI) -> None:
    """Answer every error in the shape of `ErrorBody`."""

    @app.exception_handler(RaypipeError)
    async def _raypipe_error(_: Request, error: RaypipeError) -> JSONResponse:
        status = next(status for kind, status in STATUSES.items() if isinstance(error, kind))
        return failure(status, error.code, str(error))

    @app.exception_handler(RequestValidationError)
    async def _bad_body(_: Request, error: RequestValidationError) -> JSONResponse:
        return _invalid(error.errors())

    @app.exception_handler(ValidationError)
    async def _bad_value(_: Request, error: ValidationError) -> JSONResponse:
        return _invalid(error.errors())

    @app.exception_handler(HTTPException)
    async def _http_error(_: Request, error: HTTPException) -> JSONResponse:
        return failure(error.status_code, _HTTP_CODES.get(error.status_code, "http_error"), str(error.detail))


def _invalid(errors: Sequence[Mapping[str, Any]]) -> JSONResponse:
    first = errors[0]
    if first["type"] == "json_invalid":
        return failure(400, "invalid_json", "The body is no JSON object.")
    parts = [part for part in first["loc"] if part not in ("body", "query", "path")]
    param = _field(parts)
    reason = first["msg"].removeprefix("Value error, ")
    others = f" ({len(errors) - 1} more like it)" if len(errors) > 1 else ""
    sentence = f"{param}: {reason}.{others}" if param else f"The request cannot be used: {reason}.{others}"
    return failure(422, "invalid_request", sentence, param or None)


def _field(parts: Sequence[Any]) -> str:
    """Write a place as `spec.beats[3].duration`, in the words of the request."""
    names = {"duration": "seconds", "provider": "model"}
    text = ""
    for depth, part in enumerate(parts):
        name = names.get(part, part) if depth == 0 else part
        text += f"[{part}]" if isinstance(part, int) else f".{name}" if text else str(name)
    return text
