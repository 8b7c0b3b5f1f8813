"""Settings of the sources that a recipe takes its text from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from mlret.data.ranking import Format


class Settings(BaseModel):
    """Base of settings: unknown keys are errors, and values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ColumnNames(Settings):
    """Names of the keys or columns of a document."""

    text: str = Field("text", description="running text, split into sentences here")
    sentences: str = Field("sents", description="a list of sentences; used if a document has both")
    language: str = "lang"


class DocumentSource(Settings):
    """Ordered sentences of monolingual documents: files of JSONL, Parquet, or plain text."""

    kind: Literal["documents"]
    files: list[str] = Field(min_length=1, description="paths or globs, relative to the data folder")
    language: str | None = Field(None, description="language of documents that do not state it, such as plain text")
    columns: ColumnNames = ColumnNames()
    or_whole_folder: bool = Field(
        False,
        description="if no file exists, use every text file of the data folder; the language of documents that do "
        "not state it is detected, and lines of plain text are split into sentences",
    )


class HubSource(Settings):
    """Ordered sentences of monolingual documents: a data set of the hub, streamed."""

    kind: Literal["hub"]
    dataset: str = Field(description="its id, or a folder that datasets.load_dataset understands")
    config: str | None = None
    split: str = "train"
    language: str | None = Field(None, description="language of documents that do not state it")
    columns: ColumnNames = ColumnNames()
    limit: int | None = Field(None, ge=1, description="maximum number of documents")


class ParallelSource(Settings):
    """Aligned texts, one pair in each line: a TSV file with the given columns."""

    kind: Literal["parallel"]
    files: list[str] = Field(min_length=1)
    columns: list[str] = Field(
        description="names of the TSV columns: language, source, target; concept where a word has several"
    )
    header: bool = False
    source_language: str = "en"
    group: str = "sentences"


class MultiParallelSource(Settings):
    """The same lines in many languages: a TSV of language, line number, text."""

    kind: Literal["multi-parallel"]
    files: list[str] = Field(min_length=1)
    documents: str = Field(description="file with the document id of each line")
    keep: tuple[float, float] = Field(
        description="which documents are used, as fractions of their number in file order; the rest is held out"
    )
    pivot: str = Field(description="the file's own code of the side that every language is paired with")
    aliases: dict[str, str] = Field({}, description="codes of the file that are not language codes -> language codes")
    group: str = "sentences"


class GlossSource(Settings):
    """Sentences of documents, translated word by word with the lexicons of the recipe."""

    kind: Literal["glosses"]
    files: list[str] = Field(min_length=1, description="documents, as for the kind 'documents'")
    language: str = Field("en", description="the documents' and the lexicons'; others in the files are skipped")
    lexicons: str = Field("words", description="the group of parallel sources that are lexicons")
    per_language: int = Field(8_000, ge=1, description="maximum number of pairs for each language")
    least: float = Field(0.5, gt=0, le=1, description="minimum share of a sentence's words that a lexicon must contain")
    group: str = "glosses"


class ExampleSource(Settings):
    """Queries with passages that answer them, in any format that :func:`mlret.data.ranking.read_ranking` reads."""

    kind: Literal["ranking"]
    files: list[str] = Field(min_length=1, description="paths or globs of files or folders, or hub:NAME")
    format: Literal["auto", Format] = Field("auto", description="by default recognised from the content")
    task: str = Field("ranking", description="of examples that do not name their own; batches are of one task")
    query_instruction: str = Field("", description="put before every query of the task")
    document_instruction: str = Field("", description="put before every passage of the task")
    language: str | None = Field(None, description="language of queries and passages that do not state it")
    languages: list[str] | None = Field(None, min_length=1, description="use only queries in these languages")
    collection: str | None = Field(None, description="where passages that are named by ids are found")
    queries: str | None = Field(None, description="where queries that are named by ids are found")
    qrels: str | None = None
    run: str | None = Field(None, description="a TREC run whose unjudged documents become negatives")
    split: str = Field("train", description="which files of a folder")
    max_negatives: int | None = Field(None, ge=0, description="maximum number of negatives of an example")
    article_negatives: int = Field(0, ge=0, description="SQuAD: other paragraphs of the article as negatives")
    limit: int | None = Field(None, ge=1, description="maximum number of examples")
    or_whole_folder: bool = Field(
        False, description="if none of the files exists, use all examples of the data folder, in any language"
    )


Source = Annotated[
    DocumentSource | HubSource | ParallelSource | MultiParallelSource | GlossSource | ExampleSource,
    Field(discriminator="kind"),
]
