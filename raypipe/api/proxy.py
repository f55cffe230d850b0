"""What Serve's HTTP proxy is wrapped in: it runs in the proxy, before anything is passed on to a replica."""

from contextlib import ExitStack

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from raypipe.api.answers import OwnAnswers
from raypipe.api.callers import HEALTH_PATHS, is_open
from raypipe.api.commits import listening, until_committed
from raypipe.api.connections import bound_connections
from raypipe.api.failures import failure
from raypipe.api.limits import BodyLimit, without_body
from raypipe.api.shares import Shares, may_open, place_of_request
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
        Middleware(BodiesFirst, settings=settings),
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
    """Passes requests on once their bodies are read: one that is awaited costs no replica, and nobody a turn.

    What shows no key where one is needed is passed on as it comes: it is refused whatever its body says. So are
    questions after health, which have none.

    New videos are refused where as many are being accepted as can be in time: to refuse costs a tenth of accepting. One
    of a key that is not known yet takes no place, as whoever invents keys could take them all.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._under_way = app, 0
        self._keyless = not settings.keys_required
        # a room of their own, so that nobody's films keep vendors' webhooks out
        self._open = BodyLimit(app, settings.max_body_bytes)
        self._keyed = BodyLimit(self._pass_on, settings.max_body_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or tell its client to come again."""
        await self._way_of(scope)(scope, receive, send)

    def _way_of(self, scope: Scope) -> ASGIApp:
        if scope["type"] != "http":
            return self._app
        if scope["path"] in HEALTH_PATHS:
            return self._pass_on_bodiless
        if is_open(scope["path"]):
            return self._open
        return self._keyed if may_open(scope, self._keyless) else self._app

    async def _pass_on_bodiless(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, without_body(receive), send)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST" or scope["path"] != "/v1/videos":
            await self._app(scope, receive, send)
            return
        with ExitStack() as until:
            if _is_known():
                if self._under_way >= MOST_CREATES:
                    message = (
                        f"{MOST_CREATES} videos are being accepted at this moment; come again in a second."
                    )
                    await failure(429, "queue_full", message, headers={"Retry-After": "1"})(
                        scope, receive, send
                    )
                    return
                self._under_way += 1
                until.callback(self._end_create)
            await self._app(listening(scope), receive, until_committed(send, until.close))

    def _end_create(self) -> None:
        self._under_way -= 1


def _is_known() -> bool:
    """Tell whether the key of the request that is worked on has opened something, or none is needed."""
    place = place_of_request()
    return place is None or place.account.pool != "new key"
