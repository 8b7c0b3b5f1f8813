"""Make a small collection in Mr.TyDi's layout: its official test topics and judgements over passages of TyDi GoldP.

    python scripts/mrtydi_from_goldp.py --topics DIR --goldp DIR -o data/mrtydi-goldp

Mr.TyDi's corpora are whole Wikipedias, with 32.9 million passages for English alone. The questions of its test split
are those of TyDi QA's GoldP development split, which has the passage that answers each. Where a question of both is the
same text, the passage gets the id of the one document that Mr.TyDi judged relevant, and the topic is kept; all other
passages of GoldP are added to the corpus under ids of their own. The result has the official topics and judgements,
reduced to these questions, and a corpus about a thousand times smaller, in which everything is easier to find. Its
scores are therefore not those of Mr.TyDi, and `mlret eval mrtydi` states this.

Topics with several relevant documents are skipped, because it is unknown which of them the passage is.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import unicodedata
from collections import defaultdict
from pathlib import Path
from typing import Any

from mlret.data.files import read_lines
from mlret.data.retrieval import read_qrels, read_topics
from mlret.errors import MlretError
from mlret.eval.benchmarks.mrtydi import LANGUAGES
from mlret.eval.collection import first_present

_FEWEST = 10  # minimum number of topics; a language with fewer is skipped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topics", type=Path, required=True, help="folder with topics.mrtydi-v1.1-sw.test.txt.gz …")
    parser.add_argument(
        "--goldp", type=Path, required=True, help="folder with dev.corpus.jsonl.gz, dev.topics.tsv.gz …"
    )
    parser.add_argument("--output", "-o", type=Path, required=True, help="folder to write")
    options = parser.parse_args()
    passages = _passages(first_present([options.goldp / "dev.corpus.jsonl"], "passages"))
    questions = read_topics(first_present([options.goldp / "dev.topics.tsv"], "questions"))
    answers = read_qrels(first_present([options.goldp / "dev.qrels.trec"], "answers"))
    for language in sorted(passages):
        asked = {topic.id: topic.text for topic in questions.values() if topic.language == language}
        golden = {_key(text): next(iter(answers[name])) for name, text in asked.items()}
        _write(language, options.topics, passages[language], golden, options.output)


def _passages(path: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Return language -> id -> passage."""
    found: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for _, line in read_lines(path):
        record = json.loads(line)
        found[record["lang"]][record["id"]] = record
    return found


def _key(question: str) -> str:
    return unicodedata.normalize("NFC", question).strip()


def _write(
    language: str, topics_folder: Path, passages: dict[str, dict[str, Any]], golden: dict[str, str], output: Path
) -> None:
    names = [topics_folder / f"{kind}.mrtydi-v1.1-{language}.test.txt" for kind in ("topics", "qrels")]
    topics, qrels = read_topics(first_present(names[:1], "topics")), read_qrels(first_present(names[1:], "qrels"))
    kept: dict[str, str] = {}
    document_of: dict[str, str] = {}  # passage of GoldP -> document of Mr.TyDi
    several = 0
    for topic in topics.values():
        passage = golden.get(_key(topic.text))
        if passage is None:
            continue
        (document, *others) = qrels[topic.id]
        several += bool(others)
        # Two questions may share a passage of GoldP for which Mr.TyDi has two documents.
        if others or document_of.setdefault(passage, document) != document:
            continue
        kept[topic.id] = topic.text
    owners = defaultdict(set)
    for passage, document in document_of.items():
        owners[document].add(passage)
    shared = {document for document, their in owners.items() if len(their) > 1}
    kept = {name: text for name, text in kept.items() if next(iter(qrels[name])) not in shared}
    if len(kept) < _FEWEST:
        print(f"{language}: {len(kept)} questions are the same; skipped")
        return
    used = {next(iter(qrels[name])) for name in kept}
    ids = {passage: document for passage, document in document_of.items() if document in used}
    folder = output / f"mrtydi-v1.1-{LANGUAGES[language]}"
    (folder / "collection").mkdir(parents=True, exist_ok=True)
    with gzip.open(folder / "collection" / "docs.jsonl.gz", "wt", encoding="utf-8") as handle:
        for name, record in passages.items():
            contents = f"{record['title']}\n\n{record['text']}" if record["title"] else record["text"]
            line = json.dumps({"id": ids.get(name, f"goldp-{name}"), "contents": contents}, ensure_ascii=False)
            handle.write(f"{line}\n")
    topic_lines = "".join(f"{name}\t{text}\n" for name, text in kept.items())
    (folder / "topic.test.tsv").write_text(topic_lines, encoding="utf-8")
    qrel_lines = "".join(f"{name} Q0 {next(iter(qrels[name]))} 1\n" for name in kept)
    (folder / "qrels.test.txt").write_text(qrel_lines, encoding="utf-8")
    print(
        f"{language}: {len(kept)} of {len(topics)} topics, {len(passages)} passages ({several} topics with several "
        "relevant documents skipped)"
    )


if __name__ == "__main__":
    try:
        main()
    except MlretError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
