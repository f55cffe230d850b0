"""What a video that is over has left at its providers: on a real journal, with a vendor whose answers are scripted."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update

from raypipe.config import Settings
from raypipe.errors import KeyRefused, LeaseLost, ProviderRejected, ProviderUnavailable, VideoBusy
from raypipe.hosted import HostedWork
from raypipe.journal import Event, Owner, StepRecord
from raypipe.journal.tables import videos
from raypipe.left_jobs import LeftStep
from raypipe.models import Image, StepFailure, StepState, VideoState
from raypipe.providers.base import Create, Delivery, ImageWork, Pending, Work
from raypipe.step_log import StepLog

from .test_steps import MADE, PRICE, UNKNOWN, Rig, Test, Vendor, hosted, journal, settings, with_rig

__all__ = ["journal", "settings", "with_rig"]


class LateVendor(Vendor):
    """A vendor whose job stands as `replies` say, one for each poll, and the last one from then on."""

    def __init__(self, *replies: Any, found: Any = "job 1", stops: list[Exception] | None = None) -> None:
        super().__init__(found)
        self.replies, self.stops = list(replies), stops or []

    async def poll(self, job_id: str, work: Work) -> Delivery | Pending:
        self.calls.append(f"poll {job_id}")
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, Exception):
            raise reply
        answer: Delivery | Pending = reply
        return answer

    async def cancel(self, job_id: str, work: Work) -> None:
        self.calls.append(f"cancel {job_id}")
        if self.stops:
            raise self.stops.pop(0)


PENDING = Pending(poll_after=0)
DOWN = ProviderUnavailable("down")
HOURS = 3_600.0


async def left(rig: Rig, **changes: Any) -> None:
    """Leave a step as a gateway does whose video ended meanwhile."""
    given = {"state": StepState.ACCEPTED, "provider_job_id": "job 1", "attempt": 1, "sent_at": time.time()}
    await rig.leave(**given | changes, reserved_cost=PRICE)
    ended = rig.journal.finish(rig.video.id, VideoState.CANCELLED)
    await rig.journal.writer.put(
        ended, rig.journal.event(Event(video_id=rig.video.id, kind="video.cancelled"))
    )


async def ask(rig: Rig, vendor: Vendor | None, stop: bool = True) -> StepRecord:
    """Ask once what became of it, and return its row."""
    work = ImageWork(job=rig.job, model="simulated", beat=rig.video.spec.beats[0])
    log = StepLog(rig.steps, rig.row(), rig.job.epoch)

    async def is_over() -> bool:
        return await rig.journal.epoch(rig.video.id) == rig.job.epoch

    await LeftStep(log, vendor, work, {}, is_over).settle(stop, seconds=5)
    return rig.row()


def test_a_stop_that_is_not_answered_is_asked_for_again_and_the_price_stays_reserved_until_then(
    with_rig: Callable[[Test], None],
) -> None:
    async def test(rig: Rig) -> None:
        await left(rig)
        vendor = LateVendor(PENDING, stops=[DOWN, DOWN])
        for _ in range(2):
            row = await ask(rig, vendor)
            assert (row.state, row.reserved_cost) == (StepState.ACCEPTED, PRICE)
            assert rig.journal.left_videos() == [rig.video.id]
            with pytest.raises(VideoBusy, match="image/0"):
                await rig.journal.delete(rig.video.id)
        row = await ask(rig, vendor)
        assert (row.state, row.error_code, row.doubtful) == (StepState.FAILED, "cancelled", PRICE)
        assert vendor.calls == ["poll job 1", "cancel job 1"] * 3
        assert rig.journal.left_videos() == []
        await rig.journal.delete(rig.video.id)

    with_rig(test)


def test_a_job_that_had_delivered_before_it_could_be_stopped_costs_its_price_and_a_retry_fetches_it(
    with_rig: Callable[[Test], None],
) -> None:
    async def test(rig: Rig) -> None:
        await left(rig)
        made = Delivery(artifact=MADE.artifact, cost=0.5)
        vendor = LateVendor(DOWN, made)
        assert (await ask(rig, vendor)).state is StepState.ACCEPTED
        row = await ask(rig, vendor)
        assert (row.state, row.cost, row.reserved_cost) == (StepState.FAILED, 0.5, None)
        await rig.journal.sum_costs(rig.video.id, rig.job.epoch)
        assert rig.journal.video(rig.video.id).cost == 0.5
        video = await rig.journal.retry(Owner("me", "local"), rig.video.id, resubmit=False)
        assert rig.row().state is StepState.ACCEPTED
        rig.restart()
        again = await rig.run(hosted(rig, vendor), epoch=video.epoch)
        assert isinstance(again, Image)
        assert vendor.calls == ["poll job 1"] * 2, (
            "what is here is not fetched again, and nothing bought again"
        )
        assert rig.row().cost == 0.5

    with_rig(test)


def test_what_a_stopped_job_had_delivered_is_named_by_its_row_and_fetched_again_if_it_is_gone(
    with_rig: Callable[[Test], None],
) -> None:
    async def test(rig: Rig) -> None:
        await left(rig)
        vendor = LateVendor(Delivery(artifact=MADE.artifact, cost=0.5))
        assert (await ask(rig, vendor)).delivered == MADE.artifact
        assert MADE.artifact.digest in rig.journal.named_digests()
        video = await rig.journal.retry(Owner("me", "local"), rig.video.id, resubmit=False)
        assert rig.row().delivered == MADE.artifact
        rig.gone.add(MADE.artifact.digest)
        rig.restart()
        assert isinstance(await rig.run(hosted(rig, vendor), epoch=video.epoch), Image)
        assert vendor.calls == ["poll job 1"] * 2
        assert rig.row().cost == 0.5

    with_rig(test)


GONE = ProviderUnavailable("404 Not Found")
REFUSED = KeyRefused("401: no such key")


@pytest.mark.parametrize(
    ("age", "reply", "stops", "stop", "code", "calls"),
    [
        (1 * HOURS, PENDING, [GONE], True, None, ["poll job 1", "cancel job 1"]),
        (1 * HOURS, PENDING, [], False, None, ["poll job 1"]),
        (2.1 * HOURS, PENDING, [GONE], True, "cancelled", ["poll job 1", "cancel job 1"]),
        (2.1 * HOURS, PENDING, [GONE], False, "cancelled", ["poll job 1", "cancel job 1"]),
        (2.1 * HOURS, GONE, [], True, None, ["poll job 1"]),
        (2.1 * HOURS, REFUSED, [], True, None, ["poll job 1"]),
        (3.1 * HOURS, GONE, [], True, "provider_unavailable", ["poll job 1"]),
        (3.1 * HOURS, REFUSED, [], True, "key_refused", ["poll job 1"]),
    ],
)
def test_a_job_that_its_provider_never_explains_is_given_up_after_its_deadline_and_an_hour(
    with_rig: Callable[[Test], None], age: float, reply: Any, stops: list[Exception], stop: bool,
    code: str | None, calls: list[str],
) -> None:  # fmt: skip
    async def test(rig: Rig) -> None:
        await left(rig, sent_at=time.time() - age)
        vendor = LateVendor(reply, stops=stops)
        row = await ask(rig, vendor, stop)
        assert vendor.calls == calls
        assert row.error_code == code
        assert (row.state is StepState.FAILED) is (code is not None)
        assert row.reserved_cost == PRICE, "it may have been paid"
        assert (rig.journal.left_videos() == []) is (code is not None)
        if code is not None:
            assert await rig.journal.in_flight(row.provider) == [], "it takes nobody's place at its provider"
            await rig.journal.delete(rig.video.id)

    with_rig(test)


def test_nothing_stays_reserved_for_a_create_that_was_not_taken_and_is_not_sent_again(
    with_rig: Callable[[Test], None],
) -> None:
    async def test(rig: Rig) -> None:
        await left(rig, state=StepState.INTENT, provider_job_id=None, attempt=0, sent_at=None)
        assert rig.journal.left_videos() == [rig.video.id]
        await rig.journal.sum_costs(rig.video.id, rig.job.epoch)
        assert rig.row().reserved_cost is None
        assert rig.journal.left_videos() == []

    with_rig(test)


@pytest.mark.parametrize(
    ("found", "age", "state", "doubtful"),
    [
        ("job 1", 0.0, StepState.FAILED, PRICE),
        (None, 0.0, StepState.SENT, 0.0),
        (None, 1.0, StepState.FAILED, 0.0),
        (UNKNOWN, 0.0, StepState.SENT, 0.0),
        (UNKNOWN, 1.0, StepState.FAILED, PRICE),
        (DOWN, 1.0, StepState.SENT, 0.0),
    ],
    ids=["found", "not there yet", "surely not taken", "cannot say", "never said", "down"],
)
def test_a_create_that_was_not_answered_is_looked_for_until_it_is_known_what_became_of_it(
    with_rig: Callable[[Test], None], monkeypatch: pytest.MonkeyPatch, found: Any, age: float, state: StepState,
    doubtful: float,
) -> None:  # fmt: skip
    # what is young is so however slow this machine is
    monkeypatch.setattr(LateVendor, "create_seconds", HOURS)
    monkeypatch.setattr(LateVendor, "unknown_seconds", HOURS)

    async def test(rig: Rig) -> None:
        await left(rig, state=StepState.SENT, provider_job_id=None, sent_at=time.time() - 2 * age * HOURS)
        vendor = LateVendor(PENDING, found=found)
        row = await ask(rig, vendor)
        assert (row.state, row.doubtful) == (state, doubtful)
        assert (vendor.calls[-1] == "cancel job 1") is (found == "job 1")
        if state is StepState.FAILED and doubtful == 0.0:
            assert row.reserved_cost is None

    with_rig(test)


def test_jobs_of_a_video_that_failed_are_asked_for_and_not_stopped(with_rig: Callable[[Test], None]) -> None:
    async def test(rig: Rig) -> None:
        await left(rig, state=StepState.ACCEPTED)
        vendor = LateVendor(PENDING, PENDING, ProviderRejected("it failed"))
        assert (await ask(rig, vendor, stop=False)).state is StepState.ACCEPTED
        assert (await ask(rig, vendor, stop=False)).state is StepState.ACCEPTED
        row = await ask(rig, vendor, stop=False)
        assert (row.state, row.error_code) == (StepState.FAILED, "provider_rejected")
        assert vendor.told == ["poll job 1"]

    with_rig(test)


def test_a_job_of_a_video_that_is_made_again_meanwhile_is_not_stopped(
    with_rig: Callable[[Test], None],
) -> None:
    async def test(rig: Rig) -> None:
        await left(rig)

        class Retried(LateVendor):
            async def poll(self, job_id: str, work: Work) -> Delivery | Pending:
                anew = update(videos).values(epoch=videos.c.epoch + 1, state=VideoState.RUNNING)
                await rig.journal.writer.transact(lambda connection: connection.execute(anew))
                return await super().poll(job_id, work)

        vendor = Retried(PENDING)
        assert (await ask(rig, vendor)).state is StepState.ACCEPTED
        assert vendor.calls == ["poll job 1"]

    with_rig(test)


def test_a_job_whose_provider_is_not_installed_any_more_counts_as_over_after_hours(
    with_rig: Callable[[Test], None],
) -> None:
    async def test(rig: Rig) -> None:
        await left(rig)
        assert (await ask(rig, None)).state is StepState.ACCEPTED
        await rig.leave(sent_at=time.time() - 7_300)
        row = await ask(rig, None)
        assert (row.state, row.doubtful) == (StepState.FAILED, PRICE)

    with_rig(test)


# --- what lies between a row and its create ---------------------------------------------------------------------------
def test_nothing_is_sent_for_a_video_that_is_cancelled_while_a_create_is_prepared(
    with_rig: Callable[[Test], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raypipe.step_log.JOIN_SECONDS", 0.05)

    async def test(rig: Rig) -> None:
        preparing, uploaded = asyncio.Event(), asyncio.Event()

        class Uploads(Vendor):
            async def prepare(self, work: Work) -> Create:
                preparing.set()
                await uploaded.wait()
                return await super().prepare(work)

        vendor = Uploads(None)
        making = asyncio.create_task(rig.run(hosted(rig, vendor)))
        await preparing.wait()
        assert rig.row().state is StepState.INTENT, "nothing says that it is sent"
        await rig.journal.cancel(rig.video.id)
        uploaded.set()
        with pytest.raises(LeaseLost):
            await making
        assert vendor.calls == []
        assert rig.row().state is StepState.INTENT

    with_rig(test)


def test_a_create_that_cannot_be_prepared_leaves_it_in_doubt_what_became_of_the_one_before(
    with_rig: Callable[[Test], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raypipe.hosted.TRY_AGAIN", 0.001)

    async def test(rig: Rig) -> None:
        class CannotUpload(Vendor):
            async def prepare(self, work: Work) -> Create:
                self.calls.append("prepare")
                raise ProviderUnavailable("its store is down")

        await rig.leave(state=StepState.SENT, attempt=1, sent_at=time.time() - 1, reserved_cost=PRICE)
        vendor = CannotUpload(UNKNOWN)
        failure = await rig.run(hosted(rig, vendor, on_unknown="resubmit_once"))
        assert isinstance(failure, StepFailure)
        assert failure.code == "provider_unavailable"
        assert set(vendor.calls) == {"find", "prepare"}
        assert rig.row().doubtful == PRICE, "the first create may have been taken"

    with_rig(test)


class RecordedTurn:
    """A turn at an account that says in the vendor's calls when it is asked for."""

    def __init__(self, calls: list[str]) -> None:
        self._calls = calls

    async def acquire(self) -> None:
        self._calls.append("turn")

    def release(self) -> None:
        pass

    def hold(self, seconds: float) -> None:
        pass


