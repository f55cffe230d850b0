"""What users do over HTTP while everything is being killed: each has a video made, and changes their mind."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from raypipe.errors import BudgetReached
from tests.chaos.account_limits import MODELS
from tests.chaos.answers import Answers
from tests.chaos.installation import Installation
from tests.chaos.report import Report

#: seconds within which a video has to come to its end, kills and all
PATIENCE = 420.0
#: seconds for which a user bears that nobody knows what became of a create
DOUBT = 90.0
#: times that a user tries a failed video again
TRIES = 4
#: share of users who give a budget, and what it is at first, in US dollars: a film's price and a clip more; and what it
#: is raised by where that does not do
WITH_BUDGET, BUDGET, MORE_BUDGET = 0.3, 2.1, 1.0
OVER = ("completed", "partial", "failed", "cancelled")


class Stuck(Exception):
    """A video does not come to its end, or the service does not answer any more."""


class User:
    """Somebody who has a video made; what is not answered is asked again, and every answer is judged."""

    def __init__(
        self,
        installation: Installation,
        client: httpx.AsyncClient,
        chosen: random.Random,
        note: Callable[[str], None],
    ) -> None:
        self._installation, self._client, self._chosen = installation, client, chosen
        self._answers = Answers(note)
        #: the video, from when it is known to be accepted until it is deleted
        self._there: str | None = None
        self._budget = BUDGET if chosen.random() < WITH_BUDGET else None

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
        budget = {} if self._budget is None else {"budget": self._budget}
        request = {**body, "models": models, **until, **budget}
        answer = await self._ask("POST", "/v1/videos", json=request, headers=key)
        video_id = str(answer.json()["id"])
        self._installation.accepted.add(video_id)
        self._there = video_id
        await plan(video_id)
        state = str((await self._shown(video_id)).get("state", "deleted"))
        if state == "completed":
            await self._ask("GET", f"/v1/videos/{video_id}/content", may_be=(200,))
        return state

    async def listen(self) -> None:
        """Have a webhook be told what becomes of all videos."""
        await self._ask("POST", "/v1/webhooks", json={"url": self._installation.listener.url}, may_be=(201,))

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
        await self._go_on(video_id)
        await self._made(video_id)

    async def _edit(self, video_id: str) -> None:
        await self._made(video_id)
        beat = await self._change(video_id, {"prompt": "A whale that sings"})
        await self._made(video_id)
        if self._chosen.random() < 0.5:
            await self._edited(video_id, beat, {"take": 1})
            await self._made(video_id)

    async def _change(self, video_id: str, change: dict[str, Any]) -> int:
        beat = self._chosen.randrange(6)
        await self._edited(video_id, beat, change)
        return beat

    async def _edited(self, video_id: str, beat: int, change: dict[str, Any]) -> None:
        """Have a beat made anew, where the budget has room for it."""
        self._answers.changes(video_id)
        await self._ask("POST", f"/v1/videos/{video_id}/beats/{beat}", json=change, may_be=self._may_be)
        self._answers.changes(video_id)

    async def _delete(self, video_id: str) -> None:
        await self._made(video_id)
        self._installation.deleted.add(video_id)
        self._there = None
        await self._ask("DELETE", f"/v1/videos/{video_id}", may_be=(200, 404))

    async def _made(self, video_id: str) -> None:
        """Wait for a video's end, approve it where it waits for that, and try it again while it failed."""
        for tried in range(TRIES):
            state = await self._reached(video_id, (*OVER, "waiting"))
            if state == "completed":
                return
            again = {"resubmit": "true"} if tried == TRIES - 2 else {}
            if state == "waiting":
                await self._go_on(video_id)
            else:
                await self._ask("POST", f"/v1/videos/{video_id}/retry", params=again, may_be=(202, 409))
        await self._reached(video_id, (*OVER, "waiting"))

    async def _go_on(self, video_id: str) -> None:
        """Approve a storyboard, or give more money where that is what the video waits for."""
        error, params = (await self._shown(video_id)).get("error") or {}, {}
        if self._budget is not None and error.get("code") == BudgetReached.code:
            self._budget += MORE_BUDGET
            params = {"budget": self._budget}
        await self._ask("POST", f"/v1/videos/{video_id}/continue", params=params, may_be=self._may_be)

    @property
    def _may_be(self) -> tuple[int, ...]:
        """How a change may be answered: 422 says that the budget has no room for it."""
        return (202, 409) if self._budget is None else (202, 409, 422)

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
                self._answers.judge(answer, self._there)
                if answer.status_code in may_be:
                    return answer
                said = f"{answer.status_code} {answer.text[:200]}"
                if answer.status_code in (400, 404, 422):
                    break
            except httpx.HTTPError as error:
                said = repr(error)
            await asyncio.sleep(0.5)
        raise Stuck(f"{method} {path}: {said}")


async def everybody(
    installation: Installation, seed: int, at_once: int, goes_on: Callable[[int], bool], report: Report
) -> None:
    """Have users come, so many at once, as long as `goes_on` with their number, and report how their videos end."""
    numbers = iter(range(1_000_000))
    async with httpx.AsyncClient(base_url=installation.url, timeout=20) as client:
        listening = User(installation, client, random.Random(seed), report.problem)
        await listening.listen()

        async def seat() -> None:
            while goes_on(number := next(numbers)):
                user = User(installation, client, random.Random(f"{seed}/{number}"), report.problem)
                try:
                    report.ended(await user.live(number))
                except Stuck as stuck:
                    report.ended("stuck")
                    report.problem(f"stuck: {stuck}")
                except Exception as error:  # noqa: BLE001 - the others go on, and the report says it
                    report.ended("unknown")
                    report.failed(f"user {number}", error)

        await asyncio.gather(*(seat() for _ in range(at_once)))
