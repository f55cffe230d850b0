"""The journal's tables. Times are Unix seconds, money is US dollars.

A change here needs a migration in `migrations/versions`; a test compares the two.
"""

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

# one row: what all processes that share this journal have to agree on
installation = Table(
    "installation",
    metadata,
    # part of the names of its actors, so that installations on one cluster keep apart
    Column("id", String(32), primary_key=True),
    # how many gateways share its videos
    Column("gateways", Integer),
    # grows when the last coordinator has ended the gateways: the next ones get new names
    Column("gateways_ended", Integer, nullable=False),
    # id of the event up to which all that webhooks are to be told is written down
    Column("told_upto", Integer, nullable=False, server_default="0"),
)

coordinators = Table(
    "coordinators",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("runner", String(20), nullable=False),
    # it is taken for dead, and its videos may be taken over, when this has passed
    Column("lease_until", Float, nullable=False),
)

videos = Table(
    "videos",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("state", String(12), nullable=False),
    Column("tenant", String(40), nullable=False),
    # name of the key that somebody last had it made under, whose budget it is paid from
    Column("api_key", String(80)),
    # which kind of coordinator may make it
    Column("runner", String(20), nullable=False),
    Column("request", JSON),
    # missing until it is planned
    Column("spec", JSON),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("result", JSON),
    Column("estimated_cost", Float),
    Column("cost", Float, nullable=False),
    Column("error_code", String(40)),
    Column("error_message", Text),
    # the coordinator that makes it; the epoch grows with each, and fences the ones before
    Column("lease_owner", String(80)),
    Column("epoch", Integer, nullable=False),
    Column("cancel_requested_at", Float),
    # coordinators that died since one was seen to live with it
    Column("crash_count", Integer, nullable=False),
    Index("videos_by_state", "state", "id"),
    Index("videos_by_owner", "lease_owner"),
    Index("videos_by_tenant", "tenant", "id"),
)

steps = Table(
    "steps",
    metadata,
    Column("video_id", String(40), ForeignKey("videos.id"), primary_key=True),
    Column("step", String(40), primary_key=True),
    # making something anew is a new take; the old ones stay
    Column("take", Integer, primary_key=True),
    Column("phase", String(12), nullable=False),
    Column("beat_index", Integer),
    Column("state", String(10), nullable=False),
    # creates that were sent, or runs that were begun
    Column("attempt", Integer, nullable=False),
    # starts of a gateway that found it under way and were not seen to survive it
    Column("starts", Integer, nullable=False),
    Column("provider", String(80), nullable=False),
    Column("model", String(200)),
    # the provider's own id, known once it has accepted the work
    Column("provider_job_id", Text),
    # whether an earlier create may have been accepted too
    Column("possible_duplicate", Boolean, nullable=False),
    # what the step is made from: equal keys, equal work
    Column("input_key", String(64)),
    Column("node", String(80)),
    Column("intent_at", Float, nullable=False),
    Column("sent_at", Float),
    Column("started_at", Float),
    Column("finished_at", Float),
    # what it made, or how it failed
    Column("result", JSON),
    Column("estimated_cost", Float),
    # what the newest create may cost, until that is known
    Column("reserved_cost", Float),
    # what creates before it may have cost: nobody knows what became of them, or they brought nothing
    Column("doubtful_cost", Float, nullable=False),
    # what creates before it have cost
    Column("earlier_cost", Float, nullable=False),
    # what all creates that brought something have cost
    Column("cost", Float, nullable=False),
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
    # grows with every event of the installation: one cursor for all of them
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("video_id", String(40), ForeignKey("videos.id"), nullable=False),
    # 1, 2, 3, ... without gaps within a video
    Column("seq", Integer, nullable=False),
    Column("at", Float, nullable=False),
    Column("kind", String(40), nullable=False),
    Column("step", String(40)),
    Column("take", Integer),
    Column("beat_index", Integer),
    Column("data", JSON, nullable=False),
    UniqueConstraint("video_id", "seq", name="events_by_video"),
    sqlite_autoincrement=True,
)

# what happened lately to videos that are deleted: who listens may not have read it yet
deleted_events = Table(
    "deleted_events",
    metadata,
    # as in `events`
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("tenant", String(40), nullable=False),
    Column("video_id", String(40), nullable=False),
    Column("seq", Integer, nullable=False),
    Column("at", Float, nullable=False),
    Column("kind", String(40), nullable=False),
    Column("step", String(40)),
    Column("take", Integer),
    Column("beat_index", Integer),
    Index("deleted_events_by_video", "video_id"),
)

# what the steps of deleted videos have cost, or may have, by the day (since 1970) on which they were sent
deleted_costs = Table(
    "deleted_costs",
    metadata,
    Column("day", Integer, primary_key=True),
    Column("tenant", String(40), primary_key=True),
    Column("cost", Float, nullable=False),
)

# requests that were sent under a key, so that one that is sent again makes no second video
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("tenant", String(40), primary_key=True),
    Column("key", String(255), primary_key=True),
    # digest of what was asked for
    Column("request", String(64), nullable=False),
    Column("video_id", String(40), nullable=False),
    Column("at", Float, nullable=False),
    Index("idempotency_keys_by_time", "at"),
)

# who may call the API from elsewhere, and for which tenant
api_keys = Table(
    "api_keys",
    metadata,
    # sha256 of the key: the key itself is nowhere
    Column("digest", String(64), primary_key=True),
    Column("name", String(80), nullable=False, unique=True),
    Column("tenant", String(40), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("revoked_at", Float),
    # limits on the tenant's videos
    Column("most_in_flight", Integer),
    Column("most_per_day", Integer),
    # US dollars that the tenant may spend a day
    Column("daily_budget", Float),
)

# how many videos each tenant has submitted by the day (since 1970), deleted ones included
submissions = Table(
    "submissions",
    metadata,
    Column("tenant", String(40), primary_key=True),
    Column("day", Integer, primary_key=True),
    Column("videos", Integer, nullable=False),
)

# pictures that were brought with plans: for a day their tenant may name them, and they are kept
uploads = Table(
    "uploads",
    metadata,
    Column("tenant", String(40), primary_key=True),
    Column("digest", String(64), primary_key=True),
    Column("at", Float, nullable=False),
)

# where tenants want to be told what becomes of their videos
webhooks = Table(
    "webhooks",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("tenant", String(40), nullable=False),
    Column("url", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    # when it said that it is gone
    Column("disabled_at", Float),
    Index("webhooks_by_tenant", "tenant"),
)

# what webhooks are to be told, and were
webhook_messages = Table(
    "webhook_messages",
    metadata,
    # made of the event and the webhook: nothing is told twice under two names
    Column("id", String(80), primary_key=True),
    Column("webhook_id", String(40), ForeignKey("webhooks.id"), nullable=False),
    Column("body", JSON, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("next_at", Float, nullable=False),
    # when it was told, or given up
    Column("ended_at", Float),
    Column("error", Text),
    Index("webhook_messages_by_webhook", "webhook_id"),
    Index("webhook_messages_by_time", "ended_at", "next_at"),
)
