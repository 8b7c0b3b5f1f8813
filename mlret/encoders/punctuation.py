"""Which pieces of a vocabulary are punctuation, in any script.

ColBERT leaves out documents' tokens that are among ASCII's punctuation; of 250,002 pieces of XLM-R that is a small part
of those that are punctuation or symbols, and in other scripts next to none.
"""

from __future__ import annotations

import unicodedata
from typing import Any

# The mark that SentencePiece puts before words; Unicode counts it among the symbols.
_WORD_START = "▁"
# What decoders make of bytes that are no character: a piece of a letter, perhaps.
_UNDECODABLE = "\N{REPLACEMENT CHARACTER}"


def punctuation_pieces(tokenizer: Any) -> list[str]:
    """The pieces of a vocabulary that hold nothing but punctuation, symbols, and the mark of a word's start.

    Unicode's categories P* and S*: of every script, emoji and currencies among them. Special tokens are none.

    Parameters
    ----------
    tokenizer
        Of transformers, and fast.

    Returns
    -------
    list of str
        In the order of their ids, as the vocabulary spells them (``"▁("``, ``"Ġ("``, ``"##("``).
    """
    decoder = tokenizer.backend_tokenizer.decoder
    special = set(tokenizer.all_special_tokens)
    by_id = sorted((number, piece) for piece, number in tokenizer.get_vocab().items() if piece not in special)
    return [piece for _, piece in by_id if _is_punctuation(piece if decoder is None else _decoded(decoder, piece))]


def _decoded(decoder: Any, piece: str) -> str:
    # Decoders drop the mark before the first piece, and with it all of a piece that is nothing else.
    return decoder.decode([piece]) or piece


def _is_punctuation(text: str) -> bool:
    characters = text.replace(_WORD_START, "").strip()
    if _UNDECODABLE in characters:
        return False
    # The mark alone is what stands before a bracket whose piece is never at a word's start.
    return bool(text) and all(unicodedata.category(character)[0] in "PS" for character in characters)
