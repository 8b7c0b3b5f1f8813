"""Reproductions: run evaluation recipes and compare their scores with the expected ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlret.data.durable import write_text_atomically
from mlret.errors import InputError
from mlret.eval.recipe import read_recipe, under
from mlret.eval.registry import Expected, Settings
from mlret.eval.report import REPORT, Report
from mlret.eval.run import check_output, run_recipe
from mlret.recipes import find_recipe, list_recipes
from mlret.reporting.table import ResultTable

README = "README.md"
CHECK = "check.json"


@dataclass(frozen=True)
class Check:
    """An expected score and the measured one.

    ``system``, ``group`` and ``metric`` identify the score. ``measured`` is ``None`` if the recipe could not be run;
    ``why`` is then the reason.
    """

    recipe: str
    benchmark: str
    description: str
    system: str
    group: str
    metric: str
    expected: float
    tolerance: float
    measured: float | None
    why: str = ""

    @property
    def holds(self) -> bool:
        """Whether the measured score is within the tolerance of the expected one."""
        return self.measured is not None and abs(self.measured - self.expected) <= self.tolerance

    def to_dict(self) -> dict[str, Any]:
        """Return the check as plain data for JSON."""
        return {**asdict(self), "holds": self.holds}


def reproduce_all(
    names: Sequence[str] | None, data: Path, output: Path, *, pictures: bool = True, show_progress: bool = False
) -> list[Check]:
    """Run recipes, write the results of each into a folder named after it, and summarise all of them in ``README.md``.

    A recipe whose data is missing does not stop the others.

    Parameters
    ----------
    names
        Recipe names or YAML files. By default, all recipes that come with mlret and state expected scores.
    data
        The folder that contains the recipes' data.
    output
        The folder to write results to. Its table also includes results of earlier runs that are stored there.
    pictures
        Whether to draw plots.
    show_progress
        Show progress bars.

    Returns
    -------
    list of Check
        One for each expected score of the recipes that were run.

    Raises
    ------
    InputError
        If a recipe does not exist, is malformed or states no expected scores.
    """
    if names is None:
        recipes = {path.stem: read_recipe(path) for path in list_recipes("eval").values()}
        recipes = {name: recipe for name, recipe in recipes.items() if recipe.expected}
    else:
        paths = [find_recipe(name, "eval") for name in names]
        recipes = {path.stem: read_recipe(path) for path in paths}
    for name, recipe in recipes.items():
        if not recipe.expected:
            raise InputError(
                f"{name}: the recipe has no key `expected`, so there is nothing to hold its figures against"
            )
    for name in recipes:
        check_output(output / name, pictures=pictures)
    checks: list[Check] = []
    for name, recipe in recipes.items():
        checks += _one(name, recipe, data, output / name, pictures=pictures, show_progress=show_progress)
    write_text_atomically(output / README, readme(_all_checks(output)))
    return checks


def checks_table(checks: Sequence[Check]) -> ResultTable:
    """Format the checks as a table, with scores in per cent."""
    rows = [
        [
            one.recipe,
            one.system,
            one.group,
            one.metric,
            f"{100 * one.expected:.1f} ± {100 * one.tolerance:.1f}",
            "–" if one.measured is None else f"{100 * one.measured:.2f}",
            one.why or ("holds" if one.holds else "DIFFERS"),
        ]
        for one in checks
    ]
    return ResultTable(
        "Reproductions, in per cent",
        ["recipe", "system", "group", "metric", "expected", "measured", ""],
        [rows],
        text_columns=4,
    )


def readme(checks: Sequence[Check]) -> str:
    """Return the Markdown page over all results: one row per score, with the command that reproduces it."""
    lines = [
        "# Results",
        "",
        "What the recipes in `eval/` gave, with the encoder that comes with mlret where nothing else is said. This",
        "page is written by `mlret eval reproduce --data DIR`; each row is made again by its command, and holds if the",
        "figure comes within the tolerance. The folders have the tables (also as LaTeX and CSV), the figures as JSON,",
        "and pictures. The encoder that comes with mlret is in [`mlret-mini/`](mlret-mini/README.md), stage by stage,",
        "and a static one in [`static-mini/`](static-mini/README.md).",
        "Speed is in [`bench/`](bench/README.md), the ablation of contrastive context prediction in",
        "[`ccp-ablation/`](ccp-ablation/README.md), what raw text is worth to a multilingual encoder in",
        "[`ccp-adaptation/`](ccp-adaptation/README.md), what late interaction and language adapters are worth in",
        "[`zero-shot-transfer/`](zero-shot-transfer/README.md).",
        "",
        "| result | command | system | group | metric | expected | measured | |",
        "| --- | --- | --- | --- | --- | ---: | ---: | --- |",
    ]
    for one in checks:
        measured = "–" if one.measured is None else f"{100 * one.measured:.2f}"
        cells = [
            f"[{one.recipe}]({one.recipe}/report.md)",
            f"`mlret eval run {one.recipe} --data DIR`",
            one.system,
            one.group,
            one.metric,
            f"{100 * one.expected:.1f} ± {100 * one.tolerance:.1f}",
            measured,
            one.why or ("holds" if one.holds else "**differs**"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "What each is:", ""]
    described = {one.recipe: one.description for one in checks}
    lines += [f"- **{name}**: {description}" for name, description in described.items()]
    return "\n".join(lines) + "\n"


def _one(name: str, recipe: Settings, data: Path, folder: Path, *, pictures: bool, show_progress: bool) -> list[Check]:
    try:
        report = run_recipe(under(recipe, data), show_progress=show_progress)
    except InputError as error:
        return [_check(name, recipe, wanted, None, str(error)) for wanted in recipe.expected]
    report.write(folder, pictures=pictures)
    checks = [_check(name, recipe, wanted, report) for wanted in recipe.expected]
    text = json.dumps([asdict(one) for one in checks], ensure_ascii=False, indent=1)
    write_text_atomically(folder / CHECK, f"{text}\n")
    return checks


def _check(name: str, recipe: Settings, wanted: Expected, report: Report | None, why: str = "") -> Check:
    measured = report.figure(wanted.metric, system=wanted.system, group=wanted.group) if report else None
    system = wanted.system or (next(iter(report.figures)) if report else "the model")
    return Check(
        name,
        recipe.benchmark_name(),
        recipe.description,
        system,
        wanted.group,
        wanted.metric,
        wanted.value,
        wanted.tolerance,
        measured,
        why,
    )


def _all_checks(output: Path) -> list[Check]:
    """Return the checks stored in the result folders, ordered by folder name."""
    found: list[Check] = []
    for path in sorted(output.glob(f"*/{CHECK}")):
        if (path.parent / REPORT).is_file():
            found += [Check(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    return found
