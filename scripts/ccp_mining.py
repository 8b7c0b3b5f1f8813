"""Mine translations between two New Testaments without their verse numbers, and see what a map fitted to them gives.

    python scripts/ccp_mining.py --data DATA [--cache FOLDER] [--output eval/results/ccp-adaptation]

The alternative to context prediction that needs no translations either: sentences of a language are paired with their
mutual nearest neighbours in a text of the same kind in a language that the encoder knows (Ukrainian), a linear map is
fitted to these pairs by ridge regression, and the mining is repeated with the map. Beside it, the map that the true
pairs of verses give. The test is bitext accuracy with English on the last fifth of NTREX-128, so the kind of text is
another one: the means of both sides are those of NTREX's other documents.
"""

from __future__ import annotations

import gzip
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from ccp_adaptation import Study, Vectors, accuracy, unit

from mlret.data.durable import write_text_atomically
from mlret.data.languages import language_name, normalise_language

BIBLES = {"shi": "Tachelhit-NT", "wol": "Wolof-NT", "ewe": "Ewe-NT"}
_PIVOT = "Ukranian-NT"  # so spelled in the corpus
_ROUNDS = 3
_NEIGHBOURS = 4
_KEPT = 0.7
_RIDGE = 10.0


def read_verses(data: Path, name: str) -> dict[str, str]:
    """Return the verses of a New Testament by their names."""
    found: dict[str, str] = {}
    with gzip.open(data / "bible_nt" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            chapter = json.loads(line)
            pairs = zip(chapter["verse_ids"], chapter["sents"], strict=True)
            found |= {verse: text for verse, text in pairs if text and text.strip()}
    return found


def ridge(own: Vectors, other: Vectors) -> Vectors:
    """Return the matrix that takes centred vectors of one side to those of the other, ``(dims, dims)``."""
    x, y = own - own.mean(0), other - other.mean(0)
    penalty = _RIDGE * np.eye(x.shape[1], dtype=np.float32)
    return np.asarray(np.linalg.solve(x.T @ x + penalty, x.T @ y + penalty), dtype=np.float32)


def mutual_neighbours(one: Vectors, other: Vectors) -> tuple[Any, Any]:
    """Return the rows of mutual nearest neighbours by ratio margin, without the least sure of them."""
    scores = one @ other.T
    own_mean = np.sort(scores, axis=1)[:, -_NEIGHBOURS:].mean(1)
    other_mean = np.sort(scores, axis=0)[-_NEIGHBOURS:].mean(0)
    margin = scores - (own_mean[:, None] + other_mean[None]) / 2
    nearest, back = margin.argmax(1), margin.argmax(0)
    rows = np.flatnonzero(back[nearest] == np.arange(len(nearest)))
    sure = margin[rows, nearest[rows]]
    rows = rows[sure >= np.quantile(sure, 1 - _KEPT)]
    return rows, nearest[rows]


def mined(study: Study, data: Path, code: str, vectors_of: Callable[[str, list[str]], Vectors]) -> dict[str, Any]:
    """Return what mining finds in one language, and what maps fitted to mined and to true pairs give."""
    verses, pivot_verses = read_verses(data, BIBLES[code]), read_verses(data, _PIVOT)
    own = vectors_of(f"{code}-nt", list(verses.values()))
    other = vectors_of("pivot-nt", list(pivot_verses.values()))
    names, places = list(verses), {name: row for row, name in enumerate(pivot_verses)}
    news = study.language_vectors(code)
    mean, english_mean = news[study.text_rows].mean(0), study.english[study.text_rows].mean(0)

    def tested(matrix: Vectors | None) -> float:
        rows = news[study.test] - mean
        rows = rows if matrix is None else rows @ matrix
        return statistics.mean(accuracy(unit(rows), unit(study.english[study.test] - english_mean)))

    shared = np.array([(row, places[name]) for row, name in enumerate(names) if name in places])
    found: dict[str, Any] = {
        "language": code,
        "before": statistics.mean(accuracy(news[study.test], study.english[study.test])),
        "centred": tested(None),
        "true pairs": tested(ridge(own[shared[:, 0]], other[shared[:, 1]])),
    }
    one, two = unit(own - own.mean(0)), unit(other - other.mean(0))
    for number in range(_ROUNDS):
        rows, partners = mutual_neighbours(one, two)
        right = [places.get(names[row]) == partner for row, partner in zip(rows, partners, strict=True)]
        matrix = ridge(own[rows], other[partners])
        found[f"round {number + 1}"] = {"pairs": len(rows), "right": float(np.mean(right)), "test": tested(matrix)}
        one = unit((own - own[rows].mean(0)) @ matrix)
        two = unit(other - other[partners].mean(0))
    return found


def main(
    data: Annotated[Path, typer.Option(help="The folder with bible_nt, ntrex128, tatoeba and mono.")],
    cache: Annotated[Path | None, typer.Option()] = None,
    output: Annotated[Path, typer.Option()] = Path("eval/results/ccp-adaptation"),
) -> None:
    """Mine, fit, test, and write the table."""
    study = Study(data, cache)
    found = [mined(study, data, code, study.vectors) for code in BIBLES]
    header = ["language", "before", "centred", "true pairs of verses", "mined pairs", "right"]
    last = [one[f"round {_ROUNDS}"] for one in found]
    body = [
        [
            language_name(normalise_language(one["language"])),
            *(f"{one[key]:.1f}" for key in ("before", "centred", "true pairs")),
            f"{end['test']:.1f}",
            f"{end['right']:.0%} of {end['pairs']:,}",
        ]
        for one, end in zip(found, last, strict=True)
    ]
    lines = [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *body)]
    write_text_atomically(output / "mining.json", json.dumps(found, indent=1))
    write_text_atomically(output / "mining.md", "\n".join(["# Mined translations", "", *lines]) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    typer.run(main)
