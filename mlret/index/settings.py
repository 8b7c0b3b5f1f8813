"""The settings of an index, and the choice of a FAISS index for large segments by their size and the memory."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema, field_validator, model_validator

from mlret.errors import InputError

SegmentKind = Literal["flat", "hnsw", "ivf-flat", "ivf-sq8", "ivf-pq", "sq8", "fp16", "binary"]
KINDS: tuple[SegmentKind, ...] = get_args(SegmentKind)
# "probe" is for indexes with a vector for each token.
Kind = Literal[SegmentKind, "probe"]
Dtype = Literal["float32", "float16", "int8"]

# True and False are read, too, and written as the first and the last.
_PASSAGES = {"anyOf": [{"enum": ["cut", "warn", "refuse"], "type": "string"}, {"type": "boolean"}]}

# Building a graph over fewer vectors takes longer than most of their indexes are searched. Of more vectors, those that
# are compared with a query within a few milliseconds on this machine need no graph either.
FLAT_ROWS = 100_000
QUICK = 0.005
# The share of the machine's memory that a segment's vectors may take before they are compressed.
_COMFORTABLE = 0.5


class Choice(NamedTuple):
    """A kind of segment, and why it was chosen: one sentence with the deciding numbers."""

    kind: Kind
    why: str


class IndexSettings(BaseModel):
    """How the segments of an index are searched. Settings that FAISS has too are named as in FAISS.

    Examples
    --------
    >>> from mlret import Index, IndexSettings
    >>> settings = IndexSettings(dims=64, lexical=True)
    >>> with Index.create("hybrid.index", settings=settings) as index:
    ...     stored = index.add([{"id": "a", "text": "Ersatzteil XK-4711 ist ab Lager lieferbar.", "lang": "de"}])
    ...     [hit] = index.search("xk-4711")
    >>> hit.kind, sorted(hit.scores)
    ('fused', ['dense', 'lexical'])
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["auto", Kind] = Field(
        "auto", description="of large segments; auto chooses by size and memory; probe is for multi-vector indexes"
    )
    dims: int | None = Field(None, ge=1, description="dimensions kept of each vector (Matryoshka); all by default")
    lexical: bool = Field(False, description="a channel of character n-grams, for hybrid search")
    refine: int = Field(4, ge=1, le=100, description="candidates per hit that are scored with their exact vectors")
    nlist: int | None = Field(None, ge=1, description="cells of an inverted file; by default 4 times the root of n")
    nprobe: int = Field(32, ge=1, description="cells that a query visits")
    m: int = Field(32, ge=4, le=128, description="links of a node of HNSW")
    ef_construction: int = Field(80, ge=8, description="candidates while HNSW is built")
    ef_search: int = Field(128, ge=8, description="candidates while HNSW is searched")
    train_size: int = Field(64, ge=32, description="vectors that train each cell: the sample's size over nlist")
    seed: int = Field(0, ge=0, description="of that sample")
    bits: Literal[1, 2, 4, 8, 16] = Field(4, description="bits per dimension; 16 stores float16 (multi-vector)")
    pooling: int = Field(1, ge=1, le=16, description="tokens of a document that are merged into one (multi-vector)")
    probes: int | None = Field(
        None, ge=1, description="centroids that a token of a query visits; by default set by the recall"
    )
    compared: int | None = Field(
        None,
        ge=1,
        description="candidates whose codes are compared, for ten hits; by default set by the recall",
    )
    recall: float = Field(
        0.97, gt=0, le=1, description="of the ten best documents by codes, what probing must find (multi-vector)"
    )

    passages: Annotated[Literal["cut", "warn", "refuse"], WithJsonSchema(_PASSAGES)] = Field(
        "cut",
        description="what is done with a document that is longer than the encoder reads: cut it into passages, store "
        "its beginning with a warning, or refuse it",
    )
    passage_tokens: int = Field(256, ge=16, description="tokens of a passage, at most")
    passage_overlap: int = Field(32, ge=0, description="tokens of a passage that the next one repeats, at most")
    dtype: Dtype = Field(
        "float32", description="how vectors are stored: float32, float16, or int8 with a scale for each (one per text)"
    )
    copies: Literal[1, 2] = Field(
        1, description="2 keeps vectors in the database as well, for those that cannot be encoded again (one per text)"
    )

    @field_validator("passages", mode="before")
    @classmethod
    def _as_flag(cls, value: object) -> object:
        return {True: "cut", False: "refuse"}[value] if isinstance(value, bool) else value

    @model_validator(mode="after")
    def _overlap_is_shorter(self) -> IndexSettings:
        if 2 * self.passage_overlap > self.passage_tokens:
            raise ValueError(
                f"passages of {self.passage_tokens} tokens cannot overlap by {self.passage_overlap}; at most half of a "
                "passage may be repeated"
            )
        return self

    def cells(self, rows: int) -> int:
        """Return the number of cells of an inverted file (``nlist``) for a number of rows.

        Parameters
        ----------
        rows
            Number of vectors of the segment.

        Returns
        -------
        int
            The number of cells, at least 1, so few that each has 39 vectors to be trained on.

        Examples
        --------
        >>> from mlret import IndexSettings
        >>> IndexSettings().cells(1_000_000)
        4000
        >>> IndexSettings(nlist=256).cells(1_000_000)
        256
        """
        # FAISS recommends 39 vectors to train each cell.
        return min(self.nlist or 4 * math.isqrt(rows), max(1, rows // 39))


def check_settings(settings: IndexSettings, similarity: str) -> None:
    """Raise if the settings do not fit the similarity of the encoder.

    Parameters
    ----------
    settings
        The settings of an index.
    similarity
        ``"cosine"`` for encoders with one vector for each text, ``"maxsim"`` for those with a vector for each token.

    Raises
    ------
    InputError
        If the settings name a kind of segment that such an index does not have.
    """
    if similarity == "maxsim" and settings.kind not in ("auto", "flat", "probe"):
        raise InputError(
            f"kind {settings.kind!r} is for one vector per text; an index with a vector for each token is auto, flat "
            "(all documents are compared) or probe"
        )
    if similarity == "maxsim" and (settings.dtype, settings.copies) != ("float32", 1):
        raise InputError(
            "dtype and copies are for one vector per text; how many bits a token takes is said by bits (16 for float16)"
        )
    if similarity == "cosine" and settings.kind == "probe":
        raise InputError("kind 'probe' needs an encoder with a vector for each token; this one gives one per text")


class IndexRecipe(BaseModel):
    """The content of a recipe file for ``mlret index build``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    description: str = ""
    settings: IndexSettings = IndexSettings()


def choose_kind(
    rows: int, dims: int, *, memory_bytes: int | None = None, value_seconds: Callable[[], float] = lambda: math.inf
) -> Choice:
    """Choose the kind of a segment of ``rows`` float32 vectors with ``dims`` dimensions.

    Parameters
    ----------
    rows
        Number of vectors of the segment.
    dims
        Number of dimensions of a vector.
    memory_bytes
        The memory of the machine in bytes; by default the operating system is asked.
    value_seconds
        Returns the seconds that this machine takes to compare one dimension of one vector with a query. It is called
        only if the choice depends on it. By default no large segment is quick to compare.

    Returns
    -------
    Choice
        The kind, and why it was chosen.
    """
    if rows < FLAT_ROWS:
        return Choice("flat", f"{rows:,} vectors are fewer than {FLAT_ROWS:,}: comparing with all is exact and quick")
    memory = memory_bytes or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    size = 4 * rows * dims
    have = f"{rows:,} vectors of {dims} dimensions ({size / 1e9:.1f} GB) on a machine with {memory / 1e9:.0f} GB"
    if size >= _COMFORTABLE * memory:
        return Choice("ivf-pq", f"{have}: too large to keep at hand, so an inverted file of 4-bit product codes")
    seconds = rows * dims * value_seconds()
    if seconds < QUICK:
        why = f"comparing with all is exact and takes {1000 * seconds:.1f} ms on this machine"
        return Choice("flat", f"{rows:,} vectors of {dims} dimensions: {why}")
    return Choice("hnsw", f"{have}: a graph of neighbours, which compares the fewest for what it finds")


def read_index_recipe(path: Path) -> IndexRecipe:
    """Read and check the recipe of an index.

    Parameters
    ----------
    path
        The recipe's YAML file.

    Returns
    -------
    IndexRecipe
        The content of the recipe.

    Raises
    ------
    InputError
        If the file is missing, is not YAML, or a key is unknown, missing or out of range.
    """
    import yaml

    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read ({error}); `mlret recipes list` names the recipes there are"
        ) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise InputError(f"{path}{line}: not YAML; {getattr(error, 'problem', error)}") from error
    try:
        return IndexRecipe.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{path}: {_first(error)}") from error


def changed_settings(settings: IndexSettings, changes: dict[str, Any]) -> IndexSettings:
    """Return settings with some values replaced, after checking them.

    Parameters
    ----------
    settings
        The settings to start from.
    changes
        The new values by name.

    Returns
    -------
    IndexSettings
        The changed settings.

    Raises
    ------
    InputError
        If a value is out of range.
    """
    try:
        return IndexSettings.model_validate(settings.model_dump() | changes)
    except ValidationError as error:
        raise InputError(_first(error)) from error


def _first(error: ValidationError) -> str:
    found = error.errors()[0]
    key = ".".join(str(part) for part in found["loc"]) or "recipe"
    known = ", ".join(IndexSettings.model_fields)
    fix = f"the settings are {known}" if found["type"] == "extra_forbidden" else "fix this key"
    return f"{key}: {found['msg']}; {fix}"
