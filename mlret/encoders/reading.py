"""What an encoder cannot read of texts: tokens beyond its longest input, characters that its tokenizer lacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from mlret.encoders.encoder import Encoder
    from mlret.encoders.token_encoder import TokenEncoder


class Tokenised(NamedTuple):
    """Texts as an encoder's tokenizer gives them, before they are cut.

    Attributes
    ----------
    ids
        The token ids of each text, special tokens included.
    longest
        The number of tokens that the encoder reads at most; ``None`` if it reads all.
    unknown
        The id that stands for what the tokenizer lacks; ``None`` if it lacks nothing.
    """

    ids: Sequence[Sequence[int]]
    longest: int | None
    unknown: int | None


class Reading(NamedTuple):
    """How much of a text an encoder reads.

    Attributes
    ----------
    tokens
        The number of tokens of the text, special tokens included.
    cut
        How many of them the encoder does not read, because the text is longer than its longest input.
    unknown
        How many of them stand for something that the tokenizer lacks.
    """

    tokens: int
    cut: int
    unknown: int


def readings_of(encoder: Encoder | TokenEncoder, texts: Sequence[str]) -> list[Reading] | None:
    """Return how much of documents an encoder reads.

    The bundled encoder takes about 1/400 of the time that encoding takes.

    Parameters
    ----------
    encoder
        The encoder.
    texts
        ``n`` texts.

    Returns
    -------
    list of Reading or None
        ``n`` readings; ``None`` if the encoder has no tokenizer that mlret can ask.

    Examples
    --------
    >>> import mlret
    >>> from mlret.encoders.reading import readings_of
    >>> short, long = readings_of(mlret.load_encoder(), ["Habari", "Habari ya asubuhi. " * 200])
    >>> short.cut, long.cut > 0, long.unknown
    (0, True, 0)
    """
    found = tokenised(encoder, texts)
    if found is None:
        return None
    longest, unknown = found.longest, found.unknown
    return [
        Reading(
            len(ids),
            0 if longest is None else max(0, len(ids) - longest),
            0 if unknown is None else ids.count(unknown),
        )
        for ids in found.ids
    ]


def tokenised(encoder: Encoder | TokenEncoder, texts: Sequence[str]) -> Tokenised | None:
    """Return the tokens of documents, or ``None`` if the encoder has no tokenizer that mlret can ask.

    Parameters
    ----------
    encoder
        The encoder.
    texts
        ``n`` texts.
    """
    own = getattr(encoder, "tokenised", None)  # encoders without torch, and those that encode by another one
    if own is not None:
        found: Tokenised | None = own(texts)
        return found
    tokenizer: Any = getattr(getattr(encoder, "model", None), "tokenizer", None)
    if not callable(tokenizer) or not hasattr(tokenizer, "unk_token_id"):
        return None
    from mlret.encoders.encoder import prompt_of_side

    model: Any = encoder.model
    prompt = prompt_of_side(model, "document")
    ids = tokenizer([prompt + text for text in texts], verbose=False)["input_ids"] if texts else []
    return Tokenised(ids, getattr(model, "max_seq_length", None), tokenizer.unk_token_id)
