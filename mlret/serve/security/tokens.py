"""Tokens: how they look, and the file that keeps their hashes.

A token is ``mlret_ID_SECRET``: an id of 8 characters that may be seen by anyone (lists and logs name it), and a secret
of 43 characters from a secure source, which is 256 bits. The file holds the SHA-256 of a token. A slow hash would
protect no better: it is for passwords, which can be guessed; 256 random bits cannot.

The file belongs to one user, with mode 0600, and is replaced as a whole. A running server sees a change at the next
request, so that a revoked token ends at once.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from string import ascii_letters, ascii_lowercase, digits
from typing import Any

from mlret.data.durable import write_atomically
from mlret.errors import AlreadyExists, Corrupt, InputError, NotFound
from mlret.index.storage.lock import WriterLock
from mlret.memory.scope import check_scope
from mlret.serve.security.principal import ROLES, Principal, Role

_ID_LENGTH, _SECRET_LENGTH = 8, 43
_FORM = re.compile(rf"mlret_([a-z0-9]{{{_ID_LENGTH}}})_[A-Za-z0-9]{{{_SECRET_LENGTH}}}", re.ASCII)
_FORMAT = 1


def default_path() -> Path:
    """Return the file of the user's tokens: ``mlret/tokens.json`` in ``$XDG_CONFIG_HOME``, else in ``~/.config``.

    Raises
    ------
    InputError
        If the user has no home folder, as in some containers.
    """
    try:
        folder = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    except RuntimeError as error:
        raise InputError("this user has no home folder for the file of tokens; name one: --tokens FILE") from error
    return folder / "mlret" / "tokens.json"


def token_id(token: str) -> str | None:
    """Return the id of a token, or ``None`` if the text does not have the form of a token.

    Examples
    --------
    >>> token_id("mlret_k3x9a2b7_" + 43 * "A")
    'k3x9a2b7'
    >>> token_id("mlret_k3x9a2b7_cut-off") is None
    True
    """
    match = _FORM.fullmatch(token)
    return match and match[1]


@dataclass(frozen=True)
class StoredToken:
    """What the file keeps about a token: never the token itself.

    Attributes
    ----------
    principal
        Who the token speaks for.
    sha256
        Hash of the token, in hexadecimal.
    created
        When it was made (UTC).
    expires
        When it ends (UTC), or ``None``.
    """

    principal: Principal
    sha256: str
    created: datetime
    expires: datetime | None = None

    def expired(self, now: datetime) -> bool:
        """Return whether the token has ended."""
        return self.expires is not None and self.expires <= now


@dataclass
class TokenStore:
    """The tokens in a file.

    Parameters
    ----------
    path
        The file; it need not exist yet.

    Raises
    ------
    InputError
        If others can read or change the file, or another user owns it.
    Corrupt
        If the file is damaged.

    Examples
    --------
    >>> import tempfile
    >>> store = TokenStore(Path(tempfile.mkdtemp()) / "tokens.json")
    >>> token = store.add("laptop", "read", indexes=["docs"])
    >>> store.principal(token).name, store.principal(token[:-1])
    ('laptop', None)
    """

    path: Path
    _tokens: dict[str, StoredToken] = field(default_factory=dict, init=False, repr=False)
    _seen: tuple[int, ...] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.refresh()

    def refresh(self) -> None:
        """Read the file again if it was changed. This costs one call of ``stat`` otherwise."""
        try:
            state = self.path.stat()
        except FileNotFoundError:
            self._tokens, self._seen = {}, None
            return
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read ({error.strerror})") from error
        seen = (state.st_ino, state.st_mtime_ns, state.st_size, state.st_mode, state.st_uid)
        if seen != self._seen:
            # If the file cannot be read, no token is valid, rather than those that were valid before.
            self._tokens, self._seen = {}, None
            self._tokens = _read(self.path)
            self._seen = seen

    def __len__(self) -> int:
        return len(self.valid())

    def valid(self) -> list[StoredToken]:
        """Return the tokens that have not ended, the oldest first."""
        now = datetime.now(UTC)
        return [one for one in self.all() if not one.expired(now)]

    def all(self) -> list[StoredToken]:
        """Return all tokens, also those that have ended, the oldest first."""
        self.refresh()
        return sorted(self._tokens.values(), key=lambda one: one.created)

    def principal(self, token: str) -> Principal | None:
        """Return who a token speaks for, or ``None`` if the token is not valid.

        The hashes are compared in constant time, and an unknown id takes as long as a wrong secret.
        """
        self.refresh()
        stored = self._tokens.get(token_id(token) or "")
        digest = _hash(token)
        same = hmac.compare_digest(digest, stored.sha256 if stored else _hash(""))
        if stored is None or not same or stored.expired(datetime.now(UTC)):
            return None
        return stored.principal

    def add(
        self,
        name: str,
        role: Role,
        *,
        indexes: list[str] | None = None,
        memory: bool = True,
        scope: Mapping[str, str] | None = None,
        expires: datetime | None = None,
    ) -> str:
        """Make a token.

        Parameters
        ----------
        name
            What it is for, so that it is known again in a list; no other token has the name.
        role
            What it may do.
        indexes
            The indexes that it may use; all unless given.
        memory
            Whether it may use the memory.
        scope
            The part of the memory that it is bound to.
        expires
            When it ends, with a time zone; never unless given.

        Returns
        -------
        str
            The token. It is not kept, so this is the only time that it is available.

        Raises
        ------
        AlreadyExists
            If a token has the name.
        InputError
            If the name, the role, the scope or the time is not valid.
        """
        if not name.strip() or not name.isprintable() or len(name) > 100:
            raise InputError(f"the name of the token is {name!r}; give one line of 1 to 100 characters")
        if role not in ROLES:
            raise InputError(f"the role is {role!r}; choose one of {', '.join(ROLES)}")
        if expires is not None and expires <= datetime.now(UTC):
            raise InputError(f"the token would end at {expires.isoformat()}, which is past; choose a later time")
        bound = check_scope(scope) if scope else {}
        token = ""

        def added(tokens: dict[str, StoredToken]) -> dict[str, StoredToken]:
            nonlocal token
            if any(one.principal.name == name for one in tokens.values()):
                raise AlreadyExists(f"there is a token {name!r}; choose another name, or revoke that one first")
            while (key := _random(ascii_lowercase + digits, _ID_LENGTH)) in tokens:
                pass
            token = f"mlret_{key}_{_random(ascii_letters + digits, _SECRET_LENGTH)}"
            allowed = None if indexes is None else frozenset(indexes)
            who = Principal(key, name, role, indexes=allowed, memory=memory, scope=bound)
            return {**tokens, key: StoredToken(who, _hash(token), datetime.now(UTC), expires)}

        self._change(added)
        return token

    def revoke(self, key: str) -> StoredToken:
        """Remove a token by its id or its name.

        Parameters
        ----------
        key
            The id or the name.

        Returns
        -------
        StoredToken
            What was kept about it.

        Raises
        ------
        NotFound
            If there is no such token.
        """
        gone: StoredToken | None = None

        def removed(tokens: dict[str, StoredToken]) -> dict[str, StoredToken]:
            nonlocal gone
            gone = next((one for one in tokens.values() if key in (one.principal.id, one.principal.name)), None)
            if gone is None:
                raise NotFound(f"{self.path}: there is no token {key!r}; `mlret tokens list` shows them")
            return {one: stored for one, stored in tokens.items() if stored is not gone}

        self._change(removed)
        assert gone is not None
        return gone

    def _change(self, change: Callable[[dict[str, StoredToken]], dict[str, StoredToken]]) -> None:
        """Replace the file by one with other tokens, while no other process changes it."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with WriterLock(self.path.with_name(f".{self.path.name}.lock")):
                self.refresh()
                content = _written(change(self._tokens))
                write_atomically(self.path, lambda temporary: _write_private(temporary, content))
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror}); name another file") from error
        self.refresh()


