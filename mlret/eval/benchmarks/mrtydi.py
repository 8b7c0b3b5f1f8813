"""Mr.TyDi (Zhang et al., arXiv 2108.08787): questions in eleven languages over the Wikipedia of each language.

Version 1.1 is read from its archives; ir_datasets downloads the version in its catalogue (0.6.3: version 1.0). The
metrics are MRR@100 and Recall@100 (``trec_eval -c -M 100``), averaged over all judged queries of a language and then
over languages, without weights.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import Field

from mlret.data.retrieval import read_qrels, read_topics
from mlret.errors import InputError, require
from mlret.eval.benchmarks.trec import TrecSettings, trec_benchmark
from mlret.eval.collection import IR_DATASETS, Collection, corpus_reader, find_present, first_present, from_ir_datasets
from mlret.eval.published import Published
from mlret.eval.registry import register
from mlret.eval.retrieval import Protocol

# mlret's language code -> the language's name in the official archives.
LANGUAGES = {
    "ar": "arabic", "bn": "bengali", "en": "english", "fi": "finnish", "id": "indonesian", "ja": "japanese",
    "ko": "korean", "ru": "russian", "sw": "swahili", "te": "telugu", "th": "thai",
}  # fmt: skip
SPLITS = ("train", "dev", "test")
_VERSION = "1.1"
_FETCHED = re.compile(r"/mrtydi-v([\d.]+)-[a-z]+\.")

# Scores that others published, not measured by mlret. The averages are the sources' own.
_ZHANG = "Zhang et al. 2021, arXiv 2108.08787"
_PYSERINI = "Pyserini's reproductions"
_IZACARD = "Izacard et al. 2021, arXiv 2112.09118"
_LOUIS = "Louis et al. 2024, arXiv 2402.15059"
PUBLISHED = {
    "mrr@100": (
        Published("BM25", _ZHANG, {
            "ar": 0.368, "bn": 0.418, "en": 0.14, "fi": 0.284, "id": 0.376, "ja": 0.211, "ko": 0.285, "ru": 0.313,
            "sw": 0.389, "te": 0.343, "th": 0.401, "average": 0.321,
        }),
        Published("BM25, tuned", _ZHANG, {
            "ar": 0.366, "bn": 0.413, "en": 0.15, "fi": 0.287, "id": 0.382, "ja": 0.217, "ko": 0.28, "ru": 0.329,
            "sw": 0.396, "te": 0.424, "th": 0.416, "average": 0.333,
        }),
        Published("mDPR (NQ)", _ZHANG, {
            "ar": 0.291, "bn": 0.291, "en": 0.291, "fi": 0.206, "id": 0.271, "ja": 0.213, "ko": 0.235, "ru": 0.283,
            "sw": 0.189, "te": 0.111, "th": 0.172, "average": 0.226,
        }),
        Published("BM25 + mDPR", _ZHANG, {
            "ar": 0.5, "bn": 0.555, "en": 0.328, "fi": 0.377, "id": 0.481, "ja": 0.36, "ko": 0.361, "ru": 0.455, "sw":
            0.415, "te": 0.418, "th": 0.507, "average": 0.426,
        }),
        Published("mDPR tied (MS MARCO)", _PYSERINI, {
            "ar": 0.441, "bn": 0.397, "en": 0.327, "fi": 0.275, "id": 0.352, "ja": 0.311, "ko": 0.282, "ru": 0.356,
            "sw": 0.342, "te": 0.31, "th": 0.269, "average": 0.333,
        }),
        Published("mContriever", _IZACARD, {
            "ar": 0.273, "bn": 0.363, "en": 0.092, "fi": 0.211, "id": 0.235, "ja": 0.195, "ko": 0.223, "ru": 0.175,
            "sw": 0.383, "te": 0.225, "th": 0.372, "average": 0.25,
        }),
        Published("mContriever (MS MARCO)", _IZACARD, {
            "ar": 0.434, "bn": 0.423, "en": 0.271, "fi": 0.251, "id": 0.426, "ja": 0.324, "ko": 0.342, "ru": 0.361,
            "sw": 0.512, "te": 0.374, "th": 0.402, "average": 0.384,
        }),
        Published("mContriever (MS MARCO, Mr.TyDi)", _IZACARD, {
            "ar": 0.724, "bn": 0.672, "en": 0.566, "fi": 0.602, "id": 0.63, "ja": 0.549, "ko": 0.553, "ru": 0.597,
            "sw": 0.707, "te": 0.903, "th": 0.673, "average": 0.652,
        }),
        Published("ColBERT-XM (no th)", _LOUIS, {
            "ar": 0.552, "bn": 0.566, "en": 0.36, "fi": 0.418, "id": 0.571, "ja": 0.421, "ko": 0.413, "ru": 0.522,
            "sw": 0.568, "te": 0.506, "average": 0.49,
        }),
    ),
    "recall@100": (
        Published("BM25", _ZHANG, {
            "ar": 0.793, "bn": 0.869, "en": 0.537, "fi": 0.719, "id": 0.843, "ja": 0.645, "ko": 0.619, "ru": 0.648,
            "sw": 0.764, "te": 0.758, "th": 0.853, "average": 0.732,
        }),
        Published("mDPR (NQ)", _ZHANG, {
            "ar": 0.65, "bn": 0.779, "en": 0.678, "fi": 0.568, "id": 0.685, "ja": 0.584, "ko": 0.533, "ru": 0.647,
            "sw": 0.528, "te": 0.366, "th": 0.515, "average": 0.594,
        }),
        Published("BM25 + mDPR", _ZHANG, {
            "ar": 0.871, "bn": 0.946, "en": 0.793, "fi": 0.827, "id": 0.9, "ja": 0.794, "ko": 0.718, "ru": 0.815,
            "sw": 0.808, "te": 0.823, "th": 0.883, "average": 0.834,
        }),
        Published("mContriever", _IZACARD, {
            "ar": 0.82, "bn": 0.896, "en": 0.488, "fi": 0.796, "id": 0.814, "ja": 0.728, "ko": 0.662, "ru": 0.685,
            "sw": 0.887, "te": 0.808, "th": 0.903, "average": 0.772,
        }),
        Published("mContriever (MS MARCO)", _IZACARD, {
            "ar": 0.887, "bn": 0.914, "en": 0.772, "fi": 0.881, "id": 0.898, "ja": 0.817, "ko": 0.782, "ru": 0.838,
            "sw": 0.914, "te": 0.966, "th": 0.905, "average": 0.87,
        }),
        Published("ColBERT-XM (no th)", _LOUIS, {
            "ar": 0.896, "bn": 0.914, "en": 0.837, "fi": 0.844, "id": 0.938, "ja": 0.849, "ko": 0.776, "ru": 0.891,
            "sw": 0.871, "te": 0.933, "average": 0.875,
        }),
    ),
}  # fmt: skip
PROTOCOL = Protocol(
    benchmark="mrtydi",
    title="Mr.TyDi v1.1",
    description=(
        "Mr.TyDi v1.1 (Zhang et al., arXiv 2108.08787): as trec_eval -c -M 100, over all judged queries, what is not "
        "retrieved counts 0; the average gives every language the same weight."
    ),
    metrics=("mrr@100", "recall@100"),
    depth=100,
    sizes={
        "ar": 2_106_586, "bn": 304_059, "en": 32_907_100, "fi": 1_908_757, "id": 1_469_399, "ja": 7_000_027,
        "ko": 1_496_126, "ru": 9_597_504, "sw": 136_689, "te": 548_224, "th": 568_855,
    },
    published=PUBLISHED,
)  # fmt: skip


def read_mrtydi(
    data: str | Path, *, languages: Sequence[str] | None = None, split: str = "test", with_corpus: bool = True
) -> list[Collection]:
    """Read Mr.TyDi.

    Parameters
    ----------
    data
        A folder with the official archives, unpacked (``mrtydi-v1.1-swahili/`` with ``collection/``, ``topic.test.tsv``
        and ``qrels.test.txt``). Anserini's names of these files are also recognised
        (``topics.mrtydi-v1.1-sw.test.txt``). Or ``"ir_datasets"``.
    languages
        Language codes to read; by default all that are present.
    split
        ``"train"``, ``"dev"`` or ``"test"``.
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
        raise InputError(f"Mr.TyDi has no split {split!r}; there are {', '.join(SPLITS)}")
    for code in languages or ():
        if code not in LANGUAGES:
            raise InputError(f"Mr.TyDi has no language {code!r}; there are {', '.join(LANGUAGES)}")
    if str(data) == IR_DATASETS:
        return [from_ir_datasets(f"mr-tydi/{code}/{split}", code, code) for code in languages or LANGUAGES]
    root = Path(data)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give the one that holds mrtydi-v1.1-swahili and the like")
    present = [
        code for code in languages or LANGUAGES if languages or _folder(root, code) or _topics(root, code, split)
    ]
    if not present:
        raise InputError(f"{root}: holds no language of Mr.TyDi; expected folders such as mrtydi-v1.1-swahili")
    return [_read(root, code, split, with_corpus) for code in present]


