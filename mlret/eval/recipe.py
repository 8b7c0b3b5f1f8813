"""Evaluation recipes: which systems to evaluate on which benchmark, and the scores that are expected."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from mlret.errors import InputError


class Expected(BaseModel):
    """An expected score, and how far a reproduction may deviate from it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: str = Field(description="as the report names it, e.g. mrr@100")
    value: float = Field(description="from 0 to 1")
    tolerance: float = Field(0.005, ge=0)
    group: str = Field("average", description="a language, or average")
    system: str | None = Field(None, description="by default the first: the model without calibration")


class _Recipe(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = ""
    description: str = ""
    data: Path = Field(description="the benchmark's folder or file, relative to --data")
    models: list[str | None] = Field([], description="folders or hub ids; null, or none named, is the bundled encoder")
    languages: list[str] | None = Field(None, description="only these; all by default")
    floors: bool = Field(True, description="also score baselines that do not use meaning")
    batch_size: int = Field(256, ge=1, description="texts in one forward pass")
    precision: Literal["float32", "bfloat16", "int8"] = Field(
        "float32", description="precision of encoders with one vector per text, as in `mlret encode`"
    )
    expected: list[Expected] = Field([], description="what `mlret eval reproduce` holds the figures against")


class _WithRuns(_Recipe):
    runs: list[Path] = Field([], description="saved runs: TREC files, or folders with one for each language")
    index: Path | None = Field(None, description="folder to keep the indexes in")
    index_recipes: list[str] = Field([], description="kinds of index to compare with comparing every document")


class TatoebaRecipe(_Recipe):
    """Options of `mlret eval tatoeba`."""

    benchmark: Literal["tatoeba"] = "tatoeba"
    xtreme_only: bool = Field(False, description="only the 36 languages of XTREME")
    matchings: list[Literal["cosine", "csls", "margin"]] = Field(["cosine", "csls"], description="cosine always")
    joined: bool = Field(False, description="also between languages other than English, joined on their English")


class MrTydiRecipe(_WithRuns):
    """Options of `mlret eval mrtydi`."""

    benchmark: Literal["mrtydi"] = "mrtydi"
    split: Literal["train", "dev", "test"] = "test"


class MiraclRecipe(_WithRuns):
    """Options of `mlret eval miracl`."""

    benchmark: Literal["miracl"] = "miracl"
    split: Literal["train", "dev"] = "dev"


class MmarcoRecipe(_WithRuns):
    """Options of `mlret eval mmarco`."""

    benchmark: Literal["mmarco"] = "mmarco"


class BeirRecipe(_WithRuns):
    """Options of `mlret eval beir`."""

    benchmark: Literal["beir"] = "beir"
    datasets: list[str] | None = Field(None, description="which; all that are in the folder by default")
    language: str | None = Field(None, description="of all texts")
    split: str = "test"


class XorRetrieveRecipe(_Recipe):
    """Options of `mlret eval xor-retrieve`."""

    benchmark: Literal["xor-retrieve"] = "xor-retrieve"
    split: Literal["train", "dev", "test"] = "dev"
    passages: Path | None = Field(None, description="psgs_w100.tsv; by default the one in data")
    predictions: list[Path] = Field([], description="saved predictions, as the official script takes them")
    index: Path | None = Field(None, description="folder to keep the index in")


class XquadRRecipe(_Recipe):
    """Options of `mlret eval xquad-r`."""

    benchmark: Literal["xquad-r"] = "xquad-r"
    unit: Literal["sentence", "sentence+context"] = Field("sentence+context", description="what a candidate is")
    runs: list[Path] = Field([], description="saved runs: TREC files, queries de:ID, documents as sentences are named")
    run_depth: int = Field(0, ge=0, description="candidates of each query to keep as runs; none by default")


class BitextRecipe(_Recipe):
    """Options of `mlret eval bitext`."""

    benchmark: Literal["bitext"] = "bitext"
    lines: tuple[int, int] | None = Field(None, description="first and last line, from 1; all by default")


class AlignmentRecipe(_Recipe):
    """Options of `mlret eval alignment`."""

    benchmark: Literal["alignment"] = "alignment"
    lines: tuple[int, int] | None = Field(None, description="first and last line, from 1; all by default")
    pivot: str = Field("en", description="the language that all others are aligned with")


class MemoryRecipe(_Recipe):
    """Options of `mlret eval memory`."""

    benchmark: Literal["memory"] = "memory"
    parallel: Path = Field(Path("ntrex128/ntrex128.long.tsv.gz"), description="parallel sentences, within data")
    documents: Path = Field(Path("ntrex128/doc_ids.txt.gz"), description="the document of each line, within data")
    lines: tuple[int, int] | None = Field(None, description="first and last line, from 1; all by default")
    answers: Path | None = Field(Path("xquad_r"), description="XQuAD-R, within data; null leaves it out")
    answer_languages: list[str] = Field(["en", "ru", "ar", "zh"], description="of XQuAD-R")


Recipe = Annotated[
    TatoebaRecipe
    | MrTydiRecipe
    | MiraclRecipe
    | MmarcoRecipe
    | BeirRecipe
    | XorRetrieveRecipe
    | XquadRRecipe
    | BitextRecipe
    | AlignmentRecipe
    | MemoryRecipe,
    Field(discriminator="benchmark"),
]
_ADAPTER: TypeAdapter[Recipe] = TypeAdapter(Recipe)


def read_recipe(path: Path) -> Recipe:
    """Read and validate an evaluation recipe.

    Raises
    ------
    InputError
        If the file is missing or not YAML, or a key is unknown, missing or out of range.
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
    return make_recipe(settings, origin=str(path))


def make_recipe(settings: Any, *, origin: str = "") -> Recipe:
    """Build a recipe from plain settings and validate it.

    Parameters
    ----------
    settings
        The keys of the recipe and their values.
    origin
        Where the settings came from; it is prefixed to error messages.

    Raises
    ------
    InputError
        If a key is unknown, missing or out of range.
    """
    try:
        return _ADAPTER.validate_python(settings)
    except ValidationError as error:
        raise InputError(f"{origin}: {_first(error, settings)}" if origin else _first(error, settings)) from error


def under(recipe: Recipe, folder: Path) -> Recipe:
    """Return the recipe with its data path placed in a folder.

    Parameters
    ----------
    recipe
        The recipe. If its data is ``ir_datasets``, it is returned unchanged.
    folder
        The folder that the data path is relative to.
    """
    if str(recipe.data) == "ir_datasets":
        return recipe
    return recipe.model_copy(update={"data": folder / recipe.data})


def _first(error: ValidationError, settings: Any) -> str:
    first = error.errors()[0]
    # For a discriminated union, the location starts with the benchmark's name.
    places = [str(part) for part in first["loc"]]
    if isinstance(settings, dict) and places and places[0] == settings.get("benchmark"):
        places = places[1:]
    key = ".".join(places) or "recipe"
    if first["type"] in ("union_tag_invalid", "union_tag_not_found"):
        benchmarks = ", ".join(sorted(BENCHMARKS))
        return f"benchmark: {'none named' if first['type'].endswith('found') else 'unknown'}; there are {benchmarks}"
    if first["type"] == "extra_forbidden" and isinstance(settings, dict):
        known = ", ".join(BENCHMARKS[settings["benchmark"]].model_fields)
        return f"{key}: {first['msg']}; the keys are {known}"
    return f"{key}: {first['msg']}; fix this key"


BENCHMARKS: dict[str, type[_Recipe]] = {
    recipe.model_fields["benchmark"].default: recipe
    for recipe in (
        TatoebaRecipe,
        MrTydiRecipe,
        MiraclRecipe,
        MmarcoRecipe,
        BeirRecipe,
        XorRetrieveRecipe,
        XquadRRecipe,
        BitextRecipe,
        AlignmentRecipe,
        MemoryRecipe,
    )
}
