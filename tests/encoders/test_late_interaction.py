"""Test encoders with a vector for each token that are made from others: markers, masks, lengths, skipped tokens."""

from __future__ import annotations

import string
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import MultiVectorEncoder, SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling

import mlret
from mlret.encoders.adapters import LanguageTransformer, TaggedText, freeze_for_transfer, with_adapters
from mlret.encoders.late_interaction import multi_vector_encoder
from mlret.encoders.markers import choose_markers, prompt_of
from mlret.encoders.punctuation import punctuation_pieces
from mlret.errors import InputError
from tests.vocabulary import made

QUERIES = ["the cat", "word " * 11, "Где кот? 你好", "a", "samaki " * 40]
DOCUMENTS = ["The cat (black) sat: «on» the mat.", "你好。世界!", "...", "Поезд — к морю?"]


def plain(folder: Path, kind: str = "unigram", model: str = "xlm-r masked") -> SentenceTransformer:
    """Return an untrained single-vector encoder."""
    tokenizer = made.fast(kind)
    backbone = made.model(model, len(tokenizer))
    getattr(backbone, backbone.base_model_prefix, backbone).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return SentenceTransformer(modules=[Transformer(str(folder)), Pooling(32, "mean")], device="cpu")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformer:
    return plain(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def dynamic(source: SentenceTransformer) -> MultiVectorEncoder:
    return multi_vector_encoder(source, dims=16, query_length="dynamic 8")


def by_hand(model: MultiVectorEncoder, text: str, marker: str, width: int | None, attend: bool) -> np.ndarray:
    """Return all token vectors of each text, computed only from the backbone and the projection, one text at a time."""
    tokenizer, backbone, projection = model.tokenizer, model[0].model, model[1].linear.weight
    ids = tokenizer(text).input_ids[: tokenizer.model_max_length - 1]
    ids = [ids[0], tokenizer.convert_tokens_to_ids(marker), *ids[1:]]
    ids[-1] = tokenizer.sep_token_id
    masks = max(0, (width or 0) - len(ids))
    mask = [1] * len(ids) + [int(attend)] * masks
    ids += [tokenizer.mask_token_id] * masks
    with torch.inference_mode():
        hidden = backbone(torch.tensor([ids]), attention_mask=torch.tensor([mask])).last_hidden_state[0]
        return torch.nn.functional.normalize(hidden @ projection.T, dim=-1).numpy()


@pytest.mark.parametrize("attend", [False, True])
def test_queries_are_filled_to_the_next_multiple(source: SentenceTransformer, attend: bool) -> None:
    model = multi_vector_encoder(source, dims=16, query_length="dynamic 8", attend=attend)
    found = mlret.TokenEncoder(model).encode_query(QUERIES)
    for text, tokens in zip(QUERIES, found, strict=True):
        length = min(len(model.tokenizer(text, truncation=False).input_ids) + 1, 64)
        width = -(-length // 8) * 8
        assert len(tokens) == width <= 64
        assert np.allclose(tokens, by_hand(model, text, "[Q]", width, attend), atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text("abc кот你好.«» ", max_size=60), min_size=1, max_size=5))
def test_a_query_is_the_same_in_any_batch(dynamic: MultiVectorEncoder, texts: list[str]) -> None:
    encoder = mlret.TokenEncoder(dynamic)
    together = encoder.encode_query(texts)
    for text, tokens in zip(texts, together, strict=True):
        assert len(tokens) % 8 == 0
        assert np.allclose(tokens, encoder.encode_query([text])[0], atol=1e-5)


def test_a_fixed_length_cuts_and_none_fills_nothing(source: SentenceTransformer) -> None:
    fixed = mlret.TokenEncoder(multi_vector_encoder(source, dims=16, query_length=8))
    assert type(fixed.model[0]) is Transformer
    assert [len(tokens) for tokens in fixed.encode_query(QUERIES)] == [8] * len(QUERIES)
    none = mlret.TokenEncoder(multi_vector_encoder(source, dims=16, query_length=None))
    for text, tokens in zip(QUERIES[:4], none.encode_query(QUERIES[:4]), strict=True):
        assert np.allclose(tokens, by_hand(none.model, text, "[Q]", None, False), atol=1e-5)


def test_documents_lose_the_punctuation_of_every_script_but_attend_to_it(dynamic: MultiVectorEncoder) -> None:
    found = mlret.TokenEncoder(dynamic).encode_document(DOCUMENTS)
    skipped = set(dynamic[2].skiplist_words)
    for text, tokens in zip(DOCUMENTS, found, strict=True):
        kept = [True, True, *(token not in skipped for token in dynamic.tokenizer.tokenize(text)), True]
        assert not all(kept)
        assert np.allclose(tokens, by_hand(dynamic, text, "[D]", None, False)[kept], atol=1e-5)


@pytest.mark.parametrize("kind", made.KINDS)
def test_tokens_are_punctuation_by_the_text_that_they_write(kind: str) -> None:
    tokenizer = made.fast(kind)
    found = punctuation_pieces(tokenizer)
    assert {".", ","} <= {tokenizer.convert_tokens_to_string([token]).strip() for token in found}
    assert not set(found) & set(tokenizer.all_special_tokens)
    # The reference is the text that ids of punctuation stand for, which must not contain letters.
    for text in ("a b c", "Где кот", "你好世界", "samaki", "שלום"):
        assert not set(tokenizer.tokenize(text)) & set(found) - {"▁", "Ġ", "</w>"}
    texts = [text for some in made.corpus().values() for text in some]
    marks = {c for text in texts for c in text if unicodedata.category(c)[0] in "PS"}
    assert any(mark not in string.punctuation for mark in marks)
    unknown = tokenizer.unk_token_id
    for mark in marks:
        ids = tokenizer.encode(mark, add_special_tokens=False)
        if len(ids) == 1 and ids[0] != unknown:
            assert tokenizer.convert_ids_to_tokens(ids[0]) in found


def test_undecodable_bytes_are_not_punctuation() -> None:
    tokenizer = made.fast("byte-bpe")
    found = set(punctuation_pieces(tokenizer))
    # The bytes of Cyrillic letters and of an ideographic full stop, one by one.
    for letter in tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("кот。")[0][0]:
        assert letter not in found


@pytest.mark.parametrize("kind", made.KINDS)
def test_a_marker_is_one_token_and_changes_no_other(kind: str, tmp_path: Path) -> None:
    model = multi_vector_encoder(plain(tmp_path, kind), dims=8, query_length=16)
    plain_tokenizer = made.fast(kind)
    for task, marker in (("query", "[Q]"), ("document", "[D]")):
        number = model.tokenizer.convert_tokens_to_ids(marker)
        for text in ("the cat", "Habari ya asubuhi", "你好"):
            ids = plain_tokenizer(text).input_ids
            found = model.preprocess([text], prompt=model.prompts[task], task=task)["input_ids"][0].tolist()
            assert found[: len(ids) + 1] == [ids[0], number, *ids[1:]]


def test_new_markers_get_seeded_rows_of_their_own(source: SentenceTransformer) -> None:
    rows = len(source.tokenizer)
    one, same, other = (multi_vector_encoder(source, seed=seed) for seed in (0, 0, 1))
    assert len(source[0].model.get_input_embeddings().weight) == rows == len(source.tokenizer)
    table = [model[0].model.get_input_embeddings().weight for model in (one, same, other)]
    assert [len(weights) for weights in table] == [rows + 2] * 3
    assert torch.equal(table[0], table[1]) and torch.equal(one[1].linear.weight, same[1].linear.weight)
    assert not torch.equal(table[0][rows], table[2][rows]) and not torch.equal(table[0][rows], table[0][rows + 1])
    assert torch.equal(table[0][:rows], source[0].model.get_input_embeddings().weight)
    assert table[0].requires_grad


def test_unused_tokens_serve_as_markers() -> None:
    tokenizer = made.fast("wordpiece")
    tokenizer.add_tokens(["[unused7]", "[unused3]", "[unused12]"])
    assert choose_markers(tokenizer) == ("[unused3]", "[unused7]")
    assert choose_markers(made.fast("unigram")) == ("[Q]", "[D]")
    with pytest.raises(InputError, match=r"cannot write the marker 'the cat'"):
        prompt_of(tokenizer, "the cat")


def test_it_is_saved_and_loaded(dynamic: MultiVectorEncoder, source: SentenceTransformer, tmp_path: Path) -> None:
    encoder = mlret.TokenEncoder(dynamic)
    dynamic.save(str(tmp_path / "dynamic"), create_model_card=False)
    loaded = mlret.load_token_encoder(tmp_path / "dynamic", device="cpu")
    assert loaded.fingerprint == encoder.fingerprint
    library = MultiVectorEncoder(str(tmp_path / "dynamic"), device="cpu", trust_remote_code=True)
    fixed = multi_vector_encoder(source, dims=16, query_length=16, pool_factor=2)
    fixed.save(str(tmp_path / "fixed"), create_model_card=False)
    alone = MultiVectorEncoder(str(tmp_path / "fixed"), device="cpu")
    for one, other in ((loaded.model, dynamic), (library, dynamic), (alone, fixed)):
        for encode in ("encode_query", "encode_document"):
            for ours, theirs in zip(getattr(one, encode)(QUERIES), getattr(other, encode)(QUERIES), strict=True):
                assert torch.allclose(ours, theirs, atol=1e-6)


def test_tokens_are_merged_where_pooling_is_asked_for(source: SentenceTransformer) -> None:
    text = ["one two three four five six seven eight nine ten"]
    whole, halved = (multi_vector_encoder(source, pool_factor=factor) for factor in (1, 2))
    count = len(whole.encode_document(text)[0])
    assert len(halved.encode_document(text)[0]) == 1 + (count - 1) // 2
    assert len(halved.encode_query(text)[0]) == len(whole.encode_query(text)[0])


def test_languages_are_routed_and_freezing_leaves_the_projection(tmp_path: Path) -> None:
    model = plain(tmp_path)
    with_adapters(model, ["sw", "ru"], default_language="und")
    made_of = multi_vector_encoder(model, dims=16, query_length="dynamic 8")
    assert isinstance(made_of[0], LanguageTransformer) and made_of[0].query_multiple == 8
    for layer in made_of[0].model.encoder.layer:
        for number, adapter in enumerate(layer.output.adapter_modules.values()):
            torch.nn.init.constant_(adapter.dense2.bias, float(number))
    encoder = mlret.TokenEncoder(made_of)
    mixed = encoder.encode_query(QUERIES[:3], language=["sw", "ru", "en"])
    for row, language in enumerate(["sw", "ru", "en"]):
        assert np.allclose(mixed[row], encoder.encode_query([QUERIES[row]], language=language)[0], atol=1e-5)
    made_of.save(str(tmp_path / "saved"), create_model_card=False)
    loaded = mlret.load_token_encoder(tmp_path / "saved", device="cpu")
    assert loaded.fingerprint == encoder.fingerprint
    assert [len(tokens) % 8 for tokens in loaded.encode_query(QUERIES[:3], language="sw")] == [0, 0, 0]
    freeze_for_transfer(made_of)
    features = made_of.preprocess([TaggedText("a cat", "sw")], prompt=made_of.prompts["query"], task="query")
    made_of(features, task="query")["token_embeddings"].square().mul(torch.rand(16)).sum().backward()
    moved = {name for name, value in made_of.named_parameters() if value.grad is not None}
    assert "1.linear.weight" in moved and not any("embeddings" in name for name in moved)


def test_adapters_can_be_given_to_a_dynamic_encoder(source: SentenceTransformer) -> None:
    model = multi_vector_encoder(source, dims=16, query_length="dynamic 8")
    before = model.encode_query(QUERIES)
    with_adapters(model)
    assert model[0].query_multiple == 8
    for one, other in zip(model.encode_query(QUERIES), before, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.thorough
def test_sources_of_every_kind_are_taken(source: SentenceTransformer, tmp_path: Path) -> None:
    bundled = multi_vector_encoder()
    assert bundled.get_embedding_dimension() == 128 and len(bundled) == 4
    assert bundled.prompts == {"query": "[Q]", "document": "[D]"}
    source.save(str(tmp_path / "saved"), create_model_card=False)
    expected = multi_vector_encoder(source).encode_query(QUERIES[0])
    plain(tmp_path / "bare")
    for name in (tmp_path / "saved", str(tmp_path / "bare"), mlret.Encoder(source)):
        assert torch.allclose(multi_vector_encoder(name).encode_query(QUERIES[0]), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"query_length": "dynamic"}, r"query_length 'dynamic': give a number of tokens"),
        ({"query_length": 65}, r"query_length 65: the transformer takes up to 64 tokens"),
        ({"query_length": "dynamic 2"}, r"query_length 2: .* 4 are the least"),
        ({"document_length": 900}, r"document_length 900: the transformer takes up to 64"),
        ({"punctuation": "latin"}, r"punctuation 'latin': there are all, ascii, none"),
        ({"dims": 0}, r"dims and pool_factor must be at least 1, not 0"),
        ({"pool_factor": 0.5}, r"must be at least 1, not 128 and 0\.5"),
    ],
)
def test_what_does_not_fit_is_refused(source: SentenceTransformer, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        multi_vector_encoder(source, **options)


def test_models_that_are_not_single_vector_encoders_are_refused(dynamic: MultiVectorEncoder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has a vector for each token already"):
        multi_vector_encoder(dynamic)
    with pytest.raises(InputError, match=r"Linear is not an encoder"):
        multi_vector_encoder(torch.nn.Linear(2, 2))
    with pytest.raises(InputError, match=r"cannot be loaded as a transformer"):
        multi_vector_encoder(tmp_path)
    with pytest.raises(InputError, match=r"no encoder folder at"):
        multi_vector_encoder(tmp_path / "none")
