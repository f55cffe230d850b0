"""A simulated provider that ends, or blocks, the process that calls it."""

import os
import signal
import time
from typing import ClassVar, Literal

from pydantic import Field

from raypipe.providers.base import Delivery, Pending, Work
from raypipe.providers.simulated import SimulatedOptions, SimulatedProvider

Moment = Literal["before create", "after create", "polling", "before delivery", "blocking"]


class FragileOptions(SimulatedOptions):
    """As the simulated provider's."""

    #: when to kill, by step
    kill: dict[str, Moment] = Field(default_factory=dict)
    #: how often each step does
    times: int = 1


class FragileProvider(SimulatedProvider):
    """Kills its process at some moment of a step, so many times; the kills are noted beside the ledger."""

    name: ClassVar[str] = "fragile"
    Options = FragileOptions

    async def submit(self, work: Work, token: str) -> str:
        self._kill(work, "before create")
        job_id = await super().submit(_plain(work), token)
        self._kill(work, "after create")
        return job_id

    async def poll(self, job_id: str, work: Work) -> Delivery | Pending:
        self._kill(work, "polling")
        if self._is_due(work, "blocking"):
            time.sleep(60)
        reply = await super().poll(job_id, _plain(work))
        if isinstance(reply, Delivery):
            self._kill(work, "before delivery")
        return reply

    async def find(self, work: Work, token: str) -> str | None:
        return await super().find(_plain(work), token)

    def _kill(self, work: Work, moment: Moment) -> None:
        if self._is_due(work, moment):
            os.kill(os.getpid(), signal.SIGKILL)

    def _is_due(self, work: Work, moment: Moment) -> bool:
        options = FragileOptions.model_validate(work.options)
        ledger = self.context.settings.simulated_ledger
        if options.kill.get(work.step) != moment or ledger is None:
            return False
        kills = ledger.with_name("kills")
        line = f"{work.job.video_id} {work.step}\n"
        before = kills.read_text().count(line) if kills.exists() else 0
        if before >= options.times:
            return False
        with kills.open("a") as file:
            file.write(line)
        return True


def _plain(work: Work) -> Work:
    options = {name: value for name, value in work.options.items() if name not in ("kill", "times")}
    job = work.job.model_copy(update={"options": {FragileProvider.name: options}})
    return work.model_copy(update={"job": job})
