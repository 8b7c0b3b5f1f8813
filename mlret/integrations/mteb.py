"""mlret in mteb: encoders for all tasks, encoders of both kinds with an index for retrieval, and the index alone.

``mteb.evaluate(MtebEncoder(), tasks)`` and ``mteb.evaluate(MtebRetriever("my-colbert"), tasks)`` run an evaluation.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.data.detection import detect_language
from mlret.data.documents import Document
from mlret.data.languages import normalise_language
from mlret.encoders.encoder import Encoder
from mlret.encoders.external import ExternalEncoder
from mlret.encoders.multi_vector import AnyEncoder, load_any_encoder
from mlret.encoders.token_encoder import TokenEncoder
from mlret.errors import InputError
from mlret.index.index import Index
from mlret.index.settings import IndexSettings

_NO_LANGUAGE = "zxx"  # ISO 639-3: no linguistic content, because ids are stored in place of texts


class MtebEncoder:
    """An encoder with one vector per text that implements mteb's ``EncoderProtocol``, for every type of task.

    If the encoder has calibration, it uses the language of the task's subset, or detects the language of each text if a
    subset has several.

    Parameters
    ----------
    encoder
        The encoder, its folder or hub id; the bundled one by default.
    revision
        Revision that mteb files results under; by default the encoder's fingerprint.

    Raises
    ------
    InputError
        If the encoder has a vector for each token; use :class:`MtebRetriever` instead.
    """

    def __init__(self, encoder: AnyEncoder | str | Path | None = None, revision: str | None = None) -> None:
        loaded = _loaded(encoder)
        if isinstance(loaded, TokenEncoder):
            raise InputError(f"{loaded.name} has a vector for each token: give it to MtebRetriever")
        self._encoder: Encoder = loaded
        self.mteb_model_meta = _model_meta(loaded, revision)

    def encode(
        self, inputs: Any, *, task_metadata: Any, hf_split: str, hf_subset: str, prompt_type: Any = None, **kwargs: Any
    ) -> NDArray[np.float32]:
        """Encode texts from mteb.

        Parameters
        ----------
        inputs
            An mteb ``DataLoader`` with ``n`` texts.
        task_metadata, hf_split, hf_subset
            The task, which determines the language of the texts.
        prompt_type
            Whether the texts are queries or documents, for encoders with a prompt for either; ``None`` for neither.
        **kwargs
            ``batch_size``: texts in one forward pass, for texts that are neither.

        Returns
        -------
        numpy.ndarray
            ``(n, dims)`` float32 of unit length.
        """
        texts = [text for batch in inputs for text in batch["text"]]
        languages = _languages(self._encoder, texts, _language(task_metadata, hf_subset))
        side = getattr(prompt_type, "value", prompt_type)
        if side == "query":
            return self._encoder.encode_query(texts, language=languages)
        if side == "document":
            return self._encoder.encode_document(texts, language=languages)
        return self._encoder.encode(texts, language=languages, batch_size=kwargs.get("batch_size", 64))

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Return the cosine of every pair of vectors.

        Parameters
        ----------
        embeddings1, embeddings2
            ``(n, dims)`` and ``(m, dims)`` vectors, or ``(dims,)`` for one. They may be other than :meth:`encode` gave
            them, because mteb can round them to fewer bits.

        Returns
        -------
        torch.Tensor
            ``(n, m)`` float32.
        """
        import torch

        return torch.from_numpy(_unit(embeddings1) @ _unit(embeddings2).T)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Return the cosines of corresponding rows.

        Parameters
        ----------
        embeddings1, embeddings2
            ``(n, dims)`` vectors, as for :meth:`similarity`.

        Returns
        -------
        torch.Tensor
            ``(n,)`` float32.
        """
        import torch

        return torch.from_numpy((_unit(embeddings1) * _unit(embeddings2)).sum(axis=-1))


class MtebRetriever:
    """An encoder of either kind with mlret's index, for mteb's retrieval and reranking tasks.

    It implements mteb's ``SearchProtocol``. The texts are those that mteb gives to any model: a document with its
    title, a query with its instruction, a conversation as one text. Results of an index with settings of its own are
    filed under these settings.

    Parameters
    ----------
    encoder
        The encoder, its folder or hub id; the bundled one by default.
    settings
        Settings of the index.
    exact
        Compare queries with every document. If false, the index is searched with its usual settings.
    revision
        Revision that mteb files results under; by default the encoder's fingerprint.
    """

    def __init__(
        self,
        encoder: AnyEncoder | str | Path | None = None,
        *,
        settings: IndexSettings | None = None,
        exact: bool = True,
        revision: str | None = None,
    ) -> None:
        self._encoder = _loaded(encoder)
        self._settings = settings
        self._exact = exact
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._index: Index | None = None
        self.mteb_model_meta = _model_meta(self._encoder, revision, _experiment(settings, exact))

    def index(
        self,
        corpus: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        num_proc: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Index an mteb corpus in a temporary folder; a previous index is deleted.

        Parameters
        ----------
        corpus
            A data set with the columns ``id``, ``text`` and optionally ``title``. Documents without a text are left
            out.
        task_metadata, hf_split, hf_subset
            The task, which determines the language of the documents.
        num_proc
            Number of processes that prepare the texts.
        **kwargs
            Ignored.
        """
        self.clear()
        self._temporary = tempfile.TemporaryDirectory(prefix="mlret-mteb-")
        self._index = Index.create(Path(self._temporary.name) / "index", self._encoder, settings=self._settings)
        language = _language(task_metadata, hf_subset)
        texts = _texts(corpus, task_metadata, "document", num_proc)
        self._index.add(Document(id, text, language) for id, text in texts if text.strip())
        self._index.compact_if_due()

    def search(
        self,
        queries: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        top_k: int,
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        num_proc: int | None = None,
        **kwargs: Any,
    ) -> dict[str, dict[str, float]]:
        """Search the index with a data set of queries.

        Parameters
        ----------
        queries
            The queries, in the columns ``id``, ``text`` and optionally ``instruction``. A text may be a conversation. A
            query without a text finds nothing.
        task_metadata, hf_split, hf_subset
            The task, which determines the language of the queries.
        top_k
            Number of documents per query.
        top_ranked
            Query id -> the only documents to rank, for reranking.
        num_proc
            Number of processes that prepare the texts.
        **kwargs
            Ignored.

        Returns
        -------
        dict
            Query id -> document id -> score.

        Raises
        ------
        InputError
            If :meth:`index` has not been called.
        """
        if self._index is None:
            raise InputError("nothing was indexed: call index first")
        language = _language(task_metadata, hf_subset)
        texts = dict(_texts(queries, task_metadata, "query", num_proc))
        asked = {name: text for name, text in texts.items() if text.strip()}
        if top_ranked is None:
            found = self._index.search_batch(list(asked.values()), top_k, language=language, exact=self._exact)
        else:
            found = [
                self._index.search(text, top_k, language=language, ids=top_ranked.get(name, ()), exact=True)
                for name, text in asked.items()
            ]
        scores = {name: {hit.id: hit.score for hit in hits} for name, hits in zip(asked, found, strict=True)}
        return {name: scores.get(name, {}) for name in texts}

    def clear(self) -> None:
        """Close and delete the index."""
        if self._index is not None:
            self._index.close()
        if self._temporary is not None:
            self._temporary.cleanup()
        self._index = self._temporary = None


