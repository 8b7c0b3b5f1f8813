"""The files of the web page: how they are served, and that they need nothing from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import httpx2
import pytest

from mlret import serve
from tests.serve.running import Running

FOLDER = Path(serve.__file__).parent / "web"
FILES = sorted(path for path in FOLDER.iterdir() if path.suffix in {".html", ".css", ".js", ".svg"})
SCRIPTS = [path for path in FILES if path.suffix == ".js"]
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@pytest.fixture(scope="module")
def stranger(server: Running) -> httpx2.Client:
    return httpx2.Client(base_url=f"http://127.0.0.1:{server.port}")


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_the_pages_need_no_token_and_allow_only_their_own_files(stranger: httpx2.Client, path: str) -> None:
    answer = stranger.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in policy
    # A browser keeps the page and replaces its headers by those of the answer that nothing has changed.
    again = stranger.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.headers["content-security-policy"]) == (304, policy)
    for address in re.findall(r'(?:src|href)="([^"]+)"', answer.text):
        assert stranger.get(address).status_code == 200, address


def test_each_file_has_its_type_and_is_sent_again_only_if_it_changed(stranger: httpx2.Client) -> None:
    served = [path for path in FILES if path.suffix != ".html"]
    assert len(served) > 10
    for path in served:
        answer = stranger.get(f"/static/{path.name}")
        assert answer.content == path.read_bytes()
        assert answer.headers["content-type"] == TYPES[path.suffix]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-cache"
        tag = answer.headers["etag"]
        for known in (tag, f"W/{tag}", f'"other", {tag}'):
            again = stranger.get(f"/static/{path.name}", headers={"If-None-Match": known})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert stranger.get(f"/static/{path.name}", headers={"If-None-Match": '"other"'}).status_code == 200
    assert stranger.get("/favicon.ico").headers["content-type"] == "image/svg+xml"


@pytest.mark.parametrize("name", ["index.html", "missing.js", "..%2Fapp.py", "%2e%2e/app.py", ""])
def test_nothing_else_is_served(stranger: httpx2.Client, name: str) -> None:
    answer = stranger.get(f"/static/{name}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_names_an_address_elsewhere(path: Path) -> None:
    namespace = "http://www.w3.org/2000/svg"
    assert re.findall(r"(?:https?:)?//[\w-]+\.[\w.-]+", path.read_text("utf-8").replace(namespace, "")) == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_script_reads_html_or_runs_text_and_all_that_it_imports_is_there(path: Path) -> None:
    source = path.read_text("utf-8")
    for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "DOMParser", "cookie"):
        assert forbidden not in re.sub(r"//.*|/\*.*?\*/", "", source, flags=re.DOTALL), forbidden
    for names, module in re.findall(r'import \{([^}]+)\} from "\./([\w.]+)"', source):
        exported = re.findall(
            r"export (?:async )?(?:function|class|const|let) (\w+)", (FOLDER / module).read_text("utf-8")
        )
        for name in names.split(","):
            if name.strip():
                assert name.strip() in exported, (module, name)
                assert len(re.findall(rf"\b{name.strip()}\b", source)) > 1, f"{name} is imported and not used"
