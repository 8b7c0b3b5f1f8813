"""mMARCO v2 (Bonifacio et al., arXiv 2108.13897): MS MARCO's passages and queries, translated into 13 languages.

The metrics are MRR@10 and Recall@1000 on the small development split (6,980 queries).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlret.data.retrieval import read_qrels, read_topics
from mlret.errors import InputError
from mlret.eval.collection import (
    IR_DATASETS,
    Collection,
    collection_tsv_reader,
    find_present,
    first_present,
    from_ir_datasets,
)
from mlret.eval.retrieval import Protocol

LANGUAGES = {
    "en": "english", "es": "spanish", "fr": "french", "it": "italian", "pt": "portuguese", "id": "indonesian",
    "de": "german", "ru": "russian", "zh": "chinese", "ja": "japanese", "nl": "dutch", "vi": "vietnamese",
    "hi": "hindi", "ar": "arabic",
}  # fmt: skip
_PASSAGES = 8_841_823
_IR_DATASETS_CODES = {"nl": "dt"}  # mlret's code -> code in the catalogue of ir_datasets

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
