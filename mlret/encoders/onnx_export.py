"""Export an encoder as ONNX: for the light runtime, and in the layout of sentence-transformers' ONNX backend."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, get_args

from safetensors.torch import save_file

from mlret.data.durable import write_folder_atomically
from mlret.encoders.encoder import Encoder
from mlret.encoders.light.folder import EXPORTED, layout_of
from mlret.encoders.light.graph import Architecture, Matrices, whole_graph
from mlret.encoders.light.mapped import MappedTensors
from mlret.encoders.light.weights import StoredWeights
from mlret.encoders.loading import load_in_torch
from mlret.encoders.packing import pack_folder
from mlret.encoders.quantised import fits, save_quantised
from mlret.errors import AlreadyExists, InputError

WeightBits = Literal[32, 8, 4]
_MATRICES: dict[WeightBits, Matrices] = {32: "float32", 8: "8-bit", 4: "4-bit"}
# Longer messages cannot be read by the library that ONNX files are made of.
_LARGEST = 2**31 - 1


def export_onnx(model: str | Path | None, folder: str | Path, *, bits: WeightBits = 32) -> Encoder:
    """Write an encoder with one vector for each text as a folder that needs no torch.

    mlret runs it with the light runtime, and ``SentenceTransformer(folder, backend="onnx")`` where that is installed.

    Parameters
    ----------
    model
        A model folder or hub id whose network is that of BERT, RoBERTa or XLM-R; ``None`` for the bundled encoder.
    folder
        A new or empty folder. It is written completely or not at all.
    bits
        Bits of a weight. With 8 or 4 the vectors differ, and so does the fingerprint.

    Returns
    -------
    Encoder
        The encoder in torch, which was exported.

    Raises
    ------
    InputError
        If the network or a module of the encoder is of another kind, or ``folder`` exists and is not empty.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise AlreadyExists(f"{folder} already exists: name a new folder, or remove it first")
    if bits not in get_args(WeightBits):
        raise InputError(f"no weights of {bits} bits; there are {', '.join(map(str, get_args(WeightBits)))}")
    encoder = load_in_torch(model, device="cpu")
    write_folder_atomically(folder, lambda path: _write(encoder, path, bits))
    return encoder


def _write(encoder: Encoder, path: Path, bits: WeightBits) -> None:
    encoder.model.save(str(path), create_model_card=False)
    shape = Architecture.read(path / "config.json")
    if shape is None or layout_of(path) is None:
        raise InputError(
            f"{encoder.name} cannot be exported: its network is none of BERT, RoBERTa and XLM-R, or it has modules "
            "other than pooling, normalisation and calibration"
        )
    network: Any = encoder.model[0]
    state = {name: tensor.detach().contiguous() for name, tensor in network.model.state_dict().items()}
    with TemporaryDirectory() as temporary:
        file = Path(temporary) / "weights.safetensors"
        if bits == 32:
            save_file({name: tensor.float() for name, tensor in state.items() if tensor.is_floating_point()}, file)
        else:
            matrices = [name for name, tensor in state.items() if "layer." in name and tensor.ndim == 2]
            odd = [name for name in matrices if not fits(state[name], bits)]
            if odd:
                raise InputError(f"{encoder.name} has no rows of a multiple of 32 ({odd[0]}): export it with 32 bits")
            save_quantised(state, file, layers=bits, embeddings=bits)
        graph = whole_graph(StoredWeights(MappedTensors(file)), shape, _MATRICES[bits])
    if len(graph) > _LARGEST:
        raise InputError(f"{encoder.name} is too large for one ONNX file with {bits} bits a weight: give 8 or 4")
    (path / EXPORTED).parent.mkdir()
    (path / EXPORTED).write_bytes(graph)
    pack_folder(path, mark="" if bits == 32 else f"-{bits}bit")
    for weights in path.glob("model*.safetensors"):
        weights.unlink()
    shutil.rmtree(path / "multi-vector", ignore_errors=True)
