from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from mlret.encoders.encoder import Encoder
from mlret.eval.baselines import BASELINES, CharacterNGrams, RandomVectors
from mlret.eval.benchmarks.tatoeba_report import tatoeba_report
from mlret.eval.benchmarks.tatoeba_scores import TatoebaResult, evaluate_tatoeba
from mlret.eval.readers.tatoeba_data import XTREME_36, TatoebaPairs, read_tatoeba
from tests.shared import shared_data


def reference(encoder: Encoder, pairs: list[tuple[str, str]], languages: tuple[str, str] | None) -> list[float]:
    """Compute the accuracy xx-en and en-xx from the encoder's own vectors and the full matrix of cosines."""
    codes = languages or (None, None)
    own, english = (
        np.asarray(encoder.encode(list(texts), language=code, calibrate=languages is not None), dtype=np.float64)
        for texts, code in zip(zip(*pairs, strict=True), codes, strict=True)
    )
    cosines = own @ english.T / np.outer(np.linalg.norm(own, axis=1), np.linalg.norm(english, axis=1))
    gold = np.arange(len(pairs))
    return [float(np.mean(cosines.argmax(1) == gold)), float(np.mean(cosines.argmax(0) == gold))]


@pytest.mark.parametrize("layout", ["table_folder", "laser_folder"])
def test_accuracy_equals_the_reference_both_ways(
    layout: str, request: pytest.FixtureRequest, calibrated_encoder: Encoder, bitext: dict
) -> None:
    result = evaluate_tatoeba(calibrated_encoder, request.getfixturevalue(layout))
    assert [row.label for row in result.rows] == ["deu", "swh"]
    for row in result.rows:
        pairs = bitext[row.label]
        assert row.n == len(pairs)
        assert [row.raw.xx_en, row.raw.en_xx] == reference(calibrated_encoder, pairs, None)
        assert row.calibrated is not None
        moved = reference(calibrated_encoder, pairs, (row.language, "en"))
        assert [row.calibrated.xx_en, row.calibrated.en_xx] == moved
        assert row.calibrated.mean == pytest.approx(np.mean(moved))
    # The test can only distinguish the directions and the modes if they differ.
    swahili = result.rows[1]
    assert len({swahili.raw.xx_en, swahili.raw.en_xx}) + len({swahili.raw, swahili.calibrated}) > 2


def test_each_text_is_encoded_once(tiny_encoder: Encoder, table_folder: Path, bitext: dict) -> None:
    texts = {text for pairs in bitext.values() for pair in pairs for text in pair}
    assert evaluate_tatoeba(tiny_encoder, table_folder).texts == len(texts) < sum(2 * len(p) for p in bitext.values())


def test_an_encoder_without_calibration_gets_raw_scores_only(tiny_encoder: Encoder, table_folder: Path) -> None:
    result = evaluate_tatoeba(tiny_encoder, table_folder)
    assert all(row.calibrated is None for row in result.rows)
    assert result.averages["all"].calibrated is None
    assert list(result.rows[0].scores) == [("raw", "cosine")]
    assert "calib" not in tatoeba_report("data", [result]).tables[0].title + str(
        tatoeba_report("data", [result]).tables[0].headings
    )


def test_averages_give_every_language_the_same_weight(tiny_encoder: Encoder, table_folder: Path) -> None:
    result = evaluate_tatoeba(tiny_encoder, table_folder)
    average = result.averages["all"]
    assert average.languages == 2
    assert average.raw.xx_en == pytest.approx(np.mean([row.raw.xx_en for row in result.rows]))
    assert average.raw.mean == pytest.approx(np.mean([row.raw.mean for row in result.rows]))


def test_the_average_over_36_is_given_only_for_all_36() -> None:
    def result(labels: list[str]) -> TatoebaResult:
        pairs = [TatoebaPairs(label, "sw", ("a", "b"), ("c", "d")) for label in labels]
        return evaluate_tatoeba(RandomVectors(dims=4), pairs)

    whole = result([*XTREME_36, "xho"]).averages
    assert [(key, average.languages) for key, average in whole.items()] == [("xtreme_36", 36), ("all", 37)]
    assert list(result([*list(XTREME_36)[1:], "xho"]).averages) == ["all"]


def test_report_shows_averages_first_and_the_baselines_next_to_them(
    calibrated_encoder: Encoder, table_folder: Path
) -> None:
    results = [evaluate_tatoeba(system, table_folder) for system in (calibrated_encoder, *(f() for f in BASELINES))]
    report = tatoeba_report(str(table_folder), results)
    lines = [line for line in report.markdown().splitlines() if line.startswith("|")]
    assert lines[0].count("|") == 1 + 3 + 6 + 2
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["all 2", "German", "Swahili"]
    assert f"{100 * results[2].rows[1].raw.mean:.1f} |" in lines[4]
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(report.tables[0].terminal())
    shown = console.export_text()
    assert shown.index("all 2") < shown.index("German") < shown.index("Swahili")
    assert "vectors" in shown and "n-grams" in shown and "…" not in shown
    decoded = json.loads(report.json())
    assert decoded == json.loads(json.dumps(report.to_dict()))
    assert list(decoded["systems"]) == [result.encoder for result in results]
    calibrated = f"{calibrated_encoder.name}, calibrated"
    assert report.figure("mean") == report.figure("mean", group="all") == results[0].averages["all"].raw.mean
    assert report.figure("xx_en", system=calibrated, group="swh") == results[0].rows[1].calibrated.xx_en
    assert report.query_scores[calibrated]["swh"]["accuracy"].keys() >= {"xx-en:1", "en-xx:12"}


def test_baselines_on_the_real_test_set() -> None:
    pairs = read_tatoeba(shared_data("tatoeba"), languages=["deu", "rus"])
    chance, spelling = (evaluate_tatoeba(floor, pairs) for floor in (RandomVectors(), CharacterNGrams()))
    assert chance.averages["all"].raw.mean < 0.01
    german, russian = spelling.rows
    assert german.raw.mean > 0.1 > russian.raw.mean
