"""The web page in a real browser: what people do on it, and what assistive technology finds."""

from __future__ import annotations

import itertools
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.serve.running import Running
from tests.serve.web.conftest import LANGUAGES, Open

pytestmark = pytest.mark.browser

QUESTION = "how does honey get from the hive into a jar"


def shown(page: Any, name: str, role: str = "heading") -> None:
    """Wait until something is shown."""
    page.get_by_role(role, name=name).first.wait_for()


def until(page: Any, expression: str, argument: Any = None) -> None:
    """Wait until an expression is true. Playwright's own way needs ``eval``, which the policy of the page forbids."""
    deadline = time.monotonic() + 20
    while not page.evaluate(expression, argument):
        assert time.monotonic() < deadline, f"never true: {expression}"
        page.wait_for_timeout(30)


def ask(page: Any, query: str) -> list[Any]:
    """Type a query, and return the hits once those of the query are shown."""
    answered = page.expect_response(
        lambda answer: ":search" in answer.url and answer.request.post_data_json["query"] == query
    )
    with answered:
        page.get_by_role("searchbox").fill(query)
    until(page, "!document.querySelector('.activity.active')")
    page.locator("ol.hits article").first.wait_for()
    hits: list[Any] = page.locator("ol.hits article").all()
    return hits


def overflow(page: Any) -> int:
    """Return by how many pixels the page is wider than the window."""
    found: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return found


def token_of(server: Running, role: str, **bound: Any) -> str:
    return server.tokens.add(f"page {len(server.tokens)}", role, **bound)  # type: ignore[arg-type]


def anna(server: Running) -> str:
    return token_of(server, "write", scope={"user": "anna"})


# Signing in


def test_a_token_in_the_address_signs_in_and_leaves_the_address(opened: Open, page_server: Running) -> None:
    page = opened("/", token=None)
    page.goto(f"/#token={page_server.token}")
    shown(page, "Views", "navigation")
    assert page_server.token not in page.url
    assert page.evaluate("history.length") < 5
    assert page.evaluate("sessionStorage.getItem('mlret.token')") == page_server.token
    assert page.evaluate("JSON.stringify(localStorage) + document.cookie") == "{}"


def test_a_token_is_pasted_and_a_wrong_one_is_explained(opened: Open, page_server: Running) -> None:
    page = opened("/", token=None)
    assert page.get_by_role("navigation", name="Views").count() == 0
    field = page.get_by_label("Token", exact=True)
    assert field.evaluate("one => one === document.activeElement")
    field.fill("mlret_wrong")
    page.keyboard.press("Enter")
    shown(page, "The token is not accepted")
    assert "mlret tokens add" in page.get_by_role("alert").inner_text()
    assert page.evaluate("sessionStorage.getItem('mlret.token')") is None
    field.fill(f"  {page_server.token} ")
    page.keyboard.press("Enter")
    page.get_by_role("searchbox").wait_for()
    page.get_by_role("button", name="Sign out").click()
    shown(page, "Sign in")
    assert page.evaluate("sessionStorage.length") == 0


def test_a_token_that_is_revoked_meanwhile_leads_back_to_the_sign_in(opened: Open, page_server: Running) -> None:
    token = token_of(page_server, "read")
    page = opened("/#/search", token=token)
    page_server.tokens.revoke(token.split("_")[1])
    page.get_by_role("searchbox").fill("honey")
    shown(page, "The token is not accepted")


def test_a_view_that_a_revoked_token_may_not_load_leads_back_to_the_sign_in(opened: Open, page_server: Running) -> None:
    token = token_of(page_server, "read")
    page = opened("/#/search", token=token)
    page_server.tokens.revoke(token.split("_")[1])
    page.get_by_role("link", name="Indexes").click()
    shown(page, "The token is not accepted")
    page.wait_for_timeout(300)
    assert page.locator("main h1").inner_text() == "Sign in"
    page.get_by_label("Token", exact=True).fill(page_server.token)
    page.keyboard.press("Enter")
    page.get_by_role("link", name="sample").wait_for()


def test_what_a_token_may_not_do_is_said_and_not_offered(opened: Open, page_server: Running) -> None:
    reader = token_of(page_server, "read", scope={"user": "anna"})
    page = opened("/#/memory", token=reader)
    page.locator("ol.hits article").first.wait_for()
    assert page.get_by_role("button", name="Delete").count() == 0
    assert "role write" in page.locator("main").inner_text()
    shown_to_indexes = opened("/#/memory", token=token_of(page_server, "read", indexes=["sample"], memory=False))
    shown(shown_to_indexes, "There is no memory for this token")
    nowhere = opened("/#/search", token=token_of(page_server, "read", indexes=[], scope={"user": "anna"}))
    shown(nowhere, "This token is for the memory")


