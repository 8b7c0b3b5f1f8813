"""The stages of a recipe: one settings class for each training objective."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from mlret.data.languages import normalise_language
from mlret.errors import InputError
from mlret.training.sources import Settings

_Weight = Annotated[float, Field(gt=0)]


class FewBits(Settings):
    """Settings for quantisation-aware training: weights are rounded to this many bits in every forward pass."""

    layers: Literal[8, 4, 2] = Field(4, description="of a number of the layers' matrices")
    embeddings: Literal[8, 4, 2] = Field(4, description="of a number of the tokens' embeddings")


class StageSettings(Settings):
    """Settings that all training stages share."""

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
    max_length: int = Field(64, ge=8, description="maximum number of tokens of a text in training")
    alpha: float = Field(0.5, gt=0, le=1, description="languages are drawn in proportion to size ** alpha")
    layers: Literal["all", "none"] = Field(
        "all", description="'none' trains the encoder as a bag of words, before its layers join"
    )
    bfloat16: bool = Field(True, description="compute in bfloat16 where the processor or the GPU is faster at it")
    optimizer: Literal["adamw", "schedule-free"] = Field(
        "adamw", description="'schedule-free': AdamW by averaging, constant after the warm-up (extra: train)"
    )
    freeze: Literal["none", "embeddings", "transfer", "shared", "backbone"] = Field(
        "none",
        description="'embeddings': the embeddings stay; 'transfer': these and language adapters stay, one language "
        "trains all else; 'shared': all but the adapters stays; 'backbone': the transformer stays, what follows it "
        "learns",
    )
    few_bits: FewBits | None = Field(
        None, description="train the transformer as scripts/pack_encoder.py stores it, in so few bits"
    )

    @model_validator(mode="after")
    def _few_bits_are_of_layers(self) -> StageSettings:
        if self.few_bits is not None and self.layers == "none":
            raise ValueError("few_bits needs the layers: set layers to 'all'")
        return self


class ContextStage(StageSettings):
    """A stage of contrastive context prediction (CCP)."""

    objective: Literal["ccp"]
    temperature: float = Field(0.05, gt=0)
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
    mlm_weight: float = Field(0.0, ge=0, description="weight of masked language modelling on the centres")
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
    """A stage of translation ranking on parallel text."""

    objective: Literal["alignment"]
    temperature: float = Field(0.05, gt=0)
    segmentations: int = Field(
        1, ge=1, description="ways in which texts are split into tokens; all but the first lack some tokens"
    )
    groups: dict[str, _Weight] = Field({"sentences": 1.0}, description="how often each group of sources is drawn")


RankingTerm = Literal["pairwise", "in_batch", "kl", "margin_mse", "rank_aware"]
# The terms that are distilled from a teacher's scores.
DISTILLED: frozenset[RankingTerm] = frozenset({"kl", "margin_mse", "rank_aware"})


class RankingStage(StageSettings):
    """A stage that trains an encoder to rank relevant passages first, by contrast, by distillation, or by both."""

    objective: Literal["ranking"]
    temperature: Annotated[float, Field(gt=0)] | None = Field(
        None, description="by default 0.05 of cosines, and 1 of MaxSim, which adds up over a query's tokens"
    )
    losses: dict[RankingTerm, _Weight] = Field(
        {"in_batch": 1.0}, min_length=1, description="terms of the loss and their weights"
    )
    negatives: int = Field(1, ge=0, description="number of documents of a query in addition to its positive")
    normalise_scores: bool = Field(True, description="'kl': scores of both sides from 0 to 1, query by query")
    tasks: dict[str, _Weight] | None = Field(
        None,
        min_length=1,
        description="how often each task of the sources is drawn; by default in proportion to size ** alpha",
    )
    query_length: int = Field(32, ge=8, description="tokens of a query in training, at most; max_length of a document")

    @model_validator(mode="after")
    def _terms_have_documents(self) -> RankingStage:
        alone = sorted(set(self.losses) - {"in_batch"})
        if alone and not self.negatives:
            raise ValueError(f"{alone} compare a query's own documents: set negatives to 1 or more")
        return self

    @property
    def uses_teacher(self) -> bool:
        """Whether a term of the loss is distilled from a teacher's scores."""
        return bool(DISTILLED & self.losses.keys())


class TranslationDistillationStage(StageSettings):
    """A stage in which a text and its translation are both trained towards the teacher's vector of the text."""

    objective: Literal["translation-distillation"]
    teacher: str = Field(description="an encoder of the source language: 'bundled', a folder or a hub id")
    distance: Literal["cosine", "mse"] = "cosine"
    contrast: float = Field(
        0.0,
        ge=0,
        description="weight of the contrast with the teacher's vectors of the batch's other texts",
    )
    temperature: float = Field(0.05, gt=0, description="of the contrast")
    segmentations: int = Field(
        1, ge=1, description="ways in which texts are split into tokens; all but the first lack some tokens"
    )
    source_share: float | None = Field(
        None,
        ge=0,
        le=1,
        description="encode one side of a pair, the source this often; by default both, at twice the cost",
    )
    matryoshka: list[Annotated[int, Field(ge=1)]] = Field(
        [], description="shorter vectors that are trained as well, by their dims"
    )
    groups: dict[str, _Weight] = Field({"sentences": 1.0}, description="how often each group of sources is drawn")


class LayerDistillationStage(StageSettings):
    """A stage that trains each layer towards the output of one of a deeper teacher's layers, evenly spaced."""

    objective: Literal["layer-distillation"]
    teacher: str = Field(description="an encoder with the same tokenizer and width: 'bundled', a folder or a hub id")
    passages: float = Field(
        0.0, ge=0, lt=1, description="share of the batches that hold passages of documents; others hold texts of pairs"
    )
    groups: dict[str, _Weight] = Field({"sentences": 1.0}, description="how often each group of sources is drawn")


class LexicalStage(StageSettings):
    """A stage that pulls together words of the same meaning, in any two languages."""

    objective: Literal["lexical"]
    temperature: float = Field(0.07, gt=0)
    groups: dict[str, _Weight] = Field({"words": 1.0}, description="how often each group of sources is drawn")


class MaskedStage(StageSettings):
    """A stage of masked language modelling; it can train a single language adapter of a modular encoder."""

    objective: Literal["mlm"]
    adapter: str | None = Field(None, description="the language whose adapter is trained; everything else is frozen")
    start: str | None = Field(None, description="language whose adapter the new one starts from; else random")
    head: str | None = Field(None, description="model whose prediction head is used and frozen; else a new one")
    probability: float = Field(0.15, gt=0, lt=1, description="share of the tokens to predict")

    @field_validator("adapter")
    @classmethod
    def _adapter_is_a_language(cls, code: str | None) -> str | None:
        try:
            return None if code is None else normalise_language(code)
        except InputError as error:
            raise ValueError(str(error)) from error


Stage = Annotated[
    ContextStage
    | AlignmentStage
    | RankingStage
    | TranslationDistillationStage
    | LayerDistillationStage
    | LexicalStage
    | MaskedStage,
    Field(discriminator="objective"),
]
