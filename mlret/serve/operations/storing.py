"""Store documents in one transaction, and say what became of each."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mlret.data.documents import Document
from mlret.encoders.external import ExternalEncoder
from mlret.index.cutting import Cutter
from mlret.index.index import Index
from mlret.index.ingest import Intake, Known
from mlret.index.sharding.gathering import Shards
from mlret.index.storage.receipts import Receipt, write_receipt
from mlret.index.store.compaction import maintain
from mlret.index.vectors.space import Vectors
from mlret.serve.operations.idempotency import in_use
from mlret.serve.operations.incoming import IncomingDocument
from mlret.serve.operations.invalid_values import invalid
from mlret.serve.problems import Problem, pointer
from mlret.wording import counted

OnConflict = Literal["fail", "skip", "replace"]
Verdict = Literal["added", "replaced", "unchanged", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a document.

    Attributes
    ----------
    id
        Its id, which was made by the index if the client gave none; ``None`` if it could not be read.
    verdict
        ``added``; ``replaced``, if another document with its id was stored; ``unchanged``, if it was stored already and
        is the same; ``skipped``, if another one with its id was stored and was kept; ``failed``, if it was not stored.
    problem
        Why it failed.
    """

    id: str | None
    verdict: Verdict
    problem: Problem | None = None


@dataclass(frozen=True)
class Batch:
    """Documents that are stored in one transaction.

    Attributes
    ----------
    documents
        The documents.
    on_conflict
        What is done with a document whose id is stored already: ``fail``, ``skip`` it, or ``replace`` the stored one.
    encoded
        The vectors of their texts, as far as they have been made.
    together
        Store all of them or none; otherwise documents that fail do not keep the others from being stored.
    key
        The key of the receipt; empty for none.
    receipt
        Makes the receipt from what became of the documents.
    more
        Whether more will be written at once.
    """

    documents: Sequence[IncomingDocument]
    on_conflict: OnConflict
    encoded: Known
    together: bool
    key: str = ""
    receipt: Callable[[list[Outcome]], Receipt] | None = None
    more: bool = False

    def store(self, index: Index) -> list[Outcome]:
        """Store the documents, and return what became of each. On return they survive a crash.

        Raises
        ------
        Problem
            If a document fails and they are stored together, or another process has used the key. Nothing is stored.
        """
        with index.shards.writing():
            outcomes, chosen = self._decide(index.shards)
            if self.together and (failed := next((one.problem for one in outcomes if one.problem), None)):
                raise failed
            receipt = self.receipt(outcomes) if self.receipt is not None else None
            if receipt is not None and any(one.part >= receipt.part for one in index.shards.receipts(self.key)):
                raise in_use()  # by another server on the same folder
            if index.shards.divided:
                self._write_to_shards(index, chosen, receipt)
            else:
                self._write(index, chosen, receipt)
                maintain(index.store, more=self.more)
        return outcomes

    def _write_to_shards(self, index: Index, chosen: Mapping[str, IncomingDocument], receipt: Receipt | None) -> None:
        """Store documents in a transaction for each shard, and then the receipt.

        A crash in between leaves the documents of some shards without a receipt, so that the request is carried out
        again when it is repeated.
        """
        shards, found = index.shards, list(chosen.values())
        arguments = {}
        for number, ids in shards.by_shard(list(chosen)).items():
            documents = [chosen[id].called(id) for id in ids]
            vectors = _given_vectors(index, [chosen[id] for id in ids])
            arguments[number] = (documents, vectors, "replace", self.more, self.encoded)
        if found:
            shards.some("store_batch", arguments)
            shards.some("finish", dict.fromkeys(arguments, ()))
        if receipt is not None:
            shards.keep_receipt(self.key, receipt)

    def _write(self, index: Index, chosen: Mapping[str, IncomingDocument], receipt: Receipt | None) -> None:
        written = False

        def also(connection: sqlite3.Connection, rows: object = None) -> None:
            nonlocal written
            if receipt is not None:
                write_receipt(connection, self.key, receipt)
                written = True

        store = index.store
        if chosen:
            intake = Intake(store, lambda: index.encoder, "replace", known=self.encoded)
            documents = [one.called(id) for id, one in chosen.items()]
            intake.store_batch(documents, _given_vectors(index, list(chosen.values())), also)
            intake.report()
        if receipt is not None and not written:
            store.commit(also)

    def _decide(self, shards: Shards) -> tuple[list[Outcome], dict[str, IncomingDocument]]:
        """Return what becomes of each document as if they were stored one after another, and those to store by id."""
        named = list(dict.fromkeys(one.document.id for one in self.documents if one.named))
        present: dict[str, Document | None] = dict.fromkeys(shards.stored(named))
        if self.on_conflict == "replace" and present:
            present = dict(shards.get(named))
        outcomes: list[Outcome] = []
        chosen: dict[str, IncomingDocument] = {}
        number = shards.state().last_row
        for place, one in enumerate(self.documents):
            if not one.named:
                number += 1
                while (id := f"auto-{number}") in present or shards.stored([id]):
                    number += 1
            else:
                id = one.document.id
            document = one.called(id)
            if id not in present:
                verdict: Verdict = "added"
            elif self.on_conflict == "fail":
                outcomes.append(Outcome(id, "failed", self._conflict(id, place)))
                continue
            elif self.on_conflict == "skip":
                outcomes.append(Outcome(id, "skipped"))
                continue
            elif present[id] == document and one.vector is None:
                outcomes.append(Outcome(id, "unchanged"))
                continue
            else:
                verdict = "replaced"
            present[id], chosen[id] = document, one
            outcomes.append(Outcome(id, verdict))
        return outcomes, chosen

    def _conflict(self, id: str, place: int) -> Problem:
        return Problem(
            "conflict",
            f"the id {id!r} is stored already, or occurs twice" + ("; nothing was stored" if self.together else ""),
            field=pointer([place, "id"] if self.together else ["id"]),
            place="body",
            fix="Choose another id, or send the parameter on_conflict=skip or on_conflict=replace.",
        )


