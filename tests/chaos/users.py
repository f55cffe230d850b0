"""What users do over HTTP while everything is being killed: each has a video made, and changes their mind."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from tests.chaos.account_limits import MODELS
from tests.chaos.installation import Installation

#: seconds within which a video has to come to its end, kills and all
PATIENCE = 420.0
#: seconds for which a user bears that nobody knows what became of a create
DOUBT = 90.0
#: times that a user tries a failed video again
TRIES = 4
OVER = ("completed", "partial", "failed", "cancelled")


class Stuck(Exception):
    """A video does not come to its end, or the service does not answer any more."""


class User:
    """Somebody who has a video made; what is not answered is asked again."""

    def __init__(self, installation: Installation, client: httpx.AsyncClient, chosen: random.Random) -> None:
        self._installation, self._client, self._chosen = installation, client, chosen

    async def live(self, number: int) -> str:
        """Have a video made, do something with it, and return how it ended."""
        does: list[tuple[int, Callable[[str], Awaitable[None]]]] = [
            (8, self._wait), (3, self._cancel), (3, self._approve), (4, self._edit), (1, self._delete),
        ]  # fmt: skip
        weights, plans = zip(*does, strict=True)
        (plan,) = self._chosen.choices(plans, weights)
        until = {"until": "storyboard"} if plan == self._approve else {}
        models = {kind: list(names) for kind, names in MODELS.items()}
        body = {"prompt": f"A lighthouse in storm {number}", "seconds": 30, "size": "320x180", "seed": number}
        key = {"Idempotency-Key": f"film {number}"} if self._chosen.random() < 0.5 else {}
        request = {**body, "models": models, **until}
        answer = await self._ask("POST", "/v1/videos", json=request, headers=key)
        video_id = str(answer.json()["id"])
        self._installation.accepted.add(video_id)
        await plan(video_id)
        return str((await self._shown(video_id)).get("state", "deleted"))

    async def _wait(self, video_id: str) -> None:
        await self._made(video_id)

    async def _cancel(self, video_id: str) -> None:
        await asyncio.sleep(self._chosen.uniform(0, 8))
        await self._ask("POST", f"/v1/videos/{video_id}/cancel", may_be=(202, 409))
        await self._reached(video_id, OVER)
        then = self._chosen.random()
        if then < 0.3:
            await self._change(video_id, {"prompt": "A ship that turns back"})
        if then < 0.6:
            await self._made(video_id)

    async def _approve(self, video_id: str) -> None:
        if await self._reached(video_id, (*OVER, "waiting")) == "waiting" and self._chosen.random() < 0.5:
            await self._change(video_id, {"prompt": "A ship that sinks"})
            await self._reached(video_id, (*OVER, "waiting"))
        await self._ask("POST", f"/v1/videos/{video_id}/continue", may_be=(202, 409))
        await self._made(video_id)

    async def _edit(self, video_id: str) -> None:
        await self._made(video_id)
        beat = await self._change(video_id, {"prompt": "A whale that sings"})
        await self._made(video_id)
        if self._chosen.random() < 0.5:
            await self._ask(
                "POST", f"/v1/videos/{video_id}/beats/{beat}", json={"take": 1}, may_be=(202, 409)
            )
            await self._made(video_id)

    async def _change(self, video_id: str, change: dict[str, str]) -> int:
        beat = self._chosen.randrange(6)
        await self._ask("POST", f"/v1/videos/{video_id}/beats/{beat}", json=change, may_be=(202, 409))
        return beat

    async def _delete(self, video_id: str) -> None:
        await self._made(video_id)
        self._installation.deleted.add(video_id)
        await self._ask("DELETE", f"/v1/videos/{video_id}", may_be=(200, 404))

    async def _made(self, video_id: str) -> None:
        """Wait for a video's end, approve it where it waits for that, and try it again while it failed."""
        for tried in range(TRIES):
            state = await self._reached(video_id, (*OVER, "waiting"))
            if state == "completed":
                return
            again = {"resubmit": "true"} if tried == TRIES - 2 else {}
            act, params = ("continue", {}) if state == "waiting" else ("retry", again)
            await self._ask("POST", f"/v1/videos/{video_id}/{act}", params=params, may_be=(202, 409))
        await self._reached(video_id, (*OVER, "waiting"))

    async def _reached(self, video_id: str, states: tuple[str, ...]) -> str:
        """Wait for a state; a video that is held because nobody knows what became of a create is cancelled."""
        began = time.monotonic()
        bears_until = began + DOUBT
        while time.monotonic() < began + PATIENCE:
            state = str((await self._shown(video_id)).get("state"))
            if state in states:
                return state
            if time.monotonic() > bears_until and await self._is_in_doubt(video_id):
                await self._ask("POST", f"/v1/videos/{video_id}/cancel", may_be=(202, 409))
                bears_until += DOUBT
            await asyncio.sleep(0.7)
        raise Stuck(f"{video_id} is {state} after {PATIENCE:g} s")

    async def _is_in_doubt(self, video_id: str) -> bool:
        """Tell whether it is not known what became of the create of an image or clip."""
        beats = (await self._shown(video_id)).get("beats", ())
        return any("unknown" in (beat["image"]["state"], beat["chunk"]["state"]) for beat in beats)

    async def _shown(self, video_id: str) -> dict[str, Any]:
        answer = await self._ask("GET", f"/v1/videos/{video_id}", may_be=(200, 404))
        return dict(answer.json())

    async def _ask(
        self, method: str, path: str, may_be: tuple[int, ...] = (202,), **more: Any
    ) -> httpx.Response:
        """Ask until there is an answer: the service may be dead, the journal locked, the disk full."""
        deadline, said = time.monotonic() + PATIENCE, "no answer"
        while time.monotonic() < deadline:
            try:
                answer = await self._client.request(method, path, **more)
                if answer.status_code in may_be:
                    return _in_our_shape(answer)
                said = f"{answer.status_code} {answer.text[:200]}"
                if answer.status_code in (400, 404, 422):
                    break
            except httpx.HTTPError as error:
                said = repr(error)
            await asyncio.sleep(0.5)
        raise Stuck(f"{method} {path}: {said}")


def _in_our_shape(answer: httpx.Response) -> httpx.Response:
    """Return an answer that is JSON, as all of ours are.

    Raises:
        Stuck: It is not: it is Serve's, where it should be ours.
    """
    if answer.headers.get("content-type") != "application/json":
        raise Stuck(f"{answer.request.url} answered {answer.status_code}: {answer.text[:200]!r}")
    return answer


async def everybody(
    installation: Installation, seed: int, at_once: int, goes_on: Callable[[int], bool]
) -> list[str]:
    """Have users come, so many at once, as long as `goes_on` with their number; returns how their videos ended."""
    ends: list[str] = []
    numbers = iter(range(1_000_000))
    async with httpx.AsyncClient(base_url=installation.url, timeout=20) as client:

        async def seat() -> None:
            while goes_on(number := next(numbers)):
                user = User(installation, client, random.Random(f"{seed}/{number}"))
                try:
                    ends.append(await user.live(number))
                except Stuck as stuck:
                    ends.append(f"stuck: {stuck}")

        await asyncio.gather(*(seat() for _ in range(at_once)))
    return ends
