"""Average the weights of models: checkpoints of one run, or different fine-tunings of one model.

JaColBERTv2.5 (arXiv 2407.20750), for example, is the uniform mean of a model and its further training on other data.
Integer buffers are taken from the first model. The mean is computed from the files, with one tensor in memory at a
time, so the result is the same kind of folder as the first model: of sentence-transformers, with one vector for each
text or each token, of PyLate, of ColBERT, or of transformers alone.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from mlret.data.durable import write_folder_atomically
from mlret.encoders.loading import check_loads_in_torch, from_hub
from mlret.errors import InputError

_WEIGHTS = ".safetensors"
# Files of a trainer's checkpoint that belong to the run, not to the model.
_OF_THE_RUN = ("optimizer", "scheduler", "scaler", "rng_state", "trainer_state", "training_args")
# Weights in the formats of other libraries are not copied: the first model's would contradict the mean.
_OTHER_WEIGHTS = (".bin", ".pt", ".pth", ".onnx", ".h5", ".msgpack", ".ot", ".gguf")
# Keys of settings that may differ: they state where a model comes from and how it was saved.
_PROVENANCE = frozenset(
    {"_name_or_path", "transformers_version", "torch_dtype", "dtype", "architectures", "__version__"}
)
# The files whose settings are compared. Other files, such as those of a trainer, do not change any vector.
_COMPARED = ("config.json", "modules.json", "sentence_bert_config.json", "artifact.metadata")
_CALIBRATION = "calibration.safetensors"


@dataclass(frozen=True, slots=True)
class AveragingReport:
    """Report of an average.

    Attributes
    ----------
    models
        Names of the models.
    weights
        Weight of each model; the weights sum to 1.
    averaged, copied
        Number of floating-point tensors that were averaged, and of other tensors that were copied from the first model.
    parameters
        Number of values in the averaged tensors.
    distance
        Euclidean distance of each model's floating-point tensors from the mean, divided by the norm of the mean.
    calibrated
        Whether the model has a calibration. The mean of calibrations does not calibrate the new vectors.
    """

    models: tuple[str, ...]
    weights: tuple[float, ...]
    averaged: int
    copied: int
    parameters: int
    distance: tuple[float, ...]
    calibrated: bool


def average_models(
    models: Sequence[str | Path], output: Path, *, weights: Sequence[float] | None = None
) -> AveragingReport:
    """Write the mean of several models.

    Parameters
    ----------
    models
        Two or more folders or hub ids with weights in safetensors: of sentence-transformers, with one vector for each
        text or each token, or of transformers alone; a trainer's checkpoints are accepted, too. They must have the same
        architecture and tokenizer; how their weights are divided into files does not matter.
    output
        A new folder. It gets the files of the first model, but not those that a trainer keeps beside them, with the
        averaged weights. It appears only when it is complete.
    weights
        One weight for each model, by default all equal. They are divided by their sum.

    Returns
    -------
    AveragingReport
        What was averaged. Means are computed in float64 and stored in the first model's dtype.

    Raises
    ------
    InputError
        If there are fewer than two models, if the weights do not fit, if a model has no safetensors, or if the models
        do not match; the message states in what they differ.
    """
    if len(models) < 2:
        raise InputError("nothing to average: name at least two models")
    shares = _shares(weights, len(models))
    if (output.exists() and not output.is_dir()) or (output.is_dir() and any(output.iterdir())):
        raise InputError(f"{output} already exists: name a new folder")
    names = tuple(map(str, models))
    folders = [_folder(model) for model in models]
    with ExitStack() as stack:
        opened = [_Weights(folder, name, stack) for folder, name in zip(folders, names, strict=True)]
        for other, folder in zip(opened[1:], folders[1:], strict=True):
            _check_same_files(folders[0], names[0], folder, other.name)
            opened[0].check_same(other)
        mean = _Mean(opened, shares)

        def write(beside: Path) -> None:
            _copy_files(folders[0], beside)
            for file in opened[0].files:
                target = beside / file
                target.parent.mkdir(parents=True, exist_ok=True)
                save_file(dict(mean.tensors(file)), target, metadata=opened[0].metadata(file))
            _note(beside, names, shares)

        write_folder_atomically(output, write)
    return AveragingReport(
        names,
        tuple(shares),
        averaged=mean.averaged,
        copied=mean.copied,
        parameters=mean.parameters,
        distance=mean.distance,
        calibrated=any(Path(file).name == _CALIBRATION for file in opened[0].files),
    )


class _Weights:
    """The tensors of a model, however they are divided into files."""

    def __init__(self, folder: Path, name: str, stack: ExitStack) -> None:
        self.name = name
        paths = sorted(path for path in folder.rglob(f"*{_WEIGHTS}") if not _is_ignored(path, folder))
        if not paths:
            raise InputError(f"{name}: has no weights in safetensors; load the model and save it again")
        if any(path.name.startswith("adapter_model") for path in paths):
            # An adapter is a product of matrices, and the mean of products is not the product of the means.
            raise InputError(f"{name}: is a low-rank adapter (PEFT); merge each into its model before averaging")
        self.files = [str(path.relative_to(folder)) for path in paths]
        self._open = {file: stack.enter_context(safe_open(folder / file, framework="pt")) for file in self.files}
        # Models may be divided into parts differently: the folder and the key identify a tensor.
        self._file_of = {_place(file, key): file for file, handle in self._open.items() for key in handle.keys()}  # noqa: SIM118

    def keys(self, file: str) -> list[str]:
        """Return the keys of the tensors in a file."""
        return list(self._open[file].keys())

    def metadata(self, file: str) -> dict[str, str] | None:
        """Return the metadata that a file has beside its tensors."""
        found: dict[str, str] | None = self._open[file].metadata()
        return found

    def tensor(self, place: tuple[str, str]) -> Tensor:
        """Return the tensor with this folder and key."""
        found: Tensor = self._open[self._file_of[place]].get_tensor(place[1])
        return found

    def check_same(self, other: _Weights) -> None:
        """Raise ``InputError`` if another model has other tensors or shapes."""
        mine, theirs = set(self._file_of), set(other._file_of)
        if mine != theirs:
            only = sorted("/".join(filter(None, place)) for place in mine ^ theirs)
            raise InputError(
                f"{self.name} and {other.name} have different tensors: {len(mine - theirs)} are in the first alone, "
                f"{len(theirs - mine)} in the other alone, such as {only[0]!r}; average models of one architecture"
            )
        for place, file in self._file_of.items():
            shapes = [
                tuple(weights._open[weights._file_of[place]].get_slice(place[1]).get_shape())
                for weights in (self, other)
            ]
            if shapes[0] != shapes[1]:
                raise InputError(
                    f"{file}: {place[1]!r} is {shapes[0]} in {self.name} and {shapes[1]} in {other.name}; average "
                    "models of one architecture and vocabulary"
                )


class _Mean:
    """The mean of several models, computed tensor by tensor."""

    def __init__(self, models: Sequence[_Weights], shares: Sequence[float]) -> None:
        self._models = models
        self._shares = shares
        self.averaged = self.copied = self.parameters = 0
        self._squares = [0.0] * len(models)
        self._length = 0.0

    def tensors(self, file: str) -> Iterator[tuple[str, Tensor]]:
        """Yield the key and the mean of each tensor in one of the first model's files."""
        for key in self._models[0].keys(file):
            place = _place(file, key)
            first = self._models[0].tensor(place)
            if not first.is_floating_point():
                self.copied += 1
                yield key, first
                continue
            given = [model.tensor(place).double() for model in self._models]
            mean = given[0] + sum(
                share * (other - given[0]) for share, other in zip(self._shares[1:], given[1:], strict=True)
            )
            # Where all models are equal, the mean equals them to the last bit, including negative zeros.
            mean = torch.where(mean == given[0], given[0], mean)
            for number, one in enumerate(given):
                self._squares[number] += float((one - mean).square().sum())
            self._length += float(mean.square().sum())
            self.averaged += 1
            self.parameters += mean.numel()
            yield key, mean.to(first.dtype)

    @property
    def distance(self) -> tuple[float, ...]:
        """Distance of each model from the mean; see :class:`AveragingReport`."""
        return tuple(math.sqrt(square / self._length) if self._length else 0.0 for square in self._squares)


