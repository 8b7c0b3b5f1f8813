"""Read documents from files of text: plain text, Markdown, HTML, Word, and each page of a PDF."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlret.data.documents import RESERVED_KEYS, Document, titled
from mlret.data.files import read_blocks
from mlret.data.languages import normalise_language
from mlret.errors import InputError, MlretWarning, first_line, require, warn

EXTRA = "files"
_FRONT_MATTER = re.compile(r"---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_TAG = re.compile(r"<!--.*?-->|<[^>]*>", re.DOTALL)
# Names of metadata that is about the file.
_OWN = ("file", "page", "pages")
# What programs write as the title of a PDF if the author gave none.
_PROGRAM_TITLE = re.compile(
    r"^Microsoft (?:Word|PowerPoint|Excel|Office Word) - |^untitled$|^PowerPoint Presentation$", re.I
)
# Elements of HTML that do not hold text of the page, and those that begin a new line.
_HTML_DROPPED = ("head", "script", "style", "template", "noscript", "svg", "nav")
_HTML_BLOCKS = (
    "address", "article", "aside", "blockquote", "br", "caption", "dd", "details", "div", "dl", "dt", "fieldset",
    "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "ol",
    "option", "p", "pre", "section", "summary", "table", "td", "th", "tr", "ul",
)  # fmt: skip
_BREAK = "\0"
_DRAWN = re.compile(rb"/\S+\s+Do\b")


class FileWarning(MlretWarning):
    """A file, or a page of it, that was found in a folder holds no text or cannot be read, and was skipped."""


@dataclass(frozen=True, slots=True)
class _Text:
    """The content of a file.

    Attributes
    ----------
    pages
        The number and the text of each page; of a file without pages, its text alone, with the number 0.
    title, language
        As the file states them.
    metadata
        What else the file states about itself.
    count
        The number of pages.
    """

    pages: Iterable[tuple[int, str]]
    title: str = ""
    language: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    count: int = 0


def text_reader(path: Path, kind: str) -> Callable[[], Iterator[Document]] | None:
    """Return a function that reads the documents of a file of text.

    Parameters
    ----------
    path
        The file.
    kind
        The suffix of its name in lower case.

    Returns
    -------
    callable or None
        ``None`` if files of this kind are not files of text. Its documents have the file's path as id, relative to the
        current folder if it is below it; a page of a PDF has ``#page=N`` behind it. Their metadata has ``file``, and
        for pages ``page`` and ``pages``, their numbers.

    Raises
    ------
    MissingExtraError
        If the package that reads such files is not installed.
    """
    if kind not in _READERS:
        return None
    read, module = _READERS[kind]
    if module is not None:
        require(module, extra=EXTRA, feature=f"reading {kind} files")
    return lambda: _documents(path, read(path))


def file_id(path: Path) -> str:
    """Return the path of a file with slashes, relative to the current folder if the file is below that."""
    absolute = path.absolute()
    # Without following links, so that the id is the name that the user knows.
    absolute = Path(*_without_dots(absolute.parts))
    try:
        return absolute.relative_to(Path.cwd()).as_posix()
    except ValueError:
        return absolute.as_posix()


def _without_dots(parts: tuple[str, ...]) -> list[str]:
    found: list[str] = []
    for part in parts:
        if part != "..":
            found.append(part)
        elif len(found) > 1:
            found.pop()
    return found


def _documents(path: Path, text: _Text) -> Iterator[Document]:
    """Yield a document for each page that has text."""
    id, title = file_id(path), " ".join(text.title.split())
    metadata = {_free_name(name): value for name, value in text.metadata.items()}
    metadata |= {"file": id} | ({"title": title} if title else {})
    empty = True
    for number, raw in text.pages:
        content = _unicode(raw.strip())
        if not content:
            continue
        empty = False
        own = {"page": number, "pages": text.count} if number else {}
        name = f"{id}#page={number}" if number else id
        whole = content if content.startswith(title) else titled(title, content)
        yield Document(name, whole, text.language, metadata | own, origin=name)
    if empty:
        way_out = (
            "recognise its text first (OCR), if it is scanned" if path.suffix.lower() == ".pdf" else "leave it out"
        )
        raise InputError(f"{path}: no text in it; {way_out}")


def _free_name(name: object) -> str:
    """Return a name of metadata that the document itself does not use; a tilde before it marks what was renamed."""
    text = str(name)
    return f"~{text}" if text in RESERVED_KEYS or text in _OWN else text


def _unicode(text: str) -> str:
    """Return a text with surrogate pairs joined, and replacement characters for halves of them."""
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _known_language(code: object) -> str | None:
    """Return a language that a file states, or ``None`` if it is not a language code."""
    try:
        return normalise_language(code) if isinstance(code, str) and code.strip() else None
    except InputError:
        return None


def _content(path: Path) -> str:
    return "".join(read_blocks(path)).replace("\r\n", "\n")


def _read_plain(path: Path) -> _Text:
    return _Text([(0, _content(path))])


def _read_markdown(path: Path) -> _Text:
    markdown = require("markdown_it", extra=EXTRA, feature="reading Markdown")
    content = _content(path)
    front: dict[Any, Any] = {}
    if found := _FRONT_MATTER.match(content):
        front, content = _front_matter(found[1], path), content[found.end() :]
    lines: list[str] = []
    first_heading = ""
    heading = False
    for token in markdown.MarkdownIt("commonmark").enable("table").parse(content):
        if token.type == "heading_open":
            heading = True
        elif token.type in ("fence", "code_block"):
            lines.append(token.content.rstrip("\n"))
        elif token.type == "html_block":
            lines.append(_TAG.sub(" ", token.content).strip())
        elif token.type == "inline":
            line = _inline(token)
            first_heading = first_heading or (line if heading else "")
            heading = False
            lines.append(line)
    languages = [_known_language(front.pop(key, None)) for key in ("lang", "language")]
    title = front.pop("title", None)
    text = "\n".join(line for line in lines if line.strip())
    return _Text([(0, text)], str(title or first_heading), languages[0] or languages[1], front)


def _front_matter(text: str, path: Path) -> dict[Any, Any]:
    import yaml

    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: the front matter is not YAML ({first_line(error)}); fix what is between ---"
        ) from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise InputError(f"{path}: the front matter is not of the form `name: value`; fix what is between ---")
    return found


def _inline(token: Any) -> str:
    """Return the text of a paragraph, heading or cell without its markup."""
    parts = []
    for child in token.children or ():
        if child.type in ("text", "code_inline", "image"):
            parts.append(child.content)
        elif child.type in ("softbreak", "hardbreak"):
            parts.append("\n")
    return "".join(parts)


def _read_html(path: Path) -> _Text:
    bs4 = require("bs4", extra=EXTRA, feature="reading HTML")
    require("lxml", extra=EXTRA, feature="reading HTML")
    with _named_errors(path, "HTML"):
        soup = bs4.BeautifulSoup(path.read_bytes(), "lxml")
    first = soup.find("title") or soup.find("h1")
    title = first.get_text() if first else ""
    language = _known_language(soup.html.get("lang")) if soup.html else None
    for element in soup.find_all(_HTML_DROPPED):
        element.decompose()
    for element in soup.find_all(_HTML_BLOCKS):
        element.insert_before(_BREAK)
        element.insert_after(_BREAK)
    lines = (" ".join(line.split()) for line in soup.get_text().split(_BREAK))
    return _Text([(0, "\n".join(filter(None, lines)))], title, language)


def _read_pdf(path: Path) -> _Text:
    pypdf = require("pypdf", extra=EXTRA, feature="reading PDF")
    # What pypdf logs about damaged files is not printed unless the program has set up logging.
    logging.getLogger("pypdf").addHandler(logging.NullHandler())
    with _named_errors(path, "PDF"):
        reader = pypdf.PdfReader(path)
        # Many PDFs are encrypted only to restrict printing: these open with an empty password.
        if reader.is_encrypted and not reader.decrypt(""):
            raise InputError(f"{path}: encrypted; save it without a password first")
        title = str((reader.metadata and reader.metadata.title) or "")
        return _Text(_pdf_pages(path, reader), _PROGRAM_TITLE.sub("", title.strip()), count=len(reader.pages))


def _pdf_pages(path: Path, reader: Any) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each page, and at the end warn of those that are pictures without text."""
    pictures: list[int] = []
    for number, page in enumerate(reader.pages, start=1):
        with _named_errors(path, "PDF"):
            text = page.extract_text()
            # The pictures that a page may use can be those of all pages; the operator Do draws one.
            drawn = b"" if text.strip() or page.get_contents() is None else page.get_contents().get_data()
            if _DRAWN.search(drawn):
                pictures.append(number)
        yield number, text
    if 0 < len(pictures) < len(reader.pages):
        shown = ", ".join(map(str, pictures[:5])) + (", …" if pictures[5:] else "")
        some = f"page {shown}" if len(pictures) == 1 else f"{len(pictures)} pages ({shown})"
        warn(f"{path}: {some} of {len(reader.pages)} skipped: pictures without text", FileWarning)


