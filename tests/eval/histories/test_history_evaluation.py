"""Test the evaluation on histories: its systems, its averages, what it stores, and the command line."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from mlret.encoders.encoder import Encoder
from mlret.encoders.loading import load_encoder
from mlret.encoders.token_encoder import TokenEncoder
from mlret.errors import InputError
from mlret.eval import compare_results, evaluate
from mlret.eval.histories.rankers import (
    Bm25Ranker,
    ChannelRanker,
    EncodedHistory,
    MemoryRanker,
    RandomRanker,
    ordered,
)
from mlret.eval.histories.stored_rankings import StoredRankings
from mlret.eval.readers.history import History, HistoryDocument, Question
from tests.eval.histories.published import (
    BEAM_CHAT,
    BEAM_QUESTIONS,
    LONGMEMEVAL,
    MEMORYAGENTBENCH,
    beam_chat,
    locomo_sample,
    longmemeval_instance,
    turn,
    write_json,
)

DOCUMENTS = ("the cat sleeps", "seven dogs ran home", "rice and fish for dinner", "the cat ate fish")


@pytest.fixture(scope="module")
def light_encoder() -> Encoder:
    """Load the bundled encoder in the light runtime, which takes less time than importing torch."""
    return load_encoder()


def made(texts: tuple[str, ...] = DOCUMENTS, questions: tuple[str, ...] = ("who ate fish?",), id: str = "h") -> History:
    documents = tuple(HistoryDocument(f"d{place}", text, "s", "user") for place, text in enumerate(texts))
    return History(id, documents, tuple(Question(f"{id}/{n}", text, "kind", (3,)) for n, text in enumerate(questions)))


def installed(package: str) -> bool:
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False


class TestRankers:
    def test_bm25_returns_the_documents_that_share_a_word(self) -> None:
        (found,) = Bm25Ranker().rank(EncodedHistory(made(), None, "en"))
        assert found == [3, 2]

    def test_dense_orders_by_cosine_and_ties_by_place(self, light_encoder: Encoder) -> None:
        history = made((*DOCUMENTS, DOCUMENTS[0]), ("who ate fish?", "seven dogs"))
        encoded = EncodedHistory(history, light_encoder, "en")
        found = ChannelRanker("dense", "dense", light_encoder).rank(encoded)
        for question, ranking in zip(history.questions, found, strict=True):
            cosines = (
                light_encoder.encode_document([one.text for one in history.documents], language="en")
                @ (light_encoder.encode_query([question.text], language="en")[0])
            )
            assert sorted(ranking) == list(range(5))
            assert np.all(np.diff(cosines[ranking]) < 1e-5)
            assert ranking.index(0) + 1 == ranking.index(4)

    def test_words_need_no_encoder(self) -> None:
        (found,) = ChannelRanker("words", "lexical", None).rank(EncodedHistory(made(), None, "en"))
        assert found[0] == 3
        assert 1 not in found

    def test_what_is_not_found_is_not_ranked(self) -> None:
        assert ordered(np.array([0.5, -np.inf, 0.7, 0.5])) == [2, 0, 3]

    def test_random_order_depends_on_seed_and_question_alone(self) -> None:
        encoded = EncodedHistory(made(questions=("a", "b")), None, "en")
        first, second = RandomRanker(0).rank(encoded)
        assert sorted(first) == sorted(second) == [0, 1, 2, 3]
        assert RandomRanker(0).rank(encoded) == [first, second]
        assert any(RandomRanker(seed).rank(encoded) != [first, second] for seed in range(1, 4))

    def test_a_memory_ranks_what_it_merged_and_keeps_users_apart(self, light_encoder: Encoder) -> None:
        ranker = MemoryRanker("memory", light_encoder)
        try:
            repeated = made((*DOCUMENTS, DOCUMENTS[3]))
            (found,) = ranker.rank(EncodedHistory(repeated, light_encoder, "en"))
            assert sorted(found) == [0, 1, 2, 3, 4]
            # The last document repeats the fourth, and is merged into it.
            assert found.index(4) == found.index(3) + 1
            (other,) = ranker.rank(EncodedHistory(made(DOCUMENTS[:2], id="other"), light_encoder, "en"))
            assert sorted(other) == [0, 1]
        finally:
            ranker.close()

    @pytest.mark.skipif(not installed("mem0ai"), reason="mem0 is not installed")
    def test_mem0_orders_by_the_vectors_that_it_is_given(self, light_encoder: Encoder) -> None:
        from mlret.eval.histories.mem0_ranker import Mem0Ranker

        ranker = Mem0Ranker("mem0", light_encoder)
        try:
            encoded = EncodedHistory(made(), light_encoder, "en")
            (found,) = ranker.rank(encoded)
            assert sorted(found) == [0, 1, 2, 3]
            if not ranker.facts()["keywords"]:
                assert [found] == ChannelRanker("dense", "dense", light_encoder).rank(encoded)
        finally:
            ranker.close()


class TestStoredRankings:
    SETTINGS = {"system": "BM25, words", "version": "1"}

    def test_rankings_are_used_again_for_the_same_history_alone(self, tmp_path: Path) -> None:
        StoredRankings(tmp_path / "kept", self.SETTINGS).put(made(), [[2, 0]])
        again = StoredRankings(tmp_path / "kept", self.SETTINGS)
        assert again.get(made()) == [[2, 0]]
        assert again.get(made(DOCUMENTS[:3])) is None
        assert again.get(made(questions=("who?",))) is None
        assert StoredRankings(tmp_path / "kept", {**self.SETTINGS, "version": "2"}).get(made()) is None

    def test_a_line_that_was_cut_off_is_written_again(self, tmp_path: Path) -> None:
        stored = StoredRankings(tmp_path, self.SETTINGS)
        stored.put(made(), [[1]])
        stored.put(made(id="b"), [[2]])
        (path,) = tmp_path.iterdir()
        path.write_bytes(path.read_bytes()[:-5])
        again = StoredRankings(tmp_path, self.SETTINGS)
        assert (again.get(made()), again.get(made(id="b"))) == ([[1]], None)
        again.put(made(id="b"), [[3]])
        assert StoredRankings(tmp_path, self.SETTINGS).get(made(id="b")) == [[3]]

    def test_a_damaged_line_is_named(self, tmp_path: Path) -> None:
        StoredRankings(tmp_path, self.SETTINGS).put(made(), [[1]])
        (path,) = tmp_path.iterdir()
        path.write_text("nothing\n" + path.read_text("utf-8"), encoding="utf-8")
        with pytest.raises(InputError, match=rf"{path.name}:1: damaged; delete this file"):
            StoredRankings(tmp_path, self.SETTINGS)
        with pytest.raises(InputError, match="name a folder that can be written"):
            StoredRankings(path / "below", self.SETTINGS)


def test_longmemeval_has_two_averages(tmp_path: Path) -> None:
    """The first leaves out the question whose answer the assistant said; for the second, recall_all finds it."""
    report = evaluate("longmemeval", write_json(tmp_path / "lme.json", LONGMEMEVAL), systems=["bm25", "random"])
    other = "average of print_retrieval_metrics"
    # "bicycle" is in the session that answers the first question alone.
    assert report.figure("recall_all@1") == report.figure("ndcg_any@1") == 1
    assert report.figure("recall_all@1", group=other) == 1
    assert report.figure("recall_any@1", group=other) == report.figure("ndcg_any@1", group=other) == 0.5
    assert list(report.figures["BM25"]) == ["average", other, "single-session-user"]
    assert report.details["groups"] == {"average": 1, other: 2, "single-session-user": 1}
    assert report.notes == ["abstention questions, which are not scored: 1, e.g. 'q3_abs'"]
    assert list(report.figures) == ["BM25", "random"]


def test_longmemeval_by_turn_is_also_scored_by_session(tmp_path: Path) -> None:
    file = write_json(tmp_path / "lme.json", LONGMEMEVAL)
    report = evaluate("longmemeval", file, systems=["bm25"], granularity="turn")
    assert report.figure("recall_all@1") == report.figure("session_recall_all@1") == 1
    assert len(report.tables) == 3  # a single system is compared with none


def test_locomo_has_the_averages_of_four_and_of_five_categories(tmp_path: Path) -> None:
    file = write_json(tmp_path / "locomo10.json", [locomo_sample()])
    report = evaluate("locomo", file, systems=["bm25"])
    # Single-hop and temporal are found; of multi-hop one piece of evidence names no turn; adversarial is found.
    assert report.figure("recall@5") == pytest.approx((1 + 1 + 1 / 2) / 3)
    assert report.figure("recall@5", group="average of all five categories") == pytest.approx(
        (1 + 1 + 1 / 2 + 1 + 1) / 5
    )
    assert report.figure("recall@5", group="adversarial") == 1
    assert "open-domain" not in report.figures["BM25"]
    (tmp_path / "ids.txt").write_text("locomo_0_qa2\n", encoding="utf-8")
    audited = evaluate("locomo", file, systems=["bm25"], audit=tmp_path / "ids.txt")
    assert audited.figure("recall@5") == 1
    assert "audited" in audited.tables[0].title


def test_beam_and_memoryagentbench_are_averages_over_questions(tmp_path: Path) -> None:
    beam = evaluate(
        "beam", beam_chat(tmp_path / "1", BEAM_CHAT, BEAM_QUESTIONS), systems=["bm25"], granularity="message"
    )
    assert beam.figure("recall@50", group="information_extraction") == 1
    assert beam.figure("recall@50") == pytest.approx(
        (1 + beam.figure("recall@50", group="contradiction_resolution")) / 2
    )
    rows = write_json(tmp_path / "rows.json", MEMORYAGENTBENCH)
    agents = evaluate("memoryagentbench", rows, systems=["bm25"], chunk_characters=100)
    assert agents.figure("any@1") == agents.figure("any@1", group="ruler_qa1_197K") == 1


def test_all_systems_are_measured_on_the_same_questions_and_tested(tmp_path: Path, light_encoder: Encoder) -> None:
    """Forty questions, each answered by one of three sessions, that words find and chance finds in one of three."""
    words = [f"{first}{second}" for first in "bdgklmnprst" for second in ("abo", "emi", "uka", "ito")][:40]
    content = [
        longmemeval_instance(
            f"q{number}",
            {
                "f_1": [turn(f"I like {words[number - 1]}.")],
                "answer_1": [turn(f"I bought {word} at the market.", has_answer=True)],
                "f_2": [turn("We went to the sea.")],
            },
            question=f"Where did I buy {word}?",
        )
        for number, word in enumerate(words)
    ]
    file = write_json(tmp_path / "lme.json", content)
    systems = ["memory", "hybrid", "dense", "lexical", "bm25", "random"]
    report = evaluate("longmemeval", file, models=[light_encoder], systems=systems)
    name = light_encoder.name
    assert list(report.figures) == [
        *(f"{name}, {system}" for system in systems[:3]),
        "BM25 over character n-grams",
        "BM25",
        "random",
    ]
    assert report.figure("recall_all@1", system="BM25") == 1
    assert 0.1 < report.figure("recall_all@1", system="random") < 0.6
    assert report.systems[f"{name}, memory"]["fingerprint"] == light_encoder.fingerprint
    table = report.tables[-1]
    assert [row[0] for row in table.rows] == list(report.figures)[1:]
    # Everything is found among three sessions, so no difference at 5 is anything but 0.
    assert {row[1] for row in table.rows} == {"+0.0"}
    folder = tmp_path / "out"
    report.write(folder, pictures=False)
    metric, found = compare_results(folder, folder, metric="recall_all@1", systems=("random", "BM25"), resamples=999)
    assert metric == "recall_all@1"
    assert found[0].group == "average"
    assert found[0].difference > 0.3
    assert found[0].adjusted < 0.05


def test_an_interrupted_evaluation_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [locomo_sample(sample_id=f"conv-{number}") for number in range(3)]
    file = write_json(tmp_path / "locomo10.json", samples)
    ranked: list[str] = []
    rank = Bm25Ranker.rank

    def counted(self: Bm25Ranker, encoded: EncodedHistory) -> Any:
        if len(ranked) == 2:
            raise KeyboardInterrupt
        ranked.append(encoded.history.id)
        return rank(self, encoded)

    monkeypatch.setattr(Bm25Ranker, "rank", counted)
    with pytest.raises(KeyboardInterrupt):
        evaluate("locomo", file, systems=["bm25"], resume=tmp_path / "kept")
    assert ranked == ["conv-0", "conv-1"]
    ranked.clear()
    continued = evaluate("locomo", file, systems=["bm25"], resume=tmp_path / "kept")
    assert ranked == ["conv-2"]
    monkeypatch.undo()
    assert continued.figures == evaluate("locomo", file, systems=["bm25"]).figures


def test_a_sample_is_drawn_with_a_seed(tmp_path: Path) -> None:
    samples = [locomo_sample(sample_id=f"conv-{number}") for number in range(8)]
    file = write_json(tmp_path / "locomo10.json", samples)

    def drawn(seed: int) -> set[str]:
        report = evaluate("locomo", file, systems=["random"], sample=3, seed=seed)
        assert report.notes[0] == f"a sample of 3 of 8 histories, with seed {seed}"
        scored = report.query_scores["random"]["average"]["recall@10"]
        return {id.partition("/")[0] for id in scored}

    assert len(drawn(0)) == 3
    assert drawn(0) == drawn(0)
    assert len({frozenset(drawn(seed)) for seed in range(5)}) > 1


def test_wrong_settings_are_refused_before_an_encoder_is_loaded(tmp_path: Path) -> None:
    file = write_json(tmp_path / "locomo10.json", [locomo_sample()])
    with pytest.raises(InputError, match="no system is called bm52; there are memory, hybrid"):
        evaluate("locomo", file, models=["no-such-encoder"], systems=["bm52"])
    with pytest.raises(InputError, match="two systems are called 'bm25'"):
        evaluate("locomo", file, systems=["bm25", "bm25"])
    write_json(tmp_path / "broken.json", [locomo_sample(), {}])
    with pytest.raises(InputError, match="conversation 2"):
        evaluate("locomo", tmp_path / "broken.json", models=["no-such-encoder"])
    if not installed("mem0ai"):
        with pytest.raises(InputError, match="mem0 is not installed; `pip install mem0ai"):
            evaluate("locomo", file, models=["no-such-encoder"], systems=["mem0"])
    unanswered = locomo_sample(qa=[{"question": "?", "category": 4, "evidence": []}])
    with pytest.raises(InputError, match="no question has evidence"):
        evaluate("locomo", write_json(tmp_path / "none.json", [unanswered]), systems=["bm25"])
    with pytest.raises(InputError, match="give their language"):
        evaluate("memoryagentbench", write_json(tmp_path / "r.json", MEMORYAGENTBENCH), systems=["bm25"], language="")


def test_an_encoder_with_a_vector_for_each_token_is_refused(tmp_path: Path, tiny_token_encoder: TokenEncoder) -> None:
    file = write_json(tmp_path / "locomo10.json", [locomo_sample()])
    with pytest.raises(InputError, match="needs one per text"):
        evaluate("locomo", file, models=[tiny_token_encoder], systems=["dense"])


def test_the_command_line_says_where_the_data_is_and_prints_json(tmp_path: Path) -> None:
    from mlret.cli.eval import app

    run = CliRunner().invoke
    sources = {
        "longmemeval": "huggingface.co/datasets/xiaowu0162/longmemeval-cleaned",
        "locomo": "github.com/snap-research/locomo",
        "beam": "github.com/mohammadtavakoli78/BEAM",
        "memoryagentbench": "huggingface.co/datasets/ai-hyz/MemoryAgentBench",
    }
    for name, source in sources.items():
        shown = run(app, [name, "--help"], env={"COLUMNS": "200"}).output
        assert source in shown.replace("\n", "").replace(" ", "")
    file = write_json(tmp_path / "locomo10.json", [locomo_sample()])
    result = run(app, ["locomo", "--data", str(file), "--systems", "bm25,random", "--granularity", "session", "--json"])
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)["figures"]
    assert list(figures) == ["BM25", "random"]
    assert figures["BM25"]["average"]["recall@5"] == 1
