"""The journal's tables. Times are Unix seconds, money is US dollars."""

from sqlalchemy import JSON, Column, Float, ForeignKey, Index, Integer, MetaData, String, Table, Text

#: raised whenever a table changes; an older journal is brought up to it, a newer one is refused
SCHEMA_VERSION = 2

metadata = MetaData()

schema = Table("schema_version", metadata, Column("version", Integer, primary_key=True))

videos = Table(
    "videos",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("state", String(12), nullable=False),
    Column("spec", JSON, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("result", JSON),
    Column("cost", Float, nullable=False, default=0.0),
    Column("error_code", String(40)),
    Column("error_message", Text),
    # who may write to the video, and until when; the epoch fences writers that lost it
    Column("lease_owner", String(80)),
    Column("lease_until", Float),
    Column("epoch", Integer, nullable=False, default=0),
    Column("cancel_requested_at", Float),
    Column("crash_count", Integer, nullable=False, default=0),
    Index("videos_by_state", "state", "id"),
)

steps = Table(
    "steps",
    metadata,
    Column("video_id", String(40), ForeignKey("videos.id"), primary_key=True),
    Column("step", String(40), primary_key=True),
    Column("phase", String(12), nullable=False),
    Column("beat_index", Integer),
    Column("state", String(10), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("provider", String(80), nullable=False),
    # the provider's own id, known once it has accepted the work
    Column("provider_job_id", Text),
    # what the step is made from: equal keys give equal artifacts
    Column("input_key", String(64)),
    Column("node", String(80)),
    Column("intent_at", Float, nullable=False),
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("artifact", JSON),
    Column("cost", Float, nullable=False, default=0.0),
    Column("error_code", String(40)),
    Column("error_message", Text),
)

phases = Table(
    "phases",
    metadata,
    Column("video_id", String(40), ForeignKey("videos.id"), primary_key=True),
    Column("phase", String(12), primary_key=True),
    Column("status", String(10), nullable=False),
    Column("output", JSON, nullable=False),
    Column("cost", Float, nullable=False),
    Column("duration", Float, nullable=False),
    Column("error", Text),
    Column("started_at", Float),
    Column("finished_at", Float),
)

events = Table(
    "events",
    metadata,
    Column("video_id", String(40), ForeignKey("videos.id"), primary_key=True),
    # 1, 2, 3, ... without gaps within a video
    Column("seq", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("kind", String(40), nullable=False),
    Column("step", String(40)),
    Column("beat_index", Integer),
    Column("data", JSON, nullable=False),
)
