"""Small files in the forms in which LongMemEval, LoCoMo, BEAM and MemoryAgentBench are published, with made-up text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Json = dict[str, Any]


def turn(content: str, role: str = "user", *, has_answer: bool | None = None) -> Json:
    """Return a turn of LongMemEval, labelled only if asked, as in the published files."""
    return {"role": role, "content": content, **({} if has_answer is None else {"has_answer": has_answer})}


def longmemeval_instance(id: str, sessions: dict[str, list[Json]], **other: Any) -> Json:
    """Return a question of LongMemEval whose history has these sessions."""
    return {
        "question_id": id,
        "question_type": "single-session-user",
        "question": "Where did I buy the bicycle?",
        "answer": "at the market",
        "question_date": "2023/05/30 (Tue) 21:56",
        "haystack_session_ids": list(sessions),
        "haystack_dates": [f"2023/05/{day:02} (Sat) 03:21" for day in range(1, len(sessions) + 1)],
        "haystack_sessions": list(sessions.values()),
        "answer_session_ids": [name for name in sessions if "answer" in name],
        **other,
    }


LONGMEMEVAL = [
    longmemeval_instance(
        "q1",
        {
            "filler_1": [turn("What is a good name for a cat?"), turn("Try Milo.", "assistant")],
            "answer_7_1": [
                turn("My knees hurt.", has_answer=False),
                turn("Rest them.", "assistant", has_answer=False),
                turn("I bought the bicycle at the market.", has_answer=True),
            ],
            "ultrachat_3": [turn("How do trains brake?"), turn("With air.", "assistant")],
        },
    ),
    longmemeval_instance(
        "q2",
        {
            "answer_8_1": [
                turn("Which soup suits me?", has_answer=False),
                turn("You said that leek soup does.", "assistant", has_answer=True),
            ],
            "filler_1": [turn("Tell me about rivers."), turn("They flow.", "assistant")],
        },
        question_type="single-session-assistant",
        question="Which soup did you name?",
    ),
    longmemeval_instance("q3_abs", {"filler_9": [turn("Hello there.")]}, answer_session_ids=[]),
]


def locomo_sample(**other: Any) -> Json:
    """Return a conversation of LoCoMo."""
    return {
        "sample_id": "conv-1",
        "conversation": {
            "speaker_a": "Ada",
            "speaker_b": "Ben",
            "session_1_date_time": "1:56 pm on 8 May, 2023",
            "session_1": [
                {"speaker": "Ada", "dia_id": "D1:1", "text": "I painted a lake last year."},
                {
                    "speaker": "Ben",
                    "dia_id": "D1:2",
                    "text": "Look at this!",
                    "blip_caption": "a photo of a red kite",
                    "img_url": ["https://example.org/kite.jpg"],
                    "query": "kite",
                },
            ],
            "session_2_date_time": "10:31 am on 13 October, 2023",
            "session_2": [
                {"speaker": "Ben", "dia_id": "D2:1", "text": "My sister moved to Oslo."},
                {"speaker": "Ada", "dia_id": "D2:2", "text": "Does she like the snow?"},
            ],
        },
        "qa": [
            {"question": "What did Ada paint?", "answer": "a lake", "evidence": ["D1:1"], "category": 4},
            {"question": "Where did the sister of Ben move?", "answer": "Oslo", "evidence": ["D2:1"], "category": 2},
            {
                "question": "What do Ada and Ben like?",
                "answer": "kites",
                "evidence": ["D1:2; D2:2", "D1:1"],
                "category": 1,
            },
            {"question": "Is Ada an artist?", "answer": "likely", "evidence": [], "category": 3},
            {
                "question": "What did Ben paint?",
                "adversarial_answer": "a lake",
                "evidence": ["D1:1"],
                "category": 5,
            },
        ],
        "session_summary": {
            "session_1_summary": "Ada painted a lake, and Ben showed a kite.",
            "session_2_summary": "The sister of Ben moved to Oslo.",
        },
        "observation": {},
        "event_summary": {},
        **other,
    }


def beam_chat(folder: Path, chat: list[Any], questions: Json, name: str = "chat.json") -> Path:
    """Write the folder of a chat of BEAM."""
    (folder / "probing_questions").mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(chat), encoding="utf-8")
    (folder / "probing_questions" / "probing_questions.json").write_text(json.dumps(questions), encoding="utf-8")
    return folder


def message(id: int, content: str, role: str = "user", **other: Any) -> Json:
    """Return a message of BEAM."""
    return {"role": role, "id": id, "content": content, **other}


BEAM_CHAT: list[Any] = [
    {
        "batch_number": 1,
        "turns": [
            [
                message(0, "My sprint ends on March 29. ->-> 1,1", time_anchor="March-15-2024", index="1,1"),
                message(1, "Good luck with it.", "assistant"),
                message(2, "I use Flask for the tracker."),
                message(3, "A fine choice.", "assistant"),
            ],
            [message(4, "I never wrote a route. ->-> 1,2"), message(5, "Then let us write one.", "assistant")],
        ],
    },
    {
        "batch_number": 2,
        "turns": [
            [
                message(6, "The dashboard answers in 250 ms.", time_anchor="April-19-2024"),
                message(7, "That is fast.", "assistant"),
            ]
        ],
    },
]
BEAM_QUESTIONS: Json = {
    "abstention": [{"question": "Which school did I attend?", "rubric": []}],
    "information_extraction": [{"question": "When does my sprint end?", "source_chat_ids": [0], "rubric": []}],
    "contradiction_resolution": [
        {
            "question": "Have I written routes?",
            "source_chat_ids": {"first_statement": [4], "second_statement": [5]},
            "rubric": [],
        }
    ],
    "knowledge_update": [
        {"question": "How fast is the dashboard?", "source_chat_ids": {"original_info": [6], "updated_info": [99]}},
        {"question": "What is new?", "source_chat_ids": []},
    ],
}
MEMORYAGENTBENCH: list[Json] = [
    {
        "context": "Document 1: The capital of Norland is Brigga. It rains there.\n"
        "Document 2: Otto Falk painted The Mill.",
        "questions": ["What is the capital of Norland?", "Who painted the mill?", "Who is the king?"],
        "answers": [["Brigga!"], ["the Otto Falk", "Falk the elder"], ["nobody"]],
        "metadata": {"source": "ruler_qa1_197K", "qa_pair_ids": ["1", "2", "3"]},
    },
    {
        "context": "A long novel. Then he left.",
        "questions": ["What happens next?"],
        "answers": [["He leaves."]],
        "metadata": {"source": "eventqa_full"},
    },
]


def write_json(path: Path, content: Any) -> Path:
    """Write a JSON file, and return its path."""
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
