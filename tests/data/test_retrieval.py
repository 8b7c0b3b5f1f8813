from __future__ import annotations

import gzip
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret.data.retrieval import Topic, read_qrels, read_run, read_topics, write_run
from mlret.errors import InputError
from tests.shared import shared_data


@pytest.fixture
def file(tmp_path: Path):  # type: ignore[no-untyped-def]
    def write(content: str | bytes, name: str = "file.txt") -> Path:
        raw = content.encode() if isinstance(content, str) else content
        path = tmp_path / name
        path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
        return path

    return write


@pytest.mark.parametrize("name", ["topics.tsv", "topics.tsv.gz"])
def test_topics_without_a_header(file, name: str) -> None:  # type: ignore[no-untyped-def]
    topics = read_topics(file("q1\tNani aliandika Hamlet?\r\nq2\t谁写了《哈姆雷特》?\n", name))
    assert topics == {"q1": Topic("q1", "Nani aliandika Hamlet?"), "q2": Topic("q2", "谁写了《哈姆雷特》?")}
    assert list(topics) == ["q1", "q2"]


@pytest.mark.parametrize(
    "content",
    [
        "qid\tlang\ttext\nq1\tswh\tNani?\nq2\t\tWho?\n",
        "query_id\tquery\tlanguage\nq1\tNani?\tsw\nq2\tWho?\t\n",
        "qid\tlang\tquestion\tanswer\nq1\tsw\tNani?\t308\nq2\t\tWho?\t\n",
        "\ufeffQID\tLang\tText\nq1\tsw_KE\tNani?\nq2\t\tWho?\n",
    ],
)
def test_topics_with_a_header_may_name_the_language(file, content: str) -> None:  # type: ignore[no-untyped-def]
    assert read_topics(file(content)) == {"q1": Topic("q1", "Nani?", "sw"), "q2": Topic("q2", "Who?")}


def test_qrels_by_blanks_or_tabs(file) -> None:  # type: ignore[no-untyped-def]
    qrels = read_qrels(file("q1 0 d1 1\nq1\tQ0\td2\t0\n\nq2 0 d1 -1\n", "qrels.gz"))
    assert qrels == {"q1": {"d1": 1, "d2": 0}, "q2": {"d1": -1}}


def test_run_ignores_ranks_and_may_be_empty(file) -> None:  # type: ignore[no-untyped-def]
    run = read_run(file("q1 Q0 d2 1 0.5 tag\nq1 Q0 d1 1 7e-1 tag\n"))
    assert run == {"q1": {"d2": 0.5, "d1": 0.7}}
    assert read_run(file("")) == {}


