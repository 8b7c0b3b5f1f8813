"""The settings of :func:`mlret.training.adaptation.adapt.adapt_to_language`.

Separate from the training itself, so that the command line can make its options from them without importing torch.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class AdaptationSettings(BaseModel):
    """How an adapter is trained by contrastive context prediction (CCP) on the text of one language."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(100, ge=1, description="optimizer steps")
    batch_size: int = Field(64, ge=8, description="sentences in a batch, each a centre and a context of its neighbours")
    layers: int = Field(2, ge=1, description="number of upper layers whose adapters are trained")
    reduction: int = Field(4, ge=1, description="the inner width of an adapter is the hidden size divided by this")
    learning_rate: float = Field(1e-4, gt=0, description="its highest value")
    window: int = Field(2, ge=1, description="a context sentence is at most this many sentences away")
    temperature: float = Field(0.05, gt=0, description="temperature of the softmax")
    bank: int = Field(1024, ge=0, description="vectors in the memory bank; 0 for none")
    projection: int = Field(256, ge=0, description="width of the projection head; 0 for none")
    asymmetric_batch_norm: bool = Field(True, description="one side in running statistics, swapped at each step")
    keep: float = Field(1.0, ge=0, description="weight of staying near the vectors that the encoder gave before")
    dropout: bool = Field(True, description="the encoder's dropout is on in training")
    max_length: int = Field(128, ge=8, description="tokens of a sentence")
    spelling: bool = Field(True, description="spell a script that the vocabulary lacks, unless the encoder is worse so")
    seed: int = Field(0, description="seed of the adapter, of the batches and of what is held out")
