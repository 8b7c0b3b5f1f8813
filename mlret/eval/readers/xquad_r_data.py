"""Read XQuAD-R of LAReQA (Roy et al., arXiv 2004.05484): questions and answering sentences in eleven languages.

Two layouts are supported: LAReQA's own ``xquad-r/de.json`` (SQuAD's JSON with ``sentence_breaks``), and tables:
``topics.tsv``, ``corpus.sentences.jsonl``, ``corpus.paragraphs.jsonl``, ``qrels.sentences.any-language.trec``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlret.data.files import read_lines
from mlret.data.retrieval import read_qrels, read_topics
from mlret.errors import InputError
from mlret.eval.collection import find_present

# Number of sentences in each language according to LAReQA's README.
CANDIDATES = {
    "ar": 1222, "de": 1276, "el": 1234, "en": 1180, "es": 1215, "hi": 1244, "ru": 1219, "th": 852, "tr": 1167,
    "vi": 1209, "zh": 1196,
}  # fmt: skip
QUESTIONS = 1190


@dataclass(frozen=True)
class Candidate:
    """A candidate answer: a sentence and the paragraph that contains it."""

    id: str
    sentence: str
    context: str


@dataclass(frozen=True)
class XquadR:
    """The questions and candidates of some languages.

    Attributes
    ----------
    questions
        Language -> question id (the same in all languages) -> text.
    candidates
        Language -> sentences.
    answers
        Language -> question id -> id of the sentence that answers the question.
    """

    questions: dict[str, dict[str, str]]
    candidates: dict[str, list[Candidate]]
    answers: dict[str, dict[str, str]]

    @property
    def languages(self) -> list[str]:
        """The languages, sorted."""
        return list(self.questions)

    @property
    def is_official(self) -> bool:
        """Whether the numbers of questions and candidates match LAReQA's README."""
        counts = {language: len(candidates) for language, candidates in self.candidates.items()}
        return counts == CANDIDATES and all(len(asked) == QUESTIONS for asked in self.questions.values())


def read_xquad_r(path: str | Path, *, languages: Sequence[str] | None = None) -> XquadR:
    """Read XQuAD-R.

    Parameters
    ----------
    path
        The folder, in either layout.
    languages
        Language codes to read; by default all of the eleven that are present.

    Raises
    ------
    InputError
        If something is missing or malformed.
    """
    root = Path(path)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give the one that holds xquad-r/de.json and the like")
    for code in languages or ():
        if code not in CANDIDATES:
            raise InputError(f"XQuAD-R has no language {code!r}; there are {', '.join(CANDIDATES)}")
    wanted = sorted(languages or CANDIDATES)
    if find_present([root / "corpus.sentences.jsonl"]):
        return _read_tables(root, wanted)
    folder = root / "xquad-r" if (root / "xquad-r").is_dir() else root
    present = [code for code in wanted if languages or (folder / f"{code}.json").is_file()]
    if not present:
        raise InputError(
            f"{root}: holds neither xquad-r/{wanted[0]}.json nor corpus.sentences.jsonl; fetch LAReQA's files"
        )
    parts = {code: _read_json(folder / f"{code}.json", code) for code in present}
    return XquadR(*({code: part[place] for code, part in parts.items()} for place in range(3)))  # type: ignore[arg-type]


def _read_json(path: Path, language: str) -> tuple[dict[str, str], list[Candidate], dict[str, str]]:
    questions: dict[str, str] = {}
    candidates: list[Candidate] = []
    answers: dict[str, str] = {}
    try:
        articles = json.loads(path.read_text(encoding="utf-8"))["data"]
        for a, article in enumerate(articles):
            for p, paragraph in enumerate(article["paragraphs"]):
                context, breaks = paragraph["context"], paragraph["sentence_breaks"]
                names = [f"{language}-{a}-{p}-{s}" for s in range(len(breaks))]
                candidates += [
                    Candidate(name, context[start:stop], context)
                    for name, (start, stop) in zip(names, breaks, strict=True)
                ]
                for asked in paragraph["qas"]:
                    where = asked["answers"][0]["answer_start"]
                    holding = [n for n, (start, stop) in zip(names, breaks, strict=True) if start <= where < stop]
                    if not holding:
                        raise InputError(
                            f"{path}: question {asked['id']!r}: no sentence holds its answer; fetch it again"
                        )
                    questions[asked["id"]], answers[asked["id"]] = asked["question"], holding[0]
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; fetch LAReQA's xquad-r folder") from error
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(f"{path}: not XQuAD-R's JSON ({type(error).__name__}: {error}); fetch it again") from error
    return questions, candidates, answers


def _read_tables(root: Path, languages: Sequence[str]) -> XquadR:
    def table(name: str) -> Path:
        found = find_present([root / name])
        if found is None:
            raise InputError(f"{root / name}: not there (nor as .gz), though corpus.sentences.jsonl is; fetch it")
        return found

    contexts = {record["id"]: record["text"] for record in _records(table("corpus.paragraphs.jsonl"))}
    candidates, language_of = _candidates(root, table("corpus.sentences.jsonl"), contexts, languages)
    questions: dict[str, dict[str, str]] = {code: {} for code in languages}
    for topic in read_topics(table("topics.tsv")).values():
        if topic.language in questions:
            questions[topic.language][topic.id.partition(":")[2]] = topic.text
    answers = _answers(root, table("qrels.sentences.any-language.trec"), language_of, languages)
    for code in languages:
        if missing := questions[code].keys() - answers[code].keys():
            raise InputError(
                f"{root}: {code}: question {min(missing)!r} has no answer in {code}; fetch the judgements again"
            )
        if not questions[code]:
            raise InputError(f"{root}: has no questions in {code}; choose other languages")
    return XquadR(questions, candidates, answers)


def _candidates(
    root: Path, path: Path, contexts: Mapping[str, str], languages: Sequence[str]
) -> tuple[dict[str, list[Candidate]], dict[str, str]]:
    """Return the sentences of each language, and the language of each sentence."""
    candidates: dict[str, list[Candidate]] = {code: [] for code in languages}
    language_of: dict[str, str] = {}
    for record in _records(path):
        if record["id"] in language_of:
            raise InputError(f"{root}: the sentence {record['id']!r} occurs twice; drop one of them")
        language_of[record["id"]] = record["lang"]
        if record["lang"] in candidates:
            context = contexts.get(record["par"], record["text"])
            candidates[record["lang"]].append(Candidate(record["id"], record["text"].strip(), context.strip()))
    return candidates, language_of


def _answers(
    root: Path, path: Path, language_of: Mapping[str, str], languages: Sequence[str]
) -> dict[str, dict[str, str]]:
    """Return the sentence that answers each question, by language."""
    answers: dict[str, dict[str, str]] = {code: {} for code in languages}
    for query, judged in read_qrels(path).items():
        for sentence in judged:
            if sentence not in language_of:
                raise InputError(f"{root}: judgements name the sentence {sentence!r}, which is not in the corpus")
            if language_of[sentence] in answers:
                answers[language_of[sentence]][query.partition(":")[2]] = sentence
    return answers


def _records(path: Path) -> Any:
    for number, line in read_lines(path):
        try:
            record = json.loads(line)
            if not all(isinstance(record[key], str) for key in ("id", "text", "lang")):
                raise TypeError("id, text and lang must be strings")
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}:{number}: not an object with id, text and lang ({error}); fix the line"
            ) from error
        yield record
