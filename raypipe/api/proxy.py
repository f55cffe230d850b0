"""What Serve's HTTP proxy is wrapped in: it runs in the proxy, before anything is passed on to a replica."""

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from raypipe.api.answers import OwnAnswers
from raypipe.api.callers import is_open
from raypipe.api.connections import bound_connections
from raypipe.api.failures import failure
from raypipe.api.limits import BodyLimit
from raypipe.api.origins import SAFE
from raypipe.api.shares import Shares, place_of_request
from raypipe.api.turns import Turns
from raypipe.config import Settings, trust_proxies
from raypipe.errors import NotReady

#: headers that the proxy heeds, whoever sends them
_FOR_SERVE = (b"x-request-timeout-seconds", b"x-request-disconnect-disabled")
#: new videos that a proxy passes on at once: more would wait for each other, until all of them take too long
MOST_CREATES = 8
#: how a proxy's answer ends to a path for which it knows no application
_NO_ROUTE = b"not found. Ping http://.../-/routes for available routes."


def in_proxy() -> list[Middleware]:
    """Return what the proxy is wrapped in; `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH` names this function.

    Serve calls it in the proxy, before it makes the server: so what the server is to do is set here, too.
    """
    settings = Settings()
    bound_connections()
    trust_proxies(settings)
    # Serve wraps the proxy in the first of them first
    return [
        Middleware(RoutesAwaited),
        Middleware(Turns),
        Middleware(BodiesFirst, most_bytes=settings.max_body_bytes),
        Middleware(OwnHeadersAlone),
        Middleware(Shares, settings=settings),
        Middleware(OwnAnswers),
    ]


class OwnHeadersAlone:
    """Takes headers away by which a client would tell Serve's proxy how long to wait for us; it runs in the proxy."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on without them."""
        if scope["type"] == "http":
            kept = [each for each in scope["headers"] if each[0] not in _FOR_SERVE]
            scope = {**scope, "headers": kept}
        await self._app(scope, receive, send)


class RoutesAwaited:
    """Has clients come again to a proxy that was just started and knows no routes: it would say 404 of every film."""

    def __init__(self, app: ASGIApp) -> None:
        self._app, self._knows_routes = app, False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer."""
        own = scope["type"] != "http" or scope["path"].startswith("/-/")
        if self._knows_routes or own:
            await self._app(scope, receive, send)
            return
        held: list[Message] = []

        async def answered(message: Message) -> None:
            if (message["type"] == "http.response.start" and message["status"] == 404) or held:
                held.append(message)
            else:
                self._knows_routes = True
                await send(message)

        await self._app(scope, receive, answered)
        if b"".join(message.get("body", b"") for message in held).endswith(_NO_ROUTE):
            said = "The service is being started; come again in a second."
            answer = failure(503, NotReady.code, said, headers={"Retry-After": "1"})
            await answer(scope, receive, send)
            return
        for message in held:
            self._knows_routes = True
            await send(message)


class BodiesFirst:
    """Passes on what needs no key, and new videos, once their bodies are read: one that is awaited costs no replica.

    New videos are refused where as many are being accepted as can be in time: to refuse costs a tenth of accepting. A
    new video of a key that is not known yet is passed on as it comes, as its key is looked at before its body is read.
    """

    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        self._app, self._under_way = app, 0
        self._with_body = BodyLimit(app, most_bytes)
        # a body that comes slowly holds no place meanwhile
        self._create = BodyLimit(self._bounded, most_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or tell its client to come again."""
        await self._way_of(scope)(scope, receive, send)

    def _way_of(self, scope: Scope) -> ASGIApp:
        if scope["type"] != "http":
            return self._app
        if scope["method"] in SAFE or is_open(scope["path"]):
            return self._with_body
        return self._create if _is_create(scope) else self._app

    async def _bounded(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._under_way >= MOST_CREATES:
            message = f"{MOST_CREATES} videos are being accepted at this moment; come again in a second."
            await failure(429, "queue_full", message, headers={"Retry-After": "1"})(scope, receive, send)
            return
        self._under_way += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way -= 1


def _is_create(scope: Scope) -> bool:
    """Tell whether a request is a new video's; one that waits for its video would hold a place all the while."""
    if scope["method"] != "POST" or scope["path"] != "/v1/videos":
        return False
    place = place_of_request()
    if place is not None and place.account.pool == "new key":
        return False
    return all(name != b"prefer" for name, _ in scope["headers"])
