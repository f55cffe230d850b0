"""What must hold of an installation as a whole: whom it knows, what it remembers of deleted videos, whom it tells."""

from collections import defaultdict
from collections.abc import Iterator

from raypipe.journal import DELETED, LEASE_SECONDS, accepted_at, tables
from raypipe.journal.money import DAY
from raypipe.journal.retention import HEARD
from raypipe.journal.webhooks import BACK_OFF, KEPT, KINDS
from tests.chaos.invariants.evidence import Evidence, untold
from tests.chaos.invariants.money import ROUNDING

#: seconds for which a message may be due without being sent, because whoever sends it was killed or is stopped
OVERDUE_SECONDS = 600.0
#: seconds by which clocks of processes may differ
CLOCK_SECONDS = 1.0


def no_accepted_video_is_lost(evidence: Evidence) -> Iterator[str]:
    """A video that somebody was told is accepted is there, unless somebody deleted it."""
    seen = evidence.seen
    there = evidence.ids(tables.videos)
    for video_id in sorted(set(seen.accepted) - there - set(seen.deleted)):
        yield f"{video_id} was accepted and is lost"


def nothing_is_created_for_strangers(evidence: Evidence) -> Iterator[str]:
    """Whatever was created was created for a video that was accepted."""
    seen = evidence.seen
    for video_id in sorted(
        {create.token.video_id for create in seen.creates} - {*seen.accepted, *seen.deleted}
    ):
        yield f"{video_id} was never accepted, and something was created for it"


def every_row_is_of_a_video(evidence: Evidence) -> Iterator[str]:
    """Steps, phases and events are of videos that there are: a deleted video leaves none behind."""
    there = evidence.ids(tables.videos)
    for table in (tables.steps, tables.phases, tables.events):
        for video_id in sorted(evidence.ids(table) - there):
            yield f"{table.name} are left of {video_id}, of which there is no video"


def an_idempotency_key_names_its_video(evidence: Evidence) -> Iterator[str]:
    """A request's key names a video that there is, or was until somebody deleted it."""
    deleted = evidence.ids(tables.deleted_events) | set(evidence.seen.deleted)
    known = evidence.ids(tables.videos) | deleted
    for row in evidence.rows(tables.idempotency_keys):
        if row.video_id not in known:
            yield f"the Idempotency-Key {row.key!r} names {row.video_id}, which never was"


def deletions_are_told(evidence: Evidence) -> Iterator[str]:
    """Of a video that was deleted within the hour events are kept up to its deletion, without gaps; of no other."""
    kept: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
    for row in evidence.rows(tables.deleted_events):
        kept[row.video_id].append((row.id, row.seq, row.kind))
    there = evidence.ids(tables.videos)
    for video_id, events in kept.items():
        seqs, last = [seq for _, seq, _ in events], events[-1][2]
        if video_id in there:
            yield f"events are kept as those of the deleted video {video_id}, which is there"
        # what is older than an hour is forgotten from the front
        if seqs != sorted(set(seqs)) or (seqs[0] == 1 and seqs != list(range(1, len(seqs) + 1))):
            yield f"the events of the deleted video {video_id} are numbered {seqs}"
        if last != DELETED:
            yield f"the last event of the deleted video {video_id} is {last}"
    gone = set(evidence.seen.deleted) - there
    for video_id in sorted(gone - kept.keys()):
        if accepted_at(video_id) > evidence.at - HEARD:
            yield f"{video_id} was deleted, and whoever follows its events is not told"


def ids_of_events_are_given_once(evidence: Evidence) -> Iterator[str]:
    """No id is both that of an event and that of an event of a deleted video: followers would miss one of them."""
    ids = {row.id for row in evidence.rows(tables.events)}
    for row in evidence.rows(tables.deleted_events):
        if row.id in ids:
            yield f"the event {row.id} of the deleted video {row.video_id} is the event of another video too"


def what_deleted_videos_cost_is_remembered(evidence: Evidence) -> Iterator[str]:
    """What was paid for videos that are deleted still counts towards the days on which it was."""
    there = evidence.ids(tables.videos)
    gone = set(evidence.seen.deleted) - there
    paid = sum(create.price or 0.0 for create in evidence.seen.creates if create.token.video_id in gone)
    remembered = sum(row.cost for row in evidence.rows(tables.deleted_costs))
    if paid > remembered + ROUNDING:
        yield f"{paid} was paid for videos that are deleted, and {remembered} of it is remembered"


