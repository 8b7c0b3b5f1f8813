"""Measure multi-vector search over coded tokens: recall against time, compared with exact MaxSim over float32 tokens.

    python scripts/bench/multivector.py [--documents 50000] [--data DIR] [--bits 4] [--pooling 1] [--quick]
        [--peers FOLDER | --kept FILE] [--json FILE] [--plot FILE]

--data names a folder with `emb.npy` (all tokens, one document after another), `doclens.npy` and `queries.npy`
(queries x tokens x dims; shorter queries are padded with zeros), as `token_corpus.py` writes them. Without it documents
are generated: 40 to 80 tokens of 128 dimensions from 3 to 6 of 20,000 topics, with noise; a query is 32 noisy tokens of
one document.

Everything runs in one process: building an index on disk, then for every setting all queries one by one, and all in one
call. "hits" is the public `Index.search_vectors`, with texts and with the number of probes that the index chose. Exact
MaxSim multiplies float32 tokens with BLAS and takes the maxima document by document; recall and nDCG are measured
against its ten best. With --peers the environments that `peers/make.py` made run on the same vectors afterwards.

--quick ends in two minutes, also on a processor with AVX2 alone. An index that is so small that it has no lists is
measured at one setting, since all would compare all documents. `kernels.py` measures the kernels alone.
"""

from __future__ import annotations

import json
import resource
import subprocess
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress, track
from rich.table import Table

from mlret import ExternalEncoder, Index, IndexSettings
from mlret.doctor import examine
from mlret.index.settings import changed_settings
from mlret.index.tokens.kernels.dispatch import most
from mlret.index.tokens.maxsim import Effort, candidates
from mlret.index.tokens.stored_tokens import TokenQuery
from mlret.index.tokens.token_space import MaxSimSpace
from mlret.index.vectors.faiss_index import faiss_module
from mlret.index.vectors.ragged import Ragged, offsets_of

K = 10
EFFORTS = (
    *(Effort(probes) for probes in (1, 2, 4)),
    *(Effort(probes, compared) for compared in (256, 1024, 4096) for probes in (16, 64)),
    None,
)
STAGED = (Effort(1), Effort(16, 256), None)
_QUICK_DOCUMENTS, _QUICK_QUERIES = 4_000, 50
_AT_ONCE = 5_000  # documents that are generated at once
_DISCOUNTS = 1 / np.log2(np.arange(2, K + 2))


@dataclass(frozen=True)
class Corpus:
    """Tokens of documents, one after another, the offset of each document, and queries, which are padded with zeros."""

    tokens: NDArray[np.floating]
    offsets: NDArray[np.int64]
    queries: NDArray[np.float32]

    def asked(self) -> list[NDArray[np.float32]]:
        """Return the tokens of each query without padding."""
        return [query[query.any(axis=1)] for query in self.queries]


@dataclass(frozen=True)
class Figure:
    """Results of one setting; times of single queries in milliseconds, on all threads except for ``qps_one_thread``.

    ``cpu_ms`` is the median query's processor time, which other programs on the machine change least.
    """

    setting: str
    recall: float
    ndcg: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float | None = None
    qps_one_thread: float | None = None
    batch_qps: float | None = None


def read(folder: Path) -> Corpus:
    """Read a corpus from a folder."""
    lengths = np.load(folder / "doclens.npy")
    offsets = offsets_of(lengths)
    return Corpus(np.load(folder / "emb.npy", mmap_mode="r"), offsets, np.load(folder / "queries.npy"))


