"""Test the readers of LongMemEval, LoCoMo, BEAM and MemoryAgentBench on small files of the published forms."""

from __future__ import annotations

import copy
import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mlret.errors import InputError, NotFound
from mlret.eval.readers import json_array
from mlret.eval.readers.beam_data import read_beam
from mlret.eval.readers.history import History, ReadingNotes
from mlret.eval.readers.json_array import read_array
from mlret.eval.readers.locomo_data import NO_AUDIT, read_audit, read_locomo
from mlret.eval.readers.longmemeval_data import NO_TARGET, read_longmemeval
from mlret.eval.readers.memoryagentbench_data import make_chunks, normalise_answer, read_memoryagentbench
from tests.eval.histories.published import (
    BEAM_CHAT,
    BEAM_QUESTIONS,
    LONGMEMEVAL,
    MEMORYAGENTBENCH,
    beam_chat,
    locomo_sample,
    longmemeval_instance,
    message,
    turn,
    write_json,
)


def at(*numbers: int) -> datetime:
    return datetime(*numbers, tzinfo=UTC)  # type: ignore[misc, arg-type]


def texts(history: History) -> dict[str, str]:
    return {document.id: document.text for document in history.documents}


def changed(content: Any, path: str, value: Any) -> Any:
    """Return a copy with another value at a path such as ``0.qa.1.category``; ``None`` deletes it."""
    copied = copy.deepcopy(content)
    *parts, last = [int(one) if one.isdigit() else one for one in path.split(".")]
    inner = copied
    for part in parts:
        inner = inner[part]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return copied


