"""Test the `.model` of slow tokenizers, which is cut to the same tokens as the fast tokenizer."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import transformers
from sentencepiece import sentencepiece_model_pb2

import mlret
from mlret.errors import InputError
from mlret.vocabulary.saving import save_trimmed
from mlret.vocabulary.sentencepiece_model import cut_sentencepiece
from tests.shared import shared_data
from tests.vocabulary import made


def trained(kind: str, **options: Any) -> bytes:
    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(made.texts()),
        model_writer=content,
        vocab_size=2500,
        model_type=kind,
        minloglevel=2,
        **options,
    )
    return content.getvalue()


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_the_fast_and_the_slow_tokenizer_agree(kind: str, tmp_path: Path) -> None:
    """As in XLM-R, a slow tokenizer numbers the tokens by their position, after four special tokens."""
    content = trained(kind)
    folder = tmp_path / "whole"
    folder.mkdir()
    (folder / "sentencepiece.bpe.model").write_bytes(content)
    made_tokenizer = transformers.XLMRobertaTokenizer if kind == "unigram" else transformers.LlamaTokenizer
    if kind == "bpe":
        (folder / "tokenizer.model").write_bytes(content)
        (folder / "sentencepiece.bpe.model").unlink()
    tokenizer = made_tokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(folder)
    name = "xlm-r masked" if kind == "unigram" else "llama tied"
    model = made.model(name, len(tokenizer))
    model.save_pretrained(folder)
    corpus = {code: made.corpus()[code] for code in ("sw", "en")}
    small, report = mlret.trim_vocabulary(folder, corpus=corpus, coverage=0.97)
    save_trimmed(small, report, tmp_path / "small")
    (written,) = (tmp_path / "small").glob("*.model")
    slow = sentencepiece.SentencePieceProcessor(model_file=str(written))
    assert slow.get_piece_size() < 2500
    fast = transformers.AutoTokenizer.from_pretrained(tmp_path / "small")
    for text in [*corpus["sw"], *made.corpus()["de"]]:
        pieces = slow.encode(text, out_type=str)
        assert [token for token in fast.tokenize(text) if token != "<unk>"] == [
            piece for piece in pieces if fast.convert_tokens_to_ids(piece) != fast.unk_token_id
        ]
        if kind == "unigram":
            # fairseq's four special tokens precede the tokens; the model's own three are not used.
            offset = 1
            assert [
                slow.piece_to_id(piece) + offset for piece in pieces if slow.piece_to_id(piece) != slow.unk_id()
            ] == [
                position
                for position in fast(text, add_special_tokens=False)["input_ids"]
                if position != fast.unk_token_id
            ]


def test_tokens_of_special_types_are_kept() -> None:
    content = trained("unigram", byte_fallback=True, user_defined_symbols=["<sep>"], pad_id=3)
    cut = cut_sentencepiece(content, {"▁", "a"})
    proto = sentencepiece_model_pb2.ModelProto.FromString(cut)
    assert [piece.piece for piece in proto.pieces if piece.type == 1] == ["▁", "a"]
    assert {"<unk>", "<s>", "</s>", "<pad>", "<sep>", "<0x00>", "<0xFF>"} <= {piece.piece for piece in proto.pieces}
    assert proto.trainer_spec.vocab_size == len(proto.pieces)
    processor = sentencepiece.SentencePieceProcessor(model_proto=cut)
    assert processor.decode(processor.encode("a𓀀")) == "a𓀀"


def test_a_real_model_of_fifty_thousand_tokens() -> None:
    content = shared_data("tokenizers", "laser_50k.model").read_bytes()
    whole = sentencepiece.SentencePieceProcessor(model_proto=content)
    texts = [text.lower() for code in ("sw", "en") for text in made.corpus()[code]]
    pieces = {piece for text in texts for piece in whole.encode(text, out_type=str)}
    lowest = min(range(3, whole.get_piece_size()), key=whole.get_score)
    letters = {letter for piece in pieces for letter in piece}
    small = sentencepiece.SentencePieceProcessor(
        model_proto=cut_sentencepiece(content, pieces | letters | {whole.id_to_piece(lowest)})
    )
    assert small.get_piece_size() < 5000
    for text in texts:
        assert small.encode(text, out_type=str) == whole.encode(text, out_type=str)


@pytest.mark.parametrize("content", [b"\xff\xff", b""])
def test_files_that_are_not_models_are_refused(content: bytes) -> None:
    with pytest.raises(InputError, match=r"x\.model is not a SentencePiece model"):
        cut_sentencepiece(content, {"a"}, "x.model")


def test_a_folder_without_one_gets_none(tmp_path: Path) -> None:
    tokenizer = made.fast("unigram")
    model, report = mlret.trim_vocabulary(
        made.model("bert", len(tokenizer)), corpus={"sw": made.corpus()["sw"]}, tokenizer=tokenizer
    )
    save_trimmed(model, report, tmp_path / "small")
    assert not list((tmp_path / "small").glob("*.model"))
    assert json.loads((tmp_path / "small" / "config.json").read_text())["vocab_size"] == report.after.tokens
    assert (tmp_path / "small" / "README.md").read_text().startswith("# small\n\n## Vocabulary trimming\n")
