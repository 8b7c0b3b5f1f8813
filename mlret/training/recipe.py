"""Training recipes: YAML in, checked settings out. A wrong key is an error that names it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mlret.data.languages import normalise_language
from mlret.errors import InputError


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ColumnNames(_Settings):
    """What the keys or columns of a document are called."""

    text: str = Field("text", description="running text, split into sentences here")
    sentences: str = Field("sents", description="a list of sentences; taken where both are there")
    language: str = "lang"


class DocumentSource(_Settings):
    """Ordered sentences of monolingual documents: files of JSONL, Parquet, or plain text."""

    kind: Literal["documents"]
    files: list[str] = Field(min_length=1, description="paths or globs, relative to the data folder")
    language: str | None = Field(None, description="of documents that do not say theirs; plain text never does")
    columns: ColumnNames = ColumnNames()


class HubSource(_Settings):
    """Ordered sentences of monolingual documents: a data set of the hub, streamed."""

    kind: Literal["hub"]
    dataset: str = Field(description="its id, or a folder that datasets.load_dataset understands")
    config: str | None = None
    split: str = "train"
    language: str | None = Field(None, description="of documents that do not say theirs")
    columns: ColumnNames = ColumnNames()
    limit: int | None = Field(None, ge=1, description="documents to take")


class ParallelSource(_Settings):
    """Aligned texts, one pair a line: a TSV whose columns are named here."""

    kind: Literal["parallel"]
    files: list[str] = Field(min_length=1)
    columns: list[str] = Field(description="names of the TSV columns; needs language, source, target")
    header: bool = False
    source_language: str = "en"
    group: str = "sentences"


class MultiParallelSource(_Settings):
    """The same lines in many languages: a TSV of language, line number, text."""

    kind: Literal["multi-parallel"]
    files: list[str] = Field(min_length=1)
    documents: str = Field(description="file with the document id of each line")
    keep: tuple[float, float] = Field(description="which documents, as fractions of their number in file order")
    pivot: str = Field(description="the file's own code of the side that every language is paired with")
    aliases: dict[str, str] = Field({}, description="the file's own codes that are no language codes")
    group: str = "sentences"


Source = Annotated[DocumentSource | HubSource | ParallelSource | MultiParallelSource, Field(discriminator="kind")]


class TokenizerSettings(_Settings):
    """A SentencePiece Unigram vocabulary, trained on text balanced over languages."""

    vocab_size: int = Field(30_000, ge=16)
    sentences: int = Field(1_000_000, ge=1, description="sentences to train on, over all languages")
    alpha: float = Field(0.3, gt=0, le=1, description="languages are drawn in proportion to size ** alpha")
    character_coverage: float = Field(0.9998, gt=0.9, le=1)
    split_digits: bool = True


class NewBackbone(_Settings):
    """An XLM-R-shaped backbone of our own, untrained; its tokenizer is trained from the recipe's text."""

    kind: Literal["new"] = "new"
    layers: int = Field(6, ge=1)
    hidden: int = Field(256, ge=16)
    heads: int = Field(4, ge=1)
    feed_forward: int = Field(512, ge=16)
    max_length: int = Field(128, ge=8, le=510)
    dropout: float = Field(0.1, ge=0, lt=1)


class PretrainedBackbone(_Settings):
    """A model that exists, with its tokenizer: a transformers model, or an encoder to go on with."""

    kind: Literal["pretrained"]
    model: str = Field(description="a folder or a hub id")
    pooling: Literal["cls", "mean"] | None = Field(None, description="by default cls; an encoder keeps its own")
    max_length: int = Field(128, ge=8)


Backbone = Annotated[NewBackbone | PretrainedBackbone, Field(discriminator="kind")]


class StageSettings(_Settings):
    """What every stage of training has."""

    name: str = Field(pattern=r"^[\w.-]+$")
    steps: int = Field(ge=1, description="optimizer steps")
    batch_size: int = Field(256, ge=2, description="pairs in a batch, over all processes")
    gradient_accumulation: int = Field(1, ge=1, description="batches in an optimizer step")
    mini_batch_size: int | None = Field(
        None, ge=1, description="texts encoded at once: less memory, a second forward pass, the same gradients"
    )
    learning_rate: float = Field(5e-4, gt=0)
    embedding_learning_rate: float | None = Field(
        None, gt=0, description="of the tokens' embeddings and weights; by default learning_rate"
    )
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps")
    weight_decay: float = Field(0.01, ge=0)
    adam_beta2: float = Field(0.999, gt=0, lt=1)
    adam_epsilon: float = Field(1e-8, gt=0)
    max_length: int = Field(64, ge=8, description="tokens of a text in training")
    alpha: float = Field(0.5, gt=0, le=1, description="languages are drawn in proportion to size ** alpha")
    temperature: float = Field(0.05, gt=0)
    layers: Literal["all", "none"] = Field(
        "all", description="'none' trains the encoder as a bag of words, before its layers join"
    )
    bfloat16: bool = True


