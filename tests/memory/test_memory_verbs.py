"""Test the operations one by one: erasure, duplicates across languages, export, derivation, feedback, upkeep."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from mlret.encoders.encoder import Encoder
from mlret.encoders.loading import load_encoder
from mlret.errors import FingerprintError, InputError, MlretError
from mlret.index.storage.records import RECORDS
from mlret.memory.ingest.forget import Policy
from mlret.memory.ingest.import_export import read_chat
from mlret.memory.maintenance.upkeep import reembed, verify
from mlret.memory.memory import Memory
from mlret.memory.records import Link, MemoryRecord
from mlret.memory.storage import cells, schema, tables
from mlret.memory.text.duplicates import DuplicateThresholds
from tests.index.made import vector_of
from tests.memory.made import add, keep, open_memory

ME = {"user": "u1"}


def left(folder: Path, *texts: str) -> list[str]:
    """Return which fragments of eight characters of some texts are in any file."""
    files = [file.read_bytes() for file in folder.rglob("*") if file.is_file()]
    pieces = {text[start : start + 8] for text in texts for start in range(len(text) - 7)}
    return sorted(piece for piece in pieces if any(piece.encode() in content for content in files))


def test_erase_leaves_no_byte_of_text_tags_metadata_or_source(tmp_path: Path, tiny_encoder: Encoder) -> None:
    long = " ".join(f"Сверчок{n}" for n in range(3000))  # spans many pages of the database
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        memory.add("what stays", ME)
        about: dict[str, Any] = {
            "tags": ["tag-to-erase"],
            "keys": ["key-to-erase"],
            "metadata": {"name-to-erase": "value-to-erase"},
            "source": "source-to-erase",
            "session": "session-to-erase",
        }
        id = memory.add("the text to erase", ME, **about).id
        memory.update(id, ME, long)
        fact = memory.add("a fact to erase", ME, derived_from=id).id
        contents = ["the text to erase", long, "a fact to erase", "tag-to-erase", "key-to-erase", "name-to-erase"]
        contents += ["value-to-erase", "source-to-erase", "session-to-erase"]
        assert left(tmp_path, *contents)
        proof = memory.erase(id, ME)
        assert (set(proof.ids), proof.versions, proof.complete) == ({id, fact}, 3, True)
        assert all(file["places"] == 0 for file in proof.files.values()) and proof.pieces > 10
        assert left(tmp_path, *contents) == []
        assert [record.text for record in memory.list(ME)] == ["what stays"]
        with pytest.raises(InputError, match="scope"):
            memory.history(id, ME)
        query = "SELECT verb, changes, note FROM memory_journal WHERE record = 2"  # the second that was stored
        emptied = memory.folder.records.read(query)
        assert [verb for verb, _, _ in emptied] == ["add", "update", "erase"]
        assert all(changes in (None, "[]") and note == "{}" for _, changes, note in emptied)
    assert left(tmp_path, *contents) == []
    files = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert not any(one.encode() in content for one in (id, fact) for content in files)
    assert verify(tmp_path / "m") == []


def test_erase_in_a_memory_opened_anew_includes_merged_records_with_links(tmp_path: Path) -> None:
    with open_memory(tmp_path / "m") as memory:
        for id in "abcdef":
            add(memory, f"the text {id}", ME, id=id)
        memory.link("b", "about", "c", ME)
        memory.link("c", "about", "d", ME)
        memory.link("e", "about", "b", ME)
        memory.merge("a", ["b", "c"], ME)
    with open_memory(tmp_path / "m") as memory:
        assert memory.erase("a", ME).complete
        assert list(memory.ids(ME)) == ["d", "e", "f"]
        assert not memory.get("e", ME).links  # type: ignore[union-attr]
    assert verify(tmp_path / "m") == []


def test_a_record_merged_into_an_erased_one_remains_without_it(tmp_path: Path) -> None:
    with open_memory(tmp_path / "m") as memory:
        for id in "abc":
            add(memory, f"the text {id}", ME, id=id)
        memory.merge("a", ["b"], ME)
    with open_memory(tmp_path / "m") as memory:
        assert memory.erase("a", ME, cascade=False).ids == ("a",)
        [left] = memory.list(ME, state="merged")
        assert left.id == "b" and left.merged_into is None
        memory.restore("b", ME)
        assert {record.id for record in memory.list(ME)} == {"b", "c"}
    assert verify(tmp_path / "m") == []


def test_erase_takes_vectors_out_of_sealed_files(tmp_path: Path) -> None:
    with open_memory(tmp_path / "m") as memory:
        ids = [add(memory, f"text {n}", ME).id for n in range(100)]
        memory._index.seal()
        vector = vector_of("text 50").tobytes()
        files = list((tmp_path / "m" / "vectors").iterdir())
        assert any(vector in file.read_bytes() for file in files)
        memory.erase(ids[50], ME)
        assert not any(vector in file.read_bytes() for file in (tmp_path / "m").rglob("*") if file.is_file())
        assert len(memory.search("x", ME, 200, vector=vector_of("text 50"), mode="dense")) == 99


def test_erasing_rewrites_the_database_only_if_copies_of_rows_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_memory(tmp_path / "m") as memory:
        items: list[Any] = [
            {"text": f"secret {n:03d}.", "language": "en", "vector": vector_of(str(n))} for n in range(200)
        ]
        ids = [one.id for one in memory.add_batch(items, ME, dedupe=False)]
        for n in range(100, 120):  # an end of validity takes the same space as none
            memory.update(ids[n], ME, f"another {n:03d}.", vector=vector_of(f"{n}"), language="en")
        statements: list[str] = []
        memory.folder.records.connection.set_trace_callback(statements.append)
        assert memory.erase(ids[7:9], ME).complete and memory.erase(ids[110], ME).complete
        gone = [b"secret 007.", b"secret 008.", b"secret 110.", b"another 110."]
        content = [file.read_bytes() for file in (tmp_path / "m").rglob("*") if file.is_file()]
        assert "VACUUM" not in statements and not any(text in one for text in gone for one in content)
        monkeypatch.setattr("mlret.index.storage.records.holds_traces", lambda path, **options: True)
        assert memory.erase(ids[9], ME).complete and "VACUUM" in statements
    assert verify(tmp_path / "m") == []


def test_ends_that_are_open_in_an_older_form_are_read(tmp_path: Path) -> None:
    with open_memory(tmp_path / "m") as memory:
        one, two = (add(memory, f"memory number {word}", ME).id for word in ("one", "two"))
        store = memory.folder.store
        with store.writing():
            store.commit(lambda connection: connection.execute("UPDATE memory_versions SET valid_to = NULL"))
    with open_memory(tmp_path / "m") as memory:
        assert {record.id for record in memory.list(ME)} == {one, two}
        memory.update(one, ME, "memory number three", vector=vector_of("three"), language="en")
        assert [version.valid_to is None for version in memory.versions(one, ME)] == [False, True]
    assert verify(tmp_path / "m") == []


def test_after_an_erasure_another_process_does_not_take_the_log_away(tmp_path: Path) -> None:
    read = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('SELECT count(*) FROM records').fetchone()"
    with open_memory(tmp_path / "m") as memory:
        ids = [add(memory, f"memory number {n}", ME).id for n in range(4)]
        assert memory.erase(ids[0], ME).complete
        add(memory, "one more", ME)
        log = tmp_path / "m" / f"{RECORDS}-wal"
        before = log.stat().st_ino
        subprocess.run([sys.executable, "-c", read, str(tmp_path / "m" / RECORDS)], check=True)
        assert log.stat().st_ino == before
        with open_memory(tmp_path / "m") as other:  # closing another connection removes nothing either
            assert len(other) == 4
        subprocess.run([sys.executable, "-c", read, str(tmp_path / "m" / RECORDS)], check=True)
        assert log.stat().st_ino == before
    assert not log.exists() and verify(tmp_path / "m") == []


def test_texts_shared_with_other_records_are_reported_only_within_the_scope(tmp_path: Path) -> None:
    with open_memory(tmp_path / "m") as memory:
        mine, again = (add(memory, "a sentence that is said twice", ME).id for _ in range(2))
        add(memory, "a sentence that is said twice", {"user": "u2"})
        proof = memory.erase(mine, ME)
        assert proof.shared == (again,) and proof.complete
        proof = memory.erase(again, ME)
        assert proof.shared == () and proof.complete and left(tmp_path, "said twice")


def test_erasure_waits_for_readers_and_is_ended_by_the_next_opening(tmp_path: Path) -> None:
    with open_memory(tmp_path / "m") as memory:
        id = add(memory, "a secret sentence", ME).id
        reader = sqlite3.connect(tmp_path / "m" / RECORDS, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM records").fetchone()
        proof = memory.erase(id, ME)
        assert not proof.complete and "another process" in proof.note
        assert memory.list(ME) == []
        reader.close()
    with open_memory(tmp_path / "m") as memory:
        assert memory.folder.records.read("SELECT * FROM memory_erasing") == []
    assert left(tmp_path, "a secret sentence") == []


def test_erasing_the_survivor_erases_what_was_merged_into_it(tmp_path: Path) -> None:
    with open_memory(tmp_path / "m") as memory:
        one, two, three = (add(memory, f"memory number {word}", ME).id for word in ("one", "two", "three"))
        memory.merge(one, [two], ME)
        assert set(memory.erase(one, ME).ids) == {one, two}
        assert [record.id for record in memory.list(ME)] == [three]
        with pytest.raises(InputError):
            memory.erase([], ME)


def test_thresholds_of_the_bundled_encoder_come_with_it(tmp_path: Path) -> None:
    encoder = load_encoder(device="cpu")
    with Memory.open(tmp_path / "m", encoder) as memory:
        thresholds = memory.thresholds()
        assert thresholds is not None and thresholds.fingerprint == encoder.fingerprint
        memory.add("The train leaves at seven.", ME)
        assert memory.search("train", ME, abstain=True).searched == 1


@pytest.mark.parametrize("together", [False, True])
def test_duplicates_are_found_across_languages_and_kept_behind(tmp_path: Path, together: bool) -> None:
    with open_memory(tmp_path / "m") as memory:
        keep(memory, DuplicateThresholds(memory.encoder.fingerprint, 0.6, 0.4, 0.5, {"": 0.0}, 0.95, 0.5, 100))
        vector = vector_of("the train")
        contents = [
            ("The train leaves at 7.", "en"),
            ("Der Zug fährt um 7 ab.", "de"),
            ("Der Zug fährt um 9 ab.", "de"),
        ]
        items: list[Any] = [{"text": text, "language": code, "vector": vector} for text, code in contents]
        if together:
            first, again, other = memory.add_batch(items, ME)
        else:
            first, again, other = (memory.add_batch([item], ME)[0] for item in items)
        assert (first.verdict, again.verdict, again.id) == ("added", "duplicate", first.id)
        assert again.evidence[0].margin > 0.6 and again.evidence[0].mutual
        assert other.verdict == "related" and "numbers" in other.reason
        assert [link.target for link in memory.get(other.id, ME).links] == [first.id]  # type: ignore[union-attr]
        [hidden] = memory.list(ME, state="merged")
        assert (hidden.text, hidden.merged_into) == (contents[1][0], first.id)
        assert memory.get(first.id, ME).strength == 2  # type: ignore[union-attr]
        memory.restore(hidden.id, ME)
        assert len(memory.list(ME)) == 3 and memory.get(first.id, ME).strength == 1  # type: ignore[union-attr]
        elsewhere = memory.add_batch(items[1:2], {"user": "u2"})[0]
        assert elsewhere.verdict == "added" and not elsewhere.evidence


def test_a_callable_judges_what_is_related(tmp_path: Path) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    with open_memory(tmp_path / "m") as memory:
        keep(memory, DuplicateThresholds(memory.encoder.fingerprint, 0.6, 0.4, 0.5, {"": 0.0}, 0.95, 0.5, 100))
        about: Any = {"language": "en", "vector": vector_of("where")}
        old = memory.add("I have 2 cats", ME, valid_from=start, **about).id
        asked: list[tuple[str, str]] = []

        def judge(text: str, record: MemoryRecord) -> Any:
            asked.append((text, record.text))
            return "supersedes"

        new = memory.add("I have 3 cats", ME, judge=judge, valid_from=start + timedelta(days=9), **about)
        assert asked == [("I have 3 cats", "I have 2 cats")] and new.verdict == "related"
        assert [record.text for record in memory.list(ME)] == ["I have 3 cats"]
        assert memory.get(new.id, ME).links == (Link("supersedes", old),)  # type: ignore[union-attr]
        assert [r.text for r in memory.list(ME, as_of=start + timedelta(days=5))] == ["I have 2 cats"]
        memory.undo(new.operation, ME)
        assert [record.text for record in memory.list(ME)] == ["I have 2 cats"]
        same = memory.add("I have 4 cats", ME, judge=lambda *_: "duplicate", **about)
        assert (same.verdict, same.id) == ("duplicate", old)
        apart = memory.add("I have 5 cats", ME, judge=lambda *_: "new", **about)
        assert apart.verdict == "added" and memory.get(apart.id, ME).links == ()  # type: ignore[union-attr]
        with pytest.raises(InputError, match="judge returned"):
            memory.add("I have 6 cats", ME, judge=lambda *_: "maybe", **about)  # type: ignore[arg-type,return-value]


def test_hidden_records_do_not_prevent_adding(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    with open_memory(tmp_path / "m") as memory:
        about: Any = {"language": "en", "vector": vector_of("where")}
        gone = memory.add("the cat is out", ME, expires_at=now - timedelta(days=1), **about)
        assert memory.add("the cat is out", ME, **about).verdict == "added"
        memory.delete([record.id for record in memory.list(ME)], ME)
        again = memory.add("the cat is out", ME, **about)
        assert again.verdict == "added" and again.id != gone.id
        memory.update(again.id, ME, "the cat is in", **about)
        assert memory.add("the cat is out", ME, **about).verdict == "added"
        assert {record.text for record in memory.list(ME)} == {"the cat is in", "the cat is out"}


def test_calibration_is_kept_for_the_encoder_that_it_was_made_with(tmp_path: Path, tiny_encoder: Encoder) -> None:
    texts = {code: [f"{word} {n} {code}" for n in range(12)] for code, word in (("en", "cat"), ("de", "rain"))}
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        assert memory.thresholds() is None
        found = memory.calibrate(texts=texts)
        assert memory.thresholds() == found
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        assert memory.thresholds() == found


def test_import_leaves_stored_records_that_were_deleted_as_they_are(tmp_path: Path, tiny_encoder: Encoder) -> None:
    with Memory.open(tmp_path / "memory", tiny_encoder) as memory:
        memory.add_batch([{"text": "the cat sat", "id": "kept"}, {"text": "a dog ran", "id": "gone"}], ME, dedupe=False)
        memory.merge("kept", ["gone"], ME)
        lines = list(memory.export(ME))
        memory.restore("gone", ME)
        memory.delete("gone", ME)
        assert memory.import_records(lines, ME, existing="skip") == 0
        assert memory.get("gone", ME) is None
        assert [entry.verb for entry in memory.history("gone", ME)] == ["add", "merge", "restore", "delete"]
    assert verify(tmp_path / "memory", tiny_encoder) == []


def test_export_and_import_give_the_same_memory(tmp_path: Path, tiny_encoder: Encoder) -> None:
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        start = datetime(2026, 1, 1, 8, tzinfo=ZoneInfo("Asia/Tokyo"))
        one = memory.add("the cat sat on a mat", ME, event_time=start, tags=["pet"], metadata={"n": 1}).id
        memory.update(one, ME, "the cat ran home", valid_from=start + timedelta(days=9))
        two = memory.add("seven dogs", {"user": "u1", "run": "r"}, source={"role": "user", "trust": 0.5}).id
        memory.link(two, "about", one, ME)
        three, four = (memory.add(text, ME).id for text in ("warm rain", "rain by night"))
        memory.merge(three, [four], ME)
        gone = memory.add("fish and rice", ME).id
        memory.delete(gone, ME)
        memory.add("another's", {"user": "u2"})
        memory.feedback("rain", [three], ME)
        lines = [json.loads(json.dumps(line)) for line in memory.export(ME)]
        assert {line["id"] for line in lines} == {one, two, three, four}
        before = {state: memory.list(ME, state=state) for state in ("active", "merged")}
        hits = [(hit.id, hit.score) for hit in memory.search("a cat in the rain", ME)]
        versions = memory.versions(one, ME)
        with Memory.open(tmp_path / "other", tiny_encoder) as other:
            with pytest.raises(InputError, match="line 1: the record belongs to the scope"):
                other.import_records(lines, {"user": "u2"})
            assert other.import_records(lines, ME) == 4
            with pytest.raises(InputError, match="already stored"):
                other.import_records(lines, ME)
            assert other.import_records(lines, ME, existing="skip") == 0
            assert {state: other.list(ME, state=state) for state in before} == before
            assert other.versions(one, ME) == versions
            other_hits = [(hit.id, hit.score) for hit in other.search("a cat in the rain", ME)]
            assert [id for id, _ in other_hits] == [id for id, _ in hits]
        assert verify(tmp_path / "other", tiny_encoder) == []


def test_export_with_vectors_needs_no_encoder(tmp_path: Path) -> None:
    with open_memory(tmp_path / "m") as memory:
        for text in ("the cat sat", "seven dogs"):
            add(memory, text, ME)
        with open_memory(tmp_path / "other") as other:
            assert other.import_records(memory.export(ME, vectors=True), ME) == 2
            asked: Any = {"vector": vector_of("cat"), "language": "en"}
            found = [(hit.id, hit.score) for hit in other.search("cat", ME, **asked)]
            assert found == [(hit.id, hit.score) for hit in memory.search("cat", ME, **asked)]


def test_bad_lines_are_named(tmp_path: Path) -> None:
    with open_memory(tmp_path / "m") as memory:
        for bad in ({}, {"mlret_memory": 2}, {"mlret_memory": 1, "id": "a", "scope": ME}):
            with pytest.raises(InputError, match="line 1"):
                memory.import_records([bad], ME)


def test_chat_becomes_turns_in_order(tmp_path: Path, tiny_encoder: Encoder) -> None:
    lines: list[dict[str, Any]] = [
        {"role": "user", "content": "the cat sat", "time": "2026-03-01T08:00:00"},
        {"role": "assistant", "content": [{"type": "text", "text": "on a mat"}, {"type": "image"}], "time": 1772352120},
        {"role": "assistant", "content": None},
        {"role": "user", "content": "seven dogs", "conversation_id": 7, "lang": "en"},
    ]
    with pytest.raises(InputError, match=r"line 1: .*time zone.*`zone=…`"):
        list(read_chat(lines))
    for bad in ({"role": "user"}, {"content": "x"}, {"role": "user", "content": 3}):
        with pytest.raises(InputError, match="line 1"):
            list(read_chat([bad]))
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        turns = read_chat(lines, session="s", zone=ZoneInfo("Europe/Berlin"))
        assert [one.verdict for one in memory.add_stream(turns, ME, dedupe=False)] == ["added"] * 3
        first, second, third = memory.list(ME)
        assert [record.text for record in (first, second, third)] == ["the cat sat", "on a mat", "seven dogs"]
        assert [(record.session, record.seq) for record in (first, second, third)] == [("s", 0), ("s", 1), ("7", 0)]
        assert first.event_time is not None and first.event_time[0] == datetime(2026, 3, 1, 7, tzinfo=UTC)
        assert second.source is not None and second.source.role == "assistant"


def test_what_is_extracted_is_derived_and_goes_with_its_source(tmp_path: Path, tiny_encoder: Encoder) -> None:
    def extract(record: MemoryRecord) -> Iterator[Any]:
        yield "a cat"
        yield {"text": "the cat is on a mat", "level": "summary", "tags": ["pet"]}
        yield {"keys": ["feline"]}

    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        scope = {"user": "u1", "run": "r"}
        id = memory.add("the cat sat on a mat", scope, language="de", event_time="2026-03-01T08:00Z").id
        fact, summary = memory.derive(id, extract, ME)
        record = memory.get(fact.id, ME)
        assert record is not None
        assert (record.kind, record.level, record.language, record.scope) == ("derived", "fact", "de", scope)
        assert record.event_time == memory.get(id, ME).event_time  # type: ignore[union-attr]
        assert memory.get(id, ME).keys == ("feline",)  # type: ignore[union-attr]
        assert memory.get(id, ME).text == "the cat sat on a mat"  # type: ignore[union-attr]
        found = memory.search("cat", ME)
        assert memory.context(found, 1000, len).text.count("\n") == 2
        assert memory.context(found[:1], 1000, len).text.count("\n") == 0
        small = memory.context(memory.search("cat", ME, levels=["turn"]), 19, len)
        assert [piece.text for piece in small.pieces] == ["the cat is on a mat"]
        assert set(memory.erase(id, ME).ids) == {id, fact.id, summary.id}
        with pytest.raises(InputError, match="extracted"):
            other = memory.add("warm rain", ME).id
            memory.derive(other, lambda _: [{"text": " "}], ME)


def test_session_is_cut_into_events(tmp_path: Path) -> None:
    cats, rain = vector_of("cats"), vector_of("rain")
    with open_memory(tmp_path / "m") as memory:
        for number in range(12):
            vector = cats if number < 6 else rain
            memory.add(f"turn {number}", ME, session="s", vector=vector, language="en")
        found = memory.events("s", ME)
        assert [len(event.ids) for event in found] == [6, 6] and all(event.id is None for event in found)
        with pytest.raises(InputError, match="no turns"):
            memory.events("other", ME)
        assert memory.list(ME, levels=["event"]) == []


def test_feedback_changes_the_ranking_of_its_scope_alone(tmp_path: Path, tiny_encoder: Encoder) -> None:
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        for scope in (ME, {"user": "u2"}):
            texts = ["the cat sat on a mat", "a cat ran home", "seven dogs ran home", "warm rain by night", "cat cat"]
            memory.add_batch(texts, scope)

        def scores(scope: dict[str, str]) -> list[tuple[str, float]]:
            return [(hit.text, hit.score) for hit in memory.search("cat home", scope, language="en")]

        before, others = scores(ME), scores({"user": "u2"})
        worst = memory.search("cat home", ME, language="en")[-1]
        done = [memory.feedback("cat home", [worst.id], ME, language="en") for _ in range(5)]
        after = scores(ME)
        assert after != before and scores({"user": "u2"}) == others
        record = memory.get(worst.id, ME)
        assert record is not None and record.accesses == 5 and record.accessed_at is not None
        with pytest.raises(InputError):
            memory.feedback("cat home", [], ME)
        with pytest.raises(InputError, match="scope"):
            memory.feedback("cat home", [worst.id], {"user": "u2"})
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:  # it is computed from the journal
        assert scores(ME) == after
        for one in reversed(done):
            memory.undo(one.operation, ME)
        assert scores(ME) == before
        assert left(tmp_path, "cat home, which was asked") == left(tmp_path, "cat home, which was asked")


def test_forgetting_has_a_trial_run_and_can_be_undone(tmp_path: Path, tiny_encoder: Encoder) -> None:
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        texts = ["the cat", "seven dogs", "warm rain", "fish"]
        ids = [memory.add(text, ME, importance=0.9 if text == "fish" else None).id for text in texts]
        memory.feedback("dogs", [ids[1]], ME)
        policy = Policy(retention_below=2, importance_below=0.5, keep=1)
        planned = memory.forget(policy, ME)
        assert set(planned.reasons) == {ids[0], ids[2]} and planned.operation is None
        assert len(memory.list(ME)) == 4
        done = memory.forget(policy, ME, dry_run=False)
        assert done.reasons.keys() == planned.reasons.keys() and done.operation is not None
        assert {record.id for record in memory.list(ME)} == {ids[1], ids[3]}
        assert {record.state for record in memory.list(ME, state="archived")} == {"archived"}
        memory.undo(done.operation, ME)
        assert len(memory.list(ME)) == 4
        assert memory.forget(Policy(unused_days=1), ME).reasons == {}
        for bad in ({}, {"keep": -1}, {"unused_days": "x"}, {"unused_days": 1, "levels": ["page"]}):
            with pytest.raises(InputError):
                Policy(**bad)


def test_reembed_moves_a_memory_to_another_encoder(
    tmp_path: Path, tiny_encoder: Encoder, calibrated_encoder: Encoder
) -> None:
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        ids = [memory.add(text, ME, language="en").id for text in ("the cat sat on a mat", "warm rain", "fish")]
        memory.update(ids[1], ME, "cold rain by night")
        before, versions = memory.list(ME), memory.versions(ids[1], ME)
    reembed(tmp_path / "m", tmp_path / "new", calibrated_encoder)
    with pytest.raises(FingerprintError):
        Memory.open(tmp_path / "new", tiny_encoder)
    with Memory.open(tmp_path / "new", calibrated_encoder) as memory:
        assert memory.list(ME) == before and memory.versions(ids[1], ME) == versions
        [hit] = memory.search("the cat sat on a mat", ME, 1, language="en", mode="dense")
        assert hit.id == ids[0] and hit.score == pytest.approx(1.0, abs=1e-5)
        memory.add("rice", ME)
    assert verify(tmp_path / "new", calibrated_encoder) == []
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        assert memory.list(ME) == before
    with pytest.raises(InputError, match="already"):
        reembed(tmp_path / "m", tmp_path / "new", calibrated_encoder)


def test_verify_names_what_is_damaged(tmp_path: Path, tiny_encoder: Encoder) -> None:
    def damaged(statement: str) -> list[str]:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        with Memory.open(folder, tiny_encoder) as memory:
            memory.add("the cat sat", ME)
            memory.add("warm rain", ME)
        connection = sqlite3.connect(folder / RECORDS)
        connection.execute(statement)
        connection.commit()
        connection.close()
        return [problem.what for problem in verify(folder, tiny_encoder)]

    assert damaged("UPDATE counters SET value = value") == []
    assert "memory_journal, entry 1" in damaged("UPDATE memory_journal SET changes = '[]' WHERE entry = 1")[0]
    assert "memory_records, record 1" in damaged("UPDATE memory_records SET strength = 9")[0]
    assert "memory_versions, row 1" in damaged("UPDATE memory_versions SET valid_to = 5")[0]
    assert "memory_links" in damaged("INSERT INTO memory_links VALUES (1, 'b', 2, 3)")[0]
    assert "n-grams" in damaged("UPDATE memory_versions SET grams = x'' WHERE row = 1")[0]
    assert "did not make it" in damaged("UPDATE memory_versions SET entry = 2 WHERE row = 1")[0]
    assert "hashes" in damaged("UPDATE memory_versions SET hash = x'00' WHERE row = 1")[0]
    assert "entries after 1 are missing" in damaged("DELETE FROM memory_journal WHERE entry = 2")[0]
    assert "entries before 2 are missing" in damaged("DELETE FROM memory_journal WHERE entry = 1")[0]


@pytest.mark.parametrize(
    ("table", "columns", "what"),
    [
        ("memory_records", {"state": "archived"}, "records are not"),
        ("memory_versions", {"valid_to": 5}, "versions are not"),
        ("memory_versions", {"scope": 2}, "versions are not"),
        ("memory_totals", {"last": 7}, "totals"),
    ],
)
def test_verify_compares_tables_whose_rows_are_undamaged(
    tmp_path: Path, tiny_encoder: Encoder, table: str, columns: dict[str, Any], what: str
) -> None:
    """A row with a valid checksum that contradicts another table, as written by a faulty program."""
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        memory.add("the cat sat", ME)
        memory.add("warm rain", {"user": "u2"})
        with memory.folder.writing():
            memory.folder.store.commit(lambda connection: rewrite(connection, table, columns))
    assert any(what in problem.what for problem in verify(tmp_path / "m", tiny_encoder))


def rewrite(connection: sqlite3.Connection, table: str, columns: dict[str, Any]) -> None:
    """Change the first row of a table, and its checksum."""
    names = schema.COVERED[table]
    values = connection.execute(f"SELECT {', '.join(names)} FROM {table} ORDER BY {names[0]}").fetchone()
    changed = dict(zip(names, values, strict=True)) | columns
    sets = ", ".join(f"{name} = ?" for name in (*columns, "crc"))
    crc = cells.crc_of(table, list(changed.values()))
    connection.execute(f"UPDATE {table} SET {sets} WHERE {names[0]} = ?", (*columns.values(), crc, values[0]))


def test_repair_makes_hashes_and_n_grams_again(tmp_path: Path, tiny_encoder: Encoder) -> None:
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        memory.add("the cat sat", ME, keys=["feline"])
    connection = sqlite3.connect(tmp_path / "m" / RECORDS)
    connection.execute("UPDATE memory_versions SET grams = x'', hash = x''")
    connection.commit()
    connection.close()
    with Memory.open(tmp_path / "m", tiny_encoder) as memory, pytest.raises(MlretError, match="n-grams of row 1"):
        memory.search("cat", ME)
    assert [problem.repaired for problem in verify(tmp_path / "m", tiny_encoder, repair=True)] == [True]
    assert verify(tmp_path / "m", tiny_encoder) == []


def test_a_vector_for_each_token_works_the_same(tmp_path: Path, tiny_token_encoder: Any) -> None:
    with Memory.open(tmp_path / "m", tiny_token_encoder) as memory:
        ids = [memory.add(text, ME).id for text in ("the cat sat on a mat", "warm rain by night", "seven dogs")]
        assert memory.add("the cat sat on a mat", ME).verdict == "duplicate"
        assert memory.search("the cat sat on a mat", ME, 1)[0].id == ids[0]
        memory.update(ids[1], ME, "cold rain")
        assert memory.erase(ids[0], ME).complete
        assert {hit.id for hit in memory.search("the cat", ME)} == set(ids[1:])
    assert left(tmp_path, "the cat sat on a mat") == []
    assert verify(tmp_path / "m", tiny_token_encoder) == []


def test_a_store_from_before_the_journal_is_refused(tmp_path: Path, tiny_encoder: Encoder) -> None:
    from mlret.index.index import Index

    Index.create(tmp_path / "m", tiny_encoder, kind="memory").close()
    with pytest.raises(InputError, match="journal"):
        Memory.open(tmp_path / "m", tiny_encoder)


def test_schema_is_made_with_the_folder(tmp_path: Path) -> None:
    open_memory(tmp_path / "m").close()
    with sqlite3.connect(tmp_path / "m" / RECORDS) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    made = {line.split()[2] for line in tables.SCHEMA.splitlines() if line.startswith("CREATE TABLE")}
    assert made <= names
