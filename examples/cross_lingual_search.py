"""Index texts in several languages and search them from any other.

The bundled encoder maps texts with the same meaning to nearby vectors, whatever their language. The index stores the
texts and their vectors in one folder; a query in any language finds the passage that answers it.

Run it with ``python examples/cross_lingual_search.py``; it needs no network and no data.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import mlret

DOCUMENTS = [
    {"id": "fish", "lang": "sw", "text": "Mama alinunua samaki wawili na ndizi kutoka sokoni."},
    {"id": "train", "lang": "de", "text": "Der Zug ans Meer fährt um sieben Uhr morgens ab."},
    {"id": "key", "lang": "ar", "text": "مفتاح البيت الاحتياطي عند جارتنا في الطابق الثاني."},
    {"id": "bicycle", "lang": "hi", "text": "मेरी साइकिल का पिछला पहिया टूट गया है।"},
    {"id": "dentist", "lang": "ja", "text": "来週の月曜日に歯医者の予約があります。"},
]

# Each question is asked in a language that none of the documents is written in, with the document that answers it.
QUESTIONS = [
    ("When does the train to the sea leave?", "train"),
    ("¿Quién tiene la llave de repuesto de la casa?", "key"),
    ("Что сломалось у велосипеда?", "bicycle"),
    ("我什么时候去看牙医？", "dentist"),
]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "notes.index"
        encoder = mlret.load_encoder()  # the bundled encoder; a folder or a hub id loads another one

        with mlret.Index.create(path, encoder) as index:
            index.add(DOCUMENTS)  # when the call returns, the documents are on disk

        # An index is a folder: open it again later, or in another process, without encoding anything again.
        with mlret.Index.open(path, encoder) as index:
            print(f"{len(index)} documents in {len(index.info().languages)} languages")
            for question, expected in QUESTIONS:
                hit = index.search(question, k=1)[0]
                mark = "right" if hit.id == expected else "wrong"
                print(f"{mark}  {hit.score:.3f}  {question}  ->  [{hit.language}] {hit.text}")


if __name__ == "__main__":
    main()
