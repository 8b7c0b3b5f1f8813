"""A real Chromium that opens the page of a real server, which holds texts in many languages and directions."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from mlret.data.sample import load_sample
from tests.serve.running import Running, running

LANGUAGES = ("en", "de", "ar", "he", "hi", "zh", "ja", "ko", "sw")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MEMORIES = (
    ("fr", "Je suis allergique aux arachides et aux noix."),
    ("ja", "来週の月曜日に歯医者の予約があります。"),
    ("ar", "مفتاح البيت الاحتياطي عند جارتنا في الطابق الثاني."),
)


@pytest.fixture(scope="package")
def page_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Run a server with an index in nine languages, an empty one, and a memory of the user anna."""
    folder = tmp_path_factory.mktemp("page")
    with running(folder, root=folder / "indexes", memory=folder / "memory") as server:
        assert server.client.put("/v1/indexes/sample", json={"settings": {"lexical": True}}).status_code == 201
        assert server.client.put("/v1/indexes/empty", json={}).status_code == 201
        documents = [
            {"id": one.id, "text": one.text, "lang": one.language, "metadata": {**one.metadata, "year": 2000 + place}}
            for place, one in enumerate(load_sample().passages[:120])
            if one.language in LANGUAGES
        ]
        assert server.client.post("/v1/indexes/sample/documents", json=documents).status_code == 200
        memories = [{"text": text, "language": language} for language, text in MEMORIES]
        body = {"memories": memories, "scope": {"user": "anna"}}
        assert server.client.post("/v1/memories", json=body).status_code == 200
        yield server


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    """Start Chromium once; skip where it, or what drives it, is missing."""
    driver = pytest.importorskip("playwright.sync_api", reason='playwright is missing: pip install -e ".[browser]"')
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no Chromium is installed: none of {', '.join(NAMES)}, and CHROMIUM does not name one")
    with driver.sync_playwright() as playwright:
        # Chromium's sandbox needs rights that a container seldom has; the page under test is our own.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Opened:
    """A page in a window of its own, and what the browser complained about."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


Open = Callable[..., Any]


@pytest.fixture
def opened(page_server: Running, chromium: Any) -> Iterator[Open]:
    """Return a function that opens an address of the server with a token, and fails at the end if a page complains."""
    made: list[Opened] = []
    contexts = []

    def open_(
        path: str = "/", token: str | None = page_server.token, width: int = 1280, scheme: str = "light", **options: Any
    ) -> Any:
        context = chromium.new_context(
            base_url=f"http://127.0.0.1:{page_server.port}",
            viewport={"width": width, "height": 844},
            color_scheme=scheme,
            locale="en-GB",
            timezone_id="Europe/Berlin",
            **options,
        )
        contexts.append(context)
        context.set_default_timeout(20_000)
        one = Opened(context.new_page())
        made.append(one)
        one.page.on("console", lambda said: said.type == "error" and one.complaints.append(said.text))
        one.page.on("pageerror", lambda error: one.complaints.append(str(error)))
        one.page.on("request", lambda request: one.requests.append(request.url))
        if token is not None:
            one.page.goto(f"/#token={token}")
            one.page.get_by_role("navigation", name="Views").wait_for()
            # Between two addresses of the page only the part behind # changes, and a view that is still on its way also
            # writes there: the driver takes that for the end of its own step. An empty document in between ends the
            # view.
            one.page.goto("about:blank")
        one.page.goto(path)
        one.page.locator("main h1").first.wait_for(state="attached")
        return one.page

    yield open_
    own = f"http://127.0.0.1:{page_server.port}/"
    for context in contexts:
        context.close()
    for one in made:
        # The browser reports each answer with an error; those are what some tests ask for.
        assert [text for text in one.complaints if "Failed to load resource" not in text] == []
        assert [url for url in one.requests if not url.startswith((own, "blob:", "data:"))] == []
