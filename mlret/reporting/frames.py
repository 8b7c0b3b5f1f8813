"""Results as data frames of pandas, which is imported when one is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlret.errors import MissingExtraError

if TYPE_CHECKING:
    from pandas import DataFrame


def data_frame(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> DataFrame:
    """Return rows as a data frame of pandas.

    Parameters
    ----------
    rows
        The rows: values by column. A column that a row lacks is empty there.
    columns
        The first columns, which are there without rows, too. Further columns of the rows follow.

    Returns
    -------
    pandas.DataFrame
        The data frame.

    Raises
    ------
    MissingExtraError
        If pandas is not installed.
    """
    try:
        pandas = importlib.import_module("pandas")
    except ModuleNotFoundError as error:
        raise MissingExtraError("a data frame needs the package 'pandas': pip install pandas") from error
    rows = list(rows)
    names = dict.fromkeys([*columns, *(name for row in rows for name in row)])
    frame: DataFrame = pandas.DataFrame(rows, columns=list(names))
    return frame
