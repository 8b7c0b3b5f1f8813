"""Use tokenizers without the truncation and padding that the last call left switched on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tokenizers import Tokenizer


@contextmanager
def unbounded(tokenizer: Tokenizer) -> Iterator[Tokenizer]:
    """Context manager that switches truncation and padding off and restores the previous settings afterwards."""
    truncation, padding = tokenizer.truncation, tokenizer.padding
    tokenizer.no_truncation()
    tokenizer.no_padding()
    try:
        yield tokenizer
    finally:
        # Code inside the context may have switched them on.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        if truncation is not None:
            tokenizer.enable_truncation(**truncation)
        if padding is not None:
            tokenizer.enable_padding(**padding)
