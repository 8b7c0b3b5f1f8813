"""Test encoders of both kinds through ``mteb.evaluate``, on tasks that are made here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlret.encoders.encoder import Encoder
from mlret.encoders.token_encoder import TokenEncoder
from mlret.errors import InputError
from mlret.eval.metrics import evaluate_run
from mlret.eval.scorers import maxsim_matrix
from mlret.index.settings import IndexSettings
from mlret.integrations.mteb import MtebEncoder, MtebRetriever
from tests.conftest import WORDS

mteb = pytest.importorskip("mteb")
datasets = pytest.importorskip("datasets")

DOCUMENTS = {f"d{n}": " ".join(WORDS[n : n + 4]) for n in range(12)}
QUERIES = {f"q{n}": " ".join(WORDS[n + 1 : n + 3]) for n in range(8)}
RELEVANT = {f"q{n}": {f"d{n}": 1} for n in range(8)}


def metadata(name: str, kind: str, score: str, subsets: Any) -> Any:
    from mteb.abstasks.task_metadata import TaskMetadata

    return TaskMetadata(
        name=name,
        description="made here",
        dataset={"path": "made/here", "revision": "1"},
        type=kind,
        category="t2t",
        modalities=["text"],
        eval_splits=["test"],
        eval_langs=subsets,
        main_score=score,
        reference=None,
        date=None,
        domains=None,
        task_subtypes=None,
        license=None,
        annotations_creators=None,
        dialect=None,
        sample_creation=None,
        bibtex_citation=None,
    )


def retrieval_task() -> Any:
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    class Words(AbsTaskRetrieval):
        metadata = metadata("Words", "Retrieval", "ndcg_at_10", ["eng-Latn"])

        def load_data(self, **_: Any) -> None:
            corpus = [{"id": name, "text": text, "title": ""} for name, text in DOCUMENTS.items()]
            queries = [{"id": name, "text": text} for name, text in QUERIES.items()]
            self.dataset = {
                "default": {
                    "test": {
                        "corpus": datasets.Dataset.from_list(corpus),
                        "queries": datasets.Dataset.from_list(queries),
                        "relevant_docs": RELEVANT,
                        "top_ranked": None,
                    }
                }
            }
            self.data_loaded = True

    return Words()


def bitext_task() -> Any:
    from mteb.abstasks.text.bitext_mining import AbsTaskBitextMining

    class Pairs(AbsTaskBitextMining):
        metadata = metadata("Pairs", "BitextMining", "f1", {"swa-eng": ["swh-Latn", "eng-Latn"]})

        def load_data(self, **_: Any) -> None:
            texts = list(DOCUMENTS.values())
            pairs = datasets.Dataset.from_dict({"sentence1": texts, "sentence2": [f"{text} rice" for text in texts]})
            self.dataset = {"swa-eng": datasets.DatasetDict({"test": pairs})}
            self.data_loaded = True

    return Pairs()


def score(model: Any, task: Any, name: str) -> float:
    result = mteb.evaluate(model, task, cache=None, show_progress_bar=False)
    return float(result.task_results[0].scores["test"][0][name])


def expected_ndcg(scores: np.ndarray) -> float:  # type: ignore[type-arg]
    names = list(DOCUMENTS)
    run = {query: dict(zip(names, map(float, row), strict=True)) for query, row in zip(QUERIES, scores, strict=True)}
    return evaluate_run(RELEVANT, run, ["ndcg@10"]).mean["ndcg@10"]


def test_a_dense_encoder_scores_in_mteb_what_it_does_here(tiny_encoder: Encoder) -> None:
    queries, documents = (tiny_encoder.encode(list(texts.values())) for texts in (QUERIES, DOCUMENTS))
    expected = expected_ndcg(queries @ documents.T)
    assert 0 < expected < 1
    # mteb rounds its scores.
    assert score(MtebEncoder(tiny_encoder), retrieval_task(), "ndcg_at_10") == pytest.approx(expected, abs=1e-4)
    assert score(MtebRetriever(tiny_encoder), retrieval_task(), "ndcg_at_10") == pytest.approx(expected, abs=1e-4)


def test_calibration_gets_the_language_of_the_subset(calibrated_encoder: Encoder) -> None:
    queries, documents = (
        calibrated_encoder.encode(list(texts.values()), language="en") for texts in (QUERIES, DOCUMENTS)
    )
    expected = expected_ndcg(queries @ documents.T)
    assert score(MtebEncoder(calibrated_encoder), retrieval_task(), "ndcg_at_10") == pytest.approx(expected, abs=1e-4)


def test_a_multi_vector_encoder_scores_in_mteb_what_maxsim_gives(tiny_token_encoder: TokenEncoder) -> None:
    encoder = tiny_token_encoder
    queries, documents = encoder.encode_query(list(QUERIES.values())), encoder.encode_document(list(DOCUMENTS.values()))
    # The index stores float16, and the scores of an untrained encoder are close enough for this to change a rank:
    # scores within a thousandth may be in either order. So few tokens have no codes, unless another test lets fewer be
    # coded.
    kept = [document.astype(np.float16).astype(np.float32) for document in documents]
    scores = maxsim_matrix(queries, kept)
    random = np.random.default_rng(0)
    possible = {expected_ndcg(scores * (1 + 1e-3 * random.uniform(-1, 1, scores.shape))) for _ in range(200)}
    possible.add(expected_ndcg(scores))
    found = score(MtebRetriever(encoder, settings=IndexSettings(bits=16)), retrieval_task(), "ndcg_at_10")
    assert min(abs(found - expected) for expected in possible) < 1e-4
    with pytest.raises(InputError, match="give it to MtebRetriever"):
        MtebEncoder(encoder)


def test_bitext_mining_runs_on_a_dense_encoder(tiny_encoder: Encoder) -> None:
    own, other = (tiny_encoder.encode([f"{text}{end}" for text in DOCUMENTS.values()]) for end in ("", " rice"))
    accuracy = float(np.mean((own @ other.T).argmax(axis=1) == np.arange(len(own))))
    assert score(MtebEncoder(tiny_encoder), bitext_task(), "accuracy") == pytest.approx(accuracy, abs=1e-4)


def test_results_are_filed_under_the_fingerprint(tiny_encoder: Encoder) -> None:
    meta = MtebEncoder(tiny_encoder).mteb_model_meta
    assert meta.revision == tiny_encoder.fingerprint
    assert "/" in meta.name
