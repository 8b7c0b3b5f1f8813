"""What encoders cannot read of texts, beside what the tokenizers of other libraries say."""

from __future__ import annotations

from pathlib import Path

import pytest

import mlret
from mlret.data.sample import load_sample
from mlret.encoders.encoder import Encoder
from mlret.encoders.external import ExternalEncoder
from mlret.encoders.known_languages import languages_known_to
from mlret.encoders.loading import BUNDLED
from mlret.encoders.reading import readings_of
from mlret.encoders.token_encoder import TokenEncoder
from mlret.recipes import find_recipe
from mlret.training.recipe import read_recipe

TIFINAGH = "ⵜⴰⵎⴰⵣⵉⵖⵜ ⵜⴰⵎⴰⵣⵉⵖⵜ ⴰⵣⵓⵍ"


def test_tokens_cut_and_unknown_are_those_of_the_tokenizers_library() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    encoder = mlret.load_encoder(device="cpu")
    texts = [passage.text for passage in load_sample().passages[::29]] + [TIFINAGH, "word " * 2000, "ߒߞߏ 12"]
    library = tokenizers.Tokenizer.from_file(str(BUNDLED / "tokenizer.json"))
    library.no_padding()
    library.no_truncation()
    unknown = library.token_to_id("<unk>")
    longest = encoder.folder.longest  # type: ignore[attr-defined]
    expected = [
        (len(one.ids), max(0, len(one.ids) - longest), one.ids.count(unknown)) for one in library.encode_batch(texts)
    ]
    readings = readings_of(encoder, texts)
    assert readings is not None and list(map(tuple, readings)) == expected
    assert readings[-3].unknown == 3 and readings[-2].cut > 1000 and readings[-1].unknown


def test_the_multi_vector_head_reads_as_many_tokens_as_it_gives_vectors_for() -> None:
    head = mlret.load_token_encoder(device="cpu")
    [reading] = readings_of(head, ["maneno mengi sana " * 300]) or []
    [whole] = head.token_counts(["maneno mengi sana " * 300])
    assert reading.tokens - reading.cut == whole and reading.cut > 0


def test_models_in_torch_say_what_they_cut(tiny_encoder: Encoder, tiny_token_encoder: TokenEncoder) -> None:
    for encoder in (tiny_encoder, tiny_token_encoder):
        short, long = readings_of(encoder, ["the cat", "the cat " * 500]) or []
        assert short.cut == 0 and long.tokens - long.cut == encoder.model.max_seq_length
    [plain] = readings_of(tiny_encoder, ["the cat"]) or []
    assert plain.unknown == 0
    [strange] = readings_of(tiny_encoder, ["the ⵜⴰⵎⴰⵣⵉⵖⵜ sat"]) or []
    unknown = tiny_encoder.model.tokenizer.unk_token_id
    assert strange.unknown == tiny_encoder.model.tokenizer(["the ⵜⴰⵎⴰⵣⵉⵖⵜ sat"])["input_ids"][0].count(unknown) == 1


def test_an_encoder_made_elsewhere_says_nothing() -> None:
    assert readings_of(ExternalEncoder("my-model", 4), ["the cat"]) is None
    assert languages_known_to(ExternalEncoder("my-model", 4)) is None


def test_the_bundled_encoder_knows_the_languages_that_it_was_trained_in() -> None:
    recipe = read_recipe(find_recipe("mlret-mini/taught", "training"))
    for encoder in (mlret.load_encoder(device="cpu"), mlret.load_token_encoder(device="cpu")):
        known = languages_known_to(encoder)
        assert known is not None and known.codes == set(recipe.languages)
        assert all(code in known for code in ("sw", "no", "nn", "zh-Hant", "yue", "arz", "sr-Latn"))
        assert not any(code in known for code in ("qu", "la", "zgh", None))


CARDS = {
    "---\nlanguage: sw\n---\n": {"sw"},
    "---\nlanguage:\n- multilingual\n- eng\n- no\n---\n# Title\n": {"en", "no"},
    "---\nlanguage: multilingual\n---\n": None,
    "---\nlicense: mit\n---\n": None,
    "---\nlanguage: [en, nonsense-language]\n---\n": None,
    "---\n: [\n---\n": None,
    "no head": None,
}


@pytest.mark.parametrize("card", CARDS)
def test_the_languages_of_a_folder_are_those_of_its_card(tmp_path: Path, tiny_encoder: Encoder, card: str) -> None:
    (tmp_path / "README.md").write_text(card)
    named = Encoder(tiny_encoder.model, str(tmp_path))
    known = languages_known_to(named)
    assert (None if known is None else set(known.codes)) == CARDS[card]
