"""Notes on what the encoder of an index does not read of documents that it encodes."""

from __future__ import annotations

from collections.abc import Sequence

from mlret.data.documents import Document
from mlret.data.scripts import scripts_of
from mlret.encoders.known_languages import Languages, languages_known_to
from mlret.encoders.multi_vector import AnyEncoder
from mlret.encoders.reading import Reading, readings_of
from mlret.index.storage.unread import Note

# Unknown tokens, from this share of a text's tokens on, are more than a few emoji: a tokenizer merges neighbouring
# unknown characters, so that a word in a script that it lacks is two tokens, the space and one unknown.
_UNKNOWN_SHARE = 0.2
# The detected language of a shorter text is too often wrong to warn of it.
_LEAST_CHARACTERS = 100


def notes_of(
    encoder: AnyEncoder, documents: Sequence[Document], detected: Sequence[bool] | None = None
) -> list[Note | None]:
    """Return what an encoder does not read of documents.

    Parameters
    ----------
    encoder
        The encoder.
    documents
        ``n`` documents.
    detected
        Which of their languages were detected instead of given; none by default.

    Returns
    -------
    list of Note or None
        ``n`` notes; ``None`` for a document that is read completely.
    """
    known = languages_known_to(encoder)
    readings = readings_of(encoder, [document.text for document in documents])
    return [
        _note(
            document,
            None if readings is None else readings[place],
            known if detected is None or not detected[place] or len(document.text) >= _LEAST_CHARACTERS else None,
        )
        for place, document in enumerate(documents)
    ]


def _note(document: Document, reading: Reading | None, known: Languages | None) -> Note | None:
    language = known is not None and document.language is not None and document.language not in known
    lacking = reading is not None and reading.unknown >= _UNKNOWN_SHARE * reading.tokens
    cut = 0 if reading is None else reading.cut
    if not (language or lacking or cut):
        return None
    return Note(cut, ",".join(sorted(scripts_of(document.text))) if lacking else None, language)
