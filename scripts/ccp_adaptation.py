"""Measure what ordered monolingual text is worth to the bundled encoder: adapters trained by CCP and by its rivals.

    python scripts/ccp_adaptation.py --data DIR [--runs runs/ccp-adaptation] [--cache FOLDER]
        [--level vectors|layers] [--rows ccp,simcse,...] [--languages ton,wol,...] [--seeds 0,1,2]
    python scripts/ccp_report.py [--runs ...] [--curves ...] [--output eval/results/ccp-adaptation]

Each run is a row, a language and a seed, and writes one file; a run whose file exists is skipped, so an interrupted
study is resumed by the same command. Text is the first four fifths of the documents of NTREX-128 in the language, and
a tenth of these is held out; the test is the last fifth, and Tatoeba where it has the language. The English side is
read by `ranking` and by the linear map on pairs only, and to measure. The pivot of the calibrations is other English
text. --cache keeps the states of the frozen layers, which take most of the time.
"""

from __future__ import annotations

import gzip
import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor, nn
from torch.nn import functional

import mlret
from mlret.data.durable import write_atomically, write_text_atomically
from mlret.data.monolingual import read_monolingual
from mlret.encoders.loading import load_in_torch
from mlret.encoders.rotation import fit_rotation
from mlret.training.adaptation.adapter_training import AdapterTraining
from mlret.training.adaptation.context_loss import ContextLoss
from mlret.training.adaptation.ordered_text import ContextBatch, OrderedText, context_batches
from mlret.training.adaptation.upper_layers import UpperLayers, add_unchanging_adapter
from mlret.training.objectives.contrast import info_nce

# The languages of NTREX-128 outside the encoder's 89: those below 90 per cent of bitext accuracy, and the others.
WEAK = ["dzo", "div", "bod", "shi", "hmn", "ton", "tah", "fuc", "tuk", "wol", "ven", "bem", "ewe"]
STRONG = ["uig", "ssw", "fij", "mlg", "nde", "mri", "mey", "nya", "nso", "smo", "sna-Latn", "tsn", "snd-Arab", "fao"]
STRONG += ["ibo", "ltz", "yue", "bak", "tat"]
OUTSIDE = WEAK + STRONG
# Weak languages among the 89.
INSIDE = ["orm", "yor", "mya", "som", "tir", "hau", "amh", "heb", "swa", "khm", "lao"]
# The settings of all rows were chosen on the held-out documents of these.
DEVELOPMENT = ["hmn", "tuk"]
# How each row differs from contrastive context prediction as it is meant.
ROWS: dict[str, dict[str, Any]] = {
    "before": {"objective": "none"},
    "mlm": {"objective": "mlm"},
    "simcse": {"objective": "simcse"},
    "inverse-cloze": {"objective": "inverse-cloze"},
    "ccp": {},
    "ccp-rate-3e-4": {"learning_rate": 3e-4},
    "ccp-rate-1e-3": {"learning_rate": 1e-3},
    "ccp-rate-1e-3-no-keep": {"learning_rate": 1e-3, "keep": 0.0},
    "ccp-no-bank": {"bank": 0},
    "ccp-one-bank": {"foreign_bank": True},
    "ccp-no-abn": {"asymmetric_batch_norm": False},
    "ccp-no-head": {"projection": 0},
    "ccp-window-1": {"window": 1},
    "ccp-window-5": {"window": 5},
    "ccp-no-dropout": {"dropout": False},
    "ccp-no-keep": {"keep": 0.0},
    "ranking": {"objective": "ranking", "learning_rate": 1e-3, "keep": 0.0},
    "ranking-144": {"objective": "ranking", "learning_rate": 1e-3, "keep": 0.0, "pairs": 144},
    "ranking-144-ccp": {"objective": "ranking", "learning_rate": 1e-3, "keep": 0.0, "pairs": 144, "context": True},
    "ranking-ccp": {"objective": "ranking", "learning_rate": 1e-3, "keep": 0.0, "context": True},
}
BASE: dict[str, Any] = {
    "objective": "ccp",
    "window": 2,
    "bank": 1024,
    "projection": 256,
    "asymmetric_batch_norm": True,
    "dropout": True,
    "keep": 1.0,
    "temperature": 0.05,
    "learning_rate": 1e-4,
    "foreign_bank": False,
    "pairs": None,
    "context": False,
    "batch_size": 64,
}
# What is trained, and how: a linear map of the vectors, or the adapters of the last layers.
LEVELS: dict[str, dict[str, Any]] = {
    "vectors": {"layers": 0, "steps": 300, "batch_size": 256, "learning_rate": 1e-3},
    "layers": {"layers": 2, "steps": 100},
}
# The languages outside that Tatoeba has too.
TATOEBA = ["tuk", "uig", "tat", "fao", "yue"]
_LAST_FIFTH = 0.8
_PIVOT_SENTENCES = 1600
_CLOZE_TOKENS = 128
Vectors = np.ndarray[Any, np.dtype[np.float32]]

