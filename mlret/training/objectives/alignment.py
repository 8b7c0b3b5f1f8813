"""The translation ranking loss: it pulls together a text and its translation, or two words with the same meaning."""

from __future__ import annotations

from collections.abc import Iterable

from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.nn import functional

from mlret.training.objectives.contrast import info_nce
from mlret.training.ranks import gather_rows


class TranslationRankingLoss(nn.Module):
    """Symmetric InfoNCE over the batch, in which pairs with the same source text are not negatives of each other.

    The ranking loss of sentence-transformers has no such mask. In a batch of many short pairs, a source text recurs
    with several correct translations, which that loss would push away. With several processes, the batch is the union
    of the batches of all processes.

    Parameters
    ----------
    model
        The encoder.
    temperature
        The cosines are divided by this value.
    own_side
        Whether the other source texts are negatives, too. With words of one meaning as pairs, this is the NT-Xent loss
        of BabelBERT (arXiv 2208.01018).
    """

    def __init__(self, model: SentenceTransformer, *, temperature: float = 0.05, own_side: bool = False) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature
        self.own_side = own_side

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> dict[str, Tensor]:
        """Return the loss of one batch.

        Parameters
        ----------
        sentence_features
            The tokenized source texts, then the tokenized target texts.
        labels
            ``(n, 2)`` int64: the group and the source text of each pair.
        """
        source, target = (
            functional.normalize(gather_rows(self.model(features)["sentence_embedding"]).float(), dim=-1)
            for features in sentence_features
        )
        document = gather_rows(labels[:, 1])
        losses = [
            info_nce(a, b, document, temperature=self.temperature, own_side=self.own_side)[0]
            for a, b in ((source, target), (target, source))
        ]
        return {"alignment": (losses[0] + losses[1]) / 2}
