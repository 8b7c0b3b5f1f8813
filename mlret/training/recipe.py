"""Training recipes: YAML in, checked settings out. A wrong key is an error that names it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mlret.data.languages import normalise_language
from mlret.errors import InputError


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DocumentSource(_Settings):
    """Ordered sentences of monolingual documents: JSONL with ``id``, ``lang`` and ``sents`` (or ``text``)."""

    kind: Literal["documents"]
    files: list[str] = Field(min_length=1, description="paths or globs, relative to the data folder")


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


Source = Annotated[DocumentSource | ParallelSource | MultiParallelSource, Field(discriminator="kind")]


class TokenizerSettings(_Settings):
    """A SentencePiece Unigram vocabulary, trained on text balanced over languages."""

    vocab_size: int = Field(30_000, ge=16)
    sentences: int = Field(1_000_000, ge=1, description="sentences to train on, over all languages")
    alpha: float = Field(0.3, gt=0, le=1, description="languages are drawn in proportion to size ** alpha")
    character_coverage: float = Field(0.9998, gt=0.9, le=1)
    split_digits: bool = True


class BackboneSettings(_Settings):
    """The shape of the XLM-R-style backbone."""

    layers: int = Field(6, ge=1)
    hidden: int = Field(256, ge=16)
    heads: int = Field(4, ge=1)
    feed_forward: int = Field(512, ge=16)
    max_length: int = Field(128, ge=8, le=510)
    dropout: float = Field(0.1, ge=0, lt=1)


class StageSettings(_Settings):
    """What every stage of training has."""

    name: str
    steps: int = Field(ge=1)
    batch_size: int = Field(256, ge=2)
    learning_rate: float = Field(5e-4, gt=0)
    embedding_learning_rate: float = Field(1e-3, gt=0, description="of the tokens' embeddings and weights")
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps")
    weight_decay: float = Field(0.01, ge=0)
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
    bank: int = Field(1024, ge=0, description="vectors in each language's memory bank")
    projection: int = Field(256, ge=8, description="width of the projection head")
    asymmetric_batch_norm: bool = True
    batch_norm_warmup: int = Field(100, ge=0, description="steps before the sides' statistics differ")


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


class Recipe(_Settings):
    """How to train an encoder from text."""

    name: str
    description: str
    seed: int = 42
    min_characters: int = Field(2, ge=1)
    languages: list[str] | None = Field(None, min_length=1, description="train on these alone; by default on all")
    held_out: list[str] = Field([], description="files whose texts must not be trained on")
    sources: list[Source] = Field(min_length=1)
    tokenizer: TokenizerSettings = TokenizerSettings()
    backbone: BackboneSettings = BackboneSettings()
    stages: list[Stage] = Field(min_length=1)
    calibration: CalibrationSettings = CalibrationSettings()

    @field_validator("languages")
    @classmethod
    def _languages_are_known(cls, codes: list[str] | None) -> list[str] | None:
        try:
            return None if codes is None else [normalise_language(code) for code in codes]
        except InputError as error:
            raise ValueError(str(error)) from error

    @model_validator(mode="after")
    def _stages_have_text(self) -> Recipe:
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(f"two stages share a name: {names}")
        groups = {source.group for source in self.sources if not isinstance(source, DocumentSource)}
        for stage in self.stages:
            if isinstance(stage, AlignmentStage) and (missing := set(stage.groups) - groups):
                raise ValueError(f"stage {stage.name!r} draws from {sorted(missing)}, which no source provides")
            if isinstance(stage, ContextStage) and not any(
                isinstance(source, DocumentSource) for source in self.sources
            ):
                raise ValueError(f"stage {stage.name!r} needs a source of kind 'documents'")
        return self


def read_recipe(path: Path) -> Recipe:
    """Read and check a training recipe.

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
    try:
        return Recipe.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "recipe"
        raise InputError(f"{path}: {key}: {first['msg']}") from error
