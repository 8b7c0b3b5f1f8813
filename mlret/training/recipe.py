"""Read training recipes: YAML files that are validated into settings. A wrong key raises an error that names it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from mlret.data.languages import normalise_language
from mlret.encoders.loading import BUNDLED
from mlret.errors import InputError
from mlret.training.sources import (
    DocumentSource,
    ExampleSource,
    GlossSource,
    HubSource,
    MultiParallelSource,
    ParallelSource,
    Settings,
    Source,
)
from mlret.training.stages import (
    AlignmentStage,
    ContextStage,
    LayerDistillationStage,
    LexicalStage,
    MaskedStage,
    RankingStage,
    Stage,
    TranslationDistillationStage,
)

# The stages that draw pairs from groups of parallel sources.
_Paired = AlignmentStage | LayerDistillationStage | LexicalStage | TranslationDistillationStage


class TokenizerSettings(Settings):
    """Settings of a SentencePiece Unigram vocabulary.

    The vocabulary is trained on text balanced over languages, or selected from the vocabulary of an existing tokenizer.
    """

    vocab_size: int = Field(30_000, ge=16)
    pieces: str | None = Field(
        None,
        description="a tokenizer.json(.gz) of Unigram kind, relative to the data folder; its tokens are folded, and "
        "those that are most frequent in the text are kept",
    )
    min_count: int = Field(1, ge=1, description="with 'pieces': how often a token must occur in the sentences")
    sentences: int = Field(1_000_000, ge=1, description="sentences to train on, over all languages")
    alpha: float = Field(0.3, gt=0, le=1, description="languages are drawn in proportion to size ** alpha")
    character_coverage: float = Field(0.9998, gt=0.9, le=1)
    split_digits: bool = True
    or_fewer: bool = Field(False, description="whether a small text gives fewer tokens instead of an error")


class NewBackbone(Settings):
    """An untrained backbone of XLM-R's architecture; its tokenizer is trained on the recipe's text."""

    kind: Literal["new"] = "new"
    layers: int = Field(6, ge=1)
    hidden: int = Field(256, ge=16)
    heads: int = Field(4, ge=1)
    feed_forward: int = Field(512, ge=16)
    max_length: int = Field(128, ge=8, le=510)
    dropout: float = Field(0.1, ge=0, lt=1)


class AdapterSettings(Settings):
    """Language adapters to insert into every layer of an encoder that has none (bottlenecks, as in X-MOD)."""

    languages: list[str] = Field(min_length=1, description="those that get an adapter of their own")
    reduction: int = Field(2, ge=1, description="hidden size / inner width of an adapter")
    neighbours: dict[str, str] = Field({}, description="language -> the language whose adapter is used for it")
    default_language: str = Field("und", description="whose adapter is used for all others; 'und' adds one for them")


class PretrainedBackbone(Settings):
    """An existing model with its tokenizer: a transformers model, or an encoder to train further."""

    kind: Literal["pretrained"]
    model: str = Field(description="a folder or a hub id, or 'bundled'")
    pooling: Literal["cls", "mean"] | None = Field(None, description="by default cls; an encoder keeps its own")
    max_length: int | None = Field(None, ge=8, description="tokens; an encoder keeps its own, others have 128")
    prompts: Literal["keep", "drop"] = Field(
        "keep", description="'drop' removes the prompts that the model expects before queries and documents"
    )
    adapters: AdapterSettings | None = Field(None, description="make it modular: an adapter for each language")
    layers: list[Annotated[int, Field(ge=0)]] | None = Field(
        None, min_length=1, description="keep these layers alone, numbered from 0 in ascending order"
    )
    dropout: float | None = Field(
        None, ge=0, lt=1, description="by default the model's own; 0 also saves time on a CPU"
    )

    @field_validator("layers")
    @classmethod
    def _layers_ascend(cls, layers: list[int] | None) -> list[int] | None:
        if layers is not None and layers != sorted(set(layers)):
            raise ValueError(f"the layers {layers} are not in ascending order, each named once")
        return layers

    @property
    def source(self) -> str:
        """The folder or hub id of the model; ``"bundled"`` is resolved to the folder of the bundled encoder."""
        return str(BUNDLED) if self.model == "bundled" else self.model


class TransplantedBackbone(Settings):
    """The layers of a monolingual encoder, given the vocabulary of a multilingual one (WECHSEL, arXiv 2112.06598)."""

    kind: Literal["transplanted"]
    model: str = Field(description="the donor of the layers, an encoder of BERT's kind: a folder or a hub id")
    language: str = Field("en", description="the donor's")
    vocabulary: str = Field(description="a multilingual bag of words that a recipe trained: the folder of its model")
    words: int = Field(30_000, ge=100, description="of the donor's language, the most frequent in the recipe's text")
    neighbours: int = Field(10, ge=1, description="number of words whose mean is the embedding of a token")
    temperature: float = Field(0.1, gt=0, description="of the softmax over their cosines")
    max_length: int = Field(128, ge=8)


Backbone = Annotated[NewBackbone | PretrainedBackbone | TransplantedBackbone, Field(discriminator="kind")]


class MultiVectorSettings(Settings):
    """Settings of an encoder with one vector per token (ColBERT).

    See :func:`mlret.encoders.late_interaction.multi_vector_encoder`.
    """

    dims: int = Field(128, ge=1, description="length of a token's vector")
    query_marker: str | None = None
    document_marker: str | None = None
    query_length: int | str | None = Field("dynamic 32", description="fill queries with masks up to it; null: do not")
    attend: bool = Field(False, description="whether the query's tokens attend to the masks")
    document_length: int | None = Field(None, ge=8)
    punctuation: Literal["all", "ascii", "none"] = Field("all", description="documents' tokens that get no vector")


class CalibrationSettings(Settings):
    """Settings of the per-language calibration statistics, which are estimated from monolingual text."""

    sentences: int = Field(2000, ge=2, description="sentences a language, at most")
    min_sentences: int = Field(50, ge=2, description="a language with fewer is calibrated as unknown")
    shift: bool = True
    scale: bool = False
    rotate: bool = Field(False, description="rotate each language towards the pivot, found without parallel text")
    pivot: str = "en"


class Recipe(Settings):
    """Everything that determines how an encoder is trained from text."""

    name: str
    description: str
    seed: int = 42
    min_characters: int = Field(2, ge=1)
    repeated_sentences: Literal["keep", "drop"] = Field(
        "drop", description="'drop' keeps the first of a sentence's occurrences in documents of its language"
    )
    languages: list[str] | None = Field(None, min_length=1, description="train on these alone; by default on all")
    held_out: list[str] = Field(
        [], description="files whose texts must not be trained on; those that are missing are skipped, with a warning"
    )
    requires_held_out: bool = Field(False, description="whether a missing one is an error: figures are published")
    sources: list[Source] = Field(min_length=1)
    tokenizer: TokenizerSettings | None = Field(None, description="of a new backbone")
    backbone: Backbone = NewBackbone()
    multi_vector: MultiVectorSettings | None = Field(None, description="give each token a vector")
    stages: list[Stage] = Field(min_length=1)
    calibration: CalibrationSettings | None = Field(CalibrationSettings(), description="null leaves it out")

    @cached_property
    def instructions(self) -> dict[str, tuple[str, str]]:
        """Map each task to the instructions that are prepended to its queries and to its documents."""
        sources = [source for source in self.sources if isinstance(source, ExampleSource)]
        return {source.task: (source.query_instruction, source.document_instruction) for source in sources}

    @property
    def pretrained_language_model(self) -> str | None:
        """Folder or hub id to load a masked-language head from; ``None`` unless the backbone is pretrained."""
        return self.backbone.source if isinstance(self.backbone, PretrainedBackbone) else None

    @model_validator(mode="after")
    def _tasks_have_one_instruction(self) -> Recipe:
        for source in self.sources:
            if isinstance(source, ExampleSource):
                own = (source.query_instruction, source.document_instruction)
                if own != self.instructions[source.task]:
                    raise ValueError(f"two sources of the task {source.task!r} have other instructions: name two tasks")
        return self

    @field_validator("languages")
    @classmethod
    def _languages_are_known(cls, codes: list[str] | None) -> list[str] | None:
        try:
            return None if codes is None else [normalise_language(code) for code in codes]
        except InputError as error:
            raise ValueError(str(error)) from error

    @field_validator("backbone", mode="before")
    @classmethod
    def _set_default_kind(cls, value: Any) -> Any:
        return {"kind": "new", **value} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _the_backbone_fits(self) -> Recipe:
        if not isinstance(self.backbone, PretrainedBackbone) and self.multi_vector is not None:
            raise ValueError("multi_vector needs a pretrained backbone: train the backbone by a recipe of its own")
        if not isinstance(self.backbone, PretrainedBackbone):
            for stage in self.stages:
                if stage.max_length > self.backbone.max_length:
                    raise ValueError(
                        f"stage {stage.name!r}: max_length {stage.max_length} is more than the backbone's "
                        f"{self.backbone.max_length}"
                    )
        if isinstance(self.backbone, NewBackbone):
            return self
        if self.tokenizer is not None:
            raise ValueError(f"a {self.backbone.kind} backbone brings its tokenizer: remove the key 'tokenizer'")
        return self

    @model_validator(mode="after")
    def _stages_have_text(self) -> Recipe:
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(f"two stages share a name: {names}")
        groups = {s.group for s in self.sources if isinstance(s, ParallelSource | MultiParallelSource)}
        for source in self.sources:
            if isinstance(source, GlossSource) and source.lexicons not in groups:
                raise ValueError(f"the glosses need lexicons: no parallel source is of the group {source.lexicons!r}")
        groups |= {s.group for s in self.sources if isinstance(s, GlossSource)}
        for stage in self.stages:
            if isinstance(stage, RankingStage) and not any(isinstance(s, ExampleSource) for s in self.sources):
                raise ValueError(f"stage {stage.name!r} needs a source of kind 'ranking'")
            if isinstance(stage, _Paired) and (missing := set(stage.groups) - groups):
                raise ValueError(f"stage {stage.name!r} draws from {sorted(missing)}, which no source provides")
            reads_documents = isinstance(stage, ContextStage | MaskedStage) or (
                isinstance(stage, LayerDistillationStage) and stage.passages > 0
            )
            if reads_documents and not any(isinstance(source, DocumentSource | HubSource) for source in self.sources):
                raise ValueError(f"stage {stage.name!r} needs a source of kind 'documents' or 'hub'")
        return self


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and validate a training recipe.

    Parameters
    ----------
    path
        A YAML file.
    overrides
        Changes to the recipe, each written ``"key.key=value"``. The value is YAML. A stage or source is addressed by
        its name or by its position (``"stages.ccp.steps=100"``, ``"backbone.model=models/xlm-r"``).

    Returns
    -------
    Recipe
        The validated recipe.

    Raises
    ------
    InputError
        If the file is missing, is not UTF-8 or not YAML, or a key is unknown, missing or out of range.
    """
    try:
        settings: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; `mlret recipes list` names the recipes that exist") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8; save the recipe as UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise InputError(f"{path}{line}: not YAML; {getattr(error, 'problem', error)}") from error
    for override in overrides:
        _override(settings, override)
    try:
        return Recipe.model_validate(settings)
    except ValidationError as error:
        raise InputError(f"{path}: {problem_of(error)}") from error


