"""What goes wrong, as HTTP: one table of statuses, one shape of body."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Scope

from raypipe.errors import (
    AnswerLost,
    ArtifactMissing,
    ArtifactStoreUnavailable,
    BeatNotFound,
    DiskFull,
    InternalError,
    InvalidRequest,
    JournalUnavailable,
    NotAuthenticated,
    NotReady,
    ProviderError,
    QueueFull,
    RaypipeError,
    SecretsUnreadable,
    TenantLimit,
    TooManyFiles,
    VideoBusy,
    VideoDeleted,
    VideoNotFound,
    VideoNotReady,
    VideoOver,
    WebhookNotFound,
    WebhookRefused,
    WorkerLost,
)
from raypipe.explain import others, place, reason
from raypipe.text import valid_text

logger = logging.getLogger(__name__)

#: the first class that an error belongs to decides
STATUSES: dict[type[RaypipeError], int] = {
    InvalidRequest: 422,
    VideoDeleted: 410,
    VideoNotFound: 404,
    BeatNotFound: 404,
    WebhookNotFound: 404,
    VideoNotReady: 409,
    VideoOver: 409,
    VideoBusy: 409,
    ArtifactMissing: 410,
    JournalUnavailable: 503,
    ArtifactStoreUnavailable: 503,
    DiskFull: 507,
    TooManyFiles: 503,
    SecretsUnreadable: 503,
    NotReady: 503,
    AnswerLost: 503,
    WorkerLost: 503,
    QueueFull: 429,
    TenantLimit: 429,
    NotAuthenticated: 401,
    WebhookRefused: 401,
    ProviderError: 503,
    RaypipeError: 500,
}
#: seconds after which to come again, where something is unavailable for the moment
RETRY_AFTER = 5.0
_HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}


def failure(
    status: int, code: str, message: str, param: str | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Make an error answer."""
    error = {"code": code, "message": valid_text(message), "param": param and valid_text(param)}
    return JSONResponse({"error": error}, status, headers)


def unrepeatable(scope: Scope) -> dict[str, str]:
    """Return the header that keeps OpenAI's clients from sending a request again that may have been carried out.

    They send what was answered 5xx again, and set no Idempotency-Key, which would have it carried out once.
    """
    names = {name for name, _ in scope["headers"]}
    is_named = scope["path"] == "/v1/videos" and b"idempotency-key" in names
    return {"x-should-retry": "false"} if scope["method"] == "POST" and not is_named else {}


def install(app: FastAPI) -> None:
    """Answer every error in the shape of `ErrorBody`."""

    @app.exception_handler(RaypipeError)
    async def _raypipe_error(request: Request, error: RaypipeError) -> JSONResponse:
        status = next(status for kind, status in STATUSES.items() if isinstance(error, kind))
        seconds = math.ceil(getattr(error, "retry_after", None) or RETRY_AFTER)
        headers = {"Retry-After": str(seconds)} if status in (429, 503) and error.retryable else None
        if status >= 500 and headers is None:
            headers = unrepeatable(request.scope)
        return failure(status, error.code, str(error), headers=headers)

    @app.exception_handler(RequestValidationError)
    async def _bad_body(_: Request, error: RequestValidationError) -> JSONResponse:
        return _invalid(error.errors())

    @app.exception_handler(HTTPException)
    async def _http_error(_: Request, error: HTTPException) -> JSONResponse:
        code = _HTTP_CODES.get(error.status_code, "http_error")
        return failure(error.status_code, code, str(error.detail), headers=error.headers)

    @app.exception_handler(Exception)
    async def _bug(request: Request, error: Exception) -> JSONResponse:
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
        message = "Something went wrong here; the service's log says what."
        return failure(500, InternalError.code, message, headers=unrepeatable(request.scope))


def _invalid(errors: Sequence[Mapping[str, Any]]) -> JSONResponse:
    first = errors[0]
    if first["type"] == "json_invalid":
        return failure(400, "invalid_json", "The body is no JSON object.")
    if first["loc"] == ("body",):
        said = "The body must be a JSON object, sent with content-type: application/json."
        return failure(422, "invalid_request", said)
    parts = [part for part in place(first) if part not in ("body", "query", "path")]
    param = _field(parts)
    said = f"{reason(first)}{others(errors)}."
    sentence = f"{param}: {said}" if param else f"The request cannot be used: {said}"
    return failure(422, "invalid_request", sentence, param or None)


def _field(parts: Sequence[Any]) -> str:
    """Write a place as `spec.beats[3].duration`, in the words of the request."""
    names = {"duration": "seconds"}
    text = ""
    for depth, part in enumerate(parts):
        name = names.get(part, part) if depth == 0 else part
        text += f"[{part}]" if isinstance(part, int) else f".{name}" if text else str(name)
    return text
