"""The index of a document store: how it is named in a serialised pipeline, and how it is opened."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from mlret.encoders.encoder import Encoder
from mlret.encoders.external import EXTERNAL, ExternalEncoder
from mlret.encoders.multi_vector import AnyEncoder
from mlret.errors import AlreadyExists, InputError
from mlret.index.index import Index
from mlret.index.settings import IndexSettings
from mlret.index.storage.manifest import has_manifest
from mlret.index.store.stored_encoder import reference_of

# The name of the model of which a store knows nothing but the number of dimensions.
_UNNAMED = "haystack"


class EncoderName(NamedTuple):
    """An encoder by its name or folder, and the number of dimensions if mlret does not run it."""

    name: str | None
    embedding_dims: int | None


def name_of(encoder: AnyEncoder | str | Path | None, embedding_dims: int | None = None) -> EncoderName:
    """Return how an encoder is named in a serialised pipeline.

    Parameters
    ----------
    encoder
        The encoder, its folder or its hub id; ``None`` for the default.
    embedding_dims
        The number of dimensions, if mlret does not run the encoder.
    """
    if isinstance(encoder, ExternalEncoder):
        return EncoderName(encoder.name.removeprefix(EXTERNAL), encoder.dims)
    if encoder is None or isinstance(encoder, str | Path):
        return EncoderName(None if encoder is None else str(encoder), embedding_dims)
    return EncoderName(reference_of(encoder), embedding_dims)


def encoder_in(index: Index) -> EncoderName:
    """Return how the encoder of an open index is named in a serialised pipeline."""
    manifest = index.manifest
    if manifest.encoder.startswith(EXTERNAL):
        return EncoderName(manifest.encoder.removeprefix(EXTERNAL), manifest.settings.dims or manifest.dims)
    return EncoderName(manifest.encoder, None)


def open_or_create(
    path: Path, encoder: AnyEncoder | str | Path | None, embedding_dims: int | None, lexical: bool
) -> Index:
    """Open the index in a folder, or create it if there is none.

    Parameters
    ----------
    path
        The folder.
    encoder
        The encoder, as for :func:`name_of`.
    embedding_dims
        The number of dimensions, if mlret does not run the encoder.
    lexical
        Whether a new index gets a lexical channel.

    Raises
    ------
    InputError
        If the folder holds something else, or an index of another encoder or with a vector for each token.
    """
    if embedding_dims is not None and not isinstance(encoder, Encoder):
        encoder = ExternalEncoder(_UNNAMED if encoder is None else str(encoder), embedding_dims)
    if not has_manifest(path):
        try:
            return one_vector_each(Index.create(path, encoder, settings=IndexSettings(lexical=lexical)))
        except AlreadyExists:
            if not has_manifest(path):  # Otherwise another process created it in the meantime.
                raise
    index = one_vector_each(Index.open(path, encoder))
    if isinstance(encoder, ExternalEncoder) and encoder.dims != index.manifest.dims:
        raise InputError(f"{path} holds embeddings of {index.manifest.dims} dimensions, not of {encoder.dims}")
    return index


def one_vector_each(index: Index) -> Index:
    """Return an index unchanged if it has one vector for each document.

    Raises
    ------
    InputError
        If it has several.
    """
    if index.manifest.similarity != "cosine":
        raise InputError(
            f"{index.path} has a vector for each token, but an embedding of Haystack is one vector; build the index "
            "with an encoder that gives one"
        )
    return index
