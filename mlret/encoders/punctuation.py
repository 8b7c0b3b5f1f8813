"""Find the tokens of a vocabulary that are punctuation, in any script.

ColBERT skips tokens of documents that are ASCII punctuation. Of the 250,002 tokens of XLM-R's vocabulary these are only
a small part of those that are punctuation or symbols, and almost none of those in other scripts.
"""

from __future__ import annotations

import unicodedata
from typing import Any

# The marker that SentencePiece puts before words; Unicode classifies it as a symbol.
_WORD_START = "▁"
# What decoders return for bytes that are not a complete character, which may be part of a letter.
_UNDECODABLE = "\N{REPLACEMENT CHARACTER}"


def punctuation_pieces(tokenizer: Any) -> list[str]:
    """Return the tokens of a vocabulary that consist only of punctuation, symbols and the word-start marker.

    These are the characters of Unicode's categories P* and S* in every script, including emoji and currency signs.
    Special tokens are excluded.

    Parameters
    ----------
    tokenizer
        A fast tokenizer of transformers.

    Returns
    -------
    list of str
        The tokens sorted by id, spelled as in the vocabulary (``"▁("``, ``"Ġ("``, ``"##("``).
    """
    decoder = tokenizer.backend_tokenizer.decoder
    special = set(tokenizer.all_special_tokens)
    by_id = sorted((number, piece) for piece, number in tokenizer.get_vocab().items() if piece not in special)
    return [piece for _, piece in by_id if _is_punctuation(piece if decoder is None else _decoded(decoder, piece))]


def _decoded(decoder: Any, piece: str) -> str:
    # Decoders drop the marker before the first token, so a token that is only the marker decodes to nothing.
    return decoder.decode([piece]) or piece


def _is_punctuation(text: str) -> bool:
    characters = text.replace(_WORD_START, "").strip()
    if _UNDECODABLE in characters:
        return False
    # The bare marker precedes brackets whose own token never starts a word.
    return bool(text) and all(unicodedata.category(character)[0] in "PS" for character in characters)
