"""Distillation across languages: a text and its translation are trained towards the teacher's vector of the text."""

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

# Teacher vectors with a cosine above this value are treated as vectors of the same text.
_SAME = 0.9999


class TranslationDistillationLoss(EmbedDistillLoss):
    """The distance to the teacher's vector plus, optionally, a contrast with the teacher's vectors of the other texts.

    Reimers and Gurevych 2020 (arXiv 2004.09813) use the distance alone, which is satisfied by any vector that is near.
    The contrast also asks that no other text's vector be nearer, which is what retrieval needs. It adds no forward pass
    of the teacher, because the teacher's vectors are computed once, in advance.

    Parameters
    ----------
    model
        The student.
    distance
        ``"cosine"`` or ``"mse"``.
    contrast
        The weight of the contrast term; 0 leaves it out.
    temperature
        The cosines of the contrast term are divided by this value.
    projection_dim
        The number of dimensions of the teacher's vectors, if it differs from the student's. A linear map from the
        student's vectors to the teacher's is then learned.
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
        """Return the loss of one batch.

        Parameters
        ----------
        sentence_features
            The tokenized texts of each side of the pairs.
        labels
            ``(n, d)`` float32: the teacher's vectors of the pairs.
        """
        assert labels is not None
        sides = [self.model(features)["sentence_embedding"] for features in sentence_features]
        loss = self.compute_loss_from_embeddings(sides, [labels for _ in sides])
        if not self.contrast:
            return loss
        teacher = functional.normalize(gather_rows(labels).float(), dim=-1)
        # The row where each text first occurs in the batch: equal texts are not negatives of each other.
        text = (teacher @ teacher.T > _SAME).int().argmax(dim=1)
        terms = []
        for side in sides:
            mapped = side if self.projection is None else self.projection(side)
            student = functional.normalize(gather_rows(mapped).float(), dim=-1)
            for query, key in ((student, teacher), (teacher, student)):
                terms.append(info_nce(query, key, text, temperature=self.temperature, own_side=False)[0])
        return loss + self.contrast * torch.stack(terms).mean()
