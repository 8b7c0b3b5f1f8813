"""Average the weights of models: checkpoints of one run, or fine-tunings of one model that complement each other.

JaColBERTv2.5 (arXiv 2407.20750) is the uniform mean of a model and its further training on other data; integer buffers
are the first model's. The mean is taken of the files, one tensor in memory at a time, so that whatever folder the first
model is (of sentence-transformers, with one vector a text or a token, of PyLate, ColBERT, or transformers alone), the
result is the same kind of folder.
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
from mlret.encoders.loading import from_hub
from mlret.errors import InputError

_WEIGHTS = ".safetensors"
# Of a trainer's checkpoint; they belong to the run, not to the model.
_OF_THE_RUN = ("optimizer", "scheduler", "scaler", "rng_state", "trainer_state", "training_args")
# Weights of other libraries: a copy of the first model's would contradict the mean.
_OTHER_WEIGHTS = (".bin", ".pt", ".pth", ".onnx", ".h5", ".msgpack", ".ot", ".gguf")
# What these say of where a model comes from, and how it was saved, may differ.
_PROVENANCE = frozenset(
    {"_name_or_path", "transformers_version", "torch_dtype", "dtype", "architectures", "__version__"}
)
# A trainer writes what it was given on the way; none of it changes a vector.
_COMPARED = ("config.json", "modules.json", "sentence_bert_config.json", "artifact.metadata")
_CALIBRATION = "calibration.safetensors"


@dataclass(frozen=True, slots=True)
class AveragingReport:
    """What was averaged.

    Attributes
    ----------
    models
        Their names.
    weights
        Of each; they sum to 1.
    averaged, copied
        Tensors of floating-point numbers that were averaged, and others that are the first model's.
    parameters
        Numbers in the former.
    distance
        The Euclidean distance of each model's floating-point tensors from the mean, over the length of the mean.
    calibrated
        Whether the model has a calibration, of which the mean is no calibration of the new vectors.
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
        Folders or hub ids, two at least, with weights in safetensors: of sentence-transformers, with one vector a text
        or a token, or of transformers alone; also a trainer's checkpoints. They must be of one architecture and
        tokenizer; how they divide their weights into files does not matter.
    output
        A new folder, of the first model's kind: its files, but the weights, and without what a trainer keeps beside
        them. It appears when it is whole.
    weights
        One a model, by default all the same; they are divided by their sum.

    Returns
    -------
    AveragingReport
        What was done. Means are taken in float64 and kept in the first model's type.

    Raises
    ------
    InputError
        If there are fewer than two models, the weights do not fit, a model has no safetensors, or the models do not
        match; the message says in what they differ.
    """
    if len(models) < 2:
        raise InputError("nothing to average: name at least two models")
    shares = _shares(weights, len(models))
    if (output.exists() and not output.is_dir()) or (output.is_dir() and any(output.iterdir())):
        raise InputError(f"{output} is there already: name a new folder")
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
    """The tensors of a model, in whatever files they are."""

    def __init__(self, folder: Path, name: str, stack: ExitStack) -> None:
        self.name = name
        paths = sorted(path for path in folder.rglob(f"*{_WEIGHTS}") if not _is_beside(path, folder))
        if not paths:
            raise InputError(f"{name}: has no weights in safetensors; load the model and save it again")
        if any(path.name.startswith("adapter_model") for path in paths):
            # The mean of two products is not the product of the means.
            raise InputError(f"{name}: is a low-rank adapter (PEFT); merge each into its model before averaging")
        self.files = [str(path.relative_to(folder)) for path in paths]
        self._open = {file: stack.enter_context(safe_open(folder / file, framework="pt")) for file in self.files}
        # A large model comes in parts, which need not be divided alike: the folder and the key name a tensor.
        self._file_of = {_place(file, key): file for file, handle in self._open.items() for key in handle.keys()}  # noqa: SIM118

    def keys(self, file: str) -> list[str]:
        """The keys of a file's tensors."""
        return list(self._open[file].keys())

    def metadata(self, file: str) -> dict[str, str] | None:
        """What stands in a file beside its tensors."""
        found: dict[str, str] | None = self._open[file].metadata()
        return found

    def tensor(self, place: tuple[str, str]) -> Tensor:
        """A tensor by its place."""
        found: Tensor = self._open[self._file_of[place]].get_tensor(place[1])
        return found

    def check_same(self, other: _Weights) -> None:
        """Fail where another model has other tensors."""
        mine, theirs = set(self._file_of), set(other._file_of)
        if mine != theirs:
            only = sorted("/".join(filter(None, place)) for place in mine ^ theirs)
            raise InputError(
                f"{self.name} and {other.name} have not the same tensors: {len(mine - theirs)} are in the first alone, "
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
    """The mean of models, tensor by tensor."""

    def __init__(self, models: Sequence[_Weights], shares: Sequence[float]) -> None:
        self._models = models
        self._shares = shares
        self.averaged = self.copied = self.parameters = 0
        self._squares = [0.0] * len(models)
        self._length = 0.0

    def tensors(self, file: str) -> Iterator[tuple[str, Tensor]]:
        """The tensors of one of the first model's files."""
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
            # Where all are equal, the mean is what they are to the last bit, also a negative zero.
            mean = torch.where(mean == given[0], given[0], mean)
            for number, one in enumerate(given):
                self._squares[number] += float((one - mean).square().sum())
            self._length += float(mean.square().sum())
            self.averaged += 1
            self.parameters += mean.numel()
            yield key, mean.to(first.dtype)

    @property
    def distance(self) -> tuple[float, ...]:
        """As of :class:`AveragingReport`."""
        return tuple(math.sqrt(square / self._length) if self._length else 0.0 for square in self._squares)


def _shares(weights: Sequence[float] | None, count: int) -> list[float]:
    if weights is None:
        return [1 / count] * count
    if len(weights) != count:
        raise InputError(f"{len(weights)} weights for {count} models; give one a model")
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not sum(weights):
        raise InputError(f"the weights {list(weights)} are no shares; give numbers of 0 or more, not all 0")
    return [weight / sum(weights) for weight in weights]


def _folder(model: str | Path) -> Path:
    """The folder of a model, fetched from the hub if it is none here."""
    path = Path(model)
    if path.is_dir():
        return path

    def fetch() -> Path:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(str(model), ignore_patterns=[f"*{end}" for end in _OTHER_WEIGHTS]))

    return from_hub(model, fetch)


