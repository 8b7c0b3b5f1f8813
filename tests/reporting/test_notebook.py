"""What results look like in a notebook and as data frames, and that nothing in them is run."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlret
from mlret import Index, Memory
from mlret.errors import MissingExtraError
from mlret.eval.report import Report
from mlret.index.build import BuildReport
from mlret.index.check import check_index
from mlret.index.hits import Hit, Hits, Updated
from mlret.reporting.notebook import as_html, html_table
from mlret.reporting.table import ResultTable

# Harmless markup, which must be shown as it is written.
MARKUP = "<b>bold</b> & \"quoted\" 'text'"
DOCUMENTS = [
    {"id": "train", "text": "Der Zug nach Berlin hat eine Stunde Verspätung.", "lang": "de", "year": 2024},
    {"id": MARKUP, "text": f"{MARKUP} مرحبا بالعالم", "lang": "ar", "year": 2025, "id_of": 1},
]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    made = Index.create(tmp_path_factory.mktemp("display") / "news & <b>.index", mlret.load_encoder(device="cpu"))
    made.add(DOCUMENTS)
    return made


class Reader(HTMLParser):
    """Collect the tags and the text of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        assert not self.open, "every element is closed"

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.open.append(tag)
        assert {name for name, _ in attributes} <= {"style", "dir"}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


OURS = {"div", "table", "thead", "tbody", "tr", "th", "td", "ul", "li"}


def report() -> Report:
    table = ResultTable(f"title {MARKUP}", ["system", "recall"], [[["ours", "98.0"]], [["theirs", "97.0"]]], "caption")
    figures = {"ours": {"average": {"recall": 0.98}, "sw": {"recall": 0.97}}}
    return Report("trec", "data", "protocol", figures, [table], notes=[MARKUP])


