"""Opening the journal's database: its tables are made and changed once, whoever comes first, by one at a time."""

import os
import re
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, column, create_engine, event, inspect, select, table
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from raypipe.errors import JournalTooNew, JournalUnavailable
from raypipe.journal.writer import cause_of
from raypipe.private import make_file, make_folder

#: the newest migration
HEAD = "0011"
#: seconds that a reader, or whoever makes the tables, waits for a writer
BUSY_SECONDS = 15.0
#: seconds beyond which a lease cannot reach that was renewed by the clock as it is now
LONGEST_LEASE_SECONDS = 60.0


def database_file(url: str) -> Path | None:
    """Return the file of an SQLite database; None if the URL names no file."""
    try:
        parsed = make_url(url)
    except SQLAlchemyError:
        return None
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database
    return Path(parsed.database or "") if is_file else None


def open_database(url: str) -> tuple[Engine, bool]:
    """Connect to the journal's database and bring its tables up to this raypipe's version.

    Returns:
        The connection, and whether the database may only be read, because its file may not be written to.

    Raises:
        JournalUnavailable: It cannot be opened, or is no journal.
        JournalTooNew: A newer raypipe wrote it.
    """
    try:
        parsed = make_url(url)
    except SQLAlchemyError as error:
        raise JournalUnavailable(
            "RAYPIPE_JOURNAL is no URL of a database, such as sqlite:////a/b.db."
        ) from error
    name = parsed.render_as_string(hide_password=True)
    try:
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            return _open_file(Path(parsed.database), name)
        return _migrated(create_engine(parsed, hide_parameters=True), name, _in_a_transaction), False
    except (SQLAlchemyError, OSError, ImportError) as error:
        reason = cause_of(error) if isinstance(error, SQLAlchemyError) else error
        raise JournalUnavailable(f"The journal at {name} cannot be opened: {reason}") from error


def _open_file(path: Path, name: str) -> tuple[Engine, bool]:
    if path.exists() and not all(
        os.access(each, os.W_OK, effective_ids=True) for each in (path, path.parent)
    ):
        return _open_for_reading(path, name), True
    make_folder(path.parent)
    make_file(path)  # what SQLite keeps beside it gets its mode
    engine = create_engine(URL.create("sqlite", database=str(path)), hide_parameters=True)
    event.listen(engine, "connect", _configure)
    return _migrated(engine, name, _in_an_exclusive_transaction), False


def _open_for_reading(path: Path, name: str) -> Engine:
    engine = _readable(path)
    with engine.connect() as connection:
        found = _revision(connection, name)
    if found != HEAD:
        raise JournalUnavailable(
            f"The journal at {name} has to be made anew or changed, but cannot be written to."
        )
    return engine


def _readable(path: Path) -> Engine:
    """Connect to a file for reading, by the first way that works.

    SQLite needs a file that readers share, which it cannot make in a folder that is read-only too. Without a
    write-ahead log it can take the file as one that nobody changes; with one, a copy of both is read.
    """
    engine = _with_options(path, "mode=ro")
    try:
        with engine.connect() as connection:
            inspect(connection).get_table_names()
        return engine
    except OperationalError:
        log = path.with_name(f"{path.name}-wal")
        if not log.exists() or log.stat().st_size == 0:
            return _with_options(path, "immutable=1")
    copies = Path(tempfile.mkdtemp(prefix="raypipe-journal-"))
    for each in (path, log):
        shutil.copyfile(each, copies / each.name)
    engine = _with_options(copies / path.name, "mode=rw")
    weakref.finalize(engine, shutil.rmtree, copies, ignore_errors=True)
    return engine


def _with_options(path: Path, options: str) -> Engine:
    return create_engine(f"sqlite:///file:{quote(str(path))}?{options}&uri=true", hide_parameters=True)


def _configure(connection: Any, _record: Any) -> None:
    for pragma in (f"busy_timeout={BUSY_SECONDS * 1e3:.0f}", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _migrated(engine: Engine, name: str, alone: Callable[[Engine], Any]) -> Engine:
    with engine.connect() as connection:
        if _revision(connection, name) == HEAD:
            return engine
    with alone(engine) as connection:
        # whoever was first while we waited has done it
        if (found := _revision(connection, name)) != HEAD:
            _check_nobody_uses(connection, name, found)
            _upgrade(connection)
    return engine


def _upgrade(connection: Connection) -> None:
    # imported here: it takes longer than all the rest, and a journal is brought up to date once
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    old = _old_version(connection)
    if old is not None:
        connection.exec_driver_sql("DROP TABLE schema_version")
        command.stamp(config, f"{old:04}")
    command.upgrade(config, HEAD)


def _revision(connection: Connection, name: str) -> str | None:
    """Read which migration the tables have had last; None if there are none.

    Raises:
        JournalUnavailable: They are not a journal's.
        JournalTooNew: A newer raypipe made them.
    """
    tables = set(inspect(connection).get_table_names())
    if not tables:
        return None
    if "alembic_version" in tables:
        found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    else:
        old = _old_version(connection)
        found = None if old is None else f"{old:04}"
    if found is None or not re.fullmatch(r"\d{4}", found):
        raise JournalUnavailable(f"The database at {name} holds tables, but not those of a raypipe journal.")
    if found > HEAD:
        raise JournalTooNew(
            f"The journal at {name} was written by a newer raypipe: its tables have version {found}, this raypipe "
            f"knows {HEAD}. Upgrade raypipe, or set RAYPIPE_DATA_DIR or RAYPIPE_JOURNAL to a new place."
        )
    return str(found)


def _old_version(connection: Connection) -> int | None:
    """Read the number that stood in a table of its own before there were migrations."""
    database = inspect(connection)
    if not database.has_table("schema_version"):
        return None
    if "version" not in {column["name"] for column in database.get_columns("schema_version")}:
        return None  # somebody else's
    version: int | None = connection.exec_driver_sql("SELECT version FROM schema_version").scalar()
    return version


def _check_nobody_uses(connection: Connection, name: str, found: str | None) -> None:
    """Refuse to change tables under a coordinator that lives: it writes what it knows."""
    if found is None or not inspect(connection).has_table("coordinators"):
        return
    now = time.time()
    leases = table("coordinators", column("lease_until")).c.lease_until
    if connection.execute(select(leases).where(leases.between(now, now + LONGEST_LEASE_SECONDS))).first():
        raise JournalUnavailable(
            f"The journal at {name} is in use by an older raypipe; stop that, then start this one."
        )


@contextmanager
def _in_a_transaction(engine: Engine) -> Iterator[Connection]:
    with engine.begin() as connection:
        yield connection


@contextmanager
def _in_an_exclusive_transaction(engine: Engine) -> Iterator[Connection]:
    """Take SQLite's write lock before looking, so that of several newcomers one makes the tables."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        _use_write_ahead_log(connection)
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.exec_driver_sql("ROLLBACK")
            raise
        connection.exec_driver_sql("COMMIT")


def _use_write_ahead_log(connection: Connection) -> None:
    """Switch the file to a write-ahead log; SQLite does not wait for others here, so this does."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            return
        except OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
