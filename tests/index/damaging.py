"""Damage folders at random and check the results."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from mlret.errors import MlretError
from mlret.index.index import Index
from mlret.index.verify import verify_index
from tests.index.made import vectors_of

Outcome = Literal["right", "wrong", "error"]
WORDS = ("river", "mountain", "harbour", "garden", "market", "bridge", "forest")


def documents(start: int, stop: int) -> list[dict[str, Any]]:
    """Return documents with words to find, and metadata to filter by."""
    return [
        {
            "id": f"doc-{number}",
            "text": f"The {WORDS[number % 7]} number {number} lies beside the {WORDS[number % 3]}.",
            "lang": ("en", "sw")[number % 2],
            "year": 2000 + number % 10,
        }
        for number in range(start, stop)
    ]


def store(index: Index, start: int, stop: int) -> None:
    """Add documents with the vectors of their texts."""
    some = documents(start, stop)
    index.add(some, vectors=vectors_of([one["text"] for one in some], index.store.manifest.similarity))


def all_answers(folder: Path) -> dict[str, Any]:
    """Return all documents of an index, and hits of each kind."""
    with Index.open(folder) as index:
        similarity = index.store.manifest.similarity
        query = vectors_of(["query"], similarity)
        found: dict[str, Any] = {"documents": {one.id: one for one in index.documents()}, "count": len(index)}
        for exact in (True, False):
            found[f"hits {exact}"] = [(hit.id, hit.score) for hit in index.search_vectors(query, 500, exact=exact)[0]]
        found["filtered"] = [hit.id for hit in index.search_vectors(query, 500, where={"year": 2003})[0]]
        scores, rows = index.store.records.match("harbour beside the river", 500, None)
        ids = index.store.records.ids(rows.tolist())
        found["lexical"] = sorted((ids.get(row), score) for row, score in zip(rows.tolist(), scores, strict=True))
    return found


def outcome(folder: Path, right: dict[str, Any]) -> Outcome:
    """Return whether an index gives the right answers; any exception must be a one-line error of mlret."""
    try:
        found = all_answers(folder)
    except MlretError as error:
        assert "\n" not in str(error)
        return "error"
    return "right" if found == right else "wrong"


def flip(content: bytearray, chance: random.Random) -> None:
    """Flip one bit."""
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def cut(content: bytearray, chance: random.Random) -> None:
    """Remove the end."""
    del content[chance.randrange(len(content)) :]


def blank(content: bytearray, chance: random.Random) -> None:
    """Replace up to 64 bytes by zeros."""
    start = chance.randrange(len(content))
    stop = min(len(content), start + chance.randint(1, 64))
    content[start:stop] = bytes(stop - start)


def repeat(content: bytearray, chance: random.Random) -> None:
    """Overwrite up to 512 bytes by those of another place."""
    size = chance.randint(1, 512)
    source, target = chance.randrange(len(content)), chance.randrange(len(content))
    part = content[source : source + size]
    content[target : target + len(part)] = part


KINDS: tuple[Callable[[bytearray, random.Random], None], ...] = (flip, flip, flip, cut, blank, repeat)


def files(folder: Path) -> Iterator[Path]:
    """Return all files of a folder."""
    yield from sorted(path for path in folder.rglob("*") if path.is_file())


def damage_rounds(
    folder: Path,
    rounds: int,
    seed: int,
    right: dict[str, Any],
    *,
    names: Callable[[str], bool] = lambda _: True,
    encoder: Any = None,
) -> Counter[str]:
    """Damage copies of a folder; open, search and verify each.

    Verify must report whatever is wrong, what it reports as undamaged must be right, and only errors of mlret may
    occur.

    Returns
    -------
    Counter
        How often each outcome occurred.
    """
    chance, counts = random.Random(seed), Counter[str]()
    copy = folder.with_name(f"{folder.name}-damaged")
    there = [path.relative_to(folder) for path in files(folder) if path.stat().st_size and names(path.name)]
    for number in range(rounds):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy)
        name, kind = chance.choice(there), chance.choice(KINDS)
        content = bytearray((copy / name).read_bytes())
        kind(content, chance)
        where = f"round {number}: {kind.__name__} of {name}"
        (copy / name).write_bytes(content)
        try:
            before = outcome(copy, right)
            seen = problems_of(copy, encoder, repair=False)
            assert seen or before == "right", f"{before}, and verify reports no damage"
            again = problems_of(copy, encoder, repair=True)
            after = outcome(copy, right)
            if all(repaired for repaired, _ in again) and not any("lost" in what for _, what in again):
                assert after == "right", f"{after} after repair reported {again}"
                assert not problems_of(copy, encoder, repair=False)
        except Exception as error:
            raise AssertionError(f"{where}: {type(error).__name__}: {error}") from error
        counts[f"{before}, then {after}" if seen else "harmless"] += 1
    shutil.rmtree(copy, ignore_errors=True)
    return counts


def problems_of(folder: Path, encoder: Any, *, repair: bool) -> list[tuple[bool, str]]:
    """Return the problems that verify finds, or the error that it raises."""
    try:
        return [(problem.repaired, problem.what) for problem in verify_index(folder, encoder, repair=repair)]
    except MlretError as error:
        assert "\n" not in str(error)
        return [(False, str(error))]
