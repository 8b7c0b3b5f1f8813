"""Measure where long documents should be cut: recall of documents and of passages, and processor time.

    python scripts/bench/passages.py --data DIR [--quick] [--json FILE] [--markdown FILE]

The paragraphs of XQuAD-R (`DIR/xquad_r`) are joined, ten to a document, which then has some two thousand tokens, four
times as many as the bundled encoder reads. All documents of all languages are one collection, and the questions of each
language are asked. A document is relevant if it holds the question's paragraph, in any language. It is ranked by its
best passage, and the passage counts as found if it overlaps with that paragraph and contains the answer.

Beside mlret's passages of several sizes and overlaps it measures documents that are cut at the encoder's longest input,
and the splitters of LlamaIndex (SentenceSplitter) and Haystack (DocumentSplitter), where these are installed; all with
the same encoder. `make test-integrations` makes an environment that has them.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import importlib.util
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mlret
from mlret.data.documents import Document
from mlret.encoders.encoder import Encoder
from mlret.index.cutting import Cutter
from mlret.index.settings import IndexSettings

LANGUAGES = ("en", "ar", "zh")
PARAGRAPHS = 10
K = 10
Spans = list[tuple[int, int]]
Splitter = Callable[["Long"], Spans]


@dataclass
class Long:
    """A long document, and where each paragraph of the benchmark is in it."""

    language: str
    text: str = ""
    paragraphs: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Question:
    """A question, its paragraph, and the answer in each language."""

    text: str
    language: str
    paragraph: str
    answers: dict[str, str]


def read(folder: Path, languages: tuple[str, ...], count: int) -> tuple[list[Long], list[Question]]:
    """Return the first ``count`` documents of each language, and the questions about them."""
    documents: list[Long] = []
    for language in languages:
        rows = [row for row in _lines(folder / "corpus.paragraphs.jsonl.gz") if row["lang"] == language]
        for place, row in enumerate(rows[: count * PARAGRAPHS]):
            if place % PARAGRAPHS == 0:
                documents.append(Long(language))
            one = documents[-1]
            start = len(one.text) + 2 * bool(one.text)
            one.text = f"{one.text}\n\n{row['text']}" if one.text else row["text"]
            one.paragraphs[row["par"]] = start, len(one.text)
    where = {}
    with gzip.open(folder / "qrels.paragraphs.same-language.trec.gz", "rt", encoding="utf-8") as file:
        for line in file:
            id, _, paragraph, _ = line.split()
            where[id] = paragraph.partition("-")[2]
    held = {paragraph for one in documents for paragraph in one.paragraphs}
    answers: dict[str, dict[str, str]] = defaultdict(dict)
    asked = []
    with gzip.open(folder / "topics.tsv.gz", "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            if row["lang"] in languages and where[row["qid"]] in held:
                number = row["qid"].partition(":")[2]
                answers[number][row["lang"]] = row["answer"]
                asked.append((row["question"], row["lang"], where[row["qid"]], number))
    return documents, [Question(text, code, par, answers[number]) for text, code, par, number in asked]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def whole(encoder: Encoder) -> Splitter:
    """Return the splitter that keeps what the encoder reads of a document; the rest is lost."""
    longest = encoder.longest_document
    assert longest is not None

    def split(document: Long) -> Spans:
        low, high = 0, len(document.text)
        while low < high:
            middle = (low + high + 1) // 2
            if encoder.token_counts([document.text[:middle]], cut=False)[0] <= longest:
                low = middle
            else:
                high = middle - 1
        return [(0, low)]

    return split


def ours(encoder: Encoder, size: int, overlap: int) -> Splitter:
    """Return mlret's splitter."""
    cutter = Cutter(encoder, IndexSettings(passage_tokens=size, passage_overlap=overlap))

    def split(document: Long) -> Spans:
        [spans] = cutter.spans([Document("a", document.text, document.language)])
        return [tuple(span) for span in spans] or [(0, len(document.text))]

    return split


def llama_index(encoder: Encoder, size: int, overlap: int) -> Splitter:
    """Return LlamaIndex's splitter, which counts the encoder's tokens."""
    from llama_index.core.node_parser import SentenceSplitter

    special = encoder.token_counts([""])[0]

    def tokens(text: str) -> list[int]:
        return [0] * (encoder.token_counts([text], cut=False)[0] - special)

    splitter = SentenceSplitter(chunk_size=size, chunk_overlap=overlap, tokenizer=tokens)
    return lambda document: _located(document.text, splitter.split_text(document.text))


def haystack(words: int, overlap: int) -> Splitter:
    """Return Haystack's splitter, which counts words."""
    from haystack import Document as HaystackDocument
    from haystack.components.preprocessors import DocumentSplitter

    splitter = DocumentSplitter(split_by="word", split_length=words, split_overlap=overlap)
    splitter.warm_up()

    def split(document: Long) -> Spans:
        found = splitter.run(documents=[HaystackDocument(content=document.text)])["documents"]
        return [(one.meta["split_idx_start"], one.meta["split_idx_start"] + len(one.content)) for one in found]

    return split


def _located(text: str, parts: list[str]) -> Spans:
    found: Spans = []
    for part in parts:
        start = text.find(part, found[-1][0] + 1 if found else 0)
        assert start >= 0, "a passage is no part of its document"
        found.append((start, start + len(part)))
    return found


