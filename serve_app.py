"""raypipe as a Ray Serve application: `serve run serve_app:app`."""

import asyncio
import logging

from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from raypipe.api import create_app
from raypipe.config import Settings
from raypipe.coordinator import Coordinator

logger = logging.getLogger("raypipe.serve")


#: both deployments belong where the journal is: on the head, taking none of its CPUs
ON_HEAD = {"num_cpus": 0, "resources": {"node:__internal_head__": 0.001}}


@serve.deployment(num_replicas=1, ray_actor_options=ON_HEAD, max_ongoing_requests=1_000)
class Coordination:
    """Claims accepted videos and runs them; Serve restarts it if it dies."""

    def __init__(self) -> None:
        self._coordinator = Coordinator(Settings())
        self._serving = asyncio.get_running_loop().create_task(self._coordinator.serve())

    async def poke(self) -> None:
        """Look for queued videos now."""
        self._coordinator.poke()

    def check_health(self) -> None:
        """Tell Serve when the loop that claims videos has ended, which it never should."""
        if self._serving.done():
            self._serving.result()
            raise RuntimeError("the coordinator stopped claiming videos")


@serve.deployment(num_replicas=1, ray_actor_options=ON_HEAD, max_ongoing_requests=1_000)
@serve.ingress()
class Api:
    """Answers HTTP from the journal; a request that is cut off stops nothing."""

    def __init__(self, coordination: DeploymentHandle) -> None:
        self._coordination = coordination
        self._pokes: set[asyncio.Task[None]] = set()

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Make the app in the replica, where it is used."""
        return create_app(Settings(), self._poke)

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
