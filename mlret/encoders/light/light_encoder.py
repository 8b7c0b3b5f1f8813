"""Encoders that run without torch: one vector for each text, or one for each token."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlret.encoders.encoder import Encoder, Runtime, Side, normalised
from mlret.encoders.light.calibrating import LightCalibration
from mlret.encoders.light.folder import EXPORTED, PACKED, QUANTISED, LightFolder, PackedFolder
from mlret.encoders.light.integer_graph import Steps
from mlret.encoders.light.mapped import MappedTensors
from mlret.encoders.light.network import Arithmetic, ExportedNetwork, Network, PackedNetwork
from mlret.encoders.light.token_folder import TokenFolder
from mlret.encoders.light.unigram import UnigramTokenizer
from mlret.encoders.light.weights import StoredWeights
from mlret.encoders.precision import Precision
from mlret.encoders.reading import Tokenised
from mlret.encoders.texts import checked_texts, languages_of
from mlret.encoders.token_encoder import Task, TokenEncoder, Tokens
from mlret.errors import InputError

# Texts that are tokenised and sorted together: bounds memory.
_WINDOW = 16_384
# Tokens in one call of the network, at most, unless one text has more: their activations stay in the processor's cache.
_TOKENS = 256


# Loads an encoder's model in torch.
InTorch = Callable[[], Any]


def not_in_torch() -> Any:
    """Say that an encoder cannot be loaded in torch.

    Raises
    ------
    InputError
        Always.
    """
    raise InputError("this encoder was loaded without torch: load it with mlret.load_encoder")


class Batch(NamedTuple):
    """Texts of one length.

    Attributes
    ----------
    rows
        ``(n,)`` positions of the texts.
    ids
        ``(n, t)`` int64 token ids.
    """

    rows: NDArray[np.int64]
    ids: NDArray[np.int64]


def batches(tokens: Sequence[Sequence[int]]) -> Iterator[Batch]:
    """Yield texts in groups of the same number of tokens, so that nothing is padded, the longest first.

    Parameters
    ----------
    tokens
        The token ids of each text.
    """
    by_length: dict[int, list[int]] = defaultdict(list)
    for row, ids in enumerate(tokens):
        by_length[len(ids)].append(row)
    for length in sorted(by_length, reverse=True):
        rows = by_length[length]
        count = max(1, _TOKENS // max(1, length))
        for start in range(0, len(rows), count):
            some = rows[start : start + count]
            matrix = np.array([tokens[row] for row in some], dtype=np.int64).reshape(len(some), length)
            yield Batch(np.array(some, dtype=np.int64), matrix)


class LightEncoder(Encoder):
    """An encoder that gives one vector for each text with NumPy and onnxruntime.

    Its vectors may stand in one index with those of the same encoder in torch: they have the same fingerprint.

    Parameters
    ----------
    folder
        What the encoder's folder says.
    name
        Name for messages and manifests.
    in_torch
        Loads the same encoder in torch, for what needs its modules.
    arithmetic
        How matrices are multiplied; see :class:`mlret.encoders.light.network.PackedNetwork`.

    Attributes
    ----------
    threads
        The number of threads of one call, to be set before the first text is encoded; ``None`` for all. Several threads
        may call one encoder at the same time, which together encode more texts with one thread each.
    """

    runtime: Runtime = "light"
    threads: int | None = None

    def __init__(
        self, folder: LightFolder, name: str = "", *, in_torch: InTorch, arithmetic: Arithmetic = "fast"
    ) -> None:
        self.folder = folder
        self.name = name or str(folder.path)
        self.precision: Precision = "float32" if arithmetic == "float32" else "auto"
        self._in_torch = in_torch
        self._arithmetic: Arithmetic = arithmetic
        self._tokenizer = _tokenizer_of(folder)

    @cached_property
    def model(self) -> Any:  # type: ignore[override]
        """The encoder in torch, which is loaded when something asks for it, such as training."""
        return self._in_torch()

    @cached_property
    def network(self) -> Network:
        """The network; starts when the first text is encoded."""
        return _network_of(self.folder, self._arithmetic, self.threads)

    def encode(
        self,
        texts: Sequence[str],
        *,
        language: str | Sequence[str | None] | None = None,
        calibrate: bool = True,
        batch_size: int = 64,
        show_progress: bool = False,
    ) -> NDArray[np.float32]:
        """Encode texts; see :meth:`mlret.encoders.encoder.Encoder.encode`. ``batch_size`` is not used."""
        texts = checked_texts(texts)
        languages = languages_of(texts, language)
        vectors = self.embed(texts, show_progress=show_progress)
        if self._light_calibration is not None and calibrate and texts:
            vectors = self._light_calibration(vectors, languages)
        return normalised(vectors)

    def embed(self, texts: Sequence[str], *, batch_size: int = 64, show_progress: bool = False) -> NDArray[np.float32]:
        """Encode texts without calibrating the vectors; see :meth:`mlret.encoders.encoder.Encoder.embed`."""
        texts = checked_texts(texts)
        different = list(dict.fromkeys(texts))
        vectors = np.empty((len(different), self.dims), dtype=np.float32)
        with _progress(len(different), show_progress) as progress:
            for start in range(0, len(different), _WINDOW):
                tokens = [
                    self._tokenizer.encode(text, self.folder.longest) for text in different[start : start + _WINDOW]
                ]
                for rows, ids in batches(tokens):
                    hidden = self.network(ids)
                    vectors[start + rows] = hidden[:, 0] if self.folder.pooling == "cls" else hidden.mean(axis=1)
                    progress.update(len(rows))
        if self.folder.normalises:
            vectors = normalised(vectors)
        if len(different) == len(texts):
            return vectors
        place = {text: row for row, text in enumerate(different)}
        return vectors[[place[text] for text in texts]]

    def _behind_prompt(
        self, side: Side, texts: Sequence[str], language: str | Sequence[str | None] | None
    ) -> NDArray[np.float32]:
        prompt = self._prompt(side)
        texts = checked_texts(texts)
        return self.encode([prompt + text for text in texts] if prompt else texts, language=language)

    def _prompt(self, side: str) -> str:
        names = ("query",) if side == "query" else ("document", "passage", "corpus")
        return next((found for name in names if (found := self.folder.prompts.get(name))), "")

    def token_counts(self, texts: Sequence[str], *, cut: bool = True) -> list[int]:
        """Return the number of tokens of each text; see :meth:`mlret.encoders.encoder.Encoder.token_counts`."""
        longest = self.folder.longest if cut else None
        return [len(self._tokenizer.encode(text, longest)) for text in checked_texts(texts)]

    def tokenised(self, texts: Sequence[str]) -> Tokenised:
        """Return the tokens of documents before they are cut; see :func:`mlret.encoders.reading.tokenised`."""
        prompt = self._prompt("document")
        ids = [self._tokenizer.encode(prompt + text) for text in checked_texts(texts)]
        return Tokenised(ids, self.folder.longest, self._tokenizer.unknown)

    @cached_property
    def longest_document(self) -> int | None:
        """Number of tokens of a document that the model reads; see :attr:`.Encoder.longest_document`."""
        prompt = self._prompt("document")
        taken = len(self._tokenizer.encode(prompt)) - len(self._tokenizer.encode("")) if prompt else 0
        return self.folder.longest - taken

    @cached_property
    def _light_calibration(self) -> LightCalibration | None:
        return None if self.folder.calibration is None else LightCalibration(self.folder.calibration)

    @property
    def calibration_languages(self) -> list[str]:
        """Languages for which the calibration module has statistics; empty if there is no such module."""
        return [] if self._light_calibration is None else list(self._light_calibration.languages)

    @cached_property
    def dims(self) -> int:
        """Number of dimensions of a vector."""
        shape = None if (self.folder.path / EXPORTED).is_file() else self.folder.architecture()
        return self.network.dims if shape is None else shape.dims

    @cached_property
    def fingerprint(self) -> str:
        """That of the same encoder in torch; see :attr:`mlret.encoders.encoder.Encoder.fingerprint`."""
        return self.folder.fingerprint

    def __repr__(self) -> str:
        return f"LightEncoder({self.name!r}, dims={self.dims}, fingerprint={self.fingerprint!r})"


class LightTokenEncoder(TokenEncoder):
    """An encoder that gives one vector for each token with NumPy and onnxruntime: a folder's head, or an export.

    Parameters
    ----------
    folder
        What the folder of the export, or of the head's backbone, says.
    name
        Name for messages and manifests.
    in_torch
        As for :class:`LightEncoder`.
    arithmetic
        As for :class:`LightEncoder`.

    Attributes
    ----------
    threads
        As for :class:`LightEncoder`.
    """

    runtime: Runtime = "light"
    threads: int | None = None

    def __init__(
        self, folder: TokenFolder, name: str = "", *, in_torch: InTorch, arithmetic: Arithmetic = "fast"
    ) -> None:
        self.folder = folder
        self.name = name or str(folder.path)
        self._in_torch = in_torch
        self._arithmetic: Arithmetic = arithmetic
        self._tokenizer = _tokenizer_of(folder, added=folder.added)
        self._projection = folder.projection()

    @cached_property
    def model(self) -> Any:  # type: ignore[override]
        """The encoder in torch, which is loaded when something asks for it, such as training."""
        return self._in_torch()

    @cached_property
    def network(self) -> Network:
        """The network; starts when the first text is encoded."""
        network = _network_of(self.folder, self._arithmetic, self.threads)
        return network.with_extra(self.folder.embeddings) if isinstance(network, PackedNetwork) else network

    def token_counts(self, texts: Sequence[str], *, cut: bool = True) -> list[int]:
        """Return the number of tokens of each text; see :meth:`mlret.encoders.encoder.Encoder.token_counts`."""
        texts = checked_texts(texts)
        if cut:
            return [int(length) for length in self._tokens(texts, "document")[1]]
        rules = self.folder.tasks["document"]
        return [(rules.marker is not None) + len(self._tokenizer.encode(rules.prompt + text)) for text in texts]

    def tokenised(self, texts: Sequence[str]) -> Tokenised:
        """Return the tokens of documents before they are cut; see :func:`mlret.encoders.reading.tokenised`."""
        rules = self.folder.tasks["document"]
        marker = [] if rules.marker is None else [rules.marker]
        ids = [[*marker, *self._tokenizer.encode(rules.prompt + text)] for text in checked_texts(texts)]
        return Tokenised(ids, rules.longest, self._tokenizer.unknown)

    @property
    def longest_document(self) -> int | None:
        """Number of tokens of a document that the model reads, its prompt and marker included."""
        return self.folder.tasks["document"].longest

    @cached_property
    def dims(self) -> int:
        """Number of dimensions of a token vector."""
        return self.network.dims if self._projection is None else int(self._projection.shape[1])

    @cached_property
    def fingerprint(self) -> str:
        """That of the same encoder in torch."""
        return self.folder.fingerprint

    def _encode(self, texts: Sequence[str], task: Task, language: str | Sequence[str | None] | None) -> Tokens:
        texts = checked_texts(texts)
        languages_of(texts, language)  # checked as for every encoder; no language adapter uses them
        skipped = self.folder.tasks[task].skipped
        different = list(dict.fromkeys(texts))
        vectors: list[Any] = [None] * len(different)
        for start in range(0, len(different), _WINDOW):
            tokens, lengths = self._tokens(different[start : start + _WINDOW], task)
            for rows, ids_of_rows in batches(tokens):
                found_of_rows = self._vectors(ids_of_rows, lengths[rows], task)
                for row, ids, found in zip(rows, ids_of_rows, found_of_rows, strict=True):
                    kept = found[~np.isin(ids, skipped)] if len(skipped) else found
                    vectors[start + row] = np.ascontiguousarray(kept)
        place = {text: row for row, text in enumerate(different)}
        return [vectors[place[text]] for text in texts]

    def _tokens(self, texts: Sequence[str], task: Task) -> tuple[list[list[int]], NDArray[np.int64]]:
        """Return the ids of each text, and how many of them are not mask tokens that a query is filled with."""
        rules = self.folder.tasks[task]
        tokens = []
        for text in texts:
            if rules.marker is None:
                tokens.append(self._tokenizer.encode(rules.prompt + text, rules.longest))
            else:  # the marker takes the place of a token of the text
                ids = self._tokenizer.encode(text, rules.longest - 1)
                tokens.append([*ids[:1], rules.marker, *ids[1:]])
        lengths = np.array([len(ids) for ids in tokens], dtype=np.int64)
        return tokens if rules.expansion is None else [rules.expansion.filled(ids) for ids in tokens], lengths

    def _vectors(self, ids: NDArray[np.int64], lengths: NDArray[np.int64], task: Task) -> NDArray[np.float32]:
        """Return ``(n, t, dims)`` vectors of unit length of the tokens ``(n, t)``."""
        if self._projection is not None:
            projected: NDArray[np.float32] = self.network(ids) @ self._projection
            projected /= np.maximum(np.linalg.norm(projected, axis=-1, keepdims=True), 1e-12)
            return projected
        expansion = self.folder.tasks[task].expansion
        if expansion is None or expansion.attended:
            return self.network(ids)
        network = self.network
        assert isinstance(network, ExportedNetwork)  # no head fills queries
        return network(ids, np.arange(ids.shape[1]) < lengths[:, None])

    def __repr__(self) -> str:
        return f"LightTokenEncoder({self.name!r}, dims={self.dims}, fingerprint={self.fingerprint!r})"


class _LibraryTokenizer:
    """A tokenizer of the tokenizers library, for those that are not packed."""

    def __init__(self, path: Path) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise InputError(f"{path} needs the package tokenizers: pip install tokenizers") from error
        self._tokenizer = Tokenizer.from_file(str(path))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._longest: int | None = None
        model = self._tokenizer.model
        named = getattr(model, "unk_token", None)
        self.unknown: int | None = getattr(model, "unk_id", None) if named is None else model.token_to_id(named)

    def encode(self, text: str, longest: int | None = None) -> list[int]:
        """Return the ids of a text, special tokens included, at most ``longest``."""
        if longest != self._longest:
            self._longest = longest
            self._tokenizer.no_truncation() if longest is None else self._tokenizer.enable_truncation(longest)
        return list(self._tokenizer.encode(text).ids)


def _tokenizer_of(folder: PackedFolder, *, added: dict[str, int] | None = None) -> UnigramTokenizer | _LibraryTokenizer:
    return folder.tokenizer(added=added) or _LibraryTokenizer(folder.path / "tokenizer.json")


def _network_of(folder: PackedFolder, arithmetic: Arithmetic, threads: int | None) -> Network:
    if (folder.path / EXPORTED).is_file():
        return ExportedNetwork(folder.path / EXPORTED, longest=folder.longest, threads=threads)
    weights = StoredWeights(MappedTensors(folder.path / QUANTISED))
    steps = Steps.read(MappedTensors(folder.path / PACKED))
    return PackedNetwork(weights, folder.architecture(), steps, arithmetic=arithmetic, threads=threads)


class _NoProgress:
    def __enter__(self) -> _NoProgress:
        return self

    def __exit__(self, *ended: object) -> None:
        pass

    def update(self, count: int) -> None:
        """Do nothing."""


def _progress(total: int, show: bool) -> Any:
    if not show:
        return _NoProgress()
    from tqdm.auto import tqdm

    return tqdm(total=total, desc="encoding", unit="text")


def load_light_encoder(
    path: Path, name: str = "", *, in_torch: InTorch = not_in_torch, arithmetic: Arithmetic = "fast"
) -> LightEncoder | None:
    """Load an encoder that runs without torch.

    Parameters
    ----------
    path
        Its folder.
    name
        Name for messages and manifests; by default the folder.
    in_torch
        As for :class:`LightEncoder`; by default there is no such encoder.
    arithmetic
        As for :class:`LightEncoder`.

    Returns
    -------
    LightEncoder or None
        ``None`` if the light runtime cannot run this encoder.
    """
    folder = LightFolder.read(path)
    return None if folder is None else LightEncoder(folder, name, in_torch=in_torch, arithmetic=arithmetic)


def load_light_token_encoder(
    path: Path, name: str = "", *, in_torch: InTorch = not_in_torch, arithmetic: Arithmetic = "fast"
) -> LightTokenEncoder | None:
    """Load an encoder with one vector for each token that runs without torch: a multi-vector head, or an export.

    Parameters
    ----------
    path
        The folder of the export, or of the encoder whose head it is.
    name
        Name for messages and manifests; by default the folder.
    in_torch
        As for :func:`load_light_encoder`.
    arithmetic
        As for :func:`load_light_encoder`.

    Returns
    -------
    LightTokenEncoder or None
        ``None`` if the light runtime cannot run it, or it has no vectors of tokens.
    """
    folder = TokenFolder.read(path)
    return None if folder is None else LightTokenEncoder(folder, name, in_torch=in_torch, arithmetic=arithmetic)
