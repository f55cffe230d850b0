"""raypipe as a Ray Serve application: `serve run raypipe.serving:app`, or `raypipe serve`."""

import asyncio
import logging

from fastapi import FastAPI
from ray import serve
from ray._common.tls_utils import add_port_to_grpc_server
from ray.exceptions import TaskCancelledError
from ray.serve._private import replica
from ray.serve.handle import DeploymentHandle
from ray.util import get_node_ip_address
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from raypipe.api import create_app
from raypipe.api.shares import ALL_REQUESTS
from raypipe.config import Settings
from raypipe.coordinator import Coordinator
from raypipe.errors import RaypipeError
from raypipe.journal import SERVICE, Journal
from raypipe.logs import log_to_file_and_stderr
from raypipe.metrics import ServiceMetrics
from raypipe.outbox import Outbox
from raypipe.own_places import own_places
from raypipe.private import close_to_others

logger = logging.getLogger(__name__)

#: both deployments belong where the journal is: on the head, taking none of its CPUs
ON_HEAD = {"num_cpus": 0, "resources": {"node:__internal_head__": 0.001}}


_LOOPBACK = "127.0.0.1"
#: seconds within which a service that makes videos says so
READY_SECONDS = 5.0
#: seconds between two words to the coordinator that there are new videos
POKE_GAP = 0.05
#: seconds between two counts of the videos, for metrics
COUNT_SECONDS = 5.0


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _listen_where_ray_does() -> None:
    """Have this replica's own server, which Serve opens on all addresses, listen where Ray itself does."""
    if get_node_ip_address() == _LOOPBACK:
        replica.add_port_to_grpc_server = lambda server, _: add_port_to_grpc_server(server, f"{_LOOPBACK}:0")


async def _count(journal: Journal) -> None:
    metrics = ServiceMetrics()
    while True:
        try:
            metrics.show_videos(await asyncio.to_thread(journal.counts))
        except RaypipeError as error:
            logger.warning("The videos cannot be counted for now: %s", error)
        await asyncio.sleep(COUNT_SECONDS)


@serve.deployment(
    num_replicas=1,
    ray_actor_options=ON_HEAD,
    max_ongoing_requests=1_000,
    logging_config={"enable_access_log": False},
)
class Coordination:
    """Claims accepted videos and runs them; Serve starts it again if it dies, or if its gateway does not answer."""

    def __init__(self) -> None:
        _listen_where_ray_does()
        settings = Settings()
        log_to_file_and_stderr(settings.log_dir)
        close_to_others(own_places(settings))
        self._coordinator = Coordinator(settings, SERVICE)
        loop = asyncio.get_running_loop()
        self._serving = loop.create_task(self._coordinator.serve())
        self._warming = loop.create_task(self._coordinator.ready())
        self._counting = loop.create_task(_count(self._coordinator.journal))
        self._telling = loop.create_task(Outbox(settings, self._coordinator.journal).run())

    async def __del__(self) -> None:
        """Stop in an orderly way; Serve awaits this before it ends the replica."""
        self._warming.cancel()
        for task in (self._telling, self._counting):
            task.cancel()
        await asyncio.gather(self._telling, self._counting, return_exceptions=True)
        await self._coordinator.close()

    async def poke(self) -> None:
        """Look for queued videos now."""
        self._coordinator.poke()

    async def why_not_ready(self) -> str | None:
        """Say why no videos are made now; what a load balancer asks restarts nothing, and no trace of it is logged."""
        if self._serving.done():
            return "the coordinator stopped claiming videos"
        return await self._coordinator.why_not_ready(READY_SECONDS)

    async def check_health(self) -> None:
        """Tell Serve when no video can be made: the loop that claims them has ended, or the gateway is silent."""
        if self._serving.done():
            self._serving.result()
            raise RuntimeError("the coordinator stopped claiming videos")
        if self._telling.done():
            logger.error("Webhooks are told nothing more until the service is started again")
        await self._coordinator.check()


class HangUps:
    """Tells as ASGI does that a client has gone, where Serve cancels the task that would tell."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        gone = False

        async def told() -> Message:
            nonlocal gone
            try:
                if not gone:
                    return await receive()
            except TaskCancelledError:
                gone = True
            return {"type": "http.disconnect"}

        await self._app(scope, told, send)


@serve.deployment(num_replicas=1, ray_actor_options=ON_HEAD, max_ongoing_requests=ALL_REQUESTS)
@serve.ingress()
class Api:
    """Answers HTTP from the journal; a request that is cut off stops nothing."""

    def __init__(self, coordination: DeploymentHandle) -> None:
        self._coordination = coordination
        self._telling: asyncio.Task[None] | None = None
        self._news = False
        self._asking: asyncio.Task[str | None] | None = None

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Make the app in the replica, where it is used."""
        _listen_where_ray_does()
        settings = Settings()
        log_to_file_and_stderr(settings.log_dir)
        app = create_app(settings, self._poke, self._why_not_ready)
        app.add_middleware(HangUps)
        return app

    def _poke(self) -> None:
        # a task of its own: what a request starts, Serve cancels when the client disconnects
        self._news = True
        if self._telling is None or self._telling.done():
            self._telling = asyncio.get_running_loop().create_task(self._tell_coordination())

    async def _why_not_ready(self) -> str | None:
        """Say why no videos are made; None if they are."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().create_task(self._ask_coordination())
        done, _ = await asyncio.wait([self._asking], timeout=READY_SECONDS + 1)
        return (
            self._asking.result() if done else f"the coordinator has not answered for {READY_SECONDS + 1:g} s"
        )

    async def _ask_coordination(self) -> str | None:
        """Ask in a task of its own, which nobody cancels: Serve would log a call that is, with its traces."""
        try:
            reason: str | None = await self._coordination.why_not_ready.remote()
        except Exception as error:  # noqa: BLE001 - Serve's and Ray's errors have no common class
            return f"the coordinator cannot be asked: {_first_line(error)}"
        return reason

    async def _tell_coordination(self) -> None:
        while self._news:
            self._news = False
            try:
                await self._coordination.poke.remote()
            except Exception:
                logger.warning(
                    "The coordinator was not told; it looks for queued videos by itself", exc_info=True
                )
            await asyncio.sleep(POKE_GAP)  # one look finds all that were committed before it


app = Api.bind(Coordination.bind())  # type: ignore[attr-defined] # serve.deployment makes it a Deployment
