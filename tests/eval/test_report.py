"""Test what a report writes, reads back and shows, and how published figures are shown next to ours."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from mlret.data.retrieval import read_run
from mlret.errors import InputError
from mlret.eval.benchmarks.mrtydi import PROTOCOL
from mlret.eval.compare import compare_results
from mlret.eval.report import Picture, Report, read_query_scores
from mlret.eval.retrieval import metric_table
from mlret.reporting import plots
from mlret.reporting.table import ResultTable


def report(**changes: object) -> Report:
    values: dict = {
        "benchmark": "made",
        "data": "x",
        "protocol": "As it comes.",
        "figures": {"my model": {"sw": {"mrr@10": 0.5}, "average": {"mrr@10": 0.5}}, "b": {"sw": {"mrr@10": 0.25}}},
        "tables": [ResultTable("T", ["system", "sw"], [[["my model", "50.0"]]])] * 2,
        "notes": ["something is missing"],
        "query_scores": {
            "my model": {"sw": {"mrr@10": {"q1": 1.0, "q2": 1 / 3}}},
            "b": {"sw": {"mrr@10": {"q1": 0.5, "q2": 0.0}}},
        },
        "runs": {"my model": {"sw": {"q1": {"d1": 2.0, "d2": 1.0}}}},
    }
    return Report(**(values | changes))


def test_everything_is_written_and_reads_back(tmp_path: Path) -> None:
    made = report(pictures=[Picture("p", lambda path: plots.lines("t", [1, 2], {"a": [0.1, 0.2]}, path, x_label="x"))])
    written = made.write(tmp_path / "out")
    assert all(path.is_file() for path in written)
    assert {path.name for path in written} == {
        "report.json", "report.md", "table-1.csv", "table-1.tex", "table-2.csv", "table-2.tex", "scores.tsv.gz",
        "sw.trec.gz", "p.png",
    }  # fmt: skip
    decoded = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert decoded["figures"] == made.figures
    assert decoded["versions"]["mlret"]
    assert '{ "mrr@10": 0.5 }' in made.json()
    odd = report(notes=["two  blanks [and\\n] brackets", "{"])
    assert json.loads(odd.json())["notes"] == odd.notes
    found = read_query_scores(tmp_path / "out" / "scores.tsv.gz")
    assert found["my model"]["sw"]["mrr@10"] == pytest.approx({"q1": 1.0, "q2": 1 / 3})
    assert read_run(tmp_path / "out" / "runs" / "my-model" / "sw.trec.gz") == made.runs["my model"]["sw"]
    assert (tmp_path / "out" / "report.md").read_text(encoding="utf-8").endswith("- something is missing\n")
    first = (tmp_path / "out" / "scores.tsv.gz").read_bytes()
    made.write(tmp_path / "out", pictures=False)
    assert (tmp_path / "out" / "scores.tsv.gz").read_bytes() == first


def test_a_figure_is_found_by_name_or_the_known_names_are_listed() -> None:
    made = report()
    assert made.figure("mrr@10") == 0.5
    assert made.figure("mrr@10", system="b", group="sw") == 0.25
    with pytest.raises(InputError, match=r"made has no system 'c'; there are my model, b"):
        made.figure("mrr@10", system="c")
    with pytest.raises(InputError, match=r"no group 'de'; there are sw, average"):
        made.figure("mrr@10", group="de")
    with pytest.raises(InputError, match=r"no metric 'map'; there are mrr@10"):
        made.figure("map")


def test_results_are_compared_by_system_and_metric(tmp_path: Path) -> None:
    report().write(tmp_path / "out", pictures=False)
    metric, (found,) = compare_results(tmp_path / "out", tmp_path / "out", systems=("b", None))
    assert (metric, found.group, found.queries, found.wins) == ("mrr@10", "sw", 2, 2)
    assert found.difference == pytest.approx(2 / 3 - 0.25)
    with pytest.raises(InputError, match=r"has no system 'c'; there are my model, b"):
        compare_results(tmp_path / "out", tmp_path / "out", systems=("c", None))
    with pytest.raises(InputError, match=r"has no metric 'map'; there are mrr@10"):
        compare_results(tmp_path / "out", tmp_path / "out", metric="map")
    with pytest.raises(InputError, match=r"scores.tsv.gz: not there; give what `mlret eval"):
        compare_results(tmp_path, tmp_path)


@pytest.mark.parametrize("text", ["x\ty\n", "system\tgroup\tmetric\tquery\tscore\na\tb\tc\td\n"])
def test_damaged_scores_are_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "scores.tsv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"scores.tsv:[12]: .*run the evaluation again"):
        read_query_scores(tmp_path / "scores.tsv")


def test_figures_in_print_are_labelled_and_carry_their_source() -> None:
    ours = {"mine": {"ar": {"mrr@100": 0.1}, "sw": {"mrr@100": 0.3}, "average": {"mrr@100": 0.2}}}
    shown = metric_table(PROTOCOL, "mrr@100", ours, comparable=True)
    own, theirs = shown.sections
    assert [row[0] for row in own] == ["mine"]
    assert all(", published [" in row[0] for row in theirs)
    bm25 = next(row for row in theirs if row[0].startswith("BM25, published"))
    assert bm25[1:] == ["36.8", "38.9", "32.1"]
    assert "[1] Zhang et al. 2021, arXiv 2108.08787" in shown.caption
    # A published average that differs from the mean of its languages is marked.
    assert next(row[0] for row in theirs if row[0].startswith("mDPR (NQ)")).endswith("†")
    assert "BM25, published [1]" in [row[0] for row in theirs]
    assert "is not the mean of the languages in print" in shown.caption
    assert len(metric_table(PROTOCOL, "mrr@100", ours, comparable=False).sections) == 1


@pytest.mark.parametrize("module", ["mrtydi", "miracl", "mmarco", "xquad_r"])
def test_published_figures_are_shares_with_sources(module: str) -> None:
    protocol = import_module(f"mlret.eval.benchmarks.{module}").PROTOCOL
    assert protocol.published.keys() <= set(protocol.metrics)
    found = [entry for entries in protocol.published.values() for entry in entries]
    assert found
    for entry in found:
        assert "arXiv" in entry.source or "Pyserini" in entry.source
        assert "average" in entry.scores
        assert all(0 < value < 1 for value in entry.scores.values())
        assert entry.scores.keys() <= {*protocol.sizes, "average"}


def test_every_picture_is_drawn(tmp_path: Path) -> None:
    codes = ["en", "sw", "hi"]
    random = np.random.default_rng(0)
    points = [{"name": n, "milliseconds": i + 1.0, "bytes": 10.0 * (i + 1), "score": 0.5} for i, n in enumerate("ab")]
    plots.heat_map("t", codes, codes, [[None, 0.1, 0.9]] * 3, tmp_path / "1.png", row_label="r", column_label="c")
    plots.heat_map("t", list(map(str, range(50))), list(map(str, range(50))), [[0.5] * 50] * 50, tmp_path / "2.png")
    plots.ranked_bars("t", {"a": dict.fromkeys(codes, 0.5), "b": {"en": 0.2}}, tmp_path / "3.png")
    plots.baselines("t", {"a": 0.3}, {"b": 0.4}, tmp_path / "4.png")
    vectors = random.normal(size=(30, 8)).astype(np.float32)
    plots.embedding_map("t", {"before": vectors, "after": vectors + 1}, codes * 10, tmp_path / "5.png")
    plots.lines("t", ["x", "y"], {"a": [0.1, 0.2]}, tmp_path / "6.png", x_label="x")
    plots.trade_offs("t", points, "recall@10", tmp_path / "7.png")
    for number in range(1, 8):
        assert (tmp_path / f"{number}.png").read_bytes().startswith(b"\x89PNG")
