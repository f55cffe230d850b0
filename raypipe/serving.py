"""raypipe as a Ray Serve application: `serve run raypipe.serving:app`, or `raypipe serve`."""

import asyncio
import logging

from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from raypipe.api import create_app
from raypipe.config import Settings
from raypipe.coordinator import Coordinator
from raypipe.journal import SERVICE
from raypipe.logs import log_to_file_and_stderr
from raypipe.outbox import Outbox

logger = logging.getLogger(__name__)

#: both deployments belong where the journal is: on the head, taking none of its CPUs
ON_HEAD = {"num_cpus": 0, "resources": {"node:__internal_head__": 0.001}}


@serve.deployment(num_replicas=1, ray_actor_options=ON_HEAD, max_ongoing_requests=1_000)
class Coordination:
    """Claims accepted videos and runs them; Serve starts it again if it dies, or if its gateway does not answer."""

    def __init__(self) -> None:
        settings = Settings()
        log_to_file_and_stderr(settings.log_dir)
        self._coordinator = Coordinator(settings, SERVICE)
        loop = asyncio.get_running_loop()
        self._serving = loop.create_task(self._coordinator.serve())
        self._warming = loop.create_task(self._coordinator.ready())
        self._telling = loop.create_task(Outbox(settings, self._coordinator.journal).run())

    async def __del__(self) -> None:
        """Stop in an orderly way; Serve awaits this before it ends the replica."""
        self._warming.cancel()
        self._telling.cancel()
        await asyncio.gather(self._telling, return_exceptions=True)
        await self._coordinator.close()

    async def poke(self) -> None:
        """Look for queued videos now."""
        self._coordinator.poke()

    async def check_health(self) -> None:
        """Tell Serve when no video can be made: the loop that claims them has ended, or the gateway is silent."""
        if self._serving.done():
            self._serving.result()
            raise RuntimeError("the coordinator stopped claiming videos")
        if self._telling.done():
            self._telling.result()
        await self._coordinator.check()


@serve.deployment(num_replicas=1, ray_actor_options=ON_HEAD, max_ongoing_requests=1_000)
@serve.ingress()
class Api:
    """Answers HTTP from the journal; a request that is cut off stops nothing."""

    def __init__(self, coordination: DeploymentHandle) -> None:
        self._coordination = coordination
        self._pokes: set[asyncio.Task[None]] = set()

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Make the app in the replica, where it is used."""
        settings = Settings()
        log_to_file_and_stderr(settings.log_dir)
        return create_app(settings, self._poke)

    def _poke(self) -> None:
        # a task of its own: what a request starts, Serve cancels when the client disconnects
        task = asyncio.get_running_loop().create_task(self._tell_coordination())
        self._pokes.add(task)
        task.add_done_callback(self._pokes.discard)

    async def _tell_coordination(self) -> None:
        try:
            await self._coordination.poke.remote()
        except Exception:
            logger.warning(
                "The coordinator was not told; it looks for queued videos by itself", exc_info=True
            )


app = Api.bind(Coordination.bind())  # type: ignore[attr-defined] # serve.deployment makes it a Deployment
