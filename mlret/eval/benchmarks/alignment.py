"""How well an encoder's layers align languages: MEXA (Kargaran et al., arXiv 2410.05873), and a map of sentences.

In each layer, a sentence is represented by the mean of its tokens' states, weighted by their positions. A pair of
translations counts if each is strictly closer to the other than to any other sentence of that side. As in the paper,
the pivot language is English.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlret.encoders.encoder import Encoder
from mlret.encoders.multi_vector import AnyEncoder
from mlret.errors import InputError
from mlret.eval.loading import load_encoders
from mlret.eval.matching import Scores
from mlret.eval.readers.parallel_text import ParallelTexts, read_parallel
from mlret.eval.registry import BITEXT, LINES, Benchmark, Lines, Settings, register
from mlret.eval.report import Figures, Picture, Report, mean_over_groups, source_of, with_baselines
from mlret.eval.retrieval import AVERAGE
from mlret.eval.scorers import BitextScorer, EncodedTexts, Side, bitext_scorers
from mlret.reporting import plots
from mlret.reporting.table import ResultTable, percent

PROTOCOL = (
    "MEXA (Kargaran et al., arXiv 2410.05873): the share of sentences that are strictly nearest to their English "
    "translation, and it to them, among all sentences; layers: position-weighted mean of the token states, pooled over "
    "the layers by mean and by maximum; vectors: the same on what the encoder gives in the end."
)
_ON_MAP = 60  # sentences per language


def mexa(similarity: Scores) -> float:
    """Return the share of rows whose own column is strictly the best of both its row and its column.

    Parameters
    ----------
    similarity
        ``(n, n)`` cosines; row ``i`` is the translation of column ``i``.
    """
    own = similarity.diagonal()
    others = similarity.copy()
    np.fill_diagonal(others, -np.inf)
    return float(np.mean((own > others.max(axis=1)) & (own > others.max(axis=0))))


def layer_vectors(encoder: AnyEncoder, texts: Sequence[str], *, batch_size: int = 32) -> NDArray[np.float32]:
    """Return the position-weighted means of the token states of every layer.

    The first layer is the embeddings. Position ``i`` of a text, counted from 1, has weight ``i`` (MEXA, section 3).
    Texts are truncated to the model's maximum length, and to 512 tokens at most.

    Parameters
    ----------
    encoder
        The encoder.
    texts
        ``n`` texts.
    batch_size
        Texts in one forward pass.

    Returns
    -------
    numpy.ndarray
        ``(layers + 1, n, d)`` float32 of unit length.

    Raises
    ------
    InputError
        If the encoder's first module is not a Transformer that returns its hidden states.
    """
    import torch

    first = next(iter(encoder.model.children()))
    network: Any = getattr(first, "auto_model", None) or getattr(first, "model", None)
    if network is None:
        raise InputError(f"{encoder.name}: begins with {type(first).__name__}, not with a Transformer that has layers")
    limit = min(encoder.model.max_seq_length or 512, 512)
    device = next(network.parameters()).device
    parts: list[NDArray[np.float32]] = []
    with torch.inference_mode():
        for start in range(0, len(texts), batch_size):
            inputs = encoder.model.tokenizer(
                list(texts[start : start + batch_size]),
                padding=True,
                truncation=True,
                max_length=limit,
                return_tensors="pt",
            ).to(device)
            states = torch.stack(network(**inputs, output_hidden_states=True).hidden_states).float()
            mask = inputs["attention_mask"].float()
            weights = mask.cumsum(dim=1) * mask
            means = (states * weights[..., None]).sum(dim=2) / weights.sum(dim=1)[:, None]
            parts.append(torch.nn.functional.normalize(means, dim=-1).cpu().numpy())
    return np.concatenate(parts, axis=1)


def evaluate_alignment(
    encoder: AnyEncoder, scorers: Sequence[BitextScorer], parallel: ParallelTexts, *, data: str, pivot: str = "en"
) -> Report:
    """Measure the alignment of every language with the pivot language.

    Parameters
    ----------
    encoder
        The encoder whose layers are examined.
    scorers
        Scorers that have encoded all texts: that of the encoder first, then those of the baselines.
    parallel
        The sentences; the paper uses 100.
    data
        Name of the folder or file that they were read from.
    pivot
        Code of the language that all others are compared with.

    Returns
    -------
    Report
        MEXA scores of the layers and of the final vectors, by language.

    Raises
    ------
    InputError
        If the pivot is not among the languages.
    """
    labels = [label for label, code in parallel.languages.items() if code == pivot]
    if not labels:
        raise InputError(f"{data}: has no {pivot!r} to align with; there are {', '.join(parallel.texts)}")
    centre = labels[0]
    others = [label for label in parallel.texts if label != centre]
    by_layer = _by_layer(encoder, parallel, centre, others)
    own = f"{encoder.name}, layers"
    figures: Figures = {own: {label: _pooled(scores) for label, scores in by_layer.items()}}
    for scorer in scorers:
        for mode in scorer.modes:
            name = f"{scorer.name}, {'vectors' if scorer is scorers[0] else 'floor'}"
            system = name if mode == "raw" else f"{name}, {mode}"
            pairs = {label: _sides(parallel, label, centre) for label in others}
            figures[system] = {
                label: {"mexa": mexa(scorer.similarities(mode, *sides))} for label, sides in pairs.items()
            }
    for groups in figures.values():
        groups[AVERAGE] = mean_over_groups(groups, list(next(iter(groups.values()))))
    systems = {encoder.name: {"fingerprint": encoder.fingerprint, "dims": encoder.dims}}
    drawn = pictures({"systems": systems, "data": data, "layers": by_layer})
    if isinstance(scorers[0], EncodedTexts) and isinstance(encoder, Encoder):
        drawn.append(Picture("map", partial(_draw_map, encoder.name, scorers[0], parallel)))
    return Report(
        benchmark="alignment",
        data=data,
        protocol=PROTOCOL,
        figures=figures,
        tables=[_table(figures, own, parallel)],
        systems=systems,
        pictures=drawn,
        details={"layers": by_layer},
    )


def _by_layer(
    encoder: AnyEncoder, parallel: ParallelTexts, centre: str, others: Sequence[str]
) -> dict[str, list[float]]:
    english = layer_vectors(encoder, parallel.texts[centre])
    scores = {}
    for label in others:
        vectors = layer_vectors(encoder, parallel.texts[label])
        scores[label] = [mexa(own @ pivot.T) for own, pivot in zip(vectors, english, strict=True)]
    return scores


def _pooled(scores: Sequence[float]) -> dict[str, float]:
    return {"mexa": float(np.mean(scores)), "mexa max": float(np.max(scores))}


def _sides(parallel: ParallelTexts, label: str, centre: str) -> tuple[Side, Side]:
    own, pivot = (Side(parallel.texts[one], parallel.languages[one]) for one in (label, centre))
    return own, pivot


def _table(figures: Figures, own: str, parallel: ParallelTexts) -> ResultTable:
    columns = [(system, metric) for system, groups in figures.items() for metric in groups[AVERAGE]]
    headings = [f"{system} (max)" if metric.endswith("max") else system for system, metric in columns]

    def cells(group: str) -> list[str]:
        return [percent(figures[system][group][metric]) for system, metric in columns]

    rows = [[label, *cells(label)] for label in figures[own] if label != AVERAGE]
    title = f"Alignment with English: MEXA on {len(parallel):,} sentences, in per cent"
    return ResultTable(
        title,
        ["language", *headings],
        [[["mean", *cells(AVERAGE)]], rows],
        with_baselines(PROTOCOL, figures),
        strong=True,
    )


def pictures(results: Mapping[str, Any]) -> list[Picture]:
    """Return the plot of the layers from the content of ``report.json``, which does not hold the vectors of the map."""
    (encoder,), by_layer = results["systems"], results["layers"]
    order = sorted(by_layer, key=lambda label: -float(np.mean(by_layer[label])))
    values = [np.mean(list(by_layer.values()), axis=0).tolist(), *(by_layer[label] for label in order)]
    draw = partial(
        plots.heat_map,
        f"Alignment with the pivot language by layer: sentences that are mutually nearest (MEXA)\n{encoder}",
        ["mean", *order],
        [str(layer) for layer in range(len(values[0]))],
        values,
        row_label="language",
        column_label="layer (0: embeddings)",
        source=source_of(results),
    )
    return [Picture("layers", draw)]


def _draw_map(name: str, encoded: EncodedTexts, parallel: ParallelTexts, path: Any) -> None:
    labels = list(parallel.texts)
    some = {label: parallel.texts[label][:_ON_MAP] for label in labels}
    raw = np.concatenate([encoded.raw(some[label]) for label in labels])
    panels = {"vectors": raw}
    if "calibrated" in encoded.modes:
        moved = [encoded.calibrated(some[label], parallel.languages[label]) for label in labels]
        panels = {"before calibration": raw, "after calibration": np.concatenate(moved)}
    languages = [label for label in labels for _ in some[label]]
    plots.embedding_map(
        f"The same {len(some[labels[0]])} sentences in {len(labels)} languages: {name}", panels, languages, path
    )


class AlignmentSettings(Settings):
    """Settings of `mlret eval alignment`."""

    benchmark: Literal["alignment"] = "alignment"
    data: Path = Field(description="Parallel sentences, as for `mlret eval bitext`.")
    lines: Lines = LINES
    pivot: str = Field("en", description="The language that all others are aligned with.")


def _evaluate(settings: AlignmentSettings, encoders: Sequence[AnyEncoder], show_progress: bool) -> Report:
    parallel = read_parallel(settings.data, languages=settings.languages, lines=settings.lines)
    if len(settings.models) + len(encoders) > 1:
        raise InputError("alignment looks into one model at a time: give one")
    (encoder,) = load_encoders(settings, encoders)
    scorers = bitext_scorers([encoder], parallel.all_texts, floors=settings.floors, show_progress=show_progress)
    return evaluate_alignment(encoder, scorers, parallel, data=settings.data.name, pivot=settings.pivot)


ALIGNMENT = register(
    Benchmark(
        AlignmentSettings,
        "Measure which layers align languages (MEXA), and draw a map of sentences, also after a calibration.",
        _evaluate,
        options=("data", "models", "languages", "lines", "pivot", "floors"),
        panel=BITEXT,
        pictures=pictures,
    )
)
