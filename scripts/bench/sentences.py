"""Compare sentence splitters by language: F1 of the boundaries that they find, and sentences per second.

    python scripts/bench/sentences.py --data DIR [--quick] [--json FILE] [--markdown FILE]

Gold boundaries come from three sources:

- `ud`: Universal Dependencies, as split by the annotators (`mono/ud_rawtext`, `mono/udpos_detok`);
- `ntrex`: NTREX-128, news translated sentence by sentence, so the boundaries are those of the English original; the
  part that is held out for evaluation is not used;
- `sample`: the sample that is bundled with mlret, written sentence by sentence.

The sentences of a document are joined with a space (Chinese, Cantonese, Japanese: without one) and split again.
Boundaries are compared as offsets among the characters that are not white space; the end of a document does not count.
No splitter can find them all: headlines and many lines of the treebanks have no final mark. mlret's rules were made on
every second document of `ud` and `ntrex` (`--development` measures on these); the table is of the other documents.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import json
import os
import platform
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from mlret.data.languages import language_name, normalise_language
from mlret.data.monolingual import read_monolingual
from mlret.data.sample import FOLDER
from mlret.data.sentences import split_sentences
from mlret.errors import InputError

Splitter = Callable[[str, str], list[str]]

_WRITTEN_WITHOUT_SPACES = {"ja", "yue", "zh", "zh-Hant"}
# The last fifth of NTREX-128 is for evaluation, the documents just before it for the development of encoders.
_NTREX_SHARE = 0.76
# Further codes of languages that have another code already.
_NTREX_VARIANTS = {"eng-GB", "eng-IN", "eng-US", "fra-CA", "por-BR", "spa-MX", "spa-ref2"}


@dataclass(frozen=True)
class Gold:
    """A document whose sentences are known."""

    source: str
    language: str
    sentences: tuple[str, ...]

    @property
    def text(self) -> str:
        return ("" if self.language in _WRITTEN_WITHOUT_SPACES else " ").join(self.sentences)


@dataclass
class Counts:
    """Numbers of boundaries in the documents of one language and source."""

    right: int = 0
    found: int = 0
    gold: int = 0

    @property
    def f1(self) -> float:
        return 2 * self.right / (self.found + self.gold)


@dataclass
class Scores:
    """Results of one splitter."""

    counts: dict[tuple[str, str], Counts] = field(default_factory=lambda: defaultdict(Counts))
    altered: int = 0
    per_second: float = 0.0

    def f1(self, language: str) -> float:
        """Return the mean F1 over the sources of a language."""
        return statistics.fmean(counts.f1 for (of, _), counts in self.counts.items() if of == language)

    @property
    def mean(self) -> float:
        return statistics.fmean(self.f1(language) for language in {language for language, _ in self.counts})


def icu() -> Splitter:
    from icu4py.breakers import SentenceBreaker

    return lambda text, language: [str(sentence) for sentence in SentenceBreaker(text, language.replace("-", "_"))]


def sentencex() -> Splitter:
    from sentencex import segment

    return lambda text, language: segment(language.partition("-")[0], text)


def pysbd() -> Splitter:
    from pysbd import Segmenter
    from pysbd.languages import LANGUAGE_CODES

    segmenter = cache(lambda code: Segmenter(language=code if code in LANGUAGE_CODES else "en", clean=False))
    return lambda text, language: segmenter(language.partition("-")[0]).segment(text)


def sentence_splitter() -> Splitter:
    from sentence_splitter import SentenceSplitter, SentenceSplitterException

    @cache
    def splitter(code: str) -> SentenceSplitter:
        try:
            return SentenceSplitter(language=code)
        except SentenceSplitterException:
            return SentenceSplitter(language="en")

    return lambda text, language: splitter(language.partition("-")[0]).split(text)


def blingfire() -> Splitter:
    from blingfire import text_to_sentences

    return lambda text, _: text_to_sentences(text).split("\n")


PEERS = {
    "icu4py": icu,
    "sentencex": sentencex,
    "pysbd": pysbd,
    "sentence-splitter": sentence_splitter,
    "blingfire": blingfire,
}


def gold_documents(data: Path) -> Iterator[Gold]:
    """Yield every document with gold sentences."""
    for folder in ("ud_rawtext", "udpos_detok"):
        for path in sorted((data / "mono" / folder).glob("*.jsonl.gz")):
            for document in read_monolingual(path):
                # The Serbian treebank is in Latin letters, although its name says otherwise.
                latin = document.language == "sr" and not any("Ѐ" <= c <= "ӿ" for c in document.sentences[0])
                yield Gold("ud", "sr-Latn" if latin else document.language, document.sentences)
    for document in read_monolingual(FOLDER / "corpus.jsonl"):
        yield Gold("sample", document.language, document.sentences)
    yield from ntrex_documents(data / "ntrex128")


def ntrex_documents(folder: Path) -> Iterator[Gold]:
    with gzip.open(folder / "doc_ids.txt.gz", "rt", encoding="utf-8") as handle:
        document_of_line = handle.read().split()
    order = {document: position for position, document in enumerate(dict.fromkeys(document_of_line))}
    sentences: dict[tuple[str, int], list[str]] = defaultdict(list)
    with gzip.open(folder / "ntrex128.long.tsv.gz", "rt", encoding="utf-8") as handle:
        next(handle)
        for line in handle:
            code, number, text = line.rstrip("\n").split("\t")
            position = order[document_of_line[int(number)]]
            if position < _NTREX_SHARE * len(order) and code not in _NTREX_VARIANTS and text.strip():
                sentences[code, position].append(text.strip())
    for (code, _), of_document in sentences.items():
        try:
            yield Gold("ntrex", normalise_language(code), tuple(of_document))
        except InputError:  # a code of NTREX that is in no registry
            continue


def chosen(documents: Iterable[Gold], most_characters: int, *, development: bool) -> list[Gold]:
    """Return every second document of each language and source, up to a number of characters."""
    seen: dict[tuple[str, str], int] = defaultdict(int)
    characters: dict[tuple[str, str], int] = defaultdict(int)
    kept = []
    for document in documents:
        key = (document.language, document.source)
        seen[key] += 1
        # All of the sample is used, because it is small and no rule was made on it.
        turn = not development if document.source == "sample" else seen[key] % 2 == int(development)
        if turn and characters[key] < most_characters and len(document.sentences) > 1:
            characters[key] += len(document.text)
            kept.append(document)
    return kept


def without_spaces(text: str) -> str:
    return "".join(text.split())


def boundaries(sentences_found: Iterable[str]) -> set[int]:
    """Return the ends of the sentences but the last, as offsets among the characters that are not white space."""
    ends, end = {0}, 0
    for sentence in sentences_found:
        end += len(without_spaces(sentence))
        ends.add(end)
    return ends - {0, end}


def measure(splitter: Splitter, documents: list[Gold], repeats: int) -> Scores:
    scores = Scores()
    texts = [(document.text, document.language) for document in documents]
    times = []
    for _ in range(repeats + 1):  # the first round warms up
        start = time.perf_counter()
        split = [splitter(*text) for text in texts]
        times.append(time.perf_counter() - start)
    scores.per_second = sum(len(document.sentences) for document in documents) / statistics.median(times[1:])
    for document, (text, _), sentences_found in zip(documents, texts, split, strict=True):
        gold, found = boundaries(document.sentences), boundaries(sentences_found)
        counts = scores.counts[document.language, document.source]
        counts.right += len(gold & found)
        counts.found += len(found)
        counts.gold += len(gold)
        scores.altered += without_spaces(text) != without_spaces("".join(sentences_found))
    return scores


def end_to_end(documents: list[Gold], megabytes: float) -> dict[str, float]:
    """Time reading running text of that size from a JSONL file and splitting it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.jsonl"
        with path.open("w", encoding="utf-8") as handle:
            while handle.tell() < megabytes * 1e6:
                for document in documents:
                    handle.write(json.dumps({"lang": document.language, "text": document.text}, ensure_ascii=False))
                    handle.write("\n")
        start = time.perf_counter()
        sentences = sum(len(document.sentences) for document in read_monolingual(path))
        seconds = time.perf_counter() - start
        return {
            "megabytes": path.stat().st_size / 1e6,
            "sentences": sentences,
            "sentences_per_second": sentences / seconds,
        }


