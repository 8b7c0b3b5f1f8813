"""Test trimming complete models of every kind, and the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from sentence_transformers import MultiVectorEncoder, SentenceTransformer
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding
from tokenizers import Tokenizer

import mlret
from mlret.encoders.adapters import add_language, with_adapters
from mlret.encoders.calibration import calibrate_model
from mlret.encoders.token_weights import TokenWeights
from mlret.errors import FingerprintError, InputError, MlretError
from mlret.vocabulary import preview
from mlret.vocabulary.saving import save_trimmed
from mlret.vocabulary.target_model import ModelSubject
from tests.vocabulary import made

LANGUAGES = ["sw", "en"]
SOME = {code: made.corpus()[code] for code in LANGUAGES}


def trim(model: Any, **options: Any) -> tuple[Any, Any]:
    return mlret.trim_vocabulary(model, **({"corpus": SOME, "coverage": 0.95} | options))


@pytest.fixture
def encoder(tmp_path: Path) -> SentenceTransformer:
    """Return a small XLM-R with token weights, pooling and calibration."""
    folder = tmp_path / "xlmr"
    tokenizer = made.fast("unigram")
    made.model("xlm-r masked", len(tokenizer)).roberta.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    transformer = Transformer(str(folder))
    weights = TokenWeights(len(tokenizer))
    torch.nn.init.uniform_(weights.token_weights, 0.5, 1.5)
    model = SentenceTransformer(
        modules=[transformer, weights, Pooling(32, "mean")], prompts={"query": "question: "}, device="cpu"
    )
    calibrate_model(model, {code: made.corpus()[code] for code in ("sw", "ja")}, shift=True, scale=True)
    return model


@pytest.mark.parametrize("name", ["xlm-r masked", "x-mod", "mbart", "mt5 untied", "llama tied", "llama untied"])
def test_a_model_of_transformers(name: str) -> None:
    tokenizer = made.fast("unigram")
    model = made.model(name, len(tokenizer) + 8)
    rows = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    small, report = trim(model, tokenizer=tokenizer)
    assert type(small) is type(model)
    assert small.config.vocab_size == len(report.tokenizer) == report.after.tokens == len(report.old_ids)
    assert report.largest_difference == 0
    assert report.compared > 10
    assert report.after.parameters < report.before.parameters
    assert len(tokenizer) == report.before.tokens == 3000
    # The given model is unchanged.
    assert all(torch.equal(tensor, rows[key]) for key, tensor in model.state_dict().items())
    assert model.config.vocab_size == 3008
    assert all(row.coverage > 0.8 and row.unknown_after == row.unknown_before == 0 for row in report.figures)


def test_adapters_that_no_language_has_by_default() -> None:
    tokenizer = made.fast("unigram")
    model = made.model("x-mod", len(tokenizer))
    model.config.default_language = None
    _, report = trim(model, tokenizer=tokenizer)
    assert report.largest_difference == 0


@pytest.mark.parametrize("kind", made.KINDS)
def test_every_kind_of_tokenizer(kind: str) -> None:
    tokenizer = made.fast(kind)
    _, report = trim(made.model("bert", len(tokenizer)), tokenizer=tokenizer)
    assert report.largest_difference == 0
    assert report.compared > 10


def test_an_encoder_keeps_its_modules_and_gets_another_fingerprint(
    encoder: SentenceTransformer, tmp_path: Path
) -> None:
    ours = mlret.Encoder(encoder, "mine")
    small, report = trim(ours, keep=["Jumamosi"])
    assert isinstance(small, mlret.Encoder)
    assert report.largest_difference == 0
    assert small.calibration_languages == ours.calibration_languages == ["ja", "sw"]
    assert report.before.fingerprint == ours.fingerprint != small.fingerprint == report.after.fingerprint
    # A kept word and a covered text, calibrated, have the same vectors.
    for text in ("Jumamosi", "question: the"):
        one, other = (some.encode([text], language="sw") for some in (ours, small))
        assert np.array_equal(one, other)
    save_trimmed(small, report, tmp_path / "small")
    loaded = mlret.load_encoder(tmp_path / "small")
    assert loaded.fingerprint == small.fingerprint
    assert np.array_equal(loaded.encode(["the cat"]), small.encode(["the cat"]))
    index = mlret.Index.create(tmp_path / "i", encoder=ours)
    index.add([{"id": "1", "text": "the cat"}])
    index.close()
    with pytest.raises(FingerprintError):
        mlret.Index.open(tmp_path / "i", encoder=loaded).search("cat")


def test_language_adapters_stay_and_route(tmp_path: Path) -> None:
    folder = tmp_path / "xlmr"
    tokenizer = made.fast("unigram")
    made.model("xlm-r masked", len(tokenizer)).roberta.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    model = SentenceTransformer(modules=[Transformer(str(folder)), Pooling(32, "mean")], device="cpu")
    with_adapters(model, ["sw", "en"], neighbours={"de": "en"})
    for name, parameter in model.named_parameters():
        if ".adapter_modules." in name:
            torch.nn.init.normal_(parameter, 0, 0.3)
    ours = mlret.Encoder(model, "mine")
    small, report = trim(ours, keep=["habari dunia"])
    assert report.largest_difference == 0
    save_trimmed(small, report, tmp_path / "small")
    loaded = mlret.load_encoder(tmp_path / "small")
    vectors = [loaded.encode(["habari dunia"], language=code) for code in ("sw", "en", "de")]
    for code, vector in zip(("sw", "en", "de"), vectors, strict=True):
        assert np.array_equal(vector, ours.encode(["habari dunia"], language=code))
    assert not np.allclose(vectors[0], vectors[1])
    assert np.array_equal(vectors[1], vectors[2])
    add_language(loaded.model, "ru")


def test_trimming_again_and_by_folder(encoder: SentenceTransformer, tmp_path: Path) -> None:
    encoder.save(str(tmp_path / "whole"))
    once, report = trim(tmp_path / "whole")
    save_trimmed(once, report, tmp_path / "once")
    twice, again = trim(tmp_path / "once", corpus={"sw": SOME["sw"]}, coverage=0.9)
    assert again.before.tokens == report.after.tokens > again.after.tokens
    assert again.largest_difference == 0
    assert isinstance(twice, SentenceTransformer)


def test_a_model_trimmed_before_fine_tuning_is_trained(encoder: SentenceTransformer) -> None:
    small, _ = trim(encoder)
    small.train()
    features = small.preprocess(["the cat", "the dog"])
    small(features)["sentence_embedding"].square().sum().backward()
    gradient = small[0].model.get_input_embeddings().weight.grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


def test_static_embeddings() -> None:
    torch.manual_seed(0)
    static = StaticEmbedding(made.tokenizer_of("wordpiece"), embedding_dim=16)
    model = SentenceTransformer(modules=[static], device="cpu")
    small, report = trim(model)
    assert report.largest_difference == 0
    assert small[0].num_embeddings == report.after.tokens < report.before.tokens
    assert small[0].embedding.weight.requires_grad


def test_a_multi_vector_encoder_keeps_its_markers_and_skips_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "bert"
    tokenizer = made.fast("wordpiece")
    tokenizer.add_special_tokens({"additional_special_tokens": ["[Q]", "[D]"]})
    made.model("bert", len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    transformer = Transformer(str(folder))
    model = MultiVectorEncoder(
        modules=[transformer, Dense(32, 16, bias=False, module_input_name="token_embeddings"),
                 MultiVectorMask(skiplist_words=list(".,"))],
        prompts={"query": "[Q] ", "document": "[D] "}, device="cpu",
    )  # fmt: skip
    ours = mlret.TokenEncoder(model, "mine")
    small, report = trim(ours, keep=["the cat dog"])
    assert isinstance(small, mlret.TokenEncoder)
    assert report.largest_difference == 0
    text = "the cat, the dog."
    one, other = (some.encode_document([text])[0] for some in (ours, small))
    assert one.shape == other.shape
    assert small.model[2]._skiplist_ids.tolist() == [small.model.tokenizer.convert_tokens_to_ids(mark) for mark in ".,"]
    assert np.array_equal(ours.encode_query(["the"])[0], small.encode_query(["the"])[0])
    save_trimmed(small, report, tmp_path / "small")
    assert mlret.load_token_encoder(tmp_path / "small").fingerprint == small.fingerprint != ours.fingerprint


@pytest.mark.parametrize("kind", ["mbart", "mbart50", "t5"])
def test_language_codes_and_sentinels_move(kind: str) -> None:
    vocab = [tuple(entry) for entry in json.loads(made.trained("unigram"))["model"]["vocab"]]
    pieces = [entry for entry in vocab if entry[0] not in made.SPECIALS]
    head = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    codes = [("en_XX", 0.0), ("sw_KE", 0.0), ("de_DE", 0.0)]
    tokenizer = {
        "mbart": lambda: transformers.MBartTokenizer(vocab=[*head, *pieces, *codes, ("<mask>", 0.0)], src_lang="de_DE"),
        "mbart50": lambda: transformers.MBart50Tokenizer(
            vocab=[*head, *pieces, *codes, ("<mask>", 0.0)], src_lang="sw_KE"
        ),
        "t5": lambda: transformers.T5Tokenizer(vocab=[*head[1:], *pieces], extra_ids=10),
    }[kind]()
    model = made.model("t5 tied" if kind == "t5" else "mbart", len(tokenizer))
    model.generation_config.forced_bos_token_id = None if kind == "t5" else tokenizer.convert_tokens_to_ids("en_XX")
    small, report = trim(model, tokenizer=tokenizer)
    cut = report.tokenizer
    assert type(cut) is type(tokenizer)
    text = "the <extra_id_3> the" if kind == "t5" else "the"
    assert cut.convert_ids_to_tokens(cut(text)["input_ids"]) == tokenizer.convert_ids_to_tokens(
        tokenizer(text)["input_ids"]
    )
    assert report.old_ids[cut(text)["input_ids"]].tolist() == tokenizer(text)["input_ids"]
    if kind != "t5":
        assert cut.src_lang == tokenizer.src_lang
        forced = small.generation_config.forced_bos_token_id
        assert cut.convert_ids_to_tokens(forced) == "en_XX"
        cut.src_lang = "en_XX"
        assert "en_XX" in cut.convert_ids_to_tokens(cut("the")["input_ids"])


def test_neither_tokenizer_is_left_with_truncation(tmp_path: Path) -> None:
    # Both models truncate long texts in the comparison; the saved and the given tokenizer must not.
    tokenizer = made.fast("unigram")
    small, report = trim(made.model("bert", len(tokenizer)), tokenizer=tokenizer)
    save_trimmed(small, report, tmp_path / "small")
    saved = Tokenizer.from_file(str(tmp_path / "small" / "tokenizer.json"))
    for backend in (saved, tokenizer.backend_tokenizer):
        assert backend.truncation is None
        assert backend.padding is None


@pytest.mark.parametrize("name", ["xlm-r masked", "m2m"])
def test_positions_counted_from_the_padding_token_stay(name: str) -> None:
    # RoBERTa counts positions from the padding token's id; if it changed, every vector would change.
    tokenizer = made.fast("bpe")
    model = made.model(name, len(tokenizer))
    model.config.pad_token_id = 9
    for part in model.modules():
        if getattr(part, "padding_idx", None) is not None:
            part.padding_idx = 9
    small, report = trim(model, tokenizer=tokenizer)
    assert small.config.pad_token_id == 9
    assert report.old_ids[:10].tolist() == list(range(10))


def test_a_defect_does_not_go_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_wrongly(model: Any, kept: torch.Tensor, **options: Any) -> None:
        from mlret.vocabulary import weights

        weights.cut_weights(model, kept, **options)
        model.get_input_embeddings().weight.data[6:] = model.get_input_embeddings().weight.data[5]

    monkeypatch.setattr("mlret.vocabulary.target_model.cut_weights", cut_wrongly)
    tokenizer = made.fast("unigram")
    with pytest.raises(MlretError, match=r"computes other vectors for covered texts"):
        trim(made.model("bert", len(tokenizer)), tokenizer=tokenizer)


def test_without_text_nothing_is_measured() -> None:
    tokenizer = made.fast("unigram")
    _, report = mlret.trim_vocabulary(made.model("bert", len(tokenizer)), languages=["el", "ja"], tokenizer=tokenizer)
    assert report.figures == []
    assert report.largest_difference is None
    assert "There was no text to compare" in report.card()
    assert "Greek, Japanese: the tokens that their scripts can write" in report.card()


def test_the_report_reads_well(tmp_path: Path) -> None:
    tokenizer = made.fast("unigram")
    _, report = trim(made.model("bert", len(tokenizer)), tokenizer=tokenizer)
    report.retrieval = [{"benchmark": "tatoeba", "metric": "mean", "before": 0.5, "after": 0.45}]
    report.write(tmp_path / "trim")
    found = json.loads((tmp_path / "trim" / "trim.json").read_text())
    assert found["after"]["tokens"] == report.after.tokens
    assert found["figures"][0]["language"] == "sw"
    assert np.array_equal(np.load(tmp_path / "trim" / "old_ids.npy"), report.old_ids)
    text = (tmp_path / "trim" / "trim.md").read_text()
    assert "| tatoeba, mean | 50.0 | 45.0 | -5.0 |" in text
    assert "Swahili (sw)" in text
    assert "bit for bit (float32)" in report.card()
    assert (tmp_path / "trim" / "fertility.png").stat().st_size > 1000


def test_preview_without_corpus_asks_for_one() -> None:
    tokenizer = made.fast("wordpiece")
    model = made.model("bert", len(tokenizer))
    with pytest.raises(InputError, match=r"preview shows the coverage of text: give a corpus"):
        preview(model, corpus=None, languages=["sw"], tokenizer=tokenizer)


def test_training_mode_returns_even_if_a_text_fails() -> None:
    tokenizer = made.fast("wordpiece")
    model = made.model("bert", len(tokenizer))
    model.train()
    subject = ModelSubject(model, tokenizer)
    assert len(subject.vectors(["a cat"])) == 1
    assert model.training
    with pytest.raises(ValueError, match="must be of type"):
        subject.vectors([17])  # type: ignore[list-item]
    assert model.training


def test_the_preview_rises_to_everything() -> None:
    tokenizer = made.fast("unigram")
    curve = preview(made.model("bert", len(tokenizer)), corpus=SOME, tokenizer=tokenizer, size=600)
    assert curve.sizes == sorted(curve.sizes)
    assert curve.sizes[0] == curve.always_kept
    assert curve.selected == 600
    assert (np.diff(curve.coverage, axis=1) >= -1e-12).all()
    assert curve.coverage[:, -1] == pytest.approx([1, 1])
    assert curve.tokens == 3000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 900}, r"size and coverage are given: choose one"),
        ({"coverage": 1.5}, r"coverage 1.5 is out of range"),
        ({"coverage": None, "size": 0}, r"size 0 is not positive"),
        ({"corpus": None}, r"coverage needs text"),
        ({"corpus": None, "coverage": None}, r"neither languages nor a corpus"),
        ({"languages": ["sw", "klingonish"]}, r"unknown language code 'klingonish'"),
        ({"keep": [""]}, r"word to keep '' is empty"),
        ({"keep": "habari"}, r"keep is one string: give a list"),
    ],
)
def test_bad_choices_are_refused(options: dict[str, Any], message: str) -> None:
    tokenizer = made.fast("unigram")
    with pytest.raises(InputError, match=message):
        trim(made.model("bert", len(tokenizer)), tokenizer=tokenizer, **options)


def test_what_cannot_be_trimmed_is_refused(tmp_path: Path) -> None:
    for model, message in [
        (object(), r"object is not a model that mlret trims"),
        (tmp_path, r"neither modules.json nor config.json"),
        (tmp_path / "nowhere", r"no encoder folder"),
        (SentenceTransformer(modules=[Pooling(8, "mean")], device="cpu"), r"begins with Pooling"),
        (made.model("bert", 300), r"give tokenizer="),
    ]:
        with pytest.raises(InputError, match=message):
            trim(model)
    with pytest.raises(InputError, match=r"ids up to 2,999, its table of embeddings 400 rows"):
        trim(made.model("bert", 400), tokenizer=made.fast("unigram"))
    with pytest.raises(InputError, match=r"has no fast tokenizer \(tokenizer.json\)"):
        trim(made.model("bert", 400), tokenizer=transformers.ByT5Tokenizer())
