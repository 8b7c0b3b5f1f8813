"""The precisions that an encoder can compute in, and which of them are faster than float32."""

from __future__ import annotations

import warnings
from typing import Literal, get_args

from mlret.errors import InputError

Precision = Literal["auto", "float32", "bfloat16"]


def check_precision(precision: str) -> None:
    """Check that a precision is known.

    Raises
    ------
    InputError
        If it is not one of :data:`Precision`.
    """
    if precision not in get_args(Precision):
        raise InputError(f"no precision {precision!r}; there are {', '.join(get_args(Precision))}")


def fast_precision(precision: Precision, device: str) -> Precision:
    """Return the precision, or ``"float32"`` with a warning if the device is slower in that precision.

    In torch ``"auto"`` is float32.
    """
    if precision == "auto" or precision == "float32":  # noqa: PLR1714: two comparisons narrow the type
        return "float32"
    from mlret.encoders.precision_speed import bfloat16_speed

    speed = bfloat16_speed(device)
    if speed.fast:
        return precision
    warnings.warn(
        f"{precision} is slower than float32 here ({speed.reason}): float32 runs in its place; see `mlret doctor`",
        stacklevel=3,
    )
    return "float32"
