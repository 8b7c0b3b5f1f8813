"""Report the share of situations that a memory judges as a person would, by feature, by kind and by language."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from mlret.encoders.encoder import Encoder
from mlret.eval.memory.situation_data import Situation, development_half
from mlret.eval.memory.situation_scores import Outcome, ask_all
from mlret.eval.memory.variants import DEFAULTS, VARIANTS
from mlret.eval.report import Figures, Picture, Report, source_of
from mlret.eval.retrieval import AVERAGE
from mlret.eval.significance import bootstrap_interval
from mlret.reporting import plots
from mlret.reporting.table import ResultTable, percent

NAME = "memory-situations"
PROTOCOL = (
    "Each situation is a user of its own: its records are stored in the order of their days, with their languages, and "
    "its question is asked on a later day. ranked: an answer comes first, and every answer comes before every record "
    "that must not come before it. said: exactly the records that no longer hold name a record that replaces them. "
    "right: both. Of each kind, the half whose ids have the lower SHA-256 was used to tune the ranking, and the "
    "totals of the other half alone were seen. Written for mlret; no language model is used."
)
METRICS: dict[str, Callable[[Outcome], bool]] = {
    "right": lambda one: one.right,
    "ranked": lambda one: one.ranked,
    "first": lambda one: one.first,
    "order": lambda one: one.order,
    "said": lambda one: one.said,
}
OWN, OTHER = "asked in the records' language", "asked in another language"
TUNED, HELD_OUT = "half that the ranking was tuned on", "held-out half"
_SHOWN = ("right", "ranked", "said")
_RESAMPLES = 2_000


def evaluate_situations(encoder: Encoder, situations: Sequence[Situation], *, data: str) -> Report:
    """Ask a memory that uses an encoder about situations, and report its scores.

    Parameters
    ----------
    encoder
        An encoder with one vector per text.
    situations
        The situations.
    data
        Name of the file that they were read from.
    """
    outcomes = ask_all(encoder, situations)
    groups = _groups(situations)
    figures: Figures = {}
    for name, found in outcomes.items():
        system = encoder.name if name == DEFAULTS else f"{encoder.name}, {name}"
        figures[system] = {group: _shares(found, rows) for group, rows in groups.items() if rows}
    defaults = outcomes[DEFAULTS]
    systems = {encoder.name: {"fingerprint": encoder.fingerprint, "dims": encoder.dims}}
    languages = _languages(situations)
    return Report(
        benchmark=NAME,
        data=data,
        protocol=PROTOCOL,
        figures=figures,
        tables=[
            _features_table(encoder, outcomes),
            _groups_table("By kind of situation", defaults, {kind: groups[kind] for kind in _kinds(situations)}),
            _groups_table("By language of the records", defaults, {code: groups[code] for code in languages}),
            _groups_table("By half", defaults, {name: groups[name] for name in (TUNED, HELD_OUT)}),
            _groups_table("By language of the question", defaults, {name: groups[name] for name in (OWN, OTHER)}),
        ],
        systems=systems,
        query_scores={
            encoder.name: {
                code: {
                    metric: {situations[row].id: float(holds(defaults[row])) for row in groups[code]}
                    for metric, holds in METRICS.items()
                }
                for code in languages
            }
        },
        pictures=situation_pictures({"systems": systems, "figures": figures, "data": data}),
    )


def situation_pictures(results: Mapping[str, Any]) -> list[Picture]:
    """Return the plot of all ways to ask by kind of situation from the content of ``report.json``."""
    name = next(iter(results["systems"]))
    labels = {system: system.removeprefix(f"{name}, ") for system in results["figures"]} | {name: DEFAULTS}
    rest = (AVERAGE, OWN, OTHER, TUNED, HELD_OUT)
    groups = [group for group in results["figures"][name] if group not in rest and not _is_code(group)]
    columns = [AVERAGE, *groups, *(asked for asked in (OWN, OTHER) if asked in results["figures"][name])]
    values = [[figures[group]["ranked"] for group in columns] for figures in results["figures"].values()]
    title = f"Situations that are ranked as a person would\n{name}"
    draw = partial(plots.heat_map, title, list(labels.values()), columns, values, source=source_of(results))
    return [Picture("situations", draw)]


def _is_code(group: str) -> bool:
    return len(group) <= 3


def _groups(situations: Sequence[Situation]) -> dict[str, list[int]]:
    """Return the rows of each group: all, kinds, languages, whether question and records differ, and halves."""
    groups: dict[str, list[int]] = {AVERAGE: list(range(len(situations)))}
    for name in (*_kinds(situations), *_languages(situations), OWN, OTHER, TUNED, HELD_OUT):
        groups[name] = []
    tuned = development_half(situations)
    for row, situation in enumerate(situations):
        asked, half = OTHER if situation.crosses else OWN, TUNED if situation.id in tuned else HELD_OUT
        for name in (situation.kind, _language(situation), asked, half):
            groups[name].append(row)
    return groups


def _kinds(situations: Sequence[Situation]) -> list[str]:
    return list(dict.fromkeys(situation.kind for situation in situations))


def _languages(situations: Sequence[Situation]) -> list[str]:
    return list(dict.fromkeys(map(_language, situations)))


def _language(situation: Situation) -> str:
    return situation.records[0].language


def _shares(outcomes: Sequence[Outcome], rows: Sequence[int]) -> dict[str, float]:
    """Return the share of outcomes that each metric holds for; nothing for a group without situations."""
    if not rows:
        return {}
    return {metric: float(np.mean([holds(outcomes[row]) for row in rows])) for metric, holds in METRICS.items()}


def _features_table(encoder: Encoder, outcomes: Mapping[str, Sequence[Outcome]]) -> ResultTable:
    everything = range(len(outcomes[DEFAULTS]))
    before = np.array([one.ranked for one in outcomes[DEFAULTS]], dtype=np.float64)
    rows = []
    for variant in VARIANTS:
        found = outcomes[variant.name]
        shares = _shares(found, everything)
        difference = np.array([one.ranked for one in found], dtype=np.float64) - before
        low, high = bootstrap_interval(difference, _RESAMPLES, np.random.default_rng(0))
        change = "" if variant.name == DEFAULTS else f"{100 * difference.mean():+.1f}"
        interval = "" if variant.name == DEFAULTS else f"{100 * low:+.1f} … {100 * high:+.1f}"
        rows.append([variant.name, *(percent(shares[metric]) for metric in METRICS), change, interval])
    title = f"{len(everything)} situations with {encoder.name}, in per cent: the defaults, and one feature switched"
    headings = ["", *METRICS, "change of ranked", "95 %"]
    return ResultTable(title, headings, [rows[:1], rows[1:]], PROTOCOL)


def _groups_table(title: str, outcomes: Sequence[Outcome], groups: Mapping[str, Sequence[int]]) -> ResultTable:
    rows = []
    for name, members in groups.items():
        shares = _shares(outcomes, members)
        rows.append([name, f"{len(members)}", *(percent(shares.get(metric)) for metric in _SHOWN)])
    return ResultTable(f"{title}, in per cent, with the defaults", ["", "number", *_SHOWN], [rows])
