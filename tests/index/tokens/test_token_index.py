"""Test an index with a vector for each token: the same methods, against brute force."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mlret.encoders.external import ExternalEncoder
from mlret.encoders.token_encoder import TokenEncoder
from mlret.errors import InputError, MlretError
from mlret.index.build import build_index, extend_index
from mlret.index.export import export_index
from mlret.index.index import Index
from mlret.index.settings import IndexSettings
from mlret.index.tokens import codec_training
from mlret.index.tokens import token_space as space_module
from mlret.index.tokens.cost import Cost
from mlret.index.tokens.token_space import MaxSimSpace
from mlret.index.vectors.ragged import Ragged
from mlret.index.verify import verify_index

DIMS = 32
Tokens = NDArray[np.float32]


def unit(vectors: Tokens) -> Tokens:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), dtype=np.float32)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MaxSimSpace, "segment_size", 3_000)
    monkeypatch.setattr(MaxSimSpace, "bulk_size", 12_000)
    monkeypatch.setattr(codec_training, "LEAST", 8_000)
    monkeypatch.setattr(space_module, "MOST_FLAT", 8_000)


class Made:
    """Documents generated from topics, and queries for one of them."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.topics = unit(self.rng.standard_normal((200, DIMS), np.float32))

    def documents(self, count: int) -> list[Tokens]:
        return [self._near(self.topics[self.rng.choice(200, 3)], int(self.rng.integers(4, 25))) for _ in range(count)]

    def _near(self, some: Tokens, count: int) -> Tokens:
        chosen = some[self.rng.integers(0, len(some), count)]
        return unit(chosen + 0.15 * self.rng.standard_normal((count, DIMS), np.float32)).astype(np.float16).astype("f4")

    def query(self, document: Tokens, count: int = 12) -> Tokens:
        return self._near(document, count)


def brute(documents: dict[str, Tokens], query: Tokens) -> list[str]:
    scores = {id: (query @ tokens.T).max(axis=1).sum() for id, tokens in documents.items()}
    return sorted(scores, key=lambda id: -scores[id])


def stored(path: Path, documents: dict[str, Tokens], **options: Any) -> Index:
    index = Index.create(path, ExternalEncoder("made", DIMS, "maxsim"), settings=IndexSettings(**options))
    add(index, documents)
    return index


def add(index: Index, documents: dict[str, Tokens], verb: str = "add") -> None:
    texts = [{"id": id, "text": f"text of {id}", "lang": "en", "n": int(id[1:])} for id in documents]
    getattr(index, verb)(texts, vectors=list(documents.values()), batch_size=50)


def recall(index: Index, documents: dict[str, Tokens], queries: list[Tokens], **options: Any) -> float:
    found = index.search_vectors(queries, 10, **options)
    best = [set(brute(documents, query)[:10]) for query in queries]
    return float(np.mean([len(some & {hit.id for hit in hits}) / 10 for some, hits in zip(best, found, strict=True)]))


def named(documents: list[Tokens], start: int = 0) -> dict[str, Tokens]:
    return {f"d{place}": tokens for place, tokens in enumerate(documents, start)}


def test_a_small_index_gives_what_brute_force_gives(tmp_path: Path) -> None:
    made = Made()
    documents = named(made.documents(300))
    with stored(tmp_path / "i", documents) as index:
        for id in ("d0", "d77", "d299"):
            query = made.query(documents[id])
            hits = index.search_vectors([query], 20)[0]
            assert [hit.id for hit in hits] == brute(documents, query)[:20]
            score = (query.astype(np.float64) @ documents[hits[0].id].T).max(axis=1).sum()
            assert hits[0].score == pytest.approx(score, abs=1e-4) and hits[0].text == f"text of {hits[0].id}"
        assert np.array_equal(np.asarray(index.vectors(["d5"])[0]), documents["d5"])


