"""Adding texts: decide whether each is new, a duplicate or related, then store the batch in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mlret.errors import AlreadyExists, InputError
from mlret.memory import times
from mlret.memory.ingest.inputs import Item, drafts_of
from mlret.memory.ingest.occasions import additions
from mlret.memory.records import KINDS, LEVELS, Content, Link, MemoryRecord
from mlret.memory.results import Added
from mlret.memory.scope import place_of
from mlret.memory.search.nearest import nearest
from mlret.memory.search.succession import CONTRADICTS, SUPERSEDES, denies
from mlret.memory.storage.columns import Mask
from mlret.memory.storage.journal import Change, SetEnd, SetField, SetLink
from mlret.memory.storage.positions import Positions
from mlret.memory.storage.record_state import ACTIVE
from mlret.memory.storage.store import Draft, MemoryStore, Step, hash_of
from mlret.memory.text.duplicates import (
    CANDIDATES,
    NEIGHBOURS,
    Candidate,
    DuplicateThresholds,
    Verdict,
    judge,
    promising,
    text_key,
)
from mlret.memory.text.features import facts_of
from mlret.memory.times import FOREVER

RELATED = "related"
# Decision of a user's callable about a new text and a stored record near it.
Ruling = Literal["new", "related", "duplicate", "supersedes"]
Judge = Callable[[str, MemoryRecord], Ruling]
_NEW = Verdict("new", None, "not compared")


@dataclass(frozen=True, slots=True)
class _Near:
    """The nearest texts of a vector. Ids, texts and languages are looked up only for those that matter."""

    cosines: NDArray[np.float64]
    where: list[int]  # A position, or -1 - i for draft i of the batch.


class Adder:
    """Adds a batch of texts to one scope; use it within :meth:`MemoryStore.writing`.

    Parameters
    ----------
    store
        The memory.
    scope
        A checked scope. Only texts of exactly this scope can be duplicates of each other.
    thresholds
        Thresholds of the encoder. Without them, or with a vector for each token, only identical texts are duplicates.
    dedupe
        Whether to look for duplicates at all.
    judge
        Decides about stored records that are found to be related.
    """

    def __init__(
        self,
        store: MemoryStore,
        scope: dict[str, str],
        thresholds: DuplicateThresholds | None,
        *,
        dedupe: bool = True,
        judge: Judge | None = None,
    ) -> None:
        self._store = store
        self._scope = scope
        self._dedupe = dedupe
        self._judge_by = judge
        self._thresholds = thresholds if store.store.manifest.similarity == "cosine" else None
        # The drafts of this batch that become records of their own, their links, and their indices by text.
        self._drafts: list[Draft] = []
        self._links: list[tuple[Link, ...]] = []
        self._texts: dict[tuple[str | None, ...], list[int]] = {}
        self._strength: dict[str, float] = {}

    def add(self, items: Sequence[Item]) -> list[Added]:
        """Store texts, except those that are stored already.

        Returns
        -------
        list of Added
            One result for each item, in order.

        Raises
        ------
        InputError
            If an id is taken, or a link leads to no record of the scope.
        """
        self._check(items)
        columns = self._store.columns
        same = columns.exactly(self._scope)
        same = same[self._holds(same)]
        steps: list[Step] = []
        results: list[tuple[str, Verdict]] = []
        again = [self._said(item) if self._dedupe else None for item in items]
        fresh = [item for item, known in zip(items, again, strict=True) if known is None]
        drafts = iter(drafts_of(self._store, fresh, self._scope, self._places(fresh)))
        for item, known in zip(items, again, strict=True):
            draft = next(drafts) if known is None else None
            known = known or self._said_before(item)
            if known is not None:
                steps.append(self._stronger(known, item))
                results.append((known, Verdict("duplicate", known, "the same text")))
                continue
            assert draft is not None
            verdict, denied = self._judge(draft, item, same)
            verdict, ruling = self._ruled(draft, verdict)
            steps += self._steps(draft, item, verdict, ruling, denied)
            target = verdict.id if verdict.kind == "duplicate" else None
            results.append((target or item.id, verdict))
        operation = self._store.commit("add", steps)
        return [_added(id, verdict, operation) for id, verdict in results]

    def _check(self, items: Sequence[Item]) -> None:
        standing = self._store.columns.standing
        seen: set[str] = set()
        for item in items:
            if item.id in standing or item.id in seen:
                raise AlreadyExists(f"the id {item.id!r} is taken; leave it out, or update the record that has it")
            for link in item.links:
                if link.target not in seen:
                    self._store.position(link.target, self._scope)
            seen.add(item.id)

    def _places(self, items: Sequence[Item]) -> list[tuple[int, int]]:
        """Return version 1 and the position in the session, given or the next free one, for each item."""
        upcoming: dict[str | None, int] = {}
        found = []
        for item in items:
            session = item.content.session
            place = item.content.seq
            if place is None:
                place = upcoming.get(session, self._store.columns.next_seq(self._scope, session))
            upcoming[session] = max(place + 1, upcoming.get(session, 0))
            found.append((1, place))
        return found

    def _said(self, item: Item) -> str | None:
        """Return the record that already holds this text in the same language, kind and level with all other fields."""
        columns = self._store.columns
        scope = columns.scopes.known(place_of(self._scope))
        for position in columns.hashes.get((-1 if scope is None else scope, hash_of(item.text)), ()):
            if not self._alike(position, item) or not self._holds(np.array([position]))[0]:
                continue
            [record] = self._store.fetch([position])
            # Texts with the same hash may still differ in a superscript.
            if text_key(record.text) == text_key(item.text) and not additions(
                item.content, item.links, record, record.links
            ):
                return record.id
        return None

    def _holds(self, positions: Positions) -> Mask:
        """Return which versions a plain search can find; hidden, expired or superseded ones do not prevent adding."""
        columns, now = self._store.columns, times.now()
        found: Mask = columns.alive[positions] & columns.current[positions] & (columns.state[positions] == ACTIVE)
        found &= (columns.valid_to[positions] > now) & (columns.expires_at[positions] > now)
        return found

    def _said_before(self, item: Item) -> str | None:
        """Return the record of this batch that already holds the text, as :meth:`_said`."""
        if not self._dedupe:
            return None
        for place in self._texts.get(_key(item.text, item.language, item.content), ()):
            draft = self._drafts[place]
            if not additions(item.content, item.links, _placed(draft), self._links[place]):
                return draft.record
        return None

    def _keep(self, draft: Draft, item: Item) -> None:
        """Record a draft that will be stored, for comparison with later texts of the batch."""
        self._texts.setdefault(_key(draft.text, draft.language, draft.content), []).append(len(self._drafts))
        self._drafts.append(draft)
        self._links.append(item.links)

    def _alike(self, position: int, item: Item) -> bool:
        columns, event = self._store.columns, item.content.event_time
        return bool(
            columns.languages.values[columns.language[position]] == item.language
            and (event is None or times.micros(event[0]) == columns.event_from[position])
            and KINDS[columns.kind[position]] == item.content.kind
            and LEVELS[columns.level[position]] == item.content.level
        )

    def _stronger(self, record: str, item: Item) -> Step:
        """Return the step that strengthens a record whose text was added again."""
        there = self._store.columns.standing.get(record)
        before = self._strength.get(record, 1.0 if there is None else there.strength)
        self._strength[record] = before + 1
        source = item.content.source
        note: dict[str, Any] = {"again": True}
        if source is not None:
            note["source"] = {key: value for key, value in asdict(source).items() if value is not None}
        return Step(record, changes=[SetField("strength", before, before + 1)], note=note)

    def _ruled(self, draft: Draft, verdict: Verdict) -> tuple[Verdict, Ruling]:
        """Return the verdict and ruling after the user's callable, if any, has decided about a related record."""
        ruling: Ruling = verdict.kind
        there = None if verdict.id is None else self._store.columns.standing.get(verdict.id)
        if self._judge_by is None or verdict.kind != "related" or there is None:
            return verdict, ruling
        [record] = self._store.fetch([there.position])
        ruling = self._judge_by(draft.text, record)
        if ruling not in get_args(Ruling):
            raise InputError(f"judge returned {ruling!r}; it must return one of {', '.join(get_args(Ruling))}")
        kind: Any = "related" if ruling == SUPERSEDES else ruling
        return replace(verdict, kind=kind, reason=f"judged: {ruling} ({verdict.reason})"), ruling

    def _ended(self, id: str, at: int) -> Step:
        """Return the step that ends the validity of a record's current version at an instant."""
        columns = self._store.columns
        position = columns.standing[id].position
        end, start = int(columns.valid_to[position]), int(columns.valid_from[position])
        after = max(at, start)
        ends = [SetEnd(int(columns.row[position]), None if end == FOREVER else end, after)] if after < end else []
        return Step(id, changes=ends)

    def _steps(self, draft: Draft, item: Item, verdict: Verdict, ruling: Ruling, denied: str | None) -> list[Step]:
        changes: list[Change] = [SetLink(link.type, link.target, True) for link in item.links]
        if ruling == SUPERSEDES and verdict.id is not None:
            self._keep(draft, item)
            changes.append(SetLink(SUPERSEDES, verdict.id, True))
            return [Step(item.id, draft, None, changes), self._ended(verdict.id, draft.valid_from)]
        links = [Link(CONTRADICTS, denied)] if denied is not None and verdict.kind != "duplicate" else []
        if verdict.kind == "related" and verdict.id is not None and verdict.id != denied:
            links.append(Link(RELATED, verdict.id))
        changes += [SetLink(link.type, link.target, True) for link in links if link not in item.links]
        if verdict.kind == "duplicate" and verdict.id is not None:
            # The text is stored as a merged record, so that undo or restore can bring it back.
            merged = [SetField("state", "active", "merged"), SetField("merged_into", None, verdict.id)]
            return [Step(item.id, draft, None, [*changes, *merged]), self._stronger(verdict.id, item)]
        self._keep(draft, item)
        return [Step(item.id, draft, None, changes)]

    def _judge(self, draft: Draft, item: Item, same: Positions) -> tuple[Verdict, str | None]:
        """Return the verdict on a text, and the id of the stored record that it denies, if any."""
        thresholds = self._thresholds
        if not self._dedupe or thresholds is None:
            return _NEW, None
        columns = self._store.columns
        alike = columns.kind[same] == KINDS.index(draft.content.kind)
        same = same[alike & (columns.level[same] == LEVELS.index(draft.content.level))]
        near = self._near(draft.vector, draft, same)
        candidates = []
        for cosine, where in zip(near.cosines[:CANDIDATES].tolist(), near.where, strict=False):
            if not promising(cosine, draft.language, self._language(where), thresholds):
                continue
            id, text, language, vector, more = self._what(where, item)
            around = self._near(vector, draft, same)
            others = [one for one, at in zip(around.cosines.tolist(), around.where, strict=True) if at != where]
            candidates.append(Candidate(id, text, language, cosine, others[:NEIGHBOURS], more))
        if not candidates:
            return Verdict("new", None, "no record is near enough"), None
        new = facts_of(draft.text, draft.language)
        denied = next((one.id for one in candidates if denies(new, facts_of(one.text, one.language))), None)
        return judge(draft.text, draft.language, candidates, near.cosines, thresholds), denied

    def _near(self, vector: NDArray[np.float32], draft: Draft, same: Positions) -> _Near:
        count = CANDIDATES + NEIGHBOURS
        scores, positions = nearest(self._store.store, self._store.columns, vector, same, count)
        cosines, where = scores.tolist(), positions.tolist()
        for place, other in enumerate(self._drafts):
            if (other.content.kind, other.content.level) == (draft.content.kind, draft.content.level):
                cosines.append(round(float(other.vector.astype(np.float64) @ vector), 6))
                where.append(-1 - place)
        order = sorted(range(len(cosines)), key=lambda one: -cosines[one])[: count + 1]
        return _Near(np.array([cosines[one] for one in order]), [where[one] for one in order])

    def _language(self, where: int) -> str | None:
        columns = self._store.columns
        return columns.languages.values[columns.language[where]] if where >= 0 else self._drafts[-1 - where].language

    def _what(self, where: int, item: Item) -> tuple[str, str, str | None, NDArray[np.float32], tuple[str, ...]]:
        """Return a stored text's id, text, language and vector, and what the new text adds that it lacks."""
        if where < 0:
            draft = self._drafts[-1 - where]
            more = additions(item.content, item.links, _placed(draft), self._links[-1 - where])
            return draft.record, draft.text, draft.language, draft.vector, tuple(more)
        [record] = self._store.fetch([where])
        row = int(self._store.columns.row[where])
        more = additions(item.content, item.links, record, record.links)
        return record.id, record.text, record.language, self._store.store.vectors_of([row])[row], tuple(more)


def _key(text: str, language: str | None, content: Content) -> tuple[str | None, ...]:
    return text_key(text), language, content.kind, content.level


def _placed(draft: Draft) -> Content:
    """Return the draft's content with its assigned position in the session."""
    return replace(draft.content, seq=draft.seq)


def _added(id: str, verdict: Verdict, operation: int) -> Added:
    kind = "added" if verdict.kind == "new" else verdict.kind
    return Added(id, kind, verdict.evidence, verdict.reason, operation)