def make(documents: int, queries: int = 200, dims: int = 128) -> Corpus:
    """Generate a corpus from a seed."""
    rng = np.random.default_rng(11)

    def noise(count: int) -> NDArray[np.float32]:
        return unit(rng.standard_normal((count, dims), dtype=np.float32))

    def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)

    topics = noise(20_000)
    weights = 1 / np.sqrt(np.arange(len(topics)) + 200)
    lengths = rng.integers(40, 81, documents)
    offsets = offsets_of(lengths)
    tokens = np.empty((offsets[-1], dims), dtype=np.float16)
    for first in track(range(0, documents, _AT_ONCE), "making documents", console=Console(stderr=True)):
        size = min(_AT_ONCE, documents - first)
        about = rng.choice(len(topics), (size, 6), p=weights / weights.sum())
        of = np.repeat(np.arange(size), lengths[first : first + size])
        chosen = topics[about[of, (rng.random(len(of)) * rng.integers(3, 7, size)[of]).astype(int)]]
        block = unit(chosen + 0.35 * noise(size)[of] + 0.7 * noise(len(of)))
        tokens[offsets[first] : offsets[first + size]] = block
    asked = rng.choice(documents, queries, replace=documents < queries)
    rows = offsets[asked][:, None] + (rng.random((queries, 32)) * lengths[asked][:, None]).astype(int)
    blurred = tokens[rows] + 0.75 * noise(32 * queries).reshape(queries, 32, dims)
    return Corpus(tokens, offsets, unit(blurred).astype(np.float32))


def exact(corpus: Corpus) -> tuple[list[NDArray[np.int64]], dict[str, float]]:
    """Return the best documents of each query by exact MaxSim, and the median milliseconds of a query."""
    tokens = np.asarray(corpus.tokens, dtype=np.float32)

    def run(some: list[NDArray[np.float32]]) -> list[NDArray[np.int64]]:
        every = [np.maximum.reduceat(tokens @ query.T, corpus.offsets[:-1], axis=0).sum(axis=1) for query in some]
        return [np.argsort(-scores)[:K] for scores in every]

    best, seconds, cpu = timed(run, track(corpus.asked(), "exact MaxSim", console=Console(stderr=True)))
    return best, {"exact_ms": 1000 * float(np.median(seconds)), "exact_cpu_ms": 1000 * float(np.median(cpu))}


def build(corpus: Corpus, folder: Path, settings: IndexSettings) -> tuple[Index, dict[str, Any]]:
    """Build an index; return it with seconds, processor seconds, memory, and bytes on disk."""
    start, cpu, before = time.perf_counter(), time.process_time(), _rss()
    index = Index.create(folder, ExternalEncoder("bench", corpus.tokens.shape[1], "maxsim"), settings=settings)
    count = len(corpus.offsets) - 1
    documents = ({"id": f"d{place}", "text": f"document {place}", "lang": "en"} for place in range(count))
    with Progress(console=Console(stderr=True)) as progress:
        storing = progress.add_task("storing", total=count)
        for done in index.add_batches(documents, vectors=Ragged(corpus.tokens, corpus.offsets)):
            progress.advance(storing, done.added)
        compacting = progress.add_task("compacting")
        index.compact(lambda what, done, of: progress.update(compacting, description=what, completed=done, total=of))
    seconds = {"build_s": time.perf_counter() - start, "build_cpu_s": time.process_time() - cpu}
    info = index.info()
    memory = {"peak_gib": _rss(), "before_gib": before}
    return index, seconds | memory | {"index_mb": info.bytes / 1e6, "probing": info.probing}


