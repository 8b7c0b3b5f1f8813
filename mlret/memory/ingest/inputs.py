"""Incoming texts: check one or many texts with their fields, and prepare them to be stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from mlret.data.detection import detect_language
from mlret.data.documents import check_text
from mlret.data.languages import normalise_language
from mlret.errors import InputError, MlretError
from mlret.memory import times
from mlret.memory.records import (
    DERIVED_FROM,
    Content,
    Link,
    check_id,
    check_link_type,
    make_content,
    new_id,
    value_of,
)
from mlret.memory.storage.drafts import TAGS, Draft, folded, hash_of
from mlret.memory.storage.store import MemoryStore
from mlret.memory.text.passages import MOST, UNDIVIDED, k_center, parts

_OF_CONTENT = {one.name for one in fields(Content)}
_OF_ITEM = {"text", "id", "language", "links", "derived_from", "vector"}
# The beginning of a text suffices to detect its language.
_DETECTION_CHARACTERS = 2000


Incoming = str | Mapping[str, Any] | Draft


def read_item(item: Incoming, origin: str = "") -> Draft:
    """Check a text and its fields.

    Parameters
    ----------
    item
        A text, or a dict with ``text`` and any parameter of :meth:`mlret.memory.memory.Memory.add`.
    origin
        Where the text comes from, for error messages.

    Returns
    -------
    Draft
        The checked text, with an id and a language.

    Raises
    ------
    InputError
        At the first value that cannot be used, or an unknown key.
    """
    if isinstance(item, Draft):
        return item
    values = {"text": item} if isinstance(item, str) else item
    try:
        return _read(values)
    except InputError as error:
        if not origin:
            raise
        raise InputError(f"{origin}: {error}") from error


def _read(values: Mapping[str, Any]) -> Draft:
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
    text, language = values["text"], values.get("language")
    check_text(text)
    derived_from = values.get("derived_from") or ()
    derived_from = (derived_from,) if isinstance(derived_from, str) else tuple(derived_from)
    links = [_link(link) for link in values.get("links") or ()]
    links += [Link(DERIVED_FROM, check_id(source)) for source in derived_from]
    if derived_from and "kind" not in values:
        content = make_content(
            **{key: value for key, value in values.items() if key in _OF_CONTENT and key != "kind"}, kind="derived"
        )
    given = values.get("id")
    form = folded(text)
    return Draft(
        record=new_id() if given is None else check_id(given),
        text=text,
        value=value_of(text, content.keys) if content.keys else text,
        language=_detected(text, form) if language is None else normalise_language(language),
        content=content,
        links=tuple(dict.fromkeys(links)),
        vector=values.get("vector"),
        hash=hash_of(form),
    )


def _detected(text: str, form: str) -> str | None:
    """Return the language of a text as it is detected offline from its folded form; ``None`` if it is not certain."""
    return detect_language(form if len(text) <= _DETECTION_CHARACTERS else folded(text[:_DETECTION_CHARACTERS]))


def _link(link: Link | Sequence[str]) -> Link:
    if not isinstance(link, Link):
        if isinstance(link, str) or len(link) != 2:
            raise InputError(f"the link {link!r} is not a pair; give (type, id)")
        link = Link(*link)
    return Link(check_link_type(link.type), check_id(link.target))


def prepare(store: MemoryStore, drafts: Sequence[Draft], scope: dict[str, str]) -> None:
    """Encode drafts, all in one batch, and set their scope, times, vectors and parts; then they can be stored.

    Parameters
    ----------
    store
        The memory that they will be stored in.
    drafts
        The drafts, whose version and position in the session are set.
    scope
        The checked scope that they belong to.

    Raises
    ------
    InputError
        If a given vector does not fit the index.
    MlretError
        If the encoder returns a vector that is not finite.
    """
    if not drafts:
        return
    encoded = [draft for draft in drafts if draft.vector is None]
    texts = [draft.value for draft in encoded]
    languages = [draft.language for draft in encoded]
    # The parts of long texts are encoded with the whole texts, unless the store has a vector for each token.
    windows: list[list[str]] = []
    for draft in encoded:
        cut = len(draft.text) > UNDIVIDED and store.store.manifest.similarity == "cosine"
        windows.append(_windows(draft.text) if cut else [])
        texts += windows[-1]
        languages += [draft.language] * len(windows[-1])
    for draft in drafts:
        if draft.vector is not None:
            draft.vector = _given(store, draft.vector)
    vectors = iter(_encode(store, texts, languages))
    for draft in encoded:
        draft.vector = next(vectors)
    for draft, some in zip(encoded, windows, strict=True):
        if some:
            own = [next(vectors) for _ in some]
            chosen = k_center(np.stack(own), MOST).tolist()
            draft.parts = tuple(some[place] for place in chosen)
            draft.part_vectors = [own[place] for place in chosen]
    at = times.now()
    for draft in drafts:
        draft.scope, draft.recorded_at, draft.valid_from = scope, at, at
        if draft.content.valid_from is not None:
            draft.valid_from = times.micros(draft.content.valid_from)
        elif draft.content.event_time is not None:
            draft.valid_from = times.micros(draft.content.event_time[0])


def _encode(store: MemoryStore, texts: list[str], languages: list[str | None]) -> list[Any]:
    """Return the vectors of texts, in the form that the index's space stores."""
    if not texts:
        return []
    encoder = store.index.encoder
    vectors = encoder.encode_document(texts, language=languages)
    if not all(bool(np.isfinite(one).all()) for one in vectors):
        raise MlretError(f"{encoder.name} gives a vector that is not finite; check its weights")
    return list(store.store.space.prepared(vectors))


def _windows(text: str) -> list[str]:
    """Return the parts of a long text that are not blank; none if it has only one part."""
    spans = parts(text)
    return [text[start:end] for start, end in spans if text[start:end].strip()] if len(spans) > 1 else []


def _given(store: MemoryStore, vector: Any) -> Any:
    space = store.store.space
    return space.taken_in(space.check_vectors([vector]), ["the text"])[0]


def read_items(items: Iterable[Incoming]) -> list[Draft]:
    """Check several texts; error messages name the text."""
    if isinstance(items, str | Mapping):
        raise InputError(f"give a list of texts, not one {type(items).__name__}")
    every = list(items)
    return [read_item(item, f"text {place}" * (len(every) > 1)) for place, item in enumerate(every, start=1)]
