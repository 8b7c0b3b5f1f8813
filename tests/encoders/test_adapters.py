"""Test language adapters: batches in several languages, languages that are added later, no other changes."""

from __future__ import annotations

import copy
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import MultiVectorEncoder, SentenceTransformer
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from sentence_transformers.sentence_transformer.modules import Pooling
from transformers import XmodConfig, XmodModel

import mlret
from mlret.encoders.adapters import (
    SHARED,
    LanguageTransformer,
    TaggedText,
    adapter_parameters,
    add_language,
    freeze_for_transfer,
    with_adapters,
)
from mlret.encoders.late_interaction import multi_vector_encoder
from mlret.encoders.loading import load_in_torch
from mlret.errors import InputError
from tests.vocabulary import made

TEXTS = [
    ("The train to the sea leaves at seven.", "en"),
    ("Treni", "sw"),
    ("Поезд к морю отправляется в семь часов вечера, не опоздай.", "ru"),
    ("Habari ya asubuhi, samaki wawili na ndizi.", "sw"),
    ("The cat", "en"),
]


def folder_of(tmp_path: Path, **options: Any) -> Path:
    """Write an untrained X-MOD whose adapters differ."""
    tokenizer = made.fast("unigram")
    torch.manual_seed(0)
    config = XmodConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=66, type_vocab_size=1, languages=["en_XX", "sw_KE", "ru_RU", "zh_CN"],
        initializer_range=0.2,
        **options,
    )  # fmt: skip
    XmodModel(config).save_pretrained(tmp_path / "xmod")
    tokenizer.save_pretrained(tmp_path / "xmod")
    return tmp_path / "xmod"


def modular(tmp_path: Path, **options: Any) -> SentenceTransformer:
    first = LanguageTransformer(str(folder_of(tmp_path)), **options)
    return SentenceTransformer(modules=[first, Pooling(32, "mean")], device="cpu")


def multi_vector(folder: Path, kind: type[Transformer] = LanguageTransformer) -> MultiVectorEncoder:
    modules = [
        kind(str(folder)),
        Dense(32, 16, bias=False, module_input_name="token_embeddings"),
        MultiVectorMask(skiplist_words=["."]),
    ]
    return MultiVectorEncoder(modules=modules, prompts={"query": "q ", "document": "d "}, device="cpu")


def plain(tmp_path: Path) -> SentenceTransformer:
    tokenizer = made.fast("unigram")
    made.model("xlm-r masked", len(tokenizer)).roberta.save_pretrained(tmp_path / "xlmr")
    tokenizer.save_pretrained(tmp_path / "xlmr")
    return SentenceTransformer(modules=[Transformer(str(tmp_path / "xlmr")), Pooling(32, "mean")], device="cpu")


def test_a_batch_of_many_languages_is_what_each_language_alone_gives(tmp_path: Path) -> None:
    encoder = mlret.Encoder(modular(tmp_path))
    texts, languages = zip(*TEXTS, strict=True)
    mixed = encoder.encode(texts, language=languages)
    for row, (text, language) in enumerate(TEXTS):
        assert np.allclose(mixed[row], encoder.encode([text], language=language)[0], atol=1e-6)
        other = "en" if language != "en" else "ru"
        assert not np.allclose(mixed[row], encoder.encode([text], language=other)[0], atol=1e-2)
    # The reference is the model of transformers, run for one language after another.
    backbone, tokenizer = encoder.model[0].model, encoder.model.tokenizer
    for (text, _), number, vector in zip(TEXTS, [0, 1, 2, 1, 0], mixed, strict=True):
        inputs = tokenizer(text, return_tensors="pt")
        backbone.set_default_language(backbone.config.languages[number])
        with torch.inference_mode():
            hidden = backbone(inputs["input_ids"], attention_mask=inputs["attention_mask"]).last_hidden_state[0]
        expected = hidden.mean(0).numpy()
        assert np.allclose(vector, expected / np.linalg.norm(expected), atol=1e-5)


def test_a_language_that_is_not_given_is_detected(tmp_path: Path) -> None:
    encoder = mlret.Encoder(modular(tmp_path))
    expected = encoder.encode([TEXTS[2][0]], language="ru")
    assert np.array_equal(encoder.encode([TEXTS[2][0]]), expected)
    assert np.array_equal(encoder.encode(["Поезд", TEXTS[2][0]], language=["ru", None])[1:], expected)
    # sentence-transformers alone has one language for all texts, or detects it.
    raw = encoder.model.encode([TEXTS[2][0]], language="ru", normalize_embeddings=True)
    assert np.allclose(raw, expected, atol=1e-6)