# Searching


def test_hits_show_language_direction_what_matches_and_the_terms_of_the_score(opened: Open) -> None:
    page = opened("/#/search")
    ask(page, QUESTION)
    first = page.locator("ol.hits article").first
    assert first.locator(".id").inner_text() == "bees-en"
    assert "honey" in [one.strip() for one in first.locator("mark").all_inner_texts()]
    assert "the" not in first.locator("mark").all_inner_texts()
    assert first.locator(".passage").count() == 1
    assert first.locator("dt").all_inner_texts()[:2] == ["topic", "year"]
    assert {"meaning", "words"} == set(first.locator(".term dt").all_inner_texts())
    found = {}
    for text in page.locator("ol.hits .text").all():
        language = text.get_attribute("lang")
        found[language] = text.evaluate("one => getComputedStyle(one).direction")
    assert len(found) > 4
    assert {code for code, direction in found.items() if direction == "rtl"} == {"ar", "he"} & found.keys()
    assert page.get_by_text("written from right to left").count() > 0


@pytest.mark.parametrize(
    ("query", "language"),
    [("宝宝什么时候出生", "zh"), ("كيف يصل العسل من الخلية إلى الجرة", "ar"), ("벌집에서 꿀을 꺼내는 방법", "ko")],
)
def test_queries_in_other_scripts_find_marked_texts(opened: Open, query: str, language: str) -> None:
    page = opened("/#/search")
    ask(page, query)
    own = page.locator(f"ol.hits .text[lang={language}]")
    own.first.wait_for()
    marked = "".join(own.locator("mark").all_inner_texts())
    assert marked
    assert set(marked) & set(query)


def test_typing_sends_few_requests_and_shows_the_last_query_alone(opened: Open) -> None:
    page = opened("/#/search")
    page.get_by_role("searchbox").wait_for()
    sent: list[str] = []
    page.on("request", lambda request: ":search" in request.url and sent.append(request.post_data_json["query"]))
    page.keyboard.type(QUESTION, delay=15)
    until(page, "document.querySelector('ol.hits article .id')?.textContent === 'bees-en'")
    assert sent[-1] == QUESTION
    assert len(sent) < len(QUESTION) / 4
    assert f"q={QUESTION.replace(' ', '+')}" in page.url


def test_an_outdated_answer_is_never_shown(opened: Open) -> None:
    page = opened("/#/search")
    held: list[Any] = []

    def hold(route: Any) -> None:
        if route.request.post_data_json["query"] == "football":
            held.append(route)
        else:
            route.continue_()

    page.route("**/*:search", hold)
    with page.expect_request(lambda request: ":search" in request.url):
        page.get_by_role("searchbox").fill("football")
    ask(page, QUESTION)
    for route in held:
        route.abort()
    page.wait_for_timeout(300)
    assert page.locator("ol.hits article .id").first.inner_text() == "bees-en"


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["older-first", "newer-first"])
def test_a_view_that_is_ready_late_replaces_no_newer_one(opened: Open, order: tuple[int, int]) -> None:
    page = opened("/#/indexes")
    held: list[Any] = []
    page.route("**/v1/indexes", lambda route: held.append(route))
    for name in ("sample", "empty"):
        with page.expect_request("**/v1/indexes"):
            page.evaluate("name => { location.hash = `#/search?index=${name}`; }", name)
    while len(held) < 2:
        page.wait_for_timeout(30)
    for place in order:
        with page.expect_response("**/fields"):
            held[place].continue_()
    page.wait_for_timeout(300)
    shown(page, "The index is empty")
    assert page.url.endswith("#/search?index=empty")


def test_a_view_that_is_ready_late_leaves_an_address_that_has_changed(opened: Open) -> None:
    page = opened("/#/indexes")
    held: list[Any] = []
    page.route("**/v1/indexes", lambda route: held.append(route), times=1)
    with page.expect_request("**/v1/indexes"):
        page.evaluate("() => { location.hash = '#/search?index=sample'; }")
    page.evaluate("history.pushState(null, '', '#/search?index=empty')")  # Without the event that comes after a change.
    while not held:
        page.wait_for_timeout(30)
    with page.expect_response("**/fields"):
        held[0].continue_()
    page.wait_for_timeout(300)
    page.reload()
    shown(page, "The index is empty")


