"""Write a tokenizer in the form that version 4 of transformers reads, as well as version 5.

Several libraries that read encoders still use version 4, which does not know the tokenizer classes and token lists of
version 5.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_SPECIAL = ("bos_token", "eos_token", "cls_token", "sep_token", "unk_token", "pad_token", "mask_token")


def write_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write ``tokenizer.json`` and ``tokenizer_config.json``.

    Parameters
    ----------
    tokenizer
        A fast tokenizer of transformers.
    folder
        The folder to which they are written.
    """
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    # Truncation and padding depend on the text that was encoded last.
    write_json(folder / "tokenizer.json", state | {"truncation": None, "padding": None})
    special = {name: str(token) for name in _SPECIAL if (token := getattr(tokenizer, name)) is not None}
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": tokenizer.model_max_length,
            "model_input_names": tokenizer.model_input_names,
            "clean_up_tokenization_spaces": False,
            **special,
        },
    )


def write_json(path: Path, content: Any) -> None:
    """Write JSON as people read it; what JSON lacks becomes a string."""
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2, default=str) + "\n", encoding="utf-8")
