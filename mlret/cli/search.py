"""`mlret search`: search the documents of an index in any language."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Annotated, Any

import typer

from mlret.cli.places import opened_index
from mlret.client.addresses import is_address
from mlret.errors import InputError


def search(
    place: Annotated[
        str,
        typer.Argument(
            metavar="INDEX",
            help="The folder of the index; or its address on a server, http://HOST:PORT/NAME, with the token in "
            "MLRET_TOKEN.",
        ),
    ],
    query: Annotated[str, typer.Argument(help="What to look for, in any language.")],
    k: Annotated[int, typer.Option("-k", help="How many hits.")] = 5,
    language: Annotated[
        str | None, typer.Option("--language", "-l", help="The language of the query; detected by default.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            "-w",
            metavar="FILTER",
            help="Only such documents: lang=sw, year>=2020, author.name=Ada (nested), title~Berlin (a text or list "
            'that contains it); or JSON, e.g. {"year": {"$gte": 2020}}. All must hold; repeatable.',
        ),
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option("--mode", help="dense, lexical or hybrid. Default: hybrid where the index has a lexical channel."),
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Compare with every document.")] = False,
    rerank: Annotated[
        str | None,
        typer.Option(
            "--rerank",
            metavar="MODEL",
            help="Rank the best documents anew by a slower model: tokens (the bundled encoder's head with a vector for "
            "each token), or the folder or hub id of a cross-encoder or of a multi-vector encoder.",
        ),
    ] = None,
    partial: Annotated[
        bool,
        typer.Option(
            "--partial", help="In an index of shards, search the others if one does not answer, and say which."
        ),
    ] = False,
    candidates: Annotated[
        int | None, typer.Option("--candidates", help="How many documents --rerank ranks anew. Default: 20.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Encoder: a folder or a hub id. Default: the index's own."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Find the documents of an index that are closest in meaning to a query."""
    from mlret.index.filtering.filters import parse_filter
    from mlret.index.queries import check_k, check_queries
    from mlret.index.search import check_mode

    # All of this is checked before the encoder that --model names is loaded, which takes longer.
    check_k(k)
    check_queries([query], language)
    further: dict[str, Any] = {}
    if rerank is not None:
        if is_address(place):
            raise InputError("--rerank needs the folder of an index; a server ranks texts anew at /v2/rerank")
        from mlret.index.reranking import load_reranker

        further = {"rerank": load_reranker(rerank)}
    if candidates is not None:
        if rerank is None:
            raise InputError("--candidates is the number of documents that --rerank ranks anew; give both")
        check_k(candidates, "--candidates")
        further["candidates"] = candidates
    condition, channels = parse_filter(where or []), check_mode(mode)
    with opened_index(place, model) as index:
        how: dict[str, Any] = {"mode": channels, "exact": exact, "partial": partial, **further}
        hits = index.search(query, k, language=language, where=condition, **how)
    if hits.missing:
        print(f"warning: not searched, since they do not answer: {', '.join(hits.missing)}", file=sys.stderr)
    if as_json:
        found = {"query": query, "hits": [dataclasses.asdict(hit) for hit in hits]}
        found |= {"missing": list(hits.missing)} if partial else {}
        typer.echo(json.dumps(found, ensure_ascii=False, indent=1))
        return
    from rich.console import Console

    from mlret.cli.tables import hits_table

    Console().print(hits_table(hits, title=query) if hits else "no documents match")
