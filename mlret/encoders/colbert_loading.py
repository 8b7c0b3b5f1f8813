"""Load checkpoints of Stanford's ColBERT, XM-retrievers and PyLate with the scores that these projects give.

sentence-transformers reads the weights and most settings, but differs in four points. It writes markers before the
text, where these projects insert the marker's token id. It does not handle markers that are missing from the
vocabulary, as they are from those of XLM-R and X-MOD (ColBERT then uses the unknown token). It looks up punctuation in
the vocabulary, where ColBERT skips the first token that each mark is split into. And it ignores a mark that the
vocabulary lacks, where PyLate skips the unknown token.
"""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

from sentence_transformers import MultiVectorEncoder
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from sentence_transformers.util import load_file_path

from mlret.encoders.markers import keep_whole, prompt_of
from mlret.errors import InputError

METADATA = "artifact.metadata"
ARCHITECTURE = "HF_ColBERT"
# colbert-ai's defaults: colbert/infra/config/settings.py of version 0.2.22.
_STANFORD: dict[str, Any] = {
    "query_token_id": "[unused0]",
    "doc_token_id": "[unused1]",
    "doc_maxlen": 220,
    "mask_punctuation": True,
}


def colbert_skiplist(tokenizer: Any) -> list[str]:
    """Return the tokens that colbert-ai skips in documents: the first token of each ASCII punctuation mark.

    This may be the bare word-start marker (XLM-R's ``▁``), or the unknown token if the vocabulary lacks the mark.
    """
    first = (tokenizer.encode(symbol, add_special_tokens=False)[0] for symbol in string.punctuation)
    pieces: list[str] = tokenizer.convert_ids_to_tokens(list(dict.fromkeys(first)))
    return pieces


def repair_checkpoint(model: MultiVectorEncoder, name: str | Path) -> None:
    """Make a model that was just loaded behave as in the project that wrote it; other models are left unchanged.

    Parameters
    ----------
    model
        The model that sentence-transformers loaded; changed in place.
    name
        The folder or hub id that it was loaded from.

    Raises
    ------
    InputError
        If a marker is not in the vocabulary and there is no unknown token to use instead.
    """
    first: Any = model[0]
    if ARCHITECTURE in (getattr(getattr(first, "config", None), "architectures", None) or []):
        _mend_stanford(model, _STANFORD | _given(_read(name, METADATA)))
        return
    config = _read(name, "config_sentence_transformers.json")
    if "query_prefix" in config:
        _mend_pylate(model, config)


def _mend_stanford(model: MultiVectorEncoder, metadata: dict[str, Any]) -> None:
    tokenizer: Any = model.tokenizer
    transformer: Any = model[0]
    vocabulary = tokenizer.get_vocab()
    marker: str | None
    for role, key in (("query", "query_token_id"), ("document", "doc_token_id")):
        marker = metadata[key] if metadata[key] in vocabulary else tokenizer.unk_token
        if marker is None:
            raise InputError(f"{METADATA}: {key} {metadata[key]!r} is not in the vocabulary: name a token that is")
        keep_whole(tokenizer, (marker,))
        model.prompts[role] = prompt_of(tokenizer, marker)
    transformer.document_length = metadata["doc_maxlen"]
    _skip(model, colbert_skiplist(tokenizer) if metadata["mask_punctuation"] else [])


def _mend_pylate(model: MultiVectorEncoder, config: dict[str, Any]) -> None:
    tokenizer: Any = model.tokenizer
    vocabulary = tokenizer.get_vocab()
    for role in ("query", "document"):
        marker = str(config.get(f"{role}_prefix"))
        if marker in vocabulary:
            keep_whole(tokenizer, (marker,))
            prompt = (config.get("prompts") or {}).get(role) or ""
            model.prompts[role] = prompt_of(tokenizer, marker) + prompt.removeprefix(marker)
    words = config.get("skiplist_words") or list(string.punctuation)
    unknown = [] if tokenizer.unk_token is None else [tokenizer.unk_token]
    # A word that is missing from the vocabulary is looked up as the unknown token, which is then skipped.
    lacking = any(word not in vocabulary for word in words)
    _skip(model, [word for word in words if word in vocabulary] + unknown * lacking)


def _skip(model: MultiVectorEncoder, pieces: list[str]) -> None:
    for module in model.children():
        if isinstance(module, MultiVectorMask):
            module.skiplist_words = pieces
            module.resolve_with_tokenizer(model.tokenizer)


def _read(name: str | Path, file: str) -> dict[str, Any]:
    path = load_file_path(str(name), file, local_files_only=Path(name).is_dir())
    if path is None:
        return {}
    try:
        found: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    return found


def _given(metadata: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in metadata.items() if value is not None}
