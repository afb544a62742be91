"""One network, one gallery and one server for all tests of the page."""

import contextlib
import urllib.parse

import pytest

from dsf_jax.app.searcher import Searcher
from dsf_jax.app.server import create_app
from dsf_jax.models.model import init_model
from tests.app import made
from tests.app.browsing import CHROMIUM, new_context, sync_api

WINDOW = {"viewport": {"width": 1280, "height": 800}}


@pytest.fixture(scope="session")
def model():
    return init_model(made.CONFIG, seed=0)


@pytest.fixture(scope="session")
def searcher(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    uri = tmp_path_factory.mktemp("gallery") / "gallery"
    # The drawn pictures are near-duplicates of each other, which most tests do not care for.
    gallery = made.gallery(uri, model, made.pictures(folder))
    return Searcher(model, gallery, duplicates="separate")


@pytest.fixture(scope="session")
def address(searcher):
    with made.serving(create_app(searcher)) as address:
        yield address


@pytest.fixture(scope="session")
def speaking(searcher):
    """A searcher that understands words."""
    words = made.Vocabulary(searcher.gallery)
    return Searcher(searcher.model, searcher.gallery, words=words, duplicates="separate")


@pytest.fixture(scope="session")
def understanding(speaking):
    """The address of a server that understands words."""
    with made.serving(create_app(speaking)) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def visitor(browser):
    """Who opens most pages: a new context would load all anew, for twice the time of a test."""
    context = new_context(browser, **WINDOW)
    context.new_page()  # stays open, and with it the process of all pages
    return context


def forget(visitor, address):
    """Closes the pages of a visitor, who leaves nothing for the next test but what was loaded."""
    blank, *pages = visitor.pages
    for page in pages:
        page.close()
    forgotten = {"origin": address, "storageTypes": "all"}
    session = visitor.new_cdp_session(blank)
    session.send("Storage.clearDataForOrigin", forgotten)
    session.detach()


@pytest.fixture
def open_page(browser, visitor, address):
    """A function that opens the page; nothing may go wrong on it unnoticed. The second time in a test,
    and with options, somebody else opens it.
    """
    with contextlib.ExitStack() as stack:
        wrong, free = [], [visitor]

        def open_it(*, at=address, **options):
            if free and not options:
                context = free.pop()
                scheme, host, *_ = urllib.parse.urlsplit(at)
                stack.callback(forget, context, f"{scheme}://{host}")
            else:
                context = new_context(browser, **WINDOW, **options)
                stack.callback(context.close)
            page = context.new_page()
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.on(
                "console", lambda message: message.type == "error" and wrong.append(message.text)
            )
            page.goto(at)
            page.wait_for_selector("html[data-ready]", state="attached")
            return page

        yield open_it
        assert [text for text in wrong if "Failed to load resource" not in text] == []


@pytest.fixture
def page(open_page):
    return open_page()
