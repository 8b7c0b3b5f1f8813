"""Test that vectors show kinds of sentences: as fitted, in languages without a sentence of theirs, and in a memory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mlret.encoders.encoder import Encoder
from mlret.encoders.loading import load_encoder
from mlret.memory.memory import Memory
from mlret.memory.text.cues import cues_of
from mlret.memory.text.sentence_kinds import QUESTIONS, STATEMENTS, SentenceKinds, bundled_kinds

DAY = datetime(2024, 3, 1, 12, tzinfo=UTC)
# Kind -> statements without a cue of it, in languages of which no sentence was fitted.
UNSEEN = {
    "like": [
        ("it", "Per i tortellini farei qualunque cosa."),
        ("nl", "Met stroopwafels maak je me heel blij."),
    ],
    "harm": [("pt", "Camarão deixa a minha boca a arder."), ("pl", "Od truskawek całe ciało mam w krostach.")],
    "plan": [("it", "Quest'estate si parte per la Norvegia."), ("it", "Quest'inverno imparo a suonare la chitarra.")],
}


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    found = load_encoder(None)
    assert isinstance(found, Encoder)
    return found


@pytest.fixture(scope="module")
def kinds(encoder: Encoder) -> SentenceKinds:
    found = bundled_kinds(encoder.fingerprint, encoder.dims)
    assert found is not None
    return found


def test_every_kind_has_weights_and_other_encoders_have_none(encoder: Encoder, kinds: SentenceKinds) -> None:
    assert kinds.weights.shape == (encoder.dims + 1, len(STATEMENTS) + len(QUESTIONS))
    assert bundled_kinds("other", encoder.dims) is None
    assert bundled_kinds(encoder.fingerprint, encoder.dims // 2) is None


@pytest.mark.parametrize("kind", UNSEEN)
def test_kinds_are_found_in_languages_without_sentences(encoder: Encoder, kinds: SentenceKinds, kind: str) -> None:
    texts = UNSEEN[kind]
    vectors = encoder.encode_document([text for _, text in texts], language=[code for code, _ in texts])
    assert all(kind not in cues_of(text, code) for code, text in texts)
    assert (kinds.statements(vectors)[kind] > 0.5).all()
    rain = encoder.encode_document(["The rain fell on the roof of the station."], language=["en"])
    assert kinds.statements(rain)[kind][0] < 0.5


def test_a_danger_without_a_listed_word_comes_before_a_liking(tmp_path: Path) -> None:
    me = {"user": "u"}
    with Memory.open(tmp_path / "memory") as memory:
        texts = [
            "I could eat prawns every day of the week.",
            "Prawns make me ill every time I have them.",
            "The prawn boats left the harbour at six.",
            "The stairs were cleaned.",
        ]
        ids = [
            memory.add(text, me, language="en", event_time=DAY + timedelta(days=day)).id
            for day, text in enumerate(texts)
        ]
        assert not any(cues_of(text, "en") for text in texts)
        hits = memory.search("Should I order prawns?", me, language="en")
        assert hits[0].id == ids[1]
        assert {hit.id: hit.yields_to for hit in hits}[ids[0]] == (ids[1],)
