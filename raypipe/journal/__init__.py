"""What was accepted, what was done, what happened: rows in one database."""

from raypipe.journal.journal import Journal
from raypipe.journal.recorder import Recorder
from raypipe.journal.records import Event, StepRecord, VideoRecord, new_video_id
from raypipe.journal.writer import Write

__all__ = ["Event", "Journal", "Recorder", "StepRecord", "VideoRecord", "Write", "new_video_id"]
