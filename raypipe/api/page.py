"""The studio page, at `/`: files as they are, with no build step."""

from pathlib import Path

from fastapi import FastAPI, Response
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FOLDER = Path(__file__).parent / "studio"
#: the page takes scripts, styles, pictures and films from here alone, and is framed by nobody
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "media-src 'self'; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class NotFramed:
    """Forbids other pages to show ours within theirs, where a page does not forbid that itself, as those of `/docs`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer with that."""

        async def unframed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if headers.get("content-type", "").startswith("text/html"):
                    headers.setdefault("Content-Security-Policy", "frame-ancestors 'none'")
                    headers.setdefault("X-Frame-Options", "DENY")
            await send(message)

        await self._app(scope, receive, unframed)


class _Files(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file, to be asked for again when the page is loaded anew: it may be of a newer raypipe."""
        answer = await super().get_response(path, scope)
        answer.headers.update(HEADERS)
        return answer


def add_page(app: FastAPI) -> None:
    """Serve the page."""
    app.mount("/studio", _Files(directory=FOLDER), name="studio")

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    def studio() -> FileResponse:
        """Show the studio."""
        return FileResponse(FOLDER / "index.html", headers=HEADERS)
