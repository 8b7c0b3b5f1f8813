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

from mlret.data.retrieval import read_qrels, read_topics
from mlret.errors import InputError, require
from mlret.eval.collection import IR_DATASETS, Collection, corpus_reader, find_present, first_present, from_ir_datasets
from mlret.eval.retrieval import Protocol

# mlret's language code -> the language's name in the official archives.
LANGUAGES = {
    "ar": "arabic", "bn": "bengali", "en": "english", "fi": "finnish", "id": "indonesian", "ja": "japanese",
    "ko": "korean", "ru": "russian", "sw": "swahili", "te": "telugu", "th": "thai",
}  # fmt: skip
SPLITS = ("train", "dev", "test")
_VERSION = "1.1"
_FETCHED = re.compile(r"/mrtydi-v([\d.]+)-[a-z]+\.")

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