def no_day_costs_more_than_its_budget(evidence: Evidence) -> Iterator[str]:
    """What all videos have cost, may have cost and have reserved on a day is no more than the day's budget."""
    budget = evidence.settings.daily_budget
    if budget is None:
        return
    days: dict[int, float] = defaultdict(float)
    for row in evidence.rows(tables.steps):
        day = int((row.sent_at or evidence.at) // DAY)
        days[day] += row.cost + row.doubtful_cost + (row.reserved_cost or 0.0)
    for row in evidence.rows(tables.deleted_costs):
        days[row.day] += row.cost
    for day, cost in days.items():
        if cost > budget + ROUNDING:
            yield f"day {day} has cost {cost} of a budget of {budget}"


def no_lease_outlasts_its_length(evidence: Evidence) -> Iterator[str]:
    """No coordinator is taken to live for longer than a lease, whatever the clock said when it took it."""
    for row in evidence.rows(tables.coordinators):
        if row.lease_until > evidence.at + LEASE_SECONDS + CLOCK_SECONDS:
            yield f"the coordinator {row.id} is taken to live for {row.lease_until - evidence.at:.0f} s more"


def every_webhook_is_told(evidence: Evidence) -> Iterator[str]:
    """What a webhook is to be told is written down for it, once the journal has come so far."""
    upto = max((row.told_upto for row in evidence.rows(tables.installation)), default=0)
    tenants = {row.id: row.tenant for row in evidence.rows(tables.videos)}
    written = {row.id for row in evidence.rows(tables.webhook_messages)}
    news = [
        row for row in evidence.rows(tables.events)
        if row.kind in KINDS and row.id <= upto and row.at > evidence.at - KEPT
    ]  # fmt: skip
    for hook in evidence.rows(tables.webhooks):
        for event in news if hook.disabled_at is None else ():
            concerned = tenants.get(event.video_id) == hook.tenant and event.at >= hook.created_at
            if concerned and f"msg_{event.id}_{hook.id}" not in written:
                yield f"the webhook {hook.id} is never told that {event.video_id} is {event.kind}"


def no_message_is_pending_for_ever(evidence: Evidence) -> Iterator[str]:
    """A message that is not told yet is sent when it is due, and is due within the longest pause between tries."""
    hooks = {row.id: row for row in evidence.rows(tables.webhooks)}
    for row in evidence.rows(tables.webhook_messages):
        hook = hooks.get(row.webhook_id)
        if row.ended_at is not None:
            continue
        if hook is None or hook.disabled_at is not None:
            yield f"the message {row.id} is pending, and its webhook is told nothing any more"
        elif row.next_at < evidence.at - OVERDUE_SECONDS:
            yield f"the message {row.id} is due since {evidence.at - row.next_at:.0f} s, and nobody sends it"
        elif row.next_at > evidence.at + max(BACK_OFF) + CLOCK_SECONDS or row.attempt > len(BACK_OFF) + 1:
            yield f"the message {row.id} is pending after {row.attempt} tries, for longer than any may be"


def what_was_told_has_arrived(evidence: Evidence) -> Iterator[str]:
    """Where somebody listens who answers, every message has arrived once all rests."""
    told = evidence.seen.told
    if told is None:
        return
    yield from untold(evidence.journal)
    for row in evidence.rows(tables.webhook_messages):
        if row.ended_at is not None and row.id not in told:
            yield f"the message {row.id} has ended, and has not arrived: {row.error}"


INSTALLATION = (
    no_accepted_video_is_lost, nothing_is_created_for_strangers, every_row_is_of_a_video,
    an_idempotency_key_names_its_video, deletions_are_told, ids_of_events_are_given_once,
    what_deleted_videos_cost_is_remembered, no_day_costs_more_than_its_budget, no_lease_outlasts_its_length,
    every_webhook_is_told, no_message_is_pending_for_ever, what_was_told_has_arrived,
)  # fmt: skip
