"""Load encoders that return one vector per token, and encoders of either kind."""

from __future__ import annotations

from pathlib import Path

from mlret.encoders.encoder import Encoder
from mlret.encoders.light.folder import is_export
from mlret.encoders.loading import (
    BUNDLED,
    check_bundled,
    check_loads_in_torch,
    from_hub,
    is_multi_vector,
    load_encoder,
    load_exported,
    load_in_torch,
    own_modules,
    runs_light,
)
from mlret.encoders.precision import Precision, check_precision
from mlret.encoders.token_encoder import TokenEncoder
from mlret.errors import InputError, first_line, require

AnyEncoder = Encoder | TokenEncoder
# Name of the bundled encoder's multi-vector head.
BUNDLED_TOKENS = "bundled:multi-vector"
# Prefix of the names of encoders that come with mlret.
_BUNDLED = "bundled:"


def load_token_encoder(name: str | Path | None = None, *, device: str | None = None) -> TokenEncoder:
    """Load an encoder that returns one vector per token.

    Parameters
    ----------
    name
        ``None`` or ``"bundled:multi-vector"`` for the bundled encoder's multi-vector head; otherwise a folder or the id
        of a model on the hub. Models of sentence-transformers, PyLate, Stanford's ColBERT and XM-retrievers are
        supported and give the same scores as in those libraries. A model without a projection gets a randomly
        initialised one, which must be trained; :func:`mlret.encoders.late_interaction.multi_vector_encoder` offers more
        options for this.
    device
        ``"cpu"``, ``"cuda"``, …; by default sentence-transformers chooses.

    Returns
    -------
    TokenEncoder
        The encoder, ready to encode.

    Raises
    ------
    InputError
        If the model cannot be loaded.

    Examples
    --------
    >>> import mlret
    >>> encoder = mlret.load_token_encoder()
    >>> tokens = encoder.encode_document(["Der Zug ist pünktlich."])
    >>> tokens[0].shape[1] == encoder.dims
    True
    """
    bundled = name is None or str(name) == BUNDLED_TOKENS
    if name is not None and is_export(Path(name)) and is_multi_vector(Path(name)):
        from mlret.encoders.light.light_encoder import load_light_token_encoder

        return load_exported(load_light_token_encoder, name, device=device)
    if bundled and runs_light(device, "auto"):
        from mlret.encoders.light.light_encoder import load_light_token_encoder

        check_bundled()
        light = load_light_token_encoder(
            BUNDLED, BUNDLED_TOKENS, in_torch=lambda: load_tokens_in_torch(None, device="cpu").model
        )
        if light is not None:
            return light
    return load_tokens_in_torch(None if bundled else name, device=device)


def load_tokens_in_torch(name: str | Path | None = None, *, device: str | None = None) -> TokenEncoder:
    """Load an encoder that returns one vector per token in torch, where it can be trained.

    Parameters
    ----------
    name
        A model folder or the id of a model on the hub; ``None`` loads the bundled encoder.
    device
        ``"cpu"``, ``"cuda"``, …; by default a GPU if there is one.

    Returns
    -------
    TokenEncoder
        The encoder, whose ``model`` is a ``MultiVectorEncoder``.

    Raises
    ------
    InputError
        If the model cannot be loaded.
    MissingExtraError
        If torch is not installed.
    """
    if name is not None:
        check_loads_in_torch(name)
    require("sentence_transformers", extra="train", feature=f"the encoder {name or BUNDLED_TOKENS} in torch")
    from sentence_transformers import MultiVectorEncoder

    from mlret.encoders.adapters import route_if_modular
    from mlret.encoders.colbert_loading import repair_checkpoint
    from mlret.encoders.head import load_head

    if name is None:
        return TokenEncoder(load_head(BUNDLED / "multi-vector", load_in_torch(device=device).model), BUNDLED_TOKENS)
    try:
        if Path(name).is_dir():
            model = MultiVectorEncoder._load_with_module_classes(
                str(name), own_modules(), device=device, local_files_only=True
            )
        else:
            model = from_hub(
                name, lambda: MultiVectorEncoder._load_with_module_classes(str(name), own_modules(), device=device)
            )
        repair_checkpoint(model, name)
        route_if_modular(model)
        return TokenEncoder(model, str(name))
    except (OSError, ValueError, KeyError) as error:
        reason = first_line(error)
        raise InputError(f"{name} cannot be loaded as a multi-vector encoder: {reason}") from error


def load_any_encoder(name: str | Path | None, *, precision: Precision = "auto") -> AnyEncoder:
    """Load a single-vector or multi-vector encoder, depending on what the model folder declares.

    Models from the hub are loaded as single-vector encoders.

    Parameters
    ----------
    name
        A model folder or hub id; ``None`` and names that start with ``bundled:`` are the encoders that come with mlret.
    precision
        As for :func:`mlret.load_encoder`, of encoders with one vector for each text.

    Returns
    -------
    Encoder or TokenEncoder
        The loaded encoder.

    Raises
    ------
    InputError
        If the encoder cannot be loaded or does not support the precision.
    """
    check_precision(precision)
    name, of_tokens = _resolved(name)
    if not of_tokens:
        return load_encoder(name, precision=precision)
    if precision not in ("auto", "float32"):
        raise InputError(f"{name} has a vector for each token and runs in float32 alone; leave the precision out")
    return load_token_encoder(name)


def load_any_in_torch(name: str | Path | None, *, device: str | None = None) -> AnyEncoder:
    """Load a single-vector or multi-vector encoder in torch, as :func:`load_any_encoder` tells them apart.

    Parameters
    ----------
    name
        As for :func:`load_any_encoder`.
    device
        ``"cpu"``, ``"cuda"``, …; by default a GPU if there is one.

    Returns
    -------
    Encoder or TokenEncoder
        The loaded encoder.

    Raises
    ------
    InputError
        If the encoder cannot be loaded.
    MissingExtraError
        If torch is not installed.
    """
    name, of_tokens = _resolved(name)
    if not of_tokens:
        return load_in_torch(name, device=device)
    return load_tokens_in_torch(None if str(name) == BUNDLED_TOKENS else name, device=device)


def _resolved(name: str | Path | None) -> tuple[str | Path | None, bool]:
    """Return the name to load, and whether it is that of an encoder with a vector for each token."""
    if str(name) == BUNDLED_TOKENS:
        return name, True
    if name is None or str(name).startswith(_BUNDLED):
        return None, False
    return name, is_multi_vector(Path(name))


def load_head_of(encoder: Encoder) -> TokenEncoder | None:
    """Load the head with a vector for each token that comes with an encoder.

    Parameters
    ----------
    encoder
        An encoder with one vector for each text.

    Returns
    -------
    TokenEncoder or None
        ``None`` if it has no such head, or only one that needs torch.

    Examples
    --------
    >>> import mlret
    >>> head = load_head_of(mlret.load_encoder())
    >>> head.dims
    128
    """
    if encoder.name.startswith(_BUNDLED):
        return load_token_encoder()
    if encoder.runtime != "light":
        return None
    from mlret.encoders.light.light_encoder import LightEncoder, load_light_token_encoder

    assert isinstance(encoder, LightEncoder)
    return load_light_token_encoder(encoder.folder.path, f"{encoder.name}/multi-vector")
