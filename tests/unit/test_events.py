"""Events as clients follow them: each once and in order, wherever they begin and however often they come back."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import httpx
import pytest
import uvicorn

from raypipe.api import create_app
from raypipe.api.events import Tail
from raypipe.artifacts import ArtifactStore
from raypipe.config import Settings
from raypipe.intake import accept
from raypipe.journal import Event, Journal
from raypipe.models import VideoRequest, VideoState
from tests.journals import locked
from tests.patience import patience

EVENTS = 300


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


@pytest.fixture
def journal(settings: Settings) -> Iterator[Journal]:
    opened = Journal(settings.journal_url)
    yield opened
    opened.close()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little is at hand, so that much is read from the journal."""
    monkeypatch.setattr("raypipe.api.events.AT_HAND", 20)
    monkeypatch.setattr("raypipe.api.events.AT_A_TIME", 7)
    monkeypatch.setattr("raypipe.api.events.LOOK", 0.01)


async def three_videos(settings: Settings, journal: Journal) -> list[str]:
    store, ids = ArtifactStore(settings.artifacts_url), []
    for seed in range(3):
        video, rows = accept(VideoRequest(prompt="a boat", duration=5, seed=seed), settings, journal, store)
        await journal.writer.put(*rows)
        ids.append(video.id)
    return ids


async def happen(journal: Journal, ids: list[str], chosen: random.Random) -> None:
    for number in range(EVENTS):
        happened = Event(video_id=chosen.choice(ids), kind="step.done", data={"number": number})
        await journal.writer.put(journal.event(happened))
        if chosen.random() < 0.1:
            await asyncio.sleep(0.005)
    for video_id in ids:
        await journal.writer.put(journal.event(Event(video_id=video_id, kind="video.completed")))


async def client(tail: Tail, video_id: str | None, chosen: random.Random, ends: int) -> list[Event]:
    """Follow events to so many ends, and go away and come back now and then."""
    seen: list[Event] = []
    await asyncio.sleep(chosen.uniform(0, 0.1))
    while sum(event.kind == "video.completed" for event in seen) < ends:
        stays = chosen.randrange(1, 60)
        async with aclosing(tail.follow(seen[-1].id if seen else 0, video_id)) as events:
            async for event in events:
                seen.append(event)
                stays -= 1
                if not stays or sum(each.kind == "video.completed" for each in seen) == ends:
                    break
    return seen


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("seed", "age"), [(0, 900.0), (1, 900.0), (2, 0.03)])
def test_clients_that_come_and_go_see_every_event_once_and_in_order(
    settings: Settings, journal: Journal, monkeypatch: pytest.MonkeyPatch, seed: int, age: float
) -> None:
    monkeypatch.setattr("raypipe.api.events.MOST_AGE", age)

    async def test() -> None:
        chosen = random.Random(seed)
        ids, tail = await three_videos(settings, journal), Tail(journal)
        whose = [*ids, None] * 5
        following = [
            client(tail, each, random.Random(f"{seed}/{number}"), 3 if each is None else 1)
            for number, each in enumerate(whose)
        ]
        _, *seen = await asyncio.wait_for(
            asyncio.gather(happen(journal, ids, chosen), *following), timeout=patience(60)
        )
        everything = journal.events_after(0, 10_000)
        assert len(everything) == EVENTS + 6
        for video_id, found in zip(whose, seen, strict=True):
            assert found == [event for event in everything if video_id in (None, event.video_id)]
        assert tail._reading is None, "nobody listens, so nothing is read"

    asyncio.run(test())


@pytest.mark.usefixtures("small")
def test_who_gives_no_id_sees_what_happens_from_now_on(settings: Settings, journal: Journal) -> None:
    async def test() -> None:
        ids, tail = await three_videos(settings, journal), Tail(journal)
        first = asyncio.create_task(anext(aiter(tail.follow(None))))
        while tail._reading is None or not tail._ready.is_set():
            await asyncio.sleep(0.01)
        await journal.writer.put(journal.event(Event(video_id=ids[0], kind="step.started")))
        assert (await asyncio.wait_for(first, patience(5))).kind == "step.started"

    asyncio.run(test())


@pytest.mark.usefixtures("small")
def test_who_comes_as_the_last_one_goes_follows_as_anybody(settings: Settings, journal: Journal) -> None:
    async def test() -> None:
        (video_id, *_), tail = await three_videos(settings, journal), Tail(journal)
        for _ in range(20):
            async with aclosing(tail.follow(0, video_id)) as events:
                assert (await anext(events)).kind == "video.accepted"
            coming = asyncio.create_task(anext(aiter(tail.follow(0, video_id))))
            assert (await asyncio.wait_for(coming, patience(5))).kind == "video.accepted"

    asyncio.run(test())


