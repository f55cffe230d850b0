"""Forms as JSON: clients that were made for other video services send `multipart/form-data`, with a picture as a file.

A form becomes the JSON body that says the same, so that both are checked and answered by the same code.
"""

import json
from collections.abc import Iterable
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from raypipe.api.failures import failure
from raypipe.data_uris import data_uri

#: types of bodies that are forms
FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
#: most fields and files that a form may have
MOST_FIELDS, MOST_FILES = 100, 10
#: fields whose text is JSON
_OBJECTS = ("models", "options", "spec")


class FormAsJson:
    """Passes requests on with the JSON body that their form stands for; others as they are."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http" or not _is_form(scope):
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            async with request.form(max_files=MOST_FILES, max_fields=MOST_FIELDS) as form:
                body = json.dumps(await _document(form)).encode()
        except (MultiPartException, HTTPException) as error:
            said = str(getattr(error, "message", None) or getattr(error, "detail", error))
            await failure(400, "invalid_form", f"The form cannot be read: {said}")(scope, receive, send)
            return
        kept = [(name, value) for name, value in scope["headers"] if name not in _REPLACED]
        headers = [
            *kept,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        await self._app({**scope, "headers": headers}, _once(body, receive), send)


_REPLACED = (b"content-type", b"content-length", b"transfer-encoding")


def _is_form(scope: Scope) -> bool:
    kind = dict(scope["headers"]).get(b"content-type", b"").decode("latin-1")
    return kind.partition(";")[0].strip().lower() in FORMS


async def _document(form: FormData) -> dict[str, Any]:
    """Return a form's fields as JSON's values; a field that comes more than once, or as name[], is a list."""
    document: dict[str, Any] = {}
    for name in dict.fromkeys(form.keys()):
        values = [await _value(name, each) for each in form.getlist(name)]
        outer, inner = _parts(name)
        value = values if len(values) > 1 or inner == "" else values[0]
        if inner:
            held = document.setdefault(outer, {})
            if isinstance(held, dict):
                held[inner] = value
        else:
            document[outer] = value
    return document


def _parts(name: str) -> tuple[str, str | None]:
    """Split name[part]; the part is None if there is none."""
    outer, bracket, inner = name.partition("[")
    return (outer, inner.removesuffix("]")) if bracket and name.endswith("]") else (name, None)


async def _value(name: str, value: UploadFile | str) -> Any:
    if isinstance(value, UploadFile):
        # what it is, its bytes say, when it is stored
        return data_uri(await value.read())
    if name in _OBJECTS:
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value  # it is refused for what it is
    return value


def _once(body: bytes, receive: Receive) -> Receive:
    messages: Iterable[Message] = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def give() -> Message:
        for message in messages:
            return message
        return await receive()

    return give
