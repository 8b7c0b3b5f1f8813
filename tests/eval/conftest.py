"""A small bitext in both layouts."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import WORDS

Bitext = dict[str, list[tuple[str, str]]]


@pytest.fixture(scope="session")
def bitext() -> Bitext:
    """Return label -> pairs. Some English sentences occur in both languages, as in the real test set."""
    random = np.random.default_rng(7)

    def sentence(length: int) -> str:
        return " ".join(random.choice(WORDS, size=length, replace=False))

    english = [sentence(5) for _ in range(14)]
    swahili = [(" ".join([*text.split()[:4], sentence(1)]), text) for text in english[:12]]
    german = [(sentence(4), text) for text in english[6:]]
    return {"swh": swahili, "deu": german}


@pytest.fixture(scope="session")
def table_folder(bitext: Bitext, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the layout of a single table."""
    folder = tmp_path_factory.mktemp("table")
    rows = [f"{label}\t{i}\t{own}\t{en}\n" for label, pairs in bitext.items() for i, (own, en) in enumerate(pairs)]
    with gzip.open(folder / "tatoeba.v1.tsv.gz", "wt", encoding="utf-8") as handle:
        handle.write("lang\tid\txxx\teng\n" + "".join(rows))
    return folder


@pytest.fixture(scope="session")
def laser_folder(bitext: Bitext, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the layout of the LASER repository."""
    folder = tmp_path_factory.mktemp("laser")
    for label, pairs in bitext.items():
        for side, texts in zip((label, "eng"), zip(*pairs, strict=True), strict=True):
            (folder / f"tatoeba.{label}-eng.{side}").write_text("".join(f"{t}\n" for t in texts), encoding="utf-8")
    return folder
