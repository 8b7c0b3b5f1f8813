"""Test with the bundled encoder that what changes a fact is linked to what it changes, in 27 languages, and undone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import numpy as np
import pytest

from mlret.data.sample import load_sample
from mlret.data.sentences import split_sentences
from mlret.eval.memory.near_misses import near_misses
from mlret.memory.maintenance.upkeep import verify
from mlret.memory.memory import Memory
from mlret.memory.search.ranking import Ranking
from mlret.memory.text.changes import said_in, stems_of
from mlret.memory.text.cues import LANGUAGES, cues_of, leading_persons_of, persons_of

DAY = datetime(2024, 3, 1, 12, tzinfo=UTC)
# Language -> an address and a move, with no word of a place in common.
MOVES = {
    "ar": ("أسكن في بغداد قرب النهر.", "انتقلنا أمس إلى البصرة."),
    "bg": ("Живея в София, близо до парка.", "Преместихме се във Варна миналата седмица."),
    "cs": ("Bydlím v Praze u řeky.", "Minulý týden jsme se přestěhovali do Brna."),
    "da": ("Jeg bor i Odense ved havnen.", "Vi er flyttet til Aarhus i sidste uge."),
    "de": ("Ich wohne in Bremen am Hafen.", "Letzte Woche sind wir nach Kassel umgezogen."),
    "el": ("Μένω στην Αθήνα κοντά στο πάρκο.", "Μετακομίσαμε στην Πάτρα την περασμένη εβδομάδα."),
    "en": ("I live in Bergen by the harbour.", "We moved to Oslo last week."),
    "es": ("Vivo en Sevilla, cerca del río.", "La semana pasada nos mudamos a Gijón."),
    "fi": ("Asun Turussa joen rannalla.", "Muutimme viime viikolla Ouluun."),
    "fr": ("J'habite à Lille, près du parc.", "Nous avons déménagé à Nice la semaine dernière."),
    "he": ("אני גר בחיפה ליד הים.", "עברנו לירושלים בשבוע שעבר."),
    "hi": ("मैं भोपाल में झील के पास रहता हूँ।", "पिछले हफ़्ते हम इंदौर चले गए।"),
    "id": ("Saya tinggal di Bandung dekat taman.", "Minggu lalu kami pindah ke Malang."),
    "it": ("Vivo a Torino vicino al fiume.", "La settimana scorsa ci siamo trasferiti a Bari."),
    "ja": ("私は札幌の公園の近くに住んでいる。", "先週、福岡に引っ越した。"),
    "ko": ("나는 대전의 공원 근처에 산다.", "지난주에 광주로 이사했다."),
    "nl": ("Ik woon in Utrecht bij het park.", "Vorige week zijn we naar Groningen verhuisd."),
    "pl": ("Mieszkam w Krakowie nad rzeką.", "W zeszłym tygodniu przeprowadziliśmy się do Gdańska."),
    "pt": ("Moro em Coimbra, perto do rio.", "Na semana passada mudamos para Braga."),
    "ro": ("Locuiesc la Cluj, lângă parc.", "Săptămâna trecută ne-am mutat la Iași."),
    "ru": ("Я живу в Самаре у реки.", "На прошлой неделе мы переехали в Пермь."),
    "sv": ("Jag bor i Malmö vid hamnen.", "Förra veckan flyttade vi till Uppsala."),
    "sw": ("Ninaishi Arusha karibu na mto.", "Wiki iliyopita tulihamia Dodoma."),
    "tr": ("Bursa'da parkın yanında oturuyorum.", "Geçen hafta Adana'ya taşındık."),
    "uk": ("Я живу у Львові біля парку.", "Минулого тижня ми переїхали до Одеси."),
    "vi": ("Tôi sống ở Huế gần sông.", "Tuần trước chúng tôi chuyển đến Đà Nẵng."),
    "zh": ("我住在南京，离公园很近。", "上周我们搬到了武汉。"),
}
CHANGES = [
    ("en", "My favourite tea is green tea.", "I don't drink green tea any more, my favourite tea is now mint."),
    ("en", "The concert is on 4 May.", "Correction: the concert is on 11 May."),
    ("de", "Im Herbst wollen wir nach Rom fliegen.", "Der Flug nach Rom ist abgesagt, wir bleiben im Herbst daheim."),
    ("fr", "Le code de la porte est 4821.", "Erreur de ma part : le code de la porte est 4218."),
    ("es", "La clase de yoga es el lunes.", "Corrijo: la clase de yoga es el martes."),
    ("ja", "会議は3月4日です。", "訂正します。会議は3月6日です。"),
    ("ru", "Я люблю кофе с молоком.", "Я больше не пью кофе с молоком."),
]
OTHERS = [
    ("en", "I live in Bergen by the harbour.", "My sister moved to Oslo last week."),
    ("en", "My brother lives in Bergen.", "My sister moved to Oslo last week."),
    ("en", "Serviced the car, it cost 90 pounds.", "Serviced the car, it cost 110 pounds."),
    ("en", "I live in Bergen by the harbour.", "Do you know whether Anna moved to Oslo?"),
    ("en", "The bakery sells rye bread.", "They moved the old piano to the church."),
    ("de", "Ich mag Kaffee.", "Anna mag Tee."),
    ("en", "My son loves strawberries.", "My son is allergic to nuts."),
]


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Memory]:
    with Memory.open(tmp_path_factory.mktemp("changes") / "memory") as memory:
        yield memory


users = count()


def replaced(memory: Memory, user: dict[str, str]) -> set[tuple[str, str]]:
    """Return the pairs of records of a user of which the first replaces the second."""
    return {
        (record.id, link.target)
        for record in memory.list(user, limit=1000)
        for link in record.links
        if link.type in ("supersedes", "contradicts")
    }


def tell(memory: Memory, language: str, *texts: str, **about: Any) -> tuple[dict[str, str], list[str]]:
    """Store texts on days that follow each other, as those of a new user; return the user and the ids."""
    user = {"user": f"u{next(users)}"}
    times = (DAY + timedelta(days=day) for day in range(len(texts)))
    ids = [
        memory.add(text, user, language=language, event_time=at, **about).id
        for text, at in zip(texts, times, strict=False)
    ]
    return user, ids


def test_every_language_has_every_list() -> None:
    assert set(MOVES) == set(LANGUAGES) and len(LANGUAGES) == 27


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_move_replaces_the_address_in_every_language(memory: Memory, language: str) -> None:
    user, (old, new) = tell(memory, language, *MOVES[language])
    assert replaced(memory, user) == {(new, old)}


@pytest.mark.parametrize(("language", "before", "after"), CHANGES)
def test_changes_replace_what_they_change(memory: Memory, language: str, before: str, after: str) -> None:
    user, (old, new) = tell(memory, language, before, after)
    assert replaced(memory, user) == {(new, old)}


@pytest.mark.parametrize(("language", "before", "after"), OTHERS)
def test_other_people_occasions_and_questions_replace_nothing(
    memory: Memory, language: str, before: str, after: str
) -> None:
    user, _ = tell(memory, language, before, after)
    assert replaced(memory, user) == set()


@pytest.mark.parametrize("language", ["en", "de", "hi"])
def test_sentences_and_their_near_misses_supersede_nothing(memory: Memory, language: str) -> None:
    sample = load_sample()
    passages = [passage.text for passage in sample.passages if passage.language == language][:12]
    sentences = list(dict.fromkeys(one for text in passages for one in split_sentences(text, language)))
    random = np.random.default_rng(0)
    misses = [miss.text for one in sentences for miss in near_misses(one, language, random) if miss.kind != "negation"]
    assert len(sentences) > 40 and len(misses) > 10
    user = {"user": f"u{next(users)}"}
    memory.add_batch([{"text": text, "language": language} for text in [*sentences, *misses]], user)
    assert replaced(memory, user) == set()


def test_the_older_record_ranks_below_and_says_since_when(memory: Memory) -> None:
    user, (old, new) = tell(memory, "en", *MOVES["en"])
    hits = memory.search("In which city by the harbour do I live?", user, language="en", conflicts=True)
    assert [hit.id for hit in hits] == [new, old]
    assert hits[1].yields_to == (new,) and any("since 2024-03-02" in reason for reason in hits[1].why)
    assert [[record.id for record in hit.conflicts] for hit in hits] == [[old], [new]]
    [then] = memory.search("In which city do I live?", user, language="en", as_of=DAY + timedelta(hours=1))
    assert then.id == old and then.yields_to == ()


def test_questions_about_the_past_reverse_the_order(memory: Memory) -> None:
    moved = "Yesterday we moved to Tromsø."
    user, (first, second, third) = tell(memory, "en", *MOVES["en"], moved)

    def best(question: str, **how: Any) -> str:
        return memory.search(question, user, language="en", now=DAY + timedelta(days=300), **how)[0].id

    assert best("Where do I live now?") == third
    assert best("Where did I live before I moved to Tromsø?") == second
    assert best("Where did I live before?") == second
    # On the day that the question names nothing had replaced the first record.
    assert first not in {hit.id for hit in memory.search("Where did I live on 1 March 2024?", user, language="en")[1:]}
    hits = memory.search("Where did I live on 1 March 2024?", user, language="en", ranking=Ranking(succession=False))
    assert all(hit.yields_to == () for hit in hits)


def test_undo_and_erase_leave_no_succession(memory: Memory) -> None:
    user, (old, new) = tell(memory, "en", *MOVES["en"])
    operation = memory.history(new, user)[0].operation
    memory.undo(operation, user)
    assert [hit.yields_to for hit in memory.search("Where do I live?", user, language="en")] == [()]
    user, (old, new) = tell(memory, "en", *MOVES["en"])
    memory.erase(new, user)
    [left] = memory.search("Where do I live?", user, language="en")
    assert (left.id, left.yields_to) == (old, ()) and replaced(memory, user) == set()
    assert verify(memory.path) == []


def test_records_that_arrive_late_are_replaced_by_later_ones(memory: Memory) -> None:
    user = {"user": f"u{next(users)}"}
    before, after = MOVES["en"]
    new = memory.add(after, user, language="en", event_time=DAY).id
    old = memory.add(before, user, language="en", event_time=DAY - timedelta(days=5)).id
    assert replaced(memory, user) == {(new, old)}
    operation = memory.history(old, user)[0].operation
    memory.undo(operation, user)
    assert [hit.id for hit in memory.search("Where do I live?", user, language="en")] == [new]


def test_nobody_takes_back_what_another_one_said(memory: Memory) -> None:
    user = {"user": f"u{next(users)}"}
    for day, (name, text) in enumerate(zip(("Ann", "Ben"), MOVES["en"], strict=True)):
        memory.add(text, user, language="en", event_time=DAY + timedelta(days=day), source={"role": name})
    assert replaced(memory, user) == set()


def test_cues_and_persons_are_read_as_words() -> None:
    assert "ended" in cues_of("I no longer eat meat", "en") and not cues_of("The snow was knee-deep", "en")
    assert cues_of("I no longer eat meat", None) == cues_of("I no longer eat meat", "th") == frozenset()
    assert persons_of("My sister's bike", "en") == {"sister"} and persons_of("The sisterhood", "en") == frozenset()
    assert leading_persons_of("The whole day I waited for my brother", "en") == frozenset()


def test_stems_leave_out_small_words_and_persons() -> None:
    assert stems_of("My brother and I walked to the harbour", "en") == ["walke", "harbo"]
    assert stems_of("我住在南京", "zh") == ["我住", "住在", "在南", "南京"]
    assert said_in("Seven dogs", "th").cues == frozenset()
