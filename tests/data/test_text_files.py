"""Test reading files of text, written by other programs: each is a document with its title, or each page is."""

from __future__ import annotations

import importlib.util
import os
import warnings
from pathlib import Path
from typing import Any

import docx
import matplotlib
import numpy as np
import pypdf
import pytest
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from mlret.data.corpus import Corpus, read_documents
from mlret.data.documents import Document
from mlret.data.text_files import FileWarning, file_id
from mlret.errors import InputError, MissingExtraError, NotFound


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(path: str, content: str | bytes) -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def pdf(path: str, pages: list[str | None], title: str | None = None) -> str:
    """Write a PDF with matplotlib; ``None`` is a page with a picture and no text."""
    with (
        matplotlib.rc_context({"pdf.fonttype": 42}),
        PdfPages(path, metadata={"Title": title} if title else None) as out,
    ):
        for text in pages:
            figure = Figure(figsize=(3, 2), dpi=50)
            if text is None:
                figure.figimage(np.eye(40))
            else:
                figure.text(0.05, 0.5, text)
            out.savefig(figure)
    return path


def one(path: str) -> Document:
    [document] = read_documents(path)
    return document


def test_plain_text_is_one_document_named_after_its_file() -> None:
    write("notes/a.txt", "\ufeffErste Zeile\r\n\r\nZweite Zeile\n")
    assert one("notes/a.txt") == Document("notes/a.txt", "Erste Zeile\n\nZweite Zeile", None, {"file": "notes/a.txt"})


def test_ids_do_not_depend_on_how_a_file_is_named(tmp_path: Path) -> None:
    write("docs/sub/a.txt", "t")
    absolute = tmp_path / "docs"
    names = ("docs", "docs/", "./docs", absolute, "docs/../docs", "docs/**/*.txt", f"{absolute}/*/*", "docs/sub/a.txt")
    for name in names:
        assert [document.id for document in Corpus([name])] == ["docs/sub/a.txt"]
    os.chdir("docs")
    assert [file_id(Path(name)) for name in ("sub/a.txt", "../b.txt")] == ["sub/a.txt", (tmp_path / "b.txt").as_posix()]


MARKDOWN = """---
title: Der Markt
lang: de
date: 2024-02-29
tags: [essen, stadt]
id: 7
---
# Auf dem *Markt*

Äpfel und [Birnen](https://example.org/b) sind
`reif`.

- eins
- zwei

| Name | Preis |
|------|-------|
| Apfel | 2 |

```python
print("Kuchen")
```

<div>Ein <b>Kasten</b></div><!-- nichts -->
"""


def test_markdown_loses_its_markup_and_front_matter_becomes_metadata() -> None:
    document = one(write("markt.md", MARKDOWN))
    assert document.text.splitlines() == [
        "Der Markt", "Auf dem Markt", "Äpfel und Birnen sind", "reif.", "eins", "zwei", "Name", "Preis", "Apfel", "2",
        'print("Kuchen")', "Ein  Kasten",
    ]  # fmt: skip
    assert document.language == "de"
    assert document.metadata == {
        "file": "markt.md", "title": "Der Markt", "date": "2024-02-29", "tags": ["essen", "stadt"], "~id": 7,
    }  # fmt: skip


def test_the_first_heading_of_markdown_is_its_title_and_not_repeated() -> None:
    document = one(write("a.markdown", "intro\n\n## *First* one\n\nText\n\n# Second\n"))
    assert (document.metadata["title"], document.text) == ("First one", "First one\nintro\nFirst one\nText\nSecond")
    assert one(write("b.md", "# Head\n\nText")).text == "Head\nText"
    assert one(write("c.md", "Just text")).metadata == {"file": "c.md"}
    assert one(write("d.md", "a\n\n---\n\nb")).text == "a\nb"  # rules, not front matter


@pytest.mark.parametrize(
    ("front", "message"), [("a: [", "front matter is not YAML"), ("- a", "front matter is not of the form")]
)
def test_bad_front_matter_is_named(front: str, message: str) -> None:
    with pytest.raises(InputError, match=rf"a\.md: the {message}"):
        one(write("a.md", f"---\n{front}\n---\ntext"))


