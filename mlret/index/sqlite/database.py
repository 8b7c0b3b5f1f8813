"""Opens the database of an index in a way that the access rights of its folder allow.

If the folder is writable, SQLite opens the database as usual. If it is read-only, there are three ways. While another
process has the database open, its log and its shared memory exist, and SQLite reads through them. If nobody has it open
and its log is empty, the file is read as one that does not change; should somebody change it nevertheless, that is
noticed. If it has a log but no shared memory, a temporary copy of both is read.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from mlret.errors import Corrupt, Locked, MlretError
from mlret.index.sqlite.raw import check_not_inherited

BUSY_SECONDS = 30
_WAL = "-wal"
DAMAGED = "restore the folder from a copy"


@dataclass
class Database:
    """An open database.

    Parameters
    ----------
    path
        The path of the database.
    connection
        The connection to the file or to a copy of it.
    writable
        Whether writes are kept, that is, the connection is to the file itself in a writable folder.
    temporary
        The folder of the temporary copy that is open in place of the file, if there is one.
    watched
        The state of the file when it was opened as one that does not change, or was copied.
    """

    path: Path
    connection: sqlite3.Connection
    writable: bool
    temporary: Path | None = None
    watched: tuple[object, ...] | None = None

    @property
    def changed(self) -> bool:
        """Whether another process has changed the file since it was copied or opened as one that does not change."""
        return self.watched is not None and self.watched != _state(self.path)

    def close(self) -> None:
        """Close the connection, and remove a temporary copy."""
        self.connection.close()
        if self.temporary is not None:
            shutil.rmtree(self.temporary, ignore_errors=True)


def check_database(path: Path) -> None:
    """Raise if there is no database that can be read.

    Raises
    ------
    MlretError
        If the file is missing, empty, or cannot be read.
    """
    try:
        size = path.stat().st_size if path.is_file() else -1
    except OSError as error:
        raise MlretError(f"{path} cannot be read ({error.strerror}); check its rights") from error
    if size < 0:
        raise Corrupt(f"{path} is missing; {DAMAGED}")
    if not size:
        raise Corrupt(f"{path} is damaged (0 bytes: it was cut or never written); {DAMAGED}")
    if not _allowed(path, os.R_OK):
        raise MlretError(f"{path} may not be read by this user; ask its owner, or copy the folder")


def open_database(path: Path) -> Database:
    """Open a database.

    Raises
    ------
    MlretError
        If there is none, or it cannot be read.
    sqlite3.Error
        If SQLite cannot open it.
    """
    check_not_inherited(path)
    check_database(path)
    if unwritable(path) is None:
        return Database(path, _connected(path), writable=True)
    log = path.with_name(path.name + _WAL)
    if log.exists():
        connection = _connected(path, "mode=ro")
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            return Database(path, connection, writable=False)
        except sqlite3.OperationalError:
            connection.close()
        if log.stat().st_size:
            return open_copy(path)
    watched = _state(path)
    return Database(path, _connected(path, "mode=ro&immutable=1"), writable=False, watched=watched)


def unwritable(path: Path) -> Path | None:
    """Return the folder or file that this user cannot write to; ``None`` if all that is needed is writable."""
    beside = [path.with_name(path.name + suffix) for suffix in (_WAL, "-shm")]
    needed = [path.parent, path, *(file for file in beside if file.exists())]
    return next((one for one in needed if not _allowed(one, os.W_OK)), None)


def read_only(path: Path) -> MlretError:
    """Return the error to raise when something should be written to a read-only database."""
    return MlretError(
        f"{path.parent} may only be read by this user ({(unwritable(path) or path).name} is not writable): searching "
        "works, writing does not; change its rights (chmod), or copy the folder"
    )


def open_copy(path: Path) -> Database:
    """Open a temporary copy of a database. The copy can be written to and is removed when it is closed.

    Raises
    ------
    MlretError
        If the disk of temporary files has no room for it.
    """
    folder, watched = Path(tempfile.mkdtemp(prefix="mlret-")), _state(path)
    try:
        for name in (path.name, path.name + _WAL):
            source = path.with_name(name)
            if source.exists():
                shutil.copyfile(source, folder / name)
        return Database(path, _connected(folder / path.name), writable=False, temporary=folder, watched=watched)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise _no_copy(path, folder, str(error.strerror)) from error


def backed_up(database: Database) -> Database:
    """Return a temporary copy of what an open database shows, as :func:`open_copy` does."""
    folder, watched = Path(tempfile.mkdtemp(prefix="mlret-")), _state(database.path)
    try:
        connection = _connected(folder / database.path.name, "mode=rwc")
        database.connection.backup(connection)
        return Database(database.path, connection, writable=False, temporary=folder, watched=watched)
    except sqlite3.Error as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise _no_copy(database.path, folder, str(error)) from error


def reported(path: Path, error: sqlite3.DatabaseError) -> MlretError:
    """Return the error to raise for an error of SQLite: one line that names the cause and how to fix it."""
    name = getattr(error, "sqlite_errorname", "") or ""
    # The text that is no UTF-8 follows this; it may have many lines, and must not be shown.
    cause = str(error).partition(" with text ")[0]
    if name.startswith("SQLITE_READONLY"):
        return read_only(path)
    if name.startswith("SQLITE_BUSY"):
        return Locked(f"{path} is in use by another process ({cause}); wait until it is done, then try again")
    if not path.parent.exists():
        return MlretError(f"{path} is missing ({cause}): its folder was moved or removed; open it where it is now")
    unreadable = cause.startswith(("no such", "Could not decode", "malformed"))
    # Such as a full disk or missing rights, which are no damage.
    if isinstance(error, sqlite3.OperationalError) and not unreadable:
        return MlretError(f"{path}: {cause}; check the disk's space and rights, then try again")
    return Corrupt(f"{path} is damaged ({cause}); {DAMAGED}")


def read_aside(path: Path, query: str) -> list[tuple[object, ...]]:
    """Return the rows of a query to a database that may be damaged; an empty list if it cannot be read."""
    with suppress(sqlite3.Error, UnicodeDecodeError, MlretError):
        database = open_database(path)
        with closing(database):
            return database.connection.execute(query).fetchall()
    return []


def _connected(path: Path, options: str = "mode=rw") -> sqlite3.Connection:
    return sqlite3.connect(
        f"file:{quote(os.fsencode(path.absolute()))}?{options}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )


def _allowed(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def _state(path: Path) -> tuple[object, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    log = path.with_name(path.name + _WAL)
    log_state = (log.stat().st_size, log.stat().st_mtime_ns) if log.exists() else ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, log_state


def _no_copy(path: Path, folder: Path, why: str) -> MlretError:
    return MlretError(
        f"{path} may not be written to by this user, and a temporary copy of it in {folder.parent} failed ({why}); "
        "make room there, or set TMPDIR"
    )