@pytest.mark.parametrize(
    ("takes", "calls"),
    [(0.0, ["turn", "prepare", "submit 1"]), (0.2, ["turn", "prepare", "turn", "submit 1"])],
    ids=["at once", "longer than a turn is kept"],
)
def test_creates_are_prepared_in_their_turn_so_that_those_that_wait_hold_no_pictures(
    with_rig: Callable[[Test], None], monkeypatch: pytest.MonkeyPatch, takes: float, calls: list[str]
) -> None:
    async def test(rig: Rig) -> None:
        class Uploads(Vendor):
            async def prepare(self, work: Work) -> Create:
                self.calls.append("prepare")
                await asyncio.sleep(takes)  # as an upload does
                return await super().prepare(work)

        vendor = Uploads(None)
        monkeypatch.setattr("raypipe.hosted.TURN_SECONDS", 0.1 if takes else 3_600.0)

        async def work(log: StepLog) -> Image:
            image = ImageWork(job=rig.job, model="simulated", beat=rig.video.spec.beats[0])
            turn = RecordedTurn(vendor.calls)
            await HostedWork(vendor, image, log, "node", Settings(), turn).delivery()
            return MADE

        assert isinstance(await rig.run(work), Image)
        assert vendor.calls[: len(calls)] == calls

    with_rig(test)
