"""A whole installation to be disturbed: a vendor, a cluster of two nodes, raypipe on Serve, and another coordinator."""

import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import ray
from ray import serve
from ray.cluster_utils import Cluster

from raypipe.artifacts import ArtifactStore
from raypipe.config import Settings, guard_serve
from raypipe.journal import Journal, StepKey, StepRecord
from raypipe.models import Kind, StepState
from raypipe.workers import NAMESPACE
from tests.chaos.invariants import Create, Seen, vendor_creates
from tests.chaos.listener import Listener
from tests.chaos.nodes import SecondNode
from tests.chaos.report import Report
from tests.chaos.rig import ROOT
from tests.vendors import FakeVendor, fake, free_port, settings_for

#: US dollars that the vendor's jobs cost, as raypipe's table has it
PRICES = {Kind.IMAGE: 0.003, Kind.CLIP: 6 * 0.045, Kind.MUSIC: 0.15}
#: what the vendor makes, and for how long
VENDOR: dict[str, Any] = {
    "image": 0.5, "clip": 1.5, "music": 0.5, "width": 320, "height": 180, "form": {"width": 320, "height": 180},
}  # fmt: skip
#: seconds within which the coordinator is ready
READY_SECONDS = 120.0
POINTS_FOLDER = Path(__file__).parent / "points"