@pytest.mark.parametrize("bits", [2, 4, *(pytest.param(bits, marks=pytest.mark.thorough) for bits in (8, 16))])
def test_a_large_index_chooses_how_to_search_and_says_what_it_found(tmp_path: Path, bits: int) -> None:
    made = Made()
    documents = named(made.documents(1500))
    queries = [made.query(documents[f"d{n}"]) for n in range(0, 1500, 50)]
    with stored(tmp_path / "i", documents, bits=bits, recall=0.95, seed=1) as index:
        before = index.info()
        index.compact()
        info = index.info()
        assert info.kinds == {"probe": 1500} and info.segments == 1 and info.probing
        assert before.segments > 1 and info.bytes < before.bytes
        floor = {2: 0.75, 4: 0.9, 8: 0.97, 16: 1.0}[bits]
        assert recall(index, documents, queries, exact=True) >= floor
        assert recall(index, documents, queries) >= floor - 0.1
        assert len(index.search_vectors(queries[:1], 1500)[0]) == 1500
        one_by_one = [index.search_vectors([query], 5)[0] for query in queries]
        assert index.search_vectors(queries, 5) == one_by_one
    with Index.open(tmp_path / "i") as index:
        assert index.search_vectors(queries, 5) == one_by_one
    assert verify_index(tmp_path / "i") == []


def test_probes_are_tuned_on_queries_and_kept(tmp_path: Path) -> None:
    made = Made()
    documents = named(made.documents(1500))
    queries = [made.query(documents[f"d{n}"]) for n in range(0, 1500, 30)]
    with stored(tmp_path / "i", documents, bits=8) as index:
        with pytest.raises(InputError, match="nothing to tune"):
            index.tune(vectors=queries)
        index.compact()
        with pytest.raises(InputError, match="a recall of 2 is not possible"):
            index.tune(vectors=queries, recall=2)
        assert index.tune(vectors=queries, recall=1.0) == index.info().probing
        probing = index.store.manifest.probing
        assert probing is not None and probing.asked and probing.queries == len(queries) and probing.recall == 1.0
        assert recall(index, documents, queries) == recall(index, documents, queries, exact=True)
        index.delete(["d7"])
        index.compact()
        assert index.store.manifest.probing == probing


def test_an_index_that_moves_to_another_machine_chooses_its_effort_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Made()
    documents = named(made.documents(1500))
    queries = [made.query(documents[f"d{n}"]) for n in range(0, 1500, 100)]
    with stored(tmp_path / "i", documents, bits=8) as index:
        index.compact()
        index.tune(vectors=queries, recall=0.6)
        first = index.store.manifest.probing
    assert first is not None and first.measured is not None
    # Where a token costs a tenth of a millisecond, comparing all never pays.
    monkeypatch.setattr(space_module, "instructions_for", lambda bits: "abacus")
    monkeypatch.setattr(space_module, "measured", lambda dims, bits: Cost("abacus", 1e-4, 1e-3))
    with Index.open(tmp_path / "i") as index:
        assert "estimated for abacus from trial runs with" in index.info().probing
        assert index.store.space.probing is not None and index.store.space.probing.probes is not None
        assert recall(index, documents, queries) >= 0.5
        assert index.store.manifest.probing == first
        index.delete(["d7"])
        index.compact()
        after = index.store.manifest.probing
        assert after is not None and after.measured is not None and after.asked
        assert after.measured.instructions == "abacus" and after.measured.target == 0.6


_ON_ANOTHER_PROCESSOR = """
import json, sys
import numpy as np
from mlret.index.index import Index

with Index.open(sys.argv[1]) as index:
    queries = list(np.load(sys.argv[2]))
    opened = index.info().probing
    hits = [[(hit.id, hit.score) for hit in hits] for hits in index.search_vectors(queries, 10, exact=True)]
    index.tune(vectors=queries, recall=0.6)
    measured = index.store.manifest.probing.measured.instructions
print(json.dumps({"opened": opened, "hits": hits, "measured": measured}))
"""


