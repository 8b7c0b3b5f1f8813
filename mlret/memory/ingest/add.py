"""Adding texts: decide whether each is new, a duplicate or related, then store the batch in one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mlret.errors import AlreadyExists, InputError
from mlret.memory import times
from mlret.memory.ingest.inputs import prepare
from mlret.memory.ingest.repetitions import additions
from mlret.memory.ingest.successions import COMPARED, Neighbour, succession
from mlret.memory.records import KINDS, LEVELS, Content, Link, MemoryRecord
from mlret.memory.results import Added
from mlret.memory.scope import Place, place_of
from mlret.memory.search.nearest import nearest
from mlret.memory.search.speakers import speakers
from mlret.memory.search.succession import CONTRADICTS, SUPERSEDES, denies
from mlret.memory.storage.columns import Mask
from mlret.memory.storage.drafts import Draft, Step
from mlret.memory.storage.journal import Change, SetEnd, SetField, SetLink
from mlret.memory.storage.positions import Positions
from mlret.memory.storage.record_state import ACTIVE
from mlret.memory.storage.store import MemoryStore
from mlret.memory.text.changes import CHANGES, may_replace
from mlret.memory.text.duplicates import (
    CANDIDATES,
    NEIGHBOURS,
    Candidate,
    DuplicateThresholds,
    Verdict,
    judge,
    promising_ones,
    text_key,
)
from mlret.memory.text.features import facts_of
from mlret.memory.text.sentence_kinds import Shown, bundled_kinds
from mlret.memory.times import FOREVER

RELATED = "related"
# Decision of a user's callable about a new text and a stored record near it.
Ruling = Literal["new", "related", "duplicate", "supersedes"]
Judge = Callable[[str, MemoryRecord], Ruling]
_NEW = Verdict("new", None, "not compared")


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
        manifest = store.store.manifest
        self._thresholds = thresholds if manifest.similarity == "cosine" else None
        self._kinds = None if self._thresholds is None else bundled_kinds(manifest.fingerprint, manifest.dims)
        # The drafts of this batch that become records of their own, and their indices by text.
        self._drafts: list[Draft] = []
        self._texts: dict[tuple[str | None, ...], list[int]] = {}
        self._strength: dict[str, float] = {}
        self._several = False  # Whether the batch has more than one text.

    def add(
        self, drafts: Sequence[Draft], also: Callable[[sqlite3.Connection, list[Added]], None] | None = None
    ) -> list[Added]:
        """Store texts, except those that are stored already.

        Parameters
        ----------
        drafts
            The texts.
        also
            Called in the transaction with the connection and the results, to write more.

        Returns
        -------
        list of Added
            One result for each text, in order.

        Raises
        ------
        InputError
            If an id is taken, or a link leads to no record of the scope.
        """
        self._check(drafts)
        self._several = len(drafts) > 1
        place = self._store.place if self._scope == self._store.scope else place_of(self._scope)
        same = self._store.columns.exactly(place)
        same = same[self._holds(same)]
        again: list[str | None] = []
        moved: dict[str, str] = {}  # Id of a text that is stored already -> id of the record that holds it.
        for draft in drafts:
            _relink(draft, moved)
            known = self._stored(draft, place) if self._dedupe else None
            if known is not None:
                moved[draft.record] = known
            again.append(known)
        fresh = [draft for draft, known in zip(drafts, again, strict=True) if known is None]
        self._number(fresh, place)
        prepare(self._store, fresh, self._scope)
        steps: list[Step] = []
        results: list[tuple[str, Verdict]] = []
        for draft, stored in zip(drafts, again, strict=True):
            _relink(draft, moved)
            known = stored or self._added_before(draft)
            if known is not None:
                moved[draft.record] = known
                steps.append(self._stronger(known, draft))
                results.append((known, Verdict("duplicate", known, "the same text")))
                continue
            verdict, denied, change = self._judge(draft, same)
            verdict, ruling = self._ruled(draft, verdict)
            steps += self._steps(draft, verdict, ruling, denied, change)
            target = verdict.id if verdict.kind == "duplicate" else None
            results.append((target or draft.record, verdict))

        def added(operation: int) -> list[Added]:
            return [
                Added(id, "added" if one.kind == "new" else one.kind, one.evidence, one.reason, operation)
                for id, one in results
            ]

        def write(connection: sqlite3.Connection, operation: int) -> None:
            if also is not None:
                also(connection, added(operation))

        return added(self._store.commit("add", steps, write))

    def _check(self, drafts: Sequence[Draft]) -> None:
        taken = self._store.columns.keys
        seen: set[str] = set()
        for draft in drafts:
            id = draft.record
            if id in taken or id in seen:
                raise AlreadyExists(f"the id {id!r} is taken; leave it out, or update the record that has it")
            for link in draft.links:
                if link.target not in seen:
                    self._store.position(link.target, self._scope)
            seen.add(id)

    def _number(self, drafts: Sequence[Draft], place: Place) -> None:
        """Set the position in the session of each draft: the given or the next free one."""
        upcoming: dict[str | None, int] = {}
        for draft in drafts:
            session = draft.content.session
            if draft.content.seq is not None:
                draft.seq = draft.content.seq
            else:
                if session not in upcoming:
                    upcoming[session] = self._store.columns.next_seq(place, session)
                draft.seq = upcoming[session]
            upcoming[session] = max(draft.seq + 1, upcoming.get(session, 0))

    def _stored(self, draft: Draft, place: Place) -> str | None:
        """Return the record that already holds this text in the same language, kind and level with all other fields."""
        columns = self._store.columns
        for position in columns.hashes.get((columns.scopes.get(place, -1), draft.hash), ()):
            if not self._alike(position, draft) or not self._holds(np.array([position]))[0]:
                continue
            [record] = self._store.fetch([position])
            # Texts with the same hash may still differ in a superscript.
            if text_key(record.text) == text_key(draft.text) and not additions(
                draft.content, draft.links, record, record.links
            ):
                return record.id
        return None

    def _holds(self, positions: Positions) -> Mask:
        """Return which versions a plain search can find; hidden, expired or superseded ones do not prevent adding."""
        columns, now = self._store.columns, times.now()
        found: Mask = columns.alive[positions] & columns.current[positions] & (columns.state[positions] == ACTIVE)
        found &= (columns.valid_to[positions] > now) & (columns.expires_at[positions] > now)
        return found

    def _added_before(self, draft: Draft) -> str | None:
        """Return the record of this batch that already holds the text, as :meth:`_stored`."""
        if not self._dedupe or not self._drafts:
            return None
        for place in self._texts.get(_key(draft), ()):
            other = self._drafts[place]
            if not additions(draft.content, draft.links, _placed(other), other.links):
                return other.record
        return None

    def _keep(self, draft: Draft) -> None:
        """Record a draft that will be stored, for comparison with later texts of the batch."""
        if self._several:
            self._texts.setdefault(_key(draft), []).append(len(self._drafts))
            self._drafts.append(draft)

    def _alike(self, position: int, draft: Draft) -> bool:
        columns, content = self._store.columns, draft.content
        event = content.event_time
        return bool(
            columns.languages.by_number[columns.language[position]] == draft.language
            and (event is None or times.micros(event[0]) == columns.event_from[position])
            and KINDS[columns.kind[position]] == content.kind
            and LEVELS[columns.level[position]] == content.level
        )

    def _stronger(self, record: str, draft: Draft) -> Step:
        """Return the step that strengthens a record whose text was added again."""
        there = self._store.columns.statuses.get(record)
        before = self._strength.get(record, 1.0 if there is None else there.strength)
        self._strength[record] = before + 1
        source = draft.content.source
        note: dict[str, Any] = {"again": True}
        if source is not None:
            note["source"] = {key: value for key, value in asdict(source).items() if value is not None}
        return Step(record, changes=[SetField("strength", before, before + 1)], note=note)

    def _ruled(self, draft: Draft, verdict: Verdict) -> tuple[Verdict, Ruling]:
        """Return the verdict and ruling after the user's callable, if any, has decided about a related record."""
        ruling: Ruling = verdict.kind
        there = None if verdict.id is None else self._store.columns.statuses.get(verdict.id)
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
        position = columns.statuses[id].position
        end, start = int(columns.valid_to[position]), int(columns.valid_from[position])
        after = max(at, start)
        ends = [SetEnd(int(columns.row[position]), None if end == FOREVER else end, after)] if after < end else []
        return Step(id, changes=ends)

    def _steps(
        self, draft: Draft, verdict: Verdict, ruling: Ruling, denied: str | None, change: tuple[str, str] | None
    ) -> list[Step]:
        changes: list[Change] = [SetLink(link.type, link.target, True) for link in draft.links]
        if ruling == SUPERSEDES and verdict.id is not None:
            self._keep(draft)
            changes.append(SetLink(SUPERSEDES, verdict.id, True))
            return [Step(draft.record, draft, None, changes), self._ended(verdict.id, draft.valid_from)]
        links = [Link(CONTRADICTS, denied)] if denied is not None and verdict.kind != "duplicate" else []
        after: list[Step] = []
        if change is not None and verdict.kind != "duplicate" and denied not in change:
            later, earlier = change
            if later == draft.record:
                links.append(Link(SUPERSEDES, earlier))
            else:
                after.append(Step(later, changes=[SetLink(SUPERSEDES, draft.record, True)]))
        linked = {denied, *(change or ())}
        if verdict.kind == "related" and verdict.id is not None and verdict.id not in linked:
            links.append(Link(RELATED, verdict.id))
        changes += [SetLink(link.type, link.target, True) for link in links if link not in draft.links]
        if verdict.kind == "duplicate" and verdict.id is not None:
            # The text is stored as a merged record, so that undo or restore can bring it back.
            merged = [SetField("state", "active", "merged"), SetField("merged_into", None, verdict.id)]
            return [Step(draft.record, draft, None, [*changes, *merged]), self._stronger(verdict.id, draft)]
        self._keep(draft)
        return [Step(draft.record, draft, None, changes), *after]

    def _judge(self, draft: Draft, same: Positions) -> tuple[Verdict, str | None, tuple[str, str] | None]:
        """Return the verdict on a text, the id of the stored record that it denies, if any, and its succession."""
        thresholds = self._thresholds
        if not self._dedupe or thresholds is None:
            return _NEW, None, None
        columns = self._store.columns
        alike = columns.kind[same] == KINDS.index(draft.content.kind)
        same = same[alike & (columns.level[same] == LEVELS.index(draft.content.level))]
        cosines, where = self._near(draft.vector, draft, same)
        change = self._change(draft, cosines, where, thresholds)
        nearest_few = cosines[:CANDIDATES].tolist()
        languages = [self._language(one) for one in where[:CANDIDATES]]
        hopeful = promising_ones(nearest_few, draft.language, languages, thresholds)
        candidates = [self._candidate(draft, nearest_few[one], where[one], same) for one in hopeful]
        if not candidates:
            return Verdict("new", None, "no record is near enough"), None, change
        new = facts_of(draft.text, draft.language)
        denied = next((one.id for one in candidates if denies(new, facts_of(one.text, one.language))), None)
        return judge(draft.text, draft.language, candidates, cosines, thresholds), denied, change

    def _change(
        self, draft: Draft, cosines: NDArray[np.float64], where: Sequence[int], thresholds: DuplicateThresholds
    ) -> tuple[str, str] | None:
        """Return the ids of the record that replaces and of the one that is replaced, if a draft changes something."""
        columns = self._store.columns
        near = list(zip(where[:COMPARED], cosines.tolist(), strict=False))
        kinds = self._kinds_of([draft.vector])[0]
        changes = bool(kinds and kinds.likely & CHANGES) or may_replace(draft.text, draft.language)
        # Stored texts are only read if the new one may replace them, or they are of a later time and may replace it.
        stored = [
            place for place, _ in near if place >= 0 and (changes or columns.valid_from[place] > draft.valid_from)
        ]
        if not stored and not self._drafts:
            return None
        documents = self._store.records.fetch(columns.row[stored].tolist()) if stored else {}
        said_by = dict(zip(stored, speakers(self._store, np.array(stored, dtype=np.int64)), strict=True))
        sorts = self._kinds_stored(stored)
        others = []
        for place, cosine in near:
            if place in said_by and (document := documents.get(int(columns.row[place]))) is not None:
                id, start = columns.ids.by_number[columns.record[place]], int(columns.valid_from[place])
                speaker = said_by[place] or None
                others.append(Neighbour(id, document.text, document.language, start, cosine, speaker, sorts[place]))
            elif place < 0:
                others.append(self._neighbour(self._drafts[-1 - place], cosine))
        return succession(self._neighbour(draft, kinds=kinds), others, thresholds) if others else None

    def _neighbour(self, draft: Draft, cosine: float = 1.0, kinds: Shown | None = None) -> Neighbour:
        found = self._kinds_of([draft.vector])[0] if kinds is None else kinds
        return Neighbour(draft.record, draft.text, draft.language, draft.valid_from, cosine, _speaker(draft), found)

    def _kinds_of(self, vectors: Sequence[NDArray[np.float32]]) -> list[Shown | None]:
        """Return the kinds of sentences that vectors show; ``None`` with an encoder that no kinds are known for."""
        return [None] * len(vectors) if self._kinds is None else [*self._kinds.shown(np.stack(vectors))]

    def _kinds_stored(self, places: Sequence[int]) -> dict[int, Shown | None]:
        """Return the kinds of the stored texts at some positions; ``None`` where a vector is missing."""
        rows = self._store.columns.row[list(places)].tolist()
        known = self._store.store.vectors_of(rows) if rows and self._kinds is not None else {}
        found = dict(zip(known, self._kinds_of(list(known.values())), strict=True)) if known else {}
        return {place: found.get(row) for place, row in zip(places, rows, strict=True)}

    def _near(
        self, vector: NDArray[np.float32], draft: Draft, same: Positions
    ) -> tuple[NDArray[np.float64], list[int]]:
        """Return the cosines of the texts nearest to a vector, and where each is: a position, or -1 - i for draft i.

        Ids, texts and languages are looked up later, only for the texts that matter.
        """
        count = CANDIDATES + NEIGHBOURS
        scores, positions = nearest(self._store.store, self._store.columns, vector, same, count)
        cosines, where = scores.tolist(), positions.tolist()
        for place, other in enumerate(self._drafts):
            if (other.content.kind, other.content.level) == (draft.content.kind, draft.content.level):
                cosines.append(round(float(other.vector.astype(np.float64) @ vector), 6))
                where.append(-1 - place)
        order = sorted(range(len(cosines)), key=lambda one: -cosines[one])[: count + 1]
        return np.array([cosines[one] for one in order]), [where[one] for one in order]

    def _language(self, where: int) -> str | None:
        columns = self._store.columns
        return columns.languages.by_number[columns.language[where]] if where >= 0 else self._drafts[-1 - where].language

    def _candidate(self, draft: Draft, cosine: float, where: int, same: Positions) -> Candidate:
        """Return a text near a draft, with its own neighbours and what the draft adds that it lacks."""
        other: Draft | MemoryRecord
        vector: NDArray[np.float32]
        if where < 0:
            other = self._drafts[-1 - where]
            id, vector, content = other.record, other.vector, _placed(other)
            more = additions(draft.content, draft.links, content, other.links)
        else:
            [other] = self._store.fetch([where])
            row = int(self._store.columns.row[where])
            id, vector = other.id, self._store.store.vectors_of([row])[row]
            more = additions(draft.content, draft.links, other, other.links)
        around, places = self._near(vector, draft, same)
        others = [one for one, place in zip(around.tolist(), places, strict=True) if place != where]
        return Candidate(id, other.text, other.language, cosine, others[:NEIGHBOURS], tuple(more))


def _key(draft: Draft) -> tuple[str | None, ...]:
    return text_key(draft.text), draft.language, draft.content.kind, draft.content.level


def _speaker(draft: Draft) -> str | None:
    source = draft.content.source
    return None if source is None or source.role is None else source.role.casefold()


def _placed(draft: Draft) -> Content:
    """Return the draft's content with its assigned position in the session."""
    return replace(draft.content, seq=draft.seq)


def _relink(draft: Draft, moved: dict[str, str]) -> None:
    """Let the links of a text lead to the records that already held the texts before it in the batch."""
    if moved and draft.links:
        draft.links = tuple(
            dict.fromkeys(replace(link, target=moved.get(link.target, link.target)) for link in draft.links)
        )