def to_encode(
    index: Index, documents: Sequence[IncomingDocument], on_conflict: OnConflict
) -> list[tuple[str, str | None]]:
    """Return the (text, language) pairs whose vectors will probably be needed, each once and in order.

    Of a document that is longer than the encoder reads, these are its passages.

    Parameters
    ----------
    index
        The index.
    documents
        The documents that will be stored.
    on_conflict
        As for :class:`Batch`.
    """
    ids = list(dict.fromkeys(one.document.id for one in documents if one.named and one.vector is None))
    rows = index.shards.stored(ids)
    stored = index.shards.get(ids) if on_conflict == "replace" else {}
    wanted: list[Document] = []
    for one in documents:
        document = one.document
        if one.vector is not None or (one.named and document.id in rows and on_conflict != "replace"):
            continue
        old = stored.get(document.id) if one.named else None
        if old is None or (old.text, old.language) != (document.text, document.language):
            wanted.append(document)
    if not wanted:
        return []
    cutter = Cutter(index.encoder, index.manifest.settings)
    pieces = cutter.pieces(wanted, cutter.spans(wanted))
    return list(dict.fromkeys((piece.text, piece.language) for piece in pieces))


def vector_problem(index: Index, one: IncomingDocument, given: bool) -> Problem | None:
    """Return what is wrong with the vector of a document, or with its absence; ``None`` if nothing is.

    Parameters
    ----------
    index
        The index.
    one
        The document.
    given
        Whether the first document of the request has a vector.
    """
    manifest = index.manifest
    if one.vector is None and given:
        return invalid("this document has no vector, but others have", ["vector"], "Give all documents one, or none.")
    if one.vector is None:
        if isinstance(index.encoder, ExternalEncoder):
            return invalid(
                f"the vectors of this index are made elsewhere, by {index.encoder.name}",
                ["vector"],
                "Send the vector of each document.",
            )
        return None
    if not given:
        return invalid(
            "this document has a vector, but others have none", ["vector"], "Give all documents one, or none."
        )
    depth = 1 if manifest.similarity == "cosine" else 2
    if one.vector.ndim != depth:
        return invalid(
            f"the vector has {one.vector.ndim} axes, not {depth}",
            ["vector"],
            "Send one list of numbers." if depth == 1 else "Send a list of lists of numbers, one list for each token.",
        )
    dims = {manifest.dims} if isinstance(index.encoder, ExternalEncoder) else {manifest.dims, index.encoder.dims}
    if one.vector.shape[-1] not in dims:
        return invalid(
            f"the vector has {counted(one.vector.shape[-1], 'dimension')}, not {manifest.dims}",
            ["vector"],
            "Send vectors of the encoder of this index.",
        )
    return None


def _given_vectors(index: Index, documents: Sequence[IncomingDocument]) -> Vectors | None:
    """Return the vectors that were sent with documents, after checking them; ``None`` if none were."""
    vectors = [one.vector for one in documents if one.vector is not None]
    if not vectors:
        return None
    return index.shards.space.check_vectors(np.stack(vectors) if index.manifest.similarity == "cosine" else vectors)
