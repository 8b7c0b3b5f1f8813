"""Export a multi-vector encoder to the formats of Stanford's ColBERT (colbert-ai) and of PyLate.

The files are those that colbert-ai 0.2.22 and PyLate 1.2 read. Both use transformers 4, so the tokenizer is written in
the form that version 4 reads.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

from safetensors.torch import save_file
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.multi_vector_encoder.modules import BaseTokenPooling, MultiVectorMask
from torch import Tensor, nn

from mlret.data.durable import write_folder_atomically
from mlret.encoders.adapters import LanguageTransformer
from mlret.encoders.colbert_loading import ARCHITECTURE, METADATA, colbert_skiplist
from mlret.encoders.markers import prompt_of
from mlret.encoders.multi_vector import load_token_encoder
from mlret.encoders.token_encoder import TokenEncoder
from mlret.encoders.tokenizer_files import write_json, write_tokenizer
from mlret.errors import AlreadyExists, InputError

Format = Literal["colbert", "pylate"]
_READERS = {"colbert": "colbert-ai", "pylate": "PyLate"}
# colbert-ai's default. colbert-ai always pads queries to a fixed length.
_QUERY_LENGTH = 32


def export_encoder(
    model: str | Path | TokenEncoder | MultiVectorEncoder,
    folder: str | Path,
    *,
    format: Format,
    lossy: bool = False,
) -> list[str]:
    """Write an encoder as a checkpoint that colbert-ai or PyLate loads with the same scores.

    Parameters
    ----------
    model
        A model folder, a hub id, or a multi-vector encoder.
    folder
        A new or empty folder. It is written completely or not at all.
    format
        ``"colbert"`` writes the weights of an ``HF_ColBERT`` and ``artifact.metadata``; ``"pylate"`` writes PyLate's
        modules.
    lossy
        Whether to write an encoder that the format cannot represent in full; scores then differ in the other library.

    Returns
    -------
    list of str
        One line for each feature that was lost; empty if the scores are the same.

    Raises
    ------
    InputError
        If the format cannot represent the model, or not in full and ``lossy`` is not set; or if ``folder`` exists and
        is not empty.

    Examples
    --------
    >>> import mlret
    >>> mlret.export_encoder("my-token-encoder", "my-checkpoint", format="pylate")
    []
    >>> mlret.load_token_encoder("my-checkpoint").dims
    128
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise AlreadyExists(f"{folder} already exists: name a new folder, or remove it first")
    if format not in get_args(Format):
        raise InputError(f"no format {format!r}; there are {', '.join(get_args(Format))}")
    if isinstance(model, str | Path):
        model = load_token_encoder(model, device="cpu")
    encoder = model.model if isinstance(model, TokenEncoder) else model
    parts = _Parts(encoder, format)
    losses = parts.losses()
    if losses and not lossy:
        raise InputError(
            f"{_READERS[format]}'s format cannot hold all of the encoder: {'; '.join(losses)}. "
            "Write what it can hold with `lossy=True`"
        )
    write: Callable[[Path], None] = parts.write_colbert if format == "colbert" else parts.write_pylate
    write_folder_atomically(folder, write)
    return losses


