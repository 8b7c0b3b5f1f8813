"""mMARCO v2 (Bonifacio et al., arXiv 2108.13897): MS MARCO's passages and queries, translated into 13 languages.

The metrics are MRR@10 and Recall@1000 on the small development split (6,980 queries).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from mlret.data.retrieval import read_qrels, read_topics
from mlret.errors import InputError
from mlret.eval.benchmarks.trec import OPTIONS, TrecSettings, trec_benchmark
from mlret.eval.collection import (
    IR_DATASETS,
    Collection,
    collection_tsv_reader,
    find_present,
    first_present,
    from_ir_datasets,
)
from mlret.eval.published import Published
from mlret.eval.registry import register
from mlret.eval.retrieval import Protocol

LANGUAGES = {
    "en": "english", "es": "spanish", "fr": "french", "it": "italian", "pt": "portuguese", "id": "indonesian",
    "de": "german", "ru": "russian", "zh": "chinese", "ja": "japanese", "nl": "dutch", "vi": "vietnamese",
    "hi": "hindi", "ar": "arabic",
}  # fmt: skip
_PASSAGES = 8_841_823
_IR_DATASETS_CODES = {"nl": "dt"}  # mlret's code -> code in the catalogue of ir_datasets

# Scores that others published, not measured by mlret. The averages are the sources' own.
_LOUIS = "Louis et al. 2024, arXiv 2402.15059"
PUBLISHED = {
    "mrr@10": (
        Published("BM25", _LOUIS, {
            "en": 0.184, "es": 0.158, "fr": 0.155, "it": 0.153, "pt": 0.152, "id": 0.149, "de": 0.136, "ru": 0.124,
            "zh": 0.116, "ja": 0.141, "nl": 0.14, "vi": 0.136, "hi": 0.134, "ar": 0.111, "average": 0.142,
        }),
        Published("DPR-X", _LOUIS, {
            "en": 0.245, "es": 0.196, "fr": 0.189, "it": 0.183, "pt": 0.19, "id": 0.169, "de": 0.182, "ru": 0.177,
            "zh": 0.148, "ja": 0.154, "nl": 0.185, "vi": 0.151, "hi": 0.154, "ar": 0.129, "average": 0.175,
        }),
        Published("mE5-base", _LOUIS, {
            "en": 0.35, "es": 0.289, "fr": 0.303, "it": 0.28, "pt": 0.275, "id": 0.261, "de": 0.271, "ru": 0.245,
            "zh": 0.229, "ja": 0.25, "nl": 0.273, "vi": 0.239, "hi": 0.242, "ar": 0.205, "average": 0.265,
        }),
        Published("mColBERT", _LOUIS, {
            "en": 0.352, "es": 0.301, "fr": 0.289, "it": 0.292, "pt": 0.292, "id": 0.275, "de": 0.281, "ru": 0.25,
            "zh": 0.246, "ja": 0.236, "nl": 0.273, "vi": 0.18, "hi": 0.232, "ar": 0.209, "average": 0.265,
        }),
        Published("ColBERT-XM", _LOUIS, {
            "en": 0.372, "es": 0.285, "fr": 0.269, "it": 0.265, "pt": 0.276, "id": 0.263, "de": 0.27, "ru": 0.251,
            "zh": 0.246, "ja": 0.241, "nl": 0.275, "vi": 0.226, "hi": 0.238, "ar": 0.195, "average": 0.262,
        }),
    ),
}  # fmt: skip
PROTOCOL = Protocol(
    benchmark="mmarco",
    title="mMARCO v2, small dev",
    description=(
        "mMARCO v2 (Bonifacio et al., arXiv 2108.13897): the small development split, over all judged queries; the "
        "average gives every language the same weight."
    ),
    metrics=("mrr@10", "recall@1000", "recall@100"),
    depth=1000,
    sizes=dict.fromkeys(LANGUAGES, _PASSAGES),
    published=PUBLISHED,
)


def read_mmarco(
    data: str | Path, *, languages: Sequence[str] | None = None, with_corpus: bool = True
) -> list[Collection]:
    """Read mMARCO.

    Parameters
    ----------
    data
        The folder of the data set (``data/google`` on the hub), with ``collections/german_collection.tsv``,
        ``queries/dev/german_queries.dev.small.tsv``, and MS MARCO's ``qrels.dev.small.tsv`` in the folder itself or in
        ``qrels/``. Or ``"ir_datasets"``.
    languages
        Language codes to read; by default all that are present.
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
    for code in languages or ():
        if code not in LANGUAGES:
            raise InputError(f"mMARCO has no language {code!r}; there are {', '.join(LANGUAGES)}")
    if str(data) == IR_DATASETS:
        codes = {code: _IR_DATASETS_CODES.get(code, code) for code in languages or LANGUAGES}
        names = {
            code: "msmarco-passage/dev/small" if code == "en" else f"mmarco/v2/{its}/dev/small"
            for code, its in codes.items()
        }
        return [from_ir_datasets(name, code, code) for code, name in names.items()]
    root = Path(data)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give the one that holds collections/ and queries/")
    present = [code for code in languages or LANGUAGES if languages or find_present(_queries(root, code))]
    if not present:
        raise InputError(f"{root}: holds no queries of mMARCO; expected queries/dev/german_queries.dev.small.tsv, …")
    qrels = read_qrels(first_present([root / "qrels.dev.small.tsv", root / "qrels" / "qrels.dev.small.tsv"], "qrels"))
    return [
        Collection(
            code,
            code,
            read_topics(first_present(_queries(root, code), f"{code}: queries")),
            qrels,
            collection_tsv_reader(first_present(_collection(root, code), f"{code}: collection"), code)
            if with_corpus
            else None,
        )
        for code in present
    ]


def _queries(root: Path, code: str) -> list[Path]:
    return [root / "queries" / "dev" / f"{LANGUAGES[code]}_queries.dev.small.tsv"]


def _collection(root: Path, code: str) -> list[Path]:
    return [root / "collections" / f"{LANGUAGES[code]}_collection.tsv"]


class MmarcoSettings(TrecSettings):
    """Settings of `mlret eval mmarco`."""

    benchmark: Literal["mmarco"] = "mmarco"
    data: Path = Field(description="Folder with collections/, queries/dev/, qrels; or ir_datasets, to fetch.")


MMARCO = register(
    trec_benchmark(
        MmarcoSettings,
        "Evaluate on MS MARCO's passages in fourteen languages: MRR@10 and Recall@1000.",
        PROTOCOL,
        lambda given, corpus: read_mmarco(given.data, languages=given.languages, with_corpus=corpus),
        options=tuple(name for name in OPTIONS if name != "split"),
    )
)
