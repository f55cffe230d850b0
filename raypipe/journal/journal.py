"""The journal: what was accepted, what was done, what happened. Ray executes, the journal decides."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, select, update

from raypipe.errors import PAUSING, JournalRowBroken, JournalUnavailable
from raypipe.journal import tables
from raypipe.journal.database import open_database
from raypipe.journal.hints import HINTED, hint, hinted_since
from raypipe.journal.idempotency import Idempotency, known, remember
from raypipe.journal.keys import ApiKey, Keys, admit
from raypipe.journal.leases import LEASE_SECONDS, Owner, fail, release, renew, take, take_cancelling
from raypipe.journal.money import DailyBudget, check_daily, reserve, sum_costs
from raypipe.journal.reads import Reads, parsed, steps_query
from raypipe.journal.records import AT_PROVIDER, DELETED, Event, StepKey, StepRecord, Token, VideoRecord
from raypipe.journal.retention import check_over, forget
from raypipe.journal.statements import NO_END, Statements
from raypipe.journal.steering import allow_missing, cancel, continue_, edit, resume, retry
from raypipe.journal.webhooks import Webhooks, write_down
from raypipe.journal.writer import PATIENCE, Fence, Write, Writer, execute
from raypipe.models import PhaseOutput, Spec, StepState, VideoState

#: error code of a video whose making was stopped from outside
INTERRUPTED = "interrupted"


class Journal(Reads):
    """The journal of one installation.

    Reads may come from any thread, and see everything committed before them. Writes come from an event loop.

    Attributes:
        read_only: Whether its file may not be written to, so that every write will fail.
        writer: Commits rows.
        keys: Who may call the API.
        webhooks: Who is told what becomes of videos.
    """

    def __init__(self, url: str) -> None:
        """Open the journal, and make or change its tables if need be.

        Raises:
            JournalUnavailable: The database cannot be opened, or holds something else.
            JournalTooNew: A newer raypipe wrote it.
        """
        engine, self.read_only = open_database(url)
        super().__init__(engine)
        self.writer = Writer(engine)
        self._statements = Statements(engine.dialect)
        self.keys = Keys(self.writer, self._read)
        self.webhooks = Webhooks(self.writer, self._read)

    def close(self) -> None:
        """Let go of the database; what is not committed fails."""
        self.writer.close()
        self._engine.dispose()

    def accepted(
        self, video: VideoRecord, plan: PhaseOutput, steps: Iterable[StepRecord] = ()
    ) -> tuple[Write, ...]:
        """Return the rows of a new video: itself, its steps, the output of its plan phase, and the first event."""
        return (
            Write(self._statements.insert_video, video.model_dump(mode="json")),
            *map(self.step, steps),
            self.phase(plan),
            self.event(Event(video_id=video.id, kind="video.accepted")),
        )

    async def accept(
        self,
        video: VideoRecord,
        rows: Sequence[Write],
        daily_budget: float | None,
        patience: float = PATIENCE,
        asked: Idempotency | None = None,
        key: ApiKey | None = None,
    ) -> str:
        """Commit the rows of a new video, if the day's budget, and that and the limits of a key, have room for it.

        Gives its id; or that of the video that a request under the same key has made, and commits nothing.

        Raises:
            OverBudget: There is no room; nothing is committed.
            TenantLimit: The key allows no more for now.
            KeyReused: The request under the same key asked for something else.
            VideoDeleted: The video that it made has been deleted since.
            JournalUnavailable: They cannot be committed, or not within `patience` seconds.
            AnswerLost: Nor is it known whether they are.
        """
        if daily_budget is None and asked is None and key is None:
            await self.writer.put(*rows, patience=patience)
            return video.id
        day = None if daily_budget is None else DailyBudget(daily_budget)
        keys = None if key is None else key.budget
        check = check_daily(video, [budget for budget in (day, keys) if budget is not None])

        def run(connection: Connection) -> str:
            if connection.execute(select(tables.videos.c.id).where(tables.videos.c.id == video.id)).scalar():
                return video.id  # it is committed, and the answer was lost
            if asked is not None and not remember(connection, asked, video.id):
                found = known(connection, asked)
                if found is None:
                    raise JournalUnavailable("The Idempotency-Key has just run out; send the request again.")
                return found
            if key is not None:
                admit(connection, key)
            check(connection)
            execute(connection, rows)
            return video.id

        accepted: str = await self.writer.transact(run, patience)
        return accepted

    async def known(self, asked: Idempotency) -> str | None:
        """Read which video a request under the same key has made; None if there was none within a day.

        Raises:
            KeyReused: That request asked for something else.
            VideoDeleted: The video has been deleted since.
        """
        found: str | None = await self.writer.read(lambda connection: known(connection, asked))
        return found

    async def reserve(
        self, step: StepRecord, price: float, daily: float | None, epoch: int, is_known: bool = True
    ) -> None:
        """Reserve what a step will cost.

        Raises:
            BudgetReached: The video's budget, the day's or that of its key has no room for it, or the price is not
                known and there is a budget.
            LeaseLost: That epoch of the video is over.
            JournalUnavailable: It cannot be written.
        """
        await self.writer.transact(reserve(step, price, daily, epoch, is_known), patience=float("inf"))

    async def sum_costs(self, video_id: str, epoch: int) -> None:
        """Write what an ended video has cost by now: steps that it left under way were paid, or were not.

        Raises:
            LeaseLost: That epoch of the video is over.
            JournalUnavailable: It cannot be written.
        """
        await self.writer.transact(sum_costs(video_id), fence=Fence(video_id, epoch))

    async def epoch(self, video_id: str) -> int | None:
        """Read which epoch a video is in; None if there is no such video."""
        query = select(tables.videos.c.epoch).where(tables.videos.c.id == video_id)
        found: int | None = await self.writer.read(lambda connection: connection.execute(query).scalar())
        return found

    async def take_back(self, step: StepRecord, epoch: int) -> bool:
        """Write that a step has not been sent after all; False where its row says something else by now.

        Raises:
            LeaseLost: That epoch of the video is over.
            JournalUnavailable: It cannot be written.
        """
        row = tables.steps.c
        mine = (row[name] == getattr(step, name) for name in ("video_id", "step", "take", "attempt"))
        sent = update(tables.steps).where(*mine, row.state == StepState.SENT)
        not_sent = sent.values(state=StepState.INTENT, attempt=step.attempt - 1)
        fence = Fence(step.video_id, epoch)
        return bool(await self.writer.transact(lambda c: c.execute(not_sent).rowcount, float("inf"), fence))

    def step(self, step: StepRecord) -> Write:
        """Return the row of a step, replacing what it said before."""
        row = step.model_dump(mode="json")
        return Write(self._statements.put_step, row, key=(step.video_id, step.step, step.take))

    def job_id(self, step: StepRecord) -> Write:
        """Return the id of a create that the row still has as sent or unknown; whoever has the video by now."""
        row = {f"s_{name}": getattr(step, name) for name in ("video_id", "step", "take", "attempt")}
        return Write(self._statements.job_id, {**row, "job_id": step.provider_job_id})

    def phase(self, output: PhaseOutput) -> Write:
        """Return the row of a phase, replacing what it said before."""
        return Write(self._statements.put_phase, output.model_dump(mode="json"))

    def event(self, happened: Event) -> Write:
        """Return a new event at the end of the video's log."""
        row = {f"e_{key}": value for key, value in happened.model_dump(mode="json").items()}
        return Write(self._statements.append_event, row)

    def finish(self, video_id: str, state: VideoState, **columns: Any) -> Write:
        """Return the end of a video: its state and, as columns, its result, cost and error.

        A video that has ended already keeps its end.
        """
        row = {"v_id": video_id, "state": state, "finished_at": time.time(), **NO_END, **columns}
        return Write(self._statements.finish_video, row)

    def put_back(
        self,
        video_id: str,
        state: VideoState,
        code: str = INTERRUPTED,
        why: str = "interrupted; what was finished is kept",
    ) -> Write:
        """Return that nobody makes a video any more: it is queued again, or waits, and why, for somebody to go on."""
        waits = state is VideoState.WAITING
        error = {"error_code": code if waits else None, "error_message": why if waits else None}
        return Write(
            self._statements.put_back, {"v_id": video_id, "state": state, "lease_owner": None, **error}
        )

    async def renew(
        self, owner: Owner, survived: Sequence[str] = (), running: Sequence[str] = ()
    ) -> list[str]:
        """Hold a coordinator's lease for another `LEASE_SECONDS`; it has survived those videos.

        Gives those of the videos that it runs which others have taken over.
        """
        lost: list[str] = await self.writer.transact(
            lambda connection: renew(connection, owner, survived, running), LEASE_SECONDS
        )
        return lost

    async def release(self, owner: Owner) -> bool:
        """Give up a coordinator's lease; tells whether no other coordinator lives."""
        last: bool = await self.writer.transact(lambda connection: release(connection, owner))
        return last

    async def claim(self, owner: Owner, limit: int, own_only: bool = False) -> list[VideoRecord]:
        """Take up to `limit` videos, oldest first, under a new epoch each, and mark them running.

        They are queued for the owner or for anybody, or their coordinator's lease has run out; all are of the owner's
        kind. A video whose row cannot be read is marked failed, so that it stops nobody.
        """
        claimed: list[VideoRecord] = await self.writer.transact(
            lambda connection: _claim(connection, owner, limit, own_only)
        )
        return claimed

    async def resume(self, owner: Owner, video_id: str) -> VideoRecord:
        """Take one video that is not over, whatever kind of coordinator had it, under a new epoch.

        Raises:
            VideoNotFound: There is no such video.
            VideoOver: It has ended.
            VideoBusy: A coordinator that lives has it.
        """
        return await self._taken(video_id, lambda connection: resume(connection, owner, video_id))

    async def retry(
        self, owner: Owner | None, video_id: str, resubmit: bool, key: ApiKey | None = None
    ) -> VideoRecord:
        """Take one video that has not succeeded, with its failed steps as if they had not been tried.

        Without an owner it is queued for a service.

        Raises:
            VideoNotFound: There is no such video.
            VideoOver: No step of it failed that may be tried again, or it has not ended.
        """
        return await self._taken(
            video_id, lambda connection: retry(connection, owner, video_id, resubmit), key, 1
        )

    async def continue_(
        self,
        owner: Owner | None,
        video_id: str,
        key: ApiKey | None = None,
        budget: float | None = None,
    ) -> VideoRecord:
        """Take one video that waits, to have the rest of it made; without an owner, by a service.

        A storyboard that waits for approval is approved by that. From then on the video may cost `budget` US dollars,
        if that is given.

        Raises:
            VideoNotFound: There is no such video.
            VideoOver: It does not wait.
            VideoBusy: A coordinator that lives has it.
            InvalidRequest: The budget is none, or the video was begun without one.
            OverBudget: The budget has no room for what is to come.
        """

        def run(connection: Connection) -> None:
            continue_(connection, owner, video_id, budget)
            if budget is not None:
                changed = Event(video_id=video_id, kind="video.edited", data={"budget": budget})
                execute(connection, [self.event(changed)])

        return await self._taken(video_id, run, key)

    async def allow_missing(
        self, owner: Owner | None, video_id: str, key: ApiKey | None = None
    ) -> VideoRecord:
        """Take one video that ended without some of its beats, to have a film made of the others.

        Without an owner it is queued for a service.

        Raises:
            VideoNotFound: There is no such video.
            VideoOver: It has not ended so.
            VideoBusy: A coordinator that lives has it.
        """
        return await self._taken(video_id, lambda connection: allow_missing(connection, owner, video_id), key)

    async def edit(
        self,
        owner: Owner | None,
        video_id: str,
        change: Callable[[Spec], tuple[Spec, Sequence[StepRecord]]],
        happened: Event,
        key: ApiKey | None = None,
    ) -> VideoRecord:
        """Take one video that nobody makes, with a changed spec; without an owner it is queued for a service.

        Args:
            owner: Who makes it.
            video_id: Which.
            change: Gives the new spec, and rows for all steps that it has; what it raises is passed on.
            happened: What to say of it in the video's log.
            key: Whose limits have to have room for another making.

        Raises:
            VideoNotFound: There is no such video.
            VideoOver: It is being cancelled.
            VideoBusy: A coordinator that lives has it.
            OverBudget: The video's budget has no room for what the change adds.
        """

        def run(connection: Connection) -> None:
            missing = edit(connection, owner, video_id, change)
            execute(connection, [*map(self.step, missing), self.event(happened)])

        return await self._taken(video_id, run, key, 1)

    async def _taken(
        self,
        video_id: str,
        take_it: Callable[[Connection], None],
        key: ApiKey | None = None,
        counted: int = 0,
    ) -> VideoRecord:
        """Take a video, and read it in the same transaction: its epoch is then its owner's alone.

        A key has to have room for it; what is made anew counts as another video of the day.
        """

        def run(connection: Connection) -> VideoRecord:
            if key is not None:
                admit(connection, key, counted)
            take_it(connection)
            if key is not None:
                paid = update(tables.videos).where(tables.videos.c.id == video_id)
                connection.execute(paid.values(api_key=key.name))
            query = select(tables.videos).where(tables.videos.c.id == video_id)
            return parsed(VideoRecord, connection.execute(query).one())

        taken: VideoRecord = await self.writer.transact(run)
        return taken

    async def cancel(self, video_id: str, by_service: bool = False) -> VideoState:
        """Have a video cancelled: from the moment this is committed nothing is sent for it any more.

        Gives its state now: cancelled, if nothing was under way, else cancelling. That is done by whoever makes it, or
        is next of its kind; with `by_service` by a service, if nobody makes it.

        Raises:
            VideoNotFound: There is no such video.
            VideoOver: It has ended.
        """

        def run(connection: Connection) -> VideoState:
            state = cancel(connection, video_id, by_service)
            execute(connection, [self.event(Event(video_id=video_id, kind=f"video.{state}"))])
            return state

        state: VideoState = await self.writer.transact(run)
        return state

    async def delete(self, video_id: str) -> None:
        """Delete a video that is over; its artifacts are named by its rows no more.

        Raises:
            VideoNotFound: There is no such video.
            VideoBusy: It is not over.
        """

        def run(connection: Connection) -> None:
            check_over(connection, video_id)
            write_down(connection)  # its webhooks are told of it all the same
            execute(connection, [self.event(Event(video_id=video_id, kind=DELETED))])
            forget(connection, video_id)

        await self.writer.transact(run)

    async def take_cancelling(self, owner: Owner, video_ids: Sequence[str] | None) -> list[VideoRecord]:
        """Take videos that are to be cancelled, under a new epoch each: those, or all of the owner's kind."""

        def run(connection: Connection) -> list[VideoRecord]:
            taken = take_cancelling(connection, owner, video_ids)
            return [
                each for each in (_claimed(connection, video_id) for video_id in taken) if each is not None
            ]

        found: list[VideoRecord] = await self.writer.transact(run)
        return found

    async def installation(self, gateways: int) -> tuple[str, int]:
        """Return what names the installation's gateways now, and their number: as given, if none is set yet."""
        found: tuple[str, int] = await self.writer.transact(lambda each: _installation(each, gateways))
        return found

    async def in_flight(self, provider: str) -> list[tuple[StepKey, float]]:
        """Read which steps a provider has, or may have, and when each was sent."""
        steps = tables.steps.c
        under_way = steps.state.in_(AT_PROVIDER)
        columns = steps.video_id, steps.step, steps.take, steps.sent_at
        query = select(*columns).where(steps.provider == provider, steps.sent_at.is_not(None), under_way)
        rows = await self.writer.read(lambda connection: connection.execute(query).all())
        return [((row.video_id, row.step, row.take), row.sent_at) for row in rows]

    async def sent_since(self, provider: str, since: float) -> list[float]:
        """Read when a provider was sent work since some time; of each step the last time."""
        steps = tables.steps.c
        query = select(steps.sent_at).where(steps.provider == provider, steps.sent_at >= since)
        return list(await self.writer.read(lambda connection: connection.execute(query).scalars().all()))

    async def hint(self, create: Token, provider: str, job_id: str) -> bool:
        """Note that a provider says there is news of a job; where its create was not answered, that is the answer.

        Tells whether the create is under way and the job may be its own; else nothing is noted.
        """
        about = {"step": create.step, "take": create.take, "data": {"job_id": job_id}}
        happened = self.event(Event(video_id=create.video_id, kind=HINTED, **about))

        def run(connection: Connection) -> bool:
            if not hint(connection, create, provider, job_id):
                return False
            execute(connection, [happened])
            return True

        found: bool = await self.writer.transact(run)
        return found

    async def hinted_since(self, last: int | None) -> tuple[int, list[StepKey]]:
        """Read of which steps there is news, after the event with id `last`; gives the id of the newest event too."""
        found: tuple[int, list[StepKey]] = await self.writer.read(
            lambda connection: hinted_since(connection, last)
        )
        return found

    async def steps_async(self, video_id: str) -> list[StepRecord]:
        """As `steps`, without blocking the event loop."""
        query = steps_query([video_id])
        rows = await self.writer.read(lambda connection: connection.execute(query).all(), float("inf"))
        return [parsed(StepRecord, row) for row in rows]

    async def fallbacks(self, step: StepRecord) -> dict[str, dict[str, Any]]:
        """Read what was said of each model of a step that was left for another, since the step was last tried anew."""
        told = tables.events.c
        its = (told.video_id == step.video_id, told.step == step.step, told.take == step.take)
        query = select(told.kind, told.data).where(*its).order_by(told.seq)
        rows = await self.writer.read(lambda connection: connection.execute(query).all(), float("inf"))
        found: dict[str, dict[str, Any]] = {}
        for kind, data in rows:
            if kind == "step.failed" and data["code"] not in PAUSING:
                found = {}
            elif kind == "step.fell_back":
                found[data["model"]] = data
        return found


def _claim(connection: Connection, owner: Owner, limit: int, own_only: bool) -> list[VideoRecord]:
    taken = take(connection, owner, limit, own_only)
    claimed = (_claimed(connection, video_id) for video_id in taken)
    return [video for video in claimed if video is not None]


def _claimed(connection: Connection, video_id: str) -> VideoRecord | None:
    try:
        row = connection.execute(select(tables.videos).where(tables.videos.c.id == video_id)).one()
        return parsed(VideoRecord, row)
    except (JournalRowBroken, ValueError) as error:
        fail(connection, video_id, JournalRowBroken.code, str(error))
        return None


def _installation(connection: Connection, gateways: int) -> tuple[str, int]:
    table = tables.installation
    connection.execute(update(table).where(table.c.gateways.is_(None)).values(gateways=gateways))
    row = connection.execute(select(table)).one()
    return f"{row.id}-{row.gateways_ended}", row.gateways
