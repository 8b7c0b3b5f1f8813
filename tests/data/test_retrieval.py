from __future__ import annotations

import gzip
import math
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret.data.retrieval import (
    Topic,
    read_any_qrels,
    read_beir_qrels,
    read_beir_topics,
    read_qrels,
    read_run,
    read_topics,
    write_run,
)
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
        (read_qrels, "q1 0 d1 1\nq1 0 d2 yes\n", r":2: relevance 'yes' is not an integer"),
        (
            read_qrels,
            "q1 0 d1 1\nq1 0 d1 0\n",
            r":2: document 'd1' of query 'q1' is on line 1 too, with relevance 1 there and 0 here",
        ),
        (read_qrels, "q1 d1 1\n", r":1: 3 columns, not 4: these look like qrels of three columns .* awk"),
        (read_qrels, "query-id\tcorpus-id\tscore\nq1\td1\t1\n", r":1: 3 columns, .* as BEIR has them"),
        (read_qrels, "q1 0 d1 1.5\n", r":1: relevance '1.5' is not an integer"),
        (read_qrels, "q1 0 d1 1_0\n", r":1: relevance '1_0' is not an integer"),
        (read_qrels, "q1 0 d1 ١\n", r":1: relevance '١' is not an integer"),
        (read_qrels, "q1 0 d1 nan\n", r":1: relevance 'nan' is not an integer"),
        (read_qrels, "q1 0 d1 1\nq1 0 d2 1000001\n", r":2: relevance 1000001 is beyond 1,000,000"),
        (read_qrels, f"q1 0 d1 -{'9' * 5000}\n", r":1: relevance -9999999999999999999… is beyond"),
        (read_beir_qrels, "query-id\tcorpus-id\tscore\nq1\td1\t1.0\n", r":2: relevance '1.0' is not an integer"),
        (read_beir_qrels, "q1\td1\t1\nq1\td1\t2\n", r":2: document 'd1' of query 'q1' is on line 1 too"),
        (read_beir_qrels, "q1 0 d1 1\n", r":1: not query-id<TAB>corpus-id<TAB>score but TREC's"),
        (read_beir_qrels, "q1\t\t1\n", r":1: not query-id<TAB>corpus-id<TAB>score; correct"),
        (read_beir_qrels, "query-id\tcorpus-id\tscore\n", r"has no judgements"),
        (
            read_beir_topics,
            '{"_id": "q1", "text": "a"}\n{"_id": "q1", "text": "b"}\n',
            r":2: the query 'q1' occurs twice \(on line 1",
        ),
        (read_beir_topics, '{"_id": "", "text": "a"}\n', r":1: the id is empty"),
        (read_beir_topics, '{"_id": "q", "text": " "}\n', r":1: the text of query 'q' is empty"),
        (read_beir_topics, '{"_id": null, "text": "a"}\n', r':1: "_id" and "text" must be strings'),
        (read_beir_topics, '{"_id": "\\ud800", "text": "a"}\n', r":1: the query id holds half a surrogate pair"),
        (read_beir_topics, '["q"]\n', r':1: not {"_id": …, "text": …}'),
        (read_run, "q1 Q0 d1 1 1_0 t\n", r":1: score '1_0' is not a number"),
        (read_run, "q1 Q0-percent-encoded d%2 1 1.0 t\n", r":1: the id 'd%2' is not percent-encoded"),
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


# Blanks of ASCII and of Unicode, line ends, percent signs: everything that an id in JSON can contain.
words = st.text(
    st.sampled_from("a %\t\n\v\f\r\x1c\x1d\x1e\x1f\x85\u00a0\u2028\u3000タ") | st.characters(exclude_categories=["C"]),
    min_size=1,
    max_size=8,
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(words, st.dictionaries(words, st.floats(allow_nan=False), min_size=1)), st.booleans())
def test_what_is_written_is_read_back(tmp_path_factory, run: dict, zipped: bool) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path_factory.mktemp("run") / f"run{'.gz' if zipped else ''}"
    write_run(path, run)
    assert read_run(path) == run


def test_ids_with_blanks_are_written_in_six_columns(tmp_path: Path) -> None:
    path = tmp_path / "run.txt"
    run = {"q 1": {"New York": 2.0, "100%": 1.0}, "q%202": {"a%20b": 1.0}}
    write_run(path, run)
    assert path.read_text(encoding="utf-8").splitlines() == [
        "q%201 Q0-percent-encoded New%20York 1 2.0 mlret",
        "q%201 Q0-percent-encoded 100%25 2 1.0 mlret",
        "q%202 Q0 a%20b 1 1.0 mlret",
    ]
    assert read_run(path) == run


@pytest.mark.parametrize("blank", ["\u00a0", "\u3000", "\u0085", "\u2028", "\u1680", "\x1c", "\x1d", "\x1e", "\x1f"])
def test_columns_are_separated_by_ascii_white_space_alone(file, blank: str) -> None:  # type: ignore[no-untyped-def]
    query, document = f"{blank}q{blank}1", f"東京{blank}タワー{blank}"
    assert read_qrels(file(f"{query} 0 {document} 1\n")) == {query: {document: 1}}
    assert read_qrels(file(f"{query}\t0\v{document}\f1 \r\n")) == {query: {document: 1}}
    assert read_run(file(f"{query} Q0 {document} 1 0.5 x\n")) == {query: {document: 0.5}}
    assert read_topics(file(f"{query}\ta text\n")) == {query: Topic(query, "a text")}
    assert read_beir_qrels(file(f"{query}\t{document}\t1\n")) == {query: {document: 1}}


def test_ids_of_beir_are_not_changed(file) -> None:  # type: ignore[no-untyped-def]
    content = "\ufeffquery-id\tcorpus-id\tscore\r\nq 1\tNew York\t1\r\nq 1\tb\t-1 \r\n"
    assert read_beir_qrels(file(content)) == read_any_qrels(file(content)) == {"q 1": {"New York": 1, "b": -1}}
    assert read_any_qrels(file("q1 0 d1 1\n")) == {"q1": {"d1": 1}}
    assert read_beir_topics(file('{"_id": "q 1", "text": " a "}\n{"_id": 7, "text": "b"}\n'), "sw") == {
        "q 1": Topic("q 1", "a", "sw"),
        "7": Topic("7", "b", "sw"),
    }


@pytest.mark.parametrize(
    ("reader", "line"), [(read_qrels, "q1 0 d1 1\n"), (read_beir_qrels, "q1\td1\t1\n"), (read_any_qrels, "q1 0 d1 1\n")]
)
def test_repeated_judgements_count_once_and_are_warned_of(file, reader, line: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.warns(UserWarning, match=r"file.txt: 2 lines repeat a judgement of another line") as caught:
        assert reader(file(line * 3)) == {"q1": {"d1": 1}}
    assert len(caught) == 1
    with pytest.warns(UserWarning, match=r"file.txt: 1 line repeats a judgement of another line"):
        reader(file(line * 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reader(file(line))


@pytest.mark.parametrize(
    ("run", "tag", "message"),
    [
        ({"": {"d": 1.0}}, "t", "query id '' is empty"),
        ({"q": {"d\ud800": 1.0}}, "t", "document id holds half a surrogate pair"),
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
