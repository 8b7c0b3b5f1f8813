"""Load the sample that comes with mlret: short everyday texts in twelve languages, with questions and judgements.

Each topic is the same sequence of sentences in every language. A question is judged to be answered by the passages of
its topic in all languages. Written for mlret; CC0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlret.data.corpus import read_documents
from mlret.data.documents import Document
from mlret.data.files import read_lines
from mlret.data.retrieval import Topic, read_qrels, read_topics

FOLDER = Path(__file__).parent / "sample"


@dataclass(frozen=True)
class Sample:
    """The bundled sample.

    Attributes
    ----------
    passages
        One passage per topic and language; ``metadata["topic"]`` is the name of the topic.
    questions
        Query id -> question, in every language.
    qrels
        Query id -> passage id -> 1.
    """

    passages: list[Document]
    questions: dict[str, Topic]
    qrels: dict[str, dict[str, int]]

    @property
    def languages(self) -> list[str]:
        """Language codes, in the order of the corpus."""
        return list(dict.fromkeys(passage.language for passage in self.passages if passage.language))

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yield every pair of a question language and a different passage language."""
        for question in self.languages:
            for passage in self.languages:
                if question != passage:
                    yield question, passage


@dataclass(frozen=True)
class ParallelSentences:
    """The sentences of the sample's passages, aligned across languages.

    Attributes
    ----------
    texts
        Language -> ``n`` sentences; sentence ``i`` of each language translates sentence ``i`` of the others.
    topics
        The topics of the ``n`` sentences.
    """

    texts: dict[str, tuple[str, ...]]
    topics: tuple[str, ...]


def load_parallel_sentences() -> ParallelSentences:
    """Read the sentences of the bundled sample, aligned across languages."""
    texts: dict[str, list[str]] = {}
    topics: dict[str, list[str]] = {}
    for _, line in read_lines(FOLDER / "corpus.jsonl"):
        passage = json.loads(line)
        texts.setdefault(passage["lang"], []).extend(passage["sents"])
        topics.setdefault(passage["lang"], []).extend([passage["topic"]] * len(passage["sents"]))
    return ParallelSentences(
        {language: tuple(sentences) for language, sentences in texts.items()}, tuple(next(iter(topics.values())))
    )


def load_sample() -> Sample:
    """Read the bundled sample."""
    return Sample(
        passages=list(read_documents(FOLDER / "corpus.jsonl")),
        questions=read_topics(FOLDER / "topics.tsv"),
        qrels=read_qrels(FOLDER / "qrels.trec"),
    )
