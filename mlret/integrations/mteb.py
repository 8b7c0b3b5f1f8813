"""mlret's index behind mteb's retrieval tasks: an ``IndexEncoderSearchProtocol``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.encoders.external import ExternalEncoder
from mlret.errors import InputError
from mlret.index.index import Index
from mlret.index.kinds import IndexSettings

_NO_LANGUAGE = "zxx"  # ISO 639-3: no linguistic content; ids are stored in place of texts


class MtebIndex:
    """An index that mteb fills and searches, with one vector a text or one for each token.

    Give it to ``SearchEncoderWrapper(model, index_backend=MtebIndex())``. Single vectors are compared by cosine, tokens
    by MaxSim, whatever ``similarity_fn`` mteb passes.

    Parameters
    ----------
    folder
        Where the index is made; by default in a temporary folder, which goes with :meth:`clear`.
    settings
        Of the index.
    """

    def __init__(self, folder: str | Path | None = None, settings: IndexSettings | None = None) -> None:
        self._folder = folder
        self._settings = settings
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._index: Index | None = None
        self._positions: dict[str, int] = {}
        self._compacted = False

    def add_documents(self, embeddings: Any, idxs: Sequence[str]) -> None:
        """Add documents.

        Parameters
        ----------
        embeddings
            ``(n, dims)``; or for each document ``(t, dims)``, as a list or padded with zeros to ``(n, t, dims)``.
        idxs
            Their ids.

        Raises
        ------
        InputError
            If the shapes do not fit, or an id has been added before.
        """
        vectors = _vectors(embeddings)
        if not len(idxs):
            return
        if self._index is None:
            self._index = self._create(vectors)
        documents = [{"id": id, "text": id, "lang": _NO_LANGUAGE} for id in idxs]
        self._index.add(documents, vectors=vectors)
        self._positions |= {id: place for place, id in enumerate(idxs, start=len(self._positions))}
        self._compacted = False

    def search(
        self,
        embeddings: Any,
        top_k: int,
        similarity_fn: Callable[..., Any] | None = None,
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        query_idx_to_id: Mapping[int, str] | None = None,
    ) -> tuple[list[list[float]], list[list[int]]]:
        """The ``top_k`` best documents for each query, or the best among those that ``top_ranked`` names for it.

        Parameters
        ----------
        embeddings
            Of queries; as for :meth:`add_documents`.
        top_k
            How many.
        similarity_fn
            Passed over.
        top_ranked, query_idx_to_id
            For each query's id the only documents to rank, and the id of each query.

        Returns
        -------
        (scores, positions)
            For each query, best first; a position counts the documents in the order in which they were added.

        Raises
        ------
        InputError
            If nothing was added, or ``top_ranked`` comes without ``query_idx_to_id``.
        """
        if self._index is None:
            raise InputError("nothing was added to this index: call add_documents first")
        if not self._compacted:
            self._index.compact_if_due()
            self._compacted = True
        queries = _vectors(embeddings)
        if top_ranked is None:
            found = self._index.search_vectors(queries, top_k)
        elif query_idx_to_id is None:
            raise InputError("top_ranked names queries by their ids: give query_idx_to_id, too")
        else:
            among = [top_ranked.get(query_idx_to_id[place], ()) for place in range(len(queries))]
            found = [
                self._index.search_vectors(queries[place : place + 1], top_k, ids=some)[0]
                for place, some in enumerate(among)
            ]
        scores = [[hit.score for hit in hits] for hits in found]
        return scores, [[self._positions[hit.id] for hit in hits] for hits in found]

    def clear(self) -> None:
        """Drop everything, the temporary folder too."""
        if self._index is not None:
            self._index.close()
        if self._temporary is not None:
            self._temporary.cleanup()
        self._index = self._temporary = None
        self._positions = {}

    def _create(self, vectors: Any) -> Index:
        folder = self._folder
        if folder is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="mlret-mteb-")
            folder = Path(self._temporary.name) / "index"
        tokens = isinstance(vectors, list)
        dims = vectors[0].shape[1] if tokens else vectors.shape[1]
        encoder = ExternalEncoder("mteb", dims, "maxsim" if tokens else "cosine")
        return Index.create(folder, encoder, settings=self._settings)


def _vectors(embeddings: Any) -> Any:
    """One matrix, or one for each text without the zeros that it was padded with."""
    if isinstance(embeddings, list | tuple):
        return [_array(one) for one in embeddings]
    whole = _array(embeddings)
    if whole.ndim == 3:
        return [tokens[tokens.any(axis=1)] for tokens in whole]
    return whole


def _array(embeddings: Any) -> NDArray[np.float32]:
    found = embeddings.detach().cpu().float().numpy() if hasattr(embeddings, "detach") else embeddings
    return np.asarray(found, dtype=np.float32)
