"""Evaluate the memory as a whole by combining the measurements of this package, and report the results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.data.files import read_lines
from mlret.data.sample import load_sample
from mlret.encoders.encoder import Encoder
from mlret.encoders.multi_vector import AnyEncoder
from mlret.errors import InputError
from mlret.eval.memory.channels import SYSTEMS, Records
from mlret.eval.memory.dedupe import Dedupe, measure_dedupe
from mlret.eval.memory.features import Answers, Feature, answer_features
from mlret.eval.memory.lookup import CONSISTENCY, METRICS, Lookup, look_up
from mlret.eval.memory.near_misses import NearMiss, near_misses
from mlret.eval.memory.news import stored_features
from mlret.eval.memory.pictures import memory_pictures
from mlret.eval.readers.parallel_text import ParallelTexts
from mlret.eval.readers.xquad_r_data import XquadR
from mlret.eval.report import Figures, QueryScores, Report
from mlret.eval.retrieval import AVERAGE
from mlret.memory.maintenance.thresholds import calibrate
from mlret.memory.text.duplicates import DuplicateThresholds
from mlret.reporting.table import ResultTable, percent

PROTOCOL = (
    "Lookup: all records in one language, all queries in another, one pair of languages at a time; averages give every "
    "ordered pair the same weight; consistency@5: of the five best records of a query, how many it shares with the "
    "five best of its translation, over all two languages. dense: cosine; lexical: BM25 over character n-grams; fused: "
    "the mean of standard scores over the channels that apply. Duplicates: half of the texts are stored, what comes "
    "next is judged as on a write; thresholds are calibrated on the bundled sample, which no text here is from."
)


def read_document_ids(path: Path, count: int, lines: tuple[int, int] | None) -> NDArray[np.int64]:
    """Return the document number of each line, in ascending order: ``(count,)`` int64.

    Parameters
    ----------
    path
        A file with a document id on each line.
    count
        Number of texts.
    lines
        First and last line to use, counted from 1, both included; all by default.

    Raises
    ------
    InputError
        If the file is missing, or its number of lines does not match the texts.
    """
    ids = [line for _, line in read_lines(path)]
    first, last = lines or (1, len(ids))
    chosen = ids[first - 1 : last]
    if len(chosen) != count:
        raise InputError(f"{path}: {len(ids)} lines, {len(chosen)} of them for {count} texts; give one id per line")
    numbers: list[int] = []
    for place, id in enumerate(chosen):
        numbers.append(numbers[-1] + (id != chosen[place - 1]) if numbers else 0)
    return np.array(numbers, dtype=np.int64)


def evaluate_memory(
    encoder: AnyEncoder,
    parallel: ParallelTexts,
    documents: NDArray[np.int64],
    answers: XquadR | None,
    *,
    data: str,
    show_progress: bool = False,
) -> Report:
    """Evaluate a memory that uses a given encoder.

    Parameters
    ----------
    encoder
        An encoder with one vector per text.
    parallel
        Texts in several languages.
    documents
        ``(n,)``: the document number of each text.
    answers
        Questions with their answers; if ``None``, the features that need them are not measured.
    data
        Name of the folder that the texts were read from.
    show_progress
        Print the current step.

    Raises
    ------
    InputError
        If the encoder produces a vector for each token.
    """
    if not isinstance(encoder, Encoder):
        raise InputError(f"{encoder.name} gives a vector for each token; this evaluation needs one per text")

    def encode(texts: Sequence[str], language: str) -> NDArray[np.float32]:
        return encoder.encode(texts, language=language)

    def report_step(what: str) -> None:
        if show_progress:
            from tqdm import tqdm

            tqdm.write(what)

    report_step("calibrating on the sample")
    thresholds = calibrate(encoder)
    texts = {parallel.languages[label]: list(some) for label, some in parallel.texts.items()}
    report_step("encoding")
    vectors = {language: encode(some, language) for language, some in texts.items()}
    report_step("looking up")
    records = {language: Records(some, [language] * len(some), vectors[language]) for language, some in texts.items()}
    news = look_up(records, texts, vectors, np.arange(len(parallel)))
    sample = _sample(encode)
    report_step("judging duplicates")
    random = np.random.default_rng(0)
    made = {
        language: [(row, one) for row, text in enumerate(some) for one in near_misses(text, language, random)]
        for language, some in texts.items()
    }
    changed = {language: encode([one.text for _, one in some], language) for language, some in made.items()}
    misses: dict[str, list[tuple[int, NearMiss, NDArray[np.float32]]]] = {
        language: [(row, one, vector) for (row, one), vector in zip(some, changed[language], strict=True)]
        for language, some in made.items()
    }
    dedupe = measure_dedupe(texts, vectors, misses, thresholds)
    report_step("switching features")
    features = stored_features(texts, vectors, documents, thresholds)
    if answers is not None:
        features = [*answer_features(Answers(answers, encode), thresholds), *features]
    return _report(encoder, parallel, news, sample, dedupe, thresholds, features, data)


def _sample(encode: Any) -> Lookup:
    """Search the bundled sample's passages in every language with its questions in every language."""
    sample = load_sample()
    topics = list(dict.fromkeys(passage.metadata["topic"] for passage in sample.passages))
    records, queries, vectors = {}, {}, {}
    gold: list[int] = []
    for language in sample.languages:
        by_topic = {p.metadata["topic"]: p.text for p in sample.passages if p.language == language}
        texts = [by_topic[topic] for topic in topics]
        records[language] = Records(texts, [language] * len(texts), encode(texts, language))
        asked = {
            id.removesuffix(f"-{language}"): question
            for id, question in sample.questions.items()
            if question.language == language
        }
        queries[language] = [asked[name].text for name in sorted(asked)]
        vectors[language] = encode(queries[language], language)
        gold = [topics.index(name.rsplit("-q", 1)[0]) for name in sorted(asked)]
    return look_up(records, queries, vectors, np.array(gold))


