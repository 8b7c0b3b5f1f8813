"""Test that no encoder gets more tokens than its network takes; the reference is the bare network at every length."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from pydantic import TypeAdapter
from sentence_transformers import MultiVectorEncoder, SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from mlret.encoders.encoder import Encoder
from mlret.encoders.late_interaction import multi_vector_encoder
from mlret.encoders.loading import load_encoder
from mlret.encoders.longest_input import keep_within_positions, positions_of, truncation
from mlret.encoders.multi_vector import load_token_encoder
from mlret.encoders.token_encoder import TokenEncoder
from mlret.errors import InputError
from mlret.training.backbones.backbone import load_backbone
from mlret.training.labels.teachers import CrossEncoderTeacher
from mlret.training.objectives.objective import check_stage
from mlret.training.recipe import PretrainedBackbone
from mlret.training.stages import Stage
from mlret.vocabulary.trim import trim_vocabulary

ROWS = 34
WORDS = ["habari", "ya", "asubuhi", "rafiki", "yangu", "leo", "kesho", "jana"]
SPECIALS = ["<s>", "<pad>", "</s>", "<unk>"]
VOCABULARY = {token: number for number, token in enumerate([*SPECIALS, *WORDS, "<mask>"])}
LONG = " ".join(WORDS * 20)
SIZE: dict[str, Any] = {
    "vocab_size": len(VOCABULARY), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 32, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2,
}  # fmt: skip
TABLE: dict[str, Any] = {**SIZE, "max_position_embeddings": ROWS}
# Kind -> (class, configuration, longest input of the architecture; None if it has no limit).
KINDS: dict[str, tuple[str, dict[str, Any], int | None]] = {
    "xlm-roberta": ("XLMRoberta", TABLE, ROWS - 2),
    "roberta": ("Roberta", TABLE, ROWS - 2),
    "camembert": ("Camembert", TABLE, ROWS - 2),
    "mpnet": ("MPNet", TABLE, ROWS - 2),
    "xmod": ("Xmod", {**TABLE, "languages": ["sw", "en"], "default_language": "sw"}, ROWS - 2),
    "padding at 3": ("XLMRoberta", {**TABLE, "pad_token_id": 3}, ROWS - 4),
    "bert": ("Bert", TABLE, ROWS),
    "electra": ("Electra", {**TABLE, "embedding_size": 16}, ROWS),
    "distilbert": (
        "DistilBert",
        {"vocab_size": 13, "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": ROWS},
        ROWS,
    ),
    "nystromformer": ("Nystromformer", {**TABLE, "num_landmarks": 2, "segment_means_seq_len": 2}, ROWS),
    "opt": (
        "OPT",
        {**TABLE, "ffn_dim": 32, "word_embed_proj_dim": 16},
        ROWS,
    ),
    "gpt2": ("GPT2", {"vocab_size": 13, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": ROWS}, ROWS),
    "modernbert": (
        "ModernBert",
        {**TABLE, "cls_token_id": 0, "sep_token_id": 2, "global_attn_every_n_layers": 1, "local_attention": 8},
        None,
    ),
    "t5": (
        "T5Encoder",
        {"vocab_size": 13, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "pad_token_id": 1},
        None,
    ),
    "deberta": (
        "DebertaV2",
        {**TABLE, "relative_attention": True, "position_biased_input": False, "pos_att_type": ["p2c", "c2p"]},
        None,
    ),
}  # fmt: skip


def network(kind: str) -> Any:
    name, options, _ = KINDS[kind]
    model = getattr(transformers, f"{name}Model")
    torch.manual_seed(0)
    return model(model.config_class(**options)).eval()


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer of words that does not state how long a text may be."""
    words = Tokenizer(models.WordLevel(VOCABULARY, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
    )


def folder_of(kind: str, tokenizer: PreTrainedTokenizerFast, folder: Path, stated: Any = None) -> Path:
    """Write a folder of sentence-transformers whose tokenizer states the limit ``stated``, or none."""
    backbone, encoder = folder / "network", folder / "encoder"
    network(kind).save_pretrained(backbone)
    tokenizer.save_pretrained(backbone)
    SentenceTransformer(modules=[(first := Transformer(str(backbone))), Pooling(first.get_embedding_dimension())]).save(
        str(encoder), create_model_card=False
    )
    for config in (backbone, encoder):
        file = config / "tokenizer_config.json"
        settings = json.loads(file.read_text())
        settings.pop("model_max_length", None)
        file.write_text(json.dumps(settings if stated is None else settings | {"model_max_length": stated}))
    return encoder


def reference(kind: str, folder: Path, tokens: int) -> np.ndarray:
    """Return the mean of the bare network's output for the first tokens of the long text."""
    ids = [0, *[VOCABULARY[word] for word in LONG.split()][: tokens - 2], 2]
    with torch.inference_mode():
        bare = getattr(transformers, f"{KINDS[kind][0]}Model").from_pretrained(folder.parent / "network").eval()
        states = bare(torch.tensor([ids])).last_hidden_state[0].numpy()
    vector = states.mean(axis=0)
    return np.asarray(vector / np.linalg.norm(vector))


@pytest.mark.parametrize("kind", KINDS)
def test_the_limit_is_the_longest_text_that_the_bare_network_takes(kind: str) -> None:
    model, longest = network(kind), KINDS[kind][2]

    def runs(tokens: int) -> bool:
        try:
            model(torch.full((1, tokens), 5))
        except (RuntimeError, IndexError, ValueError):
            return False
        return True

    assert positions_of(model) == longest
    if longest is None:
        assert runs(3 * ROWS)
    else:
        assert runs(longest) and not runs(longest + 1)


@pytest.mark.parametrize("stated", [None, ROWS, ROWS - 1, 512, 512.0, 10**30, 1e30, -1])
def test_a_folder_that_states_too_much_or_nothing_is_cut_at_the_positions(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path, stated: Any
) -> None:
    folder = folder_of("xlm-roberta", tokenizer, tmp_path, stated)
    encoder = load_encoder(folder, device="cpu")
    expected = reference("xlm-roberta", folder, ROWS - 2)
    for encode in (encoder.encode, encoder.encode_query, encoder.encode_document):
        np.testing.assert_allclose(encode([LONG, "leo"])[0], expected, atol=1e-5)
    assert encoder.model.max_seq_length == ROWS - 2


def test_a_shorter_limit_that_the_folder_states_is_kept(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    folder = folder_of("xlm-roberta", tokenizer, tmp_path, 10)
    vector = load_encoder(folder, device="cpu").encode([LONG])[0]
    np.testing.assert_allclose(vector, reference("xlm-roberta", folder, 10), atol=1e-5)


def test_a_folder_whose_transformer_has_a_configuration_of_its_own_states_too_much(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    folder = folder_of("roberta", tokenizer, tmp_path)
    file = folder / "sentence_bert_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"max_seq_length": 514}))
    vector = load_encoder(folder, device="cpu").encode([LONG])[0]
    np.testing.assert_allclose(vector, reference("roberta", folder, ROWS - 2), atol=1e-5)
    file.unlink()
    vector = load_encoder(folder, device="cpu").encode([LONG])[0]
    np.testing.assert_allclose(vector, reference("roberta", folder, ROWS - 2), atol=1e-5)


@pytest.mark.parametrize("kind", ["mpnet", "camembert", "bert", "distilbert", "xmod"])
def test_encoders_of_all_kinds_cut_a_long_text(kind: str, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    folder = folder_of(kind, tokenizer, tmp_path)
    vector = load_encoder(folder, device="cpu").encode([LONG], language="sw")[0]
    np.testing.assert_allclose(vector, reference(kind, folder, KINDS[kind][2] or 0), atol=1e-5)


def test_relative_positions_are_not_cut_where_nothing_is_stated(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    folder = folder_of("t5", tokenizer, tmp_path)
    vector = load_encoder(folder, device="cpu").encode([LONG])[0]
    np.testing.assert_allclose(vector, reference("t5", folder, len(LONG.split()) + 2), atol=1e-5)


def test_the_fingerprint_is_of_what_the_folder_states_so_that_older_indexes_open(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    folder = folder_of("xlm-roberta", tokenizer, tmp_path)
    model = SentenceTransformer(str(folder), device="cpu")
    from mlret.encoders.fingerprint import fingerprint_of

    before = fingerprint_of(model, 16)
    assert model.max_seq_length == ROWS
    assert Encoder(model).fingerprint == Encoder(model).fingerprint == before
    model.max_seq_length = 12
    assert Encoder(model).fingerprint != before


def test_an_encoder_with_a_vector_a_token_cuts_queries_and_documents(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    made = multi_vector_encoder(folder_of("xlm-roberta", tokenizer, tmp_path), dims=8, device="cpu")
    made.save(str(tmp_path / "tokens"), create_model_card=False)
    encoder = load_token_encoder(tmp_path / "tokens", device="cpu")
    assert len(encoder.encode_query([LONG])[0]) == len(encoder.encode_document([LONG])[0]) == ROWS - 2
    with pytest.raises(InputError, match=f"takes up to {ROWS - 2} tokens"):
        multi_vector_encoder(tmp_path / "encoder", document_length=ROWS)


@pytest.mark.parametrize("strategy", ["fixed", "min", None])
def test_lengths_by_task_beyond_the_positions_are_lowered(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path, strategy: str | None
) -> None:
    model = multi_vector_encoder(folder_of("xlm-roberta", tokenizer, tmp_path), dims=8, query_length=None, device="cpu")
    first: Any = model[0]
    first.document_length = 180
    if strategy is None:
        first.query_length = 90
    else:
        first.query_expansion = {"strategy": strategy, "attend": True, "length": 64}
    assert isinstance(model, MultiVectorEncoder)
    encoder = TokenEncoder(model)
    assert len(encoder.encode_query([LONG])[0]) == len(encoder.encode_document([LONG])[0]) == ROWS - 2


def test_a_vocabulary_is_trimmed_on_texts_beyond_the_positions(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    folder = folder_of("xlm-roberta", tokenizer, tmp_path)
    given = SentenceTransformer(str(folder), device="cpu")
    corpus = {"sw": [LONG, *(f"{LONG} {word}" for word in WORDS)]}
    for model in (str(folder), str(tmp_path / "network"), given, Encoder(SentenceTransformer(str(folder)))):
        _, report = trim_vocabulary(model, corpus=corpus)
        assert report.largest_difference == 0 and report.compared > 0
    assert given.max_seq_length == ROWS, "the caller's encoder stays as it is"


def test_a_cross_encoder_cuts_query_and_passage(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder

    from mlret.data.ranking import RankingExample

    config = transformers.XLMRobertaConfig(**TABLE, num_labels=1)
    torch.manual_seed(0)
    transformers.XLMRobertaForSequenceClassification(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    teacher = CrossEncoderTeacher(CrossEncoder(str(tmp_path), device="cpu"))
    (scores,) = teacher.scores([RankingExample("leo", (LONG, "kesho jana"), ())])
    assert len(scores) == 2 and np.isfinite(scores).all()


def test_a_backbone_to_be_trained_takes_what_its_network_takes(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    folder = folder_of("xlm-roberta", tokenizer, tmp_path)
    for source in (folder, tmp_path / "network"):
        model = load_backbone(PretrainedBackbone(kind="pretrained", model=str(source)), seed=0)
        assert model.max_seq_length == ROWS - 2
        with pytest.raises(InputError, match=f"takes {ROWS - 2} tokens at most"):
            load_backbone(PretrainedBackbone(kind="pretrained", model=str(source), max_length=ROWS), seed=0)


def test_numbers_that_mean_no_limit_never_reach_the_tokenizer() -> None:
    assert truncation(None) == truncation(10**30) == truncation(int(1e30)) == {"truncation": False}
    assert truncation(512) == {"truncation": "longest_first", "max_length": 512}


def test_parts_that_do_not_read_text_do_not_limit_it() -> None:
    config = transformers.CLIPConfig(
        text_config={**TABLE, "projection_dim": 8},
        vision_config={"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 8,
                       "patch_size": 4, "intermediate_size": 32},
        projection_dim=8,
    )  # fmt: skip
    assert positions_of(transformers.CLIPModel(config)) == ROWS


def test_keeping_within_positions_twice_changes_nothing(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    model = SentenceTransformer(str(folder_of("xlm-roberta", tokenizer, tmp_path)), device="cpu")
    keep_within_positions(model)
    keep_within_positions(model)
    assert model.max_seq_length == ROWS - 2


def test_a_stage_of_training_that_cuts_beyond_the_positions_is_refused(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    model = load_encoder(folder_of("xlm-roberta", tokenizer, tmp_path), device="cpu").model
    stage = {"name": "pairs", "steps": 1, "objective": "ranking"}
    check_stage(TypeAdapter(Stage).validate_python(stage | {"max_length": ROWS - 2}), model)
    with pytest.raises(InputError, match=f"longer than the encoder's {ROWS - 2}: lower max_length"):
        check_stage(TypeAdapter(Stage).validate_python(stage | {"max_length": ROWS}), model)
