"""Opens or creates the index of a vector store."""

from __future__ import annotations

from pathlib import Path

from langchain_core.embeddings import Embeddings

from mlret.encoders.external import EXTERNAL, ExternalEncoder
from mlret.errors import FingerprintError, InputError
from mlret.index.index import Index
from mlret.index.settings import IndexSettings, changed_settings
from mlret.index.sharding.shards_manifest import manifest_of
from mlret.index.storage.manifest import Manifest, has_manifest
from mlret.index.store.stored_encoder import check_fingerprint
from mlret.integrations.langchain.embeddings import MlretEmbeddings


def opened(
    index: Index | str | Path,
    own: MlretEmbeddings | None,
    foreign: Embeddings | None,
    settings: IndexSettings | None,
) -> Index:
    """Return the index of a vector store, which is created if there is none in the folder.

    Parameters
    ----------
    index
        An open index, or its folder.
    own, foreign
        The embeddings of the store: mlret's, those of others, or none.
    settings
        The settings of the index; ``None`` for those that it has.

    Raises
    ------
    InputError
        If a stored index does not belong to the embeddings, or has other settings.
    """
    if isinstance(index, Index):
        _check(index.path, index.manifest, own, foreign, settings)
        return index
    path = Path(index)
    if not has_manifest(path):
        return _created(path, own, foreign, settings or IndexSettings())
    manifest = manifest_of(path)
    _check(path, manifest, own, foreign, settings)
    if foreign is not None and manifest.encoder != (name := EXTERNAL + _name_of(foreign)):
        raise FingerprintError(
            f"{path} holds vectors of {manifest.encoder}, not of {name}; if both are the same model, open the index "
            "yourself: MlretVectorStore(mlret.Index.open(folder), embedding)"
        )
    return Index.open(path, None if own is None else own.encoder)


def _created(path: Path, own: MlretEmbeddings | None, foreign: Embeddings | None, settings: IndexSettings) -> Index:
    if foreign is not None:
        dims = len(foreign.embed_query("How many dimensions?"))  # Embeddings do not state it.
        return Index.create(path, ExternalEncoder(_name_of(foreign), dims), settings=settings)
    if own is None:
        return Index.create(path, settings=settings)
    if own.dims is not None:
        settings = changed_settings(settings, {"dims": own.dims})
    return Index.create(path, own.encoder, settings=settings)


def _check(
    path: Path,
    manifest: Manifest,
    own: MlretEmbeddings | None,
    foreign: Embeddings | None,
    settings: IndexSettings | None,
) -> None:
    external = manifest.encoder.startswith(EXTERNAL)
    if external and foreign is None:
        raise InputError(f"{path} holds vectors of {manifest.encoder}, which mlret does not run; give its Embeddings")
    if foreign is not None and not external:
        raise InputError(
            f"{path} holds vectors of mlret's encoder {manifest.encoder}, with which those of "
            f"{type(foreign).__name__} must not be mixed; leave the embedding out, or choose another folder"
        )
    if own is not None:
        check_fingerprint(path, manifest, own.encoder)
        if own.dims not in (None, manifest.dims):
            raise InputError(f"{path} keeps {manifest.dims} dimensions, but the embeddings {own.dims}; give the same")
    if settings is not None and settings != manifest.settings:
        raise InputError(f"{path} was created with other settings; leave them out, or choose another folder")


def _name_of(embedding: Embeddings) -> str:
    """Return a name of the class and the model of embeddings, which almost all state under one of three names."""
    values = (getattr(embedding, name, None) for name in ("model", "model_name", "model_id"))
    model = next((value for value in values if isinstance(value, str)), "")
    return f"langchain:{type(embedding).__name__}" + (f":{model}" if model else "")
