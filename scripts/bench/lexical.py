"""Measure the lexical channel of the index: time and size by number of records, and what fusion with it is worth.

    python scripts/bench/lexical.py --data DIR [--quick] [--json FILE] [--quality]

Speed: the records are sequences of neighbouring sentences, about 100 words each, drawn from `mono/` in all its
languages. Queries are taken from records: three words, a sentence, or a whole record. Times are medians on one thread,
of the first search of each query in the process; the file is in the page cache.

Quality (`--quality`), with the bundled encoder, on text that may be used for tuning:

- `same`, `others`: the questions of the bundled sample against the passages of all twelve languages in one index:
  MRR@10 of the passage in the question's language, and how many of the eleven others are among the first twelve hits.
- `words`: three neighbouring words of a sentence are the query for it among the sentences of all languages (scripts
  without spaces: nine characters); MRR@10. The sentences of this and the next task are five documents of NTREX-128 just
  before its last fifth, which is held out.
- `one script`, `two scripts`: a sentence is the query for its translation in one other language, among that language's
  sentences and the other sentences of its own; MRR@10.

Fusion is measured with the lexical channel applied to every record (`all`), to those in the query's script (`script`),
and to those in the query's language as well (`language`).
"""

from __future__ import annotations

import gzip
import json
import os
import platform
import random
import sqlite3
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from mlret.data.languages import normalise_language
from mlret.data.sample import load_sample
from mlret.encoders.encoder import Encoder
from mlret.encoders.loading import load_encoder
from mlret.errors import InputError
from mlret.index.fusion import align, lexical_applies, reciprocal_rank_fusion, z_mean
from mlret.index.lexical.fts import LexicalTable

SIZES = (10_000, 100_000, 1_000_000)
QUICK_SIZES = (1_000, 5_000)
_BATCH = 1000
_QUERIES = 50

# Numbers of documents, of the 123 in NTREX-128 in the order of the file.
_NTREX_DOCUMENTS = range(94, 99)
_ONE_SCRIPT = "en-de de-nl fr-es it-en ru-uk sv-da vi-fr tr-en"
_TWO_SCRIPTS = "en-ja en-ru ar-en ja-ko hi-de zh-ru th-en el-fr"
_DEPTH = 100


