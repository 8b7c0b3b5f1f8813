"""Read vectors that clients send as lists of numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def read_vector(value: object) -> NDArray[np.float32] | None:
    """Return a list of numbers as ``(dims,)`` float32, or a list of such lists as ``(t, dims)``.

    Parameters
    ----------
    value
        A decoded JSON value.

    Returns
    -------
    numpy.ndarray or None
        ``None`` if it is not such a list, holds something else than numbers, or a number that is not finite.

    Examples
    --------
    >>> read_vector([[1, 0.5], [0, 2]]).shape
    (2, 2)
    >>> read_vector([1, "0.5"]) is None, read_vector([1, True]) is None, read_vector([1e39]) is None
    (True, True, True)
    """
    if not isinstance(value, list) or not value:
        return None
    rows = value if isinstance(value[0], list) else [value]
    if not all(isinstance(row, list) and row and {*map(type, row)} <= {int, float} for row in rows):
        return None
    try:
        with np.errstate(over="ignore"):
            found = np.array(value, dtype=np.float32)
    except (ValueError, OverflowError):  # lists of several lengths, or an integer of hundreds of digits
        return None
    return found if np.isfinite(found).all() else None
