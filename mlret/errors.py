"""Errors that mlret raises on purpose. Each message states in one line what is wrong and how to fix it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from types import ModuleType


class MlretError(Exception):
    """Base class of errors that mlret raises on purpose. The command line prints them as one line and exits with 1.

    Attributes
    ----------
    field
        The value that the error is about, where it is known: a JSON pointer into what was given, or a name.
    fix
        What to do about it, where that is not part of the message.
    """

    exit_code = 1
    field: str | None = None
    fix: str | None = None


class InputError(MlretError):
    """An input of the user is invalid: a file, a column, a language code. The exit code is 2."""

    exit_code = 2


class MissingExtraError(MlretError):
    """A feature needs a package that is not installed and that an extra of mlret would install."""


class FingerprintError(InputError):
    """Vectors of different encoders would be mixed."""


class NotFound(InputError):
    """What the caller names does not exist: a folder, a file, a document, a record, an operation, an encoder."""


class AlreadyExists(InputError):
    """Something exists where a new thing would be made: an id, a link, a folder."""


class Locked(MlretError):
    """Another process is using the index or memory. Nothing was changed; the same call may succeed later."""


class Forbidden(MlretError):
    """The token of a request to the server does not allow it."""


class Unavailable(MlretError):
    """A server cannot be reached, or is too busy to do what was asked. The same call may succeed later."""


class Corrupt(MlretError):
    """Stored data is damaged: something is missing or differs from what was written. The message says where."""


class CorruptInput(Corrupt, InputError):
    """A file that the caller names is damaged or incomplete, such as a compressed file or the folder of an encoder."""


class MlretWarning(UserWarning):
    """Base class of mlret's own warnings. The command line prints them as one line on standard error."""


class FilterWarning(MlretWarning):
    """A filter uses a name that no document has, so it cannot have the intended effect."""


class LongTextWarning(MlretWarning):
    """Documents are longer than the encoder reads, so that their ends cannot be found by their meaning."""


def warn(message: str, category: type[MlretWarning]) -> None:
    """Issue a warning that is attributed to the first calling line outside mlret.

    Parameters
    ----------
    message
        One line.
    category
        The class of the warning.
    """
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "mlret":
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its class if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def require(module: str, *, extra: str, feature: str) -> ModuleType:
    """Import a module, or raise an error of one line that names the extra to install.

    Parameters
    ----------
    module
        The module to import, e.g. ``"faiss"``.
    extra
        The extra of mlret that installs it, e.g. ``"cpu"``.
    feature
        What it is needed for, in the user's words.

    Returns
    -------
    types.ModuleType
        The imported module.

    Raises
    ------
    MissingExtraError
        If the module is not installed.
    """
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        raise MissingExtraError(f'{feature} needs the package {module!r}: pip install "mlret[{extra}]"')
    return importlib.import_module(module)


# Modules that the light install lacks -> the extra that brings them.
_EXTRA_OF = {
    **dict.fromkeys(
        ("torch", "transformers", "sentence_transformers", "accelerate", "anyascii", "schedulefree"), "train"
    ),
    **dict.fromkeys(("datasets", "pyarrow"), "data"),
    **dict.fromkeys(("bs4", "docx", "lxml", "pypdf"), "files"),
    **dict.fromkeys(("bm25s", "matplotlib", "mteb", "nltk", "pytrec_eval", "scipy", "sklearn", "Stemmer"), "eval"),
    **dict.fromkeys(("google", "sentencepiece"), "trim"),
    **dict.fromkeys(("fastapi", "mcp", "prometheus_client", "starlette", "uvicorn"), "serve"),
    "haystack": "haystack",
    "httpx2": "client",
    "langchain_core": "langchain",
    "llama_index": "llama-index",
    "numba": "kernels",
    "ray": "ray",
    "tokenizers": "train",
}


def missing_extra(error: ModuleNotFoundError) -> MissingExtraError | None:
    """Turn the error of an import into one that names the extra to install.

    Parameters
    ----------
    error
        The error.

    Returns
    -------
    MissingExtraError or None
        ``None`` if no extra of mlret brings the module.
    """
    module = (error.name or "").partition(".")[0]
    extra = _EXTRA_OF.get(module)
    return (extra and MissingExtraError(f'this needs the package {module!r}: pip install "mlret[{extra}]"')) or None