@pytest.mark.parametrize(
    ("reader", "content", "message"),
    [
        (read_topics, "", "has no queries"),
        (read_topics, "qid\ttext\n", "has no queries"),
        (read_topics, "q1\ta\nq2\n", r":2: 1 column, not 2; write qid<TAB>text"),
        (read_topics, "qid\tlang\ttext\nq1\ten\n", r":2: 2 columns, not 3; write qid<TAB>lang<TAB>text"),
        (
            read_topics,
            "qid\tlang\tbody\nq1\ten\ta\n",
            r":1: the header has no column text or query or question",
        ),
        (read_topics, "q1\ta\nq1\tb\n", r":2: query 'q1' is on line 1 too"),
        (read_topics, "q1\t \n", r":1: the text is empty"),
        (read_topics, " \ta\n", r":1: the id is empty"),
        (read_topics, "qid\tlang\ttext\nq1\tzzq\ta\n", r":2: unknown language code 'zzq'"),
        (read_topics, b"q1\ta\nq2\t\xff\n", r":2: not UTF-8 at byte 3"),
        (read_qrels, "", "has no judgements"),
        (read_qrels, "q1 0 d1\n", r":1: 3 columns, not 4; write qid iteration docid relevance"),
        (read_qrels, "q1 0 d1 1\nq1 0 d2 yes\n", r":2: relevance 'yes' is not a whole number"),
        (read_qrels, "q1 0 d1 1\nq1 0 d1 0\n", r":2: document 'd1' of query 'q1' is on line 1 too"),
        (read_qrels, b"q1 0 d\xe9 1\n", r":1: not UTF-8"),
        (read_run, "q1 Q0 d1 1 0.5\n", r":1: 5 columns, not 6; write qid Q0 docid rank score tag"),
        (read_run, "q1 Q0 d1 1 high t\n", r":1: score 'high' is not a number"),
        (read_run, "q1 Q0 d1 1 nan t\n", r":1: score 'nan' is not a number"),
        (
            read_run,
            "q1 Q0 d1 1 2 t\nq2 Q0 d1 1 2 t\nq1 Q0 d1 2 1 t\n",
            r":3: document 'd1' of query 'q1' is on line 1",
        ),
        (read_run, b"\xfe\n", r":1: not UTF-8"),
    ],
)
def test_a_bad_line_is_named(file, reader, content, message: str) -> None:  # type: ignore[no-untyped-def]
    path = file(content)
    with pytest.raises(InputError, match=message) as caught:
        reader(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("reader", [read_topics, read_qrels, read_run])
def test_a_missing_or_damaged_file_is_named(reader, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match="no such file"):
        reader(tmp_path / "nowhere.tsv")
    (tmp_path / "bad.gz").write_bytes(b"q1\ta\n")
    with pytest.raises(InputError, match="damaged gzip"):
        reader(tmp_path / "bad.gz")


def test_a_run_is_written_best_first_and_ties_by_id(tmp_path: Path) -> None:
    path = tmp_path / "run.txt"
    write_run(path, {"q1": {"b": 0.5, "a": 0.5, "c": 1}}, tag="mini")
    assert path.read_text(encoding="utf-8") == "q1 Q0 c 1 1.0 mini\nq1 Q0 a 2 0.5 mini\nq1 Q0 b 3 0.5 mini\n"
    assert list(tmp_path.iterdir()) == [path]


words = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(words, st.dictionaries(words, st.floats(allow_nan=False), min_size=1)), st.booleans())
def test_what_is_written_is_read_back(tmp_path_factory, run: dict, zipped: bool) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path_factory.mktemp("run") / f"run{'.gz' if zipped else ''}"
    write_run(path, run)
    assert read_run(path) == run


@pytest.mark.parametrize(
    ("run", "tag", "message"),
    [
        ({"q 1": {"d": 1.0}}, "t", "query id 'q 1' is empty or holds blanks"),
        ({"q": {"": 1.0}}, "t", "document id '' is empty"),
        ({"q": {"d": 1.0}}, "my run", "tag 'my run'"),
        ({"q": {"d": math.nan}}, "t", "not a number"),
    ],
)
def test_a_run_that_cannot_be_written_leaves_the_old_file(
    tmp_path: Path, run: dict[str, dict[str, float]], tag: str, message: str
) -> None:
    path = tmp_path / "run.txt"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(InputError, match=message):
        write_run(path, run, tag=tag)
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_needs_its_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist; make it first"):
        write_run(tmp_path / "nowhere" / "run.txt", {})
    with pytest.raises(InputError, match="is a folder"):
        write_run(tmp_path, {})


def test_the_files_of_a_real_test_set_are_read() -> None:
    topics = read_topics(shared_data("xquad_r", "topics.tsv.gz"))
    qrels = read_qrels(shared_data("xquad_r", "qrels.sentences.any-language.trec.gz"))
    languages = {topic.language for topic in topics.values()}
    assert {"ar", "de", "el", "en", "es", "hi", "ru", "th", "tr", "vi", "zh"} <= languages
    assert len(topics) == 1190 * len(languages)
    assert set(qrels) <= set(topics)
