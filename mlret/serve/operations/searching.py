"""Search an index: one query or many, texts or vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from mlret.encoders.external import ExternalEncoder
from mlret.errors import InputError
from mlret.index.filtering.filters import Where, read_filter
from mlret.index.hits import Hits
from mlret.index.index import Index
from mlret.index.queries import check_filters, check_k, check_queries
from mlret.index.search import Mode, check_mode
from mlret.index.vectors.space import Vectors
from mlret.serve.operations.explaining import Explanation, explain
from mlret.serve.operations.given_numbers import read_vector
from mlret.serve.operations.invalid_values import about, invalid
from mlret.serve.operations.service import Service
from mlret.serve.security.principal import Principal
from mlret.serve.work.handles import Wanted

# Queries that are searched in one step, so that those of other clients come in between.
_TOGETHER = 32


@dataclass(frozen=True, slots=True)
class Search:
    """What to search for.

    Attributes
    ----------
    queries
        Texts; empty if vectors are given.
    languages
        The language of each text, ``None`` to detect it.
    vector
        A vector, or a list of them; in a multi-vector index a query is a list of vectors. ``None`` if texts are given.
    k, where, ids, mode, exact, partial
        As for :meth:`mlret.index.index.Index.search_batch`.
    explain
        Whether to explain the hits, which takes longer.
    """

    queries: Sequence[str] = ()
    languages: Sequence[str | None] = ()
    vector: list[Any] | None = None
    k: int = 10
    where: Where | None = None
    ids: Sequence[str] | None = None
    mode: Mode | None = None
    exact: bool = False
    partial: bool = False
    explain: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What the queries of a search found.

    Attributes
    ----------
    hits
        For each query its hits, best first.
    explanations
        For each query an explanation of each hit; empty unless they were asked for.
    warnings
        Why the filter matches nothing, if nothing was found: perhaps a name is misspelt.
    """

    hits: list[Hits]
    explanations: list[list[Explanation]]
    warnings: list[str]


async def search_index(service: Service, principal: Principal, name: str, wanted: Search) -> Found:
    """Search an index.

    Parameters
    ----------
    service
        The server.
    principal
        Who asks.
    name
        The name of the index.
    wanted
        What to search for.

    Returns
    -------
    Found
        The hits of each query.

    Raises
    ------
    Problem
        If a value is not valid; ``field`` names it.
    """
    served = service.index(principal, name, "read")
    given = None if wanted.vector is None else _many(wanted.vector, served.encoder.similarity)
    count = len(wanted.queries) if given is None else len(given)
    if count * wanted.k > service.settings.most_hits:
        raise invalid(
            f"{count} queries with up to {wanted.k} hits are more than {service.settings.most_hits} hits",
            ["k"],
            "Ask for fewer hits, or send the queries in several requests.",
        )
    with about("k"):
        check_k(wanted.k)
    with about("where"):
        check_filters(wanted.where, None)
    with about("ids"):
        check_filters(None, wanted.ids)
    with about("mode"):
        check_mode(wanted.mode)
    texts: list[str] = []
    languages: list[str | None] = []
    vectors: Any
    if given is not None:
        vectors = await served.handle.read(partial(_checked, vectors=given))
    else:
        with about("query"):
            texts, _ = check_queries(list(wanted.queries), None)
        with about("language"):
            _, languages = check_queries(texts, list(wanted.languages))
        if isinstance(served.encoder, ExternalEncoder):
            raise invalid(
                f"the vectors of this index are made elsewhere, by {served.encoder.name}",
                ["query"],
                "Send the vector of the query instead of its text.",
            )
        if wanted.mode in ("lexical", "hybrid") and not served.lexical:
            raise invalid(
                f"the index has no lexical channel, which mode {wanted.mode!r} needs",
                ["mode"],
                "Search with mode dense, or build the index with lexical: true.",
            )
        vectors = await served.queries(texts, languages)
    found: list[Hits] = []
    for start in range(0, count, _TOGETHER):
        some = slice(start, start + _TOGETHER)
        found += await served.handle.search(
            Wanted(
                vectors[some],
                texts[some],
                languages[some],
                k=wanted.k,
                where=wanted.where,
                ids=wanted.ids,
                mode=wanted.mode,
                exact=wanted.exact,
                partial=wanted.partial,
            )
        )
    explanations = await explain(served, texts, vectors, found, lexical=served.lexical) if wanted.explain else []
    warnings = (
        [] if any(found) or not wanted.where else await served.handle.read(partial(_unmatched, where=wanted.where))
    )
    return Found(found, explanations, warnings)


def _many(vector: list[Any], similarity: str) -> list[Any]:
    """Return a query vector or several as a list of query vectors."""
    depth = 0
    one: Any = vector
    while isinstance(one, list):
        depth, one = depth + 1, one[0] if one else None
    return [vector] if depth == (1 if similarity == "cosine" else 2) else vector


def _unmatched(index: Index, where: Where) -> list[str]:
    condition = read_filter(where)
    return [] if condition is None else list(index.shards.unmatched(condition).values())


def _checked(index: Index, vectors: Sequence[Any]) -> Vectors:
    """Return query vectors that were sent as lists of numbers."""
    cosine = index.manifest.similarity == "cosine"
    found = [read_vector(one) for one in vectors]
    with about("vector"):
        given = [one for one in found if one is not None]
        if len(given) < len(found):
            raise InputError("the vectors are not lists of finite numbers")
        if any(one.ndim != (1 if cosine else 2) or one.shape[-1] != index.manifest.dims for one in given):
            form = "a vector" if cosine else "a list of vectors, one for each token,"
            raise InputError(f"a query of this index is {form} of {index.manifest.dims} numbers")
        return index.shards.space.check_queries(np.stack(given) if cosine else given)
