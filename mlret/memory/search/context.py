"""Fit search results into a token budget, in order of time: each in full, else summarised, else dropped.

The method follows SCM (Wang et al., arXiv 2304.13343), which asks a language model what to shorten; here the lowest
ranks are shortened first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from mlret.errors import InputError

Form = Literal["raw", "summary"]


@dataclass(frozen=True, slots=True)
class Passage:
    """A text that may be included in the context.

    Attributes
    ----------
    id
        Id of the record.
    text
        Full text.
    summary
        Shorter text, ``None`` if there is none.
    at
        Sort key in time; passages of equal time keep the order of their ranks.
    """

    id: str
    text: str
    summary: str | None = None
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Piece:
    """A passage as it is included: its text in one of the forms, and what that costs."""

    id: str
    text: str
    form: Form
    cost: int


@dataclass(frozen=True, slots=True)
class Packed:
    """The passages that fit a budget.

    Attributes
    ----------
    pieces
        The included passages in order of time.
    cost
        Their total cost, separators included.
    dropped
        Ids of the passages that were dropped, best first.
    """

    pieces: tuple[Piece, ...]
    cost: int
    dropped: tuple[str, ...]

    @property
    def text(self) -> str:
        """The included texts, one per line."""
        return "\n".join(piece.text for piece in self.pieces)


def pack(passages: Sequence[Passage], budget: int, count: Callable[[str], int], *, separator: int = 1) -> Packed:
    """Choose which passages to include, and in which form.

    All are included in full if they fit. If not, summaries replace texts, from the lowest rank up; if that is still too
    much, passages are dropped, from the lowest rank up. The remaining budget then goes to the best passages that fit.

    Parameters
    ----------
    passages
        The passages, best first.
    budget
        Maximum total cost, separators included.
    count
        Function that returns the cost of a text, e.g. its tokens; called once for each text and summary.
    separator
        Cost of the line break between two pieces.

    Returns
    -------
    Packed
        The chosen pieces, their cost and the ids that were dropped.

    Raises
    ------
    InputError
        If the budget, the separator or a cost is negative.
    """
    if budget < 0 or separator < 0:
        raise InputError(f"a budget of {budget} and a separator of {separator}: neither may be below 0")
    options = [_options(passage, count, separator) for passage in passages]
    # Every piece is counted with a separator after it, so the last one needs extra room.
    room = budget + separator
    chosen: list[Piece | None] = [forms[0] if forms[-1].cost <= room else None for forms in options]
    for forms, place in reversed(list(zip(options, range(len(options)), strict=True))):
        if chosen[place] is not None and _total(chosen) > room:
            chosen[place] = forms[-1]
    for place in reversed(range(len(chosen))):
        if _total(chosen) > room:
            chosen[place] = None
    for place, forms in enumerate(options):
        for form in forms:
            now = chosen[place]
            spared = now.cost if now else 0
            if form is not now and _total(chosen) - spared + form.cost <= room and form.cost > spared:
                chosen[place] = form
                break
    included = sorted(
        (place for place, piece in enumerate(chosen) if piece), key=lambda place: (passages[place].at, place)
    )
    pieces = tuple(_without_separator(chosen[place], separator) for place in included)
    cost = sum(piece.cost for piece in pieces) + separator * max(0, len(pieces) - 1)
    return Packed(pieces, cost, tuple(passages[place].id for place, piece in enumerate(chosen) if piece is None))


def _options(passage: Passage, count: Callable[[str], int], separator: int) -> list[Piece]:
    """Return the forms of a passage, the most expensive first, each with the cost of the separator after it."""
    forms: list[tuple[str, Form]] = [(passage.text, "raw")]
    if passage.summary is not None:
        forms.append((passage.summary, "summary"))
    pieces = []
    for text, form in forms:
        cost = count(text)
        if cost < 0:
            raise InputError(f"{passage.id}: its {form} text costs {cost}; a cost may not be below 0")
        pieces.append(Piece(passage.id, text, form, cost + separator))
    # A summary that costs no less than the text is useless.
    return pieces[:1] if pieces[-1].cost >= pieces[0].cost else pieces


def _total(chosen: Sequence[Piece | None]) -> int:
    return sum(piece.cost for piece in chosen if piece)


def _without_separator(piece: Piece | None, separator: int) -> Piece:
    assert piece is not None
    return Piece(piece.id, piece.text, piece.form, piece.cost - separator)
