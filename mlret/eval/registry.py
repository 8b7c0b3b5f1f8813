"""The registry of benchmarks: one object in one module declares each, and the rest of mlret finds it by name.

A :class:`Benchmark` holds everything that is particular to it: its settings (a pydantic model, whose fields are the
keys of a recipe, and some of them options on the command line), the function that evaluates it, and the pictures of its
results. :func:`mlret.eval.run.evaluate`, the recipes and the command line all read this registry.

The modules beside this one register their benchmarks. Other packages call :func:`register`, and name their
:class:`Benchmark` under the entry point ``mlret.benchmarks`` if the command line is to know it. A module that declares
a benchmark should import heavy packages (torch) inside its functions, because `mlret eval --help` imports the module.
"""

from __future__ import annotations

import importlib
import pkgutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from mlret.errors import InputError, MlretWarning

if TYPE_CHECKING:
    from mlret.encoders.multi_vector import AnyEncoder
    from mlret.eval.report import Picture, Report

ENTRY_POINTS = "mlret.benchmarks"
# Panels of `mlret eval --help`.
BITEXT, RETRIEVAL, MEMORIES = "Sentences", "Retrieval", "Memory"
BUNDLED = "bundled"
"""The ``data`` of a benchmark whose data comes with mlret."""
UNSET: Any = object()
"""What :attr:`Option.read` returns to leave a setting at its default."""


@dataclass(frozen=True)
class Option:
    """How a setting is given on the command line, where its name, type and description do not say it.

    A setting carries its option in its annotation: ``Annotated[list[Path], Option(("--run", "-r"))]``.

    Attributes
    ----------
    names
        The option's names; by default ``--`` and the setting's name with dashes.
    value
        Type of the option's value; by default the setting's own.
    default
        Default of the option, if ``value`` is given.
    help
        Help text of the option; by default the setting's description.
    read
        Converts the option's value to the setting's. It may return :data:`UNSET`.
    """

    names: tuple[str, ...] = ()
    value: Any = None
    default: Any = None
    help: str = ""
    read: Callable[[Any], Any] | None = None


def _codes(values: list[str] | None) -> Any:
    return [code.strip() for value in values or [] for code in value.split(",") if code.strip()] or UNSET


def _span(lines: str | None) -> Any:
    if lines is None:
        return UNSET
    first, dash, last = lines.partition("-")
    if not (dash and first.strip().isdecimal() and last.strip().isdecimal()):
        raise InputError(f"`lines=…`: {lines!r} is not a span; give a first and a last line, e.g. 1625-1997")
    return int(first), int(last)


Languages = Annotated[list[str] | None, Option(("--languages", "-l"), read=_codes)]
Names = Annotated[list[str] | None, Option(read=_codes)]
Runs = Annotated[list[Path], Option(("--run", "-r"))]
Lines = Annotated[tuple[int, int] | None, Option(value=str, read=_span)]
LINES: Any = Field(None, description="First and last line to take, from 1, e.g. 1625-1997.")


class Expected(BaseModel):
    """An expected score, and how far a reproduction may deviate from it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: str = Field(description="as the report names it, e.g. mrr@100")
    value: float = Field(description="from 0 to 1")
    tolerance: float = Field(0.005, ge=0)
    group: str = Field("average", description="a language, or average")
    system: str | None = Field(None, description="by default the first: the model without calibration")


class Settings(BaseModel):
    """The settings that all benchmarks share. Each adds its own, and its name as ``benchmark: Literal["…"] = "…"``.

    The descriptions are the help texts of the options. In a recipe, paths are relative to ``--data``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = ""
    description: str = ""
    data: Path = Field(description="The benchmark's folder or file.")
    models: Annotated[list[str | None], Option(("--model", "-m"))] = Field(
        [], description="Encoder: a folder or a hub id; by default the bundled one. Repeat it for more."
    )
    languages: Languages = Field(None, description="Only these, e.g. sw,de,zh; repeat it or separate by commas.")
    floors: bool = Field(True, description="Also score what knows nothing of meaning: chance, spelling, BM25.")
    batch_size: int = Field(256, ge=1, description="Texts in one forward pass.")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Precision of encoders with one vector per text, as in `mlret encode`."
    )
    expected: list[Expected] = Field([], description="Scores that `mlret eval reproduce` compares with those measured.")

    @classmethod
    def benchmark_name(cls) -> str:
        """Return the benchmark's name: the default of the field ``benchmark``."""
        return str(cls.model_fields["benchmark"].default)


SettingsT = TypeVar("SettingsT", bound=Settings)


@dataclass(frozen=True)
class Benchmark(Generic[SettingsT]):
    """A benchmark: what it is called, how it is set up, and how it is run.

    Attributes
    ----------
    settings
        The model of its settings.
    summary
        One sentence for the command line that says what is measured.
    evaluate
        Reads the benchmark, loads the encoders that the settings name, and measures them. Its arguments are the
        settings, encoders that are already loaded, and whether to show progress bars.
    options
        Names of the settings that are options on the command line, in the order of the help.
    panel
        Heading under which the command line lists the benchmark.
    pictures
        Builds the pictures from the content of ``report.json``, so that stored results can be drawn again.
    data_help
        Where the data is available and in which form it is read, for the help of the benchmark's command.
    """

    settings: type[SettingsT]
    summary: str
    evaluate: Callable[[SettingsT, Sequence[AnyEncoder], bool], Report]
    options: tuple[str, ...]
    panel: str = RETRIEVAL
    pictures: Callable[[Mapping[str, Any]], list[Picture]] = lambda results: []
    data_help: str = ""

    @property
    def name(self) -> str:
        """The benchmark's name on the command line and in recipes."""
        return self.settings.benchmark_name()


_REGISTERED: dict[str, Benchmark[Any]] = {}


def register(benchmark: Benchmark[SettingsT]) -> Benchmark[SettingsT]:
    """Add a benchmark to the registry, and return it.

    Parameters
    ----------
    benchmark
        The benchmark. Registering the same object again has no effect.

    Raises
    ------
    InputError
        If another benchmark has the same name.
    """
    if _REGISTERED.setdefault(benchmark.name, benchmark) is not benchmark:
        raise InputError(f"there is already a benchmark {benchmark.name!r}; give this one another name")
    return benchmark


def benchmarks() -> dict[str, Benchmark[Any]]:
    """Return all benchmarks by name, sorted: mlret's own, and those of other packages."""
    _load()
    return dict(sorted(_REGISTERED.items()))


@cache
def _load() -> None:
    package = importlib.import_module("mlret.eval.benchmarks")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    for entry in entry_points(group=ENTRY_POINTS):
        # A package that fails to load must not make the other benchmarks unusable.
        try:
            register(entry.load())
        except Exception as error:
            warnings.warn(f"benchmark {entry.name} ({entry.value}) is left out: {error}", MlretWarning, stacklevel=2)