def measured(
    encoder: Encoder, split: Splitter, documents: list[Long], questions: list[Question], asked: NDArray[np.float32]
) -> dict[str, float]:
    """Return the figures of a splitter."""
    begin = time.process_time()
    spans = [split(document) for document in documents]
    cut = time.process_time() - begin
    texts = [one.text[start:end] for one, some in zip(documents, spans, strict=True) for start, end in some]
    languages = [one.language for one, some in zip(documents, spans, strict=True) for _ in some]
    begin = time.process_time()
    vectors = encoder.encode_document(texts, language=languages)
    encoded = time.process_time() - begin
    first = np.cumsum([0, *map(len, spans)])
    scores = asked @ vectors.T
    by_document = np.maximum.reduceat(scores, first[:-1], axis=1)
    ranking = np.argsort(-by_document, axis=1, kind="stable")[:, :K]
    recall, passages, best = [], [], []
    for question, order, line in zip(questions, ranking, scores, strict=True):
        relevant = [place for place, one in enumerate(documents) if question.paragraph in one.paragraphs]
        found = [place for place in order if place in relevant]
        right = [
            _holds(documents[place], spans[place], line[first[place] : first[place + 1]], question) for place in found
        ]
        recall.append(len(found) / len(relevant))
        passages.append(sum(right) / len(relevant))
        best.append(order[0] in relevant)
    lengths = [end - start for some in spans for start, end in some]
    return {
        "recall": float(np.mean(recall)),
        "passage_recall": float(np.mean(passages)),
        "first": float(np.mean(best)),
        "passages": len(texts),
        "characters": float(np.mean(lengths)),
        "cut_seconds": cut,
        "encode_seconds": encoded,
    }


def _holds(document: Long, spans: Spans, scores: NDArray[np.float32], question: Question) -> bool:
    """Return whether the best passage of a document overlaps with a paragraph and contains the answer."""
    start, end = spans[int(np.argmax(scores))]
    first, last = document.paragraphs[question.paragraph]
    return start < last and first < end and question.answers[document.language] in document.text[start:end]


def splitters(encoder: Encoder, quick: bool) -> Iterator[tuple[str, Splitter]]:
    """Yield what is measured, by name."""
    yield f"cut at {encoder.longest_document} tokens", whole(encoder)
    for size in (128,) if quick else (128, 256, 64, 400):
        yield f"mlret, {size} tokens, overlap {size // 8}", ours(encoder, size, size // 8)
    if importlib.util.find_spec("llama_index") is not None:
        for size, overlap in ((1024, 200),) if quick else ((128, 16), (1024, 200), (256, 32)):
            note = " (default)" if size == 1024 else ""
            yield f"LlamaIndex, {size} tokens, overlap {overlap}{note}", llama_index(encoder, size, overlap)
    if importlib.util.find_spec("haystack") is not None:
        for words in (200,) if quick else (200, 100):
            yield f"Haystack, {words} words, overlap 0{' (default)' if words == 200 else ''}", haystack(words, 0)
    for size in () if quick else (128, 256):
        for overlap in (0, size // 4):
            yield f"mlret, {size} tokens, overlap {overlap}", ours(encoder, size, overlap)


def table(figures: dict[str, dict[str, float]]) -> str:
    """Return the figures as a table."""
    lines = [
        "| | recall@10 | of passages | first is right | passages | characters | cutting, CPU s | encoding, CPU s |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, one in figures.items():
        shares = [f"{100 * one[what]:.1f}" for what in ("recall", "passage_recall", "first")]
        counts = [f"{one[what]:,.0f}" for what in ("passages", "characters")]
        seconds = [f"{one['cut_seconds']:.1f}", f"{one['encode_seconds']:.0f}"]
        lines.append(f"| {' | '.join([name, *shares, *counts, *seconds])} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print the table, and write the figures if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds xquad_r")
    parser.add_argument("--languages", default=",".join(LANGUAGES), help="codes, separated by commas")
    parser.add_argument("--documents", type=int, default=24, help="of each language, which has 24")
    parser.add_argument("--only", default="", help="only splitters whose names contain this")
    parser.add_argument("--quick", action="store_true", help="one setting of each splitter")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--markdown", type=Path, help="write the table to this file")
    arguments = parser.parse_args()
    languages = tuple(arguments.languages.split(","))
    documents, questions = read(arguments.data / "xquad_r", languages, arguments.documents)
    encoder = mlret.load_encoder()
    print(f"{len(documents)} documents, {len(questions)} questions")
    asked = encoder.encode_query([one.text for one in questions], language=[one.language for one in questions])
    figures: dict[str, dict[str, float]] = {}
    for name, split in splitters(encoder, arguments.quick):
        if arguments.only not in name:
            continue
        figures[name] = measured(encoder, split, documents, questions, asked)
        print(table({name: figures[name]}).splitlines()[-1], flush=True)
        if arguments.json is not None:
            about = {"languages": languages, "documents": len(documents), "questions": len(questions)}
            arguments.json.write_text(json.dumps(about | {"figures": figures}, indent=1) + "\n", encoding="utf-8")
        if arguments.markdown is not None:
            arguments.markdown.write_text(table(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
