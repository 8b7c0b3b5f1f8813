"""Add documents to an index: a list of them in one transaction, or a stream of lines in many."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import anyio.to_thread

from mlret.index.index import Index
from mlret.index.storage.receipts import Receipt
from mlret.serve.catalogue import ServedIndex
from mlret.serve.operations.idempotency import Digest, other_body, receipt_key
from mlret.serve.operations.incoming import IncomingDocument, read_array, read_line
from mlret.serve.operations.lines import LineBatch
from mlret.serve.operations.service import Service
from mlret.serve.operations.storing import Batch, OnConflict, Outcome, to_encode, vector_problem
from mlret.serve.problems import Problem, pointer
from mlret.serve.security.principal import Principal

# Documents that are encoded in one call, so that queries of others come in between.
_ENCODED = 64
VERDICTS = ("added", "replaced", "unchanged", "skipped", "failed")


@dataclass(frozen=True, slots=True)
class Adding:
    """How documents are added.

    Attributes
    ----------
    on_conflict
        What is done with a document whose id is stored already: ``fail``, ``skip`` or ``replace``.
    key
        The idempotency key that the client sent; empty for none.
    """

    on_conflict: OnConflict = "fail"
    key: str = ""

    def digest(self, form: str) -> Digest:
        """Return the hash of a request that adds documents in this way.

        Parameters
        ----------
        form
            The form of the body.
        """
        return Digest(f"documents {form} {self.on_conflict}")


async def add_documents(service: Service, principal: Principal, name: str, body: bytes, how: Adding) -> dict[str, Any]:
    """Store an array of documents, all of them or none.

    Parameters
    ----------
    service
        The server.
    principal
        Who asks.
    name
        The name of the index.
    body
        A JSON array of documents.
    how
        What is done with documents that are stored already.

    Returns
    -------
    dict
        The numbers of documents by verdict, and ``results``: the id and the verdict of each document.

    Raises
    ------
    Problem
        If the body is invalid, or a document is stored already and ``how`` says ``fail``. Nothing is stored then.
    """
    served = service.index(principal, name, "write")
    key = receipt_key(principal.id, how.key) if how.key else ""
    with service.keys.reserved(served.name, key):
        hashed = how.digest("json")
        hashed.add(body)
        digest = hashed.value
        if key and (earlier := await served.handle.read(partial(_receipts, key=key))):
            if len(earlier) != 1 or earlier[0].digest != digest:
                raise other_body()
            return _answer(json.loads(earlier[0].answer))
        documents = await anyio.to_thread.run_sync(read_array, body)
        given = bool(documents) and documents[0].vector is not None
        numbered = dict(enumerate(documents))
        for place, problem in (
            await served.handle.read(partial(_vector_problems, documents=numbered, given=given))
        ).items():
            problem.field = pointer([place]) + (problem.field or "")
            raise problem

        def receipt(outcomes: list[Outcome]) -> Receipt:
            rows = [_result(outcome) for outcome in outcomes]
            return Receipt(0, len(rows), digest, last=True, answer=json.dumps(rows, ensure_ascii=False).encode())

        batch = Batch(documents, how.on_conflict, {}, together=True, key=key, receipt=receipt if key else None)
        outcomes = await _store(served, batch)
        return _answer([_result(outcome) for outcome in outcomes])


async def stream_documents(
    service: Service, principal: Principal, name: str, batches: AsyncIterator[LineBatch], how: Adding
) -> AsyncIterator[bytes]:
    """Store documents line by line, and yield lines of NDJSON that say what became of them.

    Parameters
    ----------
    service
        The server.
    principal
        Who asks.
    name
        The name of the index.
    batches
        The lines of the body.
    how
        What is done with documents that are stored already. A document that fails keeps no other from being stored.

    Yields
    ------
    bytes
        After each transaction a line for each document, and at the end one with the numbers of all verdicts. If the
        work has to end before, the last line holds the problem instead; then no document without a line was stored.

    Raises
    ------
    Problem
        If the request fails before anything is stored.
    """
    served = service.index(principal, name, "write")
    key = receipt_key(principal.id, how.key) if how.key else ""
    with service.keys.reserved(served.name, key):
        earlier = await served.handle.read(partial(_receipts, key=key)) if key else []
        stream = _Stream(served, how, key, earlier)
        async for batch in batches:
            if found := await stream.store(batch):
                yield found
        counts = {one: stream.counts[one] for one in VERDICTS}
        yield _line({"end": True, "lines": stream.counts.total(), **counts})


class _Stream:
    """The state of one stream of documents.

    Parameters
    ----------
    served
        The index.
    how
        What is done with documents that are stored already.
    key
        The key of the receipts; empty for none.
    earlier
        The receipts of an earlier request with this key.
    """

    def __init__(self, served: ServedIndex, how: Adding, key: str, earlier: Sequence[Receipt]) -> None:
        self._served = served
        self._how = how
        self._key = key
        self._earlier = list(reversed(earlier))
        self._digest = how.digest("ndjson")
        self._parts = 0
        self._ended = False
        self._given: bool | None = None
        self._waiting: list[tuple[int, bytes]] = []
        self.counts: Counter[str] = Counter()

    async def store(self, batch: LineBatch) -> bytes:
        """Store the lines of a batch, except those that an earlier request with this key has stored.

        Returns
        -------
        bytes
            The verdicts, as lines of NDJSON. Empty if more lines are needed to compare them with a receipt.

        Raises
        ------
        Problem
            If the lines are not those of the earlier request, or cannot be stored at all.
        """
        lines, self._waiting = [*self._waiting, *batch.lines], []
        answers: list[bytes] = []
        while self._earlier:
            receipt = self._earlier[-1]
            if len(lines) < receipt.lines and not batch.last:
                self._waiting = lines
                return b"".join(answers)
            repeated, lines = lines[: receipt.lines], lines[receipt.lines :]
            if self._hashed(repeated) != receipt.digest:
                raise other_body()
            self._earlier.pop()
            self._parts += 1
            self._ended = receipt.last
            self._count(receipt.answer)
            answers.append(receipt.answer)
        if self._ended and lines:
            raise other_body()
        # The end is noted in a receipt too, so that the same body with more lines is another request.
        if lines or (self._key and batch.last and not self._ended):
            answers.append(await self._stored(lines, batch.last))
        return b"".join(answers)

    async def _stored(self, lines: Sequence[tuple[int, bytes]], last: bool) -> bytes:
        read = await anyio.to_thread.run_sync(_read_lines, lines)
        documents = {place: one for place, one in enumerate(read) if isinstance(one, IncomingDocument)}
        if self._given is None and documents:
            self._given = next(iter(documents.values())).vector is not None
        checked = await self._served.handle.read(partial(_vector_problems, documents=documents, given=self._given))
        failed = {place: one for place, one in enumerate(read) if isinstance(one, Problem)} | checked
        good = {place: one for place, one in documents.items() if place not in failed}
        digest, part = self._hashed(lines), self._parts

        def answer(outcomes: Sequence[Outcome]) -> bytes:
            found = dict(zip(good, outcomes, strict=True))
            rows = [
                _result(
                    found[place] if place in found else Outcome(_id_of(read[place]), "failed", failed[place]), number
                )
                for place, (number, _) in enumerate(lines)
            ]
            return b"".join(map(_line, rows))

        def receipt(outcomes: list[Outcome]) -> Receipt:
            return Receipt(part, len(lines), digest, last=last, answer=answer(outcomes))

        batch = Batch(
            list(good.values()),
            self._how.on_conflict,
            {},
            together=False,
            key=self._key,
            receipt=receipt if self._key else None,
            more=not last,
        )
        outcomes = await _store(self._served, batch) if good or self._key else []
        self._parts += 1
        text = answer(outcomes)
        self._count(text)
        return text

    def _hashed(self, lines: Sequence[tuple[int, bytes]]) -> bytes:
        for _, line in lines:
            self._digest.add(line.strip())
        return self._digest.value

    def _count(self, answer: bytes) -> None:
        self.counts.update(json.loads(line)["verdict"] for line in answer.splitlines())


async def _store(served: ServedIndex, batch: Batch) -> list[Outcome]:
    """Encode the documents of a batch, and store them."""
    wanted = await served.handle.read(partial(to_encode, documents=batch.documents, on_conflict=batch.on_conflict))
    encoded: dict[tuple[str, str | None], Any] = {}
    for start in range(0, len(wanted), _ENCODED):
        some = wanted[start : start + _ENCODED]
        vectors = await served.passages([text for text, _ in some], [language for _, language in some])
        encoded.update(zip(some, vectors, strict=True))
    return await served.handle.write(replace(batch, encoded=encoded).store)


def _vector_problems(index: Index, documents: dict[int, IncomingDocument], given: bool | None) -> dict[int, Problem]:
    found = {place: vector_problem(index, one, bool(given)) for place, one in documents.items()}
    return {place: problem for place, problem in found.items() if problem is not None}


def _read_lines(lines: Sequence[tuple[int, bytes]]) -> list[IncomingDocument | Problem]:
    return [read_line(line) for _, line in lines]


def _receipts(index: Index, key: str) -> list[Receipt]:
    return index.shards.receipts(key)


def _id_of(read: IncomingDocument | Problem) -> str | None:
    return read.document.id if isinstance(read, IncomingDocument) and read.named else None


def _result(outcome: Outcome, line: int | None = None) -> dict[str, Any]:
    """Return what became of a document as JSON; ``line`` is its number in a stream."""
    found: dict[str, Any] = {} if line is None else {"line": line}
    found |= {"id": outcome.id, "verdict": outcome.verdict}
    if outcome.problem is not None:
        found["problem"] = outcome.problem.document("")
        del found["problem"]["instance"]  # The answer to a repeated request is the same, but its id is not.
    return found


def _answer(results: list[dict[str, Any]]) -> dict[str, Any]:
    counts = Counter(one["verdict"] for one in results)
    return {**{one: counts[one] for one in VERDICTS[:-1]}, "results": results}


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
