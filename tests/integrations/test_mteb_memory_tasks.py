"""Test the memory retrieval tasks of LMEB in mteb: their own classes on data made here, in the columns they load.

Their data are on the hub and are not at hand in tests. The folder that each task is given has what the tasks read
there: for each subset ``SUBSET-corpus`` with ``_id``, ``title`` and ``text``, ``SUBSET-queries`` with ``_id`` and
``text``, ``SUBSET-qrels`` with ``query-id``, ``corpus-id`` and ``score``, and ``SUBSET-instruction`` if there are
instructions.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlret.encoders.encoder import Encoder
from mlret.encoders.token_encoder import TokenEncoder
from mlret.eval.scorers import maxsim_matrix
from mlret.index.settings import IndexSettings
from mlret.integrations.mteb import MtebEncoder, MtebRetriever
from tests.conftest import WORDS

mteb = pytest.importorskip("mteb")
pytest.importorskip("datasets")
pytrec_eval = pytest.importorskip("pytrec_eval")

TASKS = [
    "EPBench",
    "KnowMeBench",
    "LoCoMo",
    "LongMemEval",
    "REALTALK",
    "TMD",
    "MemBench",
    "ConvoMem",
    "QASPER",
    "NovelQA",
    "PeerQA",
    "CovidQA",
    "ESGReports",
    "LMEBMLDR",
    "LooGLE",
    "LMEBSciFact",
    "Gorilla",
    "ToolBench",
    "ReMe",
    "ProceduralMemBench",
    "MemGovern",
    "DeepPlanning",
]
TITLED = {f"m{n}": (WORDS[n] if n % 3 else "", " ".join(WORDS[n : n + 4])) for n in range(14)}
MEMORIES = {id: f"{title} {text}".strip() for id, (title, text) in TITLED.items()}
QUESTIONS = {f"q{n}": " ".join(WORDS[n + 2 : n + 4]) for n in range(9)}
RELEVANT = {f"q{n}": {f"m{n}": 2, f"m{n + 3}": 1} for n in range(9)}
MEASURES = {"ndcg_at_10": "ndcg_cut_10", "map_at_5": "map_cut_5", "recall_at_3": "recall_3", "precision_at_5": "P_5"}


def classes() -> dict[str, Any]:
    from mteb.tasks.retrieval.eng import lmeb_retrieval

    return {name: getattr(lmeb_retrieval, name) for name in TASKS}


def made(name: str, folder: Path, instructions: dict[str, str] | None = None) -> Any:
    """Return a task that loads data made here for its first subset."""
    task = classes()[name]()
    subset = task.hf_subsets[0]
    prefix = "" if subset == "default" else f"{subset}-"
    parts: dict[str, list[dict[str, Any]]] = {
        "corpus": [{"_id": id, "title": title, "text": text} for id, (title, text) in TITLED.items()],
        "queries": [{"_id": id, "text": text} for id, text in QUESTIONS.items()],
        "qrels": [
            {"query-id": query, "corpus-id": id, "score": score}
            for query, judged in RELEVANT.items()
            for id, score in judged.items()
        ],
    }
    if instructions is not None:
        parts["instruction"] = [{"query-id": id, "instruction": text} for id, text in instructions.items()]
    folder.mkdir()
    configurations = []
    for part, rows in parts.items():
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        files = f"  data_files:\n  - split: test\n    path: {part}.jsonl\n"
        configurations.append(f"- config_name: {prefix}{part}\n{files}")
    (folder / "README.md").write_text(f"---\nconfigs:\n{''.join(configurations)}---\n", encoding="utf-8")
    task.metadata = task.metadata.model_copy(update={"dataset": {"path": str(folder), "revision": "made-here"}})
    task.hf_subsets = [subset]
    task.load_data()  # mteb unloads what it has loaded itself, and then forgets the folder too
    return task


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def scores(model: Any, task: Any) -> dict[str, float]:
    result = mteb.evaluate(model, task, cache=None, show_progress_bar=False)
    [found] = result.task_results[0].scores["test"]
    return dict(found)


def expected(matrix: NDArray[np.float32]) -> dict[str, float]:
    """Return the mean measures of pytrec_eval, and the capped recall that LMEB adds, for a matrix of scores."""
    run = {
        query: dict(zip(MEMORIES, map(float, row), strict=True)) for query, row in zip(QUESTIONS, matrix, strict=True)
    }
    each = pytrec_eval.RelevanceEvaluator(RELEVANT, set(MEASURES.values())).evaluate(run)
    means = {name: float(np.mean([each[query][of] for query in each])) for name, of in MEASURES.items()}
    best = {query: set(sorted(row, key=lambda id: -row[id])[:1]) for query, row in run.items()}
    means["R_cap_at_1"] = float(np.mean([len(best[query] & RELEVANT[query].keys()) for query in QUESTIONS]))
    return means


def agrees(found: dict[str, float], wanted: dict[str, float]) -> bool:
    return all(found[name] == pytest.approx(value, abs=1e-4) for name, value in wanted.items())


def of_encoder(encoder: Encoder, questions: dict[str, str] = QUESTIONS) -> dict[str, float]:
    asked = encoder.encode_query(list(questions.values()), language="en")
    return expected(asked @ encoder.encode_document(list(MEMORIES.values()), language="en").T)


def test_the_tasks_are_those_of_the_benchmark() -> None:
    assert {one.metadata.name for one in classes().values()} == {
        task.metadata.name for task in mteb.get_benchmark("LMEB").tasks
    }


@pytest.mark.parametrize("name", TASKS)
def test_a_memory_task_scores_what_a_direct_computation_gives(tiny_encoder: Encoder, tmp_path: Path, name: str) -> None:
    wanted = of_encoder(tiny_encoder)
    assert 0.05 < wanted["ndcg_at_10"] < 0.95
    task = made(name, tmp_path / name)
    assert agrees(scores(MtebRetriever(tiny_encoder), task), wanted)
    assert agrees(scores(MtebEncoder(tiny_encoder), task), wanted)


def test_prompts_of_queries_and_documents_are_used(tiny_encoder: Encoder, tmp_path: Path) -> None:
    encoder = Encoder(copy.deepcopy(tiny_encoder.model), "prompted")
    encoder.model.prompts = {"query": "seven ", "document": "night "}
    wanted = of_encoder(encoder)
    assert wanted != of_encoder(tiny_encoder)
    task = made("LoCoMo", tmp_path / "data")
    assert agrees(scores(MtebEncoder(encoder), task), wanted)
    assert agrees(scores(MtebRetriever(encoder), task), wanted)


def test_instructions_follow_the_queries(tiny_encoder: Encoder, tmp_path: Path) -> None:
    instructions = {id: f"eat rice {WORDS[n]}" for n, id in enumerate(QUESTIONS)}
    wanted = of_encoder(tiny_encoder, {id: f"{text} {instructions[id]}" for id, text in QUESTIONS.items()})
    assert wanted != of_encoder(tiny_encoder)
    task = made("LongMemEval", tmp_path / "data", instructions)
    assert agrees(scores(MtebEncoder(tiny_encoder), task), wanted)
    assert agrees(scores(MtebRetriever(tiny_encoder), task), wanted)


def test_conversations_become_one_text(tiny_encoder: Encoder, tmp_path: Path) -> None:
    task = made("REALTALK", tmp_path / "data")
    split = task.dataset[task.hf_subsets[0]]["test"]
    turns = {
        id: [{"role": "cat", "content": text}, {"role": "dogs", "content": "rice"}] for id, text in QUESTIONS.items()
    }
    import datasets

    split["queries"] = datasets.Dataset.from_list([{"id": id, "text": some} for id, some in turns.items()])
    wanted = of_encoder(tiny_encoder, {id: f"cat: {text}; dogs: rice" for id, text in QUESTIONS.items()})
    assert agrees(scores(MtebRetriever(tiny_encoder), task), wanted)


def test_token_vectors_score_what_maxsim_gives(tiny_token_encoder: TokenEncoder, tmp_path: Path) -> None:
    encoder = tiny_token_encoder
    documents = encoder.encode_document(list(MEMORIES.values()))
    kept = [document.astype(np.float16).astype(np.float32) for document in documents]
    wanted = expected(maxsim_matrix(encoder.encode_query(list(QUESTIONS.values())), kept))
    assert agrees(scores(MtebRetriever(encoder), made("LoCoMo", tmp_path / "data")), wanted)


def test_results_of_different_indexes_are_filed_apart(tiny_encoder: Encoder, tmp_path: Path) -> None:
    cache = mteb.ResultCache(cache_path=tmp_path / "results")
    hybrid = MtebRetriever(tiny_encoder, settings=IndexSettings(lexical=True))
    found = {}
    for name, model in (("dense", MtebRetriever(tiny_encoder)), ("hybrid", hybrid)):
        task = made("LoCoMo", tmp_path / name)
        result = mteb.evaluate(model, task, cache=cache, show_progress_bar=False)
        found[name] = result.task_results[0].scores["test"][0]["ndcg_at_10"]
    assert found["dense"] == pytest.approx(of_encoder(tiny_encoder)["ndcg_at_10"], abs=1e-4)
    assert found["dense"] != found["hybrid"]
    assert MtebRetriever(tiny_encoder).mteb_model_meta == MtebEncoder(tiny_encoder).mteb_model_meta
    assert MtebRetriever(tiny_encoder, exact=False).mteb_model_meta.experiment_name == "exact_False"
