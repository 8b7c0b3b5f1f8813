"""The mapped Unigram tokenizer against the tokenizers library."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.normalizers import NFKC, Replace, Sequence

from mlret.data.sample import load_sample
from mlret.encoders.light.folder import PACKED
from mlret.encoders.light.mapped import MappedTensors
from mlret.encoders.light.unigram import UnigramTokenizer, trie_of
from mlret.encoders.loading import BUNDLED
from mlret.encoders.packing import packable, packed_tokenizer
from mlret.errors import InputError
from mlret.vocabulary.spelling import spelled_tokenizer


@pytest.fixture(scope="module")
def library() -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(BUNDLED / "tokenizer.json"))
    tokenizer.no_truncation()
    return tokenizer


@pytest.fixture(scope="module")
def own() -> UnigramTokenizer:
    tensors = MappedTensors(BUNDLED / PACKED)
    return UnigramTokenizer(tensors, **json.loads(tensors.metadata["tokenizer"]))


def test_ids_of_the_sample_in_every_language_are_those_of_the_library(
    own: UnigramTokenizer, library: Tokenizer
) -> None:
    sample = load_sample()
    texts = [passage.text for passage in sample.passages] + [topic.text for topic in sample.questions.values()]
    assert [own.encode(text) for text in texts] == [encoding.ids for encoding in library.encode_batch(texts)]


# What is hard: tokens of the vocabulary in the text, word starts, spaces of all kinds, marks that combine or move,
# characters of later versions of Unicode than the library's, and unknown ones beside each other.
_HARD = [
    *["<s>", "</s>", "<mask>", "<unk>", "<pad>", "＜s＞", "<", "▁", "▁▁", " ", "  ", "\u3000", "\u00a0", "\n", "\t"],
    *["\u200b", "\x00", "ﬁ", "①", "가", "\u1100", "\u1161", "\u11a8", "e\u0301", "\u0334", "\u0301", "が", "か\u3099"],
    *["\u32ff", "\U0001fbf1", "\U00010781", "\u1dfa", "\ua7f2", "\u0d3b", "\U000e1234", "\U0001f9ff", "de", "la", "的"],
]


@given(st.lists(st.one_of(st.sampled_from(_HARD), st.characters(exclude_categories=["Cs"])), max_size=24))
@settings(max_examples=400)
def test_ids_of_hard_texts_are_those_of_the_library(
    own: UnigramTokenizer, library: Tokenizer, parts: list[str]
) -> None:
    text = "".join(parts)
    assert own.encode(text) == library.encode(text).ids


@pytest.mark.parametrize("text", ["", "a" * 5000, "好" * 3000, "\U000e1234" * 300, "▁" * 500, "<s>" * 300, " ", " a "])
def test_ids_of_long_and_empty_texts_are_those_of_the_library(
    own: UnigramTokenizer, library: Tokenizer, text: str
) -> None:
    assert own.encode(text) == library.encode(text).ids


@pytest.mark.parametrize("longest", [2, 3, 8, 512])
def test_long_texts_are_truncated_as_by_the_library(own: UnigramTokenizer, longest: int) -> None:
    library = Tokenizer.from_file(str(BUNDLED / "tokenizer.json"))
    library.enable_truncation(longest)
    for text in ["one <mask> two three four five six", "<s><s><s><s><s><s><s>", "x", "word " * 600]:
        assert own.encode(text, longest) == library.encode(text).ids


def test_equally_likely_splits_are_resolved_as_by_the_library(tmp_path: Path) -> None:
    content = json.loads((BUNDLED / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = [["<s>", 0.0], ["<pad>", 0.0], ["</s>", 0.0], ["<unk>", 0.0], ["▁", -1.0]]
    vocabulary += [["a", -1.0], ["aa", -2.0], ["aaa", -3.0], ["ab", -2.0], ["b", -1.0], ["ba", -2.0]]
    content["model"]["vocab"] = vocabulary
    content["added_tokens"] = content["added_tokens"][:4]
    library = Tokenizer.from_str(json.dumps(content))
    own = _written(content, tmp_path)
    for text in ["aaaa", "abab", "baba", "aab ba", "aaaaaaab"]:
        assert own.encode(text) == library.encode(text).ids


def test_scores_with_many_digits_are_kept(tmp_path: Path) -> None:
    content = json.loads((BUNDLED / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = [["<s>", 0.0], ["<pad>", 0.0], ["</s>", 0.0], ["<unk>", 0.0], ["▁", -1.0], ["a", -0.123456789012]]
    content["model"]["vocab"] = [*vocabulary, ["aa", -0.246913578025]]
    content["added_tokens"] = content["added_tokens"][:4]
    assert _written(content, tmp_path).encode("aa") == Tokenizer.from_str(json.dumps(content)).encode("aa").ids


@given(st.text(st.sampled_from("abde ދިވެހްބ་ས\u0301ﬁ中"), max_size=20))
@settings(max_examples=100)
def test_ids_of_a_spelled_script_are_those_of_the_library(
    spelled: tuple[UnigramTokenizer, Tokenizer], text: str
) -> None:
    own, library = spelled
    assert own.encode(text) == library.encode(text).ids


@pytest.fixture(scope="module")
def spelled(tmp_path_factory: pytest.TempPathFactory) -> tuple[UnigramTokenizer, Tokenizer]:
    content = json.loads((BUNDLED / "tokenizer.json").read_text(encoding="utf-8"))
    letters = [[letter, -5.0] for letter in "abcdefghijklmnopqrstuvwxyz中"]
    specials = [["<s>", 0.0], ["<pad>", 0.0], ["</s>", 0.0], ["<unk>", 0.0], ["▁", -1.0]]
    content["model"]["vocab"] = [*specials, *letters, ["▁dhi", -6.0], ["ve", -4.0], ["▁s", -4.0]]
    content["added_tokens"] = content["added_tokens"][:4]
    library, _ = spelled_tokenizer(Tokenizer.from_str(json.dumps(content)), ["ދިވެހި", "བོད་སྐད"])
    assert library is not None
    return _written(json.loads(library.to_str()), tmp_path_factory.mktemp("spelled")), library


def _written(content: dict[str, object], folder: Path) -> UnigramTokenizer:
    from safetensors.numpy import save_file

    tensors, stated = packed_tokenizer(content)
    save_file(tensors, folder / "a.safetensors")
    return UnigramTokenizer(MappedTensors(folder / "a.safetensors"), **stated)


def with_step(*replaced: str) -> dict[str, object]:
    """Return the bundled normaliser with replacements, given as pairs of what is replaced and what by."""
    steps = [
        {"type": "Replace", "pattern": {"String": one}, "content": other}
        for one, other in zip(replaced[::2], replaced[1::2], strict=True)
    ]
    spaces = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
    return {"type": "Sequence", "normalizers": [{"type": "NFKC"}, *steps, spaces]}


def test_other_tokenizers_are_not_packed() -> None:
    content = json.loads((BUNDLED / "tokenizer.json").read_text(encoding="utf-8"))
    assert packable(content)
    for change in (
        {"normalizer": None},
        {"normalizer": {"type": "NFKC"}},
        {"normalizer": with_step("a", "b", "b", "c")},
        {"normalizer": with_step("ab", "c")},
        {"pre_tokenizer": {"type": "WhitespaceSplit"}},
        {"model": {"type": "BPE", "vocab": {}, "merges": []}},
        {"added_tokens": [content["added_tokens"][0] | {"lstrip": True}]},
        {"post_processor": {"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0]}},
    ):
        assert not packable(content | change)
        with pytest.raises(InputError, match="none that can be packed"):
            packed_tokenizer(content | change)


def test_the_normaliser_is_the_librarys_for_every_character(own: UnigramTokenizer) -> None:
    library = Sequence([NFKC(), Replace(" ", " ")])
    for point in range(0x110000):
        if (
            0xD800 <= point < 0xE000
            or (0x3400 < point < 0xA000)
            or (0xAC10 < point < 0xD700)
            or 0x20000 < point < 0x2F7FF
        ):
            continue
        if point >= 0x30000 and point % 97:
            continue
        text = f"e{chr(point)}\u0301"
        assert own._normalised(text) == library.normalize_str(text), hex(point)


def test_a_trie_holds_every_piece_and_nothing_else() -> None:
    pieces = ["b", "ab", "abc", "a", "cab"]
    trie = trie_of(pieces)
    found = {}
    stack = [(0, "")]
    while stack:
        node, prefix = stack.pop()
        if trie.ids[node] >= 0:
            found[prefix] = trie.ids[node]
        children = range(trie.first[node], trie.first[node + 1])
        assert [trie.labels[child] for child in children] == sorted({trie.labels[child] for child in children})
        stack.extend((child, prefix + trie.alphabet[trie.labels[child]]) for child in children)
    assert found == {piece: number for number, piece in enumerate(pieces)}
