"""Writing to a journal from a test that has no event loop."""

import asyncio
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager

from raypipe.journal import Fence, Journal, Owner, VideoRecord, Write


def commit(journal: Journal, *writes: Write, fence: Fence | None = None) -> None:
    """Commit rows together."""
    (problem,) = commit_each(journal, [writes], fence)
    if problem is not None:
        raise problem


def commit_each(
    journal: Journal, requests: Iterable[Sequence[Write]], fence: Fence | None = None
) -> list[BaseException | None]:
    """Ask for several commits at once, and give what went wrong with each."""

    async def write() -> list[BaseException | None]:
        asked = [journal.writer.put(*writes, fence=fence) for writes in requests]
        return await asyncio.gather(*asked, return_exceptions=True)

    return asyncio.run(write())


@contextmanager
def locked(path: str) -> Iterator[None]:
    """Hold a database as another process does that writes for long."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("begin immediate")
        yield
        connection.execute("rollback")


def claim(journal: Journal, owner: str, limit: int = 10, own_only: bool = False) -> list[VideoRecord]:
    """Take videos as a service of that name."""
    return asyncio.run(journal.claim(Owner(owner, "service"), limit, own_only))