def _report(
    encoder: Encoder,
    parallel: ParallelTexts,
    news: Lookup,
    sample: Lookup,
    dedupe: Dedupe,
    thresholds: DuplicateThresholds,
    features: Sequence[Feature],
    data: str,
) -> Report:
    figures: Figures = {}
    scores: QueryScores = {}
    for system in SYSTEMS:
        name = f"{encoder.name}, {system}"
        figures[name] = {AVERAGE: {**news.mean(system), **_named("sample", sample.mean(system))}}
        for prefix, lookup in (("", news), ("sample ", sample)):
            for (asked, stored), by_metric in lookup.pairs[system].items():
                group = f"{prefix}{asked}-{stored}"
                figures[name][group] = {metric: float(of.mean()) for metric, of in by_metric.items()}
        scores[name] = {
            f"{asked}-{stored}": {
                metric: {str(row): float(value) for row, value in enumerate(of, start=1)}
                for metric, of in values.items()
            }
            for (asked, stored), values in news.pairs[system].items()
            if asked != stored
        }
    for name, merges in (("duplicates", dedupe.guarded), ("duplicates, no guards", dedupe.bare)):
        figures[name] = {
            AVERAGE: {
                "precision": merges.precision,
                "precision with near misses": merges.precision_with_near_misses,
                "recall": merges.recall,
                **{f"merged {kind}": merged / judged for kind, (judged, merged) in sorted(merges.near.items())},
            }
        }
    figures["guards"] = {AVERAGE: {f"blocked {kind}": share for kind, share in dedupe.blocked.items()}}
    for feature in features:
        switched = figures.setdefault(feature.name, {}).setdefault(AVERAGE, {})
        switched[f"{feature.data}: {feature.metric}, off"] = float(feature.off.mean())
        switched[f"{feature.data}: {feature.metric}, on"] = float(feature.on.mean())
    systems = {encoder.name: {"fingerprint": encoder.fingerprint, "dims": encoder.dims}}
    return Report(
        benchmark="memory",
        data=data,
        protocol=PROTOCOL,
        figures=figures,
        tables=[
            _lookup_table(encoder, news, sample, parallel),
            _languages_table(sample, "fused"),
            _dedupe_table(dedupe, thresholds),
            _guards_table(dedupe),
            _features_table(features),
        ],
        systems=systems,
        notes=list(dict.fromkeys(f"{one.name}: {one.shows}." for one in features if one.shows)),
        query_scores=scores,
        pictures=memory_pictures({"systems": systems, "figures": figures, "data": data}),
        details={"thresholds": thresholds.to_dict()},
    )


