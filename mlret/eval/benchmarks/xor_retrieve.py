"""XOR-Retrieve (Asai et al., arXiv 2010.11856): English passages for questions in seven languages.

R@2kt and R@5kt are the share of questions whose answer occurs in the first 2,000 (5,000) tokens of the retrieved
passages. A quirk of the official script is reproduced, because the published scores depend on it: passages are
tokenised (with nltk's ``word_tokenize``) and joined with blanks but answers are not, so an answer such as ``don't`` can
never be found (the tokens are ``do n't``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from mlret.data.documents import Document
from mlret.data.files import read_lines
from mlret.data.retrieval import Topic
from mlret.errors import InputError, MissingExtraError, require
from mlret.eval.collection import Collection, find_present, first_present
from mlret.eval.loading import baseline_systems, index_systems, load_encoders
from mlret.eval.metrics import rank_documents
from mlret.eval.registry import Benchmark, Settings, register
from mlret.eval.report import Figures, Picture, QueryScores, Report, Run, mean_over_groups, source_of
from mlret.eval.retrieval import AVERAGE, Protocol, metric_table
from mlret.reporting import plots
from mlret.wording import counted

if TYPE_CHECKING:
    from mlret.encoders.multi_vector import AnyEncoder
    from mlret.eval.systems import RetrievalSystem

LANGUAGES = ("ar", "bn", "fi", "ja", "ko", "ru", "te")
BUDGETS = {"r@2kt": 2000, "r@5kt": 5000}
# Passages have 100 words, so about fifty hold 5,000 tokens; twice as many are enough.
DEPTH = 100
_NOT_SPANS = ("yes", "no")

PROTOCOL = Protocol(
    benchmark="xor-retrieve",
    title="XOR-Retrieve",
    description=(
        "XOR-Retrieve (Asai et al., arXiv 2010.11856): the share of questions with an answer, as it is written, in the "
        "first 2,000 or 5,000 nltk tokens of the passages; questions answered by yes or no alone are left out; the "
        "average gives every language the same weight."
    ),
    metrics=tuple(BUDGETS),
    depth=DEPTH,
    sizes={},
)


@dataclass(frozen=True)
class Question:
    """A question and its answers, without the answers yes and no."""

    id: str
    text: str
    language: str
    answers: tuple[str, ...]


def read_questions(path: Path, languages: Sequence[str] | None = None) -> list[Question]:
    """Read questions from a file such as ``xor_dev_retrieve_eng_span_v1_1.jsonl``.

    Questions whose only answers are yes or no are skipped.

    Parameters
    ----------
    path
        The file.
    languages
        Language codes to read; all by default.

    Raises
    ------
    InputError
        If the file is missing, empty or malformed, or a language has no questions.
    """
    questions: list[Question] = []
    seen: dict[str, int] = {}
    for number, line in read_lines(path):
        try:
            record = json.loads(line)
            name, text, language = str(record["id"]), record["question"], record["lang"]
            answers = tuple(answer for answer in record["answers"] if answer not in _NOT_SPANS)
            if not (isinstance(text, str) and isinstance(language, str) and all(isinstance(a, str) for a in answers)):
                raise TypeError("question, lang and answers must be strings")
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}:{number}: not {{id, question, lang, answers}} ({error}); fix the line") from error
        if name in seen:
            raise InputError(f"{path}:{number}: question {name!r} is on line {seen[name]} too; drop one of them")
        seen[name] = number
        if answers and (languages is None or language in languages):
            questions.append(Question(name, text, language, answers))
    for language in languages or ():
        if not any(question.language == language for question in questions):
            raise InputError(f"{path}: has no questions in {language!r}; there are {', '.join(LANGUAGES)}")
    if not questions:
        raise InputError(f"{path}: has no questions with answers other than yes and no")
    return questions


def questions_file(data: Path, split: str) -> Path:
    """Return the path of a split's questions, with or without ``.gz``.

    Parameters
    ----------
    data
        The folder of the official files.
    split
        ``"train"``, ``"dev"`` or ``"test"``.

    Raises
    ------
    InputError
        If the file does not exist.
    """
    names = (f"xor_{split}_retrieve_eng_span_v1_1.jsonl", f"xor_{split}_retrieve_eng_span.jsonl")
    if (found := find_present([data / name for name in names])) is None:
        raise InputError(f"{data / names[0]}: not there; fetch the questions of XOR-Retrieve into {data}")
    return found


def passages(path: Path) -> Callable[[], Iterator[Document]]:
    """Return a function that reads DPR's passages: ``id<TAB>text<TAB>title`` with a header.

    The title becomes the first line of the document's text.

    Raises
    ------
    InputError
        If the file has a different header.
    """
    number, header = next(read_lines(path), (1, ""))
    if header.split("\t") != ["id", "text", "title"]:
        raise InputError(f"{path}:{number}: the header is not id<TAB>text<TAB>title; give DPR's psgs_w100.tsv")

    def read() -> Iterator[Document]:
        for number, line in read_lines(path):
            if number == 1:
                continue
            cells = line.split("\t")
            if len(cells) != 3:
                raise InputError(
                    f"{path}:{number}: {counted(len(cells), 'column')}, not 3; write id<TAB>text<TAB>title"
                )
            name, text, title = cells
            if text.startswith('"') and text.endswith('"'):  # DPR's file uses CSV quoting
                text = text[1:-1].replace('""', '"')
            if text.strip():
                yield Document(name, f"{title}\n{text}", "en", {"passage": text}, origin=f"{path}:{number}")

    return read


def read_predictions(path: Path) -> dict[str, list[str]]:
    """Read official predictions: a JSON list of ``{"id", "lang", "ctxs": [text, …]}``, best passage first.

    Returns
    -------
    dict
        Question id -> passages, best first.

    Raises
    ------
    InputError
        If the file is missing or malformed.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        found = {str(entry["id"]): list(entry["ctxs"]) for entry in entries}
        if not all(isinstance(text, str) for texts in found.values() for text in texts):
            raise TypeError("ctxs must be texts")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; give a file of predictions") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not a list of {{id, lang, ctxs}} ({error}); write it as the official script wants"
        ) from error
    return found


