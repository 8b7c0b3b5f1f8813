"""Make a multi-vector encoder (one vector per token: late interaction, as in ColBERT) from any other encoder."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from sentence_transformers import MultiVectorEncoder, SentenceTransformer
from sentence_transformers.base.model import BaseModel
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling, MultiVectorMask
from torch import nn

from mlret.encoders.adapters import route_if_modular
from mlret.encoders.colbert_loading import colbert_skiplist
from mlret.encoders.encoder import Encoder
from mlret.encoders.loading import from_hub, load_encoder
from mlret.encoders.longest_input import keep_within_positions
from mlret.encoders.markers import add_markers, choose_markers, prompt_of
from mlret.encoders.punctuation import punctuation_pieces
from mlret.encoders.query_augmentation import DynamicQueryTransformer
from mlret.errors import InputError, first_line

Punctuation = Literal["all", "ascii", "none"]


def multi_vector_encoder(
    model: str | Path | Encoder | SentenceTransformer | None = None,
    *,
    dims: int = 128,
    query_marker: str | None = None,
    document_marker: str | None = None,
    query_length: int | str | None = "dynamic 32",
    attend: bool = False,
    document_length: int | None = None,
    punctuation: Punctuation = "all",
    pool_factor: float = 1.0,
    seed: int = 0,
    device: str | None = None,
) -> MultiVectorEncoder:
    """Make an untrained multi-vector encoder from an encoder's transformer.

    The architecture is that of Khattab and Zaharia 2020 (arXiv 2004.12832): transformer, linear projection without
    bias, normalisation to unit length. Pooling, calibration and token weights are dropped; normalisation would undo the
    effect of a token's weight.

    Parameters
    ----------
    model
        A model folder or hub id (of sentence-transformers or of transformers), or an encoder, which is not changed;
        ``None`` for the bundled encoder. If the transformer has language adapters, texts are routed by language.
    dims
        Number of dimensions of a token vector.
    query_marker
        The marker token after the first token of every query. By default a token that the vocabulary keeps unused
        (``[unused0]``), or otherwise a new token, ``[Q]``, whose embedding must be trained.
    document_marker
        The marker token after the first token of every document; by default ``[unused1]`` or a new token, ``[D]``.
    query_length
        How queries are padded with mask tokens, which can match documents of their own. ``32`` pads to 32 tokens and
        truncates longer queries (ColBERT); ``"dynamic 32"`` pads to the next multiple of 32 (JaColBERTv2.5); ``None``
        does not pad.
    attend
        Whether the query's tokens attend to the mask tokens, as in ColBERT-XM. The mask tokens always attend to the
        query.
    document_length
        Number of tokens to which documents are truncated; by default the maximum that the transformer accepts.
    punctuation
        Which tokens of documents get no vector: punctuation and symbols of all scripts, those of ASCII only (as in
        ColBERT), or none.
    pool_factor
        Average number of a document's tokens that are merged into one (Clavié, Chaffin and Adams 2024, arXiv
        2409.14683); need not be an integer. The default, 1, leaves this to the index, which can do the same.
    seed
        Random seed of the projection and of new markers.
    device
        ``"cpu"``, ``"cuda"``, …; by default sentence-transformers chooses.

    Returns
    -------
    sentence_transformers.MultiVectorEncoder
        Saves and loads like any other model; mlret must be installed if ``query_length`` is dynamic or the model has
        adapters.

    Raises
    ------
    InputError
        If the model cannot be loaded, is already a multi-vector model, or a parameter does not fit it.

    Examples
    --------
    >>> import mlret
    >>> model = mlret.multi_vector_encoder("my-encoder", dims=64)  # a folder; None is the bundled encoder
    >>> model.encode_document(["Treni imechelewa."])[0].shape[1]
    64
    """
    if punctuation not in get_args(Punctuation):
        raise InputError(f"punctuation {punctuation!r}: there are {', '.join(get_args(Punctuation))}")
    if dims < 1 or pool_factor < 1:
        raise InputError(f"dims and pool_factor must be at least 1, not {dims} and {pool_factor}")
    transformer = _transformer_of(model)
    tokenizer = transformer.tokenizer
    if tokenizer.padding_side != "right":
        raise InputError("the tokenizer pads on the left, as those of decoders do: late interaction needs an encoder")
    _set_lengths(transformer, query_length, attend, document_length)
    chosen = choose_markers(tokenizer)
    markers = (query_marker or chosen[0], document_marker or chosen[1])
    add_markers(transformer.model, tokenizer, markers, seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        projection = Dense(
            transformer.get_embedding_dimension(),
            dims,
            bias=False,
            activation_function=nn.Identity(),
            module_input_name="token_embeddings",
        )
    modules: list[nn.Module] = [
        transformer,
        projection.to(transformer.model.dtype),
        MultiVectorMask(skiplist_words=_skipped(tokenizer, punctuation)),
        Normalize(module_input_name="token_embeddings"),
    ]
    if pool_factor > 1:
        modules.append(HierarchicalTokenPooling(pool_factor, num_protected_tokens=1))
    query, document = (prompt_of(tokenizer, marker) for marker in markers)
    made = MultiVectorEncoder(modules=modules, prompts={"query": query, "document": document}, device=device)
    route_if_modular(made)
    return made


def _transformer_of(model: str | Path | Encoder | BaseModel | None) -> Any:
    """Return the first module of a model, which may be changed because nothing else uses it."""
    first: Any
    if model is None or isinstance(model, str | Path):
        loaded = _loaded(model)
        first = loaded[0] if isinstance(loaded, BaseModel) else loaded
    else:
        found = model.model if isinstance(model, Encoder) else model
        if isinstance(found, MultiVectorEncoder):
            raise InputError("the encoder has a vector for each token already: train it as it is")
        if not isinstance(found, BaseModel):
            raise InputError(f"{type(model).__name__} is not an encoder: give a folder, hub id or SentenceTransformer")
        first = copy.deepcopy(found[0])
    if not isinstance(first, Transformer):
        raise InputError(f"late interaction needs a transformer, and the encoder starts with {type(first).__name__}")
    keep_within_positions(first)
    return first


def _loaded(name: str | Path | None) -> Any:
    if name is None or (Path(name) / "modules.json").is_file():
        return load_encoder(name, device="cpu").model
    if not Path(name).is_dir():
        return from_hub(name, lambda: SentenceTransformer(str(name), device="cpu"))
    try:
        return Transformer(str(name), config_kwargs={"local_files_only": True})
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{name} cannot be loaded as a transformer: {first_line(error)}") from error


def _set_lengths(transformer: Any, query_length: int | str | None, attend: bool, document_length: int | None) -> None:
    length, dynamic = _parsed(query_length)
    longest = transformer.tokenizer.model_max_length
    for name, tokens in (("query_length", length), ("document_length", document_length)):
        if tokens is not None and not 4 <= tokens <= longest:
            raise InputError(f"{name} {tokens}: the transformer takes up to {longest} tokens, and 4 are the least")
    transformer.query_length = None
    transformer.document_length = document_length
    transformer.query_expansion = None
    if length is None:
        return
    if transformer.tokenizer.mask_token is None:
        raise InputError("the tokenizer has no mask token to fill queries with: give query_length=None")
    strategy = "min" if dynamic else "fixed"
    transformer.query_expansion = {"strategy": strategy, "attend": attend, "length": length}
    if dynamic:
        if type(transformer) is Transformer:
            transformer.__class__ = DynamicQueryTransformer
        transformer.query_multiple = length


def _parsed(query_length: int | str | None) -> tuple[int | None, bool]:
    """Return the number of tokens, and whether queries are padded to a multiple of it."""
    if query_length is None or (isinstance(query_length, int) and not isinstance(query_length, bool)):
        return query_length, False
    words = str(query_length).split()
    if len(words) != 2 or words[0] != "dynamic" or not words[1].isdecimal():
        raise InputError(f"query_length {query_length!r}: give a number of tokens, 'dynamic 32', or none")
    return int(words[1]), True


def _skipped(tokenizer: Any, punctuation: Punctuation) -> list[str]:
    match punctuation:
        case "all":
            return punctuation_pieces(tokenizer)
        case "ascii":
            return colbert_skiplist(tokenizer)
        case _:
            return []
