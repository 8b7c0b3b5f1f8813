"""Nothing is imported that a command does not use, and errors that need no encoder do not load one."""

from __future__ import annotations

import inspect
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer

from mlret import InputError, NotFound, errors
from mlret.cli.lazy import LazyGroup, loaded
from mlret.cli.main import app
from mlret.encoders.external import ExternalEncoder
from mlret.index.index import Index
from mlret.memory.memory import Memory

# Packages that take long to import, or are needed for little.
COSTLY = {
    "accelerate",
    "bm25s",
    "dateparser",
    "datasets",
    "faiss",
    "httpx",
    "httpx2",
    "huggingface_hub",
    "icu4py",
    "ir_datasets",
    "langcodes",
    "language_data",
    "llvmlite",
    "markdown_it",
    "matplotlib",
    "mteb",
    "nltk",
    "numba",
    "numpy",
    "onnxruntime",
    "pandas",
    "PIL",
    "polars",
    "py3langid",
    "pyarrow",
    "pydantic",
    "pytrec_eval",
    "regex",
    "requests",
    "rich",
    "safetensors",
    "scipy",
    "sentence_transformers",
    "sentencepiece",
    "sklearn",
    "Stemmer",
    "tensorboard",
    "tokenizers",
    "torch",
    "tqdm",
    "transformers",
    "yaml",
}
# What Typer imports to print the help of a command and to convert the values of options.
TYPER = {"markdown_it", "pydantic", "rich"}
INDEX = {"numpy", "pydantic", "safetensors"}
MEMORY = INDEX | {"regex"}
ENCODING = INDEX | {"onnxruntime"}

HOME = "--store memory -s user=anna"
# Command line -> its exit code, and those of the costly packages that it may import.
COMMANDS: dict[str, tuple[int, set[str]]] = {
    "--help": (0, {"rich"}),
    "search --help": (0, TYPER),
    "index --help": (0, TYPER),
    "memory add --help": (0, TYPER),
    "train --help": (0, TYPER),
    "eval --help": (0, TYPER | {"numpy"}),
    "serve --help": (0, TYPER),
    "no-such-command": (2, TYPER),
    "search no-such-folder question": (2, INDEX),
    "search index question -w nonsense": (2, INDEX),
    "index info index": (0, INDEX | {"rich"}),
    "index info index --json": (0, INDEX),
    "index delete index no-such-id": (2, INDEX),
    "index compact index": (0, INDEX | {"rich"}),
    "index export index -o exported.jsonl": (0, INDEX),
    "index verify index": (0, INDEX | {"rich"}),
    "index build new no-such-file.jsonl": (2, INDEX | {"rich"}),
    "index build new bad.jsonl": (2, INDEX | {"rich"}),
    "index build index documents.jsonl": (2, INDEX | {"rich"}),
    "index add index documents.jsonl --vectors vectors.npy": (0, INDEX | {"rich"}),
    f"memory list {HOME}": (0, MEMORY | {"rich"}),
    f"memory get {HOME} no-such-id": (2, MEMORY),
    f"memory search {HOME} question -w nonsense": (2, MEMORY),
    f"memory history {HOME} tea": (0, MEMORY | {"rich"}),
    "memory verify --store memory": (0, MEMORY),
    "encode documents.jsonl -o vectors.unknown": (2, INDEX | {"rich"}),
    "demo --keep index": (2, MEMORY | {"rich"}),
    "tokens list --json --tokens tokens.json": (0, {"pydantic"}),
    "tokens add laptop -i docs --tokens tokens.json": (0, {"pydantic"}),
    "recipes list --json": (0, {"pydantic", "rich", "yaml"}),
    # With the bundled encoder: neither torch nor what comes with it.
    "index build built documents.jsonl": (0, ENCODING | {"faiss", "langcodes", "rich", "yaml"}),
    "search bundled question -l en": (0, ENCODING | {"faiss", "langcodes", "language_data", "rich"}),
    "encode documents.jsonl -o encoded.npy": (0, ENCODING | {"langcodes", "rich"}),
    f"memory add {HOME.replace('memory', 'remembered')} tea": (
        0,
        ENCODING | MEMORY | {"dateparser", "faiss", "py3langid", "rich"},
    ),
}
QUICK = {
    "search bundled question -l en",
    "--help",
    "search --help",
    "search index question -w nonsense",
    "index info index --json",
    "index build new bad.jsonl",
    f"memory list {HOME}",
}