def first_token(store: TokenStore, name: str = "first") -> str | None:
    """Make a token with the role *admin* if there is none yet, so that the first start needs no preparation.

    Returns
    -------
    str or None
        The token, to be shown once; ``None`` if there are tokens already.
    """
    return None if store.all() else store.add(name, "admin")


def _random(alphabet: str, length: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _write_private(path: Path, content: bytes) -> None:
    """Write a new file that only its owner can read, from its first byte on."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(content)


def _written(tokens: Mapping[str, StoredToken]) -> bytes:
    """Return the content of the file."""
    rows = [
        {
            "id": one.principal.id,
            "name": one.principal.name,
            "role": one.principal.role,
            "indexes": None if one.principal.indexes is None else sorted(one.principal.indexes),
            "memory": one.principal.memory,
            "scope": dict(one.principal.scope),
            "sha256": one.sha256,
            "created": one.created.isoformat(),
            "expires": one.expires and one.expires.isoformat(),
        }
        for one in tokens.values()
    ]
    return json.dumps({"format": _FORMAT, "tokens": rows}, indent=1, ensure_ascii=False).encode() + b"\n"


def _read(path: Path) -> dict[str, StoredToken]:
    """Return the tokens of a file that only its owner, or root, may change, and that not everyone may read."""
    try:
        with path.open("rb") as handle:
            state = os.fstat(handle.fileno())
            content = handle.read()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if state.st_mode & (stat.S_IRWXO | stat.S_IWGRP):
        mode = stat.S_IMODE(state.st_mode)
        raise InputError(f"{path}: other users can read or change it (mode {mode:04o}); run: chmod 600 {path}")
    if state.st_uid not in (os.geteuid(), 0):
        raise InputError(f"{path}: belongs to another user (uid {state.st_uid}); name a file of your own")
    try:
        document = json.loads(content)
        if document["format"] != _FORMAT:
            raise InputError(f"{path}: has the format {document['format']!r}; this version reads {_FORMAT}")
        return {row["id"]: _stored(row) for row in document["tokens"]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Corrupt(
            f"{path}: is damaged, or not a file of tokens; restore it, or remove it to start again"
        ) from error


def _stored(row: Mapping[str, Any]) -> StoredToken:
    """Return a token of the file. Its values are checked: it decides what a request may do."""
    if row["role"] not in ROLES or not re.fullmatch("[0-9a-f]{64}", row["sha256"]) or type(row["memory"]) is not bool:
        raise ValueError
    indexes = row["indexes"]
    if indexes is not None and not (isinstance(indexes, list) and all(isinstance(name, str) for name in indexes)):
        raise ValueError
    principal = Principal(
        row["id"],
        row["name"],
        row["role"],
        indexes=None if indexes is None else frozenset(indexes),
        memory=row["memory"],
        scope=check_scope(row["scope"]) if row["scope"] else {},
    )
    expires = None if row["expires"] is None else _time(row["expires"])
    return StoredToken(principal, row["sha256"], _time(row["created"]), expires)


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError
    return time
