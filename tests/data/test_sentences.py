"""Test that sentences in many languages are split where a reader would split them, and that no text is lost."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret.data.sentence_breaks import cut_at_ends
from mlret.data.sentences import LONGEST_SENTENCE, split_sentences

WITHOUT_SPACES = {"ja", "yue", "zh", "zh-Hant"}

EVERYDAY = {
    "af": ["Die kat slaap.", "Waar is die melk?", "Mnr. Botha kom môre om 8 uur."],
    "am": ["ድመቷ ተኝታለች።", "ወተቱ የት ነው?", "ነገ እንገናኛለን።"],
    "ar": ["القطة نائمة.", "أين الحليب؟", "سنلتقي غدا."],
    "bg": ["Котката спи.", "Къде е млякото?", "Живея на ул. Витоша."],
    "bn": ["বিড়ালটি ঘুমাচ্ছে।", "দুধ কোথায়?", "ডা. রহমান কাল আসবেন।"],
    "bo": ["ཞི་མི་གཉིད་ཉལ་བཞིན་འདུག།", "འོ་མ་གང་དུ་ཡོད་པ་རེད།", "སང་ཉིན་མཇལ་ཡོང་།"],
    "cs": ["Kočka spí.", "Kde je mléko?", "Např. Brno je velké město."],
    "da": ["Katten sover.", "Hvor er mælken?", "Vi ses den 3. oktober kl. 15 ved kirken."],
    "de": ["Die Katze schläft.", "Wo ist die Milch?", "Am 3. Oktober kommt Dr. Meier, z. B. mit dem Zug."],
    "el": ["Η γάτα κοιμάται.", "Πού είναι το γάλα;", "Τα λέμε αύριο!"],
    "en": ["Dr. Smith met J. R. Jones in the U.S. Senate.", "It cost 3.5 million, i.e. No. 5 of all.", "Did he pay?"],
    "es": ["El gato duerme.", "¿Dónde está la leche?", "La Sra. López vive en la Avda. América."],
    "et": ["Kass magab.", "Kus piim on?", "Hr. Tamm tuleb homme."],
    "eu": ["Katua lotan dago.", "Non dago esnea?", "Bihar arte!"],
    "fa": ["گربه خوابیده است.", "شیر کجاست؟", "فردا می‌بینمت."],
    "fi": ["Kissa nukkuu.", "Missä maito on?", "Esim. Turku on vanha kaupunki."],
    "fil": ["Natutulog ang pusa.", "Nasaan ang gatas?", "Darating si G. Cruz bukas."],
    "fr": ["M. Dupont arrive avec Mme Durand.", "Où est le lait ?", "« Viens ! » dit-elle."],
    "gu": ["બિલાડી સૂએ છે.", "દૂધ ક્યાં છે?", "કાલે મળીશું."],
    "he": ["החתול ישן.", "איפה החלב?", "ניפגש מחר."],
    "hi": ["बिल्ली सो रही है।", "दूध कहाँ है?", "डॉ. शर्मा कल आएँगे।"],
    "hu": ["A macska alszik.", "Hol van a tej?", "Pl. Szeged is szép város."],
    "hy": ["Կատուն քնած է:", "Ո՞ւր է կաթը։", "Վաղը կհանդիպենք։"],
    "id": ["Kucing itu tidur.", "Di mana susunya?", "Rumah kami di Jl. Sudirman."],
    "it": ["Il gatto dorme.", "Dov'è il latte?", "Il sig. Rossi arriva domani."],
    "ja": ["猫が寝ています。", "牛乳はどこですか？", "「また明日。」と彼女は言いました。"],
    "ka": ["კატას სძინავს.", "სად არის რძე?", "ხვალ შევხვდებით."],
    "kk": ["Мысық ұйықтап жатыр.", "Сүт қайда?", "Ертең кездесеміз."],
    "km": ["ឆ្មាកំពុងដេក។", "ទឹកដោះគោនៅឯណា?", "ជួបគ្នាថ្ងៃស្អែក។"],
    "ko": ["고양이가 자고 있다.", "우유는 어디에 있어요?", "“내일 봐요.”라고 그가 말했다."],
    "lo": ["ແມວກຳລັງນອນ.", "ນົມຢູ່ໃສ?", "ພົບກັນມື້ອື່ນ."],
    "lt": ["Katė miega.", "Kur pienas?", "Jis gyvena Vilniaus g. Kaune."],
    "ml": ["പൂച്ച ഉറങ്ങുകയാണ്.", "പാൽ എവിടെയാണ്?", "നാളെ കാണാം."],
    "mr": ["मांजर झोपली आहे.", "दूध कुठे आहे?", "डॉ. जोशी उद्या येतील."],
    "my": ["ကြောင်အိပ်နေသည်။", "နွားနို့ ဘယ်မှာလဲ။", "မနက်ဖြန် တွေ့မယ်။"],
    "nl": ["De kat slaapt.", "Waar is de melk?", "Dhr. de Vries komt morgen, d.w.z. Vrijdag."],
    "no": ["Katten sover.", "Hvor er melken?", "Vi ses kl. 15 hos dr. Hansen."],
    "pl": ["Kot śpi.", "Gdzie jest mleko?", "Mieszkam przy ul. Długiej."],
    "pt": ["O gato dorme.", "Onde está o leite?", "A Sra. Silva chega amanhã."],
    "ro": ["Pisica doarme.", "Unde este laptele?", "Locuiesc pe str. Lungă."],
    "ru": ["Кошка спит.", "Где молоко?", "Я живу на ул. Пушкина, а А. С. Попов — в г. Томске."],
    "sr-Latn": ["Mačka spava.", "Gde je mleko?", "Živim u ul. Kralja Petra."],
    "sv": ["Katten sover.", "Var är mjölken?", "Vi ses t.ex. Fredag kl. 15 i parken."],
    "sw": ["Paka amelala.", "Maziwa yako wapi?", "Bw. Juma atakuja kesho."],
    "ta": ["பூனை தூங்குகிறது.", "பால் எங்கே?", "நாளை சந்திப்போம்."],
    "te": ["పిల్లి నిద్రపోతోంది.", "పాలు ఎక్కడ ఉన్నాయి?", "రేపు కలుద్దాం."],
    "th": ["แมวกำลังนอนอยู่บนเก้าอี้ตัวใหม่", "ฉันจะออกไปซื้อนมที่ตลาดกับแม่ตอนเช้า", "เจอกันพรุ่งนี้นะครับ"],
    "ti": ["ድሙ ደቂሳ ኣላ።", "ጸባ ኣበይ ኣሎ?", "ጽባሕ ክንራኸብ ኢና።"],
    "tr": ["Kedi uyuyor.", "Süt nerede?", "Sn. Yılmaz yarın gelecek."],
    "uk": ["Кіт спить.", "Де молоко?", "Я живу на вул. Шевченка."],
    "ur": ["بلی سو رہی ہے۔", "دودھ کہاں ہے؟", "کل ملیں گے۔"],
    "vi": ["Con mèo đang ngủ.", "Sữa ở đâu?", "Tôi sống ở TP. Hồ Chí Minh."],
    "yue": ["隻貓瞓緊覺。", "牛奶喺邊度？", "聽日見！"],
    "zh": ["猫在睡觉。", "牛奶在哪里？", "他说：“明天见。”"],
    "zh-Hant": ["貓在睡覺。", "「牛奶在哪裡？」", "明天見！"],
    "zu": ["Ikati lilele.", "Luphi ubisi?", "Sizobonana kusasa."],
}


@pytest.mark.parametrize("language", EVERYDAY)
def test_everyday_sentences_are_found(language: str) -> None:
    sentences = EVERYDAY[language]
    between = "" if language in WITHOUT_SPACES else " "
    assert split_sentences(between.join(sentences), language) == sentences
    assert split_sentences("\n".join(sentences) + "\r\n\n", language) == sentences


@pytest.mark.parametrize(
    ("language", "sentences"),
    [
        ("en", ["St. Martin's is old.", "The Rev. Brown, Mr. Fox and Sen. Hall met him."]),
        ("en", ["He said no.", "Then he left."]),
        ("en", ["See no. 5 and pp. 3.", "It opened on Nov. 3."]),
        ("en", ["He was born in Washington, D.C.", "Then he moved."]),
        ("en", ["It closed in May.", "44 people lost their jobs there.", "2019 was worse."]),
        ("en", ["1. Boil the water.", "2. Add the tea."]),
        ("en", ['"Really?" she asked.', "Nobody answered."]),
        ("en", ['He said "Stop."', '"Why?"', "They left…", "It was over."]),
        ("en", ["He waited… and waited."]),
        ("en", ["See https://example.org/a?b=c.html for more.", "Or write to a.b@example.org."]),
        ("en", ["See you tomorrow! 👍🏽👍🏽"]),
        ("fr", ["« Viens ! »", "Elle part.", "Pourquoi ?", "« Il est tard. »"]),
        ("de", ["»Wirklich?« fragte er.", "»Ja.«"]),
        ("pl", ["Przyszedł.", "- Nie wiem, kto to.", "– Ja też nie."]),
        ("uk", ["— Добре! — сказав він.", "— Ходімо."]),
        ("es", ["Vive en EE. UU.", "Desde 2010 trabaja allí."]),
        ("vi", ["Anh ấy đến.", "hôm nay trời mưa."]),
        ("de", ["Das Spiel endete in der 89. Minute.", "„Schade!“, rief er."]),
        ("ja", ["「行こう。」", "「どこへ？」", "二人は歩き出した。"]),
        ("ja", ["彼は来た。", "「こんにちは。」"]),
        ("ja", ["GOOD!", "また来ます。"]),
        ("zh", ["天气很好。", "“我们走吧！”", "她说。"]),
        ("zh", ["他说：“好。", "我来。”"]),
        ("zh", ['他走了。', '"再见。"', "没人回答。"]),
        ("ko", ["네.", "알겠습니다."]),
        ("am", ["ሰላም ነው፡፡", "ደህና ነኝ፡፡"]),
        ("my", ["သူသည် ဆရာ၊ စာရေးဆရာ ဖြစ်သည်။", "ဟုတ်ပါသည်။"]),
        ("pa", ["ਡਾ. ਸਿੰਘ ਕੱਲ੍ਹ ਆਉਣਗੇ।", "ਠੀਕ ਹੈ।"]),
        ("ne", ["बिरालो सुतिरहेको छ।", "दूध कहाँ छ?"]),
        ("xh", ["Wahlala e-St. Martin's.", "Wahamba."]),
        ("tlh", ["tlhIngan maH!", "qatlh?"]),
    ],
)  # fmt: skip
def test_marks_are_read_as_meant(language: str, sentences: list[str]) -> None:
    between = "" if language in WITHOUT_SPACES else " "
    assert split_sentences(between.join(sentences), language) == sentences


def test_thai_is_split_at_spaces_into_parts_of_some_length() -> None:
    text = "ฉันชอบอ่านหนังสือในห้องสมุดของโรงเรียน และดื่มชา ปี 2020 ฉันไป Bangkok กับเพื่อน " * 5
    sentences = split_sentences(text, "th")
    assert len(sentences) > 1
    assert all(30 <= len(sentence) <= 200 for sentence in sentences)
    assert not any(sentence.startswith("และ") or sentence[0].isdigit() for sentence in sentences)


def test_polite_word_ends_a_thai_sentence_of_any_length() -> None:
    assert split_sentences("สวัสดีครับ ขอบคุณค่ะ ไปไหนมา", "th") == ["สวัสดีครับ", "ขอบคุณค่ะ", "ไปไหนมา"]


@pytest.mark.parametrize(
    ("unit", "end"),
    [("word ", "word"), ("a word, ", ","), ("一二三，", "，"), ("ក្រុម ", "ក្រុម"), ("x", "x"), ("1. ", "."), ("กิน", "น")],
)
def test_text_without_ends_is_cut_to_a_bearable_length(unit: str, end: str) -> None:
    text = unit * 2000
    sentences = split_sentences(text, "en")
    assert max(map(len, sentences)) <= LONGEST_SENTENCE
    assert len(sentences) <= 2 * len(text) / LONGEST_SENTENCE + 1
    assert all(sentence.endswith(end) for sentence in sentences[:-1])


def test_cut_leaves_accents_on_their_letters() -> None:
    sentences = split_sentences("e\u0301" * 1500 + "ก" + "\u0e34" * 2000, "en")
    assert all(not sentence.startswith("\u0301") for sentence in sentences)


def test_time_grows_with_the_length_alone() -> None:
    """A text without sentence ends, or of enumerators alone, must not be copied again at each step."""
    for unit in ("a ", "1. ", "Dr. ", "“", "。「"):
        start = time.process_time()
        split_sentences(unit * 200_000, "en")
        assert time.process_time() - start < 5


languages = st.sampled_from([*EVERYDAY, "en", "und", "tlh"])
marks = st.sampled_from(list(" \n\t.。!?…\"'“”‘’「」()։:፡།ก။၊།؟；，,;0A9bÀßნ가あ中\u0301\u200b\u2028\x00😀"))
texts = st.text(st.characters(codec="utf-8"), max_size=80) | st.lists(marks, max_size=80).map("".join)


@settings(max_examples=400, deadline=None)
@given(texts, languages)
def test_no_text_is_lost(text: str, language: str) -> None:
    sentences = split_sentences(text, language)
    assert "".join("".join(sentences).split()) == "".join(text.split())
    assert all(sentence and sentence == sentence.strip() for sentence in sentences)


@settings(max_examples=20, deadline=None)
@given(texts, st.integers(100, 400), languages)
def test_no_text_is_lost_where_it_is_long(text: str, times: int, language: str) -> None:
    sentences = split_sentences(text * times, language)
    assert "".join("".join(sentences).split()) == "".join((text * times).split())
    assert max(map(len, sentences), default=0) <= LONGEST_SENTENCE


@settings(max_examples=200, deadline=None)
@given(st.data(), st.sampled_from(list(EVERYDAY)))
def test_sentence_is_not_split_again(data: st.DataObject, language: str) -> None:
    drawn = data.draw(st.lists(st.sampled_from(EVERYDAY[language]), min_size=1, max_size=6))
    for sentence in split_sentences(("" if language in WITHOUT_SPACES else " ").join(drawn), language):
        assert split_sentences(sentence, language) == [sentence]


def icu(line: str, language: str) -> list[str]:
    """Return the sentences of a line as ICU finds them."""
    breaker = pytest.importorskip("icu4py.breakers", reason="the extra dev installs it").SentenceBreaker
    return [str(part) for part in breaker(line, language)]


@pytest.mark.parametrize("language", EVERYDAY)
def test_unicodes_rules_are_those_of_icu_in_every_language(language: str) -> None:
    line = " ".join(EVERYDAY[language])
    assert list(cut_at_ends(line, language)) == icu(line, language)


@given(
    st.text(alphabet="aBß1Ⅷ .!?…,;:\"'”’»)(-–\u0301\u00ad\u200d\u3000。！「」ა።؟।語", max_size=12),
    st.sampled_from(["en", "el"]),
)
@settings(deadline=None)
def test_unicodes_rules_are_those_of_icu_for_any_marks(line: str, language: str) -> None:
    assert list(cut_at_ends(line, language)) == icu(line, language)
