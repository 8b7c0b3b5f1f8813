"""The results of an evaluation and the files that they are written to."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlret
from mlret.data.durable import write_atomically, write_text_atomically
from mlret.data.files import read_lines
from mlret.data.retrieval import write_run
from mlret.errors import InputError
from mlret.eval.bm25 import DESCRIPTION, NAME
from mlret.reporting.frames import data_frame
from mlret.reporting.notebook import as_html
from mlret.reporting.table import ResultTable

if TYPE_CHECKING:
    from pandas import DataFrame

_PACKAGES = ("torch", "transformers", "sentence-transformers", "numpy", "pytrec-eval-terrier", "bm25s")
REPORT, TABLE, SCORES, RUNS = "report.json", "report.md", "scores.tsv.gz", "runs"
# Matches objects and lists in an indented JSON text that contain no other objects or lists. If a string in one of them
# contains brackets, that object is not matched and stays indented.
_LEAF = re.compile(r"[{\[]\n[^{}\[\]]*\n\s*[}\]]")
_COLUMNS = ("system", "group", "metric", "query", "score")

# System -> group (usually a language) -> metric -> value.
Figures = dict[str, dict[str, dict[str, float]]]
# System -> group -> metric -> query -> score.
QueryScores = dict[str, dict[str, dict[str, dict[str, float]]]]
Run = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Picture:
    """A plot: the name of its file without the suffix, and the function that draws it to a given path."""

    name: str
    draw: Callable[[Path], None]


@dataclass(frozen=True, repr=False)
class Report:
    """The results of one benchmark.

    Attributes
    ----------
    benchmark
        The benchmark's name on the command line.
    data
        Name of the folder that the benchmark was read from.
    protocol
        What was measured, in a sentence or two, and where the protocol is defined.
    figures
        System -> group -> metric -> value. The first system is the one under evaluation; the group ``"average"`` holds
        the benchmark's own mean.
    tables
        The results as tables to read.
    systems
        Facts about each system: fingerprint, dimensions, seconds of encoding.
    notes
        Remarks on the data, such as queries without judgements or missing documents.
    query_scores, runs
        What :meth:`write` saves for :func:`mlret.eval.compare.compare_results` and for trec_eval.
    pictures
        Plots to draw.
    details
        Further results, not part of ``figures``, for the JSON output.

    Examples
    --------
    The examples of this class use the report of the example of :func:`mlret.eval.evaluate`.

    >>> report.benchmark, report.data
    ('bitext', 'parallel')
    >>> sorted(next(iter(report.figures.values())))
    ['average', 'en-sw', 'sw-en']
    """

    benchmark: str
    data: str
    protocol: str
    figures: Figures
    tables: list[ResultTable]
    systems: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    query_scores: QueryScores = field(default_factory=dict)
    runs: dict[str, dict[str, Run]] = field(default_factory=dict)
    pictures: list[Picture] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Report({self.benchmark!r}, {self.data!r}, systems: {', '.join(self.figures) or 'none'})"

    def _repr_html_(self) -> str:
        notes = "".join(f"<li>{as_html(note)}</li>" for note in self.notes)
        return "".join(table._repr_html_() for table in self.tables) + (f"<ul>{notes}</ul>" if notes else "")

    def to_pandas(self) -> DataFrame:
        """Return the figures as a data frame of pandas, with a row for each of them.

        Returns
        -------
        pandas.DataFrame
            The columns ``system``, ``group``, ``metric`` and ``value``; scores are from 0 to 1.

        Raises
        ------
        MissingExtraError
            If pandas is not installed.

        Examples
        --------
        >>> frame = report.to_pandas()
        >>> list(frame.columns)
        ['system', 'group', 'metric', 'value']
        >>> sorted(frame["group"].unique())
        ['average', 'en-sw', 'sw-en']
        """
        return data_frame(
            (
                {"system": system, "group": group, "metric": metric, "value": value}
                for system, groups in self.figures.items()
                for group, metrics in groups.items()
                for metric, value in metrics.items()
            ),
            ("system", "group", "metric", "value"),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data for JSON. Scores are from 0 to 1.

        Returns
        -------
        dict
            The benchmark, its protocol, the versions of the packages, facts about the systems, notes and figures.

        Examples
        --------
        >>> report.to_dict()["benchmark"]
        'bitext'
        """
        return {
            "benchmark": self.benchmark,
            "protocol": self.protocol,
            "data": self.data,
            "versions": _versions(),
            "systems": self.systems,
            "notes": self.notes,
            "figures": self.figures,
            **self.details,
        }

    def json(self) -> str:
        """Return :meth:`to_dict` as indented JSON; each innermost object or list takes one line.

        Returns
        -------
        str
            The JSON text.

        Examples
        --------
        >>> import json
        >>> json.loads(report.json())["data"]
        'parallel'
        """
        text = json.dumps(self.to_dict(), ensure_ascii=False, indent=1)
        return _LEAF.sub(lambda leaf: re.sub(r"\n *", " ", leaf[0]), text) + "\n"

    def markdown(self) -> str:
        """Return all tables and the notes in Markdown.

        Returns
        -------
        str
            The tables, then the notes as a list.

        Examples
        --------
        >>> "accuracy" in report.markdown()
        True
        """
        notes = "".join(f"- {note}\n" for note in self.notes)
        return "\n".join([*(table.markdown() for table in self.tables), *([notes] if notes else [])])

    def figure(self, metric: str, *, system: str | None = None, group: str = "average") -> float:
        """Return one score.

        Parameters
        ----------
        metric
            The metric's name, e.g. ``"mrr@100"``.
        system
            The system's name; by default the first system.
        group
            A language or another group of the benchmark, or ``"average"``.

        Returns
        -------
        float
            The score, from 0 to 1.

        Raises
        ------
        InputError
            If there is no such system, group or metric; the message lists those that exist.

        Examples
        --------
        >>> 0 <= report.figure("accuracy", group="en-sw") <= 1
        True
        """
        name = next(iter(self.figures)) if system is None else system
        found: Any = self.figures
        for key, what in ((name, "system"), (group, "group"), (metric, "metric")):
            if key not in found:
                raise InputError(f"{self.benchmark} has no {what} {key!r}; there are {', '.join(found)}")
            found = found[key]
        return float(found)

    def write(self, folder: str | Path, *, pictures: bool = True) -> list[Path]:
        """Write the results into a folder, which is created if necessary.

        The folder receives ``report.json``; ``report.md``; a ``.csv`` and a ``.tex`` file for each table;
        ``scores.tsv.gz`` with a score for every query; ``runs/`` with a TREC run for each system and group, if the
        benchmark ranks documents; and the plots.

        Parameters
        ----------
        folder
            The folder to write to.
        pictures
            Whether to draw the plots.

        Returns
        -------
        list of Path
            The files that were written.

        Raises
        ------
        InputError
            If a file cannot be written.
        MissingExtraError
            If there are plots to draw and matplotlib is not installed.

        Examples
        --------
        >>> [path.name for path in report.write("results", pictures=False)][:2]
        ['report.json', 'report.md']
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        written = [folder / REPORT, folder / TABLE]
        write_text_atomically(folder / REPORT, self.json())
        write_text_atomically(folder / TABLE, self.markdown())
        for number, table in enumerate(self.tables, start=1):
            stem = "table" if len(self.tables) == 1 else f"table-{number}"
            for suffix, text in ((".csv", table.csv()), (".tex", table.latex())):
                write_text_atomically(folder / f"{stem}{suffix}", text)
                written.append(folder / f"{stem}{suffix}")
        if self.query_scores:
            write_query_scores(folder / SCORES, self.query_scores)
            written.append(folder / SCORES)
        for system, groups in self.runs.items():
            for group, run in groups.items():
                path = folder / RUNS / _file_name(system) / f"{_file_name(group)}.trec.gz"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_run(path, run, tag=_file_name(system))
                written.append(path)
        for picture in self.pictures if pictures else ():
            path = folder / f"{picture.name}.png"
            write_atomically(path, picture.draw)
            written.append(path)
        return written


def write_query_scores(path: Path, scores: QueryScores) -> None:
    """Write a score for every query as a gzipped TSV file with the columns system, group, metric, query and score.

    Parameters
    ----------
    path
        The file to write.
    scores
        System -> group -> metric -> query -> score.
    """

    def write(target: Path) -> None:
        with target.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as handle:
            handle.write(("\t".join(_COLUMNS) + "\n").encode())
            for system, groups in scores.items():
                for group, metrics in groups.items():
                    for metric, values in metrics.items():
                        head = f"{system}\t{group}\t{metric}\t"
                        lines = "".join(f"{head}{query}\t{score:.9g}\n" for query, score in values.items())
                        handle.write(lines.encode())

    write_atomically(path, write)


def read_query_scores(path: Path) -> QueryScores:
    """Read a file that :func:`write_query_scores` wrote.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    dict
        System -> group -> metric -> query -> score.

    Raises
    ------
    InputError
        If the file is missing or damaged.
    """
    scores: QueryScores = {}
    lines = read_lines(path)
    number, header = next(lines, (1, ""))
    if tuple(header.split("\t")) != _COLUMNS:
        raise InputError(f"{path}:{number}: the header is not {'<TAB>'.join(_COLUMNS)}; run the evaluation again")
    for number, line in lines:
        cells = line.split("\t")
        try:
            system, group, metric, query, score = cells
            scores.setdefault(system, {}).setdefault(group, {}).setdefault(metric, {})[query] = float(score)
        except ValueError as error:
            raise InputError(f"{path}:{number}: not {'<TAB>'.join(_COLUMNS)}; run the evaluation again") from error
    return scores


def _file_name(name: str) -> str:
    """Return a name that is safe as a file name and contains no blanks, which a TREC run's tag may not contain."""
    return "".join(c if c.isalnum() or c in "-._" else "-" for c in name).strip("-.") or "system"


