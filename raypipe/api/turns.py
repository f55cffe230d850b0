"""Whose requests Serve's proxy passes on when: so many of one caller's at a time."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from raypipe.api.shares import Account, place_of_request

#: requests of one caller that a proxy has passed on and of which nothing has come back yet
TURNS = 16


class Turns:
    """Passes on so many requests of one caller at a time until they are answered; more wait, and nobody else for them.

    A caller that opens hundreds of event streams at once would otherwise keep the service busy for seconds. The turn of
    a request that asks to be answered late ends when it is said to be committed. Bodies are read before: one that comes
    slowly would keep its turn from the caller's others.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._turns: dict[Account, asyncio.Semaphore] = {}
        self._waiting: Counter[Account] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on when it is its turn."""
        place = place_of_request()
        if place is None:
            await self._app(scope, receive, send)
            return
        with self._turns_of(place.account) as turns:
            await turns.acquire()
            turn = _Turn(turns)
            try:
                await self._app(scope, receive, turn.until_answered(send))
            finally:
                turn.end()

    @contextmanager
    def _turns_of(self, account: Account) -> Iterator[asyncio.Semaphore]:
        turns = self._turns.setdefault(account, asyncio.Semaphore(TURNS))
        self._waiting[account] += 1
        try:
            yield turns
        finally:
            self._waiting[account] -= 1
            if not self._waiting[account]:
                del self._waiting[account], self._turns[account]


class _Turn:
    """One request's turn, which ends once, when the request is answered."""

    def __init__(self, turns: asyncio.Semaphore) -> None:
        self._turns: asyncio.Semaphore | None = turns

    def until_answered(self, send: Send) -> Send:
        """Return a `send` that ends the turn when the answer begins, or with a word that comes before it."""

        async def send_and_end(message: Message) -> None:
            self.end()
            await send(message)

        return send_and_end

    def end(self) -> None:
        """End the turn, if it has not ended yet."""
        if self._turns is not None:
            self._turns.release()
            self._turns = None