# ---------------------------------------------------------------------------------------------------------- the text


def read_ntrex(data: Path) -> tuple[dict[str, list[str]], np.ndarray[Any, Any]]:
    """Return the lines of every language, and the document of each line."""
    with gzip.open(data / "ntrex128" / "doc_ids.txt.gz", "rt", encoding="utf-8") as lines:
        names = [line.strip() for line in lines]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    found: dict[str, dict[int, str]] = defaultdict(dict)
    with gzip.open(data / "ntrex128" / "ntrex128.long.tsv.gz", "rt", encoding="utf-8") as lines:
        next(lines)
        for line in lines:
            language, number, text = line.rstrip("\n").split("\t")
            found[language][int(number)] = text
    texts = {language: [rows[number] for number in sorted(rows)] for language, rows in found.items()}
    return texts, np.array([numbers[name] for name in names])


def pivot_text(data: Path) -> list[str]:
    """Return English sentences that are translations of none of the study's text."""
    sentences: list[str] = []
    for name in ("tydiqa_train_passages", "storybooks"):
        documents = read_monolingual(data / "mono" / name / "en.jsonl.gz")
        own = [sentence for document in documents for sentence in document.sentences if len(sentence) > 30]
        sentences += [own[place] for place in np.random.default_rng(0).permutation(len(own))[: _PIVOT_SENTENCES // 2]]
    return sentences


def read_tatoeba(data: Path) -> dict[str, tuple[list[str], list[str]]]:
    """Return the sentences of each language of ``TATOEBA``, and their English translations."""
    found: dict[str, tuple[list[str], list[str]]] = {code: ([], []) for code in TATOEBA}
    with gzip.open(data / "tatoeba" / "tatoeba.v1.tsv.gz", "rt", encoding="utf-8") as lines:
        next(lines)
        for line in lines:
            language, _, own, english = line.rstrip("\n").split("\t")
            if language in found:
                found[language][0].append(own)
                found[language][1].append(english)
    return found


class Study:
    """What all runs share: the text, the vectors of English, and where the documents are divided."""

    def __init__(self, data: Path, cache: Path | None) -> None:
        self.texts, self.document = read_ntrex(data)
        self.tatoeba = read_tatoeba(data)
        last = int(self.document.max() + 1)
        self.test = np.flatnonzero(self.document >= int(last * _LAST_FIFTH))
        self.text_rows = np.flatnonzero(self.document < int(last * _LAST_FIFTH))
        self.cache = cache
        self._encoder = mlret.load_encoder()
        self.english = self.vectors("eng", self.texts["eng"])
        self.others = {code: self.vectors(code, self.texts[code])[self.test] for code in ("fra", "swa")}
        self.pivot = self.vectors("pivot", pivot_text(data))

    def language_vectors(self, code: str) -> Vectors:
        """Return the vectors of all lines of a language as the encoder gives them."""
        return self.vectors(code, self.texts[code])

    def tatoeba_vectors(self, code: str) -> tuple[Vectors, Vectors]:
        """Return the vectors of the sentences of Tatoeba in a language, and of their English translations."""
        own, english = self.tatoeba[code]
        return self.vectors(f"{code}-tatoeba", own), self.vectors(f"{code}-tatoeba-eng", english)

    def vectors(self, name: str, texts: Sequence[str]) -> Vectors:
        """Return the vectors of texts, from the file of this name in the cache if there is one."""
        path = None if self.cache is None else self.cache / f"{name}.npy"
        if path is not None and path.is_file():
            return np.load(path)
        found = np.asarray(self._encoder.encode(list(texts)), dtype=np.float32)
        if path is not None:
            write_atomically(path, lambda target: _save_array(target, found))
        return found

    def split(self, seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Return the rows to train on and the held-out rows, both of the first four fifths of the documents."""
        own = OrderedText([""] * len(self.text_rows), self.document[self.text_rows])
        return own.split(seed, most=len(self.text_rows))


def _save_array(target: Path, array: Vectors) -> None:
    with target.open("wb") as file:
        np.save(file, array)


class Language:
    """One language of the study: its encoder with an untrained adapter, and the states of the frozen layers."""

    def __init__(self, study: Study, code: str, layers: int, seed: int) -> None:
        self.model = load_in_torch(None, device="cpu").model
        add_unchanging_adapter(self.model, code, reduction=4, seed=seed)
        self.upper = UpperLayers(self.model, code, layers=layers, max_length=128)
        self.ids = self.upper.token_ids(study.texts[code])
        path = None if study.cache is None else study.cache / f"{code}-{layers}.pt"
        if path is not None and path.is_file():
            self.states: list[Tensor] = torch.load(path, weights_only=True)
        else:
            self.states = self.upper.lower(self.ids)
            if path is not None:
                write_atomically(path, lambda target: torch.save(self.states, target))
        more = self.upper.token_ids(study.tatoeba[code][0]) if code in TATOEBA else []
        self.tatoeba_states: list[Tensor] = self.upper.lower(more) if more else []
        self._start = [parameter.detach().clone() for parameter in self.upper.adapters]

    def reset(self) -> None:
        """Return the adapter to what it was before any training."""
        with torch.no_grad():
            for parameter, start in zip(self.upper.adapters, self._start, strict=True):
                parameter.copy_(start)

    def vectors(self, rows: Sequence[int]) -> Tensor:
        """Return the unit vectors of some sentences."""
        return self.upper.encode([self.states[row] for row in rows])


# ----------------------------------------------------------------------------------------------------- the objectives


class VectorAdapter(nn.Module):
    """A linear map of the sentence vectors of one language, which starts as the identity.

    It has the interface of :class:`UpperLayers`: the states of a text are its vector. Hundreds of trainings take as
    long as one of the layers, so that all rows can be compared on all languages.
    """

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.adapters = nn.ParameterList([nn.Parameter(torch.zeros(dims, dims)), nn.Parameter(torch.zeros(dims))])

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        rows = torch.stack([*states])
        if self.training:
            rows = functional.dropout(rows, 0.1)
        found: Tensor = rows + rows @ self.adapters[0] + self.adapters[1]
        return found

    @torch.no_grad()
    def encode(self, states: Sequence[Tensor]) -> Tensor:
        """Return unit vectors without dropout."""
        was = self.training
        self.eval()
        found = functional.normalize(self(states), dim=-1)
        self.train(was)
        return found


class VectorLanguage:
    """One language of the study at the level of vectors; has the interface of :class:`Language`."""

    def __init__(self, study: Study, code: str) -> None:
        vectors = torch.from_numpy(study.language_vectors(code))
        self.states: list[Tensor] = list(vectors)
        self.tatoeba_states: list[Tensor] = (
            list(torch.from_numpy(study.tatoeba_vectors(code)[0])) if code in TATOEBA else []
        )
        self.upper = VectorAdapter(vectors.shape[1])

    def reset(self) -> None:
        """Return the adapter to the identity."""
        with torch.no_grad():
            for parameter in self.upper.adapters:
                parameter.zero_()

    def vectors(self, rows: Sequence[int]) -> Tensor:
        """Return the unit vectors of some sentences."""
        return self.upper.encode([self.states[row] for row in rows])


class MaskedWords(nn.Module):
    """Masked language modelling over the tokens that the text has, with a new head tied to the token embeddings."""

    def __init__(self, upper: UpperLayers, ids: Sequence[Sequence[int]], tokenizer: Any) -> None:
        super().__init__()
        self._upper = [upper]
        self._used = torch.tensor(sorted({token for row in ids for token in row}))
        table = upper.backbone.embeddings.word_embeddings.weight
        self._table = table[self._used].detach()
        width = table.shape[1]
        self.dense, self.norm = nn.Linear(width, width), nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(len(self._used)))
        self._mask, self._special = tokenizer.mask_token_id, set(tokenizer.all_special_ids)

    def forward(self, ids: Sequence[Sequence[int]]) -> Tensor:
        masked, wanted = [], []
        for row in ids:
            chosen = [place for place, token in enumerate(row) if token not in self._special and torch.rand(()) < 0.15]
            masked.append([self._mask if place in chosen else token for place, token in enumerate(row)])
            wanted.append(chosen)
        upper = self._upper[0]
        states = upper.lower(masked)
        hidden = upper.token_states(states)
        rows = torch.cat([row[places] for row, places in zip(hidden, wanted, strict=True)])
        targets = torch.tensor([ids[number][place] for number, places in enumerate(wanted) for place in places])
        scores = self.norm(functional.gelu(self.dense(rows))) @ self._table.T + self.bias
        return functional.cross_entropy(scores, torch.searchsorted(self._used, targets))


def loss_of(
    settings: dict[str, Any],
    study: Study,
    language: Language | VectorLanguage,
    frozen: Tensor,
    train_rows: np.ndarray[Any, Any],
    seed: int,
) -> tuple[nn.Module, Callable[[ContextBatch], Tensor]]:
    """Return the module of an objective and the function from a batch to its loss."""
    upper, states = language.upper, language.states
    dims = frozen.shape[1]
    context = ContextLoss(
        dims,
        projection=settings["projection"],
        bank=settings["bank"] if settings["objective"] in ("ccp", "inverse-cloze") or settings["context"] else 0,
        temperature=settings["temperature"],
        asymmetric_batch_norm=settings["asymmetric_batch_norm"],
    )
    masked = None
    if settings["objective"] == "mlm":
        assert isinstance(language, Language)
        masked = MaskedWords(language.upper, language.ids, language.model.tokenizer)
    foreign = torch.from_numpy(np.concatenate([study.pivot, *study.others.values()]))
    english = torch.from_numpy(study.english)
    objective = settings["objective"]
    pair_rows = np.sort(np.random.default_rng(seed).permutation(train_rows)[: settings["pairs"]])

    def loss(batch: ContextBatch) -> Tensor:
        upper.train(settings["dropout"])
        texts = [states[row] for row in batch.rows]
        embeddings = upper(texts)
        unit = functional.normalize(embeddings, dim=-1)
        kept = settings["keep"] * (1 - (unit * frozen[torch.from_numpy(batch.rows)]).sum(1)).mean()
        own = torch.arange(len(batch.rows))
        if masked is not None and isinstance(language, Language):
            return kept + masked([language.ids[row] for row in batch.rows])
        if objective == "ranking":
            has = np.isin(batch.rows, pair_rows)
            rows, texts_of_pairs = batch.rows[has], unit[torch.from_numpy(has)]
            scores = texts_of_pairs @ english[torch.from_numpy(pair_rows)].T / settings["temperature"]
            target = torch.from_numpy(np.searchsorted(pair_rows, rows))
            translations = english[torch.from_numpy(rows)]
            reverse, _ = info_nce(
                translations, texts_of_pairs, own[: len(rows)], temperature=settings["temperature"], own_side=False
            )
            ranked = (functional.cross_entropy(scores, target) + reverse) / 2
            return kept + ranked + (context.of_batch(embeddings, batch) if settings["context"] else 0)
        if objective == "simcse":
            return kept + context(embeddings, upper(texts), own)
        if objective == "inverse-cloze":
            return kept + context(embeddings, upper(_surroundings(states, batch)), torch.from_numpy(batch.document))
        value = context.of_batch(embeddings, batch)
        if settings["foreign_bank"] and context.head is not None:
            with torch.no_grad():
                some = foreign[torch.randint(len(foreign), (len(batch.rows),))]
                context.bank.push(0, context.head(some, batch_statistics=False), torch.full((len(some),), -2))
        return kept + value

    return masked or context, loss


def _surroundings(states: Sequence[Tensor], batch: ContextBatch) -> list[Tensor]:
    """Return, for each centre, the states of the two sentences on either side within its run, without the centre."""
    found = []
    for place in range(len(batch.rows)):
        near = [
            other
            for other in range(max(0, place - 2), min(len(batch.rows), place + 3))
            if other != place and abs(int(batch.rows[other]) - int(batch.rows[place])) == abs(other - place)
        ]
        parts = [states[batch.rows[other]] for other in near]
        found.append(torch.stack(parts).mean(0) if parts[0].ndim == 1 else torch.cat(parts)[:_CLOZE_TOKENS])
    return found


# -------------------------------------------------------------------------------------------------------- measurements


def accuracy(queries: Vectors, candidates: Vectors) -> tuple[float, float]:
    """Return the share of sentences whose translation is the nearest vector, in both directions, in per cent."""
    scores = queries @ candidates.T
    own = np.arange(len(scores))
    return float((scores.argmax(1) == own).mean() * 100), float((scores.argmax(0) == own).mean() * 100)


def unit(rows: Vectors) -> Vectors:
    """Return the rows at length one."""
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def _whitening(rows: Vectors, power: float = -0.25, shrinkage: float = 0.3) -> Vectors:
    """Return the power of the covariance of rows, shrunk towards its mean eigenvalue."""
    values, axes = np.linalg.eigh(np.cov(rows.T.astype(np.float64)))
    values = (1 - shrinkage) * np.maximum(values, 0) + shrinkage * values.mean()
    return np.asarray((axes * values**power) @ axes.T, dtype=np.float32)


def calibrated(own: Vectors, pivot: Vectors, *, rotate: bool) -> dict[str, Callable[[Vectors, Vectors], Any]]:
    """Return each calibration as a function of the language's vectors and of English ones.

    All are fitted to monolingual vectors. "own shift" and "own map" change only the language, and so leave all other
    languages as they are; the others change both sides. "own map" gives nearly the inner products of "whiten", because
    both whitenings are applied to the one side, and then moves the unit vectors to the mean of English.
    """
    mean, other = own.mean(0), pivot.mean(0)
    deviation, other_deviation = own.std(0), pivot.std(0)
    white, other_white = _whitening(own - mean), _whitening(pivot - other)
    length = float(np.linalg.norm(pivot - other, axis=1).mean())
    steps: dict[str, Callable[[Vectors, Vectors], Any]] = {
        "none": lambda one, two: (one, two),
        "own shift": lambda one, two: (unit(one - mean + other), two),
        "own map": lambda one, two: (unit(length * unit((one - mean) @ white @ other_white) + other), two),
        "shift": lambda one, two: (unit(one - mean), unit(two - other)),
        "shift, scale": lambda one, two: (unit((one - mean) / deviation), unit((two - other) / other_deviation)),
        "whiten": lambda one, two: (unit((one - mean) @ white), unit((two - other) @ other_white)),
        "whiten by pivot": lambda one, two: (unit((one - mean) @ other_white), unit((two - other) @ other_white)),
    }
    if rotate:
        turn = fit_rotation(unit((own - mean) / deviation), unit((pivot - other) / other_deviation), seed=0).matrix
        steps["shift, scale, rotate"] = lambda one, two: (
            unit(unit((one - mean) / deviation) @ turn.T),
            unit((two - other) / other_deviation),
        )
    return steps


def context_accuracy(rows: Vectors, document: np.ndarray[Any, Any]) -> float:
    """Return how often the next sentence is nearer than every sentence of the other documents, in per cent."""
    scores = rows @ rows.T
    others = np.where(document[:, None] == document[None, :], -9.0, scores).max(1)
    first = np.flatnonzero(document[:-1] == document[1:])
    return float((scores[first, first + 1] > others[first]).mean() * 100)


def spread(rows: Vectors) -> dict[str, float]:
    """Return the mean cosine, the effective rank and the uniformity of unit vectors."""
    cosines = rows @ rows.T
    between = cosines[np.triu_indices(len(rows), 1)]
    values = np.linalg.svd(rows, compute_uv=False)
    share = values / values.sum()
    return {
        "mean_cosine": float(between.mean()),
        "effective_rank": float(np.exp(-(share * np.log(share + 1e-12)).sum())),
        "uniformity": float(np.log(np.exp(-2 * (2 - 2 * between)).mean())),
    }


def measure(study: Study, code: str, language: Language | VectorLanguage, seed: int, *, rotate: bool) -> dict[str, Any]:
    """Return all that is known about a language with its present adapter."""
    train_rows, held_out = study.split(seed)
    train, held, test = (language.vectors(rows.tolist()).numpy() for rows in (train_rows, held_out, study.test))
    english = study.english[study.test]
    candidates = np.concatenate([study.english[held_out], study.english[train_rows]])
    scores: dict[str, Any] = {}
    for name, step in calibrated(train, study.pivot, rotate=rotate).items():
        one, two = step(test, english)
        forward, backward = accuracy(one, two)
        own, all_english = step(held, candidates)
        hits = ((own @ all_english.T).argmax(1) == np.arange(len(own))).mean()
        back = ((all_english[: len(own)] @ own.T).argmax(1) == np.arange(len(own))).mean()
        across = [statistics.mean(accuracy(*step(test, vectors))) for vectors in study.others.values()]
        scores[name] = {
            "test": [forward, backward],
            "held_out": [float(hits * 100), float(back * 100)],
            "across": statistics.mean(across),
        }
    # The best linear map that the pairs allow, fitted in closed form: what the vectors as they are could give.
    mean, other = train.mean(0), study.english[train_rows].mean(0)
    x, y = train - mean, study.english[train_rows] - other
    ridge = np.eye(x.shape[1], dtype=np.float32)
    matrix = np.linalg.solve(x.T @ x + ridge, x.T @ y + ridge)
    scores["linear map on pairs"] = {"test": list(accuracy(unit((test - mean) @ matrix), unit(english - other)))}
    if language.tatoeba_states:
        own = language.upper.encode(language.tatoeba_states).numpy()
        scores["none"]["tatoeba"] = list(accuracy(own, study.tatoeba_vectors(code)[1]))
    return {"calibrations": scores, "context": context_accuracy(held, study.document[held_out]), **spread(held)}


def train_row(
    study: Study, code: str, language: Language | VectorLanguage, row: str, seed: int, level: str
) -> dict[str, Any]:
    """Train one row on one language, and return its measurements."""
    settings = BASE | LEVELS[level] | ROWS[row]
    steps = settings["steps"]
    language.reset()
    train_rows, held_out = study.split(seed)
    curve: list[dict[str, float]] = []
    if settings["objective"] != "none":
        frozen = language.vectors(range(len(language.states)))
        torch.manual_seed(seed)
        objective, loss = loss_of(settings, study, language, frozen, train_rows, seed)
        text = OrderedText(study.texts["eng"], study.document)

        def note(step: int, value: float) -> None:
            if step % max(1, steps // 5) == 0:
                held = language.vectors(held_out.tolist()).numpy()
                now = {"step": step, "loss": value, "context": context_accuracy(held, study.document[held_out])}
                if isinstance(objective, ContextLoss):
                    now["trained"] = objective.accuracy * 100
                curve.append(now | spread(held))

        AdapterTraining(
            language.upper, objective, loss, steps=steps, learning_rate=settings["learning_rate"], seed=seed
        ).run(
            context_batches(text, train_rows, size=settings["batch_size"], window=settings["window"], seed=seed),
            on_step=note,
        )
    rotate = seed == 0 and row in ("before", "ccp")
    return {"settings": settings, "curve": curve} | measure(study, code, language, seed, rotate=rotate)


def names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def main(
    data: Annotated[Path, typer.Option(help="The folder with ntrex128 and mono.")],
    runs: Annotated[Path, typer.Option()] = Path("runs/ccp-adaptation"),
    cache: Annotated[Path | None, typer.Option()] = None,
    rows: Annotated[str, typer.Option()] = ",".join(ROWS),
    languages: Annotated[str, typer.Option()] = ",".join(OUTSIDE + INSIDE),
    seeds: Annotated[str, typer.Option()] = "0",
    level: Annotated[str, typer.Option(help="vectors or layers")] = "vectors",
) -> None:
    """Train what has not been trained."""
    runs.mkdir(parents=True, exist_ok=True)
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
    study: Study | None = None
    for seed in map(int, names(seeds)):
        for code in names(languages):
            language: Language | VectorLanguage | None = None
            for row in names(rows):
                path = runs / f"{level}.{row}.{code}.{seed}.json"
                if path.is_file() or (level == "vectors" and row == "mlm"):
                    continue
                study = study or Study(data, cache)
                if language is None:
                    layers = LEVELS[level]["layers"]
                    language = Language(study, code, layers, seed) if layers else VectorLanguage(study, code)
                found = {"level": level, "row": row, "language": code, "seed": seed}
                found |= train_row(study, code, language, row, seed, level)
                write_text_atomically(path, json.dumps(found, indent=1))
                shown = found["calibrations"]
                print(
                    f"{row:16s} {code:5s} {seed}  "
                    + "  ".join(f"{name} {statistics.mean(shown[name]['test']):.1f}" for name in shown)
                    + f"  context {found['context']:.1f}  cosine {found['mean_cosine']:.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    typer.run(main)