def vendor_faults(chosen: random.Random, creates: int) -> list[dict[str, Any]]:
    """Choose what goes wrong at the vendor in the course of so many creates."""
    kinds = [
        ("create", "busy"), ("create", "error"), ("create", "lose"), ("create", "refuse"),
        ("poll", "busy"), ("poll", "error"), ("poll", "fail"),
        ("download", "error"), ("download", "truncated"), ("download", "html"),
        ("webhook", "never"), ("webhook", "duplicate"), ("webhook", "late"), ("webhook", "forged"),
    ]  # fmt: skip
    return [
        {"at": at, "do": do, "times": chosen.choice((1, 1, 2)), "after": chosen.randrange(creates)}
        for at, do in kinds * max(1, creates // 250)
    ]


class Installation:
    """Processes that may be killed at any moment, each with a handle, and what was noted of them."""

    def __init__(self, folder: Path, vendor: FakeVendor, settings: Settings, report: Report) -> None:
        self.folder, self.vendor, self.settings, self.report = folder, vendor, settings, report
        self.url = settings.public_url or ""
        self.journal = Journal(settings.journal_url)
        self.accepted: set[str] = set()
        self.deleted: set[str] = set()
        self._done: dict[StepKey, StepRecord] = {}
        self.listener = Listener(random.Random(str(folder)))
        self.points = folder / "points"
        for name in ("armed", "fired"):
            (self.points / name).mkdir(parents=True)

    def start(self) -> None:
        """Start the cluster, Serve and the other coordinator, with raypipe's settings in their environment."""
        os.environ |= self.environment
        guard_serve()
        self.cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
        )
        self.nodes = SecondNode(self.cluster, self.report.incident)
        self.nodes.start()
        self.cluster.wait_for_nodes()
        os.environ["RAY_ADDRESS"] = self.cluster.address
        ray.init(address=self.cluster.address, log_to_driver=False, logging_level=logging.CRITICAL)
        from raypipe.serving import app

        serve.start(http_options={"host": "127.0.0.1", "port": int(self.url.rpartition(":")[2])})
        serve.run(app, name="raypipe", route_prefix="/")
        self.start_coordinator()

    @property
    def environment(self) -> dict[str, str]:
        """What raypipe's processes are told."""
        url = self.settings.provider_urls["replicate"]
        return {
            "RAYPIPE_DATA_DIR": str(self.settings.data_dir),
            "RAYPIPE_REPLICATE_URL": url,
            "RAYPIPE_PUBLIC_URL": self.url,
            "RAYPIPE_REQUIRE_KEYS": "false",  # the vendor that is "outside" is on this machine too
            "RAYPIPE_ALLOW_PRIVATE_URLS": "true",  # and so is who listens
            "RAYPIPE_ON_UNKNOWN": self.settings.on_unknown,
            "RAYPIPE_GATEWAYS": str(self.settings.gateways),
            "RAYPIPE_MIN_FREE_MIB": str(self.settings.min_free_mib),
            "RAYPIPE_LIMITS": json.dumps(
                {name: limit.model_dump() for name, limit in self.settings.limits.items()}
            ),
            "RAYPIPE_CHAOS_POINTS": str(self.points),
            "PYTHONPATH": os.pathsep.join((str(POINTS_FOLDER), str(ROOT))),
        }

    def start_coordinator(self) -> None:
        """Start the coordinator that is a process of its own, of which some messages get lost."""
        chances = {
            "num_failures": -1,
            "req_failure_prob": 1,
            "resp_failure_prob": 1,
            "in_flight_failure_prob": 1,
        }
        unreliable = {
            "RAY_testing_rpc_failure": json.dumps({"CoreWorkerService.grpc_client.PushTask": chances})
        }
        # it has gateways of its own, as a service of another version has
        unreliable["RAYPIPE_MAX_BODY_BYTES"] = "1000000"
        with self._coordinator_log.open("a") as log:
            self._ready_behind, self._ready_by = log.tell(), time.monotonic() + READY_SECONDS
            self.coordinator = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.service"],
                cwd=ROOT, env={**os.environ, **unreliable}, stdout=log, stderr=log,
            )  # fmt: skip

    @property
    def _coordinator_log(self) -> Path:
        return self.folder / "coordinator.log"

    def look_after_coordinator(self) -> None:
        """Start the coordinator again that has ended, as a supervisor does, or that is not ready in time."""
        code = self.coordinator.poll()
        if code is None:
            if not self._is_ready() and time.monotonic() > self._ready_by:
                self.report.incident(f"the coordinator was not ready within {READY_SECONDS:g} s")
                self.coordinator.kill()
                self.coordinator.wait()
                self.start_coordinator()
            return
        if code != -signal.SIGKILL:  # it was not killed, at a point that was armed or for its memory
            self.report.problem(f"the coordinator has ended by itself with the code {code}")
        self.start_coordinator()

    def _is_ready(self) -> bool:
        with self._coordinator_log.open("rb") as log:
            log.seek(self._ready_behind)
            return any(line == b"ready\n" for line in log)

    def named_actors(self, namespace: str) -> list[str]:
        """Return the names of actors that live, or are being started again."""
        found = ray.util.list_named_actors(all_namespaces=True)
        return [each["name"] for each in found if each["namespace"] == namespace]

    def workers(self) -> list[psutil.Process]:
        """Return Ray's processes that work, or wait for work, with no name of their own."""
        found = []
        for process in psutil.Process().children(recursive=True):
            try:
                title = process.cmdline()[:1]
            except psutil.Error:
                continue
            if title and title[0].startswith(("ray::_task", "ray::_reporting_task", "ray::IDLE")):
                found.append(process)
        return found

    def note_done(self) -> None:
        """Note the rows of steps that are done; from now on they must not change."""
        for steps in self.journal.steps_of(sorted(self.accepted)).values():
            for step in steps:
                if step.state is StepState.DONE:
                    self._done.setdefault((step.video_id, step.step, step.take), step)

    def keep(self, folder: Path) -> None:
        """Copy what there is to be looked at when something is broken."""
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.vendor.ledger, folder)
        for path in (*self.folder.glob("*.log"), *self.settings.data_dir.glob("journal.db*")):
            shutil.copy(path, folder)
        shutil.copytree(self.settings.log_dir, folder / "logs", dirs_exist_ok=True)

    def creates(self) -> tuple[Create, ...]:
        """Read the vendor's ledger."""
        return vendor_creates(self.vendor.ledger, PRICES)

    def seen(self) -> Seen:
        """Return what was noted."""
        return Seen(self.accepted, self.deleted, self.creates(), self._done, self.listener.told)

    def stop(self) -> list[str]:
        """Stop everything in an orderly way, and return what is left of raypipe then."""
        self.coordinator.terminate()
        try:
            self.coordinator.wait(30)
        except subprocess.TimeoutExpired:
            self.coordinator.kill()
        serve.shutdown()
        left = [f"an actor is left: {name}" for name in self._soon_gone()]
        ray.shutdown()
        self.cluster.shutdown()
        return [*left, *self._processes_left(), *self._files_left()]

    def _soon_gone(self) -> list[str]:
        deadline = time.monotonic() + 15
        while (left := self.named_actors(NAMESPACE)) and time.monotonic() < deadline:
            time.sleep(0.2)
        return left

    def _processes_left(self) -> Iterator[str]:
        deadline = time.monotonic() + 15
        while (left := _ray_processes()) and time.monotonic() < deadline:
            time.sleep(0.2)
        yield from (f"a process is left: {' '.join(each)}" for each in left)

    def sweep(self, grace: float) -> None:
        """Remove files that no row names, as `raypipe gc` does."""
        ArtifactStore(self.settings.artifacts_url).sweep(self.journal.named_digests(), grace)

    def _files_left(self) -> Iterator[str]:
        """Find what a sweep leaves that no row names, and what is left elsewhere."""
        self.sweep(grace=0.0)
        named, found = self.journal.named_digests(), self.settings.data_dir / "artifacts"
        yield from (
            f"a file is left: {path}"
            for path in found.rglob("*")
            if path.is_file() and path.name not in named
        )
        ours = (path for path in self.folder.glob("tmp*"))
        yield from (f"a file is left: {path}" for path in ours)


def _ray_processes() -> list[list[str]]:
    """Return the command lines of Ray's processes in this PID namespace that are no zombies."""
    found = []
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
            if process.status() != psutil.STATUS_ZOMBIE and any(
                "ray::" in part or "raylet" in part for part in line
            ):
                found.append(line)
        except psutil.Error:
            continue
    return found


@contextmanager
def installed(disk: Path, folder: Path, seed: int, videos: int, report: Report) -> Iterator[Installation]:
    """Run an installation on a disk until the end of the block, with its vendor, whose folder is on another."""
    with ExitStack() as stack:
        faults = vendor_faults(random.Random(seed), creates=13 * videos)
        vendor = stack.enter_context(fake("replicate", folder, **VENDOR, faults=faults))
        limits = {"replicate": {"in_flight": 60, "per_minute": 6_000}}
        settings = settings_for(
            disk, vendor, public_url=f"http://127.0.0.1:{free_port()}", on_unknown="resubmit_once",
            limits=limits, min_free_mib=20,
        ).model_copy(update={"gateways": 2})  # fmt: skip
        installation = Installation(folder, vendor, settings, report)
        stack.callback(installation.journal.close)
        stack.enter_context(installation.listener.listening())
        installation.start()
        yield installation
