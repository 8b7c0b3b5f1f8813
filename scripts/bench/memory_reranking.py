"""Measure what could be added to the ranking of a memory, and is not: a second look at hits, and windows of turns.

    python scripts/bench/memory_reranking.py [--json FILE]

A memory holds the conversations of `mlret eval memory-conversations` and is asked their questions. The rows: its
defaults; the best 20 or 50 hits ranked anew by the sum of their scores and of the standard scores of MaxSim, by the
bundled encoder's head with a vector for each token; and turns that are stored with the mean of their own vector and
that of the passage around them. Recall is given for both halves of the conversations: what is chosen on one is judged
on the other.

Milliseconds are of processor time for a question: encoding it and the texts of the hits, and comparing them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from mlret.doctor import examine
from mlret.encoders.encoder import Encoder
from mlret.encoders.loading import load_encoder
from mlret.encoders.multi_vector import load_token_encoder
from mlret.encoders.similarity import similarities
from mlret.encoders.token_encoder import TokenEncoder
from mlret.eval.memory.conversation_data import Conversation, read_conversations
from mlret.eval.memory.conversation_report import METRICS, asked_in, evidence_scores, remembering, turns_of
from mlret.eval.registry import BUNDLED
from mlret.eval.significance import bootstrap_interval

DEPTH = 10
WEIGHTS = (0.1, 0.25, 0.5, 1.0)
CANDIDATES = (20, 50)
WINDOWS = ((1, 0), (1, 1), (2, 0))
SHARES = (0.2, 0.5)


def defaults(
    encoder: Encoder, conversations: Sequence[Conversation], vectors: NDArray[np.float32] | None = None
) -> NDArray[np.float64]:
    """Return the metrics of each question, ``(q, metrics)``."""
    with remembering(encoder, conversations, vectors) as memory:
        return np.array(
            [evidence_scores(_ids(one.hits(memory, DEPTH)), one.evidence) for one in asked_in(encoder, conversations)]
        )


def reranked(
    encoder: Encoder, head: TokenEncoder, conversations: Sequence[Conversation]
) -> tuple[dict[str, NDArray[np.float64]], dict[int, float]]:
    """Return the metrics of each number of candidates and weight, and the milliseconds of each number."""
    found: dict[str, list[list[float]]] = {}
    spent: dict[int, list[float]] = {count: [] for count in CANDIDATES}
    with remembering(encoder, conversations) as memory:
        for one in asked_in(encoder, conversations):
            hits = list(one.hits(memory, max(CANDIDATES)))
            for count in CANDIDATES:
                best = hits[:count]
                start = time.process_time()
                compared = _maxsim(head, one.text, [hit.text for hit in best], one.language)
                spent[count].append(1000 * (time.process_time() - start))
                scores = np.array([hit.score for hit in best])
                sums = np.log(scores / (1 - scores))  # A fused score is the logistic function of a sum.
                for weight in WEIGHTS:
                    order = np.argsort(-(sums + weight * compared), kind="stable")
                    ids = _ids([best[place] for place in order.tolist()][:DEPTH])
                    name = f"the best {count} reranked, weight {weight}"
                    found.setdefault(name, []).append(evidence_scores(ids, one.evidence))
    return {name: np.array(rows) for name, rows in found.items()}, {n: float(np.median(ms)) for n, ms in spent.items()}


def windows(encoder: Encoder, conversations: Sequence[Conversation]) -> dict[str, NDArray[np.float64]]:
    """Return the metrics of turns that are stored with a share of the vector of the passage around them."""
    items = turns_of(conversations)
    place_of = {item["id"]: place for place, item in enumerate(items)}
    languages = [item["language"] for item in items]
    own = encoder.encode_document([item["text"] for item in items], language=languages)
    found = {}
    for before, after in WINDOWS:
        passages = [_passage(items, place_of, item["id"], before, after) for item in items]
        around = encoder.encode_document(passages, language=languages)
        for share in SHARES:
            mixed = (1 - share) * own + share * around
            mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
            name = f"{before} turns before and {after} after, a share of {share}"
            found[name] = defaults(encoder, conversations, mixed.astype(np.float32))
    return found


def _passage(items: Sequence[dict[str, Any]], place_of: dict[str, int], id: str, before: int, after: int) -> str:
    session, _, turn = id.rpartition(":")
    near = [f"{session}:{int(turn) + step}" for step in range(-before, after + 1)]
    return "\n".join(items[place_of[one]]["text"] for one in near if one in place_of)


def _maxsim(head: TokenEncoder, query: str, texts: Sequence[str], language: str) -> NDArray[np.float64]:
    """Return the standard scores of texts."""
    [asked] = head.encode_query([query], language=[language])
    scores = np.asarray(similarities(asked, list(head.encode_document(texts, language=[language] * len(texts)))))
    return (scores - scores.mean()) / max(float(scores.std()), 1e-12)


def _ids(hits: Any) -> list[str]:
    return [id for hit in hits for id in (hit.id, *hit.also)][:DEPTH]


def main(json_file: Annotated[Path | None, typer.Option("--json")] = None) -> None:
    """Ask a memory in all these ways."""
    encoder = load_encoder()
    conversations = read_conversations(Path(BUNDLED))
    rows = {"defaults": defaults(encoder, conversations)}
    again, spent = reranked(encoder, load_token_encoder(), conversations)
    rows |= again | windows(encoder, conversations)
    names = [talk.id for talk in conversations]
    of_first = np.array([names.index(one.talk) % 2 == 0 for one in asked_in(encoder, conversations)])
    table = Table(title=f"{len(of_first)} questions, per cent: one half of the conversations, the other, all")
    for column in ("", *METRICS, "change of recall@10", "95 %"):
        table.add_column(column, justify="right" if column else "left")
    figures = {}
    at = METRICS.index("recall@10")
    for name, found in rows.items():
        change = found[:, at] - rows["defaults"][:, at]
        low, high = bootstrap_interval(change, 2_000, np.random.default_rng(0))
        parts = {
            metric: [100 * float(some.mean()) for some in (column[of_first], column[~of_first], column)]
            for metric, column in zip(METRICS, found.T, strict=True)
        }
        figures[name] = parts | {"change_of_recall@10": [100 * float(change.mean()), 100 * low, 100 * high]}
        cells = [" ".join(f"{value:.1f}" for value in values) for values in parts.values()]
        table.add_row(name, *cells, f"{100 * change.mean():+.1f}", f"{100 * low:+.1f} … {100 * high:+.1f}")
    Console(width=160).print(table)
    for count, ms in spent.items():
        Console().print(f"{ms:.1f} ms of processor time to compare {count} hits with a question")
    if json_file is not None:
        found = examine()
        content = {"figures": figures, "rerank_ms": spent, "machine": found.machine, "versions": found.versions}
        json_file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
