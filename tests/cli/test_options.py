"""Options of a command from the fields of a settings class."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo
from typer.testing import CliRunner

from mlret.cli.mine import _with_margins
from mlret.cli.options import Option, SettingsOptions, sentence, takes_settings
from mlret.errors import InputError
from mlret.training.labels.mining_settings import MiningSettings


class Sought(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    depth: int = Field(100, ge=1, le=1000, description="number of ranks to look at")
    margin: float | None = Field(None, gt=0, description="smallest distance from the positive.")
    mode: Literal["dense", "lexical"] = Field("dense", description="channel of the search")
    bits: Literal[4, 8] = Field(4, description="size of a code")
    languages: list[str] = Field([], description="languages to keep")
    stemmed: bool = Field(False, description="stem the words")
    shift: bool = Field(True, description="centre each language")
    cache: Path | None = Field(None, description="folder of the cache")
    seed: int = 0

    @model_validator(mode="after")
    def _consistent(self) -> Sought:
        if self.mode == "lexical" and self.margin is not None:
            raise ValueError("a lexical search has no margin")
        return self


OPTIONS = SettingsOptions(
    Sought,
    {
        "languages": Option("-l", "--only", metavar="CODE", annotation=list[str], read=lambda some: some[0].split(",")),
        "depth": Option("-d"),
    },
    omit=("seed",),
)


def run(*arguments: str) -> tuple[Any, dict[str, Any]]:
    seen: dict[str, Any] = {}
    app = typer.Typer()

    @app.command()
    @takes_settings(sought=OPTIONS)
    def command(
        text: Annotated[str, typer.Argument()], sought: Sought, depth: Annotated[bool, typer.Option("--deep")] = False
    ) -> None:
        """Search."""
        seen.update(text=text, sought=sought, depth=depth)

    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"}), seen


def test_options_that_are_not_given_have_the_defaults_of_the_fields() -> None:
    result, seen = run("cat")
    assert result.exit_code == 0, result.output
    assert seen == {"text": "cat", "sought": Sought(), "depth": False}


def test_each_kind_of_field_is_read() -> None:
    given = ["-d", "7", "--margin", "0.5", "--mode", "dense", "--bits", "8", "--only", "sw,en", "--stemmed"]
    result, seen = run("cat", *given, "--no-shift", "--cache", "x", "--deep")
    assert result.exit_code == 0, result.output
    assert seen["depth"] is True
    assert seen["sought"] == Sought(
        depth=7, margin=0.5, bits=8, languages=["sw", "en"], stemmed=True, shift=False, cache=Path("x")
    )


def test_help_has_description_default_and_bounds_of_each_field() -> None:
    result, _ = run("--help")
    lines = {found[1]: line for line in result.output.splitlines() if (found := re.search(r"(--[a-z-]+)", line))}
    assert "Number of ranks to look at. [default: 100]" in lines["--depth"]
    assert "1<=x<=1000" in lines["--depth"]
    assert "-d" in lines["--depth"]
    assert "Smallest distance from the positive. " in lines["--margin"]
    assert "CODE" in lines["--only"]
    assert "--no-shift" in lines["--shift"]
    assert "--no-stemmed" not in result.output
    assert "--seed" not in result.output
    assert "Search." in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mode", "sparse"], "--mode 'sparse': Input should be 'dense' or 'lexical'"),
        (["--bits", "5"], "--bits 5: Input should be 4 or 8"),
        (["--margin", "0"], "--margin 0.0: Input should be greater than 0"),
        (["--mode", "lexical", "--margin", "1"], "a lexical search has no margin"),
    ],
)
def test_error_of_the_model_names_the_option(arguments: list[str], message: str) -> None:
    result, seen = run("cat", *arguments)
    assert isinstance(result.exception, InputError)
    assert str(result.exception) == message
    assert not seen


def test_number_out_of_range_is_refused_when_the_command_line_is_parsed() -> None:
    result, seen = run("cat", "--depth", "0")
    assert result.exit_code == 2
    assert "--depth" in result.output
    assert not seen


def test_unknown_field_is_an_error_of_the_programmer() -> None:
    with pytest.raises(ValueError, match="depht"):
        SettingsOptions(Sought, {"depht": Option("-d")})


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        (Field(description="of a query"), "Of a query."),
        (Field(description="Ends."), "Ends."),
        (Field(description="nDCG and more …"), "nDCG and more …"),
        (Field("auto", description="auto, or one of two"), "auto, or one of two."),
        (Sought.model_fields["mode"], "Channel of the search."),
        (Field(), None),
    ],
)
def test_description_becomes_a_sentence(info: FieldInfo, expected: str | None) -> None:
    assert sentence(info) == expected


def test_value_at_the_start_of_a_description_stays_as_it_is() -> None:
    class Modes(BaseModel):
        mode: Literal["dense", "lexical"] | None = Field(None, description="dense or lexical")

    assert sentence(Modes.model_fields["mode"]) == "dense or lexical."


@pytest.mark.parametrize(
    ("given", "no_margin", "relative"),
    [({}, False, 0.05), ({}, True, None), ({"absolute_margin": 0.1}, False, None),
     ({"absolute_margin": 0.1, "relative_margin": 0.2}, False, 0.2)],
)  # fmt: skip
def test_default_margin_of_mining_gives_way_to_another(given: Any, no_margin: bool, relative: float | None) -> None:
    assert _with_margins(MiningSettings(**given), no_margin).relative_margin == relative
