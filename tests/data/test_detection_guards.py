"""Test that languages that the detector confuses, and the two scripts of one language, are distinguished."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlret.data.detection import detect_language, language_probabilities
from mlret.data.detection_guards import TABLE, chinese_script
from mlret.data.languages import codes_found_by, normalise_language

DETECTION = Path(__file__).parents[2] / "docs" / "explanation" / "language-detection.md"
SENTENCES = [
    ("bo", "འགྲོ་བ་མིའི་རིགས་རྒྱུད་ཡོངས་ལ་སྐྱེས་ཙམ་ཉིད་ནས་ཆེ་མཐོངས་དང་ཐོབ་ཐངགི་རང་དབང་འདྲ་མཉམ་དུ་ཡོད་པ་ཡིན།"),
    ("bo", "བོད་ཀྱི་སྐད་ཡིག་ནི་བོད་པའི་མི་རིགས་ཀྱི་སྐད་ཡིག་ཡིན།"),
    ("dz", "འགྲོ་བ་མི་རིགས་ག་ར་དབང་ཆ་འདྲ་མཏམ་འབད་སྒྱེཝ་ལས་ག་ར་གིས་གཅིག་གིས་གཅིག་ལུ་སྤུན་ཆའི་དམ་ཚིག་བསྟན་དགོ།"),
    ("ti", "ትግርኛ ኣብ ኤርትራን ትግራይን ዝዝረብ ቋንቋ እዩ።"),
    ("ti", "ኣነ ናይ ኤርትራ ዜጋ እየ፡ ኣብ ኣስመራ ድማ እነብር።"),
    ("am", "የሰው ልጅ ሁሉ ሲወለድ ነጻና በክብርና በመብትም እኩልነት ያለው ነው።"),
    ("am", "አዲስ አበባ የኢትዮጵያ ዋና ከተማ ናት።"),
    ("ckb", "زمانی کوردی یەکێکە لە زمانە ئێرانییەکان و لە کوردستان قسەی پێ دەکرێت"),
    ("ckb", "هەموو مرۆڤەکان بە ئازادی و بەیەکسانی لە شکۆ و مافەکاندا لەدایک دەبن."),
    ("sd", "سنڌي ٻولي سنڌ جي ماڻهن جي ٻولي آهي ۽ پاڪستان ۾ ڳالهائي وڃي ٿي"),
    ("sd", "سمورا انسان آزاد ۽ عزت ۽ حقن جي حوالي کان برابر پيدا ٿيا آهن."),
    ("ps", "د بشر ټول افراد آزاد نړۍ ته راځي او د حیثیت او حقوقو له پلوه سره برابر دي."),
    ("ur", "تمام انسان آزاد اور حقوق و عزت کے اعتبار سے برابر پیدا ہوئے ہیں۔"),
    ("fa", "تمام افراد بشر آزاد به دنیا می‌آیند و از لحاظ حیثیت و حقوق با هم برابرند."),
    ("ar", "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق."),
    ("ug", "ھەممە ئادەم زاتىدىنلا ئەركىن، ئىززەت-ھۆرمەت ۋە ھوقۇقتا باب-باراۋەر بولۇپ تۇغۇلغان."),
    ("yi", "ייִדיש איז אַ שפּראַך פֿון די אשכּנזישע ייִדן און ווערט גערעדט אין דער גאַנצער וועלט."),
    ("he", "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם."),
    ("hbo", "בְּרֵאשִׁית בָּרָא אֱלֹהִים אֵת הַשָּׁמַיִם וְאֵת הָאָרֶץ"),
    ("dv", "ދިވެހިބަހަކީ ދިވެހިރާއްޖޭގެ ރަސްމީ ބަހެވެ."),
    ("zh", "人人生而自由，在尊严和权利上一律平等。"),
    ("zh-Hant", "人人生而自由，在尊嚴和權利上一律平等。"),
    ("zh-Hant", "我昨天在臺北買了一雙鞋。"),
    ("zh", "我昨天在北京买了一双鞋。"),
    ("yue", "我哋今日去邊度食飯呀？"),
    ("sr", "Сва људска бића рађају се слободна и једнака у достојанству и правима."),
    ("sr-Latn", "Gde je bilo lepo vreme, deca su uvek bila srećna."),
    ("sr-Latn", "Predsednik je posle sednice rekao da će sledeće nedelje biti promena."),
    ("hr", "Gdje je bilo lijepo vrijeme, djeca su uvijek bila sretna."),
    ("ja", "東京は日本の首都であり、世界最大の都市の一つである。"),
    ("en", "The mayor said that the vest was in the gallery."),
]


@pytest.mark.parametrize(("language", "text"), SENTENCES)
def test_neighbours_and_scripts_are_distinguished(language: str, text: str) -> None:
    assert detect_language(text) == language


# Codes that are found by a guard, and not by the detector.
ADDED = ("bo", "ckb", "dv", "sd", "sr-Latn", "ti", "wuu-Hant", "yi", "yue-Hans", "zh-Hant")


def test_a_guard_is_needed_for_each_language_of_the_table() -> None:
    """If the detector learns a language, its guard goes."""
    known = language_probabilities("a few words").keys()
    assert not known & set(ADDED)
    assert {one.code for one in TABLE} <= set(ADDED)
    assert {code for one in TABLE for code in one.taken_for} <= known
    assert all(normalise_language(code) == code for code in ADDED)


def test_chinese_is_found_in_both_scripts_and_by_each() -> None:
    assert chinese_script("这") == "Hans"
    assert chinese_script("這") == "Hant"
    assert chinese_script("好") is chinese_script("") is chinese_script("abc") is None
    assert "zh-Hant" not in codes_found_by("zh-Hans")
    assert {"zh", "zh-*"} <= set(codes_found_by("zh"))
    assert {"sr", "sr-*"} <= set(codes_found_by("sr"))


@given(st.text(max_size=80))
def test_any_text_has_a_legal_code_or_none(text: str) -> None:
    code = detect_language(text)
    assert code is None or normalise_language(code) == code


def test_the_documentation_lists_every_guard() -> None:
    rows = [line for line in DETECTION.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    stated = {row.split("`")[1]: {part.strip("` ") for part in row.split("|")[2].split(",")} for row in rows}
    for one in TABLE:
        assert stated[one.code] == set(one.taken_for)
    assert stated.keys() >= {one.code for one in TABLE} | {"zh-Hant", "sr-Latn"}
