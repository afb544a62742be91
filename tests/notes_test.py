"""The project's notes: short, found by their table, and every link and citation leads somewhere."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent
NOTES = ROOT / "BUILD_NOTES.md"
CITED = ("BUILD_NOTES.md", "docs/experiments.md", "docs/measurements.md")
OTHERS = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
PAGES = [ROOT / name for name in (*CITED, *OTHERS)]
ROW = re.compile(r"\| ([^|]+) \| \[([^]]+)\]\(#([^)]+)\) \| [^|]+ \| (\d{4}-\d\d-\d\d) \|")
LINK = re.compile(r"(?<!`)\[[^]]*\]\(([^)\s]+)\)")
CITATION = re.compile(r'"([^"]+)"(?: and "([^"]+)")?')
FOLDERS = ("dsf_jax", "data_builders", "launch", "tests")
SOURCES = [
    *(path for top in FOLDERS for path in sorted((ROOT / top).rglob("*"))
      if path.suffix in (".py", ".md", ".js", ".sh") and path != pathlib.Path(__file__)),
    *(ROOT / name for name in ("setup.py", "pyproject.toml", "Makefile")),
]  # fmt: skip


def headings(path):
    """(level, heading) in order, code blocks apart."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    return [(len(x), heading) for x, heading in re.findall(r"^(#+) (.+)$", text, flags=re.M)]


def anchor(heading):
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_notes_are_short():
    lines = NOTES.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 250, "experiments go to docs/experiments.md"
    assert max(map(len, lines)) <= 300


def test_the_table_lists_every_decision_by_room():
    rows = ROW.findall(NOTES.read_text(encoding="utf-8"))
    found, room = [], None
    for level, heading in headings(NOTES):
        if level == 2:
            room = heading
        elif level == 3:
            found.append((room, heading, anchor(heading)))
    assert [row[:3] for row in rows] == found
    assert all(date >= "2026-11-22" for *_, date in rows)


def test_every_decision_has_evidence():
    _, *decisions = re.split(r"^### ", NOTES.read_text(encoding="utf-8"), flags=re.M)
    assert not [text.splitlines()[0] for text in decisions if "Evidence:" not in text]


@pytest.mark.parametrize("name", CITED)
def test_headings_differ(name):
    anchors = [anchor(heading) for _, heading in headings(ROOT / name)]
    assert len(anchors) == len(set(anchors))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page):
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if link.startswith(("http", "mailto:")):
            continue
        name, _, place = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not place or place in [anchor(heading) for _, heading in headings(target)], link


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_tests_that_are_named_exist(page):
    named = re.findall(r"\btests/[\w/]+\.(?:py|zip)\b", page.read_text(encoding="utf-8"))
    assert not [name for name in named if not (ROOT / name).exists()]


def citations(text):
    """(file, heading) of each `BUILD_NOTES.md, "Heading"`; the heading is None where a citation has none."""
    text = re.sub(r"\s*\n\s*#? ?", " ", text)
    for name in CITED:
        # A file that is written or linked to is no citation.
        for match in re.finditer(rf"(?<![\w/=`])(?<!\]\(){re.escape(name)}(?!`)(, (?=\"))?", text):
            cited = CITATION.match(text, match.end()) if match[1] else None
            for heading in cited.groups() if cited else (None,):
                if heading or not cited:
                    yield name, heading


def test_citations_name_headings_that_exist():
    known = {name: {heading for _, heading in headings(ROOT / name)} for name in CITED}
    found = [(path, *each) for path in SOURCES for each in citations(path.read_text("utf-8"))]
    assert len(found) >= 8
    wrong = [
        f"{path.relative_to(ROOT)}: {name}, {heading}"
        for path, name, heading in found
        if heading not in known[name]
    ]
    assert not wrong, 'BUILD_NOTES.md, "Heading of it"'


def test_a_citation_is_found_across_lines():
    text = '# (BUILD_NOTES.md,\n    # "The pen"), docs/experiments.md, "HED" and "The\n# store"; BUILD_NOTES.md.'
    assert list(citations(text)) == [
        ("BUILD_NOTES.md", "The pen"),
        ("BUILD_NOTES.md", None),
        ("docs/experiments.md", "HED"),
        ("docs/experiments.md", "The store"),
    ]
