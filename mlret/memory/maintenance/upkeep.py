"""Maintenance of a memory: verify its integrity, and move it to another encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from mlret.encoders.multi_vector import AnyEncoder
from mlret.errors import MlretError
from mlret.index.index import Index
from mlret.index.reembedding import reembed_folder
from mlret.index.sharding.placement import shard_of
from mlret.index.sharding.shards_manifest import has_shards, read_shards
from mlret.index.storage.records import RECORDS, Records
from mlret.index.verify import Problem, verify_index
from mlret.memory.records import text_of
from mlret.memory.storage import cells, tables
from mlret.memory.storage.drafts import document_id, folded, hash_of
from mlret.memory.storage.folder import Folder
from mlret.memory.storage.journal import NewVersion, read_entries
from mlret.memory.storage.lexical_scores import grams_of
from mlret.memory.storage.table_checks import table_problems
from mlret.wording import counted

_BATCH = 256
_TENANTS = "SELECT DISTINCT tenant FROM memory_scopes"


def verify(
    path: Path, encoder: AnyEncoder | None = None, *, repair: bool = False, say: Callable[[str], None] | None = None
) -> list[Problem]:
    """Check every file, record, vector and n-gram, and whether replaying the journal gives the stored state.

    Parameters
    ----------
    path, encoder, repair, say
        As for :func:`mlret.index.verify.verify_index`. Repairable are the problems that the index reports as such, and
        n-grams.

    Returns
    -------
    list of Problem
        The problems found; empty if there are none.
    """
    problems = verify_index(path, encoder, repair=repair, say=say)
    if any(not problem.repaired for problem in problems):
        return problems
    if not has_shards(path):
        return _tables(path, encoder, problems, repair=repair, say=say)
    for number, info in enumerate(read_shards(path).shards):
        found = _tables(path / info.folder, encoder, [], repair=repair, say=say)
        found += _tenants(path / info.folder, number, len(read_shards(path).shards))
        problems += [replace(problem, file=f"{info.folder}/{problem.file}") for problem in found]
    return problems


def _tenants(path: Path, number: int, shards: int) -> Iterator[Problem]:
    """Yield a problem if a shard holds records of tenants that belong to others."""
    with closing(Records(path / RECORDS)) as records:
        odd = [tenant for (tenant,) in records.read(_TENANTS) if shard_of(tenant, shards) != number]
    if odd:
        yield Problem(RECORDS, f"records of {counted(len(odd), 'tenant')} belong to other shards", repairable=False)


def _tables(
    path: Path,
    encoder: AnyEncoder | None,
    problems: list[Problem],
    *,
    repair: bool,
    say: Callable[[str], None] | None,
) -> list[Problem]:
    """Return the problems of an index, and those of the tables of a memory in it."""
    try:
        with Index.open(path, encoder, kind="memory") as index:
            folder = Folder(index)
            (say or (lambda _: None))("the tables, and the journal, replayed")
            problems += [Problem(RECORDS, what, repairable=False) for what in table_problems(folder.records)]
            if problems and not all(problem.repaired for problem in problems):
                return problems
            problems += _texts(folder, repair=repair)
            if cells.erasing(folder.records):
                problems.append(
                    Problem(RECORDS, "an erasure is not finished; open the memory to write", repaired=False)
                )
    except MlretError as error:
        problems.append(Problem(RECORDS, str(error), repairable=False))
    return problems


def _texts(folder: Folder, *, repair: bool) -> Iterator[Problem]:
    """Yield the problems of texts, hashes and n-grams: every version must have all three."""
    records = folder.records
    query = """
        SELECT row, record, entry, hash, grams, length, text_crc FROM memory_versions WHERE row > ?
        ORDER BY row LIMIT ?
    """
    last, wrong = 0, []
    while found := records.read(query, (last, _BATCH)):
        last = found[-1][0]
        documents = records.fetch([row for row, *_ in found])
        news = _news(records, [entry for _, _, entry, *_ in found])
        for row, record, _, *stored in found:
            new = news.get(row)
            if new is None or row not in documents or documents[row].id != document_id(record, new.version):
                what = f"memory_versions, row {row}: a version of record {record} has lost its text"
                yield Problem(RECORDS, what, repairable=False)
                continue
            expected = _derived(documents[row].text, new.content.get("keys", ()))
            if stored != [*expected, cells.text_crc(*expected[:2])]:
                wrong.append((row, *expected))
    if wrong:
        yield Problem(
            RECORDS, f"the hashes or n-grams of {len(wrong)} versions are not those of their texts", repaired=repair
        )
        if repair:
            with folder.writing():
                folder.store.commit(lambda connection: tables.derive_again(connection, wrong))
    orphans = """
        SELECT count(*) FROM records WHERE row NOT IN (SELECT row FROM memory_versions)
        AND row NOT IN (SELECT row FROM memory_parts)
    """
    if count := records.read(orphans)[0][0]:
        yield Problem(RECORDS, f"{count} texts belong to no version", repairable=False)
    lost = "SELECT count(*) FROM memory_parts WHERE row NOT IN (SELECT row FROM records)"
    if count := records.read(lost)[0][0]:
        yield Problem(RECORDS, f"memory_parts: {count} parts have lost their text", repairable=False)


def _news(records: Records, entries: list[int]) -> dict[int, NewVersion]:
    """Return the new versions of some entries, by row."""
    every = read_entries(records, f"entry IN ({','.join('?' * len(entries))})", entries)
    changes = [change for entry in every for change in entry.changes or ()]
    return {change.row: change for change in changes if type(change) is NewVersion}


def _derived(text: str, keys: Sequence[str]) -> tuple[bytes, bytes, int]:
    """Return the hash, the n-grams and their number for the indexed string of a text with its keys."""
    grams, length = grams_of(text)
    return hash_of(folded(text_of(text, keys))), grams, length


def reembed(
    path: Path,
    output: Path,
    encoder: AnyEncoder | str | Path | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a copy of a memory with the vectors of another encoder.

    The old store is only read and stays usable meanwhile; the new one appears when it is complete, and the same call
    resumes one that was interrupted. Ids, versions, journal and settings are the same; thresholds of the old encoder
    are not used with the new one.

    Parameters
    ----------
    path
        Folder of the memory.
    output
        Folder to create.
    encoder
        The new encoder; ``None`` for the bundled one.
    progress
        Called with the number of encoded texts and the total.

    Raises
    ------
    InputError
        If ``path`` is not a memory, or ``output`` exists.
    """
    reembed_folder(path, output, encoder, kind="memory", progress=progress)