class TestJsonArray:
    def test_objects_are_read_across_blocks(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(json_array, "_BLOCK", 7)
        rows = [{"text": f'Zürich, [{number}] {{"x"}}, 東京', "n": number} for number in range(9)]
        for indent in (None, 2):
            path = tmp_path / f"{indent}.json"
            path.write_text(json.dumps(rows, ensure_ascii=False, indent=indent), encoding="utf-8")
            assert list(read_array(path, "row")) == list(enumerate(rows, start=1))
        packed = tmp_path / "rows.json.gz"
        packed.write_bytes(gzip.compress((tmp_path / "None.json").read_bytes()))
        assert [row for _, row in read_array(packed, "row")] == rows

    @pytest.mark.parametrize(
        ("content", "error"),
        [
            ("{}", "not a JSON array of rows"),
            ("[]", "has no rows"),
            ("[1]", "row 1: not an object"),
            ('[{"a": 1}, {"b"', "row 2: not JSON, or cut off"),
            ('[{"a": 1}', "row 2: not JSON, or cut off"),
        ],
    )
    def test_other_content_is_refused(self, tmp_path: Path, content: str, error: str) -> None:
        path = tmp_path / "rows.json"
        path.write_text(content, encoding="utf-8")
        with pytest.raises(InputError, match=rf"rows\.json: {error}"):
            list(read_array(path, "row"))


class TestLongMemEval:
    def read(self, tmp_path: Path, content: Any, unit: Any = "session") -> tuple[list[History], ReadingNotes]:
        notes = ReadingNotes()
        return list(read_longmemeval(write_json(tmp_path / "lme.json", content), unit, notes)), notes

    def test_a_session_is_all_that_the_user_said(self, tmp_path: Path) -> None:
        (first, second), notes = self.read(tmp_path, LONGMEMEVAL)
        assert texts(first) == {
            "filler_1": "What is a good name for a cat?",
            "answer_7_1": "My knees hurt. I bought the bicycle at the market.",
            "ultrachat_3": "How do trains brake?",
        }
        (question,) = first.questions
        assert (question.id, question.group, question.evidence, question.tags) == (
            "q1",
            "single-session-user",
            (1,),
            frozenset(),
        )
        assert question.at == at(2023, 5, 30, 21, 56)
        assert [document.at for document in first.documents] == [at(2023, 5, day, 3, 21) for day in (1, 2, 3)]
        # Only the assistant said what answers the second question: its session is renamed, and there is no target.
        assert list(texts(second)) == ["noans_8_1", "filler_1"]
        assert (second.questions[0].evidence, second.questions[0].tags) == ((), {NO_TARGET})
        assert notes.lines() == ["abstention questions, which are not scored: 1, e.g. 'q3_abs'"]

    def test_turns_have_the_number_that_they_have_in_the_session(self, tmp_path: Path) -> None:
        (first, second), _ = self.read(tmp_path, LONGMEMEVAL, "turn")
        assert texts(first) == {
            "filler_1_1": "What is a good name for a cat?",
            "noans_7_1_1": "My knees hurt.",
            "answer_7_1_3": "I bought the bicycle at the market.",
            "ultrachat_3_1": "How do trains brake?",
        }
        assert first.questions[0].evidence == (2,)
        assert list(texts(second)) == ["noans_8_1_1", "filler_1_1"]

    def test_a_session_that_occurs_twice_stays_two_documents(self, tmp_path: Path) -> None:
        instance = longmemeval_instance("q", {"answer_1": [turn("Yes.", has_answer=True)], "f": [turn("No.")]})
        for key in ("haystack_session_ids", "haystack_dates", "haystack_sessions"):
            instance[key] = [*instance[key], instance[key][1]]
        (history,), notes = self.read(tmp_path, [instance])
        assert [document.id for document in history.documents] == ["answer_1", "f", "f"]
        assert len({document.session for document in history.documents}) == 3
        assert notes.lines() == [
            "questions whose history contains a session twice; each copy is a document: 1, e.g. 'q'"
        ]

    @pytest.mark.parametrize(
        ("path", "value", "error"),
        [
            ("0.question", None, r"question 1 \('q1'\): question: Field required"),
            ("0.question_id", None, r"question 1 \('without question_id'\): question_id: Field required"),
            ("1.haystack_sessions.0.1.content", 3, r"question 2 \('q2'\): haystack_sessions\.0\.1\.content: "),
            ("1.haystack_dates", ["2023/05/01 (Mon) 03:21"], r"question 2 \('q2'\): haystack_session_ids.*differ"),
            ("0.haystack_dates.1", "May 1", r"question 1 \('q1'\): haystack_dates\.1: 'May 1' is not a time such as"),
            ("1.question_id", "q1", r"question 2 \('q1'\): the id is taken"),
            ("0.haystack_session_ids.1", "opaque", r"question 1 \('q1'\): no session id contains 'answer'"),
        ],
    )
    def test_errors_name_the_question(self, tmp_path: Path, path: str, value: Any, error: str) -> None:
        with pytest.raises(InputError, match=rf"lme\.json: {error}"):
            self.read(tmp_path, changed(LONGMEMEVAL, path, value))


class TestLocomo:
    def read(
        self, tmp_path: Path, content: Any, unit: Any = "turn", audit: Any = NO_AUDIT
    ) -> tuple[History, ReadingNotes]:
        notes = ReadingNotes()
        (history,) = read_locomo(write_json(tmp_path / "locomo10.json", content), unit, audit, notes)
        return history, notes

    def test_turns_name_who_speaks_and_what_is_in_a_picture(self, tmp_path: Path) -> None:
        history, notes = self.read(tmp_path, [locomo_sample()])
        assert texts(history) == {
            "D1:1": 'Ada said, "I painted a lake last year."',
            "D1:2": 'Ben said, "Look at this!" and shared a photo of a red kite',
            "D2:1": 'Ben said, "My sister moved to Oslo."',
            "D2:2": 'Ada said, "Does she like the snow?"',
        }
        assert [document.at for document in history.documents][1:3] == [
            at(2023, 5, 8, 13, 56),
            at(2023, 10, 13, 10, 31),
        ]
        assert {one.id: (one.group, one.evidence) for one in history.questions} == {
            "conv-1/0": ("single-hop", (0,)),
            "conv-1/1": ("temporal", (2,)),
            "conv-1/2": ("multi-hop", (None, 0)),
            "conv-1/3": ("open-domain", ()),
            "conv-1/4": ("adversarial", (0,)),
        }
        assert len(notes.lines()) == 2

    def test_the_first_of_two_turns_with_one_id_is_the_evidence(self, tmp_path: Path) -> None:
        sample = changed(locomo_sample(), "conversation.session_2.0.dia_id", "D1:1")
        history, notes = self.read(tmp_path, [sample])
        assert len(history.documents) == 4
        assert history.questions[0].evidence == (0,)
        assert "turns with the id of an earlier turn, which is the evidence: 1, e.g. 'conv-1/D1:1'" in notes.lines()

    def test_sessions_are_compared_by_the_number_in_the_evidence(self, tmp_path: Path) -> None:
        history, _ = self.read(tmp_path, [locomo_sample()], "session")
        assert list(texts(history)) == ["S1", "S2"]
        assert texts(history)["S2"] == 'Ben said, "My sister moved to Oslo."\nAda said, "Does she like the snow?"'
        # "D1:2; D2:2" begins with session 1, to which the repository's comparison cuts it.
        assert [one.evidence for one in history.questions] == [(0,), (1,), (0, 0), (), (0,)]
        summaries, _ = self.read(tmp_path, [locomo_sample()], "summary")
        assert texts(summaries)["S1"] == "Ada painted a lake, and Ben showed a kite."
        with pytest.raises(InputError, match="session_summary: session_1_summary is missing"):
            self.read(tmp_path, [locomo_sample(session_summary={})], "summary")

    def test_an_audit_leaves_out_wrong_answers_and_corrects_evidence(self, tmp_path: Path) -> None:
        errors = [
            {
                "question_id": "locomo_0_qa2",
                "question": "What do Ada and Ben like?",
                "error_type": "WRONG_CITATION",
                "correct_evidence": ["D1:2", "D2:2"],
            },
            {"question_id": "locomo_0_qa1", "error_type": "TEMPORAL_ERROR", "correct_evidence": ["D2:1"]},
        ]
        folder = tmp_path / "audit"
        folder.mkdir()
        write_json(folder / "errors_conv_0.json", errors[:1])
        write_json(folder / "errors_conv_1.json", errors[1:])
        for path in (folder, write_json(tmp_path / "errors.json", errors)):
            history, notes = self.read(tmp_path, [locomo_sample()], audit=read_audit(path))
            found = {one.id: one.evidence for one in history.questions}
            assert "conv-1/1" not in found
            assert found["conv-1/2"] == (1, 3)
            assert (
                "questions left out because the audit lists their answer as wrong: 1, e.g. 'conv-1/1'" in notes.lines()
            )
        listed = tmp_path / "ids.txt"
        listed.write_text("locomo_0_qa0\n\nlocomo_0_qa4\n", encoding="utf-8")
        history, _ = self.read(tmp_path, [locomo_sample()], audit=read_audit(listed))
        assert [one.id for one in history.questions] == ["conv-1/1", "conv-1/2", "conv-1/3"]

    def test_an_audit_of_another_file_is_refused(self, tmp_path: Path) -> None:
        def audit(id: str, question: str = "What did Ada paint?") -> Any:
            error = {"question_id": id, "question": question, "error_type": "AMBIGUOUS"}
            return read_audit(write_json(tmp_path / "errors.json", [error]))

        with pytest.raises(InputError, match=r"question 0 is 'What did Ada paint\?', but the audit has 'Who\?' as"):
            self.read(tmp_path, [locomo_sample()], audit=audit("locomo_0_qa0", "Who?"))
        with pytest.raises(InputError, match="has 5 questions, but the audit names locomo_0_qa9"):
            self.read(tmp_path, [locomo_sample()], audit=audit("locomo_0_qa9"))
        with pytest.raises(InputError, match=r"the audit names locomo_3_qa0, but .* has 1 conversations"):
            self.read(tmp_path, [locomo_sample()], audit=audit("locomo_3_qa0"))
        with pytest.raises(InputError, match="'3' is not a question such as locomo_0_qa2"):
            audit("3")
        (tmp_path / "ids.txt").write_text("qa2\n", encoding="utf-8")
        with pytest.raises(InputError, match=r"ids\.txt:1: 'qa2' is not a question such as locomo_0_qa2"):
            read_audit(tmp_path / "ids.txt")
        with pytest.raises(InputError, match=r"has no errors_conv_\*\.json"):
            read_audit(tmp_path)
        with pytest.raises(InputError, match=r"errors\.json: error 1: error_type: Field required"):
            read_audit(write_json(tmp_path / "errors.json", [{"question_id": "locomo_0_qa0"}]))

    @pytest.mark.parametrize(
        ("path", "value", "error"),
        [
            ("0.qa", None, r"conversation 1 \('conv-1'\): qa: Field required"),
            ("0.sample_id", None, r"conversation 1 \('without sample_id'\): sample_id: Field required"),
            ("0.qa.1.category", 7, r"conversation 1 \('conv-1'\): question 1: category 7 is not one of 1 to 5"),
            ("0.conversation.session_1.0.text", None, r"conversation 1 .*: session_1\.0: text: Field required"),
            ("0.conversation.session_2", "x", r"conversation 1 .*: session_2: not a list of turns"),
            (
                "0.conversation.session_2_date_time",
                "May",
                r"conversation 1 .*: session_2_date_time: 'May' is not a time",
            ),
        ],
    )
    def test_errors_name_the_conversation(self, tmp_path: Path, path: str, value: Any, error: str) -> None:
        with pytest.raises(InputError, match=rf"locomo10\.json: {error}"):
            self.read(tmp_path, changed([locomo_sample()], path, value))
        with pytest.raises(InputError, match=r"locomo10\.json: not a list of conversations"):
            self.read(tmp_path, locomo_sample())


class TestBeam:
    def read(self, folder: Path, unit: Any) -> tuple[list[History], ReadingNotes]:
        notes = ReadingNotes()
        return list(read_beam(folder, unit, notes)), notes

    def test_messages_and_their_evidence(self, tmp_path: Path) -> None:
        beam_chat(tmp_path / "2", BEAM_CHAT, BEAM_QUESTIONS)
        (history,), notes = self.read(tmp_path, "message")
        assert [document.text for document in history.documents][:3] == [
            "My sprint ends on March 29. ->-> 1,1",
            "Good luck with it.",
            "I use Flask for the tracker.",
        ]
        assert [document.role for document in history.documents] == ["user", "assistant"] * 4
        assert [document.at for document in history.documents] == [at(2024, 3, 15)] * 6 + [at(2024, 4, 19)] * 2
        assert {one.id: (one.group, one.evidence) for one in history.questions} == {
            "2/information_extraction/0": ("information_extraction", (0,)),
            "2/contradiction_resolution/0": ("contradiction_resolution", (4, 5)),
        }
        assert [line.rpartition(": ")[0] for line in notes.lines()] == [
            "abstention questions, which have no evidence",
            "questions left out because a message of source_chat_ids is not in the chat",
            "questions left out because they have no source_chat_ids",
        ]

    @pytest.mark.parametrize(("unit", "number", "evidence"), [("pair", 4, (2, 2)), ("turn", 3, (1, 1))])
    def test_several_messages_in_one_document(self, tmp_path: Path, unit: str, number: int, evidence: Any) -> None:
        (history,), _ = self.read(beam_chat(tmp_path / "1", BEAM_CHAT, BEAM_QUESTIONS), unit)
        assert len(history.documents) == number
        assert history.questions[1].evidence == evidence
        last = history.documents[-1].text
        assert last == "USER: The dashboard answers in 250 ms.\n\nASSISTANT: That is fast."

    def test_chats_of_several_plans_may_repeat_an_id(self, tmp_path: Path) -> None:
        plans = [{"plan-1": [BEAM_CHAT[0]], "plan-2": None}, {"plan-1": None, "plan-2": [BEAM_CHAT[1], BEAM_CHAT[1]]}]
        questions = {
            "knowledge_update": [{"question": "?", "source_chat_ids": [[6]]}, *BEAM_QUESTIONS["information_extraction"]]
        }
        (history,), notes = self.read(beam_chat(tmp_path, plans, questions), "message")
        assert len(history.documents) == 10
        assert [one.evidence for one in history.questions] == [(0,)]
        assert "several messages have an id" in notes.lines()[0]

    def test_what_is_malformed_is_noted(self, tmp_path: Path) -> None:
        questions = {"summarization": [{"question": "?", "source_chat_ids": [0, "one"]}], **BEAM_QUESTIONS}
        chat = changed(changed(BEAM_CHAT, "1.turns.0.0.time_anchor", "2024"), "0.turns.0.1.id", None)
        (history,), notes = self.read(beam_chat(tmp_path, chat, questions), "message")
        assert "2/summarization/0" not in {one.id for one in history.questions}
        assert len(history.documents) == 8
        # The day of the first batch holds on.
        assert {document.at for document in history.documents} == {at(2024, 3, 15)}
        assert [line.rpartition(": ")[0] for line in notes.lines()][:2] == [
            "time anchors that are ignored because they are no day such as March-15-2024",
            "questions left out because source_chat_ids has something else than ids",
        ]

    def test_the_chat_that_the_repository_reads_is_read(self, tmp_path: Path) -> None:
        beam_chat(tmp_path / "10", BEAM_CHAT, BEAM_QUESTIONS)
        beam_chat(tmp_path / "9", BEAM_CHAT, BEAM_QUESTIONS)
        beam_chat(tmp_path / "9", BEAM_CHAT[:1], BEAM_QUESTIONS, "chat_trunecated.json")
        histories, _ = self.read(tmp_path, "message")
        assert [(history.id, len(history.documents)) for history in histories] == [("9", 6), ("10", 8)]

    @pytest.mark.parametrize(
        ("path", "value", "error"),
        [
            ("0.turns.0.1.content", 3, r"chat\.json: batch 1: turns\.0\.1\.content: Input should be a valid string"),
            ("0", [], r"chat\.json: batch 1: not an object"),
        ],
    )
    def test_errors_name_the_batch(self, tmp_path: Path, path: str, value: Any, error: str) -> None:
        beam_chat(tmp_path, changed(BEAM_CHAT, path, value), BEAM_QUESTIONS)
        with pytest.raises(InputError, match=error):
            self.read(tmp_path, "message")

    def test_errors_name_the_question(self, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match="no such folder"):
            self.read(tmp_path / "100K", "pair")
        with pytest.raises(InputError, match="has no chat"):
            self.read(tmp_path, "pair")
        beam_chat(tmp_path, BEAM_CHAT, {"summarization": [{"source_chat_ids": [1]}]})
        with pytest.raises(InputError, match=r"probing_questions\.json: summarization\.0: question: Field required"):
            self.read(tmp_path, "pair")
        beam_chat(tmp_path, [{"turns": [[message(0, " ")]]}], {})
        with pytest.raises(InputError, match="has no message"):
            self.read(tmp_path, "pair")


class TestMemoryAgentBench:
    def read(self, path: Path, sources: Any = ("ruler_qa*",)) -> tuple[list[History], ReadingNotes]:
        notes = ReadingNotes()
        return list(read_memoryagentbench(path, sources, 70, "en", notes)), notes

    def test_chunks_that_contain_an_answer_are_relevant(self, tmp_path: Path) -> None:
        lines = tmp_path / "rows.jsonl"
        lines.write_text("".join(json.dumps(row) + "\n" for row in MEMORYAGENTBENCH), encoding="utf-8")
        for path in (write_json(tmp_path / "rows.json", MEMORYAGENTBENCH), lines):
            (history,), notes = self.read(path)
            assert [document.text for document in history.documents] == [
                "Document 1: The capital of Norland is Brigga. It rains there.",
                "Document 2: Otto Falk painted The Mill.",
            ]
            # The king is in no chunk. Articles and punctuation are not compared.
            assert [one.evidence for one in history.questions] == [(0,), (1,)]
            assert len(notes.lines()) == 2

    def test_parquet_has_the_same_rows(self, tmp_path: Path) -> None:
        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        sessions = [[[{"content": "x", "has_answer": True, "role": "user"}]]]
        rows = changed(MEMORYAGENTBENCH, "0.metadata.haystack_sessions", sessions)
        rows[1]["metadata"] |= {"haystack_sessions": None, "qa_pair_ids": None}
        parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
        (packed,), _ = self.read(tmp_path / "rows.parquet")
        (plain,), _ = self.read(write_json(tmp_path / "rows.json", MEMORYAGENTBENCH))
        assert packed == plain

    def test_answers_are_compared_without_case_punctuation_and_articles(self) -> None:
        assert normalise_answer(" The  U.S. (a country), an Island ") == "us country island"

    def test_chunks_are_no_longer_than_asked_unless_a_sentence_is(self) -> None:
        text = "One two three. Four five. " + "Word " * 30 + "end. Six."
        chunks = make_chunks(text, 30, "en")
        assert chunks[0] == "One two three. Four five."
        assert [len(one) <= 30 for one in chunks] == [True, False, True]
        assert " ".join(chunks).split() == text.split()

    def test_errors_name_the_row(self, tmp_path: Path) -> None:
        path = tmp_path / "rows.json"
        with pytest.raises(
            InputError, match="has no text of longmemeval; its sources are ruler_qa1_197K, eventqa_full"
        ):
            self.read(write_json(path, MEMORYAGENTBENCH), ("longmemeval",))
        with pytest.raises(InputError, match=r"rows\.json: row 1: context: Field required"):
            self.read(write_json(path, changed(MEMORYAGENTBENCH, "0.context", None)))
        with pytest.raises(InputError, match="row 1: 3 questions, but 2 answers"):
            self.read(write_json(path, changed(MEMORYAGENTBENCH, "0.answers.0", None)))
        (tmp_path / "rows.jsonl").write_text("{\n", encoding="utf-8")
        with pytest.raises(InputError, match=r"rows\.jsonl:1: not JSON"):
            self.read(tmp_path / "rows.jsonl")
