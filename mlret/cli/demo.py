"""`mlret demo`: demonstrate indexing, search, evaluation and memory on the bundled sample in under a minute."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from mlret.cli.tables import ScriptText, display_language
from mlret.errors import InputError

if TYPE_CHECKING:
    from mlret.data.sample import Sample
    from mlret.eval.sample import SampleResult
    from mlret.memory.memory import Memory
    from mlret.memory.results import MemoryHit

_MEMORIES = [
    ("fr", "Je suis allergique aux arachides et aux noix."),
    ("ja", "来週の月曜日に歯医者の予約があります。"),
    ("sw", "Ninapenda kunywa chai yenye tangawizi asubuhi."),
    ("ar", "مفتاح البيت الاحتياطي عند جارتنا في الطابق الثاني."),
    ("de", "Meine Schwester Anna hat im März Geburtstag."),
    ("hi", "मेरी साइकिल का पिछला पहिया टूट गया है।"),
]
_QUESTIONS = [
    ("en", "Which foods must I avoid?"),
    ("es", "¿Cuándo tengo cita con el dentista?"),
    ("ru", "Какой чай я пью утром?"),
    ("he", "אצל מי המפתח של הבית?"),
    ("zh", "我姐姐的生日是什么时候？"),
    ("ko", "내 자전거는 어디가 고장 났습니까?"),
]
# Number of rows shown. They are fixed in advance, so that no favourable examples are picked: the first question of
# every second topic, each asked in the next language of the sample and searched five languages further on.
_SHOWN = 6


def demo(
    model: Annotated[str | None, typer.Option("--model", help="An encoder; by default the bundled one.")] = None,
    keep: Annotated[
        Path | None, typer.Option("--keep", help="A new folder to keep the demo's index and memories in.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print figures as JSON.")] = False,
) -> None:
    """See mlret work: index texts in twelve languages, ask in another language, measure, remember."""
    from mlret.data.sample import load_sample
    from mlret.encoders.loading import load_encoder
    from mlret.eval.sample import evaluate_sample
    from mlret.index.index import Index
    from mlret.memory.memory import Memory

    if keep is not None and keep.exists():
        raise InputError(f"{keep} exists: name a new folder with --keep")
    console = Console(stderr=json_, highlight=False)
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="mlret-demo-") as temporary,
        console.status("Loading the encoder …"),
    ):
        folder = keep or Path(temporary)
        encoder = load_encoder(model)
        sample = load_sample()
        console.print(
            f"[bold]Encoder[/]  {escape(encoder.name)}: {encoder.dims} dimensions, fingerprint {encoder.fingerprint}"
        )
        with Index.create(folder / "sample", encoder) as index:
            index.add(sample.passages)
            size = index.info().bytes
            console.print(
                f"[bold]Index[/]    {len(index)} passages: {len(sample.passages) // len(sample.languages)} everyday "
                f"topics in {len(sample.languages)} languages, {size / 1e6:.1f} MB on disk\n"
            )
            result = evaluate_sample(index, sample)
        with Memory.open(folder / "memories", encoder) as memory:
            for language, text in _MEMORIES:
                memory.add(text, {"user": "demo"}, language=language)
            remembered = _ask(memory)
    seconds = time.monotonic() - started
    if json_:
        figures = result.to_dict() | {"encoder": encoder.fingerprint, "seconds": round(seconds, 1)}
        figures["memory_recall@1"] = sum(
            hit.text == _MEMORIES[row][1] for row, (_, hit) in enumerate(remembered)
        ) / len(remembered)
        print(json.dumps(figures, ensure_ascii=False))
        return
    console.print(_lookups(sample, result))
    console.print(_matrix(sample, result))
    console.print(_memories(remembered))
    console.print(_next_steps(keep, seconds))


def _ask(memory: Memory) -> list[tuple[str, MemoryHit]]:
    return [
        (question, memory.search(question, {"user": "demo"}, k=1, language=language)[0])
        for language, question in _QUESTIONS
    ]


def _lookups(sample: Sample, result: SampleResult) -> Table:
    table = _questions_table("Asked in one language, found in another", "best hit")
    topics = list(dict.fromkeys(qid.rsplit("-", 2)[0] for qid in sample.questions))
    languages = sample.languages
    for row in range(_SHOWN):
        asked = languages[(2 * row) % len(languages)]
        answered = languages[(2 * row + 5) % len(languages)]
        qid = f"{topics[2 * row]}-q1-{asked}"
        hit = result.hits[qid, answered][0]
        right = hit.id in sample.qrels[qid]
        table.add_row(
            _mark(right),
            _labelled(asked, sample.questions[qid].text),
            _labelled(answered, hit.text),
        )
        table.add_row("", "", "")
    return table


def _questions_table(title: str, found: str) -> Table:
    """Return an empty table of questions and what was found for them, with a column for :func:`_mark`."""
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
    table.add_column("")
    table.add_column("question", ratio=1)
    table.add_column(found, ratio=1)
    return table


def _mark(right: bool) -> Text:
    return Text("✓", style="bold green") if right else Text("✗", style="bold red")


def _labelled(language: str, text: str) -> Table:
    cell = Table.grid()
    cell.add_row(Text(display_language(language), style="green"))
    cell.add_row(ScriptText(text))
    return cell


def _matrix(sample: Sample, result: SampleResult) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        title="recall@1 in %, by language of question (rows) and passage (columns); means over other languages",
        title_justify="left",
        title_style="bold",
        padding=(0, 1, 0, 0),
    )
    table.add_column("")
    for language in sample.languages:
        table.add_column(language, justify="right")
    for metric in ("R@1", "R@5", "MRR@10"):
        table.add_column(metric, justify="right", style="bold")
    for asked in sample.languages:
        cells = [
            _shade(result.pairs[asked, answered]["recall@1"], dim=asked == answered) for answered in sample.languages
        ]
        means = [f"{100 * score:.0f}" for score in result.mean(question=asked).values()]
        table.add_row(display_language(asked), *cells, *means)
    table.add_section()
    columns = [_shade(result.mean(passage=answered)["recall@1"]) for answered in sample.languages]
    table.add_row("mean", *columns, *(f"{100 * score:.1f}" for score in result.mean().values()))
    return table


def _shade(score: float, *, dim: bool = False) -> Text:
    colour = "green" if score >= 0.8 else "yellow" if score >= 0.5 else "red"
    return Text(f"{100 * score:.0f}", style="dim" if dim else colour)


def _memories(remembered: list[tuple[str, MemoryHit]]) -> Table:
    table = _questions_table("Remembered in one language, found from another", "memory found")
    for (language, _), (question, hit), (_, expected) in zip(_QUESTIONS, remembered, _MEMORIES, strict=True):
        right = hit.text == expected
        table.add_row(
            _mark(right),
            _labelled(language, question),
            _labelled(hit.language or "und", hit.text),
        )
    return table


def _next_steps(keep: Path | None, seconds: float) -> Table:
    folder = keep or Path("demo")
    steps = [
        (f"mlret demo --keep {folder}", "keep the index of this demo"),
        (f'mlret search {folder / "sample"} "Where did the cat hide?" -w lang=ja', "and ask it questions of your own"),
        ("mlret index build my.index my-documents.jsonl", "index your own texts"),
        ("mlret train ccp-mini --data FOLDER", "pretrain on your own text"),
        ("mlret doctor", "what this machine offers"),
    ]
    table = Table.grid(padding=(0, 2))
    table.title, table.title_justify, table.title_style = f"Done in {seconds:.1f} s. What to try next:", "left", "bold"
    for command, purpose in steps[1 if keep else 0 :]:
        table.add_row(f"  {command}", Text(purpose, style="dim"))
    return table