def test_filters_by_language_and_metadata_narrow_the_hits_and_stay_in_the_address(opened: Open) -> None:
    page = opened("/#/search")
    ask(page, QUESTION)
    page.locator("summary", has_text="Filters").click()
    page.get_by_role("button", name="Japanese").click()
    page.get_by_role("button", name="Arabic").click()
    until(page, "[...document.querySelectorAll('ol.hits .text')].every(one => ['ja', 'ar'].includes(one.lang))")
    page.get_by_role("button", name="Add a filter by metadata").click()
    page.get_by_label("Value").select_option("bees")
    until(page, "document.querySelectorAll('ol.hits article').length === 2")
    page.reload()
    until(page, "document.querySelectorAll('ol.hits article').length === 2")
    assert page.get_by_role("button", name="Arabic").get_attribute("aria-pressed") == "true"
    page.get_by_label("Field").select_option("year")
    page.get_by_label("Comparison").select_option("$gte")
    until(page, "document.querySelectorAll('ol.hits article').length > 2")


def test_the_keyboard_reaches_everything(opened: Open) -> None:
    page = opened("/#/search")
    ask(page, QUESTION)
    page.get_by_role("link", name="Indexes").focus()
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.type") == "search"
    assert page.get_by_role("searchbox").input_value() == QUESTION
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Hit 1: bees-en"
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("Hit 2")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.type") == "search"
    page.get_by_role("button", name="Keys").click()
    assert page.get_by_role("dialog", name="Keys").is_visible()
    page.keyboard.press("Escape")
    assert not page.get_by_role("dialog", name="Keys").is_visible()


def test_the_focus_goes_through_the_page_in_order_and_is_always_seen(opened: Open) -> None:
    page = opened("/#/indexes/sample")
    page.locator(".document").first.wait_for()
    seen = []
    for _ in range(14):
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate(
                "(one => [one.textContent.trim() || one.type, getComputedStyle(one).outlineStyle])"
                "(document.activeElement)"
            )
        )
    assert [one for one in seen if one[1] != "solid"] == []
    names = [name for name, _ in seen]
    order = ["Skip to the content", "mlret", "Search", "Memory", "Indexes", "Interface", "Sign out", "◐", "?"]
    assert names[:9] == order
    assert names[9:12] == ["← Indexes", "Search it", "As a table"]
    page.keyboard.press("Home")
    page.reload()
    page.locator(".document").first.wait_for()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.tagName") == "H1"
    assert page.url.endswith("#/indexes/sample")


def test_screen_readers_are_told_the_number_of_hits(opened: Open) -> None:
    page = opened("/#/search")
    hits = ask(page, QUESTION)
    status = page.locator("[role=status][aria-live=polite]").first
    assert status.inner_text() == f"{len(hits)} hits."


def test_an_error_of_the_server_is_shown_with_its_fix(opened: Open) -> None:
    page = opened("/#/search")
    problem = {"title": "Too many requests at once", "status": 429, "detail": "the queue is full", "fix": "Wait a bit."}
    answer = {"status": 429, "headers": {"Retry-After": "7"}, "content_type": "application/problem+json"}
    page.route("**/*:search", lambda route: route.fulfill(**answer, body=json.dumps(problem)))
    page.get_by_role("searchbox").fill("honey")
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert alert.inner_text().split("\n")[0] == "Too many requests at once"
    for part in ("The queue is full.", "Wait a bit.", "7 seconds"):
        assert part in alert.inner_text()
    page.unroute("**/*:search")
    assert ask(page, QUESTION)


