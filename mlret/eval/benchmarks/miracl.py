"""MIRACL v1.0 (Zhang et al., arXiv 2210.09984): judged passages for questions in eighteen languages.

The metrics are nDCG@10 and Recall@100 (``trec_eval -c -M 100``) on the development split, whose judgements are public.
Passages with the query's id stay in the ranking, because ids of MIRACL's queries and passages are unrelated.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlret.data.retrieval import read_qrels, read_topics
from mlret.errors import InputError
from mlret.eval.collection import IR_DATASETS, Collection, corpus_reader, find_present, first_present, from_ir_datasets
from mlret.eval.retrieval import Protocol

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
