"""Test the report of the study of adaptation against figures that were computed by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))  # the scripts of the study import each other

import ccp_adaptation
import ccp_report


def _run(row: str, language: str, seed: int, accuracy: float, level: str = "vectors") -> dict[str, Any]:
    found = {"test": [accuracy - 1, accuracy + 1], "across": accuracy - 5}
    return {
        "level": level,
        "row": row,
        "language": language,
        "seed": seed,
        "calibrations": dict.fromkeys(ccp_report.STEPS, found),
        "context": 30.0 + seed,
        "mean_cosine": 0.51234567,
        "curve": [{"step": 1.0}],
    }


RUNS = [
    _run("before", "hmn", 0, 50),
    _run("before", "ton", 0, 60),
    _run("before", "uig", 0, 95),
    _run("ccp", "hmn", 0, 51),
    _run("ccp", "hmn", 1, 53),
    _run("ccp", "ton", 0, 60),
    _run("ccp", "ton", 1, 62),
    _run("simcse", "hmn", 0, 49),
    _run("simcse", "hmn", 1, 48),
    _run("simcse", "ton", 0, 59),
    _run("ranking", "hmn", 0, 68),
    _run("ranking", "ton", 0, 76),
]


def test_a_gain_is_the_mean_over_languages_of_each_seed() -> None:
    runs = ccp_report.Runs(RUNS, "vectors")
    assert runs.compared() == (["simcse", "ccp", "ranking"], ["hmn", "ton"])
    assert runs.compared(seeds=2) == (["simcse", "ccp", "ranking"], ["hmn"])
    assert runs.gains("ccp", ["hmn", "ton"]) == [0.5, 2.5]
    assert runs.gains("ranking", ["hmn", "ton"]) == [17.0]
    tables = "\n".join(ccp_report.rows_tables(runs))
    assert "| CCP | +1.5 ± 1.4 | 2 |" in tables
    assert "| CCP | +2.0 ± 1.4 | 2 |" in tables  # Hmong alone, which has two seeds of SimCSE


def test_means_are_left_empty_where_a_language_is_missing() -> None:
    lines = ccp_report.language_table(ccp_report.Runs(RUNS, "vectors"), ccp_report.Runs(RUNS, "layers"))
    weak = next(line for line in lines if "mean, weak (2)" in line)
    everything = next(line for line in lines if "mean, all outside (3)" in line)
    assert [cell.strip() for cell in weak.split("|")[3:8]] == ["55.0", "+0.0", "+0.0", "+0.5", "+17.0"]
    assert [cell.strip() for cell in everything.split("|")[3:8]] == ["68.3", "+0.0", "+0.0", "", ""]


def test_the_report_writes_tables_and_pictures(tmp_path: Path) -> None:
    runs, curves, weights = (tmp_path / name for name in ("runs", "curves", "weights"))
    for folder in (runs, curves, weights):
        folder.mkdir()
    for number, run in enumerate([*RUNS, *(run | {"level": "layers"} for run in RUNS)]):
        (runs / f"{number}.json").write_text(json.dumps(run), encoding="utf-8")
    points = [{"step": step} | dict.fromkeys(ccp_report.MEASURED, 0.5 + step / 100) for step in (0, 10)]
    curve = {"variant": "bank, no head", "language": "hmn", "batch_size": 16, "seed": 0, "curve": points}
    (curves / "0.json").write_text(json.dumps(curve), encoding="utf-8")
    shared = {"row": "CCP", "language": "hmn", "before": {"hmn": 57.0, "fra": 99.0}}
    shared |= {"after": {"hmn": 58.5, "fra": 97.0}, "context_before": 27.0, "context_after": 30.0}
    (weights / "0.json").write_text(json.dumps(shared), encoding="utf-8")
    ccp_report.main(runs, curves, weights, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "tables.md", "runs.json", "curves.json", "weights.json", "rows.png", "languages.png", "curves.png"
    }  # fmt: skip
    tables = (tmp_path / "out" / "tables.md").read_text(encoding="utf-8")
    assert "| bank, no head | 16 | 0.60 |" in tables
    assert "| CCP | hmn | +1.5 | -2.0 |" in tables
    stored = json.loads((tmp_path / "out" / "runs.json").read_text(encoding="utf-8"))
    assert len(stored) == 24
    assert "curve" not in stored[0]
    assert stored[0]["mean_cosine"] == pytest.approx(0.5123)


def test_accuracies_equal_loops() -> None:
    random = np.random.default_rng(0)
    rows = ccp_adaptation.unit(random.standard_normal((12, 6)).astype(np.float32))
    others = ccp_adaptation.unit(rows + 0.8 * random.standard_normal((12, 6)).astype(np.float32))
    document = np.repeat(np.arange(4), 3)
    forward = [max(range(12), key=lambda j: float(rows[i] @ others[j])) == i for i in range(12)]
    backward = [max(range(12), key=lambda j: float(others[i] @ rows[j])) == i for i in range(12)]
    assert ccp_adaptation.accuracy(rows, others) == pytest.approx((sum(forward) / 0.12, sum(backward) / 0.12))
    right = [
        float(rows[i] @ rows[i + 1]) > max(float(rows[i] @ rows[j]) for j in range(12) if document[j] != document[i])
        for i in range(11)
        if document[i] == document[i + 1]
    ]
    assert ccp_adaptation.context_accuracy(rows, document) == pytest.approx(100 * sum(right) / len(right))


def test_a_map_of_one_side_moves_the_language_to_the_pivot_and_leaves_the_pivot() -> None:
    random = np.random.default_rng(1)
    own, pivot = (
        ccp_adaptation.unit(random.standard_normal((400, 8)) @ random.standard_normal((8, 8)) + 4 * np.eye(8)[axis])
        for axis in range(2)
    )
    one, two = ccp_adaptation.calibrated(own, pivot, rotate=False)["own map"](own, pivot)
    assert two is pivot
    assert np.allclose(np.linalg.norm(one, axis=1), 1, atol=1e-5)
    assert np.linalg.norm(one.mean(0) - pivot.mean(0)) < 0.2 * np.linalg.norm(own.mean(0) - pivot.mean(0))