def _read_docx(path: Path) -> _Text:
    docx = require("docx", extra=EXTRA, feature="reading Word files")
    with _named_errors(path, "Word"):
        document = docx.Document(str(path))
        lines = list(_blocks(document))
        title = document.core_properties.title or next(
            (one.text for one in document.paragraphs if one.style is not None and one.style.name in _DOCX_TITLES), ""
        )
    return _Text([(0, "\n".join(line for line in lines if line.strip()))], title.strip())


_DOCX_TITLES = ("Title", "Heading 1")


def _blocks(container: Any) -> Iterator[str]:
    """Yield the paragraphs and, with tabs between the cells, the rows of tables, in the order of the document."""
    for block in container.iter_inner_content():
        if hasattr(block, "rows"):
            for row in block.rows:
                # A cell that spans several columns is listed once for each of them.
                cells = dict.fromkeys(row.cells)
                yield "\t".join(" ".join(_blocks(cell)).strip() for cell in cells)
        else:
            yield block.text


@contextmanager
def _named_errors(path: Path, kind: str) -> Iterator[None]:
    """Convert what a reader raises for a damaged file, which may be any exception, to an error that names the file."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except PermissionError as error:
        raise InputError(f"{path}: may not be read; change its permissions") from error
    except Exception as error:
        raise InputError(
            f"{path}: no {kind} file that can be read ({first_line(error)}); open and save it again"
        ) from error


_Reader = Callable[[Path], _Text]
# Suffix of a name -> the function that reads such a file, and the module that it needs.
_READERS: dict[str, tuple[_Reader, str | None]] = {
    ".txt": (_read_plain, None),
    ".text": (_read_plain, None),
    ".md": (_read_markdown, "markdown_it"),
    ".markdown": (_read_markdown, "markdown_it"),
    ".html": (_read_html, "bs4"),
    ".htm": (_read_html, "bs4"),
    ".xhtml": (_read_html, "bs4"),
    ".pdf": (_read_pdf, "pypdf"),
    ".docx": (_read_docx, "docx"),
}
TEXT_KINDS = tuple(_READERS)
