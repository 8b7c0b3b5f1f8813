"""Models that can be trimmed: those of transformers, and single- and multi-vector sentence-transformers encoders."""

from __future__ import annotations

import copy
import json
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from sentence_transformers import MultiVectorEncoder, SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from sentence_transformers.util import is_sentence_transformer_model
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mlret.encoders.encoder import Encoder
from mlret.encoders.loading import from_hub, is_multi_vector
from mlret.encoders.longest_input import keep_within_positions, longest_input
from mlret.encoders.multi_vector import load_any_encoder
from mlret.encoders.token_encoder import TokenEncoder
from mlret.encoders.token_weights import TokenWeights
from mlret.errors import CorruptInput, InputError, MlretError, NotFound, first_line
from mlret.vocabulary.weights import (
    cut_weights,
    positions_start_at_padding,
    refuse_quantised,
    shared_tables,
    special_ids,
    vocabulary_rows,
)

Rows = NDArray[np.float32]
# Maximum length of a text that is run only for comparison.
_MOST_TOKENS = 512


class Subject(ABC):
    """Common interface of the models, with their tokenizers, that can be trimmed.

    Attributes
    ----------
    name
        Name of the model.
    """

    name: str

    @property
    @abstractmethod
    def backend(self) -> Tokenizer:
        """The tokenizer of the ``tokenizers`` library."""

    @property
    @abstractmethod
    def tokenizer(self) -> PreTrainedTokenizerBase | Tokenizer:
        """The tokenizer in the form in which users of the model use it."""

    @property
    @abstractmethod
    def network(self) -> nn.Module:
        """The module that contains all parameters."""

    @property
    @abstractmethod
    def result(self) -> Any:
        """The model in the form in which it was given."""

    def sentencepiece(self) -> list[Path]:
        """Return the paths of the SentencePiece models stored with the tokenizer, which slow tokenizers read."""
        folder = Path(self.name)
        beside = sorted(folder.glob("*.model")) if folder.is_dir() else []
        own = getattr(self.tokenizer, "vocab_file", None)
        if not beside and isinstance(own, str) and own.endswith(".model") and Path(own).is_file():
            return [Path(own)]
        return beside

    @abstractmethod
    def needed(self) -> set[int]:
        """Return the ids that the model itself uses: in its configuration, prompts and skip-lists."""

    @abstractmethod
    def copied(self) -> Subject:
        """Return a copy to cut, so that the caller's model is unchanged; tables that cutting replaces are shared."""

    @abstractmethod
    def cut(self, kept: Tensor, backend: Tokenizer, *, sole: bool) -> None:
        """Cut the model in place to the tokens ``kept``, ``(n,)`` int64; ``backend`` is the matching tokenizer.

        ``sole`` states that nothing else uses the model.
        """

    @abstractmethod
    def vectors(self, texts: Sequence[str]) -> list[Rows]:
        """Return the model's output for each text, ``(vectors, dims)`` float32."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the model and its tokenizer into a folder."""


