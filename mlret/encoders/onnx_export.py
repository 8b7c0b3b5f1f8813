"""Export an encoder as ONNX: for the light runtime, and in the layout of sentence-transformers' ONNX backend."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

from mlret.data.durable import write_folder_atomically
from mlret.encoders.encoder import Encoder
from mlret.encoders.light.folder import EXPORTED, layout_of
from mlret.encoders.light.graph import Architecture, Matrices, whole_graph
from mlret.encoders.light.mapped import MappedTensors
from mlret.encoders.light.weights import StoredWeights
from mlret.encoders.multi_vector import AnyEncoder, load_any_in_torch
from mlret.encoders.packing import pack_folder, pack_token_folder
from mlret.encoders.quantised import fits, save_quantised
from mlret.encoders.tokenizer_files import write_json, write_tokenizer
from mlret.errors import AlreadyExists, InputError

WeightBits = Literal[32, 8, 4]
_MATRICES: dict[WeightBits, Matrices] = {32: "float32", 8: "8-bit", 4: "4-bit"}
_LONG_KNOWN = ("Transformer", "Pooling", "Normalize")
# Longer messages cannot be read by the library that ONNX files are made of.
_LARGEST = 2**31 - 1


def export_onnx(model: str | Path | None, folder: str | Path, *, bits: WeightBits = 32) -> AnyEncoder:
    """Write an encoder as a folder that needs no torch, with one vector for each text or for each token.

    mlret runs it with the light runtime. With one vector for each text, the ONNX backend of sentence-transformers and
    fastembed run it, too; with one for each token, the first output of the network are the projected vectors.

    Parameters
    ----------
    model
        A model folder or hub id whose network is that of BERT, RoBERTa or XLM-R; ``None`` for the bundled encoder,
        ``"bundled:multi-vector"`` for its multi-vector head.
    folder
        A new or empty folder. It is written completely or not at all.
    bits
        Bits of a weight. With 8 or 4 the vectors differ, and so does the fingerprint.

    Returns
    -------
    Encoder or TokenEncoder
        The encoder in torch, which was exported.

    Raises
    ------
    InputError
        If the network or a module of the encoder is of another kind, the encoder is an export itself, or ``folder``
        exists and is not empty.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise AlreadyExists(f"{folder} already exists: name a new folder, or remove it first")
    if bits not in get_args(WeightBits):
        raise InputError(f"no weights of {bits} bits; there are {', '.join(map(str, get_args(WeightBits)))}")
    encoder = load_any_in_torch(model, device="cpu")
    write_folder_atomically(folder, lambda path: _write(encoder, path, bits))
    return encoder


def _write(encoder: AnyEncoder, path: Path, bits: WeightBits) -> None:
    _check_modules(encoder)
    encoder.model.save(str(path), create_model_card=False)
    write_tokenizer(encoder.model.tokenizer, path)
    _name_modules(path / "modules.json")
    shape = _architecture(encoder, path)
    mark = "" if bits == 32 else f"-{bits}bit"
    (path / EXPORTED).parent.mkdir()
    (path / EXPORTED).write_bytes(_graph(encoder, shape, bits))
    if isinstance(encoder, Encoder):
        if layout_of(path) is None:
            raise InputError(
                f"{encoder.name} cannot be exported: one of its modules has settings that run in torch alone, such as "
                "a pooling other than mean and cls, or a prompt that is excluded from it"
            )
        pack_folder(path, encoder, mark=mark)
    else:
        pack_token_folder(path, encoder, mark=mark)
    for weights in path.glob("model*.safetensors"):
        weights.unlink()
    shutil.rmtree(path / "multi-vector", ignore_errors=True)


def _name_modules(path: Path) -> None:
    """Name modules as every version of sentence-transformers does, because its ONNX backend needs an old one."""
    modules = json.loads(path.read_text(encoding="utf-8"))
    for module in modules:
        name = module["type"].rpartition(".")[2]
        if module["type"].startswith("sentence_transformers.") and name in _LONG_KNOWN:
            module["type"] = f"sentence_transformers.models.{name}"
    write_json(path, modules)


def _check_modules(encoder: AnyEncoder) -> None:
    """Raise if an encoder has modules that have no counterpart without torch."""
    model: Any = encoder.model
    modules: list[Any] = list(model.children())
    names = [type(module).__name__.replace("DynamicQueryTransformer", "Transformer") for module in modules]
    if isinstance(encoder, Encoder):
        if names[:2] == ["Transformer", "Pooling"] and names[2:] in (
            [], ["Normalize"], ["Normalize", "Calibration"], ["Calibration"]
        ):  # fmt: skip
            return
        wanted = "a transformer, a pooling and perhaps a normalisation and a calibration"
    else:
        wanted = "a transformer, a projection (Dense), a mask (MultiVectorMask) and a normalisation"
        if names == ["Transformer", "Dense", "MultiVectorMask", "Normalize"]:
            dense, mask = modules[1], modules[2]
            if dense.bias or dense.use_residual or not isinstance(dense.activation_function, nn.Identity):
                raise InputError(
                    f"{encoder.name} cannot be exported: its projection has a bias, residual or activation"
                )
            if mask.keep_only_token_ids:
                raise InputError(f"{encoder.name} cannot be exported: its mask has a list of tokens that it keeps")
            return
    raise InputError(f"{encoder.name} cannot be exported: ONNX files hold {wanted}; it has {', '.join(names)}")


def _architecture(encoder: AnyEncoder, path: Path) -> Architecture:
    shape = Architecture.read(path / "config.json")
    if shape is None:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        raise InputError(
            f"{encoder.name} cannot be exported: its network is {config.get('model_type')!r} with the activation "
            f"{config.get('hidden_act')!r}; there are bert, roberta and xlm-roberta with gelu and absolute positions"
        )
    return shape


def _graph(encoder: AnyEncoder, shape: Architecture, bits: WeightBits) -> bytes:
    model: Any = encoder.model
    state = {name: tensor.detach().contiguous() for name, tensor in model[0].model.state_dict().items()}
    projection: NDArray[np.float32] | None = None
    if not isinstance(encoder, Encoder):
        projection = model[1].linear.weight.detach().float().numpy()
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
        graph = whole_graph(StoredWeights(MappedTensors(file)), shape, _MATRICES[bits], projection=projection)
    if len(graph) > _LARGEST:
        raise InputError(f"{encoder.name} is too large for one ONNX file with {bits} bits a weight: give 8 or 4")
    return graph
