"""Evaluation recipes: YAML in, a report out. A wrong key is an error that names it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mlret.data.durable import check_writable, write_text_atomically
from mlret.errors import InputError
from mlret.eval.report import TatoebaReport
from mlret.eval.tatoeba_data import XTREME_36, read_tatoeba
from mlret.eval.tatoeba_joined import evaluate_joined, join_on_english


class TatoebaRecipe(BaseModel):
    """What `mlret eval tatoeba` does."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "tatoeba"
    description: str = ""
    benchmark: Literal["tatoeba"]
    data: Path = Field(description="the test set's folder, relative to --data")
    model: str | None = Field(None, description="a folder or a hub id; the bundled encoder by default")
    languages: Literal["all", "xtreme-36"] | list[str] = "all"
    joined: bool = Field(False, description="also between languages other than English, joined on their English")
    floors: bool = Field(True, description="score random vectors and character n-grams beside the encoder")
    batch_size: int = Field(256, ge=1)
    output: Path | None = Field(None, description="JSON file to write")
    markdown: Path | None = Field(None, description="Markdown file to write")


def read_recipe(path: Path) -> TatoebaRecipe:
    """Read and check an evaluation recipe.

    Raises
    ------
    InputError
        If the file is missing, is not YAML, or a key is unknown, missing or out of range.
    """
    try:
        settings: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; `mlret recipes list` names the recipes there are") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8; save the recipe as UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise InputError(f"{path}{line}: not YAML; {getattr(error, 'problem', error)}") from error
    try:
        return TatoebaRecipe.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "recipe"
        known = ", ".join(TatoebaRecipe.model_fields)
        mend = f"the keys are {known}" if first["type"] == "extra_forbidden" else "mend this key"
        raise InputError(f"{path}: {key}: {first['msg']}; {mend}") from error


def run_tatoeba(recipe: TatoebaRecipe, *, show_progress: bool = False) -> TatoebaReport:
    """Evaluate by a recipe, whose paths are taken as they stand, and write the files that it names.

    Raises
    ------
    InputError
        If the test set, the encoder or a language is not there, or a result could not be written.
    """
    for target in (recipe.output, recipe.markdown):
        if target is not None:
            check_writable(target)
    chosen = {"all": None, "xtreme-36": list(XTREME_36)}
    languages = chosen[recipe.languages] if isinstance(recipe.languages, str) else recipe.languages
    pairs = read_tatoeba(recipe.data, languages=languages)
    if recipe.joined:
        join_on_english(pairs)

    # What is wrong with the input has been said by now; only then is it worth a second to import torch.
    from mlret.encoders.encoder import load_encoder
    from mlret.eval.floors import FLOORS
    from mlret.eval.tatoeba import all_texts, evaluate_tatoeba
    from mlret.eval.vectors import EncodedTexts, TextEncoder

    systems: list[TextEncoder] = [load_encoder(recipe.model)]
    if recipe.floors:
        systems += [floor() for floor in FLOORS]
    results, joined = [], []
    for system in systems:
        texts = EncodedTexts(system, all_texts(pairs), batch_size=recipe.batch_size, show_progress=show_progress)
        results.append(evaluate_tatoeba(system, pairs, texts=texts))
        if recipe.joined:
            joined.append(evaluate_joined(texts, pairs))
    report = TatoebaReport(recipe.data.resolve().name, results, joined)
    if recipe.output is not None:
        write_text_atomically(recipe.output, as_json(report))
    if recipe.markdown is not None:
        write_text_atomically(recipe.markdown, report.markdown())
    return report


def as_json(report: TatoebaReport) -> str:
    """The report as indented JSON, with a line end."""
    return json.dumps(report.to_dict(), ensure_ascii=False, indent=1) + "\n"
