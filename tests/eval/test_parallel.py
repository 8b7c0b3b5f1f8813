"""Test parallel sentences: reading them, bitext retrieval between every two languages, alignment by layer."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from mlret.encoders.encoder import Encoder
from mlret.errors import InputError
from mlret.eval.benchmarks.alignment import layer_vectors, mexa
from mlret.eval.readers.parallel_text import read_parallel
from mlret.eval.run import evaluate
from tests.conftest import WORDS

TEXTS = {
    "eng": [" ".join(WORDS[n : n + 4]) for n in range(14)],
    "swh": [" ".join([*WORDS[n : n + 3], WORDS[n - 1]]) for n in range(14)],
    "deu": [" ".join(WORDS[(n * 3) % 18 :][:2]) for n in range(14)],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "flores"
    root.mkdir()
    for label, name in (("eng", "eng_Latn.devtest"), ("swh", "swh_Latn.devtest"), ("deu", "deu_Latn.devtest")):
        (root / name).write_text("".join(f"{text}\n" for text in TEXTS[label]), encoding="utf-8")
    return root


def test_one_file_per_language_is_read_in_every_layout(folder: Path, tmp_path: Path) -> None:
    found = read_parallel(folder)
    assert list(found.texts) == ["deu_Latn", "eng_Latn", "swh_Latn"]
    assert list(found.languages.values()) == ["de", "en", "sw"]
    assert len(found) == 14
    for suffix, name in ((".gz", "newstest2019-ref.{}.txt.gz"), ("", "{}.txt")):
        other = tmp_path / f"other{suffix}"
        other.mkdir()
        for label, texts in TEXTS.items():
            content = "".join(f"{text}\n" for text in texts).encode()
            (other / name.format(label)).write_bytes(gzip.compress(content) if suffix else content)
        read = read_parallel(other)
        assert [list(texts) for texts in read.texts.values()] == [TEXTS[label] for label in sorted(TEXTS)]


def test_tables_are_read_long_and_wide(tmp_path: Path) -> None:
    rows = [f"{label}\t{n}\t{text}\n" for label, texts in TEXTS.items() for n, text in enumerate(texts)]
    (tmp_path / "long.tsv").write_text("lang\tline\ttext\n" + "".join(rows), encoding="utf-8")
    columns = "\n".join("\t".join(row) for row in zip(*TEXTS.values(), strict=True))
    (tmp_path / "wide.tsv").write_text("\t".join(TEXTS) + f"\n{columns}\n", encoding="utf-8")
    long, wide = read_parallel(tmp_path / "long.tsv"), read_parallel(tmp_path / "wide.tsv")
    assert long == wide
    some = read_parallel(tmp_path / "wide.tsv", languages=["sw", "eng"], lines=(3, 5))
    assert some.texts == {label: tuple(TEXTS[label][2:5]) for label in ("swh", "eng")}


@pytest.mark.parametrize("first", [0, 1, 7])
def test_long_tables_are_aligned_by_their_line_numbers(tmp_path: Path, first: int) -> None:
    rows = [f"{label}\t{n + first}\t{text}\n" for label, texts in TEXTS.items() for n, text in enumerate(texts)]
    mixed = [rows[place] for place in np.random.default_rng(first).permutation(len(rows))]
    (tmp_path / "long.tsv").write_text("lang\tline\ttext\n" + "".join(mixed), encoding="utf-8")
    read = read_parallel(tmp_path / "long.tsv", languages=list(TEXTS))
    assert read.texts == {label: tuple(texts) for label, texts in TEXTS.items()}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("en\t1\ta\nen\t1\tb\nde\t1\tc\n", r"long.tsv:3: line 1 of en is there twice"),
        ("en\tone\ta\nde\t1\tc\n", r"long.tsv:2: the line 'one' is not a whole number"),
        ("en\t1\ta\nde\t2\tc\n", r"long.tsv: de has a line 2, but en has not"),
        ("en\t1\ta\nen\t2\tb\nde\t2\tc\n", r"en has 2 lines, de has 1"),
    ],
)
def test_line_numbers_that_align_nothing_are_an_error(tmp_path: Path, rows: str, message: str) -> None:
    (tmp_path / "long.tsv").write_text(f"lang\tline\ttext\n{rows}", encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_parallel(tmp_path / "long.tsv")


@pytest.mark.parametrize(
    ("languages", "lines", "message"),
    [
        (["fr", "eng_Latn"], None, r"has no language 'fr'; there are deu_Latn"),
        (["eng_Latn"], None, r"1 language; parallel sentences need two"),
        (None, (3, 99), r"lines 3 to 99 of 14"),
        (None, (0, 2), r"lines 0 to 2 of 14"),
    ],
)
def test_missing_languages_and_lines_are_named(
    folder: Path, languages: list[str] | None, lines: tuple[int, int] | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_parallel(folder, languages=languages, lines=lines)


def test_languages_that_do_not_match_line_by_line_are_an_error(folder: Path, tmp_path: Path) -> None:
    path = folder / "deu_Latn.devtest"
    text = path.read_text(encoding="utf-8")
    path.write_text(text + "mehr\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"deu_Latn has 15 lines, eng_Latn has 14"):
        read_parallel(folder)
    path.write_text("eins\n\n" + text, encoding="utf-8")
    with pytest.raises(InputError, match=r"deu_Latn.devtest:2: blank line"):
        read_parallel(folder)
    with pytest.raises(InputError, match=r"no such file or folder"):
        read_parallel(tmp_path / "nowhere")
    (tmp_path / "t.tsv").write_text("a\tb\n1\t2\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"the header names neither a language"):
        read_parallel(tmp_path / "t.tsv")


def test_bitext_is_scored_between_every_two_languages(folder: Path, tiny_encoder: Encoder) -> None:
    report = evaluate("bitext", folder, models=[tiny_encoder])
    groups = report.figures[tiny_encoder.name]
    assert len(groups) == 3 * 2 + 1
    vectors = {label: tiny_encoder.encode(texts) for label, texts in TEXTS.items()}
    for first in TEXTS:
        for second in TEXTS:
            if first == second:
                continue
            cosines = np.round(vectors[first] @ vectors[second].T, 5)
            # Two German sentences are the same, so the comparison allows for ties among equals.
            right = np.mean(
                [
                    row[n] >= row.max() - 1e-5 and (row >= row.max() - 1e-5).argmax() == n
                    for n, row in enumerate(cosines)
                ]
            )
            assert groups[f"{first}_Latn-{second}_Latn"]["accuracy"] == pytest.approx(right, abs=1 / 14 + 1e-9)
    mean = np.mean([scores["accuracy"] for name, scores in groups.items() if name != "average"])
    assert report.figure("accuracy") == pytest.approx(mean)
    assert report.figure("xsim", system="random vectors") > 0.5
    assert len(report.query_scores[tiny_encoder.name]["eng_Latn-swh_Latn"]["xsim"]) == 14
    assert [table.headings[0] for table in report.tables] == ["system", "language"]


def test_mexa_is_the_share_of_strict_mutual_nearest() -> None:
    similarity = np.array([[0.9, 0.1, 0.2], [0.3, 0.5, 0.5], [0.1, 0.2, 0.8]], dtype=np.float32)
    # The second row ties with the third column, which is not strictly nearer.
    assert mexa(similarity) == pytest.approx(2 / 3)
    similarity[0, 2] = 0.95
    assert mexa(similarity) == 0.0 + 0.0
    assert mexa(np.eye(4, dtype=np.float32)) == 1.0


def test_layers_are_position_weighted_means_of_the_states(tiny_encoder: Encoder) -> None:
    texts = [WORDS[0], " ".join(WORDS[:9]), " ".join(WORDS[4:8])]
    found = layer_vectors(tiny_encoder, texts, batch_size=2)
    network = tiny_encoder.model[0].auto_model
    for row, text in enumerate(texts):
        inputs = tiny_encoder.model.tokenizer([text], return_tensors="pt")
        with torch.inference_mode():
            states = network(**inputs, output_hidden_states=True).hidden_states
        weights = torch.arange(1, states[0].shape[1] + 1, dtype=torch.float32)
        for layer, state in enumerate(states):
            expected = (state[0] * weights[:, None]).sum(0) / weights.sum()
            expected = expected / expected.norm()
            np.testing.assert_allclose(found[layer, row], expected.numpy(), atol=1e-5)


def test_alignment_pools_the_layers(folder: Path, calibrated_encoder: Encoder) -> None:
    report = evaluate("alignment", folder, models=[calibrated_encoder])
    layers = report.details["layers"]
    own = report.figures[f"{calibrated_encoder.name}, layers"]
    assert set(layers) == {"deu_Latn", "swh_Latn"}
    for label, scores in layers.items():
        assert len(scores) == 3
        assert own[label] == {"mexa": pytest.approx(np.mean(scores)), "mexa max": max(scores)}
    texts = {label: calibrated_encoder.encode(TEXTS[label], calibrate=False) for label in ("swh", "eng")}
    vectors = report.figures[f"{calibrated_encoder.name}, vectors"]["swh_Latn"]["mexa"]
    assert vectors == pytest.approx(mexa(texts["swh"] @ texts["eng"].T))
    assert f"{calibrated_encoder.name}, vectors, calibrated" in report.figures
    assert [picture.name for picture in report.pictures] == ["layers", "map"]
    with pytest.raises(InputError, match=r"has no 'ja' to align with"):
        evaluate("alignment", folder, models=[calibrated_encoder], pivot="ja")
    with pytest.raises(InputError, match="one model at a time"):
        evaluate("alignment", folder, models=[calibrated_encoder, "other"])