class ContextStage(StageSettings):
    """Contrastive context prediction."""

    objective: Literal["ccp"]
    window: int = Field(2, ge=1, description="radius w: a context sentence is at most w sentences away")
    own_side_negatives: bool = Field(True, description="a centre's negatives include the other centres")
    other_side_negatives: bool = Field(True, description="a centre's negatives include the others' contexts")
    bank: int = Field(1024, ge=0, description="vectors in each memory bank; 0 for none")
    bank_per_language: bool = Field(True, description="one bank a language; otherwise one for all")
    bank_dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    momentum: float | None = Field(
        None, gt=0, lt=1, description="the bank and the vectors to pick come from a moving average of the encoder"
    )
    projection: int = Field(256, ge=8, description="width of the projection head")
    final_batch_norm: bool = Field(False, description="end the head in a batch norm without scale and shift")
    learn_temperature: bool = False
    asymmetric_batch_norm: bool = Field(True, description="one side in running statistics, swapped at each step")
    statistics_per_language: bool = Field(False, description="running statistics of each language")
    batch_norm_warmup: int = Field(100, ge=0, description="batches before the sides' statistics differ")
    mlm_weight: float = Field(0.0, ge=0, description="masked language modelling on the centres, beside CCP")
    monitor_documents: int = Field(
        128, ge=0, description="documents a language, at most, held out to see what training is worth"
    )

    @model_validator(mode="after")
    def _options_fit(self) -> ContextStage:
        if not (self.bank or self.own_side_negatives or self.other_side_negatives):
            raise ValueError("no negatives are left: give a bank, own_side_negatives or other_side_negatives")
        if self.layers == "none" and self.mlm_weight:
            raise ValueError("mlm_weight needs the layers: set layers to 'all'")
        return self


class AlignmentStage(StageSettings):
    """Translation ranking on parallel text."""

    objective: Literal["alignment"]
    groups: dict[str, float] = Field({"sentences": 1.0}, description="how often each group of sources is drawn")


Stage = Annotated[ContextStage | AlignmentStage, Field(discriminator="objective")]


class CalibrationSettings(_Settings):
    """Per-language statistics, from monolingual text."""

    sentences: int = Field(2000, ge=2, description="sentences a language, at most")
    min_sentences: int = Field(50, ge=2, description="a language with fewer is calibrated as unknown")
    shift: bool = True
    scale: bool = False
    rotate: bool = Field(False, description="rotate each language towards the pivot, found without parallel text")
    pivot: str = "en"


class Recipe(_Settings):
    """How to train an encoder from text."""

    name: str
    description: str
    seed: int = 42
    min_characters: int = Field(2, ge=1)
    repeated_sentences: Literal["keep", "drop"] = Field(
        "drop", description="'drop' keeps the first of a sentence's occurrences in documents of its language"
    )
    languages: list[str] | None = Field(None, min_length=1, description="train on these alone; by default on all")
    held_out: list[str] = Field([], description="files whose texts must not be trained on")
    sources: list[Source] = Field(min_length=1)
    tokenizer: TokenizerSettings | None = Field(None, description="of a new backbone")
    backbone: Backbone = NewBackbone()
    stages: list[Stage] = Field(min_length=1)
    calibration: CalibrationSettings = CalibrationSettings()

    @field_validator("languages")
    @classmethod
    def _languages_are_known(cls, codes: list[str] | None) -> list[str] | None:
        try:
            return None if codes is None else [normalise_language(code) for code in codes]
        except InputError as error:
            raise ValueError(str(error)) from error

    @field_validator("backbone", mode="before")
    @classmethod
    def _a_backbone_is_new_unless_it_says(cls, value: Any) -> Any:
        return {"kind": "new", **value} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _the_backbone_fits(self) -> Recipe:
        if isinstance(self.backbone, NewBackbone):
            return self
        if self.tokenizer is not None:
            raise ValueError("a pretrained backbone brings its tokenizer: remove the key 'tokenizer'")
        for stage in self.stages:
            if stage.layers == "none":
                raise ValueError(f"stage {stage.name!r}: only a new backbone trains without layers")
        return self

    @model_validator(mode="after")
    def _stages_have_text(self) -> Recipe:
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(f"two stages share a name: {names}")
        groups = {source.group for source in self.sources if not isinstance(source, DocumentSource | HubSource)}
        for stage in self.stages:
            if isinstance(stage, AlignmentStage) and (missing := set(stage.groups) - groups):
                raise ValueError(f"stage {stage.name!r} draws from {sorted(missing)}, which no source provides")
            if isinstance(stage, ContextStage) and not any(
                isinstance(source, DocumentSource | HubSource) for source in self.sources
            ):
                raise ValueError(f"stage {stage.name!r} needs a source of kind 'documents' or 'hub'")
        return self


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a training recipe.

    Parameters
    ----------
    path
        A YAML file.
    overrides
        Changes to it, ``"key.key=value"``: the value is YAML, a stage or source goes by its name or its number
        (``"stages.ccp.steps=100"``, ``"backbone.model=models/xlm-r"``).

    Raises
    ------
    InputError
        If the file is missing, is not YAML, or a key is unknown, missing or out of range.
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
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "recipe"
        raise InputError(f"{path}: {key}: {first['msg']}") from error


def _override(settings: Any, override: str) -> None:
    """Change one value of a recipe's nested settings, in place."""
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
        raise InputError(f"{override!r}: {last!r} is no key here")
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
