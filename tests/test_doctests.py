"""The examples in the docstrings of public callables run and print what they say, and no public callable lacks one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
import shutil
from collections.abc import Callable, Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlret.encoders.external import ExternalEncoder
from mlret.encoders.late_interaction import multi_vector_encoder
from mlret.index.index import Index
from mlret.index.settings import IndexSettings
from mlret.memory.memory import Memory
from tests.vocabulary import made

PACKAGES = ("mlret", "mlret.eval", "mlret.vocabulary", "mlret.data.ranking")
SECTIONS = ("Parameters", "Attributes", "Returns", "Yields", "Raises", "Examples")
# Examples that begin where another one ended, besides those of methods, which begin where that of their class ended.
BEGINS_AT = {
    "mlret.Hit": "mlret.Index",
    "mlret.eval.Report": "mlret.eval.evaluate",
    "mlret.vocabulary.TrimReport": "mlret.trim_vocabulary",
    "mlret.data.ranking.RankingReader": "mlret.data.ranking.read_ranking",
    "mlret.data.ranking.RankingSource": "mlret.data.ranking.read_ranking",
}


def own_members(kind: type) -> Iterator[tuple[str, Callable[..., Any], bool]]:
    """Yield name, function and whether it is an attribute, of the public methods and properties that mlret defines."""
    seen: set[str] = set()
    for base in kind.__mro__:
        for name, value in vars(base).items() if base.__module__.startswith("mlret.") else ():
            if name.startswith("_") or name in seen:
                continue
            seen.add(name)
            if isinstance(value, property) and (value.__doc__ or "").startswith("Deprecated name"):
                continue
            if isinstance(value, property | cached_property):
                yield name, value.fget if isinstance(value, property) else value.func, True  # type: ignore[misc]
            elif isinstance(value, classmethod | staticmethod):
                yield name, value.__func__, False
            elif inspect.isfunction(value):
                yield name, value, False


def public() -> Iterator[tuple[str, Any, bool]]:
    """Yield name, object and whether it is an attribute, of everything public that can be called or read."""
    seen: set[Any] = set()
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in module.__all__:
            value = getattr(module, name)
            if not (inspect.isclass(value) or inspect.isfunction(value)) or value in seen:
                continue
            if inspect.isclass(value) and issubclass(value, Exception):
                continue  # The page of errors has an example of each, which tests/test_documentation.py runs.
            seen.add(value)
            yield f"{package}.{name}", value, False
            # The clients need a server: the examples of docs/how-to/serve.md are run by tests/test_documentation.py.
            # The methods of the classes of coroutines have the examples of the classes without.
            others = value.__module__.startswith("mlret.client.") or name in ("AsyncIndex", "AsyncMemory")
            whole = inspect.isclass(value) and not others
            for member, function, attribute in own_members(value) if whole else ():
                if function not in seen:
                    seen.add(function)
                    yield f"{package}.{name}.{member}", function, attribute


PUBLIC = {name: value for name, value, _ in public()}
ATTRIBUTES = {name for name, _, attribute in public() if attribute}


@pytest.fixture(scope="module", autouse=True)
def encoders_are_loaded_once() -> Iterator[None]:
    """Loading the bundled encoder takes seconds, and most examples begin with it."""
    from mlret.encoders import loading, multi_vector

    def bundled_once(load: Callable[..., Any]) -> Callable[..., Any]:
        bundled = cache(load)
        return lambda name=None, **options: bundled() if name is None else load(name, **options)

    load_encoder = bundled_once(loading.load_encoder)
    load_token_encoder = bundled_once(multi_vector.load_token_encoder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "load_encoder", load_encoder)
        patch.setattr(multi_vector, "load_encoder", load_encoder)
        patch.setattr(multi_vector, "load_token_encoder", load_token_encoder)
        yield


class Played:
    """The folder and the variables that an example leaves; open indexes and memories are closed and can be copied."""

    def __init__(self, folder: Path, variables: dict[str, Any]) -> None:
        self.folder = folder
        self.variables = dict(variables)
        self.stores = {name: value for name, value in variables.items() if isinstance(value, Index | Memory)}
        for store in self.stores.values():
            store.close()

    def resumed(self, folder: Path) -> dict[str, Any]:
        """Copy the folder, and return the variables with the stores opened in the copy, the current folder."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return self.variables | {name: type(store).open(store.path) for name, store in self.stores.items()}


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory, tiny_encoder_folder: Path) -> Callable[[str], Played]:
    """Run the example of a public name where it begins, and return what it leaves."""

    def folder_of(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name.rpartition(".")[2])
        if name == "mlret.multi_vector_encoder":
            shutil.copytree(tiny_encoder_folder, folder / "my-encoder")
        if name == "mlret.Index.tune":
            make_token_index(folder / "my-tokens.index")
        if name == "mlret.export_encoder":
            model = multi_vector_encoder(tiny_encoder_folder, query_length=32)
            model.save(str(folder / "my-token-encoder"), create_model_card=False)
        if name in ("mlret.vocabulary.load_drafter", "mlret.vocabulary.trim_head"):
            make_drafters(folder)
        return folder

    def run(name: str) -> Played:
        owner = BEGINS_AT.get(name) or name.rpartition(".")[0]
        folder = folder_of(name)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            variables = played(owner).resumed(folder) if owner in PUBLIC else {}
            variables["__name__"] = "__main__"
            check(name, variables)
            return Played(folder, variables)

    played = cache(run)
    return played


