"""An encoder that was packed for the light runtime, and the same one in torch."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mlret.encoders.encoder import Encoder
from mlret.encoders.loading import load_in_torch
from mlret.encoders.packing import pack_folder


@pytest.fixture(scope="session")
def packed_folder(tiny_encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny encoder in few bits, calibrated for "en" and "sw", with a multi-vector head, packed."""
    from sentence_transformers import SentenceTransformer

    from mlret.encoders.calibration import Calibration
    from mlret.encoders.head import save_head
    from mlret.encoders.late_interaction import multi_vector_encoder
    from mlret.encoders.quantised import quantise_folder

    folder = tmp_path_factory.mktemp("light") / "packed"
    model = load_in_torch(tiny_encoder_folder, device="cpu").model
    generator = np.random.default_rng(0)
    statistics = {code: generator.normal(0, 0.1, (20, 32)).astype(np.float32) for code in ("en", "sw")}
    modules = [*model.children(), Calibration.fit(statistics, rotate=True)]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder))
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    spaces = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
    tokenizer["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "NFKC"}, spaces]}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    quantise_folder(folder, layers=4, embeddings=4)
    backbone = load_in_torch(folder, device="cpu").model
    settings = {"dims": 16, "query_length": None, "seed": 1}
    save_head(multi_vector_encoder(backbone, **settings), backbone, folder / "multi-vector", settings)
    pack_folder(folder)
    return folder


@pytest.fixture(scope="session")
def in_torch(packed_folder: Path) -> Encoder:
    """The same encoder in torch."""
    return load_in_torch(packed_folder, device="cpu")


@pytest.fixture
def copied(packed_folder: Path, tmp_path: Path) -> Path:
    """A copy of the packed encoder, to be changed."""
    return Path(shutil.copytree(packed_folder, tmp_path / "copied"))