@pytest.mark.thorough
def test_an_index_that_moves_to_older_instructions_and_back_chooses_each_time(tmp_path: Path) -> None:
    pytest.importorskip("numba")
    from mlret.index.tokens.kernels.dispatch import instruction_set
    from tests.index.tokens.x86_levels import environment_of

    environment = environment_of("x86-64-v2", tmp_path / "compiled")
    if (here := instruction_set()) == "ssse3":
        pytest.skip("this processor is of x86-64-v2 itself")
    made = Made()
    documents = named(made.documents(1500))
    queries = [made.query(documents[f"d{n}"]) for n in range(0, 1500, 100)]
    np.save(tmp_path / "queries.npy", np.stack(queries))
    with stored(tmp_path / "i", documents, bits=8) as index:
        index.compact()
        hits = [[[hit.id, hit.score] for hit in hits] for hits in index.search_vectors(queries, 10, exact=True)]
        assert index.store.manifest.probing is not None and index.store.manifest.probing.measured is not None
        assert index.store.manifest.probing.measured.instructions == here
    command = [sys.executable, "-c", _ON_ANOTHER_PROCESSOR, str(tmp_path / "i"), str(tmp_path / "queries.npy")]
    found = json.loads(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert f"estimated for ssse3 from trial runs with {here}" in found["opened"]
    assert found["hits"] == hits
    assert found["measured"] == "ssse3"
    with Index.open(tmp_path / "i") as index:
        assert f"estimated for {here} from trial runs with ssse3" in index.info().probing
        assert recall(index, documents, queries) >= 0.5


def test_fixed_settings_are_measured_and_kept(tmp_path: Path) -> None:
    documents = named(Made().documents(1500))
    with stored(tmp_path / "i", documents, probes=3, compared=40) as index:
        index.compact()
        probing = index.store.manifest.probing
        assert probing is not None and (probing.probes, probing.compared) == (3, 40) and 0 < probing.recall <= 1
        assert "3 probes a token, the best 40" in index.info().probing


def test_filters_and_ids_are_exact_in_count(tmp_path: Path) -> None:
    made = Made()
    documents = named(made.documents(1500))
    query = made.query(documents["d3"])
    with stored(tmp_path / "i", documents, bits=8) as index:
        index.compact()
        for where, count in (({"n": {"$lt": 7}}, 7), ({"n": {"$gte": 1000}}, 500), ({"n": -1}, 0)):
            hits = index.search_vectors([query], 600, where=where)[0]
            assert len(hits) == count
        few = {id: documents[id] for id in ("d3", "d900", "d1400")}
        assert [hit.id for hit in index.search_vectors([query], 9, ids=[*few, "none"])[0]] == brute(few, query)
        assert (
            len(index.search_vectors([query], 300, where={"n": {"$lt": 1400}}, ids=[f"d{n}" for n in range(1450)])[0])
            == 300
        )


@pytest.mark.thorough
def test_ten_rounds_of_churn_lose_no_recall(tmp_path: Path) -> None:
    """Documents are added, deleted and changed; the results are those of a new index."""
    made = Made()
    documents = named(made.documents(2000))
    chance = np.random.default_rng(5)
    with stored(tmp_path / "i", documents, bits=8, probes=32, compared=400) as index:
        index.compact()
        number = 2000
        for _ in range(10):
            gone = chance.choice(sorted(documents), 150, replace=False).tolist()
            index.delete(gone)
            documents = {id: tokens for id, tokens in documents.items() if id not in set(gone)}
            new = named(made.documents(150), number)
            number += 150
            add(index, new)
            changed = dict(zip(chance.choice(sorted(documents), 50, replace=False), made.documents(50), strict=True))
            add(index, changed, "update")
            documents |= new | changed
        assert len(index) == len(documents) == 2000
        index.compact()
        queries = [made.query(documents[id]) for id in chance.choice(sorted(documents), 150)]
        after = recall(index, documents, queries)
        assert index.info().deleted == 0
    with stored(tmp_path / "fresh", documents, bits=8, probes=32, compared=400) as index:
        index.compact()
        assert after >= recall(index, documents, queries) - 0.005


@pytest.mark.thorough
def test_new_languages_are_noticed_and_get_centroids(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    old, new = Made(1), Made(2)
    documents = named(old.documents(1000))
    with stored(tmp_path / "i", documents, bits=4) as index:
        index.compact()
        first = index.store.manifest.codec
        more = named(new.documents(1500), 1000)
        caplog.clear()
        add(index, dict(list(more.items())[:250]))
        assert "as far from their centroids" in caplog.text and index.store.manifest.codec == first
        add(index, dict(list(more.items())[250:]))
        index.compact()
        assert index.store.manifest.codec != first
        queries = [new.query(tokens) for tokens in list(more.values())[::50]]
        assert recall(index, documents | more, queries) > 0.85


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "update", "delete", "compact", "open"]), st.integers(0, 30)), max_size=12
    )
)
def test_any_order_of_changes_leaves_what_a_dict_would(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, int]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MaxSimSpace, "segment_size", 100)
        patch.setattr(MaxSimSpace, "bulk_size", 200)
        made = Made(3)
        path = tmp_path_factory.mktemp("t") / "i"
        state: dict[str, Tokens] = {}
        index = stored(path, {}, bits=16, kind="flat")
        for act, size in changes:
            ids = [f"d{n}" for n in range(3 * size % 50, 3 * size % 50 + size)]
            if act == "add":
                fresh = dict(zip([id for id in ids if id not in state], made.documents(len(ids)), strict=False))
                add(index, fresh)
                state |= fresh
            elif act == "update":
                fresh = dict(zip(ids, made.documents(len(ids)), strict=True))
                add(index, fresh, "update")
                state |= fresh
            elif act == "delete":
                there = [id for id in ids if id in state]
                if there:
                    index.delete(there)
                state = {id: tokens for id, tokens in state.items() if id not in there}
            elif act == "compact":
                index.compact()
            else:
                index.close()
                index = Index.open(path)
            query = made.query(made.topics[:2])
            hits = index.search_vectors([query], 200)[0]
            assert sorted(hit.id for hit in hits) == sorted(state)
            expected = [float((query.astype("f8") @ state[hit.id].T).max(axis=1).sum()) for hit in hits]
            assert np.allclose([hit.score for hit in hits], expected, atol=1e-3)
        index.close()


