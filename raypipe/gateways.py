"""The gateways of an installation: found or started by name, shared by its coordinators, ended by the last of them.

Their names say installation, code and settings, because an actor that is found by its name has the code and settings of
whoever started it. A coordinator of newer code starts gateways of its own, and ends the old ones once they are idle.
"""

import asyncio
import hashlib
import logging
from functools import cache
from pathlib import Path
from typing import Any

import ray
from ray._private.state import actors
from ray.exceptions import GetTimeoutError, RayError
from ray.util import list_named_actors

from raypipe.config import Settings
from raypipe.cpu_work import rehearse
from raypipe.errors import GatewaySilent
from raypipe.gateway import Gateway
from raypipe.patience import SILENT_SECONDS, Patience
from raypipe.workers import NAMESPACE, Helpers, detached

logger = logging.getLogger(__name__)

#: gateways where nothing else is set: with a second one a burst of videos is made in three quarters of the time
GATEWAYS = 2
#: calls that may wait on a gateway at once
CALLS = 20_000
#: seconds for which each look waits for the answer of a gateway
ANSWER_SECONDS = SILENT_SECONDS
#: seconds that gateways get to finish what they are writing, before they are killed
STOP_SECONDS = 5.0
#: seconds for which gateways of older code must have had nothing to do, before they are ended
IDLE_SECONDS = 30.0


class Gateways:
    """Handles of the gateways and their helpers; each is started when it is first needed.

    Args:
        settings: Of the installation.
        installation: Names it; names of actors begin with it.
        number: How many gateways share its videos.
        helpers: How many helpers they share; None for as many as suit the cluster.
    """

    def __init__(self, settings: Settings, installation: str, number: int, helpers: int | None) -> None:
        self._settings, self._installation, self._number = settings, installation, number
        self._family = f"{installation}/{_code_and(settings)}"
        self.helpers = Helpers.suiting(self._family) if helpers is None else Helpers(self._family, helpers)
        self._node = ray.get_runtime_context().get_node_id()
        self._started: dict[int, Any] = {}
        self._patience: dict[int, Patience] = {}

    def of(self, video_id: str) -> Any:
        """Return the gateway that makes a video: for every coordinator the same."""
        return self._gateway(int(hashlib.sha256(video_id.encode()).hexdigest()[:8], 16) % self._number)

    def _gateway(self, number: int) -> Any:
        if number not in self._started:
            name, made_with = f"{self._family}/gateway-{number}", (self._settings, self.helpers, self._family)
            self._started[number] = detached(Gateway, name, self._node, CALLS, *made_with, retries=-1)
            self._patience.setdefault(number, Patience())
        return self._started[number]

    def forget(self, gateway: Any) -> None:
        """Look a gateway up anew, or start it, when it is next needed: this one was ended for good."""
        self._started = {number: each for number, each in self._started.items() if each is not gateway}

    async def ready(self, every: bool) -> None:
        """Return when gateways and helpers take calls: those of some video, or every one.

        Raises:
            JournalUnavailable: A gateway cannot open the journal.
            ArtifactStoreUnavailable: There can be no such store.
        """
        gateways = [self._gateway(number) for number in (range(self._number) if every else self._started)]
        await asyncio.gather(self.helpers.ready(rehearse), *(each.ready.remote() for each in gateways))

    async def check(self) -> None:
        """Return if all gateways that were started answer or are being started; one that is silent is started again.

        Raises:
            GatewaySilent: One does not answer in time, and is started again.
            RayError: The process of one is gone for good.
        """
        await asyncio.gather(*map(self._check, list(self._started)))

    async def _check(self, number: int) -> None:
        gateway, patience = self._started[number], self._patience[number]
        if await self._answers(number, ANSWER_SECONDS):
            return
        if not await asyncio.to_thread(_is_there, gateway):
            patience.note_death()
        if patience.starts and not patience.is_over:
            return
        message = f"Gateway {number} has not answered for {patience.silent_seconds:.0f} s"
        if patience.is_over:
            message += " and is started again"
            patience.note_end()
            ray.kill(gateway, no_restart=False)
        logger.error("%s", message)
        raise GatewaySilent(message)

    async def _answers(self, number: int, seconds: float) -> bool:
        gateway = self._started[number]
        try:
            async with asyncio.timeout(seconds):
                await gateway.answers.remote()
        except TimeoutError:
            return False
        except RayError:
            self.forget(gateway)
            raise
        self._patience[number].note_answer()
        return True

    async def why_not_ready(self, seconds: float) -> str | None:
        """Say which gateway does not answer within so many seconds, and how it stands; None if all answer.

        Raises:
            RayError: The process of one is gone for good.
        """
        numbers = list(self._started)
        answers = await asyncio.gather(*(self._answers(number, seconds) for number in numbers))
        for number, answered in zip(numbers, answers, strict=True):
            if not answered:
                patience = self._patience[number]
                how = "is being started" if patience.starts else "has not answered"
                return f"gateway {number} {how}, for {patience.silent_seconds:.0f} s now"
        return None

    async def end(self) -> None:
        """End all actors of the installation, once what they did up to now is in the journal."""
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await asyncio.gather(*(gateway.stop.remote() for gateway in self._started.values()))
        except (RayError, TimeoutError) as error:
            logger.info("The gateways did not stop by themselves and are killed: %s", error)
        await asyncio.to_thread(_kill, f"{self._installation}/")

    async def retire_older(self) -> None:
        """End gateways of the installation that were started by other code or with other settings, once idle."""
        older = _names(f"{self._installation.partition('-')[0]}-", but=f"{self._family}/")
        await asyncio.gather(*(_retire(name) for name in older if "/gateway-" in name))
        for name in older:
            await asyncio.to_thread(_kill, name)


def _is_there(gateway: Any) -> bool:
    """Tell whether Ray has a process for a gateway: while it is being started again, for one that died, it has none."""
    return bool(actors(gateway._actor_id.hex()).get("State") == "ALIVE")


async def _retire(name: str) -> None:
    if (gateway := _found(name)) is not None:
        try:
            await gateway.idle.remote(IDLE_SECONDS)
            await gateway.stop.remote()
        except RayError as error:
            logger.info("Older gateway %s: %s", name, error)
        await asyncio.to_thread(_kill, name)


def _kill(prefix: str) -> None:
    for name in _names(prefix):
        if (actor := _found(name)) is not None:
            ray.kill(actor)


def _names(prefix: str, but: str = "/") -> list[str]:
    try:
        found = [
            each["name"] for each in list_named_actors(all_namespaces=True) if each["namespace"] == NAMESPACE
        ]
    except (RayError, GetTimeoutError) as error:
        logger.info("The cluster's actors cannot be listed: %s", error)
        return []
    return [name for name in found if name.startswith(prefix) and not name.startswith(but)]


def _found(name: str) -> Any:
    try:
        return ray.get_actor(name, namespace=NAMESPACE)
    except ValueError:
        return None


def _code_and(settings: Settings) -> str:
    # by whatever name a coordinator knows the cluster: it is the same
    said = settings.model_dump_json(exclude={"ray_address"})
    return hashlib.sha256((_code() + said).encode()).hexdigest()[:12]


@cache
def _code() -> str:
    """Digest raypipe's source: what a gateway was started from."""
    root = Path(__file__).parent
    sources = b"".join(path.read_bytes() for path in sorted(root.rglob("*.py")))
    return hashlib.sha256(sources).hexdigest()
