"""Adapt an encoder to a language from ordered monolingual text; keep the old encoder if the new one is no better."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from torch import Tensor
from torch.nn import functional

from mlret.data.durable import write_text_atomically
from mlret.data.files import read_lines
from mlret.data.languages import language_name, normalise_language
from mlret.data.monolingual import read_monolingual
from mlret.encoders.loading import BUNDLED_NAME, load_in_torch
from mlret.errors import InputError
from mlret.training.adaptation.adapter_training import AdapterTraining
from mlret.training.adaptation.context_loss import ContextLoss
from mlret.training.adaptation.ordered_text import ContextBatch, OrderedText, check_text, context_batches
from mlret.training.adaptation.settings import AdaptationSettings
from mlret.training.adaptation.upper_layers import UpperLayers, add_unchanging_adapter
from mlret.training.progress import Say
from mlret.training.run import save_atomically
from mlret.vocabulary.spelling import SpellingReport, set_tokenizer, spelled_tokenizer
from mlret.vocabulary.target_model import retokenized

_DEFAULT = AdaptationSettings()
_REPORT = "report.json"
_INPUTS = "adaptation.json"
_CHECKPOINT = "checkpoint.pt"
# Held-out documents are compared pairwise; this many are enough to see a difference of a few points.
_MOST_HELD_OUT = 200
_FEWEST_PAIRS = 20


@dataclass(frozen=True)
class Measured:
    """Quality of an encoder in one language, before or after adaptation.

    Attributes
    ----------
    context
        How often the next sentence of a held-out document is nearer than every sentence of the other held-out
        documents, from 0 to 1.
    bitext
        How often a sentence and its translation are nearest neighbours, the mean of both directions, from 0 to 1;
        ``None`` without pairs.
    mean_cosine
        The mean cosine between held-out sentences; near 1 the vectors have collapsed.
    """

    context: float
    bitext: float | None
    mean_cosine: float


@dataclass(frozen=True)
class AdaptationReport:
    """Result of an adaptation.

    Attributes
    ----------
    language
        Normalised code of the language.
    sentences, documents
        How much text was trained on.
    held_out_sentences, pairs
        How much the measurements are based on.
    before, after
        The measurements.
    spelling
        What spelling a script that the vocabulary lacks does to the text; ``None`` if it was switched off.
    spelled
        The measurements with it, before the training; ``None`` if there was nothing to spell. If they were worse than
        before by more than one standard error, the encoder reads the script as before.
    helped
        Whether the adapted encoder is better by more than one standard error: in bitext accuracy if there are pairs,
        otherwise in context accuracy.
    minutes
        How long the adaptation took.
    """

    language: str
    sentences: int
    documents: int
    held_out_sentences: int
    pairs: int
    before: Measured
    after: Measured
    helped: bool
    minutes: float
    spelling: SpellingReport | None = None
    spelled: Measured | None = None

    def lines(self) -> list[str]:
        """Return the report as lines of text."""

        def change(what: str, before: float, after: float) -> str:
            return f"{what}: {before:.1%} before, {after:.1%} after ({(after - before) * 100:+.1f} points)"

        lines = [
            f"{language_name(self.language)} ({self.language}): {self.sentences:,} sentences in {self.documents:,} "
            f"documents, {self.minutes:.1f} minutes",
            change(
                f"context accuracy on {self.held_out_sentences:,} held-out sentences",
                self.before.context,
                self.after.context,
            ),
        ]
        if self.spelling is not None and self.spelled is not None:
            lines.insert(1, str(self.spelling))
            lines.insert(2, self._what_spelling_did(self.spelled))
        if self.before.bitext is not None and self.after.bitext is not None:
            lines.append(change(f"bitext accuracy on {self.pairs:,} pairs", self.before.bitext, self.after.bitext))
        return lines

    def _what_spelling_did(self, spelled: Measured) -> str:
        what, before, after = "context", self.before.context, spelled.context
        if self.before.bitext is not None and spelled.bitext is not None:
            what, before, after = "bitext", self.before.bitext, spelled.bitext
        kept = "" if _keeps_spelling(self.before, spelled, self.held_out_sentences, self.pairs) else ": not kept"
        return f"{what} accuracy with the spelling alone: {after:.1%} ({(after - before) * 100:+.1f} points){kept}"


def adapt_to_language(
    model: str | None,
    language: str,
    text: Sequence[Path],
    output: Path,
    settings: AdaptationSettings = _DEFAULT,
    *,
    pairs: Path | None = None,
    say: Say,
) -> AdaptationReport:
    """Adapt an encoder to a language by contrastive context prediction on ordered text in that language.

    If the vocabulary lacks the script of the text, the tokenizer first spells it in Latin letters, unless the encoder
    is worse so. Then the adapters of the upper layers are trained. All other weights stay the same, and so do the
    vectors of all other languages, bit for bit, unless they are written in such a script. A tenth of the documents is
    held out. The adapted encoder is written to ``output/model``
    only if it is better than the one before.

    Parameters
    ----------
    model
        Folder or hub id of an encoder with one vector for each text; ``None`` for the bundled one.
    language
        The language of the text.
    text
        Files of ordered sentences. Documents that state another language are skipped.
    output
        Folder of the run. An interrupted run resumes from its last checkpoint.
    settings
        How the adapter is trained.
    pairs
        A TSV file of sentences and their translations into a language that the encoder knows, to measure with.
    say
        Called with each line of progress.

    Returns
    -------
    AdaptationReport
        What was measured before and after; also in ``output/report.json``.

    Raises
    ------
    InputError
        If the language is unknown, there is too little text, its sentences do not follow each other, the pairs are
        malformed, the encoder cannot have adapters, or ``output`` holds another run.
    """
    started = time.monotonic()
    code = normalise_language(language)
    own = _read_text(text, code, say)
    check_text(own, code)
    translations = [] if pairs is None else _read_pairs(pairs)
    _claim(output, model, code, own, translations, settings)
    if (output / _REPORT).is_file():
        say(f"{output} holds the finished run: nothing to do")
        return _stored(output / _REPORT)

    encoder = load_in_torch(model, device="cpu")
    if not isinstance(encoder.model, SentenceTransformer):
        raise InputError(f"{model} is not an encoder with one vector for each text")
    targets = encoder.encode([other for _, other in translations]) if translations else None
    add_unchanging_adapter(encoder.model, code, reduction=settings.reduction, seed=settings.seed)
    upper = UpperLayers(encoder.model, code, layers=settings.layers, max_length=settings.max_length)
    train_rows, held_out = own.split(settings.seed, most=_MOST_HELD_OUT)
    train_rows = _used(own, train_rows, settings)
    say(f"text: {len(train_rows):,} sentences to train on, {len(held_out):,} held out")
    measuring = _Measuring(upper, own, held_out, translations, targets)
    before, spelling, spelled = measuring.measured(), None, None
    if settings.spelling:
        spelling, spelled = _spell(encoder.model, own, train_rows, measuring, before)
        say(str(spelling))
    _check_order(own, held_out, measuring.vectors(), code)
    states = _states(upper, own, train_rows)
    _train(upper, own, train_rows, states, settings, output / _CHECKPOINT, say)
    after = measuring.measured()
    report = AdaptationReport(
        code,
        len(train_rows),
        len(np.unique(own.document[train_rows])),
        len(held_out),
        len(translations),
        before,
        after,
        _is_better(before, after, len(held_out), len(translations)),
        (time.monotonic() - started) / 60,
        spelling,
        spelled,
    )
    if report.helped:
        save_atomically(encoder.model, output / "model")
    write_text_atomically(output / _REPORT, json.dumps(asdict(report), indent=1))
    (output / _CHECKPOINT).unlink(missing_ok=True)
    return report


class _Measuring:
    """Measures an encoder on held-out sentences and on pairs; keeps the states of the lower layers.

    Parameters
    ----------
    upper
        The layers above.
    text, held_out
        The text, and its held-out rows.
    pairs
        Sentences and their translations.
    targets
        The vectors of the translations; ``None`` without pairs.
    """

    def __init__(
        self,
        upper: UpperLayers,
        text: OrderedText,
        held_out: NDArray[np.int64],
        pairs: Sequence[tuple[str, str]],
        targets: NDArray[np.float32] | None,
    ) -> None:
        self._upper, self._text, self._rows, self._targets = upper, text, held_out, targets
        self._sentences = [one for one, _ in pairs]
        self.read()

    def read(self) -> None:
        """Compute the states of the lower layers with the tokenizer that the encoder has now."""
        self._states = list(_states(self._upper, self._text, self._rows).values())
        ids = self._upper.token_ids(self._sentences) if self._sentences else []
        self._of_pairs = self._upper.lower(ids) if ids else []

    @property
    def sizes(self) -> tuple[int, int]:
        """The number of held-out sentences and of pairs."""
        return len(self._rows), len(self._sentences)

    def vectors(self) -> NDArray[np.float32]:
        """Return the unit vectors of the held-out sentences."""
        found: NDArray[np.float32] = self._upper.encode(self._states).numpy()
        return found

    def measured(self) -> Measured:
        """Return the measurements with the weights that the encoder has now."""
        vectors, bitext = self.vectors(), None
        if self._targets is not None:
            bitext = _bitext_accuracy(self._upper.encode(self._of_pairs).numpy(), self._targets)
        cosines = vectors @ vectors.T
        mean = float(cosines[np.triu_indices(len(vectors), 1)].mean())
        return Measured(_context_accuracy(vectors, self._text.document[self._rows]), bitext, mean)


def _states(upper: UpperLayers, text: OrderedText, rows: NDArray[np.int64]) -> dict[int, Tensor]:
    """Return the states of the lower layers, by row."""
    numbers = rows.tolist()
    return dict(zip(numbers, upper.lower(upper.token_ids([text.sentences[row] for row in numbers])), strict=True))


def _spell(
    model: SentenceTransformer, text: OrderedText, rows: NDArray[np.int64], measuring: _Measuring, before: Measured
) -> tuple[SpellingReport, Measured | None]:
    """Let the tokenizer spell a script that it lacks, unless the encoder is worse so; changed in place."""
    old = model.tokenizer
    backend, report = spelled_tokenizer(old.backend_tokenizer, [text.sentences[row] for row in rows.tolist()])
    if backend is None:
        return report, None
    set_tokenizer(model, retokenized(old, backend))
    measuring.read()
    spelled = measuring.measured()
    if not _keeps_spelling(before, spelled, *measuring.sizes):
        set_tokenizer(model, old)
        measuring.read()
    return report, spelled


def _train(
    upper: UpperLayers,
    text: OrderedText,
    rows: NDArray[np.int64],
    states: dict[int, Tensor],
    settings: AdaptationSettings,
    checkpoint: Path,
    say: Say,
) -> None:
    frozen = dict(zip(rows.tolist(), upper.encode([states[row] for row in rows]), strict=True))
    dims = len(next(iter(frozen.values())))
    torch.manual_seed(settings.seed)
    objective = ContextLoss(
        dims,
        projection=settings.projection,
        bank=settings.bank,
        temperature=settings.temperature,
        asymmetric_batch_norm=settings.asymmetric_batch_norm,
    )

    def loss(batch: ContextBatch) -> Tensor:
        upper.train(settings.dropout)
        embeddings = upper([states[row] for row in batch.rows])
        old = torch.stack([frozen[row] for row in batch.rows.tolist()])
        moved = 1 - (functional.normalize(embeddings, dim=-1) * old).sum(1).mean()
        return objective.of_batch(embeddings, batch) + settings.keep * moved

    began, first = time.monotonic(), 0

    def progress(step: int, value: float) -> None:
        nonlocal first
        first = first or step
        if step % max(1, settings.steps // 10) == 0:
            left = (time.monotonic() - began) / (step - first + 1) * (settings.steps - step) / 60
            say(f"step {step:,} of {settings.steps:,}: loss {value:.3f}, about {left:.1f} minutes left")

    training = AdapterTraining(
        upper, objective, loss, steps=settings.steps, learning_rate=settings.learning_rate, seed=settings.seed
    )
    batches = context_batches(text, rows, size=settings.batch_size, window=settings.window, seed=settings.seed)
    training.run(batches, checkpoint=checkpoint, on_step=progress)
    upper.eval()


def _read_text(files: Sequence[Path], language: str, say: Say) -> OrderedText:
    documents, others = [], 0
    for path in files:
        for document in read_monolingual(path, language=language):
            if document.language == language:
                documents.append(document.sentences)
            else:
                others += 1
    if others:
        say(f"text: skipped {others:,} documents in other languages than {language}")
    if not documents:
        raise InputError(f"no document is in {language}: check the language and the text")
    return OrderedText.of(documents)


def _read_pairs(path: Path) -> list[tuple[str, str]]:
    """Read a TSV of two columns: a sentence of the language, and its translation."""
    found = []
    for number, line in read_lines(path):
        columns = [column.strip() for column in line.split("\t")]
        if len(columns) != 2 or not all(columns):
            raise InputError(f"{path}:{number}: a line has a sentence, a tab and its translation, and nothing else")
        found.append((columns[0], columns[1]))
    if len(found) < _FEWEST_PAIRS:
        raise InputError(f"{path}: {len(found)} pairs are too few to measure with: give at least {_FEWEST_PAIRS}")
    return found


def _used(text: OrderedText, rows: NDArray[np.int64], settings: AdaptationSettings) -> NDArray[np.int64]:
    """Return the rows of as many documents as the steps of training can visit; the states of all are in memory."""
    most = settings.steps * settings.batch_size
    if len(rows) <= most:
        return rows
    documents = np.random.default_rng(settings.seed).permutation(np.unique(text.document[rows]))
    sizes = np.bincount(text.document[rows])[documents]
    return text.rows_of(documents[: max(2, int(np.searchsorted(np.cumsum(sizes), most)))])


def _context_accuracy(vectors: NDArray[np.float32], document: NDArray[np.int64]) -> float:
    scores = vectors @ vectors.T
    others = np.where(document[:, None] == document[None, :], -2.0, scores).max(1)
    first = np.flatnonzero(document[:-1] == document[1:])
    return float((scores[first, first + 1] > others[first]).mean())


def _bitext_accuracy(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    scores = one @ other.T
    own = np.arange(len(scores))
    return float(((scores.argmax(1) == own).mean() + (scores.argmax(0) == own).mean()) / 2)


def _check_order(text: OrderedText, rows: NDArray[np.int64], vectors: NDArray[np.float32], language: str) -> None:
    """Raise if neighbouring sentences are no nearer to each other than sentences of different documents."""
    document = text.document[rows]
    first = np.flatnonzero(document[:-1] == document[1:])
    cosines = vectors @ vectors.T
    apart = document[:, None] != document[None, :]
    neighbours = cosines[first, first + 1]
    error = float(neighbours.std()) / math.sqrt(len(first))
    if float(neighbours.mean()) <= float(cosines[apart].mean()) + 2 * error:
        raise InputError(
            f"neighbouring sentences of the text of {language} are no nearer to each other than sentences of "
            "different documents: give the sentences in the order in which they were written"
        )


def _is_better(before: Measured, after: Measured, held_out: int, pairs: int) -> bool:
    if before.bitext is not None and after.bitext is not None:
        return after.bitext > before.bitext + _standard_error(before.bitext, pairs)
    return after.context > before.context + _standard_error(before.context, held_out)


def _keeps_spelling(before: Measured, spelled: Measured, held_out: int, pairs: int) -> bool:
    """Whether the encoder is not better without spelling a script than with it, by more than one standard error."""
    return not _is_better(spelled, before, held_out, pairs)


def _standard_error(share: float, of: int) -> float:
    return math.sqrt(share * (1 - share) / of)


def _claim(
    output: Path,
    model: str | None,
    language: str,
    text: OrderedText,
    pairs: Sequence[tuple[str, str]],
    settings: AdaptationSettings,
) -> None:
    """Mark a folder as the run of these inputs, creating it if necessary; never overwrite another run."""
    content = json.dumps([text.sentences, text.document.tolist(), [list(pair) for pair in pairs]])
    inputs = {
        "model": model or BUNDLED_NAME,
        "language": language,
        "text": sha256(content.encode()).hexdigest(),
        "settings": settings.model_dump(),
    }
    mark, wanted = output / _INPUTS, json.dumps(inputs, indent=1)
    if mark.is_file():
        if mark.read_text(encoding="utf-8") != wanted:
            raise InputError(f"{output} holds an adaptation with other inputs: name another folder, or remove it")
        return
    if output.exists() and any(output.iterdir()):
        raise InputError(f"{output} is not empty and holds no adaptation: name another folder")
    output.mkdir(parents=True, exist_ok=True)
    write_text_atomically(mark, wanted)


def _stored(path: Path) -> AdaptationReport:
    values = json.loads(path.read_text(encoding="utf-8"))
    kinds = {"before": Measured, "after": Measured, "spelled": Measured, "spelling": SpellingReport}
    read = {name: kind(**values[name]) for name, kind in kinds.items() if values.get(name) is not None}
    return AdaptationReport(**values | read)
