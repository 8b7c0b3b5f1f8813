from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SWAHILI = [("paka amelala", "the cat sat"), ("mbwa saba", "seven dogs"), ("wali na samaki", "rice and fish")]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "tatoeba"
    folder.mkdir()
    rows = [f"swh\t{i}\t{own}\t{english}\n" for i, (own, english) in enumerate(SWAHILI)]
    (folder / "tatoeba.v1.tsv").write_text("lang\tid\txxx\teng\n" + "".join(rows), encoding="utf-8")
    return folder


@pytest.fixture
def mlret(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """Run the command in this process, which has paid for importing torch: exit code, stdout, stderr."""
    from mlret.cli.main import main

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mlret", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = capsys.readouterr()
        return int(exit_.value.code or 0), captured.out, captured.err

    return run


def test_tatoeba_prints_json_alone_and_writes_files(data: Path, tiny_encoder_folder: Path, tmp_path: Path) -> None:
    output, markdown = tmp_path / "result.json", tmp_path / "result.md"
    files = ("--output", output, "--markdown", markdown)
    options = ("--data", data, "--model", tiny_encoder_folder, "--json", *files)
    done = subprocess.run(
        [sys.executable, "-m", "mlret.cli.main", "eval", "tatoeba", *map(str, options)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"},
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed == json.loads(output.read_text(encoding="utf-8"))
    own, chance, spelling = printed["results"]
    assert own["encoder"] == str(tiny_encoder_folder)
    assert own["texts"] == 6
    assert own["rows"][0]["label"] == "swh"
    assert own["rows"][0]["n"] == 3
    assert own["averages"]["all"]["raw"] == own["rows"][0]["raw"]
    assert (chance["encoder"], spelling["encoder"]) == ("random vectors", "character n-grams")
    assert markdown.read_text(encoding="utf-8").count("\n| ") == 4


def test_a_recipe_is_run_and_options_go_before_it(  # type: ignore[no-untyped-def]
    mlret, data: Path, tiny_encoder_folder: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("benchmark: tatoeba\ndata: tatoeba\nfloors: false\nmodel: nowhere\n", encoding="utf-8")
    code, out, err = mlret("eval", "run", recipe, "--data", data.parent, "--model", tiny_encoder_folder)
    assert code == 0, err
    assert "Swahili" in out
    assert "n-grams" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "nowhere"), "error: nowhere: no such folder"),
        (("--languages", "zzq"), "error: unknown language code 'zzq'"),
        (("--languages", "sw,fr"), "has no language 'fr'; choose from swh"),
        (("--xtreme-only",), "has no language 'afr'"),
        (("--xtreme-only", "--languages", "sw"), "exclude each other"),
        (("--output", "nowhere/result.json"), "nowhere does not exist"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(mlret, data: Path, arguments: tuple[str, ...], message: str) -> None:  # type: ignore[no-untyped-def]
    given = arguments if "--data" in arguments else ("--data", data, *arguments)
    code, out, err = mlret("eval", "tatoeba", *given)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert out == ""


def test_a_model_folder_without_weights_is_an_error(mlret, data: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "modules.json").write_text("[]", encoding="utf-8")
    code, _, err = mlret("eval", "tatoeba", "--data", data, "--model", tmp_path)
    assert code == 2
    assert "has no weights" in err


def test_a_recipe_with_a_wrong_key_is_an_error(mlret, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "mine.yaml").write_text("benchmark: tatoeba\ndata: x\nlangs: all\n", encoding="utf-8")
    code, _, err = mlret("eval", "run", tmp_path / "mine.yaml")
    assert code == 2
    assert "mine.yaml: langs: Extra inputs are not permitted" in err


@pytest.fixture(scope="module")
def two_languages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Swahili and German with eleven English sentences in both and one more in Swahili."""
    folder = tmp_path_factory.mktemp("two") / "tatoeba"
    folder.mkdir()
    rows = [f"swh\t{i}\tsentensi {i}\tsentence {i}\n" for i in range(12)]
    rows += [f"deu\t{i}\tSatz {i}\tsentence {i}\n" for i in range(11)]
    (folder / "tatoeba.v1.tsv").write_text("lang\tid\txxx\teng\n" + "".join(rows), encoding="utf-8")
    return folder


def test_joined_adds_pairs_of_languages_and_changes_nothing_else(  # type: ignore[no-untyped-def]
    mlret, two_languages: Path, tiny_encoder_folder: Path, tmp_path: Path
) -> None:
    def outputs(*options: str) -> tuple[dict, str, str]:
        files = ("--output", tmp_path / "out.json", "--markdown", tmp_path / "out.md")
        code, shown, err = mlret(
            "eval", "tatoeba", "--data", two_languages, "--model", tiny_encoder_folder, *files, *options
        )
        assert code == 0, err
        decoded = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
        for result in decoded["results"]:
            assert result.pop("seconds") > 0
        return decoded, (tmp_path / "out.md").read_text(encoding="utf-8"), shown

    plain, plain_table, plain_shown = outputs()
    joined, table, shown = outputs("--joined")
    assert table.startswith(plain_table) and shown.startswith(plain_shown.split("wrote")[0])
    assert "| deu-swh | 11 |" in table and "other than English" in shown
    assert "deu-swh" not in plain_table and "other than English" not in plain_shown
    found = [result.pop("joined") for result in joined["results"]]
    assert joined == plain
    assert [(row["first"], row["second"], row["queries"]) for row in found[0]["rows"]] == [("deu", "swh", 11)]
    assert found[0]["average"] == {
        "pairs_of_languages": 1, "queries": 11, "raw": found[0]["rows"][0]["raw"], "calibrated": None,
    }  # fmt: skip
    assert f"| {100 * found[2]['average']['raw']:.1f} |" in table


def test_joined_without_shared_english_fails_before_an_encoder_is_loaded(mlret, data: Path) -> None:  # type: ignore[no-untyped-def]
    code, out, err = mlret("eval", "tatoeba", "--data", data, "--model", "nowhere-at-all", "--joined")
    assert (code, out) == (2, "")
    assert "no two of the 1 languages share 10 English sentences" in err
