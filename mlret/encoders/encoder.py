"""Load an encoder and encode texts as vectors.

An encoder is a sentence-transformers model folder; mlret adds a calibration module and a fingerprint.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from mlret.encoders.texts import checked_texts, languages_of
from mlret.errors import Corrupt, CorruptInput, InputError, NotFound

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.model import BaseModel

    from mlret.encoders.calibration import Calibration

BUNDLED = Path(__file__).parent / "bundled" / "mlret-mini"
INT8 = "-int8"
Precision = Literal["float32", "bfloat16", "int8"]
Similarity = Literal["cosine", "maxsim"]
Side = Literal["query", "document"]
_MULTI_VECTOR = ("MultiVectorEncoder", "ColBERT")  # PyLate writes the second.
_Model = TypeVar("_Model")


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
        ``"float32"``, ``"bfloat16"`` or ``"int8"``. Vectors in bfloat16 are almost equal to those in float32. Vectors
        in int8 differ by up to 0.01 in cosine, so the encoder gets a different fingerprint, and ``model`` is changed in
        place. If the device is slower in the requested precision than in float32, a warning is issued and float32 is
        used instead; ``mlret doctor`` shows which precisions are fast.
    emulate
        Compute int8 vectors even if the processor is slow in int8; this takes as long as float32. Use it to search an
        index that was encoded in int8 on another machine.

    Attributes
    ----------
    precision
        The precision in use, which may differ from the requested one.

    Raises
    ------
    InputError
        If the precision is unknown, the model only runs in float32, or int8 is requested on a device other than a CPU.

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
    precision: Precision = "float32"

    def __init__(
        self, model: SentenceTransformer, name: str = "", *, precision: Precision = "float32", emulate: bool = False
    ) -> None:
        check_precision(precision)
        from mlret.encoders.forward import ForwardPass
        from mlret.encoders.longest_input import keep_within_positions

        keep_within_positions(model)
        self.model = model
        self.name = name or type(model).__name__
        suits = ForwardPass.suits(model)
        if not suits and precision != "float32":
            raise InputError(f"{self.name} is of a kind that mlret runs in float32 alone; leave the precision out")
        kept = precision == "int8" and emulate
        self.precision = precision if kept else _worthwhile(precision, model.device.type)
        self._own_fingerprint = self._hashed() + INT8 if self.precision == "int8" else None
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
        >>> encoder.calibration is None
        False
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
        >>> "sw" in encoder.calibration_languages
        True
        """
        from mlret.encoders.calibration import Calibration

        return [
            code for module in self.model.children() if isinstance(module, Calibration) for code in module.languages
        ]

    @cached_property
    def dims(self) -> int:
        """Number of dimensions of a vector.

        Examples
        --------
        >>> encoder.dims
        384
        """
        dims = self.model.get_embedding_dimension()
        if dims is None:
            raise InputError(f"{self.name} does not say how long its vectors are: give it a pooling module")
        return dims

    @cached_property
    def fingerprint(self) -> str:
        """Hash of everything that determines a vector: weights, tokenizer, modules, calibration, prompts and dims.

        Vectors of encoders with different fingerprints must never be compared. The fingerprint has 16 hexadecimal
        digits, followed by ``-int8`` if the precision is int8.

        Examples
        --------
        >>> len(encoder.fingerprint)
        16
        """
        return self._own_fingerprint or self._hashed()

    def _hashed(self) -> str:
        return fingerprint_of(self.model, self.dims)

    def __repr__(self) -> str:
        return f"Encoder({self.name!r}, dims={self.dims}, fingerprint={self.fingerprint!r})"


def check_precision(precision: str) -> None:
    """Check that a precision is known.

    Raises
    ------
    InputError
        If it is not one of :data:`Precision`.
    """
    if precision not in get_args(Precision):
        raise InputError(f"no precision {precision!r}; there are {', '.join(get_args(Precision))}")