def _versions() -> dict[str, str]:
    versions = {"mlret": mlret.__version__}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def shown_system(name: str, figures: Mapping[str, Any]) -> str:
    """Return the name that an encoder has in pictures: with calibration, if the figures have it with calibration.

    Parameters
    ----------
    name
        The encoder's name.
    figures
        System -> figures.

    Returns
    -------
    str
        The name.
    """
    return f"{name}, calibrated" if f"{name}, calibrated" in figures else name


def source_of(results: Mapping[str, Any]) -> str:
    """Return the line below a picture that says where its values are from, given the content of ``report.json``."""
    return f"Data: {results['data']}; values: {REPORT}"


def with_baselines(caption: str, systems: Iterable[str]) -> str:
    """Append BM25's settings to a caption if BM25 is among the systems, because its scores depend on the analyzer.

    Parameters
    ----------
    caption
        The caption of a table.
    systems
        Names of the systems in the table.

    Returns
    -------
    dict
        The figures.
    """
    return f"{caption} {DESCRIPTION}" if any(NAME in system for system in systems) else caption


def mean_over_groups(groups: Mapping[str, Mapping[str, float]], metrics: Sequence[str]) -> dict[str, float]:
    """Return the unweighted mean of each metric over the groups.

    Parameters
    ----------
    groups
        Group -> metric -> value.
    metrics
        The metrics to average.

    Returns
    -------
    dict
        Metric -> mean.
    """
    return {metric: sum(scores[metric] for scores in groups.values()) / len(groups) for metric in metrics}
