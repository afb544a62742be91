"""The report: one page that needs nothing beside itself, and that shows texts as texts."""

import base64
import html.parser
import io
import re

import numpy as np
import pytest
from PIL import Image

from dsf_jax.insight.report import Section, format_value, html_report

HOSTILE = """<script>alert("x")</script> & 'cats' <img src=http://evil.example/x.png>"""
VOID = {"meta", "img"}


def png(value):
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 6, 3), value, np.uint8)).save(buffer, format="png")
    return buffer.getvalue()


class Page(html.parser.HTMLParser):
    """Reads a page: its elements, their attributes and texts; every element must be closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.texts, self.declaration = [], [], {}, None
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_decl(self, decl):
        self.declaration = decl

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and data.strip():
            self.texts.setdefault(self.open[-1], []).append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def text():
    interval = {"mean": 0.5, "low": 0.25, "high": 1.0}
    rows = [
        {"class": HOSTILE, HOSTILE: interval},
        {"class": "Katze 猫", HOSTILE: None},
        {"class": "b"},
    ]
    return html_report(
        HOSTILE,
        {"checkpoint": {"name": HOSTILE, "size": 227}, "photos": ["a", HOSTILE]},
        [
            Section("Views", HOSTILE, png(10), {HOSTILE: 3}, rows),
            Section(HOSTILE, "é", png(200), {}, []),
        ],
    )


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_the_page_is_whole(page):
    assert page.declaration == "DOCTYPE html"
    assert [name for name, _ in page.elements][:3] == ["html", "head", "meta"]
    assert page.all("meta")[0] == {"charset": "utf-8"} and page.all("html") == [{"lang": "en"}]
    assert len(page.all("section")) == len(page.all("img")) == len(page.texts["h2"]) == 2
    targets = {"#" + section["id"] for section in page.all("section")}
    assert {a["href"] for a in page.all("a")} == targets


def test_it_needs_nothing_beside_itself(page, text):
    """Pictures are data; nothing else could be fetched, in attributes or in the style."""
    for picture, value in zip(page.all("img"), (10, 200), strict=True):
        kind, _, data = picture["src"].partition(",")
        assert kind == "data:image/png;base64" and picture["alt"]
        with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as image:
            assert (np.asarray(image) == value).all()
    names = {name for name, _ in page.elements}
    assert not names & {"script", "link", "iframe", "object", "embed", "base"}
    for _, attributes in page.elements:
        for name, value in attributes.items():
            assert name in {
                "src",
                "alt",
                "href",
                "id",
                "class",
                "lang",
                "charset",
                "name",
                "content",
            }
            assert name not in {"src", "href"} or re.match(r"data:|#", value)
    (style,) = page.texts["style"]
    assert not re.search(r"url\(|@import|//", style)
    assert "prefers-color-scheme: dark" in style and "color-scheme: light dark" in style


def test_texts_are_shown_as_they_are(page, text):
    assert "<script" not in text and "<img src=http" not in text
    for tag in ("title", "h1", "p", "h2", "dt", "th", "td"):
        assert HOSTILE in page.texts[tag]
    assert page.all("img")[1]["alt"] == HOSTILE
    assert page.texts["td"] == [HOSTILE, "0.5 [0.25, 1]", "Katze 猫", "–", "b", "–"]
    assert page.texts["dd"][:2] == [f"name {HOSTILE}, size 227", f"a, {HOSTILE}"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (True, "yes"), (False, "no"), (None, "–"), (3, "3"), (0.123456, "0.1235"), (1e-6, "1e-06"),
        ("cat", "cat"), ([], "–"), ([1, 0.5], "1, 0.5"), ({"a": 1, "b": None}, "a 1, b –"),
        ({"mean": 1.0, "low": 0.5, "high": 2.0}, "1 [0.5, 2]"),
        ({"mean": 0.5, "low": 0.5, "high": 0.5}, "0.5 (no interval)"),
    ],
)  # fmt: skip
def test_values_are_formatted(value, words):
    assert format_value(value) == words