def word_tokenizer() -> Callable[[str], list[str]]:
    """Return nltk's ``word_tokenize``, which the official script uses.

    Raises
    ------
    MissingExtraError
        If nltk or its English sentence model (punkt_tab) is not installed.
    """
    nltk = require("nltk", extra="eval", feature="XOR-Retrieve's tokenisation")
    try:
        nltk.word_tokenize("A sentence.")
    except LookupError as error:
        raise MissingExtraError(
            "XOR-Retrieve's tokenisation needs nltk's sentence model: python -m nltk.downloader punkt_tab"
        ) from error
    tokenize: Callable[[str], list[str]] = nltk.word_tokenize
    return tokenize


def answer_found(
    texts: Iterable[str], answers: Sequence[str], budgets: Sequence[int], tokenize: Callable[[str], list[str]]
) -> list[bool]:
    """Return, for each token budget, whether an answer occurs in the joined texts truncated to that many tokens.

    Parameters
    ----------
    texts
        The passages, best first.
    answers
        The answers, any of which counts.
    budgets
        Numbers of tokens.
    tokenize
        The tokenizer of the passages.
    """
    tokens: list[str] = []
    most = max(budgets)
    for text in texts:
        tokens += tokenize(text)
        if len(tokens) >= most:
            break
    return [any(answer in joined for answer in answers) for joined in (" ".join(tokens[:budget]) for budget in budgets)]


def evaluate_xor_retrieve(
    questions: Sequence[Question],
    systems: Sequence[RetrievalSystem],
    predictions: Mapping[str, Mapping[str, Sequence[str]]],
    documents: Callable[[], Iterator[Document]] | None,
    *,
    data: str,
) -> Report:
    """Evaluate systems and saved predictions.

    Parameters
    ----------
    questions
        The result of :func:`read_questions`.
    systems
        The systems that rank ``documents``.
    predictions
        Name -> question id -> texts, best first. A question without predictions counts as not answered; the official
        script ignores it.
    documents
        The result of :func:`passages`; ``None`` if only predictions are scored.
    data
        Name of the folder that the benchmark was read from.

    Returns
    -------
    Report
        R@2kt and R@5kt by system and language.
    """
    tokenize = word_tokenizer()
    collections = _collections(questions, documents)
    runs: dict[str, dict[str, Run]] = {}
    texts: dict[str, Mapping[str, Sequence[str]]] = {}
    for system in systems:
        runs[system.name] = {one.group: system.retrieve(one, DEPTH) for one in collections}
        assert documents is not None
        texts[system.name] = _texts(runs[system.name].values(), documents)
    texts |= predictions
    figures: Figures = {}
    query_scores: QueryScores = {}
    for name, retrieved in texts.items():
        figures[name], query_scores[name] = {}, {}
        for one in collections:
            scores: dict[str, dict[str, float]] = {metric: {} for metric in BUDGETS}
            for question in questions:
                if question.language == one.group:
                    hits = answer_found(
                        retrieved.get(question.id, ()), question.answers, list(BUDGETS.values()), tokenize
                    )
                    for metric, hit in zip(BUDGETS, hits, strict=True):
                        scores[metric][question.id] = float(hit)
            query_scores[name][one.group] = scores
            figures[name][one.group] = {m: sum(found.values()) / len(found) for m, found in scores.items()}
        figures[name][AVERAGE] = mean_over_groups(figures[name], list(BUDGETS))
    return Report(
        benchmark="xor-retrieve",
        data=data,
        protocol=PROTOCOL.description,
        figures=figures,
        tables=[metric_table(PROTOCOL, metric, figures, comparable=False) for metric in BUDGETS],
        systems={system.name: system.facts() for system in systems},
        notes=_notes(questions, predictions),
        query_scores=query_scores,
        runs=runs,
        pictures=pictures({"figures": figures, "data": data}),
        details={"questions": {one.group: len(one.topics) for one in collections}},
    )