class ModelSubject(Subject):
    """A model of transformers: an encoder, a masked, sequence-to-sequence or causal language model, a classifier."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str = "") -> None:
        self.model = model
        self._tokenizer = tokenizer
        self.name = name or model.name_or_path or type(model).__name__
        _check_fit(self.backend, vocabulary_rows(model), self.name)

    @property
    def backend(self) -> Tokenizer:
        """The tokenizer of the ``tokenizers`` library."""
        return _backend_of(self._tokenizer, self.name)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of transformers."""
        return self._tokenizer

    @property
    def network(self) -> nn.Module:
        """The model."""
        return self.model

    @property
    def result(self) -> PreTrainedModel:
        """The model."""
        return self.model

    def needed(self) -> set[int]:
        """Return ids in the configuration, and all below the padding token if positions are counted from it."""
        return _model_ids(self.model)

    def copied(self) -> ModelSubject:
        """A copy; the tables of the vocabulary are shared until they are cut."""
        return ModelSubject(_copied(self.model, shared_tables(self.model)), self._tokenizer, self.name)

    def cut(self, kept: Tensor, backend: Tokenizer, *, sole: bool) -> None:
        """Cut weights, configuration and tokenizer."""
        cut_weights(self.model, kept, sole=sole)
        self._tokenizer = retokenized(self._tokenizer, backend)

    @torch.inference_mode()
    def vectors(self, texts: Sequence[str]) -> list[Rows]:
        """Return the last hidden states; with encoder and decoder, the decoder's follow the encoder's."""
        training = self.model.training
        self.model.train(False)
        try:
            return [self._states(text) for text in texts]
        finally:
            self.model.train(training)

    def _states(self, text: str) -> Rows:
        """Return the last hidden states of one text."""
        limit = longest_input(self.model, self._tokenizer, most=_MOST_TOKENS)
        inputs = self._tokenizer(text, return_tensors="pt", truncation=True, max_length=limit)
        inputs = {name: tensor.to(self.model.device) for name, tensor in inputs.items() if name != "token_type_ids"}
        if self.model.config.is_encoder_decoder:
            inputs["decoder_input_ids"] = inputs["input_ids"]
        if self.model.config.model_type == "xmod":
            # Any adapter will do, and the model may have none by default.
            inputs["lang_ids"] = torch.zeros(1, dtype=torch.long, device=self.model.device)
        # Skip the output head, which costs more than all layers together.
        found = self.model.base_model(**inputs, output_hidden_states=True)
        parts = ("hidden_states", "encoder_hidden_states", "decoder_hidden_states")
        last = [layers[-1][0] for part in parts if (layers := getattr(found, part, None))]
        return torch.cat(last).float().cpu().numpy()

    def save(self, folder: Path) -> None:
        """Write what ``from_pretrained`` reads."""
        self.model.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)


