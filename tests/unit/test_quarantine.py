"""A video that nobody makes any more, because coordinators died over it, ends as others do: paid, told and dated."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from raypipe.journal import Journal, WebhookRecord
from raypipe.journal.leases import CRASHES, QUARANTINED
from raypipe.models import StepState, VideoState
from tests.journals import claim, commit

from .test_journal import add_video, step


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(f"sqlite:///{tmp_path / 'journal.db'}")
    yield opened
    opened.close()


def quarantined(journal: Journal, folder: Path) -> str:
    """Have coordinators die over a video, a clip of which is paid, until it is tried no more."""
    video_id = add_video(journal)
    commit(journal, journal.step(step(video_id, state=StepState.DONE, cost=0.27)))
    for number in range(CRASHES):
        assert [video.id for video in claim(journal, f"coordinator {number}")] == [video_id]
        with closing(sqlite3.connect(folder / "journal.db", isolation_level=None)) as database:
            database.execute("UPDATE coordinators SET lease_until = 0")
    assert claim(journal, "the next") == []
    return video_id


def test_a_quarantined_video_says_what_it_has_cost_and_who_follows_it_is_told(
    journal: Journal, tmp_path: Path
) -> None:
    video_id = quarantined(journal, tmp_path)
    video = journal.video(video_id)
    assert (video.state, video.error_code, video.cost) == (VideoState.FAILED, QUARANTINED, 0.27)
    events = journal.events(video_id)
    assert [event.kind for event in events] == ["video.accepted", "video.failed"]
    assert events[-1].data == {"error": video.error_message}
    assert events[-1].seq == 2


def test_a_webhook_is_told_of_a_quarantined_video(journal: Journal, tmp_path: Path) -> None:
    asyncio.run(journal.webhooks.add(WebhookRecord(tenant="local", url="https://example.com")))
    video_id = quarantined(journal, tmp_path)
    (message,) = asyncio.run(journal.webhooks.due(10))
    assert message.body["type"] == "video.failed"
    assert message.body["data"]["id"] == video_id
    assert message.body["data"]["error"]["code"] == QUARANTINED
