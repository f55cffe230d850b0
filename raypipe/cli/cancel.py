"""Cancelling a video from the command line: whoever makes it stops, or, if nobody does, this process."""

import asyncio
import time

from rich.console import Console

from raypipe.cli.generate import going_on, make
from raypipe.cli.lookup import open_for_writing
from raypipe.cli.watch import say
from raypipe.config import Settings
from raypipe.journal import LOCAL, UNDER_WAY, Journal, VideoRecord
from raypipe.models import VideoState
from raypipe.snapshot import Snapshot
from raypipe.text import dollars

#: seconds that whoever makes the video gets to notice, and to stop its jobs at providers
NOTICE_SECONDS = 15.0


def cancel_video(video: VideoRecord, settings: Settings, console: Console) -> int:
    """Cancel a video, say what is kept, and give the exit code.

    Raises:
        VideoOver: It has ended.
        JournalUnavailable: The journal cannot be written.
    """
    journal = open_for_writing(settings)
    try:
        state = asyncio.run(journal.cancel(video.id))
        is_made = (video.lease_until or 0.0) > time.time()
        if state is VideoState.CANCELLING and (is_made or video.runner != LOCAL):
            state = _awaited(journal, video.id)
        if state is VideoState.CANCELLING and video.runner == LOCAL:
            make(going_on(video.id, lambda each: each.cancel(video.id)), settings, journal, console)
        return _told(Snapshot.read(journal, video.id), console)
    finally:
        journal.close()


def _awaited(journal: Journal, video_id: str) -> VideoState:
    """Wait until whoever makes the video has stopped."""
    deadline = time.monotonic() + NOTICE_SECONDS
    while (state := journal.video(video_id).state) is VideoState.CANCELLING and time.monotonic() < deadline:
        time.sleep(0.2)
    return state


def _told(snapshot: Snapshot, console: Console) -> int:
    if snapshot.video.state is not VideoState.CANCELLED:
        say(
            console,
            f"{snapshot.handle} is cancelled as soon as the service runs; nothing more is sent for it.",
        )
        return 0
    doubtful = f", and maybe {dollars(snapshot.doubtful_cost)} more" if snapshot.doubtful_cost else ""
    made = f"{snapshot.count('chunk')} of {len(snapshot.video.spec.beats)} chunks are made and kept"
    say(console, f"Cancelled {snapshot.handle}: {made}; it has cost {dollars(snapshot.cost)}{doubtful}.")
    if unsettled := sum(step.state in UNDER_WAY for step in snapshot.all_steps):
        jobs = "1 job has" if unsettled == 1 else f"{unsettled} jobs have"
        say(console, f"{jobs} not been seen to stop yet: the next raypipe that makes videos asks again.")
    say(console, f"raypipe retry {snapshot.handle} goes on with it after all.")
    return 0