class EncoderSubject(Subject):
    """A ``SentenceTransformer`` or ``MultiVectorEncoder`` whose first module is a transformer or static embeddings."""

    def __init__(self, model: SentenceTransformer | MultiVectorEncoder, name: str = "", *, wrap: type | None = None):
        self.model = model
        self.name = name or type(model).__name__
        self._wrap = wrap
        first = self._first
        if not isinstance(first, Transformer | StaticEmbedding):
            raise InputError(
                f"{self.name} begins with {type(first).__name__}; mlret trims encoders that begin with Transformer or "
                "StaticEmbedding"
            )
        rows = vocabulary_rows(first.model) if isinstance(first, Transformer) else first.embedding.num_embeddings
        _check_fit(self.backend, rows, self.name)

    @property
    def _first(self) -> Any:
        return self.model[0]

    @property
    def backend(self) -> Tokenizer:
        """The tokenizer of the ``tokenizers`` library."""
        return _backend_of(self._first.tokenizer, self.name)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase | Tokenizer:
        """The first module's tokenizer."""
        tokenizer: PreTrainedTokenizerBase | Tokenizer = self._first.tokenizer
        return tokenizer

    @property
    def network(self) -> nn.Module:
        """The encoder, all its modules."""
        return self.model

    @property
    def result(self) -> Any:
        """The encoder, as mlret's where it was mlret's."""
        return self.model if self._wrap is None else self._wrap(self.model, self.name)

    def needed(self) -> set[int]:
        """Return ids in the configuration, the prompts and markers, and of words that are skipped."""
        found = _model_ids(self._first.model) if isinstance(self._first, Transformer) else set()
        for prompt in self.model.prompts.values():
            # Tokenise the prompt alone and followed by text.
            for text in (prompt, f"{prompt}."):
                found |= set(self.backend.encode(text, add_special_tokens=False).ids)
        for module in self.model.children():
            if isinstance(module, MultiVectorMask):
                ids = (self.backend.token_to_id(word) for word in module.skiplist_words)
                found |= {position for position in ids if position is not None} | set(module.keep_only_token_ids or [])
        return found

    def copied(self) -> EncoderSubject:
        """A copy; the tables of the vocabulary are shared until they are cut."""
        if isinstance(self._first, Transformer):
            shared = shared_tables(self._first.model)
        else:
            shared = [self._first.embedding.weight]
        return EncoderSubject(_copied(self.model, shared), self.name, wrap=self._wrap)

    def cut(self, kept: Tensor, backend: Tokenizer, *, sole: bool) -> None:
        """Cut the first module, and every later module that counts or weights tokens by id."""
        first = self._first
        if isinstance(first, Transformer):
            cut_weights(first.model, kept, sole=sole)
            tokenizer = retokenized(first.tokenizer, backend)
            if isinstance(first.processor, PreTrainedTokenizerBase):
                first.processor = tokenizer
            else:
                first.processor.tokenizer = tokenizer
        else:
            weights = first.embedding.weight
            first.embedding = nn.EmbeddingBag.from_pretrained(
                weights.data[kept.to(weights.device)], freeze=not weights.requires_grad, mode=first.embedding.mode
            )
            first.num_embeddings = len(kept)
            first.tokenizer = backend
        new_id = {int(old): new for new, old in enumerate(kept)}
        for module in self.model.children():
            if isinstance(module, TokenWeights):
                module.cut_vocabulary(kept)
            if isinstance(module, MultiVectorMask):
                module.resolve_with_tokenizer(self.model.tokenizer)
                if module.keep_only_token_ids:
                    module.keep_only_token_ids = [new_id[old] for old in module.keep_only_token_ids]

    def vectors(self, texts: Sequence[str]) -> list[Rows]:
        """Return the embeddings of each text as a document."""
        # This changes a copy or a model loaded here: the caller's own encoder is never run.
        keep_within_positions(self.model)
        encode = self.model.encode_document if isinstance(self.model, MultiVectorEncoder) else self.model.encode
        found = encode(list(texts), batch_size=16, convert_to_numpy=True, show_progress_bar=False)
        return [np.atleast_2d(np.asarray(vectors, dtype=np.float32)) for vectors in found]

    def save(self, folder: Path) -> None:
        """Write a folder of sentence-transformers."""
        self.model.save(str(folder), create_model_card=self.model._model_card_text is not None)


def open_subject(model: Any, tokenizer: PreTrainedTokenizerBase | None = None) -> tuple[Subject, bool]:
    """Open a model to be trimmed.

    Parameters
    ----------
    model
        A folder, a hub id, an :class:`~mlret.Encoder` or :class:`~mlret.TokenEncoder`, a ``SentenceTransformer``, a
        ``MultiVectorEncoder``, or a model of transformers.
    tokenizer
        Of a model of transformers that is given as an object; left out, it is looked up where the model came from.

    Returns
    -------
    Subject, bool
        The opened model, and whether it was loaded here, so that nothing else uses it.

    Raises
    ------
    InputError
        If it is none of these, cannot be loaded, has no fast tokenizer, or is quantised.
    """
    if isinstance(model, str | Path):
        return _loaded(str(model)), True
    if isinstance(model, Encoder | TokenEncoder):
        # What runs without torch is trimmed in torch, and the result runs there.
        wrap = TokenEncoder if isinstance(model, TokenEncoder) else Encoder
        return EncoderSubject(model.model, model.name, wrap=wrap), False
    if isinstance(model, SentenceTransformer | MultiVectorEncoder):
        return EncoderSubject(model), False
    if isinstance(model, PreTrainedModel):
        if tokenizer is None:
            try:
                tokenizer = transformers.AutoTokenizer.from_pretrained(model.name_or_path)
            except (OSError, ValueError) as error:
                raise InputError(
                    f"no tokenizer is found where the model came from ({model.name_or_path!r}): give tokenizer="
                ) from error
        return ModelSubject(model, tokenizer), False
    raise InputError(
        f"{type(model).__name__} is not a model that mlret trims: give a folder, a hub id, an encoder of mlret or of "
        "sentence-transformers, or a model of transformers"
    )


