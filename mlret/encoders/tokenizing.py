"""Tokenizers as they are, whatever length the last text through them was cut or filled up to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tokenizers import Tokenizer


@contextmanager
def unbounded(tokenizer: Tokenizer) -> Iterator[Tokenizer]:
    """Neither truncation nor padding inside; afterwards what was there before."""
    truncation, padding = tokenizer.truncation, tokenizer.padding
    tokenizer.no_truncation()
    tokenizer.no_padding()
    try:
        yield tokenizer
    finally:
        # What is run inside may have switched them on.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        if truncation is not None:
            tokenizer.enable_truncation(**truncation)
        if padding is not None:
            tokenizer.enable_padding(**padding)
