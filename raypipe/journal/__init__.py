"""What was accepted, what was done, what happened: rows in one database."""

from raypipe.journal.database import database_file
from raypipe.journal.journal import Journal
from raypipe.journal.recorder import Recorder
from raypipe.journal.records import Event, StepRecord, VideoRecord, accepted_at, new_video_id
from raypipe.journal.writer import Write

__all__ = [
    "Event",
    "Journal",
    "Recorder",
    "StepRecord",
    "VideoRecord",
    "Write",
    "accepted_at",
    "database_file",
    "new_video_id",
]
