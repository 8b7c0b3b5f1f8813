"""Tokenizers of every kind, trained here on a few words in many scripts, and untrained models of every family."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, BertTokenizerFast, PreTrainedTokenizerFast

from mlret.data.sample import load_sample
from tests.shared import shared_data

SPECIALS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
KINDS = ("unigram", "unigram-bytes", "bpe", "bpe-suffix", "byte-bpe", "wordpiece")
REAL = ("xlmr_base", "mbert_cased")


@cache
def corpus() -> dict[str, list[str]]:
    """Return the bundled sample by language."""
    found: dict[str, list[str]] = {}
    for passage in load_sample().passages:
        found.setdefault(str(passage.language), []).append(passage.text)
    return found


def texts() -> list[str]:
    return [text for some in corpus().values() for text in some]


@cache
def trained(kind: str) -> str:
    """Return the ``tokenizer.json`` of a tokenizer that is trained on the sample."""
    byte_letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    match kind:
        case "unigram" | "unigram-bytes":
            tokenizer = Tokenizer(models.Unigram())
            tokenizer.normalizer = normalizers.NFKC()
            tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
            tokenizer.decoder = decoders.Metaspace()
            specials = SPECIALS + [f"<0x{byte:02X}>" for byte in range(256)] * (kind == "unigram-bytes")
            trainer: Any = trainers.UnigramTrainer(
                vocab_size=3000, special_tokens=specials, unk_token="<unk>", show_progress=False
            )
        case "bpe" | "bpe-suffix":
            suffix = {"end_of_word_suffix": "</w>"} if kind == "bpe-suffix" else {}
            tokenizer = Tokenizer(models.BPE(unk_token="<unk>", **suffix))
            tokenizer.pre_tokenizer = pre_tokenizers.Whitespace() if suffix else pre_tokenizers.Metaspace()
            tokenizer.decoder = decoders.BPEDecoder(suffix="</w>") if suffix else decoders.Metaspace()
            trainer = trainers.BpeTrainer(vocab_size=3000, special_tokens=SPECIALS, show_progress=False, **suffix)
        case "byte-bpe":
            tokenizer = Tokenizer(models.BPE())
            tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
            tokenizer.decoder = decoders.ByteLevel()
            trainer = trainers.BpeTrainer(
                vocab_size=3000, special_tokens=SPECIALS, initial_alphabet=byte_letters, show_progress=False
            )
        case "wordpiece":
            tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
            tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
            tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
            tokenizer.decoder = decoders.WordPiece()
            trainer = trainers.WordPieceTrainer(vocab_size=3000, special_tokens=SPECIALS, show_progress=False)
        case _:
            raise AssertionError(kind)
    tokenizer.train_from_iterator(texts(), trainer)
    if kind == "unigram-bytes":
        import json

        state = json.loads(tokenizer.to_str())
        state["model"]["byte_fallback"] = True
        state["added_tokens"] = [added for added in state["added_tokens"] if not added["content"].startswith("<0x")]
        state["decoder"] = {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, state["decoder"]]}
        tokenizer = Tokenizer.from_str(json.dumps(state))
    start, end = (tokenizer.token_to_id(token) for token in ("<s>", "</s>"))
    if kind == "wordpiece":
        tokenizer.post_processor = processors.BertProcessing(("</s>", end), ("<s>", start))
    else:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>",
            pair="<s> $A </s> $B </s>",
            special_tokens=[("<s>", start), ("</s>", end)],
        )
    return tokenizer.to_str()


@cache
def real(name: str) -> str:
    """Return the ``tokenizer.json`` of XLM-R base or multilingual BERT."""
    return gzip.decompress(shared_data("tokenizers", f"{name}.tokenizer.json.gz").read_bytes()).decode()


def tokenizer_of(kind: str) -> Tokenizer:
    return Tokenizer.from_str(real(kind) if kind in REAL else trained(kind))


def fast(kind: str, **options: Any) -> PreTrainedTokenizerFast:
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>"}
    tokens |= {"unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer_of(kind), model_max_length=64, **tokens, **options)


_IDS = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48, **_IDS}
_SEQUENCE = {
    "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
    "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 128, "decoder_start_token_id": 2,
    "forced_eos_token_id": 2, **_IDS,
}  # fmt: skip
_T5 = {"d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 1, **_IDS}
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "xlm-r masked": ("XLMRobertaForMaskedLM", "XLMRobertaConfig", {**_SMALL, "max_position_embeddings": 66}),
    "xlm-r classifier": (
        "XLMRobertaForSequenceClassification", "XLMRobertaConfig", {**_SMALL, "max_position_embeddings": 66},
    ),
    "x-mod": (
        "XmodForMaskedLM", "XmodConfig",
        {**_SMALL, "max_position_embeddings": 66, "languages": ["en_XX", "sw_KE"], "default_language": "sw_KE"},
    ),
    "bert masked": ("BertForMaskedLM", "BertConfig", {**_SMALL, "max_position_embeddings": 64}),
    "bert": ("BertModel", "BertConfig", {**_SMALL, "max_position_embeddings": 64}),
    "long bert": ("BertModel", "BertConfig", {**_SMALL, "max_position_embeddings": 256}),
    "distilbert masked": (
        "DistilBertForMaskedLM", "DistilBertConfig", {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48, **_IDS},
    ),
    "deberta": ("DebertaV2ForMaskedLM", "DebertaV2Config", {**_SMALL, "max_position_embeddings": 66, "legacy": False}),
    "electra": ("ElectraForMaskedLM", "ElectraConfig", {**_SMALL, "embedding_size": 24}),
    "modernbert": (
        "ModernBertForMaskedLM", "ModernBertConfig", {**_SMALL, "cls_token_id": 0, "sep_token_id": 2},
    ),
    "t5 tied": ("T5ForConditionalGeneration", "T5Config", _T5),
    "mt5 untied": ("MT5ForConditionalGeneration", "MT5Config", _T5),
    "mbart": ("MBartForConditionalGeneration", "MBartConfig", {**_SEQUENCE, "forced_bos_token_id": 3}),
    "m2m": ("M2M100ForConditionalGeneration", "M2M100Config", _SEQUENCE),
    "llama tied": (
        "LlamaForCausalLM", "LlamaConfig", {**_SMALL, "num_key_value_heads": 2, "tie_word_embeddings": True},
    ),
    "llama untied": (
        "LlamaForCausalLM", "LlamaConfig", {**_SMALL, "num_key_value_heads": 2, "tie_word_embeddings": False},
    ),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 2, **_IDS}),
    "gemma": ("Gemma3ForCausalLM", "Gemma3TextConfig", {**_SMALL, "num_key_value_heads": 2, "head_dim": 16}),
    "qwen": ("Qwen3ForCausalLM", "Qwen3Config", {**_SMALL, "num_key_value_heads": 2, "head_dim": 16}),
}  # fmt: skip


def model(name: str, rows: int) -> Any:
    """Return an untrained model with a vocabulary of ``rows``; its biases are not zero, as in trained models."""
    kind, config, options = MODELS[name]
    torch.manual_seed(0)
    made = getattr(transformers, kind)(getattr(transformers, config)(vocab_size=rows, **options)).eval()
    if name == "mt5 untied":  # as in its checkpoints
        made.lm_head.weight = torch.nn.Parameter(torch.randn(rows, 32))
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.dim() == 1:
                parameter.normal_(0, 0.1)
        if hasattr(made, "final_logits_bias"):
            made.final_logits_bias.normal_()
    return made


def english_encoder(folder: Path, words: Sequence[str]) -> SentenceTransformer:
    """Return an untrained BERT of two layers with some words and mean pooling; no position or bias is zero."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (folder / "vocab.txt").write_text("\n".join([*specials, *words]) + "\n", encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=24).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words) + len(specials), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=48, max_position_embeddings=24, initializer_range=0.3,
    )  # fmt: skip
    model = BertModel(config, add_pooling_layer=False)
    for name, parameter in model.named_parameters():
        if "bias" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder)
    return SentenceTransformer(modules=[Transformer(str(folder)), Pooling(32, "mean")], device="cpu")
