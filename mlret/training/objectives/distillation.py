"""Distillation across languages: a text and its translation get the vector that a teacher gives the text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import EmbedDistillLoss
from torch import Tensor
from torch.nn import functional

from mlret.training.objectives.contrast import info_nce
from mlret.training.ranks import gather_rows

# Teacher's vectors that are nearer than this are those of the same text.
_SAME = 0.9999


class TranslationDistillationLoss(EmbedDistillLoss):
    """The distance to the teacher's vector and, beside it, contrast with the teacher's vectors of the other texts.

    Reimers and Gurevych 2020 (arXiv 2004.09813) have the distance alone. It is content with a vector that is near;
    contrast asks that no other text's be nearer, which is what retrieval needs. The teacher's side costs nothing: its
    vectors are computed once.

    Parameters
    ----------
    model
        The student.
    distance
        ``"cosine"`` or ``"mse"``.
    contrast
        Weight of the contrast beside the distance; 0 for none.
    temperature
        Of the contrast: cosines are divided by it.
    projection_dim
        The length of the teacher's vectors, where the student's are of another: a linear map is learned between them.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        *,
        distance: Literal["cosine", "mse"] = "cosine",
        contrast: float = 0.0,
        temperature: float = 0.05,
        projection_dim: int | None = None,
    ) -> None:
        super().__init__(model, distance_metric=distance, projection_dim=projection_dim)
        self.contrast = contrast
        self.temperature = temperature

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor | None) -> Tensor:
        """The loss of one batch; ``labels`` is ``(n, d)`` float32, the teacher's vectors."""
        assert labels is not None
        sides = [self.model(features)["sentence_embedding"] for features in sentence_features]
        loss = self.compute_loss_from_embeddings(sides, [labels for _ in sides])
        if not self.contrast:
            return loss
        teacher = functional.normalize(gather_rows(labels).float(), dim=-1)
        # The number of each text's first occurrence in the batch: texts that are the same are no negatives.
        text = (teacher @ teacher.T > _SAME).int().argmax(dim=1)
        terms = []
        for side in sides:
            mapped = side if self.projection is None else self.projection(side)
            student = functional.normalize(gather_rows(mapped).float(), dim=-1)
            for query, key in ((student, teacher), (teacher, student)):
                terms.append(info_nce(query, key, text, temperature=self.temperature, own_side=False)[0])
        return loss + self.contrast * torch.stack(terms).mean()
