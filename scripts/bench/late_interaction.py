"""Compare scores of checkpoints with those of colbert-ai and PyLate on the same weights, in both directions.

    python scripts/bench/peers/make.py peers/ colbert_ai pylate
    python scripts/bench/late_interaction.py --colbert-python peers/colbert_ai/bin/python \
        --pylate-python peers/pylate/bin/python --json late-interaction.json

"read": the peer makes a checkpoint and scores with it; mlret loads its folder. "written": mlret makes an encoder and
exports it; the peer loads that folder. The backbones are the bundled encoder with its own weights (XLM-R's kind,
Unigram), the same made modular (X-MOD, random adapters), and BERT (WordPiece) and RoBERTa (byte-level BPE) of random
weights; the texts are the bundled sample's, in twelve languages. What is compared is MaxSim, of 32 tokens a query.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import transformers
import typer
from numpy.typing import NDArray
from sentence_transformers import MultiVectorEncoder, SentenceTransformer
from sentence_transformers.base.modules import Transformer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, RobertaConfig, RobertaModel

from mlret.data.durable import write_text_atomically
from mlret.data.sample import load_sample
from mlret.encoders.adapters import with_adapters
from mlret.encoders.colbert_export import Format, export_encoder
from mlret.encoders.late_interaction import multi_vector_encoder
from mlret.encoders.loading import load_encoder
from mlret.encoders.multi_vector import load_token_encoder
from mlret.encoders.token_encoder import TokenEncoder

PEERS: dict[Format, str] = {"colbert": "colbert_ai_scores.py", "pylate": "pylate_scores.py"}
BACKBONES = ("xlm-roberta", "x-mod", "bert", "roberta")
LENGTHS = {"dims": 64, "query_length": 32, "document_length": 100}
# The adapter that the peers use; texts in all languages go through it on both sides.
LANGUAGE = "sw"
_SPECIALS = {
    "bert": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", "[unused1]"],
    "roberta": ["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
}


@dataclass(frozen=True)
class Comparison:
    """A checkpoint, and how far the scores of both sides are apart.

    Attributes
    ----------
    least_score, largest_score
        The smallest and the largest score of the peer.
    library_difference
        For a checkpoint that the peer made: how far the scores of sentence-transformers alone are from those of the
        peer.
    """

    peer: str
    direction: str
    backbone: str
    attend: bool
    largest_difference: float
    least_score: float
    largest_score: float
    library_difference: float | None = None


def compare(
    peer: Format, python: str, folder: Path, backbones: tuple[str, ...] = BACKBONES, *, library: bool = False
) -> Iterator[Comparison]:
    """Compare with a peer, run with its own Python, and with sentence-transformers alone."""
    queries, documents = texts()
    made: list[dict[str, Any]] = []
    scored: list[dict[str, str]] = []
    ours: dict[tuple[str, str, bool], TokenEncoder] = {}
    for name in backbones:
        source = backbone(name)
        save_for_peers(source, folder / name)
        for attend in (False, True):
            read, written = (folder / f"{name}-{direction}-{attend}" for direction in ("read", "written"))
            made.append({"backbone": str(folder / name), "folder": str(read), "attend": attend})
            model = multi_vector_encoder(
                source,
                attend=attend,
                punctuation="ascii" if peer == "colbert" else "all",
                **LENGTHS,  # type: ignore[arg-type]
            )
            # The peers cannot store the routing of texts, so all texts go through one adapter here.
            export_encoder(model, written, format=peer, lossy=name == "x-mod")
            ours[name, "written", attend] = TokenEncoder(model)
            scored += [{"folder": str(path), "output": f"{path}.npy"} for path in (read, written)]
    jobs = {"make": made, "score": scored, "queries": queries, "documents": documents, **LENGTHS}
    (folder / "jobs.json").write_text(json.dumps(jobs), encoding="utf-8")
    command = [python, str(Path(__file__).parent / "peers" / PEERS[peer]), str(folder / "jobs.json")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{run.stderr[-3000:]}")
    for name in backbones:
        for attend in (False, True):
            ours[name, "read", attend] = load_token_encoder(folder / f"{name}-read-{attend}", device="cpu")
    for (name, direction, attend), encoder in ours.items():
        path = folder / f"{name}-{direction}-{attend}"
        theirs = np.load(f"{path}.npy")
        apart = None
        if direction == "read" and library:
            alone = MultiVectorEncoder(str(path), device="cpu")
            if name == "x-mod":
                alone[0].model.set_default_language(LANGUAGE)
            apart = _apart(scores(TokenEncoder(alone), queries, documents), theirs)
        found = _apart(scores(encoder, queries, documents), theirs)
        yield Comparison(peer, direction, name, attend, found, float(theirs.min()), float(theirs.max()), apart)


def _apart(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.abs(one - other).max())


def texts() -> tuple[list[str], list[str]]:
    """Return questions and passages in twelve languages, a long query, and texts of punctuation in several scripts."""
    sample = load_sample()
    queries = [topic.text for topic in sample.questions.values()][::9]
    documents = [passage.text for passage in sample.passages][::8]
    queries += ["Mvua, jua na upepo? " * 12, "東京、大阪(日本)。"]
    documents += ["«Кот» — это… [кот]!", "「猫」は、(動物)です。", "قط؛ قطة؟", "(a) b_c @ d-e ~ f's"]
    return queries, documents


def scores(encoder: TokenEncoder, queries: list[str], documents: list[str]) -> NDArray[np.float64]:
    """Return MaxSim in double precision, ``(queries, documents)``."""
    left = [tokens.astype(np.float64) for tokens in encoder.encode_query(queries, language=LANGUAGE)]
    right = [tokens.astype(np.float64) for tokens in encoder.encode_document(documents, language=LANGUAGE)]
    return np.array([[(query @ document.T).max(axis=1).sum() for document in right] for query in left])


def backbone(name: str) -> SentenceTransformer:
    """Make an encoder to start from."""
    torch.manual_seed(0)
    if name in ("xlm-roberta", "x-mod"):
        model = load_encoder(device="cpu").model
        if name == "x-mod":
            with_adapters(model, ["en", LANGUAGE], default_language=LANGUAGE)
            for layer in model[0].model.encoder.layer:
                for adapter in layer.output.adapter_modules.values():
                    torch.nn.init.normal_(adapter.dense2.weight, std=0.2)
            model[0].model.config.default_language = LANGUAGE
        return model
    tokenizer = _tokenizer(name)
    shape = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
    rows = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, "initializer_range": 0.5}
    if name == "bert":
        made: Any = BertModel(BertConfig(**shape, **rows, max_position_embeddings=128))
    else:
        made = RobertaModel(RobertaConfig(**shape, **rows, max_position_embeddings=130))
    with tempfile.TemporaryDirectory() as folder:
        made.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return SentenceTransformer(modules=[Transformer(folder)], device="cpu")


def save_for_peers(model: SentenceTransformer, folder: Path) -> None:
    """Write the backbone in the form that transformers 4 reads."""
    model[0].model.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8")) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    path.write_text(json.dumps(settings), encoding="utf-8")


def _tokenizer(name: str) -> PreTrainedTokenizerFast:
    passages = [passage.text for passage in load_sample().passages]
    specials = _SPECIALS[name]
    if name == "bert":
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer: Any = trainers.WordPieceTrainer(vocab_size=3000, special_tokens=specials, show_progress=False)
        marks = {"cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]", "pad_token": "[PAD]"}
        marks["mask_token"] = "[MASK]"
    else:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(
            vocab_size=3000,
            special_tokens=specials,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        marks = {"cls_token": "<s>", "sep_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
        marks |= {"mask_token": "<mask>", "bos_token": "<s>", "eos_token": "</s>"}
    tokenizer.train_from_iterator(passages, trainer)
    start, end = marks["cls_token"], marks["sep_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (start, end)],
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=128, **marks)


def main(
    colbert_python: Annotated[str | None, typer.Option(help="The Python of an environment with colbert-ai.")] = None,
    pylate_python: Annotated[str | None, typer.Option(help="The Python of an environment with PyLate.")] = None,
    output: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    """Print how far the scores are apart."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    pythons: dict[Format, str | None] = {"colbert": colbert_python, "pylate": pylate_python}
    found: list[Comparison] = []
    versions = {}
    for peer, python in pythons.items():
        if python is None:
            continue
        versions[peer] = _versions(python)
        with tempfile.TemporaryDirectory() as folder:
            for one in compare(peer, python, Path(folder), library=True):
                found.append(one)
                masks = "masks attended" if one.attend else "masks not attended"
                alone = (
                    "" if one.library_difference is None else f" (sentence-transformers {one.library_difference:.1e})"
                )
                print(
                    f"{one.peer:8} {one.direction:8} {one.backbone:12} {masks:19} scores {one.least_score:.2f} to "
                    f"{one.largest_score:.2f}, largest difference {one.largest_difference:.1e}{alone}"
                )
    if not found:
        raise SystemExit("name a Python: --colbert-python, --pylate-python")
    print(f"largest difference of all: {max(one.largest_difference for one in found):.1e}")
    if output is not None:
        queries, documents = texts()
        figures = {
            "queries": len(queries),
            "documents": len(documents),
            "lengths": LENGTHS,
            "comparisons": [vars(one) for one in found],
            "versions": versions | {"mlret": _versions(None)},
            "machine": platform.processor() or platform.machine(),
        }
        write_text_atomically(output, json.dumps(figures, indent=1) + "\n")


def _versions(python: str | None) -> dict[str, str]:
    names = ["torch", "transformers", "sentence-transformers", "colbert-ai", "pylate", "tokenizers"]
    code = (
        "import json, importlib.metadata as m\n"
        f"print(json.dumps({{d.metadata['Name'].lower(): d.version for d in m.distributions()"
        f" if d.metadata['Name'].lower() in {names}}}))"
    )
    printed = subprocess.run([python or sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    versions: dict[str, str] = json.loads(printed)
    return versions


if __name__ == "__main__":
    typer.run(main)
