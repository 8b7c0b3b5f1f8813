"""Encode texts, and rank documents by a query, for clients that bring their own store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import anyio.to_thread
import numpy as np
from numpy.typing import NDArray

from mlret.encoders.encoder import Encoder, Side, normalised
from mlret.encoders.similarity import similarities
from mlret.serve.operations.invalid_values import about, invalid
from mlret.serve.operations.service import Service
from mlret.serve.security.principal import Principal
from mlret.serve.work.encoders import ServedEncoder

# Texts of one request that wait for the encoder at a time, so that a large one leaves room for others.
_TOGETHER = 128


@dataclass(frozen=True)
class Embedded:
    """The vectors of texts.

    Attributes
    ----------
    model
        The id of the encoder.
    vectors
        ``(n, d)`` float32, L2-normalised.
    tokens
        How many tokens were read.
    """

    model: str
    vectors: NDArray[np.float32]
    tokens: int


@dataclass(frozen=True)
class Reranked:
    """Documents ranked by a query.

    Attributes
    ----------
    model
        The id of the encoder.
    order
        Positions of documents, best first.
    scores
        The score of each of them: (1 + similarity) / 2.
    tokens
        How many tokens were read.
    """

    model: str
    order: list[int]
    scores: list[float]
    tokens: int


async def models(service: Service, principal: Principal) -> list[ServedEncoder]:
    """Return the encoders, the default one first."""
    principal.require("read")
    return await service.catalogue.encoders.all()


async def model(service: Service, principal: Principal, name: str) -> ServedEncoder:
    """Return the encoder of a name.

    Raises
    ------
    NotFound
        If there is none of this name.
    """
    principal.require("read")
    return await service.catalogue.encoders.named(name)


async def embed(
    service: Service,
    principal: Principal,
    texts: Sequence[str],
    *,
    name: str | None = None,
    dims: int | None = None,
    side: Side = "document",
) -> Embedded:
    """Encode texts.

    Parameters
    ----------
    service
        The server.
    principal
        Who asks.
    texts
        ``n`` texts that are not blank.
    name
        The id of an encoder; ``None`` for that of new indexes.
    dims
        The number of dimensions to keep; ``None`` for all.
    side
        What the texts are.

    Raises
    ------
    NotFound
        If there is no such encoder.
    Problem
        If a value is not valid; ``field`` names it.
    """
    principal.require("read")
    served = await service.catalogue.encoders.named(name)
    if not isinstance(served.encoder, Encoder):
        raise invalid(
            f"{served.id} gives a vector for each token, not one for each text",
            ["model"],
            "Name a model of /v1/models whose vectors are of texts.",
        )
    if dims is not None and dims > served.encoder.dims:
        raise invalid(f"{served.id} gives {served.encoder.dims} dimensions, not {dims}", ["dimensions"])
    for place, text in enumerate(texts):
        if not text.strip():
            raise invalid(f"text {place} is blank", ["input", place])
    encode = served.queries if side == "query" else served.passages
    parts, tokens = [], 0
    with about("input"):
        for start in range(0, len(texts), _TOGETHER):
            some = texts[start : start + _TOGETHER]
            parts.append(np.asarray(await encode(some)))
            tokens += sum(await served.counts(some))
    vectors = np.concatenate(parts)
    return Embedded(served.id, vectors if dims is None else normalised(vectors[:, :dims]), tokens)


async def rerank(
    service: Service,
    principal: Principal,
    query: str,
    documents: Sequence[str],
    *,
    name: str | None = None,
    top: int | None = None,
) -> Reranked:
    """Rank documents by a query.

    They are compared by the encoder's head with a vector for each token, if it has one: by the mean, over the tokens of
    the query, of the highest cosine with a token of the document (MaxSim). Otherwise by the cosine.

    Parameters
    ----------
    service
        The server.
    principal
        Who asks.
    query
        A text that is not blank.
    documents
        ``n`` texts.
    name
        The id of an encoder; ``None`` for that of new indexes.
    top
        The number of documents to return; ``None`` for all.

    Raises
    ------
    NotFound
        If there is no such encoder.
    Problem
        If a value is not valid; ``field`` names it.
    """
    principal.require("read")
    encoders = service.catalogue.encoders
    if not query.strip():
        raise invalid("the query is blank", ["query"], "Write a few words.")
    named = await encoders.named(name)
    served = await encoders.reranking(named)
    with about("query"):
        [vector] = await served.queries([query])
        tokens = sum(await served.counts([query]))
    similar: list[float] = []
    with about("documents"):
        for start in range(0, len(documents), _TOGETHER):
            some = documents[start : start + _TOGETHER]
            vectors = list(await served.passages(some))
            similar += (await anyio.to_thread.run_sync(similarities, vector, vectors)).tolist()
            tokens += sum(await served.counts(some))
    scores = np.clip((1 + np.array(similar)) / 2, 0, 1)
    order = np.argsort(-scores, kind="stable")[:top]
    return Reranked(named.id, order.tolist(), scores[order].tolist(), tokens)


def text_of(document: str | dict[str, object], fields: Sequence[str] | None, place: int) -> str:
    """Return the text of a document to rank.

    Parameters
    ----------
    document
        A text, or an object.
    fields
        The keys of the object whose values count; ``None`` for ``text``.
    place
        The position of the document in the request.

    Raises
    ------
    Problem
        If the object lacks one of them, or it is not a text.
    """
    if isinstance(document, str):
        return document
    found = []
    for name in fields or ["text"]:
        value = document.get(name)
        if not isinstance(value, str):
            raise invalid(f"document {place} has no text {name!r}", ["documents", place, name])
        found.append(value)
    return "\n".join(found)
