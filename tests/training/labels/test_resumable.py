"""Test that interrupted work on training examples is resumed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret.data.ranking import RankingExample, read_ranking
from mlret.errors import InputError
from mlret.training.labels.resumable import Processed, process_to_file

EXAMPLES = [RankingExample(f"query {number}", (f"answer {number}",)) for number in range(10)]


class StoppedError(Exception):
    pass


class Work:
    """Adds a negative to each example; raises an error before a given query."""

    def __init__(self, stop: int | None = None) -> None:
        self.seen: list[str] = []
        self.stop = stop

    def __call__(self, batch: Sequence[RankingExample]) -> list[Processed]:
        if self.stop is not None and any(one.query == f"query {self.stop}" for one in batch):
            raise StoppedError
        self.seen += [one.query for one in batch]
        return [Processed(replace(one, negatives=(f"not {one.query}",)), {"one": 1.0}) for one in batch]


def run(path: Path, work: Work, batch_size: int = 3, **changes: object) -> float:
    options = {"settings": {"a": (1, 2)}} | changes
    return sum(figures["one"] for figures in process_to_file(EXAMPLES, work, path, batch_size=batch_size, **options))  # type: ignore[arg-type]


names = st.sampled_from(["x.jsonl", "x.jsonl.gz"])


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 9),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(0, 80),
    st.sampled_from(["x.jsonl", "x.jsonl.gz"]),
)
def test_stopped_anywhere_the_file_is_that_of_one_run(
    tmp_path_factory: pytest.TempPathFactory, stop: int, first: int, second: int, torn: int, name: str
) -> None:
    folder = tmp_path_factory.mktemp("work")
    whole, path = folder / f"whole-{name}", folder / name
    assert run(whole, Work()) == 10
    begun = Work(stop)
    with pytest.raises(StoppedError):
        run(path, begun, first)
    assert not path.exists()
    partial = folder / f".{name}.partial"
    with partial.open("rb+") as file:  # as left by a power failure
        file.truncate(max(partial.stat().st_size - torn, 0))
    work = Work()
    assert run(path, work, second) == 10, "what was done before is in the figures"
    assert path.read_bytes() == whole.read_bytes()
    assert len(begun.seen) + len(work.seen) >= 10
    if not torn:
        assert begun.seen + work.seen == [one.query for one in EXAMPLES], "nothing is done twice"
    assert [one.negatives for one in read_ranking(path)] == [(f"not {one.query}",) for one in EXAMPLES]
    assert sorted(entry.name for entry in folder.iterdir()) == sorted([name, f"whole-{name}"])


def test_other_settings_and_existing_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with pytest.raises(StoppedError):
        run(path, Work(5))
    with pytest.raises(InputError, match="was begun with other settings"):
        run(path, Work(), settings={"a": (1, 3)})
    run(path, Work())
    with pytest.raises(InputError, match="already exists"):
        run(path, Work())
    with pytest.raises(InputError, match="does not exist; make it first"):
        run(tmp_path / "none" / "x.jsonl", Work())


def test_no_examples_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no examples"):
        list(process_to_file([], Work(), tmp_path / "x.jsonl", settings={}, batch_size=1))
    assert not list(tmp_path.iterdir())


def test_progress_counts_what_was_done_before(tmp_path: Path) -> None:
    path, reported = tmp_path / "x.jsonl", []
    with pytest.raises(StoppedError):
        run(path, Work(7))
    run(path, Work(), progress=reported.append)
    assert reported == [6, 9, 10]
    assert json.loads(path.read_text().splitlines()[0])["query"] == "query 0"