def test_a_language_without_adapter_uses_its_neighbour_and_warns_once(tmp_path: Path) -> None:
    encoder = mlret.Encoder(modular(tmp_path, neighbours={"rw": "sw"}, default_language="en"))
    with pytest.warns(UserWarning, match=r"no adapter for Kinyarwanda \(rw\): it goes through that of sw"):
        found = encoder.encode(["Samaki"], language="rw")
    assert np.array_equal(found, encoder.encode(["Samaki"], language="sw"))
    with pytest.warns(UserWarning, match=r"no adapter for Welsh \(cy\): it goes through that of en"):
        encoder.encode(["Pysgod"], language="cy")
    with pytest.warns(UserWarning, match=r"no adapter for Chinese \(Traditional\).* through that of zh"):
        encoder.encode(["魚"], language="zh-Hant")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.encode(["Samaki"], language="rw")
    strict = mlret.Encoder(modular(tmp_path / "strict"))
    with pytest.raises(InputError, match=r"no adapter for cy, and neither a neighbour"):
        strict.encode(["Pysgod"], language="cy")
    with pytest.raises(InputError, match=r"no adapter for 'fr'; there are en, sw, ru, zh"):
        modular(tmp_path / "wrong", neighbours={"oc": "fr"})


def test_it_is_saved_and_loaded_with_its_neighbours(tmp_path: Path) -> None:
    encoder = mlret.Encoder(modular(tmp_path, neighbours={"rw": "sw"}, default_language="ru"))
    encoder.model.save(str(tmp_path / "saved"), create_model_card=False)
    loaded = mlret.load_encoder(tmp_path / "saved")
    assert loaded.fingerprint == encoder.fingerprint
    assert loaded.model[0].neighbours == {"rw": "sw"}
    assert loaded.model[0].default_language == "ru"
    texts, languages = zip(*TEXTS, strict=True)
    assert np.array_equal(loaded.encode(texts, language=languages), encoder.encode(texts, language=languages))


def test_tokens_of_many_languages_in_one_batch(tmp_path: Path) -> None:
    encoder = mlret.TokenEncoder(multi_vector(folder_of(tmp_path)))
    texts, languages = zip(*TEXTS, strict=True)
    for encode in (encoder.encode_document, encoder.encode_query):
        mixed = encode(texts, language=languages)
        for row, (text, language) in enumerate(TEXTS):
            assert np.allclose(mixed[row], encode([text], language=language)[0], atol=1e-5)
    with pytest.raises(InputError, match=r"5 texts but 2 languages"):
        encoder.encode_query(texts, language=["en", "sw"])


def test_a_checkpoint_of_plain_modules_is_routed_when_it_is_loaded(tmp_path: Path) -> None:
    model = multi_vector(folder_of(tmp_path, default_language="en_XX"), Transformer)
    model.save(str(tmp_path / "colbert"), create_model_card=False)
    loaded = mlret.load_token_encoder(tmp_path / "colbert")
    assert isinstance(loaded.model[0], LanguageTransformer)
    assert loaded.model[0].default_language == "en"
    one, other = (loaded.encode_document(["Treni"], language=code)[0] for code in ("sw", "en"))
    assert not np.allclose(one, other, atol=1e-2)


def test_an_ordinary_encoder_made_modular_computes_the_same(tmp_path: Path) -> None:
    model = plain(tmp_path)
    texts = [text for text, _ in TEXTS]
    before = model.encode(texts)
    with_adapters(model, ["sw", SHARED], neighbours={"rw": "sw"})
    assert list(model[0].languages) == ["sw", SHARED]
    encoder = mlret.Encoder(model)
    assert np.allclose(model.encode(texts), before, atol=1e-6)
    assert np.allclose(encoder.encode(texts, language="sw"), encoder.encode(texts, language="fr"), atol=1e-6)
    model.save(str(tmp_path / "saved"), create_model_card=False)
    assert np.allclose(mlret.load_encoder(tmp_path / "saved").model.encode(texts), before, atol=1e-6)
    with pytest.raises(InputError, match=r"has language adapters already"):
        with_adapters(model)


@pytest.mark.thorough
def test_the_bundled_encoder_can_be_made_modular() -> None:
    texts = [text for text, _ in TEXTS]
    encoder = load_in_torch()
    before = encoder.encode(texts, language="sw")
    with_adapters(encoder.model)
    assert np.allclose(mlret.Encoder(encoder.model).encode(texts, language="sw"), before, atol=1e-5)


@pytest.mark.parametrize("start", [None, "sw"])
def test_a_language_is_added_and_no_other_changes_by_a_bit(tmp_path: Path, start: str | None) -> None:
    encoder = mlret.Encoder(modular(tmp_path, neighbours={"rw": "sw"}))
    texts, languages = zip(*TEXTS, strict=True)
    before = encoder.encode(texts, language=languages)
    state = {name: value.clone() for name, value in encoder.model.state_dict().items()}
    add_language(encoder.model, "rw", start=start)
    assert np.array_equal(encoder.encode(texts, language=languages), before)
    after = encoder.model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in state.items())
    assert after.keys() - state.keys() == set(adapter_parameters(encoder.model, "rw"))
    new, near = (encoder.encode(["Samaki"], language=code) for code in ("rw", "sw"))
    assert np.array_equal(new, near) == (start == "sw")
    encoder.model.save(str(tmp_path / "saved"), create_model_card=False)
    assert np.array_equal(mlret.load_encoder(tmp_path / "saved").encode(["Samaki"], language="rw"), new)
    with pytest.raises(InputError, match=r"rw has an adapter already"):
        add_language(encoder.model, "rw")
    with pytest.raises(InputError, match=r"no adapter for 'fi' to start from"):
        add_language(encoder.model, "et", start="fi")