def _loaded(name: str) -> Subject:
    path = Path(name)
    if name == "bundled":
        return _encoder_subject(None)
    if path.is_dir():
        if (path / "modules.json").is_file() or is_multi_vector(path):
            return _encoder_subject(name)
        if not (path / "config.json").is_file():
            raise NotFound(f"{name} is not a model: it has neither modules.json nor config.json")
        return _load_model(name)
    return from_hub(name, lambda: _encoder_subject(name) if is_sentence_transformer_model(name) else _load_model(name))


def _encoder_subject(name: str | None) -> EncoderSubject:
    encoder = load_any_encoder(name)
    return EncoderSubject(encoder.model, encoder.name)


def _load_model(name: str) -> ModelSubject:
    try:
        config = transformers.AutoConfig.from_pretrained(name)
        refuse_quantised(config)
        # The class that the checkpoint names has all its heads; AutoModel would drop them.
        kind = getattr(transformers, (config.architectures or [""])[0], transformers.AutoModel)
        model = kind.from_pretrained(name)
        tokenizer = transformers.AutoTokenizer.from_pretrained(name)
    except (ValueError, KeyError, ImportError) as error:
        raise CorruptInput(f"{name} cannot be loaded: {first_line(error)}") from error
    return ModelSubject(model, tokenizer, name)


def _backend_of(tokenizer: Any, name: str) -> Tokenizer:
    if isinstance(tokenizer, Tokenizer):
        return tokenizer
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise InputError(f"{name} has no fast tokenizer (tokenizer.json); mlret trims these alone")
    return backend


def _check_fit(tokenizer: Tokenizer, rows: int, name: str) -> None:
    highest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
    if highest >= rows:
        raise InputError(
            f"the tokenizer of {name} has ids up to {highest:,}, its table of embeddings {rows:,} rows: give the "
            "tokenizer that belongs to it, or resize the table"
        )


def _model_ids(model: PreTrainedModel) -> set[int]:
    found = special_ids(model)
    padding = getattr(model.config, "pad_token_id", None)
    if padding is not None and positions_start_at_padding(model):
        # Where the padding token kept its row but not its id, every position would move.
        found |= set(range(padding))
    return found


def _copied(model: Any, shared: Sequence[Tensor]) -> Any:
    return copy.deepcopy(model, {id(tensor): tensor for tensor in shared})


def retokenized(tokenizer: PreTrainedTokenizerBase, backend: Tokenizer) -> PreTrainedTokenizerBase:
    """Return a copy of a transformers tokenizer with the cut vocabulary of ``backend``.

    The tokenizer is saved, its ``tokenizer.json`` is replaced, and it is loaded again, because its class may derive
    more from the vocabulary than the ``tokenizers`` library knows, such as ids of language codes and templates.

    Raises
    ------
    MlretError
        If its class assigns different ids.
    """
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        backend.save(str(Path(folder) / "tokenizer.json"))
        ids = backend.get_vocab(with_added_tokens=True)
        for path in Path(folder).iterdir():
            if path.name == "tokenizer_config.json":
                _renumber_added(path, ids)
            elif path.name not in ("tokenizer.json", "special_tokens_map.json", "chat_template.jinja"):
                path.unlink()
        again: PreTrainedTokenizerBase = type(tokenizer).from_pretrained(folder)
    again.name_or_path = tokenizer.name_or_path
    if again.get_vocab() != ids:
        raise MlretError(
            f"{type(tokenizer).__name__} gives the trimmed vocabulary other ids than its tokenizer.json does"
        )
    return again


def _renumber_added(path: Path, ids: dict[str, int]) -> None:
    config = json.loads(path.read_text(encoding="utf-8"))
    if added := config.get("added_tokens_decoder"):
        config["added_tokens_decoder"] = {str(ids[token["content"]]): token for token in added.values()}
        path.write_text(json.dumps(config, ensure_ascii=False, indent=2), encoding="utf-8")
