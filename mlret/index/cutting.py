"""Cuts documents that are longer than an encoder reads into passages: runs of sentences that overlap."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from functools import cached_property

from mlret.data.documents import Document
from mlret.encoders.multi_vector import AnyEncoder
from mlret.errors import InputError, LongTextWarning, warn
from mlret.index.settings import IndexSettings
from mlret.index.storage.passages import Span, Spans

# No character gives more tokens than this, whatever the tokenizer: bytes of UTF-8, with which some of them end.
_TOKENS_OF_A_CHARACTER = 4
# A title takes at most this share of a passage; a longer one is left out.
_TITLE = 1 / 3


class Cutter:
    """Decides for documents whether they are cut, and where.

    Parameters
    ----------
    encoder
        The encoder, whose tokens count.
    settings
        The settings of the index.

    Attributes
    ----------
    documents, tokens
        How many documents were longer than the encoder reads and not cut, and how many of their tokens are lost.
    """

    def __init__(self, encoder: AnyEncoder, settings: IndexSettings) -> None:
        self._encoder = encoder
        self._settings = settings
        self._longest = encoder.longest_document
        self.documents = self.tokens = 0

    def spans(self, documents: Sequence[Document]) -> list[Spans]:
        """Return the passages of each document; none for a document that the encoder reads to its end.

        Parameters
        ----------
        documents
            The documents, with their languages.

        Raises
        ------
        InputError
            If a document is too long, and the settings say to refuse it.
        """
        found: list[Spans] = [()] * len(documents)
        longest = self._longest
        if longest is None:
            return found
        some = [
            place for place, one in enumerate(documents) if _TOKENS_OF_A_CHARACTER * len(one.text) > longest
        ]  # Counting takes a hundredth of the time of encoding.
        counts = self._encoder.token_counts([documents[place].text for place in some], cut=False) if some else []
        for place, count in zip(some, counts, strict=True):
            if count > longest:
                found[place] = self._of_long(documents[place], count)
        return found

    def pieces(self, documents: Sequence[Document], spans: Sequence[Spans]) -> list[Document]:
        """Return what is encoded of documents: each itself, or its passages with its title in front.

        Parameters
        ----------
        documents
            ``n`` documents.
        spans
            The passages of each.
        """
        return [piece for one, some in zip(documents, spans, strict=True) for piece in self._pieces(one, some)]

    def report(self) -> None:
        """Warn of the documents that were longer than the encoder reads and not cut since the last report."""
        if self.documents:
            what = "1 document is" if self.documents == 1 else f"{self.documents:,} documents are"
            warn(
                f"{what} longer than the {self._longest} tokens that {self._encoder.name} reads: the last "
                f"{self.tokens:,} tokens cannot be found by their meaning; build the index with passages='cut'",
                LongTextWarning,
            )
        self.documents = self.tokens = 0

    def _of_long(self, document: Document, count: int) -> Spans:
        assert self._longest is not None
        if self._settings.passages == "cut":
            return self._cut(document)
        lost = count - self._longest
        if self._settings.passages == "refuse":
            where = f"{document.origin}: " if document.origin else ""
            raise InputError(
                f"{where}document {document.id!r} has {count:,} tokens, and {self._encoder.name} reads "
                f"{self._longest}: the last {lost:,} would be lost; shorten it, or build the index with passages='cut'"
            )
        self.documents += 1
        self.tokens += lost
        return ()

    def _cut(self, document: Document) -> Spans:
        assert self._longest is not None
        size = min(self._settings.passage_tokens, self._longest)
        room = max(1, size - self._special - self._title(document)[1])
        while True:
            overlap = min(self._settings.passage_overlap, room // 2)
            units, counts = self._units(document, room)
            found = packed(units, counts, room, overlap)
            texts = [piece.text for piece in self._pieces(document, found)]
            # Tokens of sentences that stand together are other tokens, and may be more.
            fits = max(self._encoder.token_counts(texts, cut=False)) <= self._longest
            if room == 1 or (fits and len(found) > 1):
                return found
            room = max(1, 3 * room // 4)

    def _pieces(self, document: Document, spans: Spans) -> list[Document]:
        if not spans:
            return [document]
        title = self._title(document)[0]
        texts = [document.text[start:end] for start, end in spans]
        return [
            Document.stored(
                document.id, f"{title}\n{text}" if title and not text.startswith(title) else text, document.language, {}
            )
            for text in texts
        ]

    def _title(self, document: Document) -> tuple[str, int]:
        """Return the title that stands in front of each passage, and its number of tokens."""
        title = document.metadata.get("title")
        if not isinstance(title, str) or not title.strip():
            return "", 0
        title = " ".join(title.split())
        size = min(self._settings.passage_tokens, self._longest or self._settings.passage_tokens)
        tokens = self._encoder.token_counts([title], cut=False)[0] - self._special
        return (title, tokens) if tokens <= _TITLE * size else ("", 0)

    @cached_property
    def _special(self) -> int:
        """The number of tokens that an empty text has."""
        return self._encoder.token_counts([""], cut=False)[0]

    def _units(self, document: Document, room: int) -> tuple[list[Span], list[int]]:
        """Return the sentences of a document and their numbers of tokens; longer ones are divided at spaces."""
        found: list[tuple[Span, int]] = []
        new = list(sentences_of(document))
        while new:
            texts = [document.text[start:end] for start, end in new]
            counts = [count - self._special for count in self._encoder.token_counts(texts, cut=False)]
            found += [(one, count) for one, count in zip(new, counts, strict=True) if count <= room or _is_single(one)]
            long = [
                (one, count) for one, count in zip(new, counts, strict=True) if count > room and not _is_single(one)
            ]
            new = [part for one, count in long for part in divided(document.text, one, count // room + 1)]
        found.sort()
        return [one for one, _ in found], [count for _, count in found]


def sentences_of(document: Document) -> Iterator[Span]:
    """Yield where the sentences of a document are, by the rules of its language."""
    from mlret.data.sentences import split_sentences

    end = 0
    for sentence in split_sentences(document.text, document.language or "und"):
        start = document.text.index(sentence, end)
        end = start + len(sentence)
        yield Span(start, end)


def _is_single(span: Span) -> bool:
    return span.end - span.start < 2


def divided(text: str, span: Span, count: int) -> list[Span]:
    """Divide a part of a text into parts of about equal length, at spaces where there are any.

    Parameters
    ----------
    text
        The text.
    span
        The part, of two characters at least.
    count
        The number of parts, at least 2; fewer if it has fewer characters.
    """
    length = max(1, -(-(span.end - span.start) // count))
    found, start = [], span.start
    while start < span.end:
        end = min(start + length, span.end)
        if end < span.end:
            space = text.rfind(" ", start + length // 2, end)
            end = space if space > start else _before_marks(text, start + 1, end)
        part = text[start:end]
        first, last = start + len(part) - len(part.lstrip()), end - len(part) + len(part.rstrip())
        if first < last:
            found.append(Span(first, last))
        start = end
    return found


def _before_marks(text: str, start: int, end: int) -> int:
    """Return the last place up to ``end`` that separates no accent or vowel sign from its letter."""
    place = end
    while place > start and unicodedata.category(text[place]).startswith("M"):
        place -= 1
    return place if place > start else end


def packed(units: Sequence[Span], counts: Sequence[int], room: int, overlap: int) -> list[Span]:
    """Join sentences to passages, each as long as there is room for, the last two of about equal length.

    Parameters
    ----------
    units
        Where the sentences are, in ascending order.
    counts
        The number of tokens of each.
    room
        The number of tokens of a passage, at most, unless a single sentence has more.
    overlap
        The number of tokens at the end of a passage that the next one repeats, at most; whole sentences only.
    """
    found: list[Span] = []
    first, end, left = 0, 0, sum(counts)
    while True:
        limit = min(room, (left + 1) // 2 + overlap) if room < left <= 2 * room else room
        new, used, end = end, 0, first
        while end < len(units) and (end <= new or used + counts[end] <= limit):
            used += counts[end]
            end += 1
        found.append(Span(units[first].start, units[end - 1].end))
        if end == len(units):
            return found
        start, repeated = end, 0
        while (
            start - 1 > first
            and repeated + counts[start - 1] <= overlap
            and repeated + counts[start - 1] + counts[end] <= room
        ):
            start -= 1
            repeated += counts[start]
        left -= used - repeated
        first = start
