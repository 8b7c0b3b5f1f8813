"""Read an encoder's folder as the light runtime needs it, and tell whether it can run it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from mlret.encoders.light.graph import Architecture
from mlret.encoders.light.mapped import MappedTensors
from mlret.encoders.light.unigram import UnigramTokenizer
from mlret.errors import InputError

PACKED = "light.safetensors"
QUANTISED = "quantised.safetensors"
EXPORTED = "onnx/model.onnx"
HEAD = "multi-vector"
Pooling = Literal["mean", "cls"]

# Modules of an encoder's folder that the light runtime knows, by the last part of their names.
_POOLINGS: dict[str, Pooling] = {"mean": "mean", "cls": "cls"}
# transformers writes a number at least this large if a tokenizer states no largest length.
_UNSTATED = 10**20
# Files up to this size count whole in a digest, larger ones by their size and this much of their start.
_READ = 1 << 16


@dataclass(frozen=True)
class PackedFolder:
    """What the folder of any encoder that was packed for the light runtime says.

    Attributes
    ----------
    path
        The folder.
    longest
        The largest number of tokens of a text.
    fingerprint
        What identifies the encoder's vectors.
    """

    path: Path
    longest: int
    fingerprint: str

    def tokenizer(self, *, added: dict[str, int] | None = None) -> UnigramTokenizer | None:
        """Return the packed tokenizer, or ``None`` if the encoder's is of a kind that only its own library runs.

        Parameters
        ----------
        added
            Tokens that it has in addition, with their ids.
        """
        tensors = MappedTensors(self.path / PACKED)
        if "tokenizer" not in tensors.metadata:
            return None
        settings = json.loads(tensors.metadata["tokenizer"])
        settings["added"] |= added or {}
        return UnigramTokenizer(tensors, **settings)

    def architecture(self) -> Architecture:
        """Return the sizes of its network."""
        found = Architecture.read(self.path / "config.json")
        if found is None:
            raise InputError(
                f"{self.path} is of a kind that the light runtime does not know: pip install 'mlret[train]'"
            )
        return found


@dataclass(frozen=True)
class LightFolder(PackedFolder):
    """What the folder of an encoder with one vector for each text says.

    Attributes
    ----------
    pooling
        How the vectors of a text's tokens become one.
    normalises
        Whether a text's vector has unit length before it is calibrated.
    calibration
        The folder of the calibration module, if there is one.
    prompts
        Name -> what is written before texts.
    """

    pooling: Pooling
    normalises: bool
    calibration: Path | None
    prompts: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read a folder; ``None`` if the light runtime cannot give the vectors that sentence-transformers gives.

        It cannot if a module is of another kind, if the folder was not packed for it
        (:mod:`mlret.encoders.packing`), or if a file has changed since it was.
        """
        stated = stated_in(path)
        modules = layout_of(path)
        if stated is None or modules is None:
            return None
        pooling, normalises, calibration = modules
        return cls(
            path=path,
            longest=longest_of(path),
            fingerprint=stated["fingerprint"],
            pooling=pooling,
            normalises=normalises,
            calibration=calibration,
            prompts=_json(path / "config_sentence_transformers.json").get("prompts") or {},
        )


def stated_in(path: Path) -> dict[str, Any] | None:
    """Return what was stated of an encoder when its folder was packed; ``None`` if it was not, or changed since."""
    packed = path / PACKED
    if not packed.is_file() or not ((path / QUANTISED).is_file() or (path / EXPORTED).is_file()):
        return None
    stated: dict[str, Any] = json.loads(MappedTensors(packed).metadata.get("encoder", "{}"))
    return stated if stated.get("digest") == digest_of(path) else None


def is_export(path: Path) -> bool:
    """Whether a folder holds an encoder in ONNX alone, so that torch cannot load it."""
    if not (path / EXPORTED).is_file():
        return False
    files = (*path.glob("*.safetensors"), *path.glob("pytorch_model*.bin"))
    return all(file.name == PACKED for file in files)


def layout_of(path: Path) -> tuple[Pooling, bool, Path | None] | None:
    """Return an encoder's pooling, whether it normalises, and the folder of its calibration.

    ``None`` if it has any other module.
    """
    modules = _json(path / "modules.json")
    kinds = [entry.get("type", "").rpartition(".")[2] for entry in modules]
    if kinds[:2] != ["Transformer", "Pooling"] and kinds[:2] != ["QuantisedTransformer", "Pooling"]:
        return None
    if kinds[2:] not in ([], ["Normalize"], ["Normalize", "Calibration"], ["Calibration"]):
        return None
    if modules[0]["path"] or _json(path / "sentence_bert_config.json").get("do_lower_case"):
        return None
    pooling = _json(path / modules[1]["path"] / "config.json")
    # Before version 6, sentence-transformers wrote one key for each mode.
    earlier = [
        mode for mode, key in (("mean", "mean_tokens"), ("cls", "cls_token")) if pooling.get(f"pooling_mode_{key}")
    ]
    mode = pooling.get("pooling_mode") or (earlier[0] if len(earlier) == 1 else None)
    settings = _json(path / "config_sentence_transformers.json")
    if mode not in _POOLINGS or not pooling.get("include_prompt", True) or settings.get("default_prompt_name"):
        return None
    calibration = path / modules[-1]["path"] if kinds[-1] == "Calibration" else None
    return _POOLINGS[mode], "Normalize" in kinds, calibration


def longest_of(path: Path) -> int:
    """Return the largest number of tokens of a text: what the folder states, and what the network accepts."""
    stated = _json(path / "sentence_bert_config.json").get("max_seq_length")
    if stated is None:
        stated = _json(path / "tokenizer_config.json").get("model_max_length")
    shape = Architecture.read(path / "config.json")
    limits = [int(number) for number in (stated, shape and shape.longest) if number and number < _UNSTATED]
    if not limits:
        raise InputError(
            f"{path} does not say how long a text may be: give max_seq_length in sentence_bert_config.json"
        )
    return min(limits)


def digest_of(path: Path) -> str:
    """Return a digest of an encoder's files: it changes if one is edited or replaced.

    Large files count by their size and their first 64 kB, which hold the names and places of all tensors.
    """
    digest = hashlib.sha256()
    names = [QUANTISED, EXPORTED, "tokenizer.json", "config.json", "modules.json", "config_sentence_transformers.json"]
    names += ["sentence_bert_config.json", "tokenizer_config.json", f"{HEAD}/head.json", f"{HEAD}/head.safetensors"]
    for module in _json(path / "modules.json"):
        if module["path"]:
            names += [f"{module['path']}/config.json", f"{module['path']}/calibration.safetensors"]
    for name in names:
        file = path / name
        if file.is_file():
            with file.open("rb") as opened:
                digest.update(f"{name}:{file.stat().st_size}:".encode() + opened.read(_READ))
    return digest.hexdigest()


def _json(path: Path) -> Any:
    """Return the content of a JSON file, ``{}`` if it is missing."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}): copy the encoder again") from error
