"""Read the folder of an encoder with one vector for each token: a head beside its backbone, or an export."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mlret.encoders.light.folder import EXPORTED, HEAD, PACKED, PackedFolder, longest_of, stated_in
from mlret.encoders.light.mapped import MappedTensors
from mlret.encoders.token_encoder import Task

# Names in the packed file: the settings, the ids of tokens without vectors, and the embeddings of a head's markers.
SETTINGS, SKIPPED, EMBEDDINGS = "head", "head.skipped", "head.embeddings"


@dataclass(frozen=True)
class Expansion:
    """How queries are filled with mask tokens, which match documents too (query augmentation).

    Attributes
    ----------
    token
        The id of the mask token.
    width
        A query is filled to this number of tokens, or to the next multiple of it.
    longest
        The largest number of tokens to which a query is filled; ``None`` if it is filled to ``width`` alone.
    attended
        Whether the query's own tokens attend to the mask tokens.
    """

    token: int
    width: int
    longest: int | None
    attended: bool

    def filled(self, ids: list[int]) -> list[int]:
        """Return a query's ids with mask tokens behind them."""
        width = self.width if self.longest is None else min(-(-len(ids) // self.width) * self.width, self.longest)
        return ids + [self.token] * (width - len(ids))


@dataclass(frozen=True)
class TokenTask:
    """How texts of one task become token ids, and which tokens get a vector.

    Attributes
    ----------
    prompt
        What is written before a text.
    marker
        The id that is put behind a text's first token, of heads, whose markers their backbone's tokenizer lacks.
    longest
        The largest number of tokens of a text, prompt and marker included.
    skipped
        ``(n,)`` int64, the ids of tokens that get no vector.
    expansion
        How texts are filled with mask tokens, if they are.
    """

    prompt: str
    marker: int | None
    longest: int
    skipped: NDArray[np.int64]
    expansion: Expansion | None


@dataclass(frozen=True)
class TokenFolder(PackedFolder):
    """What the folder of an encoder with one vector for each token says.

    Attributes
    ----------
    tasks
        What is done to queries and to documents.
    added
        Tokens that the tokenizer has in addition to the packed one, with their ids.
    embeddings
        ``(n, dims)`` embeddings of tokens beyond the vocabulary.
    """

    tasks: dict[Task, TokenTask]
    added: dict[str, int]
    embeddings: NDArray[np.float32]

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read a folder; ``None`` if it was not packed with such an encoder, or changed since."""
        stated = stated_in(path)
        if stated is None or stated.get("token_fingerprint") is None:
            return None
        packed = MappedTensors(path / PACKED)
        settings: dict[str, Any] = json.loads(packed.metadata[SETTINGS])
        longest = longest_of(path)
        return cls(
            path=path,
            longest=longest,
            fingerprint=stated["token_fingerprint"],
            tasks=_tasks_of(settings, packed[SKIPPED], longest),
            added=settings["added"],
            embeddings=packed[EMBEDDINGS],
        )

    def projection(self) -> NDArray[np.float32] | None:
        """Return ``(dims, projected)``, what a token's vector is multiplied by; ``None`` if the network does that."""
        if (self.path / EXPORTED).is_file():
            return None
        stored = MappedTensors(self.path / HEAD / "head.safetensors")["projection"]
        return np.ascontiguousarray(stored.astype(np.float32).T)


def _tasks_of(settings: dict[str, Any], skipped: NDArray[np.int64], longest: int) -> dict[Task, TokenTask]:
    """Return what is done to queries and documents: of a head, which states its markers, or of an export."""
    tasks: dict[Task, TokenTask] = {}
    none = skipped[:0]
    names: tuple[Task, ...] = ("query", "document")
    for task in names:
        if "markers" in settings:
            ids = none if task == "query" else skipped
            tasks[task] = TokenTask("", settings["markers"][task], longest, ids, None)
            continue
        stated = settings[task]
        expansion = stated["expansion"] and Expansion(**stated["expansion"])
        ids = skipped if stated["skips"] else none
        tasks[task] = TokenTask(stated["prompt"], None, stated["longest"], ids, expansion)
    return tasks
