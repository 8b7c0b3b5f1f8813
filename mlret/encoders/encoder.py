"""Encode texts as vectors: a sentence-transformers model with mlret's calibration and a fingerprint."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from mlret.encoders.fingerprint import fingerprint_of
from mlret.encoders.precision import Precision, check_precision, fast_precision
from mlret.encoders.texts import checked_texts, languages_of
from mlret.errors import InputError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.model import BaseModel

    from mlret.encoders.calibration import Calibration

Similarity = Literal["cosine", "maxsim"]
Side = Literal["query", "document"]
# What computes the vectors: torch, or onnxruntime where torch is not needed.
Runtime = Literal["torch", "light"]

# A tokenizer that states no length has a number at least this large.
_NO_LIMIT = 10**9


class Encoder:
    """Encode texts of any language as unit vectors, one vector for each text.

    Parameters
    ----------
    model
        A sentence-transformers model, with or without mlret's calibration module. Its maximum sequence length is
        lowered to what its network can process if the tokenizer states a larger length or none.
    name
        Name for messages and manifests: a path or a hub id.
    precision
        ``"float32"`` (or ``"auto"``, the same here), or ``"bfloat16"``, whose vectors are almost equal. If the device
        is slower in it than in float32, a warning is issued and float32 is used instead; ``mlret doctor`` shows which
        precisions are fast.

    Attributes
    ----------
    precision
        The precision in use, which may differ from the requested one.
    runtime
        ``"torch"``, or ``"light"`` if onnxruntime computes the vectors and torch is not needed.

    Raises
    ------
    InputError
        If the precision is unknown, or the model only runs in float32.

    Examples
    --------
    >>> import mlret
    >>> encoder = mlret.load_encoder()
    >>> english, swahili, japanese = encoder.encode(
    ...     ["The train is late.", "Treni imechelewa.", "駅前に図書館がある。"], language=["en", "sw", "ja"]
    ... )
    >>> bool(english @ swahili > english @ japanese)
    True
    """

    similarity: Similarity = "cosine"
    runtime: Runtime = "torch"
    precision: Precision = "float32"

    def __init__(self, model: SentenceTransformer, name: str = "", *, precision: Precision = "float32") -> None:
        check_precision(precision)
        from mlret.encoders.forward import ForwardPass
        from mlret.encoders.longest_input import keep_within_positions

        keep_within_positions(model)
        self.model = model
        self.name = name or type(model).__name__
        suits = ForwardPass.suits(model)
        if not suits and precision not in ("auto", "float32"):
            raise InputError(f"{self.name} is of a kind that mlret runs in float32 alone; leave the precision out")
        self.precision = fast_precision(precision, model.device.type)
        self._forward_pass = ForwardPass(model, self.precision) if suits else None

    def encode(
        self,
        texts: Sequence[str],
        *,
        language: str | Sequence[str | None] | None = None,
        calibrate: bool = True,
        batch_size: int = 64,
        show_progress: bool = False,
    ) -> NDArray[np.float32]:
        """Encode texts.

        Parameters
        ----------
        texts
            A list of ``n`` strings, or any iterable that can be converted to one. A single string is rejected, because
            the result always has one row for each text; use ``encode(["one string"])[0]`` for a single vector.
        language
            The language of all texts, or a sequence with the language of each. Calibration and language adapters use
            it. A text whose language is ``None`` is calibrated with the mean over all languages and goes through the
            adapter of its detected language.
        calibrate
            Whether to apply the calibration module, if the encoder has one.
        batch_size
            Number of texts per forward pass, for models that mlret runs through sentence-transformers. For all other
            models, texts are sorted by length and batched by number of tokens; see
            :class:`mlret.encoders.forward.ForwardPass`.
        show_progress
            Whether to show a progress bar.

        Returns
        -------
        numpy.ndarray
            ``(n, dims)`` float32 array of L2-normalised vectors.

        Raises
        ------
        InputError
            If ``texts`` is a single string or not a list of strings, a text is not valid Unicode, or ``language`` and
            ``texts`` differ in length.

        Examples
        --------
        >>> vectors = encoder.encode(["Treni imechelewa.", "列車が遅れています。"], language=["sw", "ja"])
        >>> vectors.shape, vectors.dtype
        ((2, 384), dtype('float32'))
        """
        texts = checked_texts(texts)
        languages = languages_of(texts, language)
        if not texts:
            return np.empty((0, self.dims), dtype=np.float32)
        texts = tagged(self.model, texts, languages)
        if self.calibration is not None or not self._calibrated or not calibrate:
            vectors = self.embed(texts, batch_size=batch_size, show_progress=show_progress)
            if self.calibration is not None and calibrate:
                vectors = calibrated(self.calibration, vectors, languages)
            return normalised(vectors)
        vectors = np.empty((len(texts), self.dims), dtype=np.float32)
        for code, rows in _by_language(languages).items():
            some = [texts[row] for row in rows]
            vectors[rows] = normalised(self._by_the_library(some, batch_size, show_progress, language=code))
        return vectors

    def encode_query(
        self, texts: Sequence[str], *, language: str | Sequence[str | None] | None = None
    ) -> NDArray[np.float32]:
        """Encode queries: like :meth:`encode`, with the model's query prompt (``"query: "``), if any, before each text.

        Parameters
        ----------
        texts
            A list of ``n`` strings, or any iterable that can be converted to one.
        language
            The language of all texts, or a sequence with the language of each.

        Returns
        -------
        numpy.ndarray
            ``(n, dims)`` float32 array of L2-normalised vectors.

        Raises
        ------
        InputError
            If ``texts`` is a single string or not a list of strings, a text is not valid Unicode, or ``language`` and
            ``texts`` differ in length.

        Examples
        --------
        >>> encoder.encode_query(["Where is the library?"], language="en").shape
        (1, 384)
        """
        return self._behind_prompt("query", texts, language)

    def encode_document(
        self, texts: Sequence[str], *, language: str | Sequence[str | None] | None = None
    ) -> NDArray[np.float32]:
        """Encode documents: like :meth:`encode`, with the model's document prompt, if any, before each text.

        Parameters
        ----------
        texts
            A list of ``n`` strings, or any iterable that can be converted to one.
        language
            The language of all texts, or a sequence with the language of each.

        Returns
        -------
        numpy.ndarray
            ``(n, dims)`` float32 array of L2-normalised vectors.

        Raises
        ------
        InputError
            If ``texts`` is a single string or not a list of strings, a text is not valid Unicode, or ``language`` and
            ``texts`` differ in length.

        Examples
        --------
        >>> encoder.encode_document(["Maktaba iko karibu na kituo.", "図書館は駅前です。"], language=["sw", "ja"]).shape
        (2, 384)
        """
        return self._behind_prompt("document", texts, language)

    def _behind_prompt(
        self, side: Side, texts: Sequence[str], language: str | Sequence[str | None] | None
    ) -> NDArray[np.float32]:
        texts = checked_texts(texts)
        prompt = prompt_of_side(self.model, side)
        if not prompt:
            return self.encode(texts, language=language)
        if not all(getattr(module, "include_prompt", True) for module in self.model.children()):
            # Pooling excludes the prompt's tokens, and only sentence-transformers knows which tokens those are.
            languages = languages_of(texts, language)
            vectors = np.empty((len(texts), self.dims), dtype=np.float32)
            for code, rows in _by_language(languages).items():
                some = tagged(self.model, [texts[row] for row in rows], [code] * len(rows))
                options = {"language": code} if self._calibrated else {}
                vectors[rows] = normalised(self._by_the_library(some, 64, False, prompt=prompt, **options))
            return vectors
        return self.encode([prompt + text for text in texts], language=language)

    def embed(self, texts: Sequence[str], *, batch_size: int = 64, show_progress: bool = False) -> NDArray[np.float32]:
        """Encode texts without calibrating the vectors, or normalising them unless the model itself does.

        Parameters
        ----------
        texts
            A list of ``n`` strings, or any iterable that can be converted to one.
        batch_size
            Number of texts per forward pass, for models that mlret runs through sentence-transformers.
        show_progress
            Whether to show a progress bar.

        Returns
        -------
        numpy.ndarray
            ``(n, dims)`` float32 array; the vectors have the lengths that the model gives them.

        Raises
        ------
        InputError
            If ``texts`` is a single string or not a list of strings, or a text is not valid Unicode.

        Examples
        --------
        >>> encoder.embed(["Der Zug hat Verspätung."]).shape
        (1, 384)
        """
        texts = checked_texts(texts)
        if not texts:
            return np.empty((0, self.dims), dtype=np.float32)
        options = {"calibrate": False} if self._calibrated else {}
        if self._forward_pass is not None:
            return self._forward_pass(texts, show_progress=show_progress, **options)
        return self._by_the_library(texts, batch_size, show_progress, **options)

    def token_counts(self, texts: Sequence[str], *, cut: bool = True) -> list[int]:
        """Return how many tokens of each text the model reads.

        Parameters
        ----------
        texts
            A list of ``n`` strings, or any iterable that can be converted to one.
        cut
            Whether to exclude the tokens beyond the model's largest length, which it does not read.

        Returns
        -------
        list of int
            ``n`` numbers of tokens, special tokens included.

        Raises
        ------
        InputError
            If ``texts`` is a single string or not a list of strings, or the model has no tokenizer.

        Examples
        --------
        >>> short, long = encoder.token_counts(["Habari", "Treni ya Nairobi imechelewa kwa saa moja."])
        >>> short < long
        True
        """
        return tokens_of(self.model, checked_texts(texts), self.name, cut=cut)

    @cached_property
    def longest_document(self) -> int | None:
        """Number of tokens of a document that the model reads, special tokens included; ``None`` if it reads all.

        Returns
        -------
        int or None
            The number of tokens.

        Examples
        --------
        >>> encoder.longest_document
        512
        """
        return longest_document_of(self.model, self.name)

    def _by_the_library(
        self, texts: list[str], batch_size: int, show_progress: bool, **options: Any
    ) -> NDArray[np.float32]:
        vectors = self.model.encode(
            texts, batch_size=batch_size, show_progress_bar=show_progress, convert_to_numpy=True, **options
        )
        return np.asarray(vectors, dtype=np.float32)

    @property
    def calibration(self) -> Calibration | None:
        """The calibration module if it is the model's last module, so that it applies to what :meth:`embed` returns.

        ``None`` if the model has no calibration, has it elsewhere, or truncates its vectors.

        Examples
        --------
        >>> encoder.calibration is None  # The bundled encoder has none; `mlret calibrate` adds one.
        True
        """
        from mlret.encoders.calibration import Calibration

        last = list(self.model.children())[-1]
        return last if isinstance(last, Calibration) and self.model.truncate_dim is None else None

    @cached_property
    def _calibrated(self) -> bool:
        from mlret.encoders.calibration import Calibration

        return any(isinstance(module, Calibration) for module in self.model.children())

    @property
    def calibration_languages(self) -> list[str]:
        """Languages for which the calibration module has statistics; empty if there is no such module.

        Examples
        --------
        >>> encoder.calibration_languages  # The bundled encoder is not calibrated.
        []
        """
        from mlret.encoders.calibration import Calibration

        return [
            code for module in self.model.children() if isinstance(module, Calibration) for code in module.languages
        ]

    @cached_property
    def dims(self) -> int:
        """Number of dimensions of a vector.

        Returns
        -------
        int
            The number of dimensions.

        Raises
        ------
        InputError
            If the model does not state it.

        Examples
        --------
        >>> encoder.dims
        384
        """
        dims = self.model.get_embedding_dimension()
        if dims is None:
            raise InputError(f"{self.name} does not state its number of dimensions: give it a pooling module")
        return dims

    @cached_property
    def fingerprint(self) -> str:
        """Hash of everything that determines a vector: weights, tokenizer, modules, calibration, prompts and dims.

        Vectors of encoders with different fingerprints must never be compared. The fingerprint has 16 hexadecimal
        digits.

        Returns
        -------
        str
            The fingerprint.

        Examples
        --------
        >>> len(encoder.fingerprint)
        16
        """
        return fingerprint_of(self.model, self.dims)

    def __repr__(self) -> str:
        return f"Encoder({self.name!r}, dims={self.dims}, fingerprint={self.fingerprint!r})"


def normalised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``(n, d)`` vectors scaled to unit length, as float32; zero vectors stay zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)


def calibrated(
    calibration: Calibration, vectors: NDArray[np.float32], languages: Sequence[str | None]
) -> NDArray[np.float32]:
    """Apply a calibration module to embeddings.

    Parameters
    ----------
    calibration
        The calibration module.
    vectors
        ``(n, d)`` float32 embeddings before calibration.
    languages
        The ``n`` languages of the embeddings; ``None`` for an unknown language.

    Returns
    -------
    numpy.ndarray
        ``(n, d)`` float32 array of calibrated vectors.
    """
    import torch

    device = next((tensor.device for tensor in calibration.state_dict().values()), torch.device("cpu"))
    moved = np.empty_like(vectors)
    with torch.inference_mode():
        for code, rows in _by_language(languages).items():
            features = {"sentence_embedding": torch.from_numpy(vectors[rows]).to(device)}
            moved[rows] = calibration(features, language=code)["sentence_embedding"].float().cpu().numpy()
    return moved


def tokens_of(model: BaseModel, texts: list[str], name: str, *, cut: bool) -> list[int]:
    """Return how many tokens each text has for a model of sentence-transformers.

    Parameters
    ----------
    model
        The model.
    texts
        ``n`` texts.
    name
        Its name, for messages.
    cut
        As for :meth:`Encoder.token_counts`.

    Returns
    -------
    list of int
        ``n`` numbers of tokens.

    Raises
    ------
    InputError
        If the model has no tokenizer.
    """
    tokenizer: Any = getattr(model, "tokenizer", None)
    if tokenizer is None:
        raise InputError(f"{name} has no tokenizer to count with")
    if not texts:
        return []
    longest = getattr(model, "max_seq_length", None) if cut else None
    if callable(tokenizer):
        limits = {"truncation": True, "max_length": longest} if longest else {"verbose": False}
        found = [len(ids) for ids in tokenizer(texts, **limits)["input_ids"]]
    else:  # one of the tokenizers library
        found = [len(one.ids) for one in tokenizer.encode_batch(texts)]
    return [min(count, longest or count) for count in found]


def longest_document_of(model: Any, name: str) -> int | None:
    """Return the number of tokens of a document that a model reads; ``None`` if there is no limit.

    The tokens are those that :func:`tokens_of` counts; those of the model's prompt are subtracted.

    Parameters
    ----------
    model
        An encoder of sentence-transformers.
    name
        Its name, for messages.

    Returns
    -------
    int or None
        The number of tokens.
    """
    limits = [getattr(model, "max_seq_length", None), getattr(model, "document_length", None)]
    stated = [int(limit) for limit in limits if isinstance(limit, int | float) and 0 < limit < _NO_LIMIT]
    if not stated or getattr(model, "tokenizer", None) is None:
        return None
    prompt = prompt_of_side(model, "document")
    if not prompt:
        return min(stated)
    empty, with_prompt = tokens_of(model, ["", prompt], name, cut=False)
    return min(stated) - (with_prompt - empty)


def prompt_of_side(model: BaseModel, side: Side) -> str:
    """Return the prompt that a model expects before a query or a document (such as ``"query: "``), or ``""``.

    sentence-transformers has three names for a document's prompt: ``document``, ``passage`` and ``corpus``.

    Parameters
    ----------
    model
        Any sentence-transformers model.
    side
        ``"query"`` or ``"document"``.

    Returns
    -------
    str
        The prompt; empty if the model has none.
    """
    names = ("query",) if side == "query" else ("document", "passage", "corpus")
    return next((found for name in names if (found := model.prompts.get(name))), "")


def tagged(model: BaseModel, texts: list[str], languages: Sequence[str | None]) -> list[str]:
    """Return the texts unchanged, or as tagged texts with their languages if the encoder has language adapters.

    Parameters
    ----------
    model
        Any sentence-transformers model.
    texts
        ``n`` texts.
    languages
        The ``n`` languages of the texts; ``None`` for a language to be detected.

    Returns
    -------
    list of str
        The ``n`` texts.
    """
    from mlret.encoders.adapters import TaggedText, routes_texts

    if not routes_texts(model):
        return texts
    return [TaggedText(text, language) for text, language in zip(texts, languages, strict=True)]


def _by_language(languages: Sequence[str | None]) -> dict[str | None, list[int]]:
    rows_of: dict[str | None, list[int]] = defaultdict(list)
    for row, code in enumerate(languages):
        rows_of[code].append(row)
    return rows_of
