"""What was accepted, what was done, what happened: rows in one database."""

from raypipe.journal.database import database_file
from raypipe.journal.idempotency import Idempotency
from raypipe.journal.journal import INTERRUPTED, Journal
from raypipe.journal.keys import LOCAL_TENANT, ApiKey
from raypipe.journal.leases import LEASE_SECONDS, LOCAL, SERVICE, Owner
from raypipe.journal.records import (
    AT_PROVIDER,
    DELETED,
    UNDER_WAY,
    Event,
    StepKey,
    StepRecord,
    TenantEvent,
    Token,
    VideoRecord,
    accepted_at,
    new_video_id,
)
from raypipe.journal.steering import CANCELLED
from raypipe.journal.webhooks import Message, WebhookRecord
from raypipe.journal.writer import Fence, Write

__all__ = [
    "AT_PROVIDER",
    "CANCELLED",
    "DELETED",
    "INTERRUPTED",
    "LEASE_SECONDS",
    "LOCAL",
    "LOCAL_TENANT",
    "SERVICE",
    "UNDER_WAY",
    "ApiKey",
    "Event",
    "Fence",
    "Idempotency",
    "Journal",
    "Message",
    "Owner",
    "StepKey",
    "StepRecord",
    "TenantEvent",
    "Token",
    "VideoRecord",
    "WebhookRecord",
    "Write",
    "accepted_at",
    "database_file",
    "new_video_id",
]