def _collections(questions: Sequence[Question], documents: Callable[[], Iterator[Document]] | None) -> list[Collection]:
    groups: dict[str, dict[str, Topic]] = {}
    for question in questions:
        groups.setdefault(question.language, {})[question.id] = Topic(question.id, question.text, question.language)
    # Every question counts as judged: its answers decide, not judgements of documents.
    return [
        Collection(language, language, topics, {name: {} for name in topics}, documents)
        for language, topics in sorted(groups.items())
    ]


def _texts(runs: Iterable[Run], documents: Callable[[], Iterator[Document]]) -> dict[str, list[str]]:
    """Return the passages of each question, best first, without their titles, as in DPR's output."""
    ranked = {query: rank_documents(scores) for run in runs for query, scores in run.items()}
    wanted = {name for names in ranked.values() for name in names}
    text_of = {one.id: one.metadata["passage"] for one in documents() if one.id in wanted}
    return {query: [text_of[name] for name in names] for query, names in ranked.items()}


def _notes(questions: Sequence[Question], predictions: Mapping[str, Mapping[str, Sequence[str]]]) -> list[str]:
    notes = []
    for name, found in predictions.items():
        if missing := [question.id for question in questions if question.id not in found]:
            notes.append(
                f"{name}: no prediction for {counted(len(missing), 'question')}, e.g. {missing[0]!r}; they count "
                "as missed"
            )
    return notes


def pictures(results: Mapping[str, Any]) -> list[Picture]:
    """Return the plot of the average scores in the content of ``report.json``."""
    averages = {name: groups[AVERAGE]["r@2kt"] for name, groups in results["figures"].items()}
    title = "XOR-Retrieve: questions answered within 2,000 tokens (R@2kt), mean over languages"
    return [Picture("xor-retrieve", partial(plots.baselines, title, averages, {}, source=source_of(results)))]


class XorRetrieveSettings(Settings):
    """Settings of `mlret eval xor-retrieve`."""

    benchmark: Literal["xor-retrieve"] = "xor-retrieve"
    data: Path = Field(description="Folder with xor_dev_retrieve_eng_span_v1_1.jsonl.")
    split: Literal["train", "dev", "test"] = Field("dev", description="train, dev or test.")
    passages: Path | None = Field(None, description="DPR's psgs_w100.tsv; by default the one in --data.")
    predictions: list[Path] = Field([], description="Saved predictions as the official script takes them: a JSON file.")
    index: Path | None = Field(
        None, description="Keep the indexes in this folder: a large corpus is then encoded once, and resumes."
    )


def _evaluate(settings: XorRetrieveSettings, encoders: Sequence[AnyEncoder], show_progress: bool) -> Report:
    questions = read_questions(questions_file(settings.data, settings.split), settings.languages)
    predictions = {path.stem: read_predictions(path) for path in settings.predictions}
    word_tokenizer()
    if predictions and not (settings.models or encoders or settings.passages):
        return evaluate_xor_retrieve(questions, [], predictions, None, data=settings.data.name)
    path = settings.passages or first_present([settings.data / "psgs_w100.tsv"], "the passages")
    loaded = load_encoders(settings, encoders)
    systems = [
        *index_systems(loaded, settings.index, [None], show_progress),
        *baseline_systems(settings.floors),
    ]
    return evaluate_xor_retrieve(questions, systems, predictions, passages(path), data=settings.data.name)


XOR_RETRIEVE = register(
    Benchmark(
        XorRetrieveSettings,
        "Find English passages for questions in seven languages (XOR-TyDi): R@2kt and R@5kt.",
        _evaluate,
        options=("data", "models", "predictions", "passages", "languages", "split", "index", "floors"),
        pictures=pictures,
    )
)