class MtebIndex:
    """An index that mteb fills and searches, with one vector per text or one per token.

    Pass it to ``SearchEncoderWrapper(model, index_backend=MtebIndex())``. Single vectors are compared by cosine and
    token vectors by MaxSim, regardless of the ``similarity_fn`` that mteb passes.

    Parameters
    ----------
    folder
        Where to create the index; by default in a temporary folder, which :meth:`clear` deletes.
    settings
        Settings of the index.
    """

    def __init__(self, folder: str | Path | None = None, settings: IndexSettings | None = None) -> None:
        self._folder = folder
        self._settings = settings
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._index: Index | None = None
        self._positions: dict[str, int] = {}
        self._compacted = False

    def add_documents(self, embeddings: Any, idxs: Sequence[str]) -> None:
        """Add documents to the index.

        Parameters
        ----------
        embeddings
            ``(n, dims)``; or for each document ``(t, dims)``, as a list or padded with zeros to ``(n, t, dims)``.
        idxs
            The documents' ids.

        Raises
        ------
        InputError
            If the shapes do not match, or an id has been added before.
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
        """Return the ``top_k`` best documents for each query, or the best among those in ``top_ranked``.

        Parameters
        ----------
        embeddings
            Vectors of the queries, in a form that :meth:`add_documents` accepts.
        top_k
            Number of documents per query.
        similarity_fn
            Ignored.
        top_ranked, query_idx_to_id
            For each query id, the only documents to rank, and the id of each query.

        Returns
        -------
        (scores, positions)
            For each query, best first. A position is the document's position in the order of addition.

        Raises
        ------
        InputError
            If nothing was added, or ``top_ranked`` is given without ``query_idx_to_id``.
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
        """Close the index, forget its documents, and delete the temporary folder if one was used."""
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


