"""Build the objective of each training stage: the examples it draws, how they become batches, and its loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.model import BaseModel
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss
from torch import nn
from transformers import PreTrainedTokenizerFast

from mlret.encoders.adapters import LanguageTransformer, add_language, freeze_for_transfer, freeze_shared
from mlret.encoders.bag_of_words import is_bag_of_words, token_embeddings
from mlret.encoders.loading import load_encoder
from mlret.encoders.longest_input import positions_of
from mlret.errors import InputError
from mlret.training.batches.concepts import ConceptPairs
from mlret.training.batches.examples import RankingCollator, RankingExamples
from mlret.training.batches.packed import PackedDocuments
from mlret.training.batches.pairs import Batchable, ContextPairs, Padding, PairCollator, Pairs, TranslationPairs
from mlret.training.batches.passages import Passages
from mlret.training.batches.single_texts import SingleTexts
from mlret.training.computing import in_bfloat16
from mlret.training.objectives.alignment import TranslationRankingLoss
from mlret.training.objectives.ccp import ContextPredictionLoss
from mlret.training.objectives.distillation import TranslationDistillationLoss
from mlret.training.objectives.layer_distillation import LayerDistillationLoss
from mlret.training.objectives.masking import MaskedLanguageModel, MaskedObjective
from mlret.training.objectives.monitors import ContextMonitor
from mlret.training.objectives.ranking import RankingLoss
from mlret.training.objectives.teacher_vectors import TeacherVectors
from mlret.training.ranks import average_gradients, main_first
from mlret.training.recipe import Recipe
from mlret.training.stages import (
    AlignmentStage,
    ContextStage,
    LayerDistillationStage,
    LexicalStage,
    MaskedStage,
    RankingStage,
    Stage,
    StageSettings,
    TranslationDistillationStage,
)
from mlret.training.text.training_text import TrainingText


@dataclass(frozen=True)
class Objective:
    """The data and the loss that a stage trains with.

    Attributes
    ----------
    examples
        The examples that batches are drawn from.
    collator
        A callable that turns the keys of examples into a batch.
    loss
        A sentence-transformers loss over the encoder.
    monitor
        Measurements to take at every log step; ``None`` for no monitor.
    unit
        The name of one example in reports, in the plural.
    texts
        The number of texts in one example.
    """

    examples: Batchable
    collator: Callable[[list[Any]], dict[str, Any]]
    loss: nn.Module
    monitor: ContextMonitor | None = None
    unit: str = "pairs"
    texts: int = 2


def check_stage(stage: Stage, model: BaseModel) -> None:
    """Raise an error if a stage cannot train a model.

    If the model exists before the run starts, this is checked before any text is read.

    Parameters
    ----------
    stage
        The settings of the stage.
    model
        The encoder that the stage would train.

    Raises
    ------
    InputError
        If the stage needs language adapters that the model lacks, needs one vector per text but the model has more, or
        needs longer inputs than the model accepts; or if the folder with the masked language modelling head is missing.
    """
    if not isinstance(stage, RankingStage | MaskedStage) and not isinstance(model, SentenceTransformer):
        raise InputError(
            f"stage {stage.name!r}: {stage.objective} trains encoders with one vector per text; give a multi-vector "
            "encoder stages of objective 'ranking' or 'mlm'"
        )
    adapter = stage.adapter if isinstance(stage, MaskedStage) else None
    if (stage.freeze in ("transfer", "shared") or adapter is not None) and not isinstance(
        model[0], LanguageTransformer
    ):
        raise InputError(
            f"stage {stage.name!r}: the encoder has no language adapters; add backbone.adapters to the recipe, or take "
            "an encoder of X-MOD's kind"
        )
    if stage.layers == "none" and not is_bag_of_words(model):
        raise InputError(
            f"stage {stage.name!r}: layers can be skipped only while they are the identity, and this encoder's are "
            "trained: set layers to 'all'"
        )
    longest = model.max_seq_length
    if not isinstance(stage, MaskedStage):  # other stages set their own length, which the network must accept
        longest = positions_of(model[0].model) if isinstance(model[0], Transformer) else None
    if longest is not None and stage.max_length > longest:
        raise InputError(
            f"stage {stage.name!r}: passages of {stage.max_length} tokens are longer than the encoder's {longest}: "
            "lower max_length"
        )
    head = stage.head if isinstance(stage, MaskedStage) else None
    if head is not None and not Path(head).is_dir() and len(Path(head).parts) > 2:
        raise InputError(f"stage {stage.name!r}: no folder {head} to take the head from")


class ObjectiveBuilder:
    """Build the objectives of a run's stages.

    Parameters
    ----------
    recipe
        The recipe of the run.
    text
        The training text of the run.
    tokenizer
        The tokenizer of the encoder.
    output
        The run's folder. Its subfolders ``tokens/`` and ``teacher/`` cache what is computed only once.
    """

    def __init__(self, recipe: Recipe, text: TrainingText, tokenizer: PreTrainedTokenizerFast, output: Path) -> None:
        self.recipe, self.text, self.tokenizer, self.output = recipe, text, tokenizer, output

    def __call__(self, stage: Stage, model: BaseModel) -> Objective:
        """Return the objective of a stage.

        Parameters
        ----------
        stage
            The settings of the stage.
        model
            The encoder to train. It is changed in place if the stage freezes parameters or adds an adapter.

        Returns
        -------
        Objective
            The examples, the collator and the loss of the stage.

        Raises
        ------
        InputError
            If the stage cannot train this kind of model, or the recipe has too little text for the stage.
        """
        check_stage(stage, model)
        if stage.freeze == "transfer":
            freeze_for_transfer(model)
        elif stage.freeze == "shared":
            freeze_shared(model)
        elif stage.freeze == "embeddings":
            token_embeddings(model).requires_grad_(False)
        elif stage.freeze == "backbone":
            model[0].requires_grad_(False)
        if isinstance(stage, RankingStage):
            return self._ranking(stage, model)
        if isinstance(stage, MaskedStage):
            return self._masked(stage, model)
        assert isinstance(model, SentenceTransformer)
        if isinstance(stage, ContextStage):
            return self._context(stage, model)
        if isinstance(stage, LexicalStage):
            words = ConceptPairs(self.text, self.tokenizer, stage)
            loss = TranslationRankingLoss(model, temperature=stage.temperature, own_side=True)
            return Objective(words, self._collator(words, stage, model), loss, unit="words")
        pairs = self._translations(stage)
        if isinstance(stage, TranslationDistillationStage):
            return self._distillation(stage, model, pairs)
        if isinstance(stage, LayerDistillationStage):
            return self._layers(stage, model, pairs)
        loss = TranslationRankingLoss(model, temperature=stage.temperature)
        return Objective(pairs, self._collator(pairs, stage, model), loss)

    def _translations(
        self, stage: AlignmentStage | LayerDistillationStage | TranslationDistillationStage
    ) -> TranslationPairs:
        with main_first():
            return TranslationPairs(self.text, self.tokenizer, stage, self._tokens())

    def _tokens(self) -> Path:
        folder = self.output / "tokens"
        folder.mkdir(exist_ok=True)
        return folder

    def _collator(self, pairs: Pairs, stage: StageSettings, model: BaseModel, **options: Any) -> PairCollator:
        first = model[0]
        adapter_of = first.adapter_of if isinstance(first, LanguageTransformer) else None
        return PairCollator(pairs, self.tokenizer, max_length=stage.max_length, adapter_of=adapter_of, **options)

    def _ranking(self, stage: RankingStage, model: BaseModel) -> Objective:
        examples = RankingExamples(self.text.examples, stage)
        collator = RankingCollator(
            examples,
            model,
            instructions=self.recipe.instructions,
            query_length=stage.query_length,
            max_length=stage.max_length,
        )
        usual = 0.05 if isinstance(model, SentenceTransformer) else 1.0
        loss = RankingLoss(
            model, stage.losses, temperature=stage.temperature or usual, normalise=stage.normalise_scores
        )
        return Objective(examples, collator, loss, unit="queries", texts=stage.negatives + 2)

    def _distillation(
        self, stage: TranslationDistillationStage, model: SentenceTransformer, pairs: TranslationPairs
    ) -> Objective:
        folder = self.output / "teacher"
        with main_first():
            folder.mkdir(exist_ok=True)
            vectors = TeacherVectors(pairs, stage.teacher, folder)
        dims = model.get_embedding_dimension() or vectors.dims
        loss = TranslationDistillationLoss(
            model,
            distance=stage.distance,
            contrast=stage.contrast,
            temperature=stage.temperature,
            projection_dim=None if vectors.dims == dims else vectors.dims,
        )
        if loss.projection is not None:
            average_gradients(loss.projection)
        one_side = stage.source_share is not None
        collator = self._collator(pairs, stage, model, targets=vectors, without_anchors=one_side)
        whole = self._at_shorter_lengths(stage, model, loss, dims, vectors.dims) if stage.matryoshka else loss
        return Objective(pairs, collator, whole, texts=1 if one_side else 2)

    def _at_shorter_lengths(
        self,
        stage: TranslationDistillationStage,
        model: SentenceTransformer,
        loss: TranslationDistillationLoss,
        dims: int,
        teacher_dims: int,
    ) -> MatryoshkaLoss:
        if dims != teacher_dims or max(stage.matryoshka) >= dims:
            raise InputError(
                f"stage {stage.name!r}: matryoshka {stage.matryoshka} must be less than the encoder's {dims} dims, "
                f"which must be as many as the teacher's {teacher_dims}"
            )
        return MatryoshkaLoss(model, loss, [dims, *sorted(stage.matryoshka, reverse=True)])

    def _layers(self, stage: LayerDistillationStage, model: SentenceTransformer, pairs: TranslationPairs) -> Objective:
        passages = Passages(self._documents(model), stage) if stage.passages else None
        texts = SingleTexts(pairs, passages, share=stage.passages)
        teacher = load_encoder(None if stage.teacher == "bundled" else stage.teacher).model
        try:
            loss = LayerDistillationLoss(model, teacher, bfloat16=in_bfloat16(stage))
        except ValueError as error:
            raise InputError(f"stage {stage.name!r}: {error}") from error
        return Objective(texts, self._collator(texts, stage, model), loss, unit="texts", texts=1)

    def _masked(self, stage: MaskedStage, model: BaseModel) -> Objective:
        documents = self._documents(model)
        languages = None
        if stage.adapter is not None:
            languages = [stage.adapter]
            self._open_adapter(stage, model)
        elif stage.freeze == "shared" and isinstance(first := model[0], LanguageTransformer):
            # The text of a language without an adapter would train the adapter of another language.
            languages = [code for code in documents.languages if code in first.languages]
        passages = Passages(documents, stage, languages=languages)
        language_model = MaskedLanguageModel(
            model,
            pretrained=stage.head or self.recipe.pretrained_language_model,
            frozen=stage.adapter is not None and stage.head is not None,
            probability=stage.probability,
        )
        loss = MaskedObjective(model, language_model)
        return Objective(passages, self._collator(passages, stage, model), loss, unit="passages", texts=1)

    def _open_adapter(self, stage: MaskedStage, model: BaseModel) -> None:
        """Add an adapter for the stage's language if there is none, and freeze all other parameters."""
        assert stage.adapter is not None
        first: Any = model[0]
        if not isinstance(first, LanguageTransformer) or stage.adapter not in first.languages:
            add_language(model, stage.adapter, start=stage.start, seed=self.recipe.seed)
        freeze_shared(model, but=[stage.adapter])

    def _documents(self, model: BaseModel) -> PackedDocuments:
        with main_first():
            return PackedDocuments.prepare(
                self.text.documents,
                self.text.statistics.documents,
                self.tokenizer,
                self._tokens(),
                max_length=model.max_seq_length or self.tokenizer.model_max_length,
            )

    def _context(self, stage: ContextStage, model: SentenceTransformer) -> Objective:
        pairs = ContextPairs(self._documents(model), stage, seed=self.recipe.seed)
        loss = ContextPredictionLoss(
            model,
            languages=len(pairs.languages),
            bank=stage.bank,
            bank_per_language=stage.bank_per_language,
            bank_dtype=getattr(torch, stage.bank_dtype),
            own_side_negatives=stage.own_side_negatives,
            other_side_negatives=stage.other_side_negatives,
            projection=stage.projection,
            final_batch_norm=stage.final_batch_norm,
            temperature=stage.temperature,
            learn_temperature=stage.learn_temperature,
            asymmetric_batch_norm=stage.asymmetric_batch_norm,
            statistics_per_language=stage.statistics_per_language,
            batch_norm_warmup=stage.batch_norm_warmup,
            momentum=stage.momentum,
            masked_language_model=(
                MaskedLanguageModel(model, pretrained=self.recipe.pretrained_language_model)
                if stage.mlm_weight
                else None
            ),
            masked_language_model_weight=stage.mlm_weight,
        )
        monitor = ContextMonitor(
            loss,
            model,
            pairs.held_out,
            Padding(self.tokenizer, max_length=stage.max_length),
            warmup=max(stage.batch_norm_warmup, int(stage.warmup * stage.steps)),
        )
        return Objective(pairs, self._collator(pairs, stage, model), loss, monitor)
