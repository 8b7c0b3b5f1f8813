from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.eval.made import make_beir, make_miracl, make_mmarco, make_mrtydi

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
    """Run the command in this process, in which torch is already imported; return exit code, stdout and stderr."""
    from mlret.cli.main import main

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mlret", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = capsys.readouterr()
        return int(exit_.value.code or 0), captured.out, captured.err

    return run


@pytest.mark.thorough
def test_tatoeba_prints_json_alone_and_writes_files(data: Path, tiny_encoder_folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    options = ("--data", data, "--model", tiny_encoder_folder, "--json", "--output", output)
    done = subprocess.run(
        [sys.executable, "-m", "mlret.cli.main", "eval", "tatoeba", *map(str, options)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"},
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed == json.loads((output / "report.json").read_text(encoding="utf-8"))
    name = str(tiny_encoder_folder)
    assert list(printed["figures"]) == [name, "random vectors", "character n-grams", "BM25"]
    own = printed["figures"][name]
    assert own["average"] == own["all"] == own["swh"]
    assert set(own["swh"]) == {"xx_en", "en_xx", "mean", "csls xx_en", "csls en_xx", "csls mean"}
    assert printed["systems"][name]["texts"] == 6
    assert (output / "report.md").read_text(encoding="utf-8").count("\n| ") == 4
    written = {path.name for path in output.iterdir()}
    assert written == {"report.json", "report.md", "table.csv", "table.tex", "scores.tsv.gz", "tatoeba.png"}
    assert (output / "tatoeba.png").read_bytes().startswith(b"\x89PNG")


def test_a_recipe_is_run_and_options_go_before_it(  # type: ignore[no-untyped-def]
    mlret, data: Path, tiny_encoder_folder: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("benchmark: tatoeba\ndata: tatoeba\nfloors: false\nmodels: [nowhere]\n", encoding="utf-8")
    code, out, err = mlret("eval", "run", recipe, "--data", data.parent, "--model", tiny_encoder_folder)
    assert code == 0, err
    assert "Swahili" in out
    assert "n-grams" not in out
    given = ("eval", "run", recipe, "--data", data.parent, "--model", tiny_encoder_folder, "--json", "--precision")
    code, out, err = mlret(*given, "float32")
    assert code == 0, err
    code, _, err = mlret(*given, "int4")
    assert code == 2
    assert "no precision 'int4'; there are auto, float32, bfloat16" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "nowhere"), "error: nowhere: no such folder"),
        (("--languages", "zzq"), "error: unknown language code 'zzq'"),
        (("--languages", "sw,fr"), "has no language 'fr'; choose from swh"),
        (("--xtreme-only",), "has no language 'afr'"),
        (("--xtreme-only", "--languages", "sw"), "exclude each other"),
        (("--output", "nowhere/result"), "nowhere does not exist"),
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
    """Make pairs in Swahili and German with eleven English sentences in both, and one more in Swahili."""
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
        code, shown, err = mlret(
            "eval", "tatoeba", "--data", two_languages, "--model", tiny_encoder_folder, "-o", tmp_path / "out", *options
        )
        assert code == 0, err
        decoded = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
        for facts in decoded["systems"].values():
            facts.pop("seconds")
        return decoded, (tmp_path / "out" / "report.md").read_text(encoding="utf-8"), shown

    plain, plain_table, plain_shown = outputs("--no-plots")
    joined, table, shown = outputs("--joined")
    assert table.startswith(plain_table)
    assert "| deu-swh | 11 |" in table and "other than English" in shown
    assert "deu-swh" not in plain_table and "other than English" not in plain_shown
    found = list(joined.pop("joined").values())
    for groups in joined["figures"].values():
        assert groups.pop("joined")
    assert joined == plain
    assert [(row["first"], row["second"], row["queries"]) for row in found[0]["rows"]] == [("deu", "swh", 11)]
    assert found[0]["average"] == {
        "pairs_of_languages": 1, "queries": 11, "raw": found[0]["rows"][0]["raw"], "calibrated": None,
    }  # fmt: skip
    assert f"| {100 * found[2]['average']['raw']:.1f} |" in table
    assert (tmp_path / "out" / "tatoeba-joined.png").is_file()


def test_joined_without_shared_english_fails_before_an_encoder_is_loaded(mlret, data: Path) -> None:  # type: ignore[no-untyped-def]
    code, out, err = mlret("eval", "tatoeba", "--data", data, "--model", "nowhere-at-all", "--joined")
    assert (code, out) == (2, "")
    assert "no two of the 1 languages share 10 English sentences" in err


def test_every_benchmark_describes_its_data_and_protocol(mlret) -> None:  # type: ignore[no-untyped-def]
    from mlret.eval.registry import benchmarks

    code, out, _ = mlret("eval", "--help")
    assert code == 0
    for name in (*benchmarks(), "run", "compare", "reproduce"):
        assert f" {name} " in out
        code, shown, _ = mlret("eval", name, "--help")
        assert code == 0 and "--json" in shown


@pytest.mark.parametrize("benchmark", ["mrtydi", "miracl", "mmarco", "beir"])
def test_retrieval_writes_runs_that_score_the_same_again(  # type: ignore[no-untyped-def]
    mlret, benchmark: str, tiny_encoder_folder: Path, tmp_path: Path
) -> None:
    makers = {"mrtydi": make_mrtydi, "miracl": make_miracl, "mmarco": make_mmarco, "beir": make_beir}
    root = makers[benchmark](tmp_path / "set")
    code, out, err = mlret("eval", benchmark, "--data", root, "-m", tiny_encoder_folder, "-o", tmp_path / "first")
    assert code == 0, err
    first = json.loads((tmp_path / "first" / "report.json").read_text(encoding="utf-8"))
    name = str(tiny_encoder_folder)
    assert list(first["figures"]) == [name, "BM25", "random"]
    assert ("not the official corpora" in out) == (benchmark != "beir")
    assert "published" not in out
    (runs,) = [path for path in (tmp_path / "first" / "runs").iterdir() if path.name not in ("BM25", "random")]
    code, out, err = mlret("eval", benchmark, "--data", root, "--run", runs, "-o", tmp_path / "again", "--no-plots")
    assert code == 0, err
    again = json.loads((tmp_path / "again" / "report.json").read_text(encoding="utf-8"))
    assert list(again["figures"].values()) == [first["figures"][name]]
    # Without a corpus the official one is assumed, and published figures are shown.
    assert ("published" in out) == (benchmark != "beir")
    code, out, err = mlret("eval", "compare", tmp_path / "first", tmp_path / "again", "--system-a", "BM25", "--json")
    assert code == 0, err
    (group,) = json.loads(out)["groups"]
    assert group["queries"] == 6 and 0 < group["adjusted"] <= 1


def test_ids_with_blanks_in_beir_are_scored_and_written_so_that_the_run_is_read_back(  # type: ignore[no-untyped-def]
    mlret, tiny_encoder_folder: Path, tmp_path: Path
) -> None:
    plain, blank = make_beir(tmp_path / "plain"), make_beir(tmp_path / "blank")
    for path in (blank / "corpus.jsonl", blank / "queries.jsonl", blank / "qrels" / "test.tsv"):
        text = path.read_text(encoding="utf-8").replace('"_id": "', '"_id": "a %\u3000b')
        text = re.sub(r"^(\d+)\t(.*)$", "a %\u3000b\\1\ta %\u3000b\\2", text, flags=re.MULTILINE)
        path.write_text(text, encoding="utf-8")
    figures = []
    for root in (plain, blank):
        output = tmp_path / f"{root.name}-out"
        code, _, err = mlret("eval", "beir", "--data", root, "-m", tiny_encoder_folder, "-o", output, "--no-plots")
        assert code == 0, err
        figures.append(json.loads((output / "report.json").read_text(encoding="utf-8"))["figures"])
    name = str(tiny_encoder_folder)
    assert figures[1][name]["blank"] == figures[0][name]["plain"]
    (runs,) = [path for path in (tmp_path / "blank-out" / "runs").iterdir() if path.name not in ("BM25", "random")]
    code, _, err = mlret("eval", "beir", "--data", blank, "--run", runs, "-o", tmp_path / "again", "--no-plots")
    assert code == 0, err
    again = json.loads((tmp_path / "again" / "report.json").read_text(encoding="utf-8"))["figures"]
    assert list(again.values()) == [figures[1][name]]


def test_ids_that_no_run_could_hold_are_refused_before_anything_is_encoded(  # type: ignore[no-untyped-def]
    mlret, tmp_path: Path
) -> None:
    root = make_beir(tmp_path / "set")
    with (root / "queries.jsonl").open("a", encoding="utf-8") as file:
        file.write('\n{"_id": "\\ud800", "text": "a"}\n')
    # The encoder does not exist, so encoding anything would be an error.
    code, _, err = mlret("eval", "beir", "--data", root, "-m", "nowhere", "-o", tmp_path / "out", "--no-plots")
    assert code == 2
    assert "queries.jsonl:8: the query id holds half a surrogate pair" in err


def test_compare_takes_runs_with_judgements(mlret, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    from mlret.data.retrieval import write_run

    qrels = {f"q{n}": {"a": 1} for n in range(12)}
    (tmp_path / "qrels").write_text("".join(f"{q} 0 a 1\n" for q in qrels), encoding="utf-8")
    write_run(tmp_path / "a.trec", {q: {"b": 2.0, "a": 1.0} for q in qrels})
    write_run(tmp_path / "b.trec", {q: {"a": 2.0, "b": 1.0} for q in qrels})
    arguments = ("eval", "compare", tmp_path / "a.trec", tmp_path / "b.trec", "--qrels", tmp_path / "qrels")
    code, out, err = mlret(*arguments, "--metric", "mrr@10")
    assert code == 0, err
    assert "50.0" in out and "+50.0" in out and "12/0" in out and "*" in out
    code, _, err = mlret(*arguments, "--metric", "best@10")
    assert (code, "unknown metric" in err) == (2, True)
    code, _, err = mlret(*arguments[:-2])
    assert (code == 2 and "runs with --qrels" in err) or "the header is not" in err


def test_a_lines_option_that_is_none_is_an_error(mlret, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    code, _, err = mlret("eval", "bitext", "--data", tmp_path, "--lines", "ten")
    assert code == 2 and "--lines: 'ten' is not a span; give a first and a last line" in err


def test_reproduce_holds_figures_against_those_expected(  # type: ignore[no-untyped-def]
    mlret, data: Path, tiny_encoder_folder: Path, tmp_path: Path
) -> None:
    def recipe(name: str, value: float, folder: str = "tatoeba") -> Path:
        path = tmp_path / f"{name}.yaml"
        path.write_text(
            f"name: {name}\ndescription: Made here.\nbenchmark: tatoeba\ndata: {folder}\n"
            f"models: [{tiny_encoder_folder}]\nexpected:\n  - {{metric: mean, value: {value}, tolerance: 0.001}}\n"
            "  - {metric: mean, system: random vectors, value: 0.5, tolerance: 0.5, group: swh}\n",
            encoding="utf-8",
        )
        return path

    code, out, _ = mlret("eval", "tatoeba", "--data", data, "-m", tiny_encoder_folder, "--json")
    mean = json.loads(out)["figures"][str(tiny_encoder_folder)]["average"]["mean"]
    results = tmp_path / "results"
    results.mkdir()
    options = ("--data", data.parent, "--output", results)
    code, out, err = mlret("eval", "reproduce", recipe("good", mean), *options)
    assert code == 0, err
    assert "holds" in out and "DIFFERS" not in out
    readme = (results / "README.md").read_text(encoding="utf-8")
    assert (
        "[good](good/report.md)" in readme and "`mlret eval run good --data DIR`" in readme and "Made here." in readme
    )
    assert (results / "good" / "report.md").is_file()

    # A figure that differs and a recipe without data fail, and the table keeps the former.
    code, out, err = mlret(
        "eval", "reproduce", recipe("wrong", mean + 0.4), recipe("gone", 0.5, "gone"), *options, "--json"
    )
    assert code == 1, err
    checks = json.loads(out)
    assert [(check["recipe"], check["holds"]) for check in checks] == [
        ("wrong", False), ("wrong", True), ("gone", False), ("gone", False),
    ]  # fmt: skip
    assert "no such folder" in checks[2]["why"]
    readme = (results / "README.md").read_text(encoding="utf-8")
    assert "[good]" in readme and "**differs**" in readme and "[gone]" not in readme

    plain = tmp_path / "plain.yaml"
    plain.write_text("benchmark: tatoeba\ndata: x\n", encoding="utf-8")
    code, _, err = mlret("eval", "reproduce", plain, *options)
    assert code == 2 and "no key `expected`" in err


def test_pictures_of_stored_results_are_drawn_again(  # type: ignore[no-untyped-def]
    mlret, two_languages: Path, tiny_encoder_folder: Path, tmp_path: Path
) -> None:
    arguments = ("--data", two_languages, "-m", tiny_encoder_folder, "--joined", "-o", tmp_path / "out")
    code, _, err = mlret("eval", "tatoeba", *arguments)
    assert code == 0, err
    pictures = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.png")}
    assert set(pictures) == {"tatoeba.png", "tatoeba-joined.png"}
    for name in pictures:
        (tmp_path / "out" / name).write_bytes(b"")
    code, out, err = mlret("eval", "redraw", tmp_path / "out")
    assert code == 0, err
    assert out.splitlines() == [f"wrote {tmp_path / 'out' / name}" for name in ("tatoeba.png", "tatoeba-joined.png")]
    assert {name: (tmp_path / "out" / name).read_bytes() for name in pictures} == pictures
    for content, message in ((None, "No such file"), ("[", "not the report"), ('{"benchmark": "x"}', "not the report")):
        folder = tmp_path / str(content is None) / message.replace(" ", "-")
        folder.mkdir(parents=True)
        if content is not None:
            (folder / "report.json").write_text(content, encoding="utf-8")
        code, _, err = mlret("eval", "redraw", folder)
        assert (code, err.count("\n")) == (2, 1) and message in err
        if content is not None:
            (folder / "report.json").unlink()
        folder.rmdir()


def test_help_of_all_benchmarks_waits_for_no_heavy_package() -> None:
    code = (
        "import sys; sys.argv = ['mlret', 'eval', '--help']\n"
        "from mlret.cli.main import app\n"
        "try: app()\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'transformers', 'sklearn', 'scipy', 'matplotlib', 'sqlite3'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8", check=True)
    assert done.stdout.splitlines()[-1] == "[]"