def _loaded(encoder: AnyEncoder | str | Path | None) -> AnyEncoder:
    return encoder if isinstance(encoder, Encoder | TokenEncoder) else load_any_encoder(encoder)


def _model_meta(encoder: AnyEncoder, revision: str | None, experiment: dict[str, Any] | None = None) -> Any:
    """Return mteb's metadata of the model.

    mteb files results under the model's name, revision and experiment; the revision is the fingerprint by default.
    """
    from mteb.models.model_meta import ModelMeta, ScoringFunction

    organisation, _, name = encoder.name.replace(":", "/").rstrip("/").rpartition("/")
    score = ScoringFunction.COSINE if encoder.similarity == "cosine" else ScoringFunction.MAX_SIM
    facts = {
        "name": f"{organisation.rpartition('/')[2] or 'local'}/{name}",
        "revision": revision or encoder.fingerprint,
        "embed_dim": encoder.dims,
        "similarity_fn_name": score,
        "model_type": ["dense" if encoder.similarity == "cosine" else "late-interaction"],
        "experiment_kwargs": experiment,
    }
    return ModelMeta.create_empty(overwrites=facts)


def _experiment(settings: IndexSettings | None, exact: bool) -> dict[str, Any] | None:
    """Return what distinguishes the results of an index from those of its encoder; ``None`` if nothing does."""
    usual = IndexSettings().model_dump()
    found = {name: value for name, value in (settings or IndexSettings()).model_dump().items() if value != usual[name]}
    return (found if exact else {**found, "exact": False}) or None


def _language(task_metadata: Any, hf_subset: str) -> str | None:
    """Return mlret's code of a subset's language; ``None`` if it has several, as in bitext tasks, or is another."""
    codes = task_metadata.hf_subsets_to_langscripts.get(hf_subset, task_metadata.languages)
    try:
        found = {normalise_language(code.split("-")[0]) for code in codes}
    except InputError:  # Some tasks name programming languages.
        return None
    return found.pop() if len(found) == 1 else None


def _texts(data: Any, task_metadata: Any, side: str, num_proc: int | None) -> Iterator[tuple[str, str]]:
    """Yield the id and the text of each document or query, prepared as mteb prepares them for an encoder."""
    from mteb._create_dataloaders import create_dataloader
    from mteb.types import PromptType

    loader = create_dataloader(data, task_metadata=task_metadata, prompt_type=PromptType(side), num_proc=num_proc)
    for batch in loader:
        yield from zip(batch["id"], batch["text"], strict=True)


def _languages(encoder: Encoder, texts: Sequence[str], language: str | None) -> list[str | None]:
    if language is not None or not encoder.calibration_languages:
        return [language] * len(texts)
    return [detect_language(text) for text in texts]


def _vectors(embeddings: Any) -> Any:
    """Return one matrix, or one matrix per text with the zero padding removed."""
    if isinstance(embeddings, list | tuple):
        return [_array(one) for one in embeddings]
    whole = _array(embeddings)
    if whole.ndim == 3:
        return [tokens[tokens.any(axis=1)] for tokens in whole]
    return whole


def _unit(embeddings: Any) -> NDArray[np.float32]:
    """Return embeddings as rows of unit length; a zero vector stays as it is."""
    rows = np.atleast_2d(_array(embeddings))
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1), dtype=np.float32)


def _array(embeddings: Any) -> NDArray[np.float32]:
    found = embeddings.detach().cpu().float().numpy() if hasattr(embeddings, "detach") else embeddings
    return np.asarray(found, dtype=np.float32)