def protocol_of(data: str | Path) -> Protocol:
    """Return the scoring protocol, named after the version of the data.

    Published scores are for version 1.1, so they are not shown for another version.
    """
    version = fetched_version() if str(data) == IR_DATASETS else _VERSION
    if version == _VERSION:
        return PROTOCOL
    note = f"Version {version} is what ir_datasets fetches; published figures, which are of v{_VERSION}, are left out."
    return replace(
        PROTOCOL,
        title=f"Mr.TyDi v{version}",
        description=f"{PROTOCOL.description.replace(f'v{_VERSION}', f'v{version}')} {note}",
        sizes={},
    )


def fetched_version() -> str:
    """Return the version that ir_datasets downloads, according to the URLs in its catalogue.

    Raises
    ------
    MissingExtraError
        If ir_datasets is not installed.
    """
    require("ir_datasets", extra="eval", feature="fetching benchmarks by name")
    catalogue = files("ir_datasets").joinpath("etc", "downloads.json")
    found = set(_FETCHED.findall(json.dumps(json.loads(catalogue.read_text(encoding="utf-8"))["mr-tydi"])))
    return " and ".join(sorted(found)) or "of an unknown number"


def _read(root: Path, code: str, split: str, with_corpus: bool) -> Collection:
    folder = _folder(root, code) or root / f"mrtydi-v1.1-{LANGUAGES[code]}"
    name = f"mrtydi-v1.1-{code}.{split}.txt"
    topics = first_present([folder / f"topic.{split}.tsv", root / f"topics.{name}"], f"{code}: topics")
    qrels = first_present([folder / f"qrels.{split}.txt", root / f"qrels.{name}"], f"{code}: judgements")
    documents = None
    if with_corpus:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; the corpus of {code} is needed to rank its documents")
        documents = corpus_reader([folder], code)
    return Collection(code, code, read_topics(topics), read_qrels(qrels), documents)


def _folder(root: Path, code: str) -> Path | None:
    names = (f"mrtydi-v1.1-{LANGUAGES[code]}", f"mrtydi-v1.1-{code}", LANGUAGES[code], code)
    return next((root / name for name in names if (root / name).is_dir()), None)


def _topics(root: Path, code: str, split: str) -> Path | None:
    return find_present([root / f"topics.mrtydi-v1.1-{code}.{split}.txt"])


class MrTydiSettings(TrecSettings):
    """Settings of `mlret eval mrtydi`."""

    benchmark: Literal["mrtydi"] = "mrtydi"
    data: Path = Field(description="Folder with mrtydi-v1.1-swahili and the like; or ir_datasets, to fetch.")
    split: Literal["train", "dev", "test"] = Field("test", description="train, dev or test.")


MRTYDI = register(
    trec_benchmark(
        MrTydiSettings,
        "Evaluate on Mr.TyDi in eleven languages: MRR@100 and Recall@100.",
        PROTOCOL,
        lambda given, corpus: read_mrtydi(given.data, languages=given.languages, split=given.split, with_corpus=corpus),
        protocol_of=lambda given: protocol_of(given.data),
    )
)