HTML = """<!doctype html><html lang="sw-TZ"><head><title>
 Habari  za leo </title><style>p { color: red }</style></head><body><nav><a href="/">Nyumbani</a></nav>
<h1>Mvua</h1><p>Mvua <b>ku</b>bwa
ilinyesha<br>usiku.</p><script>alert("no")</script><ul><li>moja<li>mbili</ul>
<table><tr><td>a</td><td>b</td></tr></table></body></html>"""


def test_html_gives_its_visible_text_line_by_line() -> None:
    document = one(write("a.html", HTML))
    assert document.text.splitlines() == [
        "Habari za leo", "Mvua", "Mvua kubwa ilinyesha", "usiku.", "moja", "mbili", "a", "b",
    ]  # fmt: skip
    assert (document.language, document.metadata["title"]) == ("sw", "Habari za leo")
    assert one(write("b.htm", "<h1>Only</h1><p lang=nonsense>text")).metadata["title"] == "Only"


def test_html_is_read_in_the_encoding_that_it_states() -> None:
    page = '<html><head><meta charset="windows-1251"></head><body><p>Доброе утро, сегодня идёт дождь</p></body></html>'
    assert one(write("a.html", page.encode("windows-1251"))).text == "Доброе утро, сегодня идёт дождь"
    assert one(write("b.html", page.encode("utf-16"))).text == "Доброе утро, сегодня идёт дождь"


def test_word_files_give_paragraphs_and_tables_in_order() -> None:
    made = docx.Document()
    made.add_heading("Überschrift", level=1)
    made.add_paragraph("Ein Absatz.")
    table = made.add_table(rows=2, cols=2)
    table.cell(0, 0).text, table.cell(0, 1).text = "links", "rechts"
    table.cell(1, 0).merge(table.cell(1, 1)).text = "beide"
    made.add_paragraph("Ende.")
    made.save("a.docx")
    text = "Überschrift\nEin Absatz.\nlinks\trechts\nbeide\nEnde."
    assert one("a.docx") == Document("a.docx", text, None, {"file": "a.docx", "title": "Überschrift"})
    made.core_properties.title = "Bericht"
    made.save("b.docx")
    assert one("b.docx").text == f"Bericht\n{text}"


def test_each_page_of_a_pdf_is_a_document_with_its_number() -> None:
    pdf("a.pdf", ["Die erste Seite", "Η δεύτερη σελίδα"], "Bericht")
    assert list(read_documents("a.pdf")) == [
        Document(
            f"a.pdf#page={number}",
            f"Bericht\n{text}",
            None,
            {"file": "a.pdf", "title": "Bericht", "page": number, "pages": 2},
        )
        for number, text in [(1, "Die erste Seite"), (2, "Η δεύτερη σελίδα")]
    ]
    assert [d.metadata.get("title") for d in read_documents(pdf("b.pdf", ["x"], "Microsoft Word - b.doc"))] == ["b.doc"]
    assert [d.metadata.get("title") for d in read_documents(pdf("c.pdf", ["x"], "untitled"))] == [None]


def test_a_page_of_pictures_is_reported_and_a_blank_one_skipped() -> None:
    corpus = Corpus([pdf("a.pdf", ["one", None, "", "four"])])
    with pytest.warns(FileWarning, match=r"a\.pdf: page 2 of 4 skipped: pictures without text"):
        assert [document.metadata["page"] for document in corpus] == [1, 4]


def encrypted(path: str, source: str, user: str) -> str:
    writer = pypdf.PdfWriter(clone_from=source)
    writer.encrypt(user, "owner", algorithm="AES-256")
    writer.write(path)
    return path


