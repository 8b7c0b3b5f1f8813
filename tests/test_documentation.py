"""Test the documentation: its code runs and prints what the pages show, and the reference is complete."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# The pages on frameworks (use-in-….md) need those: tests/integrations runs their code.
PAGES = [
    "README.md",
    "docs/getting-started.md",
    *sorted(
        str(page.relative_to(ROOT))
        for page in (ROOT / "docs" / "how-to").glob("*.md")
        if not page.name.startswith("use-in-")
    ),
    *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs" / "explanation").glob("*.md")),
    "docs/reference/errors.md",
]
# Pages whose code encodes hundreds of texts, trains, or exports.
COSTLY = {
    "docs/how-to/evaluate.md",
    "docs/how-to/export.md",
    "docs/how-to/pretrain.md",
    "docs/explanation/multi-vector-search.md",
    "docs/explanation/vocabulary-trimming.md",
}
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
PUBLIC_PACKAGES = ["mlret", "mlret.data.ranking", "mlret.eval", "mlret.vocabulary"]


def blocks(page: str) -> list[tuple[str, str]]:
    """Return the fenced blocks of a page in order, as (language, content)."""
    return FENCE.findall((ROOT / page).read_text(encoding="utf-8"))


def run_shell(block: str) -> str:
    """Run a block of shell commands; those of mlret run in this process, in which torch and the encoder are loaded.

    Those whose output goes into a file, and those that run in the background, run in a shell as all others.
    """
    output = []
    for command in shell_commands(block):
        words = shlex.split(command, comments=True)
        if words[:1] == ["mlret"] and ">" not in words:
            output.append(run_mlret(words[1:]))
        elif words:
            done = subprocess.run(["bash", "-ec", command], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            output.append(done.stdout)
    return "".join(output)


def shell_commands(block: str) -> Iterator[str]:
    """Return the commands of a block, each with its here-document."""
    lines = iter(block.splitlines())
    for line in lines:
        command = line
        if "<<'EOF'" in line:
            for more in lines:
                command += "\n" + more
                if more == "EOF":
                    break
        yield command


def run_mlret(arguments: list[str]) -> str:
    from typer.testing import CliRunner

    from mlret.cli.main import app

    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=[pytest.mark.thorough] if page in COSTLY else []) for page in PAGES]
)
def test_code_of_a_page_runs_and_prints_what_the_page_says(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    names: dict[str, object] = {"__name__": "__page__"}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    # The port of the pages may be taken.
    found = [
        (language, content.replace("mlret serve ", f"mlret serve --port {port} ").replace(":8752", f":{port}"))
        for language, content in blocks(page)
    ]
    try:
        run_page(page, found, names, capsys)
    finally:
        if Path("serve.pid").exists():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(Path("serve.pid").read_text()), signal.SIGKILL)


def run_page(
    page: str, found: list[tuple[str, str]], names: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    for position, (language, content) in enumerate(found):
        if language == "python":
            capsys.readouterr()
            exec(compile(content, f"{page}, block {position}", "exec"), names)
            printed = capsys.readouterr().out
            following = found[position + 1] if position + 1 < len(found) else ("", "")
            if following[0] == "text":
                assert printed == following[1]
        elif language == "bash" and page != "README.md":  # those of the README use the reader's own files
            run_shell(content)


def test_pages_have_code_to_run() -> None:
    counted = {page: sum(language in ("python", "bash") for language, _ in blocks(page)) for page in PAGES}
    assert sum(counted.values()) > 30
    assert all(counted[page] for page in PAGES if "how-to" in page)


def test_printed_output_is_compared() -> None:
    """Every block of expected output follows the code that prints it."""
    for page in PAGES:
        languages = [language for language, _ in blocks(page)]
        for before, language in zip(["", *languages], languages, strict=False):
            assert language != "text" or before == "python", page


def test_reference_has_every_public_name() -> None:
    reference = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "reference").glob("*.md"))
    for package in PUBLIC_PACKAGES:
        for name in importlib.import_module(package).__all__:
            assert name == "__version__" or f"{package}.{name}" in reference, f"{package}.{name}"


def test_page_of_errors_names_every_class_with_its_exit_code() -> None:
    from mlret import errors

    rows = dict(re.findall(r"^\| \{py:class\}`~mlret\.errors\.(\w+)` \|.*\| (\d) \|$", page_of_errors(), re.M))
    classes = {
        name: str(value.exit_code)
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.MlretError)
    }
    assert rows == classes
    (members,) = re.findall(r":members: (.*)", page_of_errors())
    assert set(members.split(", ")) == set(classes)


def page_of_errors() -> str:
    return (ROOT / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")


def test_command_line_page_is_made_from_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sphinx", reason="the documentation needs the extra docs")
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_extensions"))
    page = importlib.import_module("generated_pages").commands()
    headings = re.findall(r"^#{2,} `(mlret [\w -]+)`$", page, re.M)
    assert {"mlret search", "mlret index build", "mlret memory erase", "mlret eval compare"} <= set(headings)
    assert "**Commands**" not in page  # lists of commands, whose lines Typer truncates


def test_version_is_defined_once() -> None:
    """The package and the site take it from one place."""
    import mlret

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"]["path"] == "mlret/__init__.py"
    assert "version" not in project["project"]
    for name in ("CITATION.cff", "docs/conf.py"):
        assert mlret.__version__ not in (ROOT / name).read_text(encoding="utf-8"), name