def _shares(weights: Sequence[float] | None, count: int) -> list[float]:
    if weights is None:
        return [1 / count] * count
    if len(weights) != count:
        raise InputError(f"{len(weights)} weights for {count} models; give one for each model")
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not sum(weights):
        raise InputError(f"the weights {list(weights)} are not valid; give numbers of 0 or more, not all 0")
    return [weight / sum(weights) for weight in weights]


def _folder(model: str | Path) -> Path:
    """Return the folder of a model, downloaded from the hub if there is no local folder of this name."""
    path = Path(model)
    if path.is_dir():
        check_loads_in_torch(path)
        return path

    def fetch() -> Path:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(str(model), ignore_patterns=[f"*{end}" for end in _OTHER_WEIGHTS]))

    return from_hub(model, fetch)


def _check_same_files(first: Path, first_name: str, other: Path, other_name: str) -> None:
    """Raise ``InputError`` if the modules, settings or tokenizers of two models differ."""
    mine, theirs = ({str(path.relative_to(one)): path for path in _settings(one)} for one in (first, other))
    if mine.keys() != theirs.keys():
        only = min(mine.keys() ^ theirs.keys())
        raise InputError(
            f"{only} is in {first_name if only in mine else other_name} and not in "
            f"{other_name if only in mine else first_name}; average models of one kind"
        )
    for name, path in mine.items():
        if difference := _difference(_read(path), _read(theirs[name])):
            raise InputError(
                f"{name} of {first_name} and of {other_name} differ ({difference}); average models that differ only in "
                "their weights"
            )
    if _tokens(first) != _tokens(other):
        raise InputError(
            f"{first_name} and {other_name} have different tokenizers (tokenizer.json, vocab.txt or a .model); "
            "average models of one vocabulary"
        )


