"""The settings of training an adapter for one more language.

Separate from the training itself, so that the command line can make its options from them without importing torch.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class AdapterSettings(BaseModel):
    """How :func:`mlret.training.adapter.train_adapter` trains.

    The adapter learns on the weights of ``base``, which were trained to predict masked words, and is put into the
    encoder afterwards, as in ColBERT-XM. By default it learns on the encoder itself, with the prediction head of the
    encoder if it has one, and otherwise with a new head that is trained together with the adapter.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str | None = Field(
        None,
        description="the encoder that MODEL was fine-tuned from: the adapter learns on its shared weights, as in "
        "ColBERT-XM, and is then put into MODEL. By default it learns on MODEL's own",
    )
    start: str | None = Field(None, description="copy the adapter of this language; by default start at random")
    head: str | None = Field(
        None, description="take the prediction head of this masked language model, and leave it as it is"
    )
    steps: int = Field(2000, ge=1, description="optimizer steps")
    batch_size: int = Field(64, ge=2, description="passages in a batch")
    max_length: int = Field(128, ge=8, description="tokens of a passage")
    learning_rate: float = Field(1e-4, ge=0, description="its highest value")
    bfloat16: bool = Field(True, description="compute in bfloat16")
    seed: int = Field(42, description="seed of the adapter and of the batches")
