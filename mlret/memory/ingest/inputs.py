"""Incoming texts: check one or many texts with their fields, and prepare them to be stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.errors import InputError
from mlret.memory import times
from mlret.memory.records import (
    DERIVED_FROM,
    Content,
    Link,
    check_id,
    check_link_type,
    check_text,
    make_content,
    new_id,
    value_of,
)
from mlret.memory.storage.store import TAGS, Draft, MemoryStore, detect, hash_of
from mlret.memory.text.passages import MOST, k_center, parts

_OF_CONTENT = {one.name for one in fields(Content)}
_OF_ITEM = {"text", "id", "language", "links", "derived_from", "vector"}


@dataclass(frozen=True, slots=True)
class Item:
    """A checked text that is to be stored, with its fields."""

    text: str
    content: Content
    language: str | None
    id: str
    links: tuple[Link, ...] = ()
    vector: Any = None


Incoming = str | Mapping[str, Any] | Item


def read_item(item: Incoming, origin: str = "") -> Item:
    """Check a text and its fields.

    Parameters
    ----------
    item
        A text, or a dict with ``text`` and any parameter of :meth:`mlret.memory.memory.Memory.add`.
    origin
        Where the text comes from, for error messages.

    Returns
    -------
    Item
        The checked text.

    Raises
    ------
    InputError
        At the first value that cannot be used, or an unknown key.
    """
    if isinstance(item, Item):
        return item
    values = {"text": item} if isinstance(item, str) else item
    try:
        return _read(values)
    except InputError as error:
        if not origin:
            raise
        raise InputError(f"{origin}: {error}") from error


def _read(values: Mapping[str, Any]) -> Item:
    if not isinstance(values, Mapping) or "text" not in values:
        raise InputError(f"give a text, or a dict with the key 'text', not {type(values).__name__}")
    if unknown := sorted(values.keys() - _OF_CONTENT - _OF_ITEM):
        raise InputError(
            f"unknown key {unknown[0]!r}; what mlret does not know goes under 'metadata' "
            f"(the keys are {', '.join(sorted(_OF_CONTENT | _OF_ITEM))})"
        )
    content = make_content(**{key: value for key, value in values.items() if key in _OF_CONTENT})
    if TAGS in content.metadata:
        raise InputError("the metadata may not use the name 'tags': tags have a parameter of their own")
    language = check_text(values["text"], values.get("language"), content.metadata)
    check_text(value_of(values["text"], content.keys), None, {})
    derived_from = values.get("derived_from") or ()
    derived_from = (derived_from,) if isinstance(derived_from, str) else tuple(derived_from)
    links = [_link(link) for link in values.get("links") or ()]
    links += [Link(DERIVED_FROM, check_id(source)) for source in derived_from]
    if derived_from and "kind" not in values:
        content = make_content(
            **{key: value for key, value in values.items() if key in _OF_CONTENT and key != "kind"}, kind="derived"
        )
    given = values.get("id")
    return Item(
        text=values["text"],
        content=content,
        language=detect(values["text"], language),
        id=new_id() if given is None else check_id(given),
        links=tuple(dict.fromkeys(links)),
        vector=values.get("vector"),
    )


def _link(link: Link | Sequence[str]) -> Link:
    if not isinstance(link, Link):
        if isinstance(link, str) or len(link) != 2:
            raise InputError(f"the link {link!r} is not a pair; give (type, id)")
        link = Link(*link)
    return Link(check_link_type(link.type), check_id(link.target))


def drafts_of(
    store: MemoryStore,
    items: Sequence[Item],
    scope: dict[str, str],
    versions: Sequence[tuple[int, int]],
) -> list[Draft]:
    """Encode texts, all in one batch, and return them ready to be stored.

    Parameters
    ----------
    store
        The memory that they will be stored in.
    items
        ``n`` texts.
    scope
        The checked scope that they belong to.
    versions
        ``n`` pairs of the number of the version and the position in the session.

    Returns
    -------
    list of Draft
        The ``n`` drafts.

    Raises
    ------
    InputError
        If a given vector does not fit the index.
    """
    texts = [value_of(item.text, item.content.keys) for item in items if item.vector is None]
    languages = [item.language for item in items if item.vector is None]
    windows = [_windows(store, item) for item in items]
    for item, some in zip(items, windows, strict=True):
        texts += some
        languages += [item.language] * len(some)
    encoded = iter(store.encode(texts, languages))
    wholes = [next(encoded) if item.vector is None else _given(store, item.vector) for item in items]
    chosen = [_chosen(some, [next(encoded) for _ in some]) for some in windows]
    at = times.now()
    drafts = []
    for item, vector, mine, (version, seq) in zip(items, wholes, chosen, versions, strict=True):
        drafts.append(
            Draft(
                record=item.id,
                version=version,
                text=item.text,
                language=item.language,
                scope=scope,
                content=item.content,
                seq=seq,
                valid_from=_valid_from(item.content, at),
                recorded_at=at,
                vector=vector,
                parts=tuple(text for text, _ in mine),
                part_vectors=[part for _, part in mine],
                hash=hash_of(item.text),
            )
        )
    return drafts


def _windows(store: MemoryStore, item: Item) -> list[str]:
    """Return the parts of a long text; none if its vector is given or the store has a vector for each token."""
    if item.vector is not None or store.store.manifest.similarity != "cosine":
        return []
    spans = parts(item.text)
    return [item.text[start:end] for start, end in spans if item.text[start:end].strip()] if len(spans) > 1 else []


def _chosen(texts: Sequence[str], vectors: Sequence[NDArray[np.float32]]) -> list[tuple[str, NDArray[np.float32]]]:
    """Return the parts that get vectors of their own."""
    if not texts:
        return []
    return [(texts[place], vectors[place]) for place in k_center(np.stack(vectors), MOST).tolist()]


def _given(store: MemoryStore, vector: Any) -> Any:
    space = store.store.space
    return space.taken_in(space.check_vectors([vector]), ["the text"])[0]


def _valid_from(content: Content, at: int) -> int:
    if content.valid_from is not None:
        return times.micros(content.valid_from)
    return at if content.event_time is None else times.micros(content.event_time[0])


def read_items(items: Iterable[Incoming]) -> list[Item]:
    """Check several texts; error messages name the text."""
    if isinstance(items, str | Mapping):
        raise InputError(f"give a list of texts, not one {type(items).__name__}")
    every = list(items)
    return [read_item(item, f"text {place}" * (len(every) > 1)) for place, item in enumerate(every, start=1)]