def _check_same_files(first: Path, first_name: str, other: Path, other_name: str) -> None:
    """Fail where the modules, settings or tokenizers of two models differ."""
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
                f"{name} of {first_name} and of {other_name} differ ({difference}); average models that differ in "
                "their weights alone"
            )
    if _tokens(first) != _tokens(other):
        raise InputError(
            f"{first_name} and {other_name} have different tokenizers (tokenizer.json, vocab.txt or a .model); "
            "average models of one vocabulary"
        )


def _settings(folder: Path) -> list[Path]:
    return sorted(path for name in _COMPARED for path in folder.rglob(name) if not _is_beside(path, folder))


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); fix the model") from error


def _difference(first: Any, other: Any) -> str:
    """In which key two settings differ; empty where they do not."""
    if not isinstance(first, dict) or not isinstance(other, dict):
        return "" if first == other else "they hold other modules"
    if path := _of_colbert(first):
        first, other = path, _of_colbert(other) or {}
    for key in sorted((first.keys() | other.keys()) - _PROVENANCE):
        if first.get(key) != other.get(key):
            return f"{key}: {first.get(key)!r} and {other.get(key)!r}"
    return ""


def _of_colbert(settings: dict[str, Any]) -> dict[str, Any] | None:
    """Of a checkpoint of ColBERT, what makes its vectors; the rest is how it was trained, and where."""
    keys = ("query_token_id", "doc_token_id", "query_token", "doc_token", "dim", "similarity", "mask_punctuation")
    found = {key: settings[key] for key in keys if key in settings}
    return found if "query_token_id" in found else None


def _tokens(folder: Path) -> dict[str, Any]:
    """The vocabularies of a folder: of ``tokenizer.json`` the model and added tokens, of other files their bytes."""
    found: dict[str, Any] = {}
    for path in sorted(path for path in folder.rglob("*") if not _is_beside(path, folder)):
        name = str(path.relative_to(folder))
        if path.name == "tokenizer.json":
            # What was cut or padded last is kept there too.
            content = _read(path)
            found[name] = [content.get(key) for key in ("model", "added_tokens", "normalizer", "pre_tokenizer")]
        elif path.name in ("vocab.txt", "vocab.json", "merges.txt") or path.suffix == ".model":
            found[name] = path.read_bytes()
    # Newer versions save tokenizer.json alone, which says it all.
    if any(Path(name).name == "tokenizer.json" for name in found):
        return {name: value for name, value in found.items() if Path(name).name == "tokenizer.json"}
    return found


def _copy_files(source: Path, target: Path) -> None:
    for path in sorted(source.rglob("*")):
        if not path.is_file() or _is_beside(path, source) or path.suffix in (_WEIGHTS, *_OTHER_WEIGHTS):
            continue
        if path.name.startswith(_OF_THE_RUN):
            continue
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        # The content, also where the hub's cache has a link; and not its permissions.
        shutil.copyfile(path, place)


def _note(folder: Path, names: Sequence[str], shares: Sequence[float]) -> None:
    """Say in the model card what the weights are."""
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
    # Tensors of other modules have files of their own names, which parts of one model have not.
    return ("" if parent == "." else parent, key)


def _is_beside(path: Path, folder: Path) -> bool:
    """Whether a file is hidden, or of a checkpoint that a trainer left in the folder."""
    return any(part.startswith((".", "checkpoint-")) for part in path.relative_to(folder).parts)
