"""Options for reading the documents of files, shared by the commands that do."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from mlret.cli.common import MAX_LINE, MAX_LINE_HELP
from mlret.cli.options import Option, SettingsOptions
from mlret.errors import InputError

FILES_HELP = (
    'Records: JSONL ({"id", "text", "lang", …}), JSON, CSV, TSV (header: id, text, …), also .gz, .bz2 or .xz; Parquet, '
    "Arrow. Texts: .txt, Markdown, HTML, DOCX, PDF (each page). A folder of these, or a pattern such as 'docs/**/*.md';"
    " a folder of BEIR, Mr.TyDi or MIRACL; hub:NAME:CONFIG@SPLIT; - for JSONL on standard input."
)


class ReadingSettings(BaseModel):
    """How files are read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id_column: str | None = Field(None, description="the column, or key of JSON objects, that holds the ids")
    text_column: str | None = Field(None, description="the column, or key of JSON objects, that holds the texts")
    column_as: list[str] | None = Field(
        None, description="read a column under another name, e.g. headline=title or locale=lang; repeatable"
    )
    max_line: int = Field(MAX_LINE, ge=1, description=MAX_LINE_HELP)

    @property
    def longest(self) -> int:
        """The longest line, in bytes."""
        return self.max_line << 20

    def columns(self) -> dict[str, str]:
        """Return the columns that are read under another name.

        Raises
        ------
        InputError
            If --column-as has another form, or a column is named twice.
        """
        given = [(self.id_column, "id"), (self.text_column, "text")]
        for pair in self.column_as or []:
            old, equals, new = pair.rpartition("=")
            if not equals or not old or not new:
                raise InputError(f"--column-as {pair!r}: write OLD=NEW, e.g. headline=title")
            given.append((old, new))
        found: dict[str, str] = {}
        for name, new_name in given:
            if name is None:
                continue
            if name in found:
                raise InputError(f"the column {name!r} cannot be read both as {found[name]!r} and as {new_name!r}")
            found[name] = new_name
        return found


READING = SettingsOptions(
    ReadingSettings,
    {
        "id_column": Option(metavar="NAME"),
        "text_column": Option(metavar="NAME"),
        "column_as": Option(metavar="OLD=NEW"),
        "max_line": Option(metavar="MIB"),
    },
)


class AddingSettings(BaseModel):
    """How the documents of files are added to an index."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = Field(
        None, description="encoder: a folder or a hub id. Default: the index's own, else the bundled one"
    )
    vectors: Path | None = Field(
        None,
        description="a .npy with one vector for each document, in the order of the files; or, with --lengths, the "
        "vectors of their tokens, one document after another",
    )
    lengths: Path | None = Field(None, description="a .npy of integers: how many tokens of --vectors each document has")
    batch_size: int = Field(256, ge=1, description="documents in one transaction")


ADDING = SettingsOptions(AddingSettings, {"model": Option("-m")})