def test_a_pdf_that_only_restricts_printing_is_read_and_one_with_a_password_named() -> None:
    pdf("a.pdf", ["text"])
    assert one(encrypted("b.pdf", "a.pdf", "")).text == "text"
    with pytest.raises(InputError, match=r"c\.pdf: encrypted; save it without a password"):
        Corpus([encrypted("c.pdf", "a.pdf", "secret")])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("scanned.pdf", r"scanned\.pdf: no text in it; recognise its text first \(OCR\)"),
        ("bad.pdf", r"bad\.pdf: no PDF file that can be read"),
        ("empty.pdf", r"empty\.pdf: no PDF file that can be read"),
        ("bad.docx", r"bad\.docx: no Word file that can be read"),
        ("empty.docx", r"empty\.docx: no text in it"),
        ("empty.txt", r"empty\.txt: no text in it; leave it out"),
        ("empty.html", r"empty\.html: no text in it"),
        ("blank.md", r"blank\.md: no text in it"),
        ("latin.txt", r"latin\.txt: not UTF-8; convert"),
        ("utf16.txt", r"utf16\.txt: UTF-16, not UTF-8; convert it with"),
    ],
)
def test_a_file_without_readable_text_is_named_alone_and_skipped_in_a_folder(name: str, message: str) -> None:
    write("good.txt", "text")
    pdf("scanned.pdf", [None, None])
    docx.Document().save("empty.docx")
    contents: dict[str, str | bytes] = {"bad.pdf": "%PDF-1.7 nothing", "bad.docx": "nothing", "blank.md": " \n\n"}
    contents |= {"utf16.txt": "a".encode("utf-16"), "latin.txt": "Bäcker".encode("latin-1")}
    if not Path(name).exists():
        write(name, contents.get(name, ""))
    Path("folder").mkdir()
    Path(name).rename(Path("folder") / name)
    Path("good.txt").rename("folder/good.txt")
    with pytest.raises(InputError, match=message) as caught:
        Corpus([Path("folder") / name])
    assert "\n" not in str(caught.value)
    corpus = Corpus(["folder"])
    with pytest.warns(FileWarning, match=message) as warned:
        assert [document.id for document in corpus] == ["folder/good.txt"]
    assert len(warned) == 1 and corpus.skipped == [f"folder/{name}"]
    Path("folder/good.txt").unlink()
    with pytest.raises(InputError, match="none of the 1 files can be read"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        list(Corpus(["folder"]))


def test_a_folder_is_read_to_its_depths_without_hidden_and_unknown_files() -> None:
    hidden = (".hidden.txt", ".git/x.txt", "sub/.cache/y.txt", "~$a.docx")
    for name in ("b.txt", "a.md", "sub/z.txt", "sub/deep/a.txt", *hidden):
        write(f"docs/{name}", name)
    write("docs/picture.png", b"\x89PNG")
    write("docs/table.csv", "id,text\n1,one\n")
    ids = ["docs/a.md", "docs/b.txt", "docs/sub/deep/a.txt", "docs/sub/z.txt", "1"]
    assert [document.id for document in Corpus(["docs"])] == ids
    assert [document.id for document in Corpus(["docs/**/*.txt"])] == [ids[1], ids[2], ids[3]]
    assert [document.id for document in Corpus(["docs/*"])] == ["docs/a.md", "docs/b.txt", "1"]
    with pytest.raises(InputError, match=r"docs/\*\.png: holds no files that can be read; .*\.pdf, \.docx"):
        Corpus(["docs/*.png"])
    with pytest.raises(NotFound, match=r"docs/\*\.rst: no such file; check the pattern"):
        Corpus(["docs/*.rst"])
    with pytest.raises(InputError, match=r"b\.txt: given twice"):
        Corpus(["docs", "docs/b.txt"])
    write("[1].txt", "brackets in a name")
    assert one("[1].txt").text == "brackets in a name"


def test_a_link_to_a_folder_above_does_not_read_it_again() -> None:
    write("docs/a.txt", "t")
    Path("docs/loop").symlink_to(Path("docs").absolute(), target_is_directory=True)
    assert [document.id for document in Corpus(["docs"])] == ["docs/a.txt"]


@pytest.mark.parametrize(
    ("name", "module"), [("a.pdf", "pypdf"), ("a.docx", "docx"), ("a.html", "bs4"), ("a.md", "markdown_it")]
)
def test_a_missing_package_is_named_with_its_extra(name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda one: None if one == module else find(one))
    write(name, "text")
    with pytest.raises(MissingExtraError, match=rf'needs the package \'{module}\': pip install "mlret\[files\]"'):
        Corpus([name])


def test_progress_counts_the_bytes_of_all_files() -> None:
    for number in range(5):
        write(f"docs/{number}.txt", "word " * number + "end")
    corpus = Corpus(["docs"])
    seen: list[Any] = [corpus.read_bytes for _ in corpus]
    assert seen == sorted(seen)
    assert corpus.read_bytes == corpus.total_bytes == sum(path.stat().st_size for path in Path("docs").iterdir())
