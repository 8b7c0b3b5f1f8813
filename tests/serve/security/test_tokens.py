"""Tokens: what the file keeps, who can read it, and that only an unchanged, valid token is accepted."""

from __future__ import annotations

import json
import multiprocessing
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlret.errors import AlreadyExists, Corrupt, InputError, MlretWarning, NotFound
from mlret.serve.security.hosts import check_listening
from mlret.serve.security.tokens import TokenStore, default_path, first_token, token_id


@pytest.fixture
def store(tmp_path: Path) -> TokenStore:
    return TokenStore(tmp_path / "config" / "tokens.json")


def test_a_token_is_accepted_and_speaks_for_what_it_was_made_with(store: TokenStore) -> None:
    token = store.add("laptop", "write", indexes=["docs"], memory=False, scope={"tenant": "acme", "user": "anna"})
    for reader in (store, TokenStore(store.path)):
        principal = reader.principal(token)
        assert principal is not None
        assert principal.id == token_id(token)
        assert (principal.name, principal.role, principal.indexes) == ("laptop", "write", {"docs"})
        assert (principal.memory, principal.scope) == (False, {"tenant": "acme", "user": "anna"})


def test_the_file_holds_no_token_and_only_its_owner_can_read_it(store: TokenStore) -> None:
    token = store.add("laptop", "read")
    content = store.path.read_text()
    assert token not in content
    assert token.rpartition("_")[2] not in content
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700
    assert [path.name for path in store.path.parent.iterdir() if path.suffix == ".tmp"] == []


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o620, 0o666, 0o644])
def test_a_file_that_others_can_read_or_change_is_refused(store: TokenStore, mode: int) -> None:
    token = store.add("laptop", "read")
    store.path.chmod(mode)
    with pytest.raises(InputError, match="chmod 600"):
        TokenStore(store.path)
    # A server that runs already notices it, and accepts no token rather than those it knew.
    with pytest.raises(InputError, match="chmod 600"):
        store.principal(token)
    with pytest.raises(InputError, match="chmod 600"):
        store.add("more", "read")
    store.path.chmod(0o600)
    assert store.principal(token) is not None


def test_a_group_may_read_the_file_as_in_a_container(store: TokenStore) -> None:
    token = store.add("laptop", "read")
    store.path.chmod(0o440)
    assert TokenStore(store.path).principal(token) is not None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(store: TokenStore) -> None:
    store.add("laptop", "read")
    os.chown(store.path, 12345, -1)
    with pytest.raises(InputError, match="belongs to another user"):
        TokenStore(store.path)


def test_a_revoked_token_ends_at_once_in_a_store_that_is_open(store: TokenStore) -> None:
    kept, first, second = (store.add(name, "read") for name in ("kept", "one", "two"))
    server = TokenStore(store.path)
    assert server.principal(first) is not None
    store.revoke("one")
    assert server.principal(first) is None
    store.revoke(str(token_id(second)))
    assert server.principal(second) is None
    assert server.principal(kept) is not None
    with pytest.raises(NotFound, match="no token 'one'"):
        store.revoke("one")


