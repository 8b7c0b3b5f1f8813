"""Load the encoders that an evaluation names, and put the baselines beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlret.errors import InputError

if TYPE_CHECKING:
    from mlret.encoders.multi_vector import AnyEncoder
    from mlret.eval.registry import Settings
    from mlret.eval.scorers import BitextScorer
    from mlret.eval.systems import RetrievalSystem
    from mlret.index.settings import IndexRecipe


def load_encoders(settings: Settings, encoders: Sequence[AnyEncoder]) -> list[AnyEncoder]:
    """Load the encoders that the settings name, or the bundled one if there is no encoder at all.

    Parameters
    ----------
    settings
        The settings of the evaluation.
    encoders
        Encoders that are already loaded; they come first.

    Raises
    ------
    InputError
        If an encoder does not exist, or two have the same name.
    """
    from mlret.encoders.multi_vector import load_any_encoder

    names = settings.models or ([] if encoders else [None])
    loaded = [*encoders, *(load_any_encoder(name, precision=settings.precision) for name in names)]
    check_names([encoder.name for encoder in loaded])
    return loaded


def load_scorers(
    settings: Settings, encoders: Sequence[AnyEncoder], texts: Sequence[str], show_progress: bool
) -> list[BitextScorer]:
    """Load the encoders, encode all texts with each, and add the baselines if the settings ask for them.

    Parameters
    ----------
    settings
        The settings of the evaluation.
    encoders
        Encoders that are already loaded; they come first.
    texts
        All texts of the evaluation.
    show_progress
        Show progress bars.
    """
    from mlret.eval.scorers import bitext_scorers

    loaded = load_encoders(settings, encoders)
    return bitext_scorers(
        loaded, texts, floors=settings.floors, batch_size=settings.batch_size, show_progress=show_progress
    )


def index_systems(
    encoders: Sequence[AnyEncoder], folder: Path | None, kinds: Sequence[IndexRecipe | None], show_progress: bool
) -> list[RetrievalSystem]:
    """Return a system that searches with mlret's index, for each encoder and kind of index.

    Parameters
    ----------
    encoders
        The encoders.
    folder
        Folder to keep the indexes in; ``None`` for a temporary one.
    kinds
        Index recipes; ``None`` compares with every document.
    show_progress
        Show progress bars.
    """
    from mlret.eval.systems import IndexSystem

    return [IndexSystem(encoder, folder, kind, show_progress=show_progress) for encoder in encoders for kind in kinds]


def baseline_systems(wanted: bool) -> list[RetrievalSystem]:
    """Return BM25 and a random ranking, or nothing if they are not wanted."""
    from mlret.eval.systems import Bm25System, RandomSystem

    return [Bm25System(), RandomSystem()] if wanted else []


def check_names(names: Sequence[str]) -> None:
    """Check that no two systems have the same name.

    Raises
    ------
    InputError
        If two do.
    """
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two systems are called {name!r}: rename one, so that the tables can distinguish them")
