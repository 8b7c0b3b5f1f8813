"""The errors that mlret raises on purpose. Each message names what is wrong and the mend, in one line."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from types import ModuleType


class MlretError(Exception):
    """Anything that mlret reports on purpose. The command line prints it as one line and exits with 1."""

    exit_code = 1


class InputError(MlretError):
    """What the user gave cannot be used: a file, a column, a language code. Exit code 2."""

    exit_code = 2


class MissingExtraError(MlretError):
    """A feature needs a package that its extra would have installed."""


class FingerprintError(InputError):
    """Vectors of two encoders would be mixed."""


class MlretWarning(UserWarning):
    """Anything that mlret warns of on purpose. The command line prints it as one line on standard error."""


class FilterWarning(MlretWarning):
    """A filter names what no document has, so that it cannot mean what it says."""


def warn(message: str, category: type[MlretWarning]) -> None:
    """Warn, with the line outside mlret that led to it.

    Parameters
    ----------
    message
        One line.
    category
        Of which kind.
    """
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "mlret":
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def require(module: str, *, extra: str, feature: str) -> ModuleType:
    """Import ``module``, or fail with one line that names the extra to install.

    Parameters
    ----------
    module
        The module to import, e.g. ``"faiss"``.
    extra
        The extra of mlret that installs it, e.g. ``"cpu"``.
    feature
        What it is needed for, in the user's words.

    Raises
    ------
    MissingExtraError
        If the module is not installed.
    """
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        raise MissingExtraError(f'{feature} needs the package {module!r}: pip install "mlret[{extra}]"')
    return importlib.import_module(module)
