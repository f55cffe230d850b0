"""How much of the service one caller may use at once: a share for each key, and for each address without one."""

import hashlib
import ipaddress
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from raypipe.api.callers import HEALTH_PATHS, bearer_in, cookie_in, is_local, is_open
from raypipe.api.failures import failure
from raypipe.api.origins import SAFE
from raypipe.config import Settings
from raypipe.journal.keys import PREFIX

#: what a request counts in: its key's share; that of an address with keys not yet known to open anything; that of an
#: address without a key; that of an address that sends vendors' webhooks; that of an address that asks for health
Pool = Literal["key", "new key", "address", "hooks", "health"]
#: requests under way of one caller in a pool; in the others the settings say how many
CALLER_SHARES: dict[Pool, int] = {"new key": 64, "hooks": 64, "health": 64}
#: requests under way of all callers in a pool
POOL_SIZES: dict[Pool, int] = {"key": 6_000, "address": 2_000, "new key": 640, "hooks": 640, "health": 640}
#: requests that a deployment of the service has to bear: what shares do not refuse never waits for a place there
ALL_REQUESTS = 10_000
#: keys that are remembered to have opened something, and for how many seconds
KEYS_REMEMBERED, KEY_SECONDS = 10_000, 600.0
#: where Serve's proxy itself says how it is
_OF_SERVE = "/-/"
_HOOKS = "/v1/hooks/"


class Account(NamedTuple):
    """What a request counts in: a pool, and in it the digest of a key or an address."""

    pool: Pool
    name: str


class Place:
    """A request's place in its caller's share; it is held until nobody works on the request any more."""

    def __init__(self, shares: "Shares", account: Account) -> None:
        self._shares, self.account, self._holders = shares, account, 1

    def hold(self) -> None:
        """Keep the place for one more who works on the request."""
        self._holders += 1

    def release(self) -> None:
        """Give the place back when the last who holds it has released it."""
        self._holders -= 1
        if not self._holders:
            self._shares.give_back(self.account)

    def move(self, account: Account) -> None:
        """Count the request in another share from now on."""
        if self._holders and account != self.account:
            self._shares.give_back(self.account)
            self._shares.count(account)
            self.account = account


#: the place of the request that is worked on
_PLACE: ContextVar[Place | None] = ContextVar("place", default=None)


def place_of_request() -> Place | None:
    """Return the place of the request that the current task works on; None outside of shares."""
    return _PLACE.get()


class Shares:
    """Refuses a request at once where its caller has as many under way as one may, or all callers have.

    A request counts until its answer is complete, as an event stream does until it ends or its client hangs up. Health
    and vendors' webhooks have shares of their own, so nobody's requests keep them out. A key that nobody knows yet
    counts for its address: who invents keys gets no share for each.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._share = settings.requests_per_caller
        self._keyless = not settings.keys_required
        self._under_way: Counter[Account] = Counter()
        self._in_pool: Counter[Pool] = Counter()
        self._keys = KnownKeys()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        secret = secret_in(scope, self._keyless)
        account = self._account(scope, secret)
        if (refusal := self._refusal(account)) is not None:
            status, code, message = refusal
            await failure(status, code, message, headers={"Retry-After": "1"})(scope, receive, send)
            return
        with self._placed(account) as place:
            await self._app(scope, receive, self._watched(send, secret, place))

    def count(self, account: Account) -> None:
        """Count one more request."""
        self._under_way[account] += 1
        self._in_pool[account.pool] += 1

    def give_back(self, account: Account) -> None:
        """Count one request less."""
        self._in_pool[account.pool] -= 1
        self._under_way[account] -= 1
        if not self._under_way[account]:
            del self._under_way[account]

    @property
    def under_way(self) -> int:
        """How many requests have a place."""
        return self._under_way.total()

    def _account(self, scope: Scope, secret: str | None) -> Account:
        path = scope["path"]
        if scope["method"] in SAFE and (path in HEALTH_PATHS or path.startswith(_OF_SERVE)):
            return Account("health", address_of(scope))
        if path.startswith(_HOOKS):
            return Account("hooks", address_of(scope))
        if secret is None or is_open(path):
            return Account("address", address_of(scope))
        if self._keys.know(secret):
            return Account("key", _digest(secret))
        return Account("new key", address_of(scope))

    def _refusal(self, account: Account) -> tuple[int, str, str] | None:
        share = CALLER_SHARES.get(account.pool, self._share)
        if self._under_way[account] >= share:
            whose = "this key" if account.pool == "key" else "this address"
            message = f"{share} requests of {whose} are under way, as many as may be; come again when one has ended."
            return 429, "too_many_requests", message
        if self._in_pool[account.pool] >= POOL_SIZES[account.pool]:
            return (
                503,
                "service_busy",
                "As many requests are under way as the service bears; come again soon.",
            )
        return None

    @contextmanager
    def _placed(self, account: Account) -> Iterator[Place]:
        self.count(account)
        place = Place(self, account)
        token = _PLACE.set(place)
        try:
            yield place
        finally:
            _PLACE.reset(token)
            place.release()

    def _watched(self, send: Send, secret: str | None, place: Place) -> Send:
        """Return a `send` that learns from the answer whether a key opens anything."""
        if secret is None or place.account.pool not in ("key", "new key"):
            return send

        async def send_and_learn(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._learn(secret, place, message["status"])
            await send(message)

        return send_and_learn

    def _learn(self, secret: str, place: Place, status: int) -> None:
        if status == 401:
            self._keys.forget(secret)
        elif status < 400:  # other refusals may come before the key was looked at
            self._keys.learn(secret)
            place.move(Account("key", _digest(secret)))


class KnownKeys:
    """Remembers the digests of keys that have opened something lately."""

    def __init__(self) -> None:
        self._until: OrderedDict[str, float] = OrderedDict()

    def know(self, secret: str) -> bool:
        """Tell whether a key has opened something lately."""
        return self._until.get(_digest(secret), 0.0) > time.monotonic()

    def learn(self, secret: str) -> None:
        """Remember a key."""
        self._until[_digest(secret)] = time.monotonic() + KEY_SECONDS
        self._until.move_to_end(_digest(secret))
        if len(self._until) > KEYS_REMEMBERED:
            self._until.popitem(last=False)

    def forget(self, secret: str) -> None:
        """Forget a key that opens nothing any more."""
        self._until.pop(_digest(secret), None)


def secret_in(scope: Scope, keyless: bool) -> str | None:
    """Return what a request shows as a key of raypipe's; None if it shows none, or a cookie where it needs none."""
    headers = dict(scope["headers"])
    secret = bearer_in(headers)
    if secret is None and not (keyless and is_local(scope, headers)):
        secret = cookie_in(headers)
    return secret if secret is not None and secret.startswith(PREFIX) else None


def may_open(scope: Scope, keyless: bool) -> bool:
    """Tell whether a request shows what may open something, or comes from where no key is needed."""
    return secret_in(scope, keyless) is not None or (keyless and is_local(scope, dict(scope["headers"])))


def address_of(scope: Scope) -> str:
    """Return the address that a request comes from; of IPv6 the network of 64 bits, which one caller has to itself."""
    host = str((scope.get("client") or ("",))[0])
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host[:64]
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address), 64), strict=False))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