def test_a_token_ends_when_it_expires(store: TokenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = datetime.now(UTC) + timedelta(days=1)
    token = store.add("short", "read", expires=ends)
    assert store.principal(token) is not None
    assert len(store) == 1

    class Later(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return ends

    monkeypatch.setattr("mlret.serve.security.tokens.datetime", Later)
    assert store.principal(token) is None
    assert len(store) == 0
    with pytest.raises(InputError, match="is past"):
        store.add("past", "read", expires=ends)


def test_the_first_start_makes_one_token_and_later_ones_none(store: TokenStore) -> None:
    token = first_token(store)
    assert token is not None
    principal = store.principal(token)
    assert principal is not None and principal.role == "admin"
    assert first_token(TokenStore(store.path)) is None


def test_no_start_where_others_reach_it_without_a_token(store: TokenStore) -> None:
    for address in ("127.0.0.1", "::1", "localhost", "127.8.8.8"):
        check_listening(address, len(store), where=store.path)
    for address in ("0.0.0.0", "::", "192.168.1.5", "example.org"):
        with pytest.raises(InputError, match="mlret tokens add"):
            check_listening(address, len(store), where=store.path)
    store.add("laptop", "read")
    with pytest.warns(MlretWarning, match="without encryption"):
        check_listening("0.0.0.0", len(store), where=store.path)


@pytest.mark.parametrize(
    ("name", "role", "options", "message"),
    [
        ("", "read", {}, "one line"),
        ("a\nb", "read", {}, "one line"),
        ("a" * 101, "read", {}, "one line"),
        ("a", "owner", {}, "choose one of read, write, admin"),
        ("a", "read", {"scope": {"group": "x"}}, "unknown scope"),
        ("a", "read", {"scope": {"user": " "}}, "not empty"),
    ],
)
def test_bad_values_make_no_token(
    store: TokenStore, name: str, role: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        store.add(name, role, **options)  # type: ignore[arg-type]
    assert store.all() == []


def test_a_name_is_used_once(store: TokenStore) -> None:
    store.add("laptop", "read")
    with pytest.raises(AlreadyExists, match="'laptop'"):
        store.add("laptop", "admin")


@pytest.mark.parametrize(
    "change",
    [
        {"role": "owner"},
        {"role": None},
        {"sha256": "0"},
        {"memory": "yes"},
        {"indexes": "docs"},
        {"indexes": [1]},
        {"expires": "2020-01-01"},
        {"expires": "tomorrow"},
        {"created": None},
    ],
)
def test_a_changed_row_is_damage_and_accepts_nothing(store: TokenStore, change: dict[str, object]) -> None:
    token = store.add("laptop", "read")
    document = json.loads(store.path.read_text())
    document["tokens"][0].update(change)
    store.path.write_text(json.dumps(document))
    with pytest.raises(Corrupt, match=r"tokens\.json"):
        store.principal(token)
    with pytest.raises(Corrupt):
        store.add("more", "read")
    assert json.loads(store.path.read_text()) == document


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"format": 1}', b'{"format": 1, "tokens": 3}', b"\xff"])
def test_a_damaged_file_is_named_and_not_replaced(store: TokenStore, content: bytes) -> None:
    store.add("laptop", "read")
    store.path.write_bytes(content)
    with pytest.raises(Corrupt, match=r"tokens\.json"):
        first_token(store)
    assert store.path.read_bytes() == content


def test_a_file_of_a_later_version_is_refused(store: TokenStore) -> None:
    store.add("laptop", "read")
    store.path.write_text('{"format": 2, "tokens": []}')
    with pytest.raises(InputError, match="format 2"):
        TokenStore(store.path)


def _add(path: Path, name: str) -> None:
    for number in range(5):
        TokenStore(path).add(f"{name}-{number}", "read")


def test_processes_that_add_at_the_same_time_lose_none(store: TokenStore) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_add, args=(store.path, str(number))) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert len(store) == 20


def test_the_default_file_is_in_the_folder_of_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert default_path() == tmp_path / "mlret" / "tokens.json"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_path() == tmp_path / ".config" / "mlret" / "tokens.json"
    # A container may run as a user that the system does not know.
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 987654)
    with pytest.raises(InputError, match="--tokens FILE"):
        default_path()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[TokenStore, str]:
    store = TokenStore(tmp_path_factory.mktemp("tokens") / "tokens.json")
    return store, store.add("laptop", "admin")


@given(st.text() | st.text("mlret_abcxyz019ABC", max_size=60) | st.from_regex(r"mlret_[a-z0-9]{8}_[A-Za-z0-9]{43}"))
def test_no_other_text_is_accepted(made: tuple[TokenStore, str], text: str) -> None:
    store, token = made
    assert text == token or store.principal(text) is None
    key = token_id(text)
    assert key is None or (text.startswith(f"mlret_{key}_") and len(text) == len(token) and text.isascii())


@given(data=st.data())
def test_no_change_of_a_token_is_accepted(made: tuple[TokenStore, str], data: st.DataObject) -> None:
    store, token = made
    begin = data.draw(st.integers(0, len(token)))
    end = data.draw(st.integers(begin, len(token)))
    changed = token[:begin] + data.draw(st.text(max_size=3)) + token[end:]
    assert (store.principal(changed) is not None) == (changed == token)


@given(st.lists(st.text(st.characters(categories=("L", "N", "P")), min_size=1, max_size=20), unique=True, max_size=4))
def test_all_that_a_token_is_made_with_is_read_back(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    store = TokenStore(tmp_path_factory.mktemp("tokens") / "tokens.json")
    tokens = [store.add(name, "read", indexes=names, scope={"user": name}) for name in names]
    reader = TokenStore(store.path)
    assert len(set(tokens)) == len(names)
    for name, token in zip(names, tokens, strict=True):
        principal = reader.principal(token)
        assert principal is not None
        assert (principal.name, principal.indexes, principal.scope) == (name, set(names), {"user": name})