@pytest.fixture(scope="module")
def shown(index: Index, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The HTML of everything that has some."""
    hits = index.search("hello world", 2)
    with Memory.open(tmp_path_factory.mktemp("memory") / "m", index.encoder) as memory:
        memory.add(MARKUP, {"user": "<b>"}, language="en")
        found = memory.search("bold text", {"user": "<b>"})
        nothing = memory.search("bold text", {"user": "nobody"})
        things = {"memory": memory, "found": found, "nothing": nothing}
        built = BuildReport(Updated(2), 0, 0.5, [], index.info())
        things |= {"index": index, "info": index.info(), "hits": hits, "hit": hits[0], "empty": Hits(), "built": built}
        things |= {"check": check_index(index), "report": report()}
        return {name: one._repr_html_() for name, one in things.items()}


def test_all_text_is_escaped(shown: dict[str, str]) -> None:
    for html in shown.values():
        assert Reader(html).tags <= OURS
    for name in ("hits", "found", "report"):
        assert MARKUP in Reader(shown[name]).text


@given(st.text(max_size=50))
def test_any_text_is_shown_as_text(text: str) -> None:
    read = Reader(html_table([text], [[text]], title=text, caption=text))
    assert read.tags <= OURS
    assert "".join(read.text.split()).count("".join(as_text(text).split())) >= 2 or not as_text(text).strip()


def as_text(text: str) -> str:
    return Reader(f"<div>{as_html(text)}</div>").text


def test_long_text_is_cut() -> None:
    assert as_html("x" * 1000) == "x" * 299 + "…"


def test_representations_are_one_short_line(index: Index, tmp_path: Path) -> None:
    assert repr(index) == f"Index({str(index.path)!r}, 2 documents, bundled:mlret-mini)"
    [hit] = index.search("the train is late", 1)
    assert repr(hit) == (
        f"Hit(rank=1, id='train', score={hit.score:.4f}, language='de', "
        "text='Der Zug nach Berlin hat eine Stunde Verspätung.')"
    )
    long = Hit(1, "long", 1.0, "word " * 500, None, {})
    assert len(repr(long)) < 160 and repr(long).endswith("word word…')")
    assert repr(report()) == "Report('trec', 'data', systems: ours)"
    with Memory.open(tmp_path / "m", index.encoder) as memory:
        memory.add("Je suis allergique aux arachides.", {"user": "anna"})
        assert repr(memory) == f"Memory({str(tmp_path / 'm')!r}, 1 record, bundled:mlret-mini)"
        found = memory.search("food", {"user": "anna"})
        assert repr(found).startswith("Found([MemoryHit(rank=1, ")
        assert found[0].to_dict() == found[0].as_json()
    assert repr(memory) == f"Memory({str(tmp_path / 'm')!r}, closed)"
    assert "closed" in memory._repr_html_()


def test_a_closed_index_says_so(tmp_path: Path) -> None:
    closed = Index.create(tmp_path / "i", mlret.load_encoder(device="cpu"))
    closed.close()
    assert repr(closed) == f"Index({str(tmp_path / 'i')!r}, closed)"
    assert Reader(closed._repr_html_()).text == repr(closed)


def test_hits_are_a_list(index: Index) -> None:
    hits = index.search("hello", 2)
    assert isinstance(hits, list) and hits == list(hits) and isinstance(hits[:1], Hits) and hits[-1].rank == 2
    [batch] = index.search_batch(["hello"], 2)
    [by_vector] = index.search_vectors(index.encode_queries(["hello"]), 2)
    assert batch == hits and isinstance(by_vector, Hits)
    assert Hit(**hits[0].to_dict()) == hits[0]


def test_an_index_is_iterated_over(index: Index) -> None:
    assert [document.id for document in index] == [document.id for document in index.documents()] == ["train", MARKUP]


def test_data_frames(index: Index) -> None:
    pytest.importorskip("pandas")
    frame = index.search("hello world", 2).to_pandas()
    first = ["rank", "id", "score", "language", "text", "kind", "cosine"]
    assert list(frame.columns)[:7] == first and set(frame.columns[7:]) == {"year", "id_of"}
    assert list(frame["rank"]) == [1, 2] and set(frame["year"]) == {2024, 2025}
    named = Hits([Hit(1, "a", 0.5, "t", None, {"score": "mine"})]).to_pandas()
    assert named["score"][0] == 0.5 and named["metadata.score"][0] == "mine"
    assert list(Hits().to_pandas().columns) == ["rank", "id", "score", "language", "text", "kind", "cosine"]
    figures = report().to_pandas()
    assert figures.to_dict("records") == [
        {"system": "ours", "group": "average", "metric": "recall", "value": 0.98},
        {"system": "ours", "group": "sw", "metric": "recall", "value": 0.97},
    ]
    checked = check_index(index).to_pandas()
    assert set(checked["language"]) == {"de", "ar"} and list(checked["recall_at_1"]) == [1.0, 1.0]


def test_a_missing_pandas_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)  # so that importing it fails
    with pytest.raises(MissingExtraError, match=r"'pandas': pip install pandas"):
        Hits().to_pandas()


@pytest.fixture
def page() -> Iterator[object]:
    """A page of Chromium."""
    driver = pytest.importorskip("playwright.sync_api", reason='playwright is missing: pip install -e ".[browser]"')
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("Chromium is missing")
    with driver.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser.new_page()
        browser.close()


@pytest.mark.browser
@pytest.mark.parametrize(
    "colours", [("rgb(255, 255, 255)", "rgb(17, 17, 17)"), ("rgb(17, 17, 17)", "rgb(238, 238, 238)")]
)
def test_tables_take_the_colours_of_the_page(page: object, shown: dict[str, str], colours: tuple[str, str]) -> None:
    tab: object = page
    html = "".join(shown.values())
    tab.set_content(f'<body style="background: {colours[0]}; color: {colours[1]}">{html}')  # type: ignore[attr-defined]
    cells = tab.evaluate(  # type: ignore[attr-defined]
        "() => [...document.querySelectorAll('td, th, tr, table')].map(one => {"
        "const style = getComputedStyle(one); return [style.color, style.backgroundColor] })"
    )
    assert len(cells) > 30
    assert {tuple(cell) for cell in cells} == {(colours[1], "rgba(0, 0, 0, 0)")}
