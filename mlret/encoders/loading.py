"""Load encoders: the bundled one, a model folder, or a model on the hub."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mlret.encoders.encoder import Encoder
from mlret.encoders.light.folder import PACKED, is_export
from mlret.encoders.precision import Precision, check_precision
from mlret.errors import Corrupt, CorruptInput, InputError, NotFound, first_line, require

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BUNDLED = Path(__file__).parent / "bundled" / "mlret-mini"
BUNDLED_NAME = f"bundled:{BUNDLED.name}"
# The device that the driver of an NVIDIA GPU makes: torch runs faster there, and importing it to ask takes seconds.
_NVIDIA = Path("/dev/nvidia0")
_MULTI_VECTOR = ("MultiVectorEncoder", "ColBERT")  # PyLate writes the second.
_Model = TypeVar("_Model")


def load_encoder(
    name: str | Path | None = None,
    *,
    device: str | None = None,
    precision: Precision = "auto",
) -> Encoder:
    """Load an encoder: with the light runtime, which needs no torch, where it can run it, otherwise in torch.

    The light runtime runs the bundled encoder and folders that were packed or exported for it, on a CPU. Its vectors
    and those of torch may stand in one index.

    Parameters
    ----------
    name
        A model folder or the id of a model on the hub; ``None`` loads the bundled encoder.
    device
        ``"cpu"``, ``"cuda"``, …; by default a GPU if there is one.
    precision
        ``"auto"`` for the fastest way on this processor whose vectors are next to those in float32 (least cosine
        .999); ``"float32"``; or ``"bfloat16"``, which runs in torch, see :class:`Encoder`.

    Returns
    -------
    Encoder
        The encoder, ready to encode.

    Raises
    ------
    InputError
        If the folder is missing, is not a sentence-transformers model, has no weights, or holds a multi-vector model;
        if it is an export, which runs on a CPU alone, and ``device`` or ``precision`` is another; or if the hub does
        not have the model or cannot be reached.
    MissingExtraError
        If the encoder needs torch, which is not installed.
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
    check_precision(precision)
    if name is None:
        check_bundled()
    path = BUNDLED if name is None else Path(name)
    if name is not None and is_multi_vector(path):
        raise InputError(f"{name} gives a vector for each token: load it with mlret.load_token_encoder")
    if name is not None and is_export(path):
        from mlret.encoders.light.light_encoder import load_light_encoder

        return load_exported(load_light_encoder, name, device=device, precision=precision)
    if path.is_dir() and runs_light(device, precision):
        from mlret.encoders.light.light_encoder import load_light_encoder

        light = load_light_encoder(
            path,
            BUNDLED_NAME if name is None else str(name),
            arithmetic="fast" if precision == "auto" else "float32",
            in_torch=lambda: load_in_torch(name, device="cpu").model,
        )
        if light is not None:
            return light
    return load_in_torch(name, device=device, precision=precision)


def load_exported(
    load: Callable[..., _Model | None], name: str | Path, *, device: str | None, precision: Precision = "auto"
) -> _Model:
    """Load an export, which the light runtime alone can run: on the CPU, whether or not there is a GPU.

    Parameters
    ----------
    load
        Loads an encoder from its folder with the light runtime.
    name
        The folder.
    device
        ``"cpu"`` or ``None``.
    precision
        ``"auto"`` or ``"float32"``: an export has the precision that it was written in.

    Returns
    -------
    object
        What ``load`` returns.

    Raises
    ------
    InputError
        If the device or the precision is another, or ``load`` returns nothing because the folder is not as it was
        written.
    """
    if device not in (None, "cpu") or precision not in ("auto", "float32"):
        check_loads_in_torch(name)
    found = load(Path(name), str(name), in_torch=lambda: check_loads_in_torch(name))
    if found is None:
        how = "changed since it was exported" if (Path(name) / PACKED).is_file() else "was not exported by mlret"
        raise CorruptInput(f"{name} {how}: export the encoder again with mlret export MODEL -f onnx")
    return found


def check_loads_in_torch(name: str | Path) -> None:
    """Raise if an encoder is an export.

    Parameters
    ----------
    name
        The encoder's folder or hub id.

    Raises
    ------
    InputError
        If it is.
    """
    if is_export(Path(name)):
        raise InputError(
            f"{name} is an export in ONNX, which can only encode, on a CPU and in its own precision: for all else "
            "name the encoder that it was exported from"
        )


def runs_light(device: str | None, precision: Precision) -> bool:
    """Whether the light runtime, which computes on the CPU alone, is right for a device and a precision."""
    if precision not in ("auto", "float32"):
        return False
    return device == "cpu" if device is not None else not _NVIDIA.exists()


def check_bundled() -> None:
    """Raise if the bundled encoder is missing from the installation.

    Raises
    ------
    Corrupt
        If it is.
    """
    if not (BUNDLED / "modules.json").is_file():
        raise Corrupt(
            f"the bundled encoder is missing from {BUNDLED.parent.name}/{BUNDLED.name}: reinstall mlret, "
            "or name an encoder of your own (`encoder=…`)"
        )


def load_in_torch(
    name: str | Path | None = None,
    *,
    device: str | None = None,
    precision: Precision = "auto",
) -> Encoder:
    """Load an encoder in torch, where it can be trained.

    Parameters
    ----------
    name
        A model folder or the id of a model on the hub; ``None`` loads the bundled encoder.
    device
        ``"cpu"``, ``"cuda"``, …; by default a GPU if there is one.
    precision
        ``"float32"`` (or ``"auto"``, the same here) or ``"bfloat16"``.

    Returns
    -------
    Encoder
        The encoder, whose ``model`` is a ``SentenceTransformer``.

    Raises
    ------
    InputError
        As for :func:`load_encoder`.
    MissingExtraError
        If torch is not installed.
    """
    if name is not None:
        check_loads_in_torch(name)
    require("sentence_transformers", extra="train", feature=f"the encoder {name or BUNDLED_NAME} in torch")
    if name is None:
        check_bundled()
        return Encoder(_load_folder(BUNDLED, device), name=BUNDLED_NAME, precision=precision)
    path = Path(name)
    if path.is_dir():
        return Encoder(_load_folder(path, device), name=str(name), precision=precision)
    from sentence_transformers import SentenceTransformer

    from mlret.encoders.adapters import route_if_modular

    model = from_hub(
        name, lambda: SentenceTransformer._load_with_module_classes(str(name), own_modules(), device=device)
    )
    route_if_modular(model)
    return Encoder(model, name=str(name), precision=precision)


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
        reason = first_line(error)
        raise NotFound(f"{name} is neither a folder nor a model on the hub that can be reached ({reason})") from error


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


def _load_folder(path: Path, device: str | None) -> SentenceTransformer:
    """Load a local folder. Of all code outside sentence-transformers, only mlret's own modules may run."""
    modules = path / "modules.json"
    if not modules.is_file():
        raise NotFound(f"{path} is not an encoder: modules.json is missing; give a sentence-transformers folder")
    if not any(path.rglob("*.safetensors")):
        raise CorruptInput(f"{path} has no weights (*.safetensors): train the encoder, or copy the complete folder")
    from sentence_transformers import SentenceTransformer

    from mlret.encoders.adapters import route_if_modular

    try:
        model = SentenceTransformer._load_with_module_classes(
            str(path), own_modules(), device=device, local_files_only=True
        )
    except (OSError, ValueError, KeyError) as error:
        reason = first_line(error)
        raise CorruptInput(f"{path} cannot be loaded as an encoder: {reason}") from error
    route_if_modular(model)
    return model