def _named(prefix: str, metrics: dict[str, float]) -> dict[str, float]:
    return {f"{prefix} {metric}": value for metric, value in metrics.items()}


def _lookup_table(encoder: Encoder, news: Lookup, sample: Lookup, parallel: ParallelTexts) -> ResultTable:
    metrics = (*METRICS, CONSISTENCY)
    rows = [
        [system, *(percent(of.mean(system)[metric]) for of in (news, sample) for metric in metrics)]
        for system in SYSTEMS
    ]
    title = (
        f"Lookup across languages with {encoder.name}, in per cent: {len(parallel):,} texts in {len(parallel.texts)} "
        "languages; questions and passages of the bundled sample in 12"
    )
    return ResultTable(title, ["", *metrics, *(f"sample {metric}" for metric in metrics)], [rows], PROTOCOL)


def _languages_table(sample: Lookup, system: str) -> ResultTable:
    codes = list(dict.fromkeys(asked for asked, _ in sample.pairs[system]))
    rows = [
        [asked, *(percent(float(sample.pairs[system][asked, stored]["recall@5"].mean())) for stored in codes)]
        for asked in codes
    ]
    title = f"Bundled sample, {system}: recall@5 in per cent, by language of the questions (rows) and of the passages"
    return ResultTable(title, ["", *codes], [rows])


def _dedupe_table(dedupe: Dedupe, thresholds: DuplicateThresholds) -> ResultTable:
    kinds = sorted(dedupe.guarded.near)
    rows = [
        [
            name,
            percent(merges.precision),
            percent(merges.precision_with_near_misses),
            percent(merges.recall),
            f"{merges.right:,}",
            *(f"{merges.near[kind][1]:,} of {merges.near[kind][0]:,}" for kind in kinds),
        ]
        for name, merges in (("with guards", dedupe.guarded), ("without", dedupe.bare))
    ]
    caption = (
        f"At margin {thresholds.duplicate:.3f}, calibrated for a precision of {percent(thresholds.precision)} on the "
        f"sample, where it finds {percent(thresholds.recall)} of the translations. Columns at the right: near misses "
        "that were merged into what they were made of."
    )
    headings = ["", "precision", "precision with near misses", "recall", "merged rightly", *kinds]
    return ResultTable("Duplicates across languages, in per cent", headings, [rows], caption)


def _guards_table(dedupe: Dedupe) -> ResultTable:
    rows = [[kind, f"{dedupe.counts[kind]:,}", percent(share)] for kind, share in dedupe.blocked.items()]
    title = (
        "What the guards block, whatever the vectors say: near misses as they should, translations as they should not"
    )
    return ResultTable(title, ["pairs", "number", "blocked"], [rows])


def _features_table(features: Sequence[Feature]) -> ResultTable:
    rows = []
    for one in features:
        low, high = one.interval
        difference = float(one.on.mean() - one.off.mean())
        cells = [percent(float(one.off.mean())), percent(float(one.on.mean())), f"{100 * difference:+.1f}"]
        rows.append(
            [
                one.name,
                one.data,
                one.metric,
                "on" if one.default else "off",
                *cells,
                f"{100 * low:+.1f} … {100 * high:+.1f}",
            ]
        )
    headings = ["feature", "data", "metric", "default", "off", "on", "difference", "95 %"]
    return ResultTable("Each feature off and on, in per cent", headings, [rows], text_columns=4)
