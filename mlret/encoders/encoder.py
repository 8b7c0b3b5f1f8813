"""Load an encoder and turn texts into vectors.

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
from mlret.errors import InputError, MlretError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.model import BaseModel

    from mlret.encoders.calibration import Calibration

BUNDLED = Path(__file__).parent / "bundled" / "mlret-mini"
INT8 = "-int8"
Precision = Literal["float32", "bfloat16", "int8"]
Similarity = Literal["cosine", "maxsim"]
Side = Literal["query", "document"]
_MULTI_VECTOR = ("MultiVectorEncoder", "ColBERT")  # the second is PyLate's
_Model = TypeVar("_Model")


class Encoder:
    """Texts of any language to unit vectors, one a text.

    Parameters
    ----------
    model
        A sentence-transformers model, with or without mlret's calibration module. Its longest input is lowered to what
        its network takes, where its tokenizer states more or nothing.
    name
        What to call it in messages and manifests: a path or a hub id.
    precision
        ``"float32"``; ``"bfloat16"``, next to the same; ``"int8"``: its vectors differ by up to a hundredth of a
        cosine, so that the encoder has another fingerprint, and ``model`` is changed in place. Where the device is
        slower in the one asked for than in float32, a warning says so and float32 runs in its place; ``mlret doctor``
        shows which are fast.
    emulate
        Give int8's vectors also where the processor is slow in int8, in the time that float32 takes: for an index that
        was encoded in int8 elsewhere.

    Attributes
    ----------
    precision
        The one that runs.

    Raises
    ------
    InputError
        If the precision is unknown, or int8 is asked for on another device than a CPU.
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
            ``n`` strings in a list, or in anything that can be made a list of. One string alone is refused: the result
            always has a row for each text, ``encode(["one string"])[0]`` is the vector of one.
        language
            The language of all texts, or of each. Calibration and language adapters need it; a text of language
            ``None`` is calibrated by the mean over all languages, and goes through the adapter of the one detected.
        calibrate
            Apply the calibration module, where the encoder has one.
        batch_size
            Texts in one forward pass of a model that mlret leaves to sentence-transformers. For all others batches are
            filled by tokens, over texts sorted by length; see :class:`mlret.encoders.forward.ForwardPass`.
        show_progress
            Show a progress bar.

        Returns
        -------
        numpy.ndarray
            ``(n, dims)`` float32, L2-normalised.

        Raises
        ------
        InputError
            If ``texts`` is one string or no list of strings, a text is not valid Unicode, or ``language`` has another
            length than ``texts``.
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
        """Encode queries: as :meth:`encode`, behind the model's prompt for queries (``"query: "``), if it has one."""
        return self._behind_prompt("query", texts, language)

    def encode_document(
        self, texts: Sequence[str], *, language: str | Sequence[str | None] | None = None
    ) -> NDArray[np.float32]:
        """Encode documents: as :meth:`encode`, behind the model's prompt for documents, if it has one."""
        return self._behind_prompt("document", texts, language)

    def _behind_prompt(
        self, side: Side, texts: Sequence[str], language: str | Sequence[str | None] | None
    ) -> NDArray[np.float32]:
        texts = checked_texts(texts)
        prompt = prompt_of_side(self.model, side)
        if not prompt:
            return self.encode(texts, language=language)
        if not all(getattr(module, "include_prompt", True) for module in self.model.children()):
            # The mean leaves the prompt's tokens out: the library knows which they are.
            languages = languages_of(texts, language)
            vectors = np.empty((len(texts), self.dims), dtype=np.float32)
            for code, rows in _by_language(languages).items():
                some = tagged(self.model, [texts[row] for row in rows], [code] * len(rows))
                options = {"language": code} if self._calibrated else {}
                vectors[rows] = normalised(self._by_the_library(some, 64, False, prompt=prompt, **options))
            return vectors
        return self.encode([prompt + text for text in texts], language=language)

    def embed(self, texts: Sequence[str], *, batch_size: int = 64, show_progress: bool = False) -> NDArray[np.float32]:
        """The embeddings of texts before calibration and at the length that the model gives them.

        Parameters as for :meth:`encode`. Returns ``(n, dims)`` float32.
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
        """The calibration module, where the model ends with it: then it applies to what :meth:`embed` gives."""
        from mlret.encoders.calibration import Calibration

        last = list(self.model.children())[-1]
        return last if isinstance(last, Calibration) and self.model.truncate_dim is None else None

    @cached_property
    def _calibrated(self) -> bool:
        from mlret.encoders.calibration import Calibration

        return any(isinstance(module, Calibration) for module in self.model.children())

    @property
    def calibration_languages(self) -> list[str]:
        """The languages that the calibration module has statistics for; empty without one."""
        from mlret.encoders.calibration import Calibration

        return [
            code for module in self.model.children() if isinstance(module, Calibration) for code in module.languages
        ]

    @cached_property
    def dims(self) -> int:
        """The length of a vector."""
        dims = self.model.get_embedding_dimension()
        if dims is None:
            raise InputError(f"{self.name} does not say how long its vectors are: give it a pooling module")
        return dims

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all that decides a vector: weights, tokenizer, modules, calibration, prompts, dims.

        Vectors of two fingerprints must never be compared. 16 hexadecimal digits, and ``-int8`` for that precision.
        """
        return self._own_fingerprint or self._hashed()

    def _hashed(self) -> str:
        return fingerprint_of(self.model, self.dims)

    def __repr__(self) -> str:
        return f"Encoder({self.name!r}, dims={self.dims}, fingerprint={self.fingerprint!r})"


