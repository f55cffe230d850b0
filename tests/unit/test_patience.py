"""A gateway that starts slowly is waited for; one that hangs is started again, ever more rarely."""

import asyncio
from typing import Any

import pytest
from ray.exceptions import RayError

from raypipe import gateways
from raypipe.errors import GatewaySilent
from raypipe.gateways import Gateways
from raypipe.patience import LASTING_SECONDS, LONGEST_SECONDS, SILENT_SECONDS, START_SECONDS, Patience


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def ends_within(patience: Patience, clock: Clock, seconds: int) -> list[int]:
    """Look every second whether a gateway that never answers is to be started again; return when it was."""
    times = []
    for _ in range(seconds):
        clock.now += 1
        if patience.is_over:
            times.append(int(clock.now))
            patience.note_end()
    return times


def test_a_gateway_that_never_answers_is_started_again_ever_more_rarely() -> None:
    clock = Clock()
    times = ends_within(Patience(clock), clock, 20_000)
    gaps = [after - before for before, after in zip([0, *times], times, strict=False)]
    assert gaps[:4] == [START_SECONDS, 2 * START_SECONDS, 4 * START_SECONDS, 8 * START_SECONDS]
    assert max(gaps) == LONGEST_SECONDS


def test_a_gateway_that_has_answered_may_be_silent_for_seconds_alone() -> None:
    clock = Clock()
    patience = Patience(clock)
    clock.now = LASTING_SECONDS + 1
    patience.note_answer()
    clock.now += SILENT_SECONDS - 1
    assert not patience.is_over
    clock.now += 1
    assert patience.is_over


def test_one_that_has_lasted_is_trusted_as_at_first() -> None:
    clock = Clock()
    patience = Patience(clock)
    patience.note_end()
    patience.note_answer()
    assert patience.seconds == 2 * SILENT_SECONDS
    clock.now = LASTING_SECONDS + 1
    patience.note_answer()
    assert patience.seconds == SILENT_SECONDS


class Method:
    """A remote method that answers, never answers, or raises."""

    def __init__(self, gateway: "FakeGateway") -> None:
        self._gateway = gateway

    async def remote(self) -> None:
        if self._gateway.error is not None:
            raise self._gateway.error
        if not self._gateway.answering:
            await asyncio.Event().wait()


class FakeGateway:
    def __init__(self) -> None:
        self.answering, self.error, self.kills = False, None, 0
        self.answers = Method(self)


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway()


@pytest.fixture
def there() -> dict[str, bool]:
    return {"process": True}


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch, gateway: Any, there: dict[str, bool]) -> Gateways:
    """Gateways of one, whose clock goes on by 20 s at each reading."""
    found = Gateways.__new__(Gateways)
    clock = Clock()

    def read() -> float:
        clock.now += 20
        return clock.now

    found._started, found._patience = {0: gateway}, {0: Patience(read)}
    monkeypatch.setattr(gateways, "ANSWER_SECONDS", 0.01)
    monkeypatch.setattr(gateways, "_is_there", lambda _: there["process"])
    monkeypatch.setattr("ray.kill", lambda actor, no_restart: setattr(actor, "kills", actor.kills + 1))
    return found


def test_a_gateway_is_not_killed_before_its_first_answer(gateway: FakeGateway, watched: Gateways) -> None:
    asyncio.run(watched.check())
    asyncio.run(watched.check())
    assert gateway.kills == 0
    assert "gateway 0 is being started" in str(asyncio.run(watched.why_not_ready(0.01)))
    gateway.answering = True
    asyncio.run(watched.check())
    assert asyncio.run(watched.why_not_ready(0.01)) is None


def test_a_gateway_that_falls_silent_is_killed_once_and_then_gets_time_to_start(
    gateway: FakeGateway, watched: Gateways
) -> None:
    gateway.answering = True
    asyncio.run(watched.check())
    gateway.answering = False
    with pytest.raises(GatewaySilent, match=r"^Gateway 0 has not answered for \d+ s and is started again$"):
        asyncio.run(watched.check())
    asyncio.run(watched.check())
    assert gateway.kills == 1


def test_a_gateway_that_died_and_is_being_started_by_ray_is_not_killed(
    gateway: FakeGateway, watched: Gateways, there: dict[str, bool]
) -> None:
    gateway.answering = True
    asyncio.run(watched.check())
    gateway.answering = there["process"] = False
    asyncio.run(watched.check())
    assert gateway.kills == 0


def test_a_gateway_that_is_gone_for_good_is_forgotten(gateway: Any, watched: Gateways) -> None:
    gateway.error = RayError("dead")
    with pytest.raises(RayError):
        asyncio.run(watched.check())
    assert watched._started == {}