# Python code -> those of the costly packages that it may import.
CODE: dict[str, set[str]] = {
    "import mlret": set(),
    "from mlret import Index": INDEX,
    "from mlret import Memory": MEMORY,
    "from mlret import load_encoder": {"numpy"},
    "from mlret import ExternalEncoder": {"numpy"},
    "from mlret import Index\nimport numpy\n"
    "with Index.open('index') as index:\n"
    "    assert index.search_vectors(numpy.eye(4)[:1], k=1, where={'lang': 'sw'})[0][0].id == 'a'": INDEX
    | {"langcodes"},
    "from mlret import Memory\n"
    "with Memory.open('memory') as memory:\n"
    "    [hit] = memory.search('tea', {'user': 'anna'}, k=1, language='en', vector=[1.0, 0.0, 0.0, 0.0])\n"
    "    assert hit.id == 'tea'": MEMORY,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write an index and a memory whose encoder mlret does not run, an index that it does, and files to add."""
    folder = tmp_path_factory.mktemp("imports")
    encoder = ExternalEncoder("outside", 4)
    with Index.create(folder / "index", encoder) as index:
        index.add(
            [{"id": "a", "text": "habari", "lang": "sw"}, {"id": "b", "text": "good day", "lang": "en"}],
            vectors=np.eye(4)[:2],
        )
    with Index.create(folder / "bundled") as index:
        index.add([{"id": "a", "text": "habari", "lang": "sw"}])
    with Memory.open(folder / "memory", encoder) as memory:
        memory.add("I like tea.", {"user": "anna"}, id="tea", language="en", vector=[1.0, 0, 0, 0])
    (folder / "bad.jsonl").write_text('{"id": "1", "text": ', encoding="utf-8")
    (folder / "documents.jsonl").write_text('{"id": "c", "text": "guten Tag", "lang": "de"}\n', encoding="utf-8")
    np.save(folder / "vectors.npy", np.eye(4, dtype=np.float32)[2:3])
    return folder


def imported(code: str, folder: Path) -> tuple[int, set[str], str]:
    """Run code in a new process; return the exit code, the costly packages that it imported, and standard error."""
    report = "import atexit, sys; atexit.register(lambda: open('imported', 'w').write(' '.join(sys.modules)))\n"
    root = Path(errors.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-c", report + code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    names = (folder / "imported").read_text(encoding="utf-8").split()
    return done.returncode, COSTLY & {*names}, done.stderr


@pytest.mark.parametrize(
    "command", [pytest.param(one, marks=[] if one in QUICK else pytest.mark.thorough) for one in COMMANDS]
)
def test_a_command_imports_only_what_it_uses(command: str, folder: Path) -> None:
    code, allowed = COMMANDS[command]
    run = f"import sys; sys.argv = ['mlret', *{command.split()!r}]\nfrom mlret.cli.main import main\nmain()"
    done, found, error = imported(run, folder)
    assert done == code, error
    assert found <= allowed


@pytest.mark.parametrize("code", [pytest.param(one, id=one.splitlines()[-1].strip()) for one in CODE])
def test_python_imports_only_what_it_uses(code: str, folder: Path) -> None:
    done, found, error = imported(code, folder)
    assert done == 0, error
    assert found <= CODE[code]


def test_the_help_lists_each_command_with_the_first_line_of_its_own_help() -> None:
    group = typer.main.get_group(app)
    assert isinstance(group, LazyGroup)
    context = typer.Context(group)
    assert list(group.lazy) == group.list_commands(context)
    for name, lazy in group.lazy.items():
        command = loaded(name, lazy)
        assert command.name == name
        if not isinstance(command, typer.core.TyperGroup):
            assert lazy.summary == inspect.cleandoc(command.help).splitlines()[0]
    assert group.get_command(context, "no-such-command") is None


WRONG = "no/such/encoder"  # An encoder that cannot be loaded: its error would come first.


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (f"search index question -k 0 -m {WRONG}", "k is 0"),
        (f"search index question -w nonsense -m {WRONG}", "nonsense"),
        (f"search index question --mode nonsense -m {WRONG}", "nonsense"),
        (f"search index question -l nonsense -m {WRONG}", "unknown language code 'nonsense'"),
        (f"index build new bad.jsonl -m {WRONG}", "bad.jsonl:1"),
        (f"index build . documents.jsonl -m {WRONG}", "already exists"),
        (f"index reembed index -o index -m {WRONG}", "is in the folder"),
        (f"index reembed memory -o new -m {WRONG}", "mlret memory reembed"),
        (f"memory search {HOME} question -k 0 -m {WRONG}", "k is 0"),
        (f"memory search {HOME} question --level nonsense -m {WRONG}", "nonsense"),
        (f"memory search {HOME} question --as-of nonsense -m {WRONG}", "nonsense"),
        (f"memory add --store new -s user=anna text --level nonsense -m {WRONG}", "nonsense"),
        (f"encode documents.jsonl -o vectors.unknown -m {WRONG}", "unknown kind of file"),
        (f"encode documents.jsonl -o no-such-folder/vectors.npy -m {WRONG}", "no-such-folder"),
        (f"calibrate {WRONG} --text documents.jsonl -o calibrated", "no language has 50 distinct sentences"),
    ],
)
def test_bad_input_is_reported_before_the_encoder_is_loaded(
    command: str, message: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlret.cli.main import main

    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["mlret", *command.split()])
    with pytest.raises(SystemExit) as exit:
        main()
    assert exit.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error
    assert not (folder / "new").exists()


BAD_SEARCHES: dict[str, tuple[Callable[[Index], object], str]] = {
    "filter": (lambda index: index.search("question", where={"year": {"$no": 1}}), r"\$no"),
    "ids": (lambda index: index.search("question", ids="a"), "ids takes a list"),
    "mode": (lambda index: index.search("question", mode="lexical"), "no lexical channel"),
    "language": (lambda index: index.search("question", language="nonsense"), "nonsense"),
}


@pytest.mark.parametrize("bad", BAD_SEARCHES)
def test_a_bad_search_is_reported_before_the_encoder_is_loaded(bad: str, folder: Path) -> None:
    search, message = BAD_SEARCHES[bad]
    with Index.open(folder / "index") as index:
        # This index has no encoder that could be loaded.
        with pytest.raises(InputError, match="come from 'outside'"):
            index.search("question")
        with pytest.raises(InputError, match=message):
            search(index)
        assert index.search_batch([]) == []


@pytest.mark.parametrize("bad", [{"k": 0}, {"mode": "nonsense"}, {"where": {"year": {"$no": 1}}}, {"levels": ["no"]}])
def test_a_bad_search_in_a_memory_is_reported_before_the_encoder_is_loaded(
    bad: dict[str, object], folder: Path
) -> None:
    with Memory.open(folder / "memory") as memory, pytest.raises(InputError) as error:
        memory.search("question", {"user": "anna"}, **bad)  # type: ignore[arg-type]
    assert "outside" not in str(error.value)


def test_vectors_are_added_without_loading_the_encoder(tiny_encoder_folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_encoder_folder, model)
    Index.create(tmp_path / "index", model).close()
    shutil.rmtree(model)
    with Index.open(tmp_path / "index") as index:
        assert index.add([{"id": "a", "text": "bonjour", "lang": "fr"}], vectors=np.eye(32)[:1]) == 1
        with pytest.raises(NotFound, match="model"):
            index.add([{"id": "b", "text": "buenos días", "lang": "es"}])