def test_vectors_of_an_encoder_are_accepted_unchanged(tmp_path: Path, tiny_token_encoder: TokenEncoder) -> None:
    texts = ["the cat sat on the mat", "a dog ran over the hill", "rain by night", "the old house by the river"]
    file = tmp_path / "a.jsonl"
    file.write_text(
        "".join(json.dumps({"id": f"n{i}", "text": text, "lang": "en"}) + "\n" for i, text in enumerate(texts))
    )
    report = build_index(tmp_path / "i", [file], tiny_token_encoder)
    assert report.index.similarity == "maxsim" and report.documents.added == 4
    model = tiny_token_encoder.model
    expected = model.similarity(model.encode_query(["dog on the hill"]), model.encode_document(texts))[0].numpy()
    with Index.open(tmp_path / "i") as index:
        hits = index.search("dog on the hill", 4)
        assert {hit.id: hit.score for hit in hits} == pytest.approx(
            {f"n{i}": s for i, s in enumerate(expected)}, abs=0.02
        )
        tensors = model.encode_document(["a new text"])
        index.add([{"id": "t", "text": "a new text"}], vectors=tensors)
        hits = index.search("dog on the hill", 4, mode="dense")
        assert len(hits) == 4
        before = index.vectors(["n1"])[0]
        index.update([{"id": "n1", "text": texts[1], "lang": "en", "year": 3}])  # the tokens do not change
        assert np.array_equal(index.vectors(["n1"])[0], before)
    with pytest.raises(InputError, match="was built with"):
        Index.create(tmp_path / "i", ExternalEncoder("other", 128, "maxsim"))


def test_torn_tokens_are_encoded_again(tmp_path: Path, tiny_token_encoder: TokenEncoder) -> None:
    documents = [{"id": f"n{i}", "text": f"the cat {i} sat by house {i}", "lang": "en"} for i in range(60)]
    with Index.create(tmp_path / "i", tiny_token_encoder) as index:
        index.add(documents)
        index.seal()
        before = index.search("cat 7", 9)
        torn = tmp_path / "i" / index.store.manifest.segments[0].main.file
    torn.write_bytes(torn.read_bytes()[:-100])
    with pytest.raises(MlretError, match=r"of 60 texts are lost: .*verify --repair .* encodes their texts"):
        Index.open(tmp_path / "i")
    assert [problem.repaired for problem in verify_index(tmp_path / "i", repair=True)] == [True]
    assert verify_index(tmp_path / "i") == []
    with Index.open(tmp_path / "i") as index:
        assert index.search("cat 7", 9) == before


def test_a_lost_manifest_is_restored_with_its_segments(tmp_path: Path) -> None:
    made = Made()
    documents = named(made.documents(700))
    query = made.query(documents["d4"])
    with stored(tmp_path / "i", documents) as index:
        index.compact()
        hits = index.search_vectors([query])
    (tmp_path / "i" / "manifest.json").write_text("{")
    verify_index(tmp_path / "i", repair=True)
    with Index.open(tmp_path / "i") as index:
        assert index.search_vectors([query]) == hits
    assert verify_index(tmp_path / "i") == []


