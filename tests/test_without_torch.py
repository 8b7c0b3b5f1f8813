"""What each verb of the command line imports: nothing heavy that it does not use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# What the light install lacks, and what of it is heavy, by the modules that a process has imported in the end.
_HEAVY = ["torch", "transformers", "sentence_transformers", "tokenizers", "huggingface_hub", "datasets", "accelerate"]
_HEAVY += ["scipy", "sklearn", "pandas", "polars", "pyarrow", "matplotlib", "pytrec_eval", "bm25s", "mteb", "numba"]
_HEAVY += ["onnxruntime", "faiss", "numpy", "dateparser", "py3langid", "yaml", "pydantic", "sqlite3"]


def imported(*arguments: str) -> set[str]:
    """Run a verb in a process of its own and return which of the heavy modules it has imported."""
    code = (
        f"import json, sys; sys.argv = ['mlret', *{arguments!r}]\n"
        "from mlret.cli.main import main\n"
        "try: main()\nexcept SystemExit as end: assert end.code in (0, None), end.code\n"
        f"print(json.dumps([name for name in {_HEAVY!r} if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imports")
    lines = [{"id": "a", "text": "The train is late.", "lang": "en"}, {"id": "b", "text": "Treni.", "lang": "sw"}]
    (folder / "two.jsonl").write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    found = imported("index", "build", str(folder / "index"), str(folder / "two.jsonl"))
    assert found <= {"onnxruntime", "faiss", "numpy", "py3langid", "yaml", "pydantic", "sqlite3"}
    return folder / "index"


def test_a_search_imports_what_it_computes_with(index: Path) -> None:
    found = imported("search", str(index), "late train")
    assert found <= {"onnxruntime", "faiss", "numpy", "yaml", "pydantic", "sqlite3"}


def test_encoding_and_remembering_import_no_more(index: Path, tmp_path: Path) -> None:
    found = imported("encode", str(index.with_name("two.jsonl")), "-o", str(tmp_path / "vectors.npy"))
    assert found <= {"onnxruntime", "numpy", "yaml", "pydantic", "sqlite3"}
    found = imported("memory", "add", "--store", str(tmp_path / "memory"), "--scope", "user=u1", "I like tea.")
    assert found <= {"onnxruntime", "faiss", "numpy", "py3langid", "dateparser", "yaml", "pydantic", "sqlite3"}
