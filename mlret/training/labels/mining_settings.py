"""The rules that decide which hits become hard negatives.

Separate from the mining itself, so that the command line can make its options from them without importing an index.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mlret.errors import InputError

Sampling = Literal["top", "random"]
PassageLanguage = Literal["any", "same", "other"]
# The modes of mlret.index.search, whose import takes most of a second.
_Mode = Literal["dense", "lexical", "hybrid"]


class MiningSettings(BaseModel):
    """Rules that decide which hits become negatives.

    Parameters
    ----------
    negatives
        Maximum number of negatives for each query.
    skip
        Number of top hits, positives not counted, that are skipped.
    depth
        Number of ranks that are considered, including the skipped ones.
    sampling
        ``"top"`` takes the best remaining hits; ``"random"`` draws from them, depending on ``seed`` and the query, and
        keeps the order of their ranks.
    relative_margin
        A negative's score must be below the positive's by at least this fraction of it; 0.05 is the 95 % of
        NV-Retriever. Of several positives the lowest score counts. ``None`` disables the rule. It does not apply to a
        lexical search, because lexical scores are not compared with those of positives.
    absolute_margin
        The same as a difference of scores.
    max_score, min_score
        Bounds of a negative's score, both allowed themselves.
    mode
        How the index is searched: ``"dense"``, ``"lexical"`` or ``"hybrid"``. In a hybrid search the margins and bounds
        apply to the dense scores.
    language
        ``"any"`` allows all passages, ``"same"`` only passages in the language of the query, ``"other"`` only passages
        in other languages.
    where
        A filter of passages, as for :meth:`mlret.Index.search_batch`.
    keep
        Keep the negatives that an example already has and add to them; otherwise they are replaced. Teacher scores of
        the example are dropped unless nothing was added.
    with_scores
        Store the index's own scores in the examples, as scores of a teacher.
    seed
        Seed of random sampling.

    Raises
    ------
    InputError
        If a number is out of range, a name is unknown, or two settings exclude each other.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    negatives: int = Field(8, ge=1, description="maximum number of negatives of a query")
    skip: int = Field(0, ge=0, description="number of the best hits to skip, positives not counted")
    depth: int = Field(100, ge=1, description="number of ranks to look at")
    sampling: Sampling = Field(
        "top", description="top: the best of the remaining hits; random: drawn from all of them, by the seed"
    )
    relative_margin: float | None = Field(
        0.05, description="negatives score at least this part of the positive's score below it"
    )
    absolute_margin: float | None = Field(None, description="the same as a difference of scores")
    max_score: float | None = Field(None, description="highest score of a negative")
    min_score: float | None = Field(None, description="lowest score of a negative")
    mode: _Mode = Field("dense", description="dense, lexical or hybrid search")
    language: PassageLanguage = Field(
        "any", description="any; same: only in the language of the query; other: only in other languages"
    )
    where: dict[str, Any] | None = Field(None, description="only passages that match: lang=sw, …; repeatable")
    keep: bool = Field(False, description="add to the negatives of DATA, instead of replacing them")
    with_scores: bool = Field(False, description="write the scores of the search, as those of a teacher")
    seed: int = Field(0, ge=0, description="seed of random sampling")

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise InputError(_problem(error)) from error

    @model_validator(mode="after")
    def _consistent(self) -> MiningSettings:
        if self.depth <= self.skip:
            raise ValueError(f"depth {self.depth} leaves nothing after skip {self.skip}; give a larger depth")
        if self.mode == "lexical" and (self.absolute_margin is not None or self.with_scores):
            raise ValueError(
                "a lexical search gives positives no score to compare with: omit the absolute margin and the "
                "scores, or search dense or hybrid"
            )
        if self.keep and self.with_scores:
            raise ValueError("the negatives that are kept have no score of the index; omit keep or with_scores")
        return self


def _problem(error: ValidationError) -> str:
    """Return the first problem of a validation error as one line."""
    first = error.errors()[0]
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    name = ".".join(map(str, first["loc"]))
    if first["type"] == "literal_error":
        known = get_args(MiningSettings.model_fields[name].annotation)
        return f"no {name} {first['input']!r}; there are {', '.join(known)}"
    if first["type"] == "greater_than_equal":
        return f"{name} is {first['input']}; ask for at least {first['ctx']['ge']}"
    return f"{name} is {first['input']!r}: {first['msg']}"
