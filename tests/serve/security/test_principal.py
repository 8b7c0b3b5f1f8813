"""Roles contain one another, and a request only narrows what its token allows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlret.errors import Forbidden, InputError, NotFound
from mlret.memory.scope import SCOPE_NAMES, holds, place_of
from mlret.serve.security.principal import ROLES, Principal, Role


def principal(role: Role = "read", **settings: object) -> Principal:
    return Principal("k3x9a2b7", "test", role, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("number", range(3))
def test_a_role_allows_what_those_before_it_allow(number: int) -> None:
    one = principal(ROLES[number])
    for other, role in enumerate(ROLES):
        assert one.may(role) == (other <= number)
        if other > number:
            with pytest.raises(Forbidden, match=f"role '{role}'.*role '{one.role}'"):
                one.require(role)


def test_an_index_that_a_token_may_not_use_seems_not_to_exist() -> None:
    one = principal("write", indexes=frozenset({"docs"}))
    one.require_index("docs", "write")
    with pytest.raises(Forbidden):
        one.require_index("docs", "admin")
    with pytest.raises(NotFound) as hidden:
        one.require_index("wages", "admin")
    with pytest.raises(NotFound) as missing:
        one.require_index("waged", "read")
    assert str(hidden.value) == str(missing.value).replace("waged", "wages")


def test_a_token_for_indexes_alone_reaches_no_memory() -> None:
    with pytest.raises(Forbidden, match="for indexes"):
        principal("admin", memory=False).require_memory("read")
    principal("write").require_memory("write")


def test_erasing_needs_an_administrator_or_a_token_of_the_user() -> None:
    principal("write", scope={"tenant": "acme", "user": "anna"}).require_erase()
    principal("admin", scope={"tenant": "acme"}).require_erase()
    for one in (
        principal("write", scope={"tenant": "acme"}),
        principal("write"),
        principal("read", scope={"user": "a"}),
    ):
        with pytest.raises(Forbidden):
            one.require_erase()


def test_the_tenant_comes_from_the_token_alone() -> None:
    with pytest.raises(Forbidden, match="tenant"):
        principal("admin").scope_within({"tenant": "acme", "user": "anna"})
    with pytest.raises(Forbidden, match="bound to the tenant 'acme'"):
        principal("admin", scope={"tenant": "acme"}).scope_within({"tenant": "other"})
    assert principal(scope={"tenant": "acme"}).scope_within() == {"tenant": "acme"}
    assert principal(scope={"tenant": "acme"}).scope_within({"tenant": "acme"}) == {"tenant": "acme"}


def test_a_scope_is_needed_if_the_token_has_none() -> None:
    with pytest.raises(InputError, match="a scope is needed"):
        principal("admin").scope_within()
    assert principal("admin").scope_within({"user": "anna"}) == {"user": "anna"}
    with pytest.raises(InputError, match="unknown scope"):
        principal("admin").scope_within({"group": "x"})


SCOPES = st.dictionaries(st.sampled_from(SCOPE_NAMES), st.sampled_from(["a", "b"]))


@given(SCOPES, SCOPES, SCOPES.filter(bool))
def test_a_request_reaches_no_record_outside_the_scope_of_its_token(
    bound: dict[str, str], asked: dict[str, str], record: dict[str, str]
) -> None:
    try:
        scope = principal(scope=bound).scope_within(asked)
    except (Forbidden, InputError):
        return
    if holds(scope, place_of(record)):
        assert record.get("tenant") == bound.get("tenant")
        assert all(record.get(name) == value for name, value in {**bound, **asked}.items())