def check_precision(precision: str) -> None:
    """Fail where there is no such precision.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    if precision not in get_args(Precision):
        raise InputError(f"no precision {precision!r}; there are {', '.join(get_args(Precision))}")


def _worthwhile(precision: Precision, device: str) -> Precision:
    """The precision, or float32 with a warning where the device would be slower in it."""
    from mlret.encoders.processor import speed_of

    if precision == "float32" or (precision == "int8" and device != "cpu"):  # the latter is refused
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
    """16 hexadecimal digits that stand for all that decides a model's vectors of ``dims``."""
    from mlret.encoders.longest_input import stated_longest_input

    digest = hashlib.sha256()
    for key, tensor in sorted(model.state_dict().items()):
        digest.update(f"{key}:{tuple(tensor.shape)}:{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().float().numpy().tobytes())
    tokenizer = json.loads(model.tokenizer.backend_tokenizer.to_str())
    # These two are left behind by whichever text was encoded last.
    tokenizer.pop("truncation"), tokenizer.pop("padding")
    digest.update(json.dumps(tokenizer, sort_keys=True).encode())
    for module in model.children():
        config: dict[str, Any] = getattr(module, "get_config_dict", dict)()
        digest.update(json.dumps([type(module).__qualname__, config], sort_keys=True, default=str).encode())
    digest.update(json.dumps([model.prompts, stated_longest_input(model), dims]).encode())
    return digest.hexdigest()[:16]


def normalised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(n, d)`` vectors at unit length; zero stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)


def calibrated(
    calibration: Calibration, vectors: NDArray[np.float32], languages: Sequence[str | None]
) -> NDArray[np.float32]:
    """What a calibration module makes of ``(n, d)`` embeddings, each of its language."""
    import torch

    device = next((tensor.device for tensor in calibration.state_dict().values()), torch.device("cpu"))
    moved = np.empty_like(vectors)
    with torch.inference_mode():
        for code, rows in _by_language(languages).items():
            features = {"sentence_embedding": torch.from_numpy(vectors[rows]).to(device)}
            moved[rows] = calibration(features, language=code)["sentence_embedding"].float().cpu().numpy()
    return moved


def prompt_of_side(model: BaseModel, side: Side) -> str:
    """What a model wants before its queries or its documents (``"query: "``, ``"passage: "``); ``""`` for nothing.

    sentence-transformers knows a document's prompt by three names.
    """
    names = ("query",) if side == "query" else ("document", "passage", "corpus")
    return next((found for name in names if (found := model.prompts.get(name))), "")


def tagged(model: BaseModel, texts: list[str], languages: Sequence[str | None]) -> list[str]:
    """The texts as they are, or, of an encoder with language adapters, texts that know their language."""
    from mlret.encoders.adapters import TaggedText, routes_texts

    if not routes_texts(model):
        return texts
    return [TaggedText(text, language) for text, language in zip(texts, languages, strict=True)]


def own_modules() -> dict[str, type[Any]]:
    """mlret's modules, by the names that ``modules.json`` has for them: of code outside libraries these alone run."""
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
        ``None`` for the bundled encoder, a folder, or the id of a model on the hub.
    device
        ``"cpu"``, ``"cuda"``, …; by default sentence-transformers chooses.
    precision, emulate
        As for :class:`Encoder`.

    Raises
    ------
    InputError
        If the folder is missing, is no sentence-transformers model, or has no weights.
    """
    if name is None:
        if not (BUNDLED / "modules.json").is_file():
            raise MlretError(
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
    """Whether a folder holds a model with a vector for each token: of sentence-transformers, PyLate or ColBERT."""
    try:
        config = path / "config_sentence_transformers.json"
        if config.is_file():
            settings = json.loads(config.read_text(encoding="utf-8"))
            # PyLate says of itself what it is from its later versions on.
            return settings.get("model_type") in _MULTI_VECTOR or "query_prefix" in settings
        architectures = json.loads((path / "config.json").read_text(encoding="utf-8")).get("architectures")
    except (OSError, ValueError):
        return False
    return "HF_ColBERT" in (architectures or [])


def from_hub(name: str | Path, load: Callable[[], _Model]) -> _Model:
    """Load what is no folder here.

    Raises
    ------
    InputError
        If it looks like a folder, or the hub does not have it or cannot be reached.
    """
    path = Path(name)
    if path.is_absolute() or len(path.parts) > 2 or str(name).startswith((".", "~")):
        raise InputError(f"no encoder folder at {name}: give a folder that `mlret train` wrote, or a hub id")
    try:
        return load()
    except OSError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{name} is neither a folder nor a model on the hub that can be reached ({reason})") from error


def _load_folder(path: Path, device: str | None) -> SentenceTransformer:
    """Load a local folder; of code outside sentence-transformers, only mlret's own modules may run."""
    modules = path / "modules.json"
    if not modules.is_file():
        raise InputError(f"{path} is no encoder: modules.json is missing; give a sentence-transformers folder")
    if not any(path.rglob("*.safetensors")):
        raise InputError(f"{path} has no weights (*.safetensors): train the encoder, or copy the whole folder")
    from sentence_transformers import SentenceTransformer

    from mlret.encoders.adapters import route_if_modular

    try:
        model = SentenceTransformer._load_with_module_classes(
            str(path), own_modules(), device=device, local_files_only=True
        )
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{path} cannot be loaded as an encoder: {reason}") from error
    route_if_modular(model)
    return model
