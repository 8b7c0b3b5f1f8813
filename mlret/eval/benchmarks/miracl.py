"""MIRACL v1.0 (Zhang et al., arXiv 2210.09984): judged passages for questions in eighteen languages.

The metrics are nDCG@10 and Recall@100 (``trec_eval -c -M 100``) on the development split, whose judgements are public.
Passages with the query's id stay in the ranking, because ids of MIRACL's queries and passages are unrelated.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from mlret.data.retrieval import read_qrels, read_topics
from mlret.errors import InputError
from mlret.eval.benchmarks.trec import TrecSettings, trec_benchmark
from mlret.eval.collection import IR_DATASETS, Collection, corpus_reader, find_present, first_present, from_ir_datasets
from mlret.eval.published import Published
from mlret.eval.registry import register
from mlret.eval.retrieval import Protocol

# Scores that others published, not measured by mlret. The averages are the sources' own.
_CHEN = "Chen et al. 2024, arXiv 2402.03216"
_PYSERINI = "Pyserini's reproductions"
PUBLISHED = {
    "ndcg@10": (
        Published("BM25", _CHEN, {
            "ar": 0.395, "bn": 0.482, "en": 0.267, "es": 0.077, "fa": 0.287, "fi": 0.458, "fr": 0.115, "hi": 0.35,
            "id": 0.297, "ja": 0.312, "ko": 0.371, "ru": 0.256, "sw": 0.351, "te": 0.383, "th": 0.491, "zh": 0.175,
            "de": 0.12, "yo": 0.561, "average": 0.319,
        }),
        Published("mDPR", _CHEN, {
            "ar": 0.499, "bn": 0.443, "en": 0.394, "es": 0.478, "fa": 0.48, "fi": 0.472, "fr": 0.435, "hi": 0.383,
            "id": 0.272, "ja": 0.439, "ko": 0.419, "ru": 0.407, "sw": 0.299, "te": 0.356, "th": 0.358, "zh": 0.512,
            "de": 0.49, "yo": 0.396, "average": 0.418,
        }),
        Published("mContriever", _CHEN, {
            "ar": 0.525, "bn": 0.501, "en": 0.364, "es": 0.418, "fa": 0.215, "fi": 0.602, "fr": 0.314, "hi": 0.286,
            "id": 0.392, "ja": 0.424, "ko": 0.483, "ru": 0.391, "sw": 0.56, "te": 0.528, "th": 0.517, "zh": 0.41,
            "de": 0.408, "yo": 0.415, "average": 0.431,
        }),
        Published("mE5-large", _CHEN, {
            "ar": 0.76, "bn": 0.759, "en": 0.529, "es": 0.529, "fa": 0.59, "fi": 0.778, "fr": 0.545, "hi": 0.62, "id":
            0.529, "ja": 0.706, "ko": 0.665, "ru": 0.674, "sw": 0.749, "te": 0.846, "th": 0.802, "zh": 0.56, "de":
            0.564, "yo": 0.783, "average": 0.666,
        }),
        Published("M3 dense", _CHEN, {
            "ar": 0.784, "bn": 0.8, "en": 0.569, "es": 0.561, "fa": 0.609, "fi": 0.786, "fr": 0.583, "hi": 0.595,
            "id": 0.561, "ja": 0.728, "ko": 0.699, "ru": 0.701, "sw": 0.787, "te": 0.862, "th": 0.826, "zh": 0.627,
            "de": 0.567, "yo": 0.818, "average": 0.692,
        }),
        Published("M3 multi-vector", _CHEN, {
            "ar": 0.796, "bn": 0.81, "en": 0.593, "es": 0.578, "fa": 0.62, "fi": 0.801, "fr": 0.594, "hi": 0.615,
            "id": 0.583, "ja": 0.745, "ko": 0.712, "ru": 0.712, "sw": 0.791, "te": 0.879, "th": 0.83, "zh": 0.637,
            "de": 0.58, "yo": 0.824, "average": 0.705,
        }),
        Published("BM25 (Lucene's analyzers)", _PYSERINI, {
            "ar": 0.481, "bn": 0.508, "en": 0.351, "es": 0.319, "fa": 0.357, "fi": 0.551, "fr": 0.183, "hi": 0.458,
            "id": 0.449, "ja": 0.369, "ko": 0.453, "ru": 0.334, "sw": 0.383, "te": 0.494, "th": 0.484, "zh": 0.18,
            "de": 0.226, "yo": 0.406, "average": 0.388,
        }),
    ),
}  # fmt: skip
PROTOCOL = Protocol(
    benchmark="miracl",
    title="MIRACL v1.0",
    description=(
        "MIRACL v1.0 (Zhang et al., arXiv 2210.09984): as trec_eval -c -M 100, over all judged queries; the average "
        "gives every language the same weight."
    ),
    metrics=("ndcg@10", "recall@100"),
    depth=100,
    sizes={
        "ar": 2_061_414, "bn": 297_265, "en": 32_893_221, "es": 10_373_953, "fa": 2_207_172, "fi": 1_883_509,
        "fr": 14_636_953, "hi": 506_264, "id": 1_446_315, "ja": 6_953_614, "ko": 1_486_752, "ru": 9_543_918,
        "sw": 131_924, "te": 518_079, "th": 542_166, "zh": 4_934_368, "de": 15_866_222, "yo": 49_043,
    },
    published=PUBLISHED,
)  # fmt: skip
LANGUAGES = tuple(PROTOCOL.sizes)
SPLITS = ("train", "dev")


def read_miracl(
    data: str | Path, *, languages: Sequence[str] | None = None, split: str = "dev", with_corpus: bool = True
) -> list[Collection]:
    """Read MIRACL.

    Parameters
    ----------
    data
        A folder that contains MIRACL's folders as they are on the hub:
        ``miracl-v1.0-sw/topics/topics.miracl-v1.0-sw-dev.tsv``, ``miracl-v1.0-sw/qrels/…`` and
        ``miracl-corpus-v1.0-sw/docs-*.jsonl.gz``. Topics and qrels may also be in the folder itself. Or
        ``"ir_datasets"``.
    languages
        Language codes to read; by default all that are present.
    split
        ``"train"`` or ``"dev"``.
    with_corpus
        Whether the documents are needed; scoring saved runs does not need them.

    Returns
    -------
    list of Collection
        One for each language.

    Raises
    ------
    InputError
        If something is missing or malformed.
    """
    if split not in SPLITS:
        raise InputError(f"MIRACL has judgements for {', '.join(SPLITS)}, not for {split!r}")
    for code in languages or ():
        if code not in LANGUAGES:
            raise InputError(f"MIRACL has no language {code!r}; there are {', '.join(LANGUAGES)}")
    if str(data) == IR_DATASETS:
        return [from_ir_datasets(f"miracl/{code}/{split}", code, code) for code in languages or LANGUAGES]
    root = Path(data)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give the one that holds miracl-v1.0-sw and miracl-corpus-v1.0-sw")
    present = [code for code in languages or LANGUAGES if languages or find_present(_topics(root, code, split))]
    if not present:
        raise InputError(f"{root}: holds no topics of MIRACL; expected {_topics(root, 'sw', split)[0]} and the like")
    return [_read(root, code, split, with_corpus) for code in present]


def _read(root: Path, code: str, split: str, with_corpus: bool) -> Collection:
    topics = first_present(_topics(root, code, split), f"{code}: topics")
    name = f"qrels.miracl-v1.0-{code}-{split}.tsv"
    qrels = first_present([root / f"miracl-v1.0-{code}" / "qrels" / name, root / name], f"{code}: judgements")
    documents = None
    if with_corpus:
        corpus = root / f"miracl-corpus-v1.0-{code}"
        if not corpus.is_dir():
            raise InputError(f"{corpus}: no such folder; the corpus of {code} is needed to rank its passages")
        documents = corpus_reader([corpus], code)
    return Collection(code, code, read_topics(topics), read_qrels(qrels), documents)


def _topics(root: Path, code: str, split: str) -> list[Path]:
    name = f"topics.miracl-v1.0-{code}-{split}.tsv"
    return [root / f"miracl-v1.0-{code}" / "topics" / name, root / name]


class MiraclSettings(TrecSettings):
    """Settings of `mlret eval miracl`."""

    benchmark: Literal["miracl"] = "miracl"
    data: Path = Field(description="Folder with miracl-v1.0-sw, miracl-corpus-v1.0-sw, …; or ir_datasets, to fetch.")
    split: Literal["train", "dev"] = Field("dev", description="train or dev.")


MIRACL = register(
    trec_benchmark(
        MiraclSettings,
        "Evaluate on MIRACL in eighteen languages: nDCG@10 and Recall@100.",
        PROTOCOL,
        lambda given, corpus: read_miracl(given.data, languages=given.languages, split=given.split, with_corpus=corpus),
    )
)
