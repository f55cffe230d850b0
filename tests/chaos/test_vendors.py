"""Vendors that refuse, throttle and fail, and a limiter that is killed: real HTTP, and a ledger of every create."""

from pathlib import Path

import pytest

from raypipe.config import Limit
from raypipe.coordinator import Coordinator
from raypipe.media.video import probe
from raypipe.models import Kind, VideoState
from tests.chaos import account_limits
from tests.chaos.rig import pid_of
from tests.cluster.test_vendors import FAL, PRICES, REPLICATE, SMALL, With, check_starts, film, made, steps_of
from tests.vendors import fake, settings_for


def test_a_film_by_fals_models_is_whole_and_each_work_is_paid_once(
    tmp_path: Path, with_coordinator_of: With
) -> None:
    with fake("fal", tmp_path, **SMALL) as vendor:

        async def test(coordinator: Coordinator) -> None:
            video_id, state = await made(coordinator, film(beats=6, models=FAL))
            video, steps = coordinator.journal.video(video_id), steps_of(coordinator, video_id)
            assert state is VideoState.COMPLETED, video.error_message
            assert video.result is not None
            assert probe(coordinator.store.get(video.result)).frames == 720
            assert len({line["job"]["id"] for line in vendor.lines()}) == len(vendor.lines()) == 13
            check_starts(vendor.creates("clip"), steps)
            assert video.cost == pytest.approx(
                sum(PRICES["fal"][line["job"]["kind"]] for line in vendor.lines())
            )

        with_coordinator_of(settings_for(tmp_path, vendor))(test)


def test_where_a_vendor_refuses_a_prompt_the_other_makes_that_clip(
    tmp_path: Path, with_coordinator_of: With
) -> None:
    refused = [{"at": "create", "do": "refuse", "kind": "clip", "times": 1}]
    with (
        fake("fal", tmp_path, **SMALL, faults=refused) as fal,
        fake("replicate", tmp_path, **SMALL) as replicate,
    ):
        models = FAL | {Kind.CLIP: (*FAL[Kind.CLIP], *REPLICATE[Kind.CLIP])}

        async def test(coordinator: Coordinator) -> None:
            video_id, state = await made(coordinator, film(models=models))
            assert state is VideoState.COMPLETED
            assert [len(each.creates("clip")) for each in (fal, replicate)] == [1, 1]
            (fell,) = (each for each in coordinator.journal.events(video_id) if each.kind == "step.fell_back")
            assert "content" in fell.data["reason"]

        with_coordinator_of(settings_for(tmp_path, fal, replicate))(test)


#: seconds that a busy vendor asks to wait
WAIT = 4


def test_a_storm_of_429_and_errors_fails_no_step_and_pays_nothing_twice(
    tmp_path: Path, with_coordinator_of: With
) -> None:
    faults = [
        {"at": "create", "do": "busy", "times": 4},
        {"at": "poll", "do": "busy", "times": 3},
        {"at": "poll", "do": "error", "times": 4, "after": 6},
        {"at": "download", "do": "error", "times": 3},
    ]
    with fake("replicate", tmp_path, **SMALL, faults=faults, retry_after=WAIT) as vendor:

        async def test(coordinator: Coordinator) -> None:
            video_id, state = await made(coordinator, film())
            assert state is VideoState.COMPLETED, coordinator.journal.video(video_id).error_message
            events = coordinator.journal.events(video_id)
            refused = [each for each in events if each.kind == "step.not_taken"]
            assert len(refused) == 4
            for (
                each
            ) in refused:  # none is sent again before the vendor has said so: row 9 of the table of faults
                again = (
                    other.at for other in events if (other.kind, other.step) == ("step.sent_again", each.step)
                )
                assert min(at for at in again if at > each.at) - each.at >= WAIT
            steps = steps_of(coordinator, video_id)
            assert len(vendor.lines()) == 5
            assert sum(each.attempt for each in steps.values() if each.model) == 5 + 4
            assert not any(each.possible_duplicate for each in steps.values())

        with_coordinator_of(settings_for(tmp_path, vendor))(test)


def test_an_accounts_limit_holds_for_two_coordinators_and_while_the_limiter_is_killed(
    tmp_path: Path, with_coordinator_of: With
) -> None:
    """A short form of `python -m tests.chaos.account_limits`, which takes minutes and measures the rate too."""
    with fake("replicate", tmp_path, **account_limits.FAKE) as vendor:
        settings = settings_for(tmp_path, vendor, limits={"replicate": Limit(in_flight=3, per_minute=600)})

        async def test(one: Coordinator) -> None:
            other = Coordinator(settings)
            try:
                report = await account_limits.race([one, other], vendor, videos=3, kill_after=3)
            finally:
                await other.close()
            assert (report.completed, report.creates, report.in_flight) == (3, 39, 3)

        with_coordinator_of(settings)(test)


def test_a_stream_without_end_is_cut_off_and_no_process_grows_by_it(
    tmp_path: Path, with_coordinator_of: With
) -> None:
    endless = [{"at": "download", "do": "endless", "kind": "clip", "times": 1}]
    with fake("replicate", tmp_path, **SMALL, faults=endless) as vendor:

        async def test(coordinator: Coordinator) -> None:
            gateway = (await coordinator.gateways())._gateway(0)
            await coordinator.ready(renders=False)
            before = _most_memory(await pid_of(gateway))
            video_id, state = await made(coordinator, film())
            assert state is VideoState.PARTIAL
            assert "delivered more than 2048 MiB" in (coordinator.journal.video(video_id).error_message or "")
            assert _most_memory(await pid_of(gateway)) - before < 300
            stored = sum(
                each.stat().st_size for each in (tmp_path / "artifacts").rglob("*") if each.is_file()
            )
            assert stored < 100 * 2**20

        with_coordinator_of(settings_for(tmp_path, vendor, followers_per_reference=0))(test)


def _most_memory(pid: int) -> float:
    """Return the most memory that a process has had, in MiB."""
    (line,) = (
        each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("VmHWM")
    )
    return int(line.split()[1]) / 1024