def problem_of(error: ValidationError) -> str:
    """Return the first invalid key of a validation error, with the reason, as one line."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"]) or "recipe"
    return f"{key}: {first['msg']}"


def _override(settings: Any, override: str) -> None:
    """Apply one ``key.key=value`` override to a recipe's nested settings, in place."""
    path, equals, value = override.partition("=")
    *parents, last = path.split(".")
    if not equals or not path:
        raise InputError(f"{override!r}: expected key=value, for example stages.ccp.steps=100")
    node = settings
    for key in parents:
        if isinstance(node, list):
            node = _entry(node, key, override)
        elif isinstance(node, dict):
            node = node.setdefault(key, {})
        else:
            raise InputError(f"{override!r}: {key!r} is inside a value that has no keys")
    if not isinstance(node, dict):
        raise InputError(f"{override!r}: {last!r} is not a key here")
    try:
        node[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise InputError(f"{override!r}: the value is not YAML") from error


def _entry(entries: list[Any], key: str, override: str) -> Any:
    for position, entry in enumerate(entries):
        if key in (str(position), entry.get("name") if isinstance(entry, dict) else None):
            return entry
    names = [entry.get("name") for entry in entries if isinstance(entry, dict) and entry.get("name")]
    raise InputError(f"{override!r}: no entry {key!r}; there are {names or len(entries)}")
