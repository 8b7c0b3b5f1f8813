"""mem0's raw search, for comparison: texts are added without a language model, with the vectors of mlret's encoder."""

from __future__ import annotations

import importlib
import importlib.util
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlret.errors import InputError
from mlret.eval.histories.rankers import DEPTH, EncodedHistory, encoder_facts

if TYPE_CHECKING:
    from mlret.encoders.encoder import Encoder

TESTED = "2.2"


class Mem0Ranker:
    """mem0 with its local Qdrant store: ``add(infer=False)`` for each document, and ``search`` with a threshold of 0.

    Each history is a user. Nothing is sent over the network, and no language model is called.

    Parameters
    ----------
    name
        The system's name in tables.
    encoder
        The encoder whose vectors mem0 is given.

    Raises
    ------
    InputError
        If mem0 is not installed.
    """

    def __init__(self, name: str, encoder: Encoder) -> None:
        check_mem0()
        self.name = name
        self.encoder = encoder
        self._folder = TemporaryDirectory(prefix="mlret-eval-mem0-")
        folder = Path(self._folder.name)
        # Read when mem0 is imported. Its constructor requires a key of OpenAI, which is never used.
        os.environ["MEM0_TELEMETRY"] = "False"
        os.environ["MEM0_DIR"] = str(folder / "home")
        os.environ.setdefault("OPENAI_API_KEY", "none")
        mem0 = importlib.import_module("mem0")
        store = {"path": str(folder / "qdrant"), "embedding_model_dims": encoder.dims, "on_disk": True}
        self._memory = mem0.Memory.from_config(
            {
                "vector_store": {"provider": "qdrant", "config": {"collection_name": "histories", **store}},
                "embedder": {"provider": "openai", "config": {"embedding_dims": encoder.dims}},
                "history_db_path": str(folder / "history.db"),
            }
        )
        self._given = _GivenVectors(self._memory.embedding_model.config)
        self._memory.embedding_model = self._given

    def facts(self) -> dict[str, Any]:
        """Return the encoder, the version of mem0, its store, and whether it also searches for words."""
        facts = {
            "version": version("mem0ai"),
            "store": "local Qdrant",
            "infer": False,
            "depth": DEPTH,
            # Without fastembed mem0 searches by meaning alone.
            "keywords": importlib.util.find_spec("fastembed") is not None,
        }
        return {**encoder_facts(self.encoder), **facts}

    def rank(self, encoded: EncodedHistory) -> list[list[int]]:
        """Return the documents of the best results."""
        history = encoded.history
        self._given.known = {
            **dict(zip((one.text for one in history.questions), encoded.questions, strict=True)),
            **dict(zip((one.text for one in history.documents), encoded.documents, strict=True)),
        }
        for place, document in enumerate(history.documents):
            self._memory.add(
                [{"role": "user", "content": document.text}],
                user_id=history.id,
                metadata={"place": place},
                infer=False,
            )
        filters = {"user_id": history.id}
        found: list[list[int]] = []
        for question, vector in zip(history.questions, encoded.questions, strict=True):
            self._given.known[question.text] = vector  # a question may have the text of a document
            results = self._memory.search(question.text, top_k=DEPTH, filters=filters, threshold=0.0)["results"]
            found.append(list(dict.fromkeys(int(one["metadata"]["place"]) for one in results)))
        return found

    def close(self) -> None:
        """Delete the store."""
        self._memory.vector_store.client.close()
        self._folder.cleanup()


class _GivenVectors:
    """An embedder of mem0 that returns vectors that were computed before."""

    def __init__(self, config: Any) -> None:
        self.config = config
        self.known: dict[str, NDArray[np.float32]] = {}

    def embed(self, text: str, *_: Any, **__: Any) -> list[float]:
        """Return the vector of a text."""
        return [float(one) for one in self.known[text]]

    def embed_batch(self, texts: list[str], *_: Any, **__: Any) -> list[list[float]]:
        """Return the vectors of texts."""
        return [self.embed(text) for text in texts]


def check_mem0() -> None:
    """Check that mem0 is installed.

    Raises
    ------
    InputError
        If it is not.
    """
    try:
        version("mem0ai")
    except PackageNotFoundError as error:
        raise InputError(
            f"mem0 is not installed; `pip install mem0ai qdrant-client` (tested with {TESTED}), or leave mem0 out of "
            "the systems"
        ) from error
