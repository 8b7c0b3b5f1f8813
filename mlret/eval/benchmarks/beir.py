"""BEIR (Thakur et al., arXiv 2104.08663): data sets in BEIR's layout, in any language.

The metrics are nDCG@10 and Recall@100. As in BEIR's own code, the document with the query's id is removed from that
query's ranking (in ArguAna and Quora, queries are documents too).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from mlret.data.retrieval import read_beir_qrels, read_beir_topics
from mlret.errors import InputError
from mlret.eval.benchmarks.trec import TrecSettings, trec_benchmark
from mlret.eval.collection import IR_DATASETS, Collection, corpus_reader, first_present, from_ir_datasets
from mlret.eval.registry import Names, register
from mlret.eval.retrieval import Protocol

PROTOCOL = Protocol(
    benchmark="beir",
    title="BEIR",
    description=(
        "BEIR (Thakur et al., arXiv 2104.08663): documents with the id of the query are left out of its ranking; the "
        "average gives every data set the same weight."
    ),
    metrics=("ndcg@10", "recall@100"),
    depth=100,
    sizes={},
)


def read_beir(
    data: str | Path,
    *,
    datasets: Sequence[str] | None = None,
    language: str | None = None,
    split: str = "test",
    with_corpus: bool = True,
) -> list[Collection]:
    """Read data sets in BEIR's layout.

    Parameters
    ----------
    data
        The folder of a data set (``corpus.jsonl``, ``queries.jsonl``, ``qrels/test.tsv``), a folder with several of
        them, or ``"ir_datasets"``.
    datasets
        Names of the data sets to read; by default all in the folder.
    language
        Language code of all texts; unknown by default.
    split
        Name of the file in ``qrels/``, without its suffix.
    with_corpus
        Whether the documents are needed; scoring saved runs does not need them.

    Returns
    -------
    list of Collection
        One for each data set.

    Raises
    ------
    InputError
        If something is missing or malformed.
    """
    if str(data) == IR_DATASETS:
        if not datasets:
            raise InputError("name the data sets to fetch (`datasets=…`), e.g. scifact and nfcorpus")
        fetched = [from_ir_datasets(f"beir/{name}/{split}", name, language) for name in datasets]
        return [Collection(**{**vars(one), "drop_identical": True}) for one in fetched]
    root = Path(data)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give a data set of BEIR, or the folder that holds several")
    single = _is_dataset(root)
    folders = [root] if single else sorted(path for path in root.iterdir() if path.is_dir() and _is_dataset(path))
    if datasets is not None and not single:
        there = {folder.name: folder for folder in folders}
        for name in datasets:
            if name not in there:
                raise InputError(f"{root}: has no data set {name!r}; there are {', '.join(there) or 'none'}")
        folders = [there[name] for name in datasets]
    if not folders:
        raise InputError(f"{root}: is not a data set of BEIR; expected queries.jsonl and qrels/{split}.tsv")
    return [_read(folder, language, split, with_corpus) for folder in folders]


def _is_dataset(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("queries.jsonl", "queries.jsonl.gz"))


def _read(folder: Path, language: str | None, split: str, with_corpus: bool) -> Collection:
    queries = first_present([folder / "queries.jsonl"], "queries")
    qrels = read_beir_qrels(first_present([folder / "qrels" / f"{split}.tsv"], f"{folder.name}: judgements"))
    # The file contains the queries of all splits. Those of other splits have no judgements here, so they are dropped
    # without a note.
    topics = {name: topic for name, topic in read_beir_topics(queries, language).items() if name in qrels}
    documents = corpus_reader([folder], language) if with_corpus else None
    return Collection(folder.name, language, topics, qrels, documents, drop_identical=True)


class BeirSettings(TrecSettings):
    """Settings of `mlret eval beir`."""

    benchmark: Literal["beir"] = "beir"
    data: Path = Field(description="A data set of BEIR, a folder of several; or ir_datasets, to fetch.")
    datasets: Names = Field(None, description="Only these, e.g. scifact,nfcorpus.")
    language: str | None = Field(None, description="Of all texts, e.g. en; stems BM25's words.")
    split: str = Field("test", description="The name of the file in qrels/.")


BEIR = register(
    trec_benchmark(
        BeirSettings,
        "Evaluate on data sets in BEIR's layout: nDCG@10 and Recall@100.",
        PROTOCOL,
        lambda given, corpus: read_beir(
            given.data, datasets=given.datasets, language=given.language, split=given.split, with_corpus=corpus
        ),
        options=("data", "models", "runs", "datasets", "language", "split", "index", "index_recipes", "floors"),
    )
)
