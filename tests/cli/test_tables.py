"""Test the table of hits in every script."""

from __future__ import annotations

import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from mlret.cli.tables import ScriptText, hits_table, isolate, printable, terminal_width, wrap
from mlret.index.index import Hit

TEXTS = {
    "en": "The bread is baked in the morning, and the whole street smells of it.",
    "he": "הלחם נאפה בבוקר, וכל הרחוב מריח ממנו. (מחיר: 12 שקלים)",
    "ar": "يُخبز الخبز في الصباح، وتفوح رائحته في الشارع كله.",
    "hi": "रोटी सुबह सेंकी जाती है, और पूरी गली में उसकी खुशबू फैल जाती है।",
    "th": "ขนมปังอบตอนเช้า และกลิ่นหอมไปทั่วถนน",
    "ta": "ரொட்டி காலையில் சுடப்படுகிறது, தெரு முழுவதும் அதன் மணம் வீசுகிறது.",
    "zh": "面包在早晨烘烤,整条街都能闻到它的香味。",
    "ja": "パンは朝に焼かれ、通り全体がその香りに包まれます。",
    "ko": "빵은 아침에 구워지고 온 거리에 그 냄새가 퍼집니다.",
}
ISOLATES = "\u2066\u2067\u2068\u2069"


def render(hits: list[Hit], width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(hits_table(hits, title="[bold]bread?"))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 57, 80, 120])
def test_text_starts_in_one_column_and_never_overflows(width: int) -> None:
    hits = [Hit(i, code, 0.9 - i / 100, text, code, {}) for i, (code, text) in enumerate(TEXTS.items(), 1)]
    lines = render(hits, width)
    assert "[bold]bread?" in lines[0]
    start = next(line for line in lines if "language" in line).index("text")
    rows = [line for line in lines if line.strip() and line is not lines[0]]
    assert len(rows) >= len(hits)
    for line in rows:
        assert terminal_width(line.rstrip()) <= width
        before = "".join(character for character in line[:start] if character not in ISOLATES)
        assert all(ord(c) < 128 or c in "–─" for c in before)  # no text to the left of its column
        if "─" not in line:
            assert line[start] != " "
            assert line.count("\u2069") == line.count("\u2067") + line.count("\u2066")
            assert any(unicodedata.bidirectional(c) in ("R", "AL") for c in line) == ("\u2069" in line)


def test_right_to_left_lines_are_isolated_one_by_one() -> None:
    assert isolate("שלום") == "\u2067שלום\u2069"
    assert isolate("12 שלום abc") == "\u206712 שלום abc\u2069"
    assert isolate("the word שלום") == "\u2066the word שלום\u2069"
    assert isolate("hello नमस्ते 你好") == "hello नमस्ते 你好"
    assert cell_len("\u2067\u2066\u2068\u2069") == 0


def test_text_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b[31mb\nc\t\u202ed\u2028e\u2069f\x9b") == "a [31mb c d ef"


@given(st.text(st.characters(codec="utf-8"), max_size=200), st.integers(4, 40), st.integers(1, 4))
def test_wrapping_keeps_the_text_and_the_width(text: str, width: int, max_lines: int) -> None:
    text = printable(text)
    lines = wrap(text, width, max_lines)
    assert 1 <= len(lines) <= max_lines
    assert all(terminal_width(line) <= width for line in lines) or any(
        unicodedata.category(c).startswith("M") or c == "\u200d" for c in text
    )
    whole = wrap(text, width, 10_000)
    assert "".join(whole).replace(" ", "") == text.replace(" ", "")
    assert all(not (line and unicodedata.category(line[0]).startswith("M")) for line in whole[1:])
    if len(whole) <= max_lines:
        assert lines == whole
    else:
        assert lines[-1].endswith("…")


def test_unknown_language_is_a_dash() -> None:
    assert "–" in "\n".join(render([Hit(1, "a", 1.0, "x", None, {})], 60))
    assert ScriptText("x").text == "x"