def check(name: str, variables: dict[str, Any]) -> None:
    """Run the example of a name with some variables, which it changes."""
    parsed = doctest.DocTestParser().get_doctest(inspect.getdoc(PUBLIC[name]) or "", variables, name, name, 0)
    assert parsed.examples, f"{name} has no example"
    parsed.globs = variables  # get_doctest copies them
    output: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS, verbose=False)
    runner.run(parsed, out=output.append, clear_globs=False)
    assert runner.failures == 0, "".join(output)


def make_token_index(folder: Path) -> None:
    """Write a small multi-vector index with lists to probe, of random tokens."""
    vectors = list(np.random.default_rng(0).standard_normal((120, 4, 8)).astype(np.float32))
    with Index.create(folder, ExternalEncoder("random", 8, "maxsim"), settings=IndexSettings(kind="probe")) as index:
        index.add([f"text {number}" for number in range(len(vectors))], vectors=vectors)
        index.compact()


def make_drafters(folder: Path) -> None:
    """Write a tiny causal language model, and the same with a trimmed head."""
    from mlret.vocabulary.drafter import save_drafter, trim_head

    tokenizer = made.fast("byte-bpe")
    model = made.model("llama untied", len(tokenizer))
    model.save_pretrained(folder / "my-drafter")
    tokenizer.save_pretrained(folder / "my-drafter")
    trimmed = trim_head(model, size=50, corpus=["The train is late."], tokenizer=tokenizer)
    save_drafter(trimmed, tokenizer, folder / "my-trimmed-drafter")


@pytest.mark.parametrize("name", PUBLIC)
def test_example_of_a_public_callable_prints_what_it_says(name: str, play: Callable[[str], Played]) -> None:
    play(name)


def section(text: str, name: str) -> str | None:
    """The content of a section of a docstring; ``None`` if it has none of that name."""
    found = re.search(rf"^{name}\n-+\n(.*?)(?=\n\n(?:{'|'.join(SECTIONS)})\n-|\Z)", text, re.M | re.S)
    return found[1] if found else None


@pytest.mark.parametrize("name", PUBLIC)
def test_docstring_of_a_public_callable_is_complete(name: str) -> None:
    text = inspect.getdoc(PUBLIC[name]) or ""
    assert section(text, "Examples") is not None
    if name in ATTRIBUTES:
        return
    signature = inspect.signature(PUBLIC[name])
    described = (section(text, "Parameters") or "") + "\n" + (section(text, "Attributes") or "")
    heads = {one.strip(" *") for line in re.findall(r"^(\S.*)$", described, re.M) for one in line.split(",")}
    if PUBLIC[name] is not Memory and not is_model(PUBLIC[name]):
        assert [one for one in signature.parameters if one not in ("self", "cls", *heads)] == []
    if inspect.isfunction(PUBLIC[name]) and signature.return_annotation not in (None, "None"):
        assert section(text, "Returns") or section(text, "Yields")


def is_model(value: Any) -> bool:
    """Whether it is a pydantic model, whose fields are described where they are declared."""
    return hasattr(value, "model_fields") and all(field.description for field in value.model_fields.values())