def test_a_language_whose_code_is_the_name_of_a_method_gets_an_adapter(tmp_path: Path) -> None:
    model = plain(tmp_path)
    with_adapters(model, ["to"])  # Tongan, and the method ``to`` of a module
    add_language(model, "pop")
    assert list(model[0].languages) == ["to", SHARED, "pop"]
    for code in ("to", "pop"):
        with torch.no_grad():
            for parameter in adapter_parameters(model, code).values():
                parameter.normal_(generator=torch.Generator().manual_seed(len(code)))
    vectors = mlret.Encoder(model).encode(["Samaki"] * 3, language=["to", "pop", "fr"])
    assert len({row.tobytes() for row in vectors}) == 3
    model.save(str(tmp_path / "saved"), create_model_card=False)
    stored = mlret.load_encoder(tmp_path / "saved")
    assert np.array_equal(stored.encode(["Samaki"] * 3, language=["to", "pop", "fr"]), vectors)


def test_transfer_trains_all_but_embeddings_and_adapters(tmp_path: Path) -> None:
    model = modular(tmp_path)
    freeze_for_transfer(model)
    features = model.preprocess([TaggedText(text, language) for text, language in TEXTS])
    model(features)["sentence_embedding"].square().sum().backward()
    moved = {name for name, value in model.named_parameters() if value.grad is not None}
    assert moved
    assert not any("embeddings" in name or "adapter_modules" in name for name in moved)
    assert any("attention.self.query" in name for name in moved)


def test_what_has_no_adapters_is_refused(tmp_path: Path) -> None:
    model = plain(tmp_path)
    for function in (add_language, adapter_parameters):
        with pytest.raises(InputError, match=r"has no language adapters"):
            function(model, "sw")
    with pytest.raises(InputError, match=r"XLMRobertaModel has no language adapters"):
        LanguageTransformer(str(tmp_path / "xlmr"))
    tokenizer = made.fast("unigram")
    made.model("bert", len(tokenizer)).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    bert = SentenceTransformer(modules=[Transformer(str(tmp_path / "bert")), Pooling(32, "mean")], device="cpu")
    with pytest.raises(InputError, match=r"a backbone of XLM-R's kind .*not bert"):
        with_adapters(bert)


def test_a_trimmed_vocabulary_leaves_the_adapters(tmp_path: Path) -> None:
    encoder = mlret.Encoder(modular(tmp_path, neighbours={"rw": "sw"}, default_language="en"))
    corpus = {code: made.corpus()[code] for code in ("sw", "en")}
    small, report = mlret.trim_vocabulary(encoder, corpus=corpus, coverage=0.95, keep=["Samaki"])
    assert report.largest_difference == 0
    for language in ("sw", "ru"):
        assert np.array_equal(
            small.encode(["Samaki"], language=language), encoder.encode(["Samaki"], language=language)
        )


def test_half_precision_runs_through_adapters(tmp_path: Path) -> None:
    encoder = mlret.Encoder(modular(tmp_path))
    add_language(encoder.model, "rw")
    texts, languages = zip(*TEXTS, strict=True)
    whole = encoder.encode(texts, language=languages)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = encoder.encode(texts, language=languages)
    assert np.allclose(half, whole, atol=0.1)


def test_an_encoder_of_tokens_made_modular_computes_the_same(tmp_path: Path) -> None:
    model = multi_vector_encoder(plain(tmp_path), dims=16, query_length="dynamic 8", document_length=24, device="cpu")
    encoder = mlret.TokenEncoder(model.eval())
    texts = [text for text, _ in TEXTS]
    before = [*encoder.encode_query(texts), *encoder.encode_document(texts)]
    with_adapters(model, ["sw"])
    after = [*encoder.encode_query(texts, language="sw"), *encoder.encode_document(texts, language="fr")]
    assert all(a.shape == b.shape and np.allclose(a, b, atol=1e-6) for a, b in zip(after, before, strict=True))


def test_a_copy_that_has_been_used_routes_as_before(tmp_path: Path) -> None:
    encoder = mlret.TokenEncoder(multi_vector(folder_of(tmp_path)))
    texts, languages = zip(*TEXTS, strict=True)
    before = encoder.encode_query(texts, language=languages)
    twin = mlret.TokenEncoder(copy.deepcopy(encoder.model))
    assert all(map(np.array_equal, twin.encode_query(texts, language=languages), before))
    sent = pickle.loads(pickle.dumps(TaggedText("Treni", "sw")))
    assert sent == "Treni" and sent.language == "sw"
