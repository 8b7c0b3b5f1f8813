"""Fit what was found into a budget of tokens: whole, else summarised, else left out; told in the order of time.

After SCM (Wang et al., arXiv 2304.13343), which asks a language model what to shorten; here the lowest ranks are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from mlret.errors import InputError

Form = Literal["raw", "summary"]


@dataclass(frozen=True, slots=True)
class Passage:
    """What may be told: its text, its summary if any, and when it was; by ``at`` it is sorted, equal ones by rank."""

    id: str
    text: str
    summary: str | None = None
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Piece:
    """What is told of a passage, and in which form."""

    id: str
    text: str
    form: Form
    cost: int


@dataclass(frozen=True, slots=True)
class Packed:
    """The pieces in the order of time, what they cost together, and the ids of what was left out, best first."""

    pieces: tuple[Piece, ...]
    cost: int
    dropped: tuple[str, ...]

    @property
    def text(self) -> str:
        """A piece a line."""
        return "\n".join(piece.text for piece in self.pieces)


def pack(passages: Sequence[Passage], budget: int, count: Callable[[str], int], *, separator: int = 1) -> Packed:
    """Choose what is told, and in which form.

    All is told raw if it fits. If not, summaries take the place of texts, from the worst rank up; if it still does not
    fit, passages are left out, from the worst rank up. What room is left then goes to the best that fit.

    Parameters
    ----------
    passages
        Best first.
    budget
        What the pieces may cost together, separators included.
    count
        What a text costs, e.g. its tokens; called once for each text and summary.
    separator
        What a line break between two pieces costs.

    Raises
    ------
    InputError
        If the budget, the separator or a cost is below 0.
    """
    if budget < 0 or separator < 0:
        raise InputError(f"a budget of {budget} and a separator of {separator}: neither may be below 0")
    options = [_options(passage, count, separator) for passage in passages]
    # A line has one separator fewer than pieces.
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
    told = sorted((place for place, piece in enumerate(chosen) if piece), key=lambda place: (passages[place].at, place))
    pieces = tuple(_without_separator(chosen[place], separator) for place in told)
    cost = sum(piece.cost for piece in pieces) + separator * max(0, len(pieces) - 1)
    return Packed(pieces, cost, tuple(passages[place].id for place, piece in enumerate(chosen) if piece is None))


def _options(passage: Passage, count: Callable[[str], int], separator: int) -> list[Piece]:
    """The forms of a passage, the dearest first, each with the separator after it."""
    forms: list[tuple[str, Form]] = [(passage.text, "raw")]
    if passage.summary is not None:
        forms.append((passage.summary, "summary"))
    pieces = []
    for text, form in forms:
        cost = count(text)
        if cost < 0:
            raise InputError(f"{passage.id}: its {form} text costs {cost}; a cost may not be below 0")
        pieces.append(Piece(passage.id, text, form, cost + separator))
    # A summary that is no shorter than the text is none.
    return pieces[:1] if pieces[-1].cost >= pieces[0].cost else pieces


def _total(chosen: Sequence[Piece | None]) -> int:
    return sum(piece.cost for piece in chosen if piece)


def _without_separator(piece: Piece | None, separator: int) -> Piece:
    assert piece is not None
    return Piece(piece.id, piece.text, piece.form, piece.cost - separator)