class _Parts:
    """The parts of an encoder that a format can represent.

    Parameters
    ----------
    model
        The encoder.
    format
        The target format.
    """

    def __init__(self, model: MultiVectorEncoder, format: Format) -> None:
        self.model, self.format, self.reader = model, format, _READERS[format]
        self.tokenizer: Any = model.tokenizer
        kinds = (Transformer, Dense, MultiVectorMask, Normalize)
        modules: list[Any] = [module for module in model.children() if not isinstance(module, BaseTokenPooling)]
        if len(modules) != 4 or not all(map(isinstance, modules, kinds)):
            names = ", ".join(type(module).__name__ for module in modules)
            raise InputError(
                f"{self.reader}'s format holds a transformer, a projection (Dense), a mask (MultiVectorMask) and "
                f"Normalize, in this order; the encoder has {names}"
            )
        self.transformer, self.projection, self.mask = modules[:3]
        self.pooling = next((module for module in model.children() if isinstance(module, BaseTokenPooling)), None)
        self.expansion: dict[str, Any] | None = self.transformer.query_expansion
        self._check()
        self.markers = {role: self._marker(role) for role in ("query", "document")}

    def _check(self) -> None:
        """Raise an error for features that the format cannot represent and without which an export would be useless."""
        dense = self.projection
        if dense.bias or dense.use_residual or not isinstance(dense.activation_function, nn.Identity):
            raise InputError(f"{self.reader}'s projection has no bias, no activation and no residual; this one has")
        if self.mask.keep_only_token_ids or self.mask.skiplist_tasks != ["document"]:
            raise InputError(f"{self.reader} skips tokens in documents alone, and has no list of those that it keeps")
        if self.expansion and self.expansion["token"] not in (None, self.tokenizer.mask_token):
            raise InputError(
                f"{self.reader} fills queries with {self.tokenizer.mask_token}, not {self.expansion['token']}"
            )

    def _marker(self, role: str) -> str:
        prompt = self.model.prompts.get(role) or ""
        ids = self.tokenizer(prompt, add_special_tokens=False).input_ids
        marker: str = self.tokenizer.convert_ids_to_tokens(ids[0]) if len(ids) == 1 else ""
        if not marker or prompt_of(self.tokenizer, marker).strip() != prompt.strip():
            raise InputError(
                f"{self.reader} puts one marker token before each {role}; the encoder has the prompt {prompt!r}, "
                f"which is {len(ids)} tokens"
            )
        return marker

    def losses(self) -> list[str]:
        """Return one line for each feature that the format cannot represent."""
        found = []
        if isinstance(self.transformer, LanguageTransformer):
            found.append(
                f"texts are not routed by language: all go through the adapter of {self._default_language()} "
                "(mlret routes them)"
            )
        width = self.query_length
        if self.expansion is None and self.format == "colbert":
            found.append(f"queries are filled with masks to {width} tokens, here they are not")
        elif getattr(self.transformer, "query_multiple", None) is not None:
            found.append(f"queries are cut at {width} tokens, here they are filled up to the next multiple of {width}")
        elif self.expansion is not None and self.expansion["strategy"] == "min":
            found.append(f"queries are cut at {width} tokens, here they are not")
        if self.pooling is not None:
            found.append("documents' tokens are not merged (token pooling)")
        if self.model.similarity_fn_name != "maxsim":
            found.append("scores are not divided by the number of the query's tokens")
        if self.format == "colbert" and (difference := self._skipped_otherwise()):
            found.append(difference)
        return found

    def _skipped_otherwise(self) -> str | None:
        here = set(self.mask.skiplist_words) & self.tokenizer.get_vocab().keys()
        there = set(colbert_skiplist(self.tokenizer))
        if here == there:
            return None
        return (
            "only ASCII punctuation of documents is excluded: "
            f"{len(here - there)} more tokens get a vector, {len(there - here)} fewer"
        )

    def _default_language(self) -> str:
        code: str | None = self.transformer.default_language
        return next(iter(self.transformer.languages)) if code is None else code

    @property
    def query_length(self) -> int:
        """Number of tokens that queries are padded to, or their maximum if they are not padded."""
        if self.expansion is not None:
            return int(self.expansion["length"])
        if self.format == "colbert":
            return _QUERY_LENGTH
        return int(self.transformer.query_length or self.tokenizer.model_max_length)

    @property
    def document_length(self) -> int:
        """Number of tokens to which documents are truncated."""
        return int(self.transformer.document_length or self.tokenizer.model_max_length)

    def write_colbert(self, folder: Path) -> None:
        """Write the files of ``BaseColBERT.save`` of colbert-ai."""
        backbone = self.transformer.model
        weights = {f"{backbone.base_model_prefix}.{key}": value for key, value in backbone.state_dict().items()}
        self._write_backbone(folder, weights | {"linear.weight": self.projection.linear.weight}, ARCHITECTURE)
        write_json(
            folder / METADATA,
            {
                "query_token_id": self.markers["query"],
                "doc_token_id": self.markers["document"],
                "query_token": "[Q]",
                "doc_token": "[D]",
                "dim": self.projection.out_features,
                "doc_maxlen": self.document_length,
                # Without this, colbert-ai 0.2.22 has no skiplist to look tokens up in and fails at the first document.
                "mask_punctuation": True,
                "query_maxlen": self.query_length,
                "attend_to_mask_tokens": bool(self.expansion and self.expansion["attend"]),
                "interaction": "colbert",
                "similarity": "cosine",
            },
        )

    def write_pylate(self, folder: Path) -> None:
        """Write the files of ``ColBERT.save`` of PyLate."""
        backbone = self.transformer.model
        self._write_backbone(folder, backbone.state_dict(), type(backbone).__name__)
        write_json(
            folder / "sentence_bert_config.json",
            {"max_seq_length": self.document_length - 1, "do_lower_case": False},
        )
        modules = (("", "sentence_transformers.models.Transformer"), ("1_Dense", "pylate.models.Dense.Dense"))
        write_json(
            folder / "modules.json",
            [{"idx": idx, "name": str(idx), "path": path, "type": kind} for idx, (path, kind) in enumerate(modules)],
        )
        dense = folder / "1_Dense"
        dense.mkdir()
        _save(dense / "model.safetensors", {"linear.weight": self.projection.linear.weight})
        write_json(
            dense / "config.json",
            {
                "in_features": self.projection.in_features,
                "out_features": self.projection.out_features,
                "bias": False,
                "activation_function": "torch.nn.modules.linear.Identity",
            },
        )
        write_json(
            folder / "config_sentence_transformers.json",
            {
                "model_type": "ColBERT",
                "prompts": {},
                "default_prompt_name": None,
                "similarity_fn_name": "MaxSim",
                "query_prefix": self.markers["query"],
                "document_prefix": self.markers["document"],
                "query_length": self.query_length,
                "document_length": self.document_length,
                "attend_to_expansion_tokens": bool(self.expansion and self.expansion["attend"]),
                "do_query_expansion": self.expansion is not None,
                "skiplist_words": self.mask.skiplist_words,
            },
        )

    def _write_backbone(self, folder: Path, weights: dict[str, Tensor], architecture: str) -> None:
        config = self.transformer.model.config.to_dict() | {"architectures": [architecture]}
        if isinstance(self.transformer, LanguageTransformer):
            languages = list(config["languages"])
            config["default_language"] = languages[self.transformer.languages[self._default_language()]]
        write_json(folder / "config.json", config)
        _save(folder / "model.safetensors", weights)
        write_tokenizer(self.tokenizer, folder)


def _save(path: Path, weights: dict[str, Tensor]) -> None:
    ready = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
    save_file(ready, path, metadata={"format": "pt"})