def _rss() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(
    index: Index, queries: list[NDArray[np.float32]], truth: list[NDArray[np.int64]], effort: Effort | None
) -> Figure:
    """Time all queries one by one on all threads, some on one thread, and all in one call."""
    space, views = index.store.space, index.store.views()
    assert isinstance(space, MaxSimSpace)

    def run(some: list[NDArray[np.float32]]) -> list[NDArray[np.int64]]:
        found = space.search(views, some, K, exact=effort is None, effort=effort)
        return [rows[:K] - 1 for _, rows in found]  # a row is the number of a document

    run(queries[:3])
    found, seconds, cpu = timed(run, queries)
    faiss = faiss_module()
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    _, alone, _ = timed(run, queries[: max(20, len(queries) // 4)])
    faiss.omp_set_num_threads(threads)
    start = time.perf_counter()
    run(queries)
    rates = {"qps_one_thread": len(alone) / sum(alone), "batch_qps": len(queries) / (time.perf_counter() - start)}
    setting = named(effort)
    return figure(setting, found, seconds, cpu, truth, **rates)


def named(effort: Effort | None) -> str:
    """Return a setting as the tables show it."""
    if effort is None:
        return "all documents"
    return f"probes {effort.probes}" + (f" best {effort.compared}" if effort.compared else "")


def measure_hits(index: Index, queries: list[NDArray[np.float32]], truth: list[NDArray[np.int64]]) -> Figure:
    """Measure the same through the index with its own choice of probes, including the texts of the hits."""

    def run(some: list[NDArray[np.float32]]) -> list[NDArray[np.int64]]:
        return [np.array([int(hit.id[1:]) for hit in hits]) for hits in index.search_vectors(some, K)]

    run(queries[:3])
    found, seconds, cpu = timed(run, queries)
    start = time.perf_counter()
    run(queries)
    return figure("hits", found, seconds, cpu, truth, batch_qps=len(queries) / (time.perf_counter() - start))


def stages(index: Index, queries: list[NDArray[np.float32]]) -> list[dict[str, Any]]:
    """Return the median query's milliseconds of processor time in each stage, and how many documents it compares."""
    space, views = index.store.space, [view for view in index.store.views() if len(view)]
    assert isinstance(space, MaxSimSpace)
    found = []
    for effort in STAGED if has_lists(index) else (None,):
        rows = []
        for asked in queries:
            times = [time.process_time()]
            query = TokenQuery.of(asked, space.codec)
            times.append(time.process_time())
            if effort is not None:
                most(query.near, len(query.tokens), effort.probes + 1)
            times.append(time.process_time())
            positions = [candidates(view, query, K, effort) for view in views]
            times.append(time.process_time())
            scores = [view.segment.tokens.approximate(query, some) for view, some in zip(views, positions, strict=True)]
            times.append(time.process_time())
            best = [some[np.argsort(-score)[: 2 * K + 16]] for some, score in zip(positions, scores, strict=True)]
            for view, some in zip(views, best, strict=True):
                view.segment.tokens.score(query, np.sort(some))
            times.append(time.process_time())
            index.store.records.fetch(np.sort(np.concatenate(best))[:K].tolist())
            times.append(time.process_time())
            rows.append([*np.diff(times) * 1000, sum(map(len, positions))])
        names = ("centroid products", "choosing centroids", "lists", "codes", "scoring again", "hits", "documents")
        medians = dict(zip(names, np.median(rows, axis=0).tolist(), strict=True))
        # The candidates were found by choosing centroids once more.
        medians["lists"] = max(0.0, medians["lists"] - medians["choosing centroids"])
        found.append({"setting": named(effort)} | medians)
    return found


def has_lists(index: Index) -> bool:
    """Return whether a part of the index is searched by probing."""
    return any(view.segment.kind == "probe" for view in index.store.views())


def reading(index: Index) -> float:
    """Return the milliseconds that reading the codes once takes on one thread: the lower bound of comparing all."""
    codes = [view.segment.tokens.packed.codes for view in index.store.views() if hasattr(view.segment.tokens, "packed")]
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        for some in codes:
            np.bitwise_xor.reduce(some.reshape(-1)[: some.size // 8 * 8].view(np.uint64))
        seconds.append(time.perf_counter() - start)
    return 1000 * min(seconds)


def timed(run: Any, queries: Iterable[NDArray[np.float32]]) -> tuple[list[NDArray[np.int64]], list[float], list[float]]:
    """Return the results of each query searched alone, the seconds, and the seconds of processor time."""
    found, seconds, cpu = [], [], []
    for query in queries:
        start, cpu_start = time.perf_counter(), time.process_time()
        found += run([query])
        cpu.append(time.process_time() - cpu_start)
        seconds.append(time.perf_counter() - start)
    return found, seconds, cpu


def figure(
    setting: str,
    found: list[Any],
    seconds: list[float],
    cpu: list[float],
    truth: list[NDArray[np.int64]],
    **rates: float,
) -> Figure:
    """Compute recall, nDCG and times from the results."""
    hits = [np.isin(some, best) for some, best in zip(found, truth, strict=True)]
    return Figure(
        setting,
        float(np.mean([some.sum() / K for some in hits])),
        float(np.mean([(some * _DISCOUNTS[: len(some)]).sum() / _DISCOUNTS.sum() for some in hits])),
        1000 * float(np.median(seconds)),
        1000 * float(np.quantile(seconds, 0.99)),
        1000 * float(np.median(cpu)),
        **rates,
    )


def run_peers(folder: Path, corpus: Corpus, truth: list[NDArray[np.int64]]) -> dict[str, dict[str, Any]]:
    """Return the figures that each peer environment in a folder gives on the same vectors."""
    threads = faiss_module().omp_get_max_threads()
    found = {}
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary)
        np.save(data / "emb.npy", np.asarray(corpus.tokens, dtype=np.float16))
        np.save(data / "doclens.npy", np.diff(corpus.offsets).astype(np.int32))
        np.save(data / "queries.npy", corpus.queries)
        for home in sorted(path for path in folder.iterdir() if (path / "bin" / "python").exists()):
            script = Path(__file__).parent / "peers" / f"with_{home.name}.py"
            output = data / f"{home.name}.json"
            subprocess.check_call([home / "bin" / "python", script, data, output, str(threads)])
            peer = json.loads(output.read_text(encoding="utf-8"))
            peer["settings"] = [
                figure(
                    " ".join(f"{name} {value}" for name, value in one["options"].items()) or "defaults",
                    one["ids"],
                    one["seconds"],
                    one["cpu_seconds"],
                    truth,
                    batch_qps=one["batch_qps"],
                )
                for one in peer["settings"]
            ]
            found[peer.pop("library")] = peer
    return found


def stored_peers(file: Path) -> dict[str, dict[str, Any]]:
    """Return the peers' figures of an earlier run, because they take most of the time of a run."""
    figures = json.loads(file.read_text(encoding="utf-8"))["figures"]
    peers = {name: part for name, part in figures.items() if name not in ("corpus", "mlret")}
    return {name: part | {"settings": [Figure(**one) for one in part["settings"]]} for name, part in peers.items()}


def speedups(ours: list[Figure], peers: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Return, for each setting of a peer, its time divided by ours at our first setting with at least its recall."""
    found = {}
    for library, peer in peers.items():
        for theirs in peer["settings"]:
            enough = [one for one in ours if one.recall >= theirs.recall and one.setting != "hits"]
            if enough:
                fastest = min(enough, key=lambda one: one.p50_ms)
                found[f"speedup_over_{library}_{theirs.setting}".replace(" ", "_")] = theirs.p50_ms / fastest.p50_ms
    return found


def main(
    documents: Annotated[int, typer.Option(min=100)] = 50_000,
    data: Annotated[Path | None, typer.Option(help="A folder of tokens instead.")] = None,
    bits: Annotated[int, typer.Option(help="1, 2, 4, 8 or 16 bits a dimension.")] = 4,
    pooling: Annotated[int, typer.Option(min=1, help="Merge this many tokens into one.")] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="4,000 documents, 50 queries.")] = False,
    peers: Annotated[Path | None, typer.Option(help="Folder that `peers/make.py` wrote.")] = None,
    kept: Annotated[
        Path | None,
        typer.Option(help="Take the peers' figures from a JSON that --json wrote for the same corpus."),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
    plot_file: Annotated[Path | None, typer.Option("--plot", help="Write a PNG of recall against queries/s.")] = None,
) -> None:
    """Measure multi-vector search."""
    corpus = read(data) if data else make(*((_QUICK_DOCUMENTS, _QUICK_QUERIES) if quick else (documents,)))
    with tempfile.TemporaryDirectory() as temporary:
        index, built = build(
            corpus, Path(temporary) / "index", changed_settings(IndexSettings(), {"bits": bits, "pooling": pooling})
        )
        truth, all_exact = exact(corpus)
        queries = corpus.asked()
        efforts = EFFORTS if has_lists(index) else (None,)
        ours = [measure(index, queries, truth, effort) for effort in efforts]
        ours.append(measure_hits(index, queries, truth))
        built |= {"stages_ms": stages(index, queries), "reading_ms": reading(index)}
        index.close()
    found_peers = stored_peers(kept) if kept else run_peers(peers, corpus, truth) if peers else {}
    ratios = {f"speedup_over_exact_{one.setting}".replace(" ", "_"): all_exact["exact_ms"] / one.p50_ms for one in ours}
    ratios |= speedups(ours, found_peers)
    title = f"{len(corpus.offsets) - 1:,} documents, {len(corpus.tokens):,} tokens, {bits} bits, k = {K}"
    title += f", {pooling} tokens merged into one" if pooling > 1 else ""
    parts: dict[str, dict[str, Any]] = {"mlret": built | all_exact | {"settings": ours}, **found_peers}
    show(title, parts, ratios)
    if plot_file is not None:
        draw({name: part["settings"] for name, part in parts.items()}, title, plot_file)
    machine = examine()
    print(f"{machine.machine['cpu']}, {machine.machine['cores_usable']} cores, {machine.machine['token_kernels']}")
    if json_file is not None:
        figures = {name: part | {"settings": [asdict(one) for one in part["settings"]]} for name, part in parts.items()}
        content = {"ratios": ratios, "figures": {"corpus": title, **figures}}
        content |= {"machine": machine.machine, "versions": machine.versions}
        json_file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def show(title: str, parts: dict[str, dict[str, Any]], ratios: dict[str, float]) -> None:
    """Print the ratios first, then every setting, then the cost of building."""
    for name, ratio in ratios.items():
        print(f"{name} {ratio:.1f}")
    table = Table(title=title)
    for column in ("", "setting", "recall@10", "nDCG@10", "p50 ms", "p99 ms", "CPU ms", "QPS, 1 thread", "QPS, batch"):
        table.add_column(column, justify="left" if column in ("", "setting") else "right")
    for name, part in parts.items():
        for one in part["settings"]:
            rates = ["" if rate is None else f"{rate:,.0f}" for rate in (one.qps_one_thread, one.batch_qps)]
            times = ["" if one_time is None else f"{one_time:.2f}" for one_time in (one.p50_ms, one.p99_ms, one.cpu_ms)]
            table.add_row(name, one.setting, f"{one.recall:.3f}", f"{one.ndcg:.3f}", *times, *rates)
    Console(width=118).print(table)
    for name, part in parts.items():
        values = [f"{key} {value:,.1f}" for key, value in part.items() if isinstance(value, float)]
        print(f"{name}: {', '.join(values)}; {part.get('probing', '')}".rstrip("; "))
        for stage in part.get("stages_ms", ()):
            print(
                "  "
                + ", ".join(f"{key} {value if key == 'setting' else f'{value:.2f}'}" for key, value in stage.items())
            )


def draw(lines: dict[str, list[Figure]], title: str, file: Path) -> None:
    """Plot recall against queries per second of processor time; a line joins what no other setting beats in both."""
    from matplotlib.figure import Figure as Picture

    picture = Picture(figsize=(7, 4.5), layout="constrained")
    axes = picture.subplots()
    for (name, figures), colour in zip(lines.items(), ("#0072B2", "#D55E00", "#009E73"), strict=False):
        rows = sorted((1000 / (one.cpu_ms or one.p50_ms), one.recall) for one in figures if one.setting != "hits")
        front = [row for row in rows if not any(speed >= row[0] and found > row[1] for speed, found in rows)]
        axes.plot(*zip(*rows, strict=True), "o", color=colour)
        axes.plot(*zip(*front, strict=True), "-", color=colour)
        label = {"textcoords": "offset points", "xytext": (8, 0), "va": "center", "color": colour}
        axes.annotate(name, front[-1], **label)
    axes.margins(x=0.12)
    axes.set(title=title, xscale="log", xlabel="single queries a second of processor time", ylabel="recall@10")
    axes.grid(color="#dddddd")
    axes.spines[["top", "right"]].set_visible(False)
    picture.savefig(file, dpi=130)


if __name__ == "__main__":
    typer.run(main)