def _settings(folder: Path) -> list[Path]:
    return sorted(path for name in _COMPARED for path in folder.rglob(name) if not _is_ignored(path, folder))


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); fix the model") from error


def _difference(first: Any, other: Any) -> str:
    """Describe the first key in which two settings differ; return an empty string if none does."""
    if not isinstance(first, dict) or not isinstance(other, dict):
        return "" if first == other else "they hold other modules"
    if path := _of_colbert(first):
        first, other = path, _of_colbert(other) or {}
    for key in sorted((first.keys() | other.keys()) - _PROVENANCE):
        if first.get(key) != other.get(key):
            return f"{key}: {first.get(key)!r} and {other.get(key)!r}"
    return ""


def _of_colbert(settings: dict[str, Any]) -> dict[str, Any] | None:
    """Return the settings of a ColBERT checkpoint that affect its vectors, without those of its training.

    Returns ``None`` if the settings are not those of a ColBERT checkpoint.
    """
    keys = ("query_token_id", "doc_token_id", "query_token", "doc_token", "dim", "similarity", "mask_punctuation")
    found = {key: settings[key] for key in keys if key in settings}
    return found if "query_token_id" in found else None


def _tokens(folder: Path) -> dict[str, Any]:
    """Return the vocabularies in a folder: parts of each ``tokenizer.json``, else the bytes of vocabulary files."""
    found: dict[str, Any] = {}
    for path in sorted(path for path in folder.rglob("*") if not _is_ignored(path, folder)):
        name = str(path.relative_to(folder))
        if path.name == "tokenizer.json":
            # Truncation and padding are also stored in this file, but depend on what was encoded last.
            content = _read(path)
            found[name] = [content.get(key) for key in ("model", "added_tokens", "normalizer", "pre_tokenizer")]
        elif path.name in ("vocab.txt", "vocab.json", "merges.txt") or path.suffix == ".model":
            found[name] = path.read_bytes()
    # Newer versions of transformers save only tokenizer.json, which is complete.
    if any(Path(name).name == "tokenizer.json" for name in found):
        return {name: value for name, value in found.items() if Path(name).name == "tokenizer.json"}
    return found


def _copy_files(source: Path, target: Path) -> None:
    for path in sorted(source.rglob("*")):
        if not path.is_file() or _is_ignored(path, source) or path.suffix in (_WEIGHTS, *_OTHER_WEIGHTS):
            continue
        if path.name.startswith(_OF_THE_RUN):
            continue
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        # Copies the content of links, as in the hub's cache, and does not copy permissions.
        shutil.copyfile(path, place)


def _note(folder: Path, names: Sequence[str], shares: Sequence[float]) -> None:
    """Append a note to the model card that states how the weights were made."""
    card = folder / "README.md"
    if card.is_file():
        parts = ", ".join(f"{name} ({share:.3g})" for name, share in zip(names, shares, strict=True))
        with card.open("a", encoding="utf-8") as file:
            file.write(
                f"\n\n---\n\nThe weights are the mean of several models, made with `mlret average`: {parts}. Figures "
                "above are of the first.\n"
            )


def _place(file: str, key: str) -> tuple[str, str]:
    parent = str(Path(file).parent)
    # Modules keep their tensors in different folders; the parts of one model are in the same folder.
    return ("" if parent == "." else parent, key)


def _is_ignored(path: Path, folder: Path) -> bool:
    """Return whether a file is hidden, or belongs to a checkpoint that a trainer left in the folder."""
    return any(part.startswith((".", "checkpoint-")) for part in path.relative_to(folder).parts)