@pytest.mark.usefixtures("small")
def test_who_follows_a_video_that_is_deleted_misses_nothing_and_is_told(
    settings: Settings, journal: Journal
) -> None:
    async def test() -> None:
        (video_id, other, _), tail = await three_videos(settings, journal), Tail(journal)
        async with aclosing(tail.follow(0, video_id)) as one, aclosing(tail.follow(0)) as every:
            assert (await anext(one)).kind == (await anext(every)).kind == "video.accepted"
            end = journal.finish(video_id, VideoState.CANCELLED)
            await journal.writer.put(
                end, journal.event(Event(video_id=video_id, kind="video.cancelled", data={"x": 1}))
            )
            await journal.delete(video_id)
            await journal.writer.put(journal.event(Event(video_id=other, kind="step.started")))
            told = [event.kind async for event in one]
            assert told == ["video.cancelled", "video.deleted"], "the stream of a deleted video ends"
            kinds = [(await asyncio.wait_for(anext(every), patience(5))).kind for _ in range(5)]
            assert kinds == ["video.accepted"] * 2 + ["video.cancelled", "video.deleted", "step.started"]
        kept = [(event.kind, event.data) for event in journal.events_after(0, 100, video_id=video_id)]
        assert kept == [("video.accepted", {}), ("video.cancelled", {}), ("video.deleted", {})]

    asyncio.run(test())


@pytest.mark.usefixtures("small")
def test_the_last_event_is_the_last_though_its_video_is_deleted(settings: Settings, journal: Journal) -> None:
    async def test() -> None:
        *_, video_id = await three_videos(settings, journal)
        await journal.writer.put(journal.finish(video_id, VideoState.CANCELLED))
        await journal.delete(video_id)
        assert journal.last_event_id() == journal.events_after(0, 100)[-1].id == 4

    asyncio.run(test())


@pytest.mark.usefixtures("small")
def test_a_journal_that_is_locked_delays_events_and_loses_none(settings: Settings, journal: Journal) -> None:
    async def test() -> None:
        (video_id, *_), tail = await three_videos(settings, journal), Tail(journal)
        async with aclosing(tail.follow(0, video_id)) as events:
            assert (await anext(events)).kind == "video.accepted"
            with locked(str(settings.data_dir / "journal.db")):
                writing = journal.writer.put(journal.event(Event(video_id=video_id, kind="step.started")))
                await asyncio.sleep(0.3)
            await writing
            assert (await asyncio.wait_for(anext(events), patience(5))).kind == "step.started"

    asyncio.run(test())


async def _messages(settings: Settings, path: str, headers: dict[str, str], number: int) -> list[str]:
    """Ask a real server for a stream, make a video once it is there, and read so many messages."""
    config = uvicorn.Config(create_app(settings), host="127.0.0.1", port=0, log_config=None)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    body, text = {"prompt": "A boat", "model": "simulated", "seconds": 10}, ""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        async with client.stream("GET", path, headers=headers) as answer:
            assert answer.status_code == 200
            parts = answer.aiter_text()
            posted = False
            while len(messages := text.split("\r\n\r\n")) <= number:
                text += await asyncio.wait_for(anext(parts), 30)
                if not posted:
                    posted = True
                    assert (await client.post("/v1/videos", json=body)).status_code == 202
        server.should_exit = True
    await serving
    return messages[:number]


@pytest.mark.parametrize("way", ["header", "query"])
def test_an_id_that_the_journal_has_not_come_to_begins_the_stream_anew_and_is_mended(
    way: str, settings: Settings, journal: Journal
) -> None:
    async def test() -> None:
        ids = await three_videos(settings, journal)
        headers = {"Last-Event-ID": "1000"} if way == "header" else {}
        query = "" if way == "header" else "?after=1000"
        notice, event = await _messages(settings, f"/v1/events{query}", headers, 2)
        assert notice.splitlines() == [
            ": event 1000 has not happened here: this stream begins anew, after event 3",
            "id: 3",
        ]
        assert event.splitlines()[:2] == ["id: 4", "event: video.accepted"], "what happens now"
        path = f"/v1/videos/{ids[1]}/events{query}"
        notice, event = await _messages(settings, path, headers, 2)
        assert notice.splitlines()[1] == "id: 0"
        assert event.splitlines()[:2] == ["id: 2", "event: video.accepted"], "from the video's beginning"

    asyncio.run(test())


def test_an_id_that_the_journal_has_come_to_begins_where_it_says_though_nobody_listened(
    settings: Settings, journal: Journal
) -> None:
    async def test() -> None:
        await three_videos(settings, journal)
        tail = Tail(journal)
        for seen in (0, 2, 3):
            assert await tail.start(seen) == (seen, None)
        assert (await tail.start(4)).seen == 3

    asyncio.run(test())
