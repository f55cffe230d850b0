"""Which pages may use the service: its own. A form on any web page can post to this machine, and spend money there."""

import ipaddress
import socket
from functools import cache
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from raypipe.api.failures import failure
from raypipe.config import Settings

#: methods that change nothing
SAFE = ("GET", "HEAD", "OPTIONS")


class OwnPagesOnly:
    """Refuses what a browser sends on behalf of other pages, and requests for hosts that this service is not.

    The second is what a page does whose own name was made to point here (DNS rebinding): to the browser it is then one
    of ours.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        public = urlsplit(settings.public_url or "").hostname
        self._hosts = {*map(str.lower, settings.hosts), *([public] if public else [])}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "http":
            headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
            host = headers.get(b"host", "")
            if not self._is_ours(host):
                message = f"This service is not known as {host!r}; name it in RAYPIPE_HOSTS if it is."
                await failure(421, "unknown_host", message)(scope, receive, send)
                return
            if scope["method"] not in SAFE and _is_foreign(headers, host):
                message = "This request comes from a page of another site."
                await failure(403, "foreign_origin", message)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_ours(self, host: str) -> bool:
        name = _name_of(host)
        return name is not None and (_is_address(name) or name in self._hosts or name in _own_names())


def _is_foreign(headers: dict[bytes, str], host: str) -> bool:
    """Tell whether a browser says that a page of another site sends this; what is no browser says nothing."""
    if headers.get(b"sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return True
    origin = headers.get(b"origin")
    return origin is not None and _place_of(origin) != host


def _place_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _name_of(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


@cache
def _own_names() -> frozenset[str]:
    name = socket.gethostname().lower()
    return frozenset({"localhost", name, f"{name}.local"})