def rows_of(scores: dict[str, Scores]) -> list[list[str]]:
    """Return the cells of the table: the ratio and the means, then one row for each language."""
    ours, keys = scores["mlret"], scores["mlret"].counts
    languages = sorted({language for language, _ in keys})
    rows = [
        ["speed, mlret = 1", "", *(f"{score.per_second / ours.per_second:.2f}" for score in scores.values())],
        ["sentences a second", "", *(f"{score.per_second:,.0f}" for score in scores.values())],
        ["mean F1", f"{len(languages)} languages", *(f"{100 * score.mean:.1f}" for score in scores.values())],
    ]
    for language in languages:
        sources = " ".join(source for of, source in keys if of == language)
        f1 = [f"{100 * score.f1(language):.1f}" for score in scores.values()]
        rows.append([f"{language} {language_name(language)}", sources, *f1])
    return rows


def markdown_of(rows: list[list[str]], names: list[str], versions: dict[str, str], documents: list[Gold]) -> str:
    count = sum(len(document.sentences) for document in documents)
    lines = [
        "# Sentence splitters",
        "",
        f"F1 of sentence boundaries in percent over {count:,} gold sentences, a language's sources averaged. Made by "
        "`python scripts/bench/sentences.py --data DIR --json eval/results/bench/sentences.json --markdown "
        "eval/results/bench/sentences.md`, whose head says what is measured. Where a package has no rules for a "
        "language, its rules for English are used. " + ", ".join(f"{n} {v}" for n, v in versions.items()) + ".",
        "",
        "| language | gold | " + " | ".join(names) + " |",
        "|---|---|" + "---:|" * len(names),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def main(
    data: Annotated[Path, typer.Option(help="The folder that holds mono/ and ntrex128/.")],
    quick: Annotated[bool, typer.Option("--quick", help="A tenth of the text, one repeat.")] = False,
    development: Annotated[
        bool, typer.Option("--development", help="Use the documents that the rules were made on.")
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the table here.")] = None,
) -> None:
    """Compare sentence splitters by language."""
    console = Console(width=None if os.isatty(1) else 140)
    if not (data / "ntrex128").is_dir():
        raise typer.BadParameter(
            f"{data}: has no ntrex128/; name the folder that holds the data sets", param_hint="--data"
        )
    documents = chosen(gold_documents(data), 2_000 if quick else 20_000, development=development)
    repeats = 1 if quick else 3
    scores = {"mlret": measure(split_sentences, documents, repeats)}
    for name, load in PEERS.items():
        try:
            splitter = load()
        except ImportError as error:
            console.print(f"{name} is not measured: {error}")
            continue
        scores[name] = measure(splitter, documents, repeats)
        if scores[name].altered:
            console.print(f"{name} altered the text of {scores[name].altered} of {len(documents)} documents")
    scores = dict(sorted(scores.items(), key=lambda item: -item[1].mean))
    names, rows = list(scores), rows_of(scores)
    table = Table("language", "gold", title="F1 of sentence boundaries, percent")
    for name in names:
        table.add_column(name, justify="right")
    for number, row in enumerate(rows):
        table.add_row(*row, end_section=number == 2)
    console.print(table)
    whole = end_to_end(documents, 2 if quick else 20)
    console.print(
        f"Reading {whole['megabytes']:.0f} MB of running text: {whole['sentences_per_second']:,.0f} sentences a second"
    )
    packages = ["icu4py" if name == "mlret" else name for name in names]
    versions = {name: importlib.metadata.version(name) for name in dict.fromkeys(packages)}
    versions["python"] = platform.python_version()
    if markdown:
        markdown.write_text(markdown_of(rows, names, versions, documents), encoding="utf-8")
    if json_file:
        peers = [name for name in names if name != "mlret"]
        ours = scores["mlret"]
        result = {
            "ratios": {
                **{f"f1_over_{name}": round(ours.mean / scores[name].mean, 4) for name in peers},
                **{f"speedup_over_{name}": round(ours.per_second / scores[name].per_second, 4) for name in peers},
            },
            "figures": {
                "documents": len(documents),
                "sentences": sum(len(document.sentences) for document in documents),
                "end_to_end": {key: round(value, 1) for key, value in whole.items()},
                "sentences_per_second": {name: round(score.per_second) for name, score in scores.items()},
                "mean_f1": {name: round(score.mean, 4) for name, score in scores.items()},
                "f1": {
                    name: {f"{of}/{source}": round(counts.f1, 4) for (of, source), counts in score.counts.items()}
                    for name, score in scores.items()
                },
            },
            "machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "system": platform.system()},
            "versions": versions,
        }
        json_file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def cpu_name() -> str:
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    typer.run(main)