def test_the_theme_follows_the_system_until_one_is_chosen(opened: Open) -> None:
    page = opened("/#/search", scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    switch = page.get_by_role("button", name=re.compile("Colours"))
    switch.click()  # dark
    assert page.evaluate(background) == dark
    switch.click()  # light
    light = page.evaluate(background)
    assert light != dark
    page.reload()
    assert page.evaluate(background) == light


# Indexes


def test_an_index_is_shown_as_pictures_with_tables_and_its_documents_by_pages(opened: Open) -> None:
    page = opened("/#/indexes")
    page.get_by_role("link", name="sample").click()
    shown(page, "sample")
    figures = page.locator(".index-view figure")  # the list of indexes has pictures, too
    figures.first.wait_for()
    assert figures.count() == 3
    for figure in figures.all():
        assert figure.locator("svg").count() > 0
        figure.locator("summary").click()
        assert figure.get_by_role("row").count() > 1
    rows = figures.first.get_by_role("row").all_inner_texts()[1:]
    assert len(rows) == len(LANGUAGES)
    assert sum(int(row.split("\t")[-1]) for row in rows) == 90
    first = page.locator(".document .id").first.inner_text()
    page.get_by_role("button", name="Next").click()
    until(page, "first => document.querySelector('.document .id').textContent !== first", first)
    page.get_by_role("button", name="Before").click()
    until(page, "first => document.querySelector('.document .id').textContent === first", first)


def test_an_empty_index_says_how_to_fill_it(opened: Open) -> None:
    page = opened("/#/search?index=empty")
    shown(page, "The index is empty")
    assert "mlret index add empty" in page.locator("main").inner_text()


# The memory


def test_an_admin_names_whose_memory_it_is(opened: Open) -> None:
    page = opened("/#/memory")
    shown(page, "Whose memory?")
    page.get_by_label("User").fill("anna")
    page.get_by_label("User").press("Enter")
    page.locator("ol.hits article").first.wait_for()
    assert page.locator("ol.hits article").count() >= 3


def test_a_memory_is_added_changed_deleted_and_each_step_is_undone(opened: Open, page_server: Running) -> None:
    page = opened("/#/memory", token=anna(page_server))
    page.locator("ol.hits article").first.wait_for()
    before = page.locator("ol.hits article").count()
    page.locator("summary", has_text="Remember something").click()
    page.get_by_label("Text", exact=True).fill("Ich arbeite bei Nordlicht in Hamburg.")
    page.get_by_label("Tags").fill("work, north")
    page.get_by_role("button", name="Remember", exact=True).click()
    until(page, "count => document.querySelectorAll('ol.hits article').length === count", before + 1)
    assert page.locator(".tag").all_inner_texts() == ["work", "north"]
    ask(page, "Where do I work?")
    first = page.locator("ol.hits article").first
    assert "Nordlicht" in first.inner_text()
    first.get_by_role("link", name="History").click()
    page.get_by_role("button", name="Change", exact=True).click()
    page.get_by_label("New text").fill("Ich arbeite bei Südwind in München.")
    page.get_by_role("button", name="Save a new version").click()
    page.locator(".text.large", has_text="Südwind").wait_for()
    assert page.locator(".event").count() == 2
    assert page.locator(".validity svg").count() == 2
    page.get_by_role("button", name=re.compile("Undo operation .*Changed")).click()
    page.locator(".text.large", has_text="Nordlicht").wait_for()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.locator(".hit-head", has_text="deleted").wait_for()
    page.locator(".note").last.get_by_role("button", name="Undo").click()
    page.locator(".hit-head", has_text="current").wait_for()
    verbs = [one.split(" ")[0] for one in page.locator(".event-head b").all_inner_texts()]
    assert verbs == ["Undone", "Deleted", "Undone", "Changed", "Remembered"]


def test_a_record_is_erased_after_a_confirmation_and_the_proof_is_saved(
    opened: Open, page_server: Running, tmp_path: Path
) -> None:
    secret = "Die Geheimzahl der Karte ist Pfirsichkuchen."
    body = {"text": secret, "language": "de", "scope": {"user": "anna"}}
    added = page_server.client.post("/v1/memories", json=body).json()["results"][0]
    page = opened(f"/#/memory/{added['id']}", token=anna(page_server))
    page.get_by_role("button", name="Erase").click()
    dialog = page.get_by_role("dialog", name="Erase this record?")
    erase = dialog.get_by_role("button", name="Erase for good")
    assert erase.is_disabled()
    page.keyboard.press("Escape")
    assert page_server.client.get(f"/v1/memories/{added['id']}", params={"user": "anna"}).status_code == 200
    page.get_by_role("button", name="Erase").click()
    dialog.get_by_label("I understand that it cannot be undone").check()
    erase.click()
    shown(page, "It is erased: nothing is left on the disk")
    assert page.evaluate("document.activeElement.tagName") == "H1"
    with page.expect_download() as download:
        page.get_by_role("button", name="Save the proof").click()
    download.value.save_as(tmp_path / "proof.json")
    proof = json.loads((tmp_path / "proof.json").read_text("utf-8"))
    assert proof["ids"] == [added["id"]]
    assert proof["complete"] is True
    assert "Pfirsichkuchen" not in json.dumps(proof)
    assert page_server.client.get(f"/v1/memories/{added['id']}", params={"user": "anna"}).status_code == 404


def test_a_writer_who_is_bound_to_no_user_is_told_why_it_cannot_erase(opened: Open, page_server: Running) -> None:
    records = page_server.client.get("/v1/memories", params={"user": "anna"}).json()["memories"]
    page = opened("/#/memory", token=token_of(page_server, "write"))
    page.get_by_label("User").fill("anna")
    page.get_by_label("User").press("Enter")
    page.locator("ol.hits article").first.wait_for()
    page.goto(f"/#/memory/{records[0]['id']}")
    page.get_by_role("button", name="Erase").wait_for()
    assert page.get_by_role("button", name="Erase").is_disabled()
    assert "role admin" in page.locator("#no-erase").inner_text()


# The interface


def test_the_interface_lists_every_operation_and_shows_its_fields(opened: Open, page_server: Running) -> None:
    page = opened("/docs")
    page.locator("details.operation").first.wait_for()
    paths = page_server.client.get("/openapi.json").json()["paths"]
    assert page.locator("details.operation").count() == sum(map(len, paths.values()))
    search = page.locator("details.operation", has_text="/v1/indexes/{name}:search")
    search.locator("summary").first.click()
    search.get_by_text("curl").first.wait_for()
    text = search.inner_text()
    for part in ("curl", "where", "language", "explain", "By default", "required"):
        assert part.lower() in text.lower()
    for one in page.locator("details.operation").all():
        one.evaluate("details => details.open = true")
    until(page, "[...document.querySelectorAll('details.operation')].every(one => one.children.length === 2)")


# For everyone


def views(server: Running) -> list[tuple[str, str]]:
    record = server.client.get("/v1/memories", params={"user": "anna"}).json()["memories"][0]["id"]
    return [
        ("/#/search", "Ask in one language"),
        ("/#/search?index=sample&q=honey", "written from"),
        ("/#/search?index=empty", "The index is empty"),
        ("/#/memory", "records"),
        ("/#/memory?q=dentist", "hits among"),
        (f"/#/memory/{record}", "What happened to it"),
        ("/#/indexes", "sample"),
        ("/#/indexes/sample", "Texts by language"),
        ("/docs", "Embeddings and ranking"),
    ]


@pytest.mark.parametrize(("width", "scheme"), itertools.product([390, 1280], ["light", "dark"]))
def test_axe_finds_nothing_and_nothing_is_cut_off(opened: Open, page_server: Running, width: int, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python", reason='axe is missing: pip install -e ".[browser]"')
    source = (Path(axe.__file__).parent / "axe.min.js").read_text("utf-8")
    token = token_of(page_server, "admin", scope={"user": "anna"}, indexes=["sample", "empty"])
    page = opened("/", token=token, width=width, scheme=scheme)
    found = {}
    for path, text in views(page_server):
        page.goto(path)
        page.reload()
        page.get_by_text(text).first.wait_for(state="attached")
        page.evaluate("for (const one of document.querySelectorAll('main details')) one.open = true")
        page.evaluate(source)  # By the debugger's protocol, which the policy of the page does not concern.
        result = page.evaluate("axe.run(document, { resultTypes: ['violations', 'incomplete'] })")
        found = [
            (one["id"], one["nodes"][0]["html"], one["nodes"][0]["failureSummary"]) for one in result["violations"]
        ]
        assert found == [], path
        assert len(result["passes"]) > 15, path
        assert overflow(page) <= 0, path


def test_axe_finds_nothing_on_the_sign_in_and_in_the_dialogs(opened: Open, page_server: Running) -> None:
    axe = pytest.importorskip("axe_playwright_python", reason='axe is missing: pip install -e ".[browser]"')
    source = (Path(axe.__file__).parent / "axe.min.js").read_text("utf-8")

    def check(page: Any) -> None:
        page.evaluate(source)
        violations = page.evaluate("axe.run()")["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in violations] == []

    page = opened("/", token=None, width=390)
    page.get_by_label("Token", exact=True).fill("mlret_wrong")
    page.keyboard.press("Enter")
    shown(page, "The token is not accepted")
    check(page)
    record = page_server.client.get("/v1/memories", params={"user": "anna"}).json()["memories"][0]["id"]
    page = opened(f"/#/memory/{record}", token=anna(page_server), width=390)
    page.get_by_role("button", name="Erase").click()
    check(page)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Change", exact=True).click()
    check(page)
    page.get_by_role("button", name="Delete", exact=True).click()
    page.locator(".note").wait_for()
    check(page)
    page.locator(".note").get_by_role("button", name="Undo").click()
    page.locator(".hit-head", has_text="current").wait_for()
