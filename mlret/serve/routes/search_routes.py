"""The route of searches."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

from fastapi import APIRouter, Response

from mlret.index.hits import Hit
from mlret.serve.limits.strict_json import StrictRoute
from mlret.serve.operations.searching import Search, search_index
from mlret.serve.routes.bodies import json_answer
from mlret.serve.routes.dependencies import IndexName, Serving, problems
from mlret.serve.schemas.search_models import SearchAnswer, SearchByText, SearchRequest
from mlret.serve.security.authentication import Caller

router = APIRouter(route_class=StrictRoute, tags=["search"])


@router.post(
    "/v1/indexes/{name:name}:search",
    summary="Search an index",
    response_model=SearchAnswer,
    responses=problems("not-found", "invalid"),
)
async def search(name: IndexName, service: Serving, principal: Caller, wanted: SearchRequest) -> Response:
    """Find the documents that are nearest in meaning to a query in any language, or to each of several.

    Send `query` (a text or a list of texts) or `vector` (a vector or a list of vectors).
    """
    if isinstance(wanted, SearchByText):
        queries = [wanted.query] if isinstance(wanted.query, str) else wanted.query
        language = wanted.language
        languages = language if isinstance(language, list) else [language] * len(queries)
        asked = Search(queries, languages, mode=wanted.mode)
    else:
        asked = Search(vector=wanted.vector)
    asked = replace(asked, k=wanted.k, where=wanted.where, ids=wanted.ids, exact=wanted.exact, explain=wanted.explain)
    asked = replace(asked, partial=wanted.partial)
    found = await search_index(service, principal, name, asked)
    results: list[dict[str, Any]] = [
        {"hits": [_shown(hit) for hit in hits], "missing": list(hits.missing)} for hits in found.hits
    ]
    for result, hits, explanations in zip(results, found.hits, found.explanations, strict=False):
        for row, hit, explanation in zip(result["hits"], hits, explanations, strict=True):
            row["explanation"] = {"terms": hit.terms, **explanation.as_json()}
    closing = "], " + json.dumps({"warnings": found.warnings}, ensure_ascii=False)[1:]
    return await json_answer('{"results": [', results, sum(map(len, found.hits)), closing)


def _shown(hit: Hit) -> dict[str, Any]:
    return {
        "rank": hit.rank,
        "id": hit.id,
        "score": hit.score,
        "text": hit.text,
        "lang": hit.language,
        "metadata": hit.metadata,
        "scores": hit.scores,
        "kind": hit.kind,
        "cosine": hit.cosine,
        "passage": hit.passage and asdict(hit.passage),
    }