def test_a_reader_is_undisturbed_by_sealing_and_compaction(tmp_path: Path) -> None:
    made = Made()
    documents = named(made.documents(500))
    query = made.query(documents["d4"])
    with stored(tmp_path / "i", documents) as writer, Index.open(tmp_path / "i") as reader:
        hits = reader.search_vectors([query], 10)
        add(writer, named(made.documents(900), 500))
        writer.compact()
        assert [hit.id for hit in reader.search_vectors([query], 10)[0]] == [hit.id for hit in hits[0]]
        assert len(reader) == 500
        reader.refresh()
        assert len(reader) == 1400 and len(reader.search_vectors([query], 2000)[0]) == 1400


def test_pooling_keeps_fewer_tokens(tmp_path: Path) -> None:
    made = Made()
    documents = named(made.documents(200))
    with stored(tmp_path / "i", documents, pooling=3) as index:
        kept = np.array([len(tokens) for tokens in index.vectors(list(documents))])
        assert (kept <= np.ceil(np.array([len(tokens) for tokens in documents.values()]) / 3) + 1).all()
        queries = [made.query(documents[f"d{n}"]) for n in range(0, 200, 10)]
        assert recall(index, documents, queries) > 0.5


def test_a_document_without_tokens_is_stored_and_comes_last(tmp_path: Path) -> None:
    made = Made()
    documents = named(made.documents(30)) | {"d30": np.empty((0, DIMS), np.float32)}
    with stored(tmp_path / "i", documents) as index:
        hits = index.search_vectors([made.query(documents["d2"], 5)], 40)[0]
        assert len(hits) == 31 and hits[-1].id == "d30" and hits[-1].score == -5


def test_export_gives_the_tokens(tmp_path: Path) -> None:
    documents = named(Made().documents(3))
    with stored(tmp_path / "i", documents) as index:
        export_index(index, tmp_path / "o.jsonl", vectors=True)
        export_index(index, tmp_path / "o.parquet", vectors=True)
    import pyarrow.parquet as parquet

    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    for rows in (lines, parquet.read_table(tmp_path / "o.parquet").to_pylist()):
        assert [np.array_equal(np.array(row["vectors"], "f4"), documents[row["id"]]) for row in rows] == [True] * 3


def bad(index: Index) -> Iterator[tuple[Any, str]]:
    good = np.ones((3, DIMS), np.float32)
    yield np.ones((1, DIMS), np.float32), "give a list of"
    yield [np.ones((3, 5), np.float32)], "must be \\(t, 32\\)"
    yield [np.ones((3, DIMS), np.int32)], "int32"
    yield [np.full((3, DIMS), np.nan, np.float32)], "NaN or an infinity"
    yield [good, good], "2 vectors but 1 document;"
    yield Ragged(np.ones((4, DIMS), np.float32), np.array([0, 3])), "do not divide 4 tokens"


def test_bad_vectors_are_named_and_nothing_is_stored(tmp_path: Path) -> None:
    with stored(tmp_path / "i", {}) as index:
        for vectors, message in bad(index):
            with pytest.raises(InputError, match=message):
                index.add([{"id": "a", "text": "a"}], vectors=vectors)
            index.delete(["a"], ignore_missing=True)
        with pytest.raises(InputError, match="the tokens of query 0"):
            index.search_vectors([np.ones((2, 7), np.float32)])
        with pytest.raises(InputError, match="does not run"):
            index.search("words")
    with pytest.raises(InputError, match=r"auto, flat .* or probe"):
        Index.create(tmp_path / "j", ExternalEncoder("x", 4, "maxsim"), settings=IndexSettings(kind="hnsw"))
    with pytest.raises(InputError, match="this one gives one per text"):
        Index.create(tmp_path / "j", ExternalEncoder("x", 4), settings=IndexSettings(kind="probe"))


def test_files_of_tokens_are_read_and_added_to(tmp_path: Path) -> None:
    made = Made()
    documents = named(made.documents(20))
    whole = Ragged.of(list(documents.values()), DIMS)
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps({"id": id, "text": id}) + "\n" for id in documents))
    build_index(tmp_path / "i", [file], ExternalEncoder("made", DIMS, "maxsim"), vectors=whole)
    more = named(made.documents(5), 20)
    (tmp_path / "b.jsonl").write_text("".join(json.dumps({"id": id, "text": id}) + "\n" for id in more))
    extend_index(tmp_path / "i", [tmp_path / "b.jsonl"], vectors=Ragged.of(list(more.values()), DIMS))
    query = made.query(more["d22"])
    with Index.open(tmp_path / "i") as index:
        assert [hit.id for hit in index.search_vectors([query], 9)[0]] == brute(documents | more, query)[:9]