def sentences_by_language(data: Path) -> dict[str, list[str]]:
    """Return the sentences of `mono/` by language, in the order of their documents."""
    sentences: dict[str, list[str]] = defaultdict(list)
    for path in sorted((data / "mono").glob("*/*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as handle:
            for line in handle:
                document = json.loads(line)
                sentences[document["lang"]] += document.get("sents") or []
    return {language: found for language, found in sentences.items() if len(found) > 200}


def records(sentences: dict[str, list[str]], seed: int) -> Iterator[str]:
    """Yield texts of about 100 words without end; a language occurs in proportion to its amount of text."""
    chance = random.Random(seed)
    languages = list(sentences)
    weights = [len(sentences[language]) for language in languages]
    while True:
        for language in chance.choices(languages, weights, k=1000):
            start = chance.randrange(len(sentences[language]) - 100)
            parts, characters = [], 0
            for sentence in sentences[language][start : start + 100]:
                parts.append(sentence)
                characters += len(sentence.encode())  # a character of Chinese counts as three of English
                if characters >= 600:
                    break
            yield " ".join(parts)[:1500]


def words_of(text: str, count: int, chance: random.Random) -> str:
    words = text.split()
    if len(words) < 2 * count:  # a script without spaces
        start = chance.randrange(max(1, len(text) - 3 * count))
        return text[start : start + 3 * count]
    start = chance.randrange(len(words) - count)
    return " ".join(words[start : start + count])


def milliseconds(
    table: LexicalTable, queries: list[str], allowed: NDArray[np.int64] | None = None
) -> tuple[float, float]:
    """Return the median and the 95th percentile of the time of a search for 100 hits."""
    times = []
    for query in queries:
        start = time.perf_counter()
        table.search(query, 100, allowed=allowed)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times), float(np.percentile(times, 95))


def speed(data: Path, sizes: tuple[int, ...], folder: Path) -> Iterator[dict[str, float]]:
    """Fill one database and measure it at each size."""
    texts = records(sentences_by_language(data), seed=0)
    path = folder / "records.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    store = sqlite3.connect(folder / "texts.db", isolation_level=None)  # separate, to measure its own size
    store.execute("CREATE TABLE records (row INTEGER PRIMARY KEY, text TEXT NOT NULL)")
    texts_of = "SELECT row, text FROM records WHERE row IN (SELECT value FROM json_each(?))"
    table = LexicalTable(connection, lambda rows: dict(store.execute(texts_of, (json.dumps(rows),)).fetchall()))
    table.create()
    chance = random.Random(1)
    samples: list[str] = []
    size, adding = 0, 0.0
    for goal in sizes:
        while size < goal:
            batch = [next(texts) for _ in range(_BATCH)]
            start = time.perf_counter()
            connection.execute("BEGIN IMMEDIATE")
            table.add(range(size + 1, size + _BATCH + 1), batch)
            connection.execute("COMMIT")
            adding += time.perf_counter() - start
            store.execute("BEGIN")
            store.executemany("INSERT INTO records VALUES (?, ?)", enumerate(batch, start=size + 1))
            store.execute("COMMIT")
            size += _BATCH
            samples += chance.sample(batch, max(1, 200_000 // goal))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        chosen = chance.sample(samples, _QUERIES)
        few = np.sort(np.array(chance.sample(range(1, size + 1), 200), dtype=np.int64))
        tenth = np.arange(1, size + 1, 10, dtype=np.int64)
        queries = {
            "3 words": [words_of(text, 3, chance) for text in chosen],
            "12 words": [words_of(text, 12, chance) for text in chosen],
            "a record": chosen,
        }
        row: dict[str, float] = {
            "records": size,
            "add_seconds_per_1000": adding / size * 1000,
            "bytes_per_record": path.stat().st_size / size,
        }
        start = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        table.add([size + 1], [chosen[0]])
        connection.execute("COMMIT")
        row["add_one_ms"] = 1000 * (time.perf_counter() - start)
        table.remove([size + 1], [chosen[0]])
        for name, some in queries.items():
            row[f"{name}, ms"], row[f"{name}, p95 ms"] = milliseconds(table, some)
        some = queries["12 words"]
        row["12 words in 200 rows, ms"] = milliseconds(table, some, few)[0]
        row["12 words in a tenth, ms"] = milliseconds(table, some, tenth)[0]
        yield row
    connection.close()
    store.close()


@dataclass(frozen=True)
class Query:
    """A search and the texts that it should find."""

    text: str
    language: str
    vector: NDArray[np.float32]
    relevant: frozenset[int]
    allowed: NDArray[np.int64] | None = None


class Collection:
    """Texts with their vectors and lexical channel, in memory; a row is a position in ``texts``."""

    def __init__(self, encoder: Encoder, texts: list[str], languages: list[str]) -> None:
        self.texts, self.languages = texts, languages
        self.vectors = encoder.encode(texts, language=languages)
        self.table = LexicalTable(sqlite3.connect(":memory:", isolation_level=None))
        self.table.create()
        self.table.add(range(len(texts)), texts)

    def search(self, query: Query, depth: int) -> dict[str, NDArray[np.int64]]:
        """Return the rows that each method finds, best first."""
        rows = np.arange(len(self.texts)) if query.allowed is None else query.allowed
        cosines = self.vectors[rows] @ query.vector
        order = np.lexsort((rows, -cosines))[:depth]
        dense = cosines[order].astype(np.float64), rows[order]
        lexical = self.table.search(query.text, depth, allowed=query.allowed)
        rows, scores = align([dense, lexical])
        scores[:, 0] = self.vectors[rows] @ query.vector
        ranks_only = align([dense, lexical])[1]
        found = [self.texts[row] for row in rows]
        languages = [self.languages[row] for row in rows]
        columns = {
            "all": np.ones(len(rows), dtype=bool),
            "script": lexical_applies(query.text, None, found, languages),
            "language": lexical_applies(query.text, query.language, found, languages),
        }
        results = {"dense": dense[1], "lexical": lexical[1]}
        for name, column in columns.items():
            applies = np.stack([np.ones(len(rows), dtype=bool), column], axis=1)
            results[f"RRF, {name}"] = reciprocal_rank_fusion(rows, ranks_only, applies).rows
            results[f"z-mean, {name}"] = z_mean(rows, scores, applies).rows
        return results


def reciprocal_rank(rows: NDArray[np.int64], relevant: frozenset[int]) -> float:
    return next((1 / rank for rank, row in enumerate(rows[:10].tolist(), start=1) if row in relevant), 0.0)


def recall_of_twelve(rows: NDArray[np.int64], relevant: frozenset[int]) -> float:
    return len(relevant.intersection(rows[:12].tolist())) / len(relevant)


def ntrex_sentences(folder: Path) -> Iterator[tuple[str, int, str]]:
    """Yield (language, line, sentence) of the documents that may be used for tuning."""
    with gzip.open(folder / "doc_ids.txt.gz", "rt", encoding="utf-8") as handle:
        document_of_line = handle.read().split()
    order = {document: position for position, document in enumerate(dict.fromkeys(document_of_line))}
    seen = set()
    with gzip.open(folder / "ntrex128.long.tsv.gz", "rt", encoding="utf-8") as handle:
        next(handle)
        for line in handle:
            code, number, text = line.rstrip("\n").split("\t")
            if order[document_of_line[int(number)]] not in _NTREX_DOCUMENTS or not text.strip():
                continue
            try:
                language = normalise_language(code)
            except InputError:  # a code of NTREX that is in no registry
                continue
            if (language, number) not in seen:  # a second variety of a language
                seen.add((language, number))
                yield language, int(number), text.strip()


def sample_tasks(encoder: Encoder) -> dict[str, tuple[Collection, list[Query]]]:
    sample = load_sample()
    languages = [passage.language or "" for passage in sample.passages]
    collection = Collection(encoder, [passage.text for passage in sample.passages], languages)
    place = {passage.id: position for position, passage in enumerate(sample.passages)}
    questions = list(sample.questions.values())
    vectors = encoder.encode([q.text for q in questions], language=[q.language for q in questions])
    same: list[Query] = []
    others: list[Query] = []
    for question, vector in zip(questions, vectors, strict=True):
        relevant = {place[passage] for passage in sample.qrels[question.id]}
        own = {row for row in relevant if languages[row] == question.language}
        for queries, wanted in ((same, own), (others, relevant - own)):
            queries.append(Query(question.text, question.language or "", vector, frozenset(wanted)))
    return {"same": (collection, same), "others": (collection, others)}


def ntrex_tasks(encoder: Encoder, folder: Path, words: int) -> dict[str, tuple[Collection, list[Query]]]:
    sentences = list(ntrex_sentences(folder))
    languages = [language for language, _, _ in sentences]
    collection = Collection(encoder, [text for _, _, text in sentences], languages)
    place = {(language, line): position for position, (language, line, _) in enumerate(sentences)}
    chance = random.Random(5)
    chosen = chance.sample(range(len(sentences)), words)
    cuts = [words_of(sentences[row][2], 3, chance) for row in chosen]
    vectors = encoder.encode(cuts, language=[languages[row] for row in chosen])
    tasks = {
        "words": [
            Query(text, languages[row], vector, frozenset([row]))
            for row, text, vector in zip(chosen, cuts, vectors, strict=True)
        ]
    }
    for name, pairs in (("one script", _ONE_SCRIPT), ("two scripts", _TWO_SCRIPTS)):
        tasks[name] = []
        for asked, answered in (pair.split("-") for pair in pairs.split()):
            both = np.flatnonzero(np.isin(languages, (asked, answered)))
            tasks[name] += [
                Query(text, asked, collection.vectors[row], frozenset([place[answered, line]]), both[both != row])
                for row, (language, line, text) in enumerate(sentences)
                if language == asked and (answered, line) in place
            ]
    return {name: (collection, queries) for name, queries in tasks.items()}


def quality(data: Path, *, quick: bool) -> dict[str, dict[str, float]]:
    """Return method -> task -> score in per cent."""
    encoder = load_encoder()
    tasks = sample_tasks(encoder) | ntrex_tasks(encoder, data / "ntrex128", 200 if quick else 1500)
    scores: dict[str, dict[str, float]] = defaultdict(dict)
    for depth in (_DEPTH,) if quick else (_DEPTH, 20, 500):
        for name, (collection, queries) in tasks.items():
            measure = recall_of_twelve if name == "others" else reciprocal_rank
            found: dict[str, list[float]] = defaultdict(list)
            for query in queries:
                for method, rows in collection.search(query, depth).items():
                    found[method].append(measure(rows, query.relevant))
            for method, values in found.items():
                if depth == _DEPTH or method == "z-mean, language":
                    label = method if depth == _DEPTH else f"{method}, {depth} deep"
                    scores[label][name] = round(100 * statistics.fmean(values), 1)
    return dict(scores)


def table_of(title: str, lines: dict[str, dict[str, float]]) -> Table:
    columns = list(next(iter(lines.values())))
    table = Table("", *columns, title=title)
    for name, values in lines.items():
        table.add_row(name, *(f"{values[column]:,.2f}".removesuffix(".00") for column in columns))
    return table


def main(
    data: Annotated[Path, typer.Option(help="The folder that holds mono/ and ntrex128/.")],
    quick: Annotated[bool, typer.Option("--quick", help="Few records and queries.")] = False,
    with_quality: Annotated[bool, typer.Option("--quality", help="Measure quality instead of speed.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
) -> None:
    """Measure the lexical channel."""
    for folder in ("mono", "ntrex128"):
        if not (data / folder).is_dir():
            raise typer.BadParameter(
                f"{data}: has no {folder}/; name the folder that holds the data sets", param_hint="--data"
            )
    console = Console(width=None if os.isatty(1) else 140)
    if with_quality:
        figures = quality(data, quick=quick)
        console.print(table_of("Percent", figures))
    else:
        with tempfile.TemporaryDirectory() as folder:
            rows = list(speed(data, QUICK_SIZES if quick else SIZES, Path(folder)))
        names = [name for name in rows[0] if name != "records"]
        figures = {name: {f"{row['records']:,}": round(row[name], 3) for row in rows} for name in names}
        console.print(table_of("By number of records", figures))
    if json_file:
        about = {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version, "cores": os.cpu_count()}
        json_file.write_text(json.dumps({"figures": figures, "machine": about}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
