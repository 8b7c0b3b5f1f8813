from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from mlret import doctor
from mlret.doctor import FEATURES, Findings, examine


def run(code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env=environment, encoding="utf-8")


@pytest.mark.thorough
def test_json_is_complete_and_the_exit_code_says_whether_the_base_works() -> None:
    done = run("import sys; sys.argv = ['mlret', 'doctor', '--json']; from mlret.cli.main import main; main()")
    found = json.loads(done.stdout)
    assert done.returncode == (0 if found["ok"] else 1)
    assert found["ok"] is (found["problems"] == [])
    assert set(found) == {"ok", *Findings.__dataclass_fields__}
    assert found["versions"]["python"] == sys.version.split()[0]
    assert found["versions"]["torch"]
    assert found["machine"]["cores"] == os.cpu_count()
    assert found["torch"]["threads"] >= 1
    assert found["sqlite"]["fts5"] is True


def test_tables_name_every_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from mlret.cli.main import main

    monkeypatch.setattr(sys, "argv", ["mlret", "doctor"])
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as exit_:
        main()
    out = capsys.readouterr().out
    assert exit_.value.code == (1 if "✗" in out else 0)
    for extra in FEATURES:
        assert f"  {extra} " in out


def test_every_extra_describes_its_purpose() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(FEATURES) == set(project["optional-dependencies"])


def test_a_package_that_does_not_import_is_a_problem_and_no_crash() -> None:
    # None in sys.modules makes the import fail, like a broken binary.
    done = run(
        "import json, sys; sys.modules.update(torch=None, faiss=None, transformers=None)\n"
        "from mlret.doctor import examine; print(json.dumps(examine().to_dict()))"
    )
    found = json.loads(done.stdout)
    assert not found["ok"]
    assert any("torch does not import" in problem and "pip install" in problem for problem in found["problems"])
    assert found["torch"] == found["faiss"] == {}
    assert found["encoder"]["runtime"] == "light"
    assert found["sqlite"]["version"]


def test_a_missing_package_is_named_with_the_extra_that_installs_it() -> None:
    # An environment without site-packages has only mlret and the standard library.
    root = Path(doctor.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-S", "-c", "from mlret.doctor import examine; print(examine().problems)"],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(root)},
    )
    assert done.returncode == 0, done.stderr
    assert "missing" in done.stdout or "not installed" in done.stdout


def test_requirements_out_of_range_and_missing_are_distinguished() -> None:
    assert doctor._lack("numpy>=1.26") is None
    assert doctor._lack("numpy>=999") is not None
    assert "is not >=999" in str(doctor._lack("numpy>=999"))
    assert doctor._lack("a-package-nobody-has>=1") == "a-package-nobody-has missing"


def test_the_installed_extras_lack_nothing() -> None:
    extras = {extra.name: extra for extra in examine().extras}
    assert extras["train"].missing == []
    assert extras["train"].install == 'pip install "mlret[train]"'
