"""What users do to videos in any order, with crashes between, by hypothesis: nothing is lost or paid twice."""

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import ray
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    rule,
    run_state_machine_as_test,
)
from ray.cluster_utils import Cluster

from raypipe.artifacts import ArtifactStore
from raypipe.config import Settings
from raypipe.errors import BudgetReached, VideoBusy, VideoNotFound, VideoOver
from raypipe.intake import edit
from raypipe.journal import Journal
from raypipe.models import BeatEdit, StepState, VideoState
from raypipe.workers import NAMESPACE
from tests.chaos.invariants import Seen, sent, under_way, violations
from tests.chaos.rig import hand_in, pid_of, service, six_beats
from tests.patience import patience

#: what a user may be told in place of getting their way
REFUSED = (VideoOver, VideoBusy, VideoNotFound, BudgetReached)
#: seconds within which all videos come to rest
REST = 60.0

Videos = Bundle("videos")


class Machine(RuleBasedStateMachine):
    """An installation with one service on the cluster that all tests share, and its users."""

    address = ""
    #: seconds from the beginning of a film to its end
    seconds = 0.3

    @initialize()
    def start(self) -> None:
        self._stack = ExitStack()
        self.folder = Path(tempfile.mkdtemp(prefix="raypipe-machine-"))
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.settings = Settings(data_dir=self.folder, simulated_ledger=self.folder / "ledger", gateways=1)
        self.journal = Journal(self.settings.journal_url)
        self._stack.callback(self.journal.close)
        self.store = ArtifactStore(self.settings.artifacts_url)
        self.accepted: set[str] = set()
        self.deleted: set[str] = set()
        self.done: dict[Any, Any] = {}
        self.loop = self._stack.enter_context(asyncio.Runner())
        self.service = self._stack.enter_context(ExitStack())
        self._serve()

    def _serve(self) -> None:
        running = service(self.settings, self.address, self.folder / "service.log")
        self.process = self.service.enter_context(running)

    @rule(
        target=Videos,
        seed=st.integers(0, 3),
        until=st.sampled_from([None, "storyboard"]),
        fails=st.sampled_from([None, "image/2", "chunk/2", "chunk/3", "music"]),
    )
    def submit(self, seed: int, until: str | None, fails: str | None) -> str:
        request = six_beats(seed, **({"fail": {fails: "no"}} if fails else {}), scale=self.seconds)
        request = request.model_copy(update={"until": until})
        (video_id,) = self.loop.run(hand_in(self.settings, self.journal, [request]))
        self.accepted.add(video_id)
        return video_id

    @rule(video_id=Videos)
    def cancel(self, video_id: str) -> None:
        if self._asked(self.journal.cancel(video_id, by_service=True)):
            assert self.journal.video(video_id).state in (VideoState.CANCELLING, VideoState.CANCELLED)

    @rule(video_id=Videos, resubmit=st.booleans())
    def retry(self, video_id: str, resubmit: bool) -> None:
        self._asked(self.journal.retry(None, video_id, resubmit))

    @rule(video_id=Videos)
    def approve(self, video_id: str) -> None:
        self._asked(self.journal.continue_(None, video_id))

    @rule(video_id=Videos, beat=st.integers(0, 5), prompt=st.sampled_from([None, "A cat", "A dog"]))
    def edit(self, video_id: str, beat: int, prompt: str | None) -> None:
        change = BeatEdit(prompt=prompt)
        self._asked(edit(None, video_id, beat, change, self.settings, self.journal, self.store))

    @rule(video_id=Videos, beat=st.integers(0, 5))
    def go_back(self, video_id: str, beat: int) -> None:
        self._asked(edit(None, video_id, beat, BeatEdit(take=1), self.settings, self.journal, self.store))

    @rule(video_id=consumes(Videos))
    def delete(self, video_id: str) -> None:
        self.deleted.add(video_id)
        if not self._asked(self.journal.delete(video_id)):
            self.deleted.discard(video_id)

    @rule()
    def kill_coordinator(self) -> None:
        self.service.close()  # it is killed
        self._serve()

    @rule()
    def kill_gateway(self) -> None:
        found = ray.util.list_named_actors(all_namespaces=True)
        names = [each["name"] for each in found if "/gateway-" in each["name"]]
        installation, _ = self.loop.run(self.journal.installation(1))
        for name in names:
            if name.startswith(installation):
                pid = self.loop.run(
                    asyncio.wait_for(pid_of(ray.get_actor(name, namespace=NAMESPACE)), patience(20))
                )
                os.kill(pid, signal.SIGKILL)

    @rule(seconds=st.floats(0.05, 1.0))
    def wait(self, seconds: float) -> None:
        time.sleep(seconds)
        for video_id, steps in self.journal.steps_of(self.accepted - self.deleted).items():
            for step in steps:
                if step.state is StepState.DONE:
                    self.done.setdefault((video_id, step.step, step.take), step)

    def _asked(self, request: Awaitable[Any]) -> bool:
        """Ask for something, and tell whether it was granted."""

        async def ask() -> bool:
            try:
                await request
            except REFUSED:
                return False
            return True

        return self.loop.run(ask())

    def teardown(self) -> None:
        if not hasattr(self, "_stack"):
            return
        try:
            self._rest()
            seen = Seen(self.accepted, self.deleted, sent(self.settings), self.done)
            assert violations(self.settings, seen) == []
        finally:
            self.service.close()
            self._stack.close()

    def _rest(self) -> None:
        deadline = time.monotonic() + REST
        while any(under_way(self.journal, self.accepted)) and time.monotonic() < deadline:
            time.sleep(0.1)


@pytest.mark.timeout(patience(500))
def test_users_and_crashes_in_any_order_lose_nothing_and_pay_nothing_twice(cluster: Cluster) -> None:
    class OnCluster(Machine):
        address = cluster.address

    run: Callable[..., None] = run_state_machine_as_test
    run(
        OnCluster,
        settings=hypothesis.settings(
            max_examples=int(os.environ.get("RAYPIPE_MACHINES", "4")),
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        ),
    )
