"""Make small benchmarks of a few words in their official layouts."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from tests.conftest import WORDS

DOCUMENTS = {f"{n}#{n % 3}": " ".join(WORDS[n : n + 4]) for n in range(12)}
QUERIES = {str(n): " ".join(WORDS[n + 1 : n + 3]) for n in range(6)}
QRELS = {str(n): {f"{n}#{n % 3}": 1} for n in range(6)}


def write_gzip(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as handle:
        handle.write(text)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def topics_tsv() -> str:
    return "".join(f"{name}\t{text}\n" for name, text in QUERIES.items())


def qrels_trec() -> str:
    return "".join(f"{query} Q0 {name} {grade}\n" for query, found in QRELS.items() for name, grade in found.items())


def make_mrtydi(root: Path, language: str = "swahili") -> Path:
    folder = root / f"mrtydi-v1.1-{language}"
    lines = [json.dumps({"id": name, "contents": f"Title\n\n{text}"}) for name, text in DOCUMENTS.items()]
    write_gzip(folder / "collection" / "docs.jsonl.gz", "\n".join(lines))
    write(folder / "topic.test.tsv", topics_tsv())
    write(folder / "qrels.test.txt", qrels_trec())
    return root


def make_miracl(root: Path, language: str = "sw") -> Path:
    name = f"miracl-v1.0-{language}"
    lines = [json.dumps({"docid": name, "title": "Title", "text": text}) for name, text in DOCUMENTS.items()]
    write_gzip(root / f"miracl-corpus-v1.0-{language}" / "docs-0.jsonl.gz", "\n".join(lines[:7]))
    write_gzip(root / f"miracl-corpus-v1.0-{language}" / "docs-1.jsonl.gz", "\n".join(lines[7:]))
    write(root / name / "topics" / f"topics.{name}-dev.tsv", topics_tsv())
    write(root / name / "qrels" / f"qrels.{name}-dev.tsv", qrels_trec().replace(" ", "\t"))
    return root


def make_mmarco(root: Path, language: str = "german") -> Path:
    collection = "".join(f"{name}\t{text}\n" for name, text in DOCUMENTS.items())
    write(root / "collections" / f"{language}_collection.tsv", collection)
    write(root / "queries" / "dev" / f"{language}_queries.dev.small.tsv", topics_tsv())
    write(root / "qrels.dev.small.tsv", qrels_trec())
    return root


def make_beir(folder: Path) -> Path:
    corpus = [json.dumps({"_id": name, "title": "", "text": text}) for name, text in DOCUMENTS.items()]
    queries = [json.dumps({"_id": name, "text": text}) for name, text in [*QUERIES.items(), ("train", "other split")]]
    write(folder / "corpus.jsonl", "\n".join(corpus))
    write(folder / "queries.jsonl", "\n".join(queries))
    lines = [f"{query}\t{name}\t{grade}\n" for query, found in QRELS.items() for name, grade in found.items()]
    write(folder / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore\n" + "".join(lines))
    return folder


def make_xquad_r(root: Path, languages: tuple[str, ...] = ("de", "en", "zh")) -> Path:
    for shift, language in enumerate(languages):
        paragraphs = []
        for p in range(3):
            sentences = [" ".join(WORDS[(p * 4 + s + shift) % 20 :][:4]) + "." for s in range(3)]
            context = " ".join(sentences)
            breaks, start = [], 0
            for sentence in sentences:
                breaks.append([start, start + len(sentence)])
                start += len(sentence) + 1
            qas = [
                {
                    "id": f"q{p}{s}",
                    "question": f"{sentences[s].split()[0]} {sentences[s].split()[2]}?",
                    "answers": [{"answer_start": breaks[s][0] + 2, "text": "x"}],
                }
                for s in (0, 2)
            ]
            paragraphs.append({"context": context, "sentence_breaks": breaks, "qas": qas})
        document = {
            "data": [{"title": "a", "paragraphs": paragraphs[:2]}, {"title": "b", "paragraphs": paragraphs[2:]}]
        }
        write(root / "xquad-r" / f"{language}.json", json.dumps(document))
    return root


XOR_QUESTIONS = [
    {"id": "1", "question": WORDS[0], "lang": "ja", "answers": [WORDS[0], "yes"]},
    {"id": "2", "question": WORDS[5], "lang": "ja", "answers": ["yes"]},
    {"id": "3", "question": WORDS[5], "lang": "fi", "answers": ["nowhere to be found"]},
    {"id": "4", "question": WORDS[7], "lang": "fi", "answers": [WORDS[8]]},
]


def make_xor(root: Path) -> Path:
    lines = "\n".join(json.dumps(question) for question in XOR_QUESTIONS)
    write(root / "xor_dev_retrieve_eng_span_v1_1.jsonl", lines)
    rows = "".join(f"{n}\t{text}\tTitle {n}\n" for n, text in enumerate(DOCUMENTS.values(), start=1))
    write(root / "psgs_w100.tsv", f"id\ttext\ttitle\n{rows}")
    return root
