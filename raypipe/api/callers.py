"""Who calls: somebody on this machine, who needs no key, or a tenant by its key."""

import asyncio
import ipaddress
import time
from http.cookies import CookieError, SimpleCookie
from typing import Annotated, NamedTuple

from fastapi import Depends, FastAPI, Request, Response
from fastapi import Path as PathParameter
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Receive, Scope, Send

from raypipe.api.failures import failure
from raypipe.config import Settings
from raypipe.errors import NotAuthenticated, RaypipeError, VideoNotFound
from raypipe.journal import LOCAL_TENANT, ApiKey, Journal
from raypipe.journal.keys import PREFIX

#: cookie by which the studio page shows its key, as pictures and films are asked for without headers of ours
COOKIE = "raypipe_key"
#: seconds for which a key that was found is not looked up again, and so goes on opening once it is revoked
REMEMBERED = 2.0
#: longest text that is looked up as a key
_LONGEST = 200
#: where probes ask how the service is
HEALTH_PATHS = ("/healthz", "/readyz")
#: what opens nothing: the page, which asks for a key, the description of the API, health, and vendors' signed hooks
_OPEN = ("/studio/", "/static-offline-docs/", "/v1/hooks/")
_OPEN_PATHS = ("/", "/docs", "/redoc", "/openapi.json", *HEALTH_PATHS, "/v1/session")
#: headers by which a proxy says that it asks for somebody else
_FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip", b"via")


class Caller(NamedTuple):
    """Who calls."""

    tenant: str
    #: the key that was shown; none is needed on this machine
    key: ApiKey | None = None


class KnownCallers:
    """Passes on requests of callers that are known, and says in their scope whose they are; refuses others."""

    def __init__(self, app: ASGIApp, settings: Settings, journal: Journal) -> None:
        self._app, self._journal = app, journal
        self._keyless = not settings.keys_required
        self._found: dict[str, tuple[float, ApiKey]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http" or is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            caller = await self._caller(scope)
        except NotAuthenticated as error:
            headers = {"WWW-Authenticate": 'Bearer realm="raypipe"'}
            await failure(401, error.code, str(error), headers=headers)(scope, receive, send)
            return
        except RaypipeError as error:
            await failure(503, error.code, str(error), headers={"Retry-After": "5"})(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = caller
        await self._app(scope, receive, send)

    async def _caller(self, scope: Scope) -> Caller:
        headers = dict(scope["headers"])
        needs_none = self._keyless and is_local(scope, headers)
        shown = bearer_in(headers)
        secret = shown or cookie_in(headers)
        # others' clients send something even where no key is needed
        if secret is not None and secret.startswith(PREFIX):
            if (key := await self._key(secret)) is not None:
                return Caller(key.tenant, key)
            if shown is not None or not needs_none:  # a cookie may be of another installation on this machine
                raise NotAuthenticated("This key is unknown or revoked.")
        if needs_none:
            return Caller(LOCAL_TENANT)
        raise NotAuthenticated(
            "Send a key as `Authorization: Bearer rp_...`. Where the service runs `raypipe keys create NAME` makes one."
        )

    async def _key(self, secret: str) -> ApiKey | None:
        at, key = self._found.get(secret, (0.0, None))
        if key is not None and time.monotonic() - at < REMEMBERED:
            return key
        self._found.pop(secret, None)
        key = await asyncio.to_thread(self._journal.keys.opened_by, secret)
        if key is not None:
            self._found[secret] = time.monotonic(), key
        return key


def is_open(path: str) -> bool:
    """Tell whether a path is answered whoever calls."""
    return path in _OPEN_PATHS or path.startswith(_OPEN)


def bearer_in(headers: dict[bytes, bytes]) -> str | None:
    """Return what a request shows as a bearer token."""
    scheme, _, secret = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    found = secret.strip()
    return found if scheme.lower() == "bearer" and 0 < len(found) <= _LONGEST else None


def cookie_in(headers: dict[bytes, bytes]) -> str | None:
    """Return the key that the studio page shows in its cookie."""
    try:
        found = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1")).get(COOKIE)
    except CookieError:
        return None
    return found.value if found is not None and 0 < len(found.value) <= _LONGEST else None


def is_local(scope: Scope, headers: dict[bytes, bytes]) -> bool:
    """Tell whether a request comes from this machine, and for nobody elsewhere."""
    if any(name in headers for name in _FORWARDED):
        return False
    try:
        address = ipaddress.ip_address(str((scope.get("client") or ("",))[0]))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


async def caller_of(request: Request) -> Caller:
    """Return who calls; not in a thread, which FastAPI would start anew for each request under Serve."""
    return _caller(request)


def _caller(request: Request) -> Caller:
    found: Caller = request.state.caller
    return found


class Session(BaseModel):
    """What opens the studio page from elsewhere."""

    model_config = ConfigDict(extra="forbid")

    key: str = Field(
        min_length=1, max_length=_LONGEST, description="A key, as `raypipe keys create` shows it."
    )


def add_sessions(app: FastAPI, settings: Settings, journal: Journal) -> None:
    """Add how the page shows its key."""

    @app.post("/v1/session", status_code=204, tags=["service"])
    async def open_session(body: Session, request: Request) -> Response:
        """Keep a key in a cookie, for pages of this service alone; scripts cannot read it."""
        if await asyncio.to_thread(journal.keys.opened_by, body.key) is None:
            raise NotAuthenticated("This key is unknown or revoked.")
        answer = Response(status_code=204)
        secure = request.url.scheme == "https" or (settings.public_url or "").startswith("https:")
        answer.set_cookie(
            COOKIE, body.key, httponly=True, samesite="strict", secure=secure, max_age=30 * 86_400
        )
        return answer

    @app.delete("/v1/session", status_code=204, tags=["service"])
    async def close_session() -> Response:
        """Forget the key."""
        answer = Response(status_code=204)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer


_PathId = Annotated[str, PathParameter(max_length=64, pattern=r"^[^\x00]*$", description="The video's id.")]


def _owned(request: Request, video_id: _PathId) -> str:
    """Return the id of a video of the caller's; others' are as if there were none."""
    if request.app.state.journal.tenant_of(video_id) != _caller(request).tenant:
        raise VideoNotFound(video_id)
    return video_id


def _owned_or_deleted(request: Request, video_id: _PathId) -> str:
    """As `_owned`, also of a video that was deleted not long ago."""
    try:
        return _owned(request, video_id)
    except VideoNotFound:
        if request.app.state.journal.tenant_of_deleted(video_id) != _caller(request).tenant:
            raise
        return video_id


Calling = Annotated[Caller, Depends(caller_of)]
VideoId = Annotated[str, Depends(_owned)]
FollowedId = Annotated[str, Depends(_owned_or_deleted)]
