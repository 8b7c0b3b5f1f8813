"""Combine search by meaning with search by characters, and filter by metadata.

Dense vectors find what a query means, also across languages, but they are vague about names, numbers and product codes.
A lexical channel of character n-grams finds these literally. Hybrid search asks both channels; a document in another
language or script loses nothing because it shares no word with the query.

Run it with ``python examples/hybrid_search_and_filters.py``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import mlret

TICKETS = [
    {"id": "1", "lang": "en", "year": 2023, "text": "The printer LX-4410 jams when it prints on both sides."},
    {"id": "2", "lang": "en", "year": 2024, "text": "The printer LX-4470 loses its network connection overnight."},
    {"id": "3", "lang": "de", "year": 2024, "text": "Der Drucker zieht zwei Blätter gleichzeitig ein."},
    {"id": "4", "lang": "es", "year": 2025, "text": "La pantalla del portátil parpadea después de la actualización."},
    {"id": "5", "lang": "sw", "year": 2025, "text": "Kompyuta inachelewa sana kuwaka asubuhi."},
]


def show(title: str, hits: list[mlret.Hit]) -> None:
    print(f"{title}: {', '.join(hit.id for hit in hits)}")


def main() -> None:
    encoder = mlret.load_encoder()
    settings = mlret.IndexSettings(lexical=True)  # keeps character n-grams beside the vectors
    with (
        tempfile.TemporaryDirectory() as folder,
        mlret.Index.create(Path(folder) / "tickets.index", encoder, settings=settings) as index,
    ):
        index.add(TICKETS)  # keys other than id, text and lang become metadata

        # An index with a lexical channel is searched in hybrid mode unless another mode is asked for.
        best = index.search("LX-4470", k=1)[0]
        print(f"hybrid, a product code: {best.id}, channels: {', '.join(sorted(best.scores))}")
        show("lexical, a product code", index.search("LX-4410", k=1, mode="lexical"))
        show("dense, across languages", index.search("My laptop is slow to start", k=1, mode="dense"))

        # Filters apply before the ranking, so k documents come back wherever k documents pass.
        show("not in English", index.search("printer problem", k=3, where={"lang": {"$ne": "en"}}))
        show("since 2025", index.search("printer problem", k=2, where={"year": {"$gte": 2025}}))
        either = {"$or": [{"lang": "de"}, {"year": 2023}]}
        show("German or from 2023", index.search("paper jam", k=2, where=either))


if __name__ == "__main__":
    main()