def _worthwhile(precision: Precision, device: str) -> Precision:
    """Return the precision, or ``"float32"`` with a warning if the device is slower in that precision."""
    from mlret.encoders.processor import speed_of

    if precision == "float32" or (precision == "int8" and device != "cpu"):  # ForwardPass rejects the latter
        return precision
    speed = speed_of(precision, device)
    if speed.fast:
        return precision
    warnings.warn(
        f"{precision} is slower than float32 here ({speed.reason}): float32 runs in its place; see `mlret doctor`",
        stacklevel=3,
    )
    return "float32"


def fingerprint_of(model: BaseModel, dims: int) -> str:
    """Return the fingerprint, 16 hexadecimal digits, of everything that determines a model's vectors.

    Parameters
    ----------
    model
        Any sentence-transformers model.
    dims
        Number of dimensions of its vectors.
    """
    from mlret.encoders.longest_input import stated_longest_input

    digest = hashlib.sha256()
    for key, tensor in sorted(model.state_dict().items()):
        digest.update(f"{key}:{tuple(tensor.shape)}:{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().float().numpy().tobytes())
    tokenizer = json.loads(model.tokenizer.backend_tokenizer.to_str())
    # Truncation and padding depend on the text that was encoded last.
    tokenizer.pop("truncation"), tokenizer.pop("padding")
    digest.update(json.dumps(tokenizer, sort_keys=True).encode())
    for module in model.children():
        config: dict[str, Any] = getattr(module, "get_config_dict", dict)()
        digest.update(json.dumps([type(module).__qualname__, config], sort_keys=True, default=str).encode())
    digest.update(json.dumps([model.prompts, stated_longest_input(model), dims]).encode())
    return digest.hexdigest()[:16]


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


def prompt_of_side(model: BaseModel, side: Side) -> str:
    """Return the prompt that a model expects before a query or a document (such as ``"query: "``), or ``""``.

    sentence-transformers has three names for a document's prompt: ``document``, ``passage`` and ``corpus``.

    Parameters
    ----------
    model
        Any sentence-transformers model.
    side
        ``"query"`` or ``"document"``.
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
    """
    from mlret.encoders.adapters import TaggedText, routes_texts

    if not routes_texts(model):
        return texts
    return [TaggedText(text, language) for text, language in zip(texts, languages, strict=True)]


def own_modules() -> dict[str, type[Any]]:
    """Map the names that ``modules.json`` has for mlret's modules to their classes.

    Of all code outside the libraries, only these modules may run when a model is loaded.
    """
    from mlret.encoders.adapters import LanguageTransformer
    from mlret.encoders.calibration import Calibration
    from mlret.encoders.quantised import QuantisedTransformer
    from mlret.encoders.query_augmentation import DynamicQueryTransformer
    from mlret.encoders.token_weights import TokenWeights

    modules = (Calibration, DynamicQueryTransformer, LanguageTransformer, QuantisedTransformer, TokenWeights)
    return {f"{module.__module__}.{module.__qualname__}": module for module in modules}


def _by_language(languages: Sequence[str | None]) -> dict[str | None, list[int]]:
    rows_of: dict[str | None, list[int]] = defaultdict(list)
    for row, code in enumerate(languages):
        rows_of[code].append(row)
    return rows_of


def load_encoder(
    name: str | Path | None = None,
    *,
    device: str | None = None,
    precision: Precision = "float32",
    emulate: bool = False,
) -> Encoder:
    """Load an encoder.

    Parameters
    ----------
    name
        A model folder or the id of a model on the hub; ``None`` loads the bundled encoder.
    device
        ``"cpu"``, ``"cuda"``, …; by default sentence-transformers chooses.
    precision
        ``"float32"``, ``"bfloat16"`` or ``"int8"``; see :class:`Encoder`.
    emulate
        Compute int8 vectors even if the processor is slow in int8.

    Returns
    -------
    Encoder
        The encoder, ready to encode.

    Raises
    ------
    InputError
        If the folder is missing, is not a sentence-transformers model, has no weights, or holds a multi-vector model;
        or if the hub does not have the model or cannot be reached.
    MlretError
        If the bundled encoder is missing from the installation.

    Examples
    --------
    >>> import mlret
    >>> encoder = mlret.load_encoder()
    >>> vectors = encoder.encode_document(["Der Zug ist pünktlich."], language="de")
    >>> vectors.shape == (1, encoder.dims)
    True
    """
    if name is None:
        if not (BUNDLED / "modules.json").is_file():
            raise Corrupt(
                f"the bundled encoder is missing from {BUNDLED.parent.name}/{BUNDLED.name}: reinstall mlret, "
                "or name an encoder of your own with --model"
            )
        bundled = _load_folder(BUNDLED, device)
        return Encoder(bundled, name=f"bundled:{BUNDLED.name}", precision=precision, emulate=emulate)
    path = Path(name)
    if is_multi_vector(path):
        raise InputError(f"{name} gives a vector for each token: load it with mlret.load_token_encoder")
    if path.is_dir():
        return Encoder(_load_folder(path, device), name=str(name), precision=precision, emulate=emulate)
    from sentence_transformers import SentenceTransformer

    from mlret.encoders.adapters import route_if_modular

    model = from_hub(
        name, lambda: SentenceTransformer._load_with_module_classes(str(name), own_modules(), device=device)
    )
    route_if_modular(model)
    return Encoder(model, name=str(name), precision=precision, emulate=emulate)


def is_multi_vector(path: Path) -> bool:
    """Whether a folder holds a multi-vector model of sentence-transformers, PyLate or Stanford's ColBERT."""
    try:
        config = path / "config_sentence_transformers.json"
        if config.is_file():
            settings = json.loads(config.read_text(encoding="utf-8"))
            # Earlier versions of PyLate do not write their model type.
            return settings.get("model_type") in _MULTI_VECTOR or "query_prefix" in settings
        architectures = json.loads((path / "config.json").read_text(encoding="utf-8")).get("architectures")
    except (OSError, ValueError):
        return False
    return "HF_ColBERT" in (architectures or [])


def from_hub(name: str | Path, load: Callable[[], _Model]) -> _Model:
    """Load a model that is not a local folder.

    Parameters
    ----------
    name
        The id of a model on the hub.
    load
        Loads the model.

    Returns
    -------
    object
        What ``load`` returns.

    Raises
    ------
    InputError
        If ``name`` looks like a path, or the hub does not have the model or cannot be reached.
    """
    path = Path(name)
    if path.is_absolute() or len(path.parts) > 2 or str(name).startswith((".", "~")):
        raise NotFound(f"no encoder folder at {name}: give a folder that `mlret train` wrote, or a hub id")
    try:
        return load()
    except OSError as error:
        reason = str(error).strip().splitlines()[0]
        raise NotFound(f"{name} is neither a folder nor a model on the hub that can be reached ({reason})") from error


def _load_folder(path: Path, device: str | None) -> SentenceTransformer:
    """Load a local folder. Of all code outside sentence-transformers, only mlret's own modules may run."""
    modules = path / "modules.json"
    if not modules.is_file():
        raise NotFound(f"{path} is no encoder: modules.json is missing; give a sentence-transformers folder")
    if not any(path.rglob("*.safetensors")):
        raise CorruptInput(f"{path} has no weights (*.safetensors): train the encoder, or copy the whole folder")
    from sentence_transformers import SentenceTransformer

    from mlret.encoders.adapters import route_if_modular

    try:
        model = SentenceTransformer._load_with_module_classes(
            str(path), own_modules(), device=device, local_files_only=True
        )
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CorruptInput(f"{path} cannot be loaded as an encoder: {reason}") from error
    route_if_modular(model)
    return model
